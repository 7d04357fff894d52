package main

import (
	"context"
	"embed"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"
)

// files are streams that are written down, one a file. Each request in it has a name of its own:
//
//	-- NAME --
//	METHOD PATH
//	HEADER: VALUE
//
//	BODY
//
// The body is YAML, sent as JSON. Of headers, these are ours: "Save: NAME PLACE" keeps what stands at a place of the answer for later
// requests, where $NAME stands for it; "Until: TYPE" reads events until one of that type; "Send: protobuf" sends the body as that,
// "Send: raw" as it stands; "Part: yes" says that the real server serves more. $ns is the stream's own namespace.
//
//go:embed streams
var files embed.FS

// ask is a request of a stream.
type ask struct {
	name, method, path string
	header             http.Header
	body               string
	save               [][2]string
	until, send        string
	part               bool
}

// stream is a list of requests that build on each other.
type stream struct {
	name string
	asks []*ask
}

// short are names of types that are asked for often.
var short = map[string]string{
	"merge":     "application/merge-patch+json",
	"json":      "application/json-patch+json",
	"strategic": "application/strategic-merge-patch+json",
	"apply":     "application/apply-patch+yaml",
	"protobuf":  protobufType,
	"yaml":      "application/yaml",
	"table":     "application/json;as=Table;v=v1;g=meta.k8s.io",
	"partial":   "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
	"partials":  "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
	"discovery": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
}

// streams are all there are: those that are written down, and those of each kind.
func streams() ([]*stream, error) {
	var all []*stream
	entries, err := files.ReadDir("streams")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		data, err := files.ReadFile("streams/" + e.Name())
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(path.Base(e.Name()), ".txtar")
		archive := txtar.Parse(data)
		if name == "kinds" {
			of, err := kinds(archive)
			if err != nil {
				return nil, err
			}
			all = append(all, of...)
			continue
		}
		s := &stream{name: name}
		for _, f := range archive.Files {
			a, err := parse(f.Name, string(f.Data))
			if err != nil {
				return nil, fmt.Errorf("cannot read request %s of stream %s: %w", f.Name, name, err)
			}
			s.asks = append(s.asks, a)
		}
		all = append(all, s)
	}
	return all, nil
}

// parse reads a request.
func parse(name, text string) (*ask, error) {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, path, ok := strings.Cut(lines[0], " ")
	if !ok {
		return nil, fmt.Errorf("%q is no METHOD PATH", lines[0])
	}
	a := &ask{name: name, method: method, path: path, header: http.Header{}, body: body}
	for _, line := range lines[1:] {
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, fmt.Errorf("%q is no HEADER: VALUE", line)
		}
		switch key {
		case "Save":
			as, from, _ := strings.Cut(value, " ")
			a.save = append(a.save, [2]string{as, from})
		case "Until":
			a.until = value
		case "Send":
			a.send = value
		case "Part":
			a.part = value == "yes"
		default:
			if long, ok := short[value]; ok {
				value = long
			}
			a.header.Set(key, value)
		}
	}
	if a.header.Get("Content-Type") == "" && strings.TrimSpace(body) != "" {
		a.header.Set("Content-Type", "application/json")
	}
	return a, nil
}

// session is a stream as one server sees it.
type session struct {
	server    *server
	masker    *masker
	variables map[string]string
}

var variable = regexp.MustCompile(`\$[a-z][A-Za-z]*`)

func (s *session) fill(text string) string {
	return variable.ReplaceAllStringFunc(text, func(name string) string {
		if v, ok := s.variables[name[1:]]; ok {
			return v
		}
		return name // $patch and the like
	})
}

// request is what is sent for an ask.
func (s *session) request(a *ask) (*request, error) {
	r := &request{method: a.method, path: s.fill(a.path), header: a.header.Clone(), until: a.until}
	text := []byte(s.fill(a.body))
	var err error
	switch {
	case a.send == "raw" || strings.TrimSpace(a.body) == "":
		r.body = []byte(strings.TrimSuffix(string(text), "\n"))
	case a.send == protobufName:
		if r.body, err = writeProtobuf(text); err != nil {
			return nil, err
		}
		r.header.Set("Content-Type", protobufType)
	default:
		if r.body, err = yaml.YAMLToJSON(text); err != nil {
			return nil, err
		}
	}
	return r, nil
}

const protobufName = "protobuf"

// ask sends what is asked and returns the masked answer.
func (s *session) ask(ctx context.Context, a *ask) (map[string]any, error) {
	r, err := s.request(a)
	if err != nil {
		return nil, err
	}
	got, err := s.server.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, pair := range a.save {
		s.variables[pair[0]] = dig(got.body, pair[1])
	}
	v, _ := s.masker.mask(got.value()).(map[string]any)
	return v, nil
}

// dig is the text at a place of dots in an object.
func dig(v any, place string) string {
	for _, key := range strings.Split(place, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[key]
		case []any:
			v = nil
			if key == "0" && len(in) > 0 {
				v = in[0]
			}
		default:
			v = nil
		}
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// begin makes the stream's namespace, with the ServiceAccount that a controller would make there.
func (s *session) begin(ctx context.Context) error {
	ns := s.variables["ns"]
	for _, a := range []*ask{
		{method: http.MethodPost, path: "/api/v1/namespaces", body: "{apiVersion: v1, kind: Namespace, metadata: {name: " + ns + "}}"},
		{method: http.MethodPost, path: "/api/v1/namespaces/" + ns + "/serviceaccounts", body: "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}, automountServiceAccountToken: false}"},
	} {
		a.header = http.Header{"Content-Type": {"application/json"}}
		got, err := s.ask(ctx, a)
		if err != nil {
			return err
		}
		if got["code"] != float64(http.StatusCreated) {
			return fmt.Errorf("cannot make namespace %s on %s: %s", ns, s.server.name, brief(got))
		}
	}
	return nil
}

// run sends the stream to both servers and returns where they differ.
func (s *stream) run(ctx context.Context, real, ours *server, verbose bool) ([]difference, error) {
	var both [2]*session
	for i, server := range []*server{real, ours} {
		both[i] = &session{server, newMasker(), map[string]string{"ns": "s-" + strings.ReplaceAll(s.name, ".", "-")}}
		if err := both[i].begin(ctx); err != nil {
			return nil, err
		}
	}
	var all []difference
	for _, a := range s.asks {
		var got [2]map[string]any
		for i := range both {
			var err error
			if got[i], err = both[i].ask(ctx, a); err != nil {
				return nil, fmt.Errorf("cannot ask %s: %w", a.name, err)
			}
		}
		d := &differ{where: s.name + "/" + a.name, part: a.part}
		d.compare("", got[0], got[1])
		all = append(all, d.found...)
		if verbose {
			fmt.Printf("%s/%s: %v, %d differences\n", s.name, a.name, got[0]["code"], len(d.found))
		}
	}
	return all, nil
}
