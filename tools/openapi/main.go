// Command openapi writes the documents by which clients know what the API's kinds look like: Kubernetes' own, from the module that
// we link, cut down to the paths that we serve and to what those refer to. Run it when Kubernetes' version or the kinds change.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/gob"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

func main() {
	out := flag.String("o", "internal/api/openapi/embedded", "the `folder` to write to")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	served, err := servedPaths()
	if err != nil {
		return err
	}
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return fmt.Errorf("cannot find k8s.io/kubernetes: %w", err)
	}
	specs := filepath.Join(strings.TrimSpace(string(dir)), "api", "openapi-spec")
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(out, "v3"), 0o755); err != nil {
		return err
	}
	all := map[string]any{}
	for _, root := range served.roots() {
		if err := third(specs, out, root, served, all); err != nil {
			return err
		}
	}
	tracked, err := schemas(all)
	if err != nil {
		return err
	}
	return errors.Join(write(filepath.Join(out, "schemas.gob.gz"), tracked), second(specs, out, served))
}

// third writes the document of one version of a group, and adds its schemas to all.
func third(specs, out, root string, served paths, all map[string]any) error {
	name := strings.ReplaceAll(root, "/", "__") + "_openapi.json"
	doc, err := read(filepath.Join(specs, "v3", name))
	if err != nil {
		return err
	}
	served.keep(doc["paths"].(map[string]any))
	components := doc["components"].(map[string]any)
	kept := reachable(doc["paths"], components["schemas"].(map[string]any), "#/components/schemas/")
	components["schemas"] = kept
	maps.Copy(all, kept)
	data, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return write(filepath.Join(out, "v3", name+".gz"), data)
}

// second writes the one document of all groups, as JSON and as protobuf: for clients from before the third version.
func second(specs, out string, served paths) error {
	doc, err := read(filepath.Join(specs, "swagger.json"))
	if err != nil {
		return err
	}
	served.keep(doc["paths"].(map[string]any))
	doc["definitions"] = reachable(doc["paths"], doc["definitions"].(map[string]any), "#/definitions/")
	data, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	parsed, err := openapi_v2.ParseDocument(data)
	if err != nil {
		return fmt.Errorf("cannot read swagger.json: %w", err)
	}
	binary, err := proto.MarshalOptions{Deterministic: true}.Marshal(parsed)
	if err != nil {
		return err
	}
	return errors.Join(write(filepath.Join(out, "v2.json.gz"), data), write(filepath.Join(out, "v2.pb.gz"), binary))
}

// schemas are definitions as server-side apply wants them. The third version's have the defaults that it finds items of lists by.
func schemas(definitions map[string]any) ([]byte, error) {
	data, err := json.Marshal(definitions)
	if err != nil {
		return nil, err
	}
	models := map[string]*spec.Schema{}
	if err := json.Unmarshal(data, &models); err != nil {
		return nil, err
	}
	all, err := schemaconv.ToSchemaFromOpenAPI(models, false)
	if err != nil {
		return nil, fmt.Errorf("cannot make schemas: %w", err)
	}
	sortTypes(all)
	// Of the ways to write them, this is the one that is read fastest.
	gob.Register(map[string]any{}) // a default
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(all.Types); err != nil {
		return nil, err
	}
	var back []schema.TypeDef
	if err := gob.NewDecoder(bytes.NewReader(b.Bytes())).Decode(&back); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(back, all.Types) {
		return nil, errors.New("cannot write schemas: they are read as others")
	}
	return b.Bytes(), nil
}

func read(path string) (map[string]any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return doc, nil
}

func write(path string, data []byte) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(data); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
