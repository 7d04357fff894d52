package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	emptyHash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	oci       = "application/vnd.oci.image.manifest.v1+json"
	index     = "application/vnd.oci.image.index.v1+json"
	docker2   = "application/vnd.docker.distribution.manifest.v2+json"
	config    = `"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + emptyHash + `","size":2}`
	layer     = `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + emptyHash + `","size":3}`
)

func TestParseDocument(t *testing.T) {
	for _, test := range []struct{ name, body, contentType, err string }{
		{"oci", `{"schemaVersion":2,"mediaType":"` + oci + `",` + config + `,"layers":[` + layer + `]}`, oci, ""},
		{"media type told by the server alone", `{` + config + `,"layers":[]}`, oci + "; charset=utf-8", ""},
		{"media type told by nobody", `{` + config + `,"layers":[]}`, "application/json", ""},
		{"index", `{"manifests":[{"digest":"` + emptyHash + `","size":1}]}`, index, ""},
		{"two kinds", `{` + config + `,"layers":[],"manifests":[]}`, oci, "ambiguous"},
		{"two kinds, other case", `{` + config + `,"layers":[],"Manifests":[]}`, oci, "ambiguous"},
		{"two kinds, schema 1", `{"fsLayers":[],"manifests":[]}`, index, "ambiguous"},
		{"served as another", `{"mediaType":"` + docker2 + `",` + config + `,"layers":[]}`, oci, "was served as"},
		{"kind of another", `{"manifests":[]}`, oci, "members of another kind"},
		{"own type of another kind", `{"mediaType":"` + index + `",` + config + `,"layers":[]}`, "", "members of another kind"},
		{"unknown media type", `{"mediaType":"text/x",` + config + `,"layers":[]}`, "", "unknown media type"},
		{"nothing", `{}`, oci, "neither"},
		{"no JSON", `<html>`, oci, "not JSON"},
		{"a list", `[]`, oci, "not JSON"},
		{"empty", ``, oci, "not JSON"},
		{"digest with a path", `{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:../../x","size":2}}`, oci, "bad digest"},
		{"digest missing", `{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2}}`, oci, "bad digest"},
		{"sha512", `{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha512:` + strings.Repeat("0", 128) + `","size":2}}`, oci, "not a sha256"},
		{"negative size", `{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + emptyHash + `","size":-2}}`, oci, "size -2"},
		{"huge config", `{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + emptyHash + `","size":1000000000}}`, oci, "size 1000000000"},
		{"artifact", `{"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"` + emptyHash + `","size":2}}`, oci, "not a container image"},
		{"encrypted", `{` + config + `,"layers":[` + strings.Replace(layer, "gzip", "gzip+encrypted", 1) + `]}`, oci, "encrypted"},
		{"unknown layer", `{` + config + `,"layers":[` + strings.Replace(layer, "gzip", "lzma", 1) + `]}`, oci, "unknown layer media type"},
		{"many layers", `{` + config + `,"layers":[` + strings.Repeat(layer+",", MaxLayers) + layer + `]}`, oci, "501 layers"},
		{"huge", `{` + config + `,"layers":[],"x":"` + strings.Repeat("x", MaxDocument) + `"}`, oci, "larger than"},
		{"wrong shape", `{"config":5,"layers":[]}`, oci, "malformed"},
	} {
		doc, err := ParseDocument([]byte(test.body), test.contentType, "")
		if test.err == "" {
			if err != nil || doc.Digest != digest.FromString(test.body) {
				t.Errorf("%s: %v", test.name, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.err)
		}
	}
	if _, err := ParseDocument([]byte(`{`+config+`}`), oci, emptyHash); err == nil || !strings.Contains(err.Error(), "has digest") {
		t.Errorf("wrong digest: %v", err)
	}
}

func TestChoose(t *testing.T) {
	doc := func(platforms ...string) *Document {
		d := &Document{Kind: KindIndex}
		for _, p := range platforms {
			m := ocispec.Descriptor{Annotations: map[string]string{"p": p}}
			if p != "" {
				os, rest, _ := strings.Cut(p, "/")
				arch, variant, _ := strings.Cut(rest, "/")
				m.Platform = &ocispec.Platform{OS: os, Architecture: arch, Variant: variant}
			}
			d.Manifests = append(d.Manifests, m)
		}
		return d
	}
	for _, test := range []struct {
		want string
		have []string
		got  string
	}{
		{"linux/amd64", []string{"windows/amd64", "linux/arm64/v8", "linux/amd64"}, "linux/amd64"},
		{"linux/amd64", []string{"linux/amd64/v3", "linux/amd64"}, "linux/amd64"},
		{"linux/amd64", []string{"linux/amd64/v3", "linux/amd64/v2"}, "linux/amd64/v2"},
		{"linux/amd64/v3", []string{"linux/amd64", "linux/amd64/v2", "linux/amd64/v4"}, "linux/amd64/v2"},
		{"linux/arm64", []string{"linux/arm/v7", "linux/arm64/v8"}, "linux/arm64/v8"},
		{"linux/arm/v6", []string{"linux/arm/v5", "linux/arm/v7", "linux/arm/v6"}, "linux/arm/v6"},
		{"linux/arm/v6", []string{"linux/arm/v7", "linux/arm/v5"}, "linux/arm/v5"},
		{"linux/arm", []string{"linux/arm/v5", "linux/arm/v7"}, "linux/arm/v7"},
		{"linux/amd64", []string{""}, ""},
		{"linux/x86_64", []string{"linux/amd64"}, "linux/amd64"},
		{"linux/s390x", []string{"linux/amd64", "unknown/unknown"}, "error"},
		{"linux/amd64", []string{"", ""}, "error"},
		{"linux/amd64", nil, "error"},
	} {
		p, err := ParsePlatform(test.want)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Choose(doc(test.have...), p)
		got := m.Annotations["p"]
		if err != nil {
			got = "error"
		}
		if got != test.got {
			t.Errorf("%s of %v: %q %v, want %q", test.want, test.have, got, err, test.got)
		}
	}
	for _, bad := range []string{"linux", "linux/", "/amd64", "a/b/c/d"} {
		if _, err := ParsePlatform(bad); err == nil {
			t.Errorf("platform %q was taken", bad)
		}
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,`+config+`,"layers":[`+layer+`]}`), oci)
	f.Add([]byte(`{"manifests":[{"digest":"`+emptyHash+`","size":1,"platform":{"os":"linux","architecture":"amd64"}}]}`), index)
	f.Add([]byte(`{"schemaVersion":1,"name":"x","tag":"y","architecture":"amd64","fsLayers":[{"blobSum":"`+emptyHash+`"}],"history":[{"v1Compatibility":"{\"id\":\"`+strings.Repeat("0", 64)+`\"}"}]}`), "application/vnd.docker.distribution.manifest.v1+json")
	f.Fuzz(func(t *testing.T, data []byte, contentType string) {
		doc, err := ParseDocument(data, contentType, "")
		if err != nil {
			return
		}
		// What is accepted is safe to act on: digests are file names, sizes are bounds.
		for _, d := range append(append([]ocispec.Descriptor{}, doc.Layers...), doc.Manifests...) {
			if CheckDigest(d.Digest) != nil || d.Size < 0 {
				t.Errorf("accepted %+v", d)
			}
		}
		if len(doc.Layers) > MaxLayers {
			t.Errorf("accepted %d layers", len(doc.Layers))
		}
		if doc.Kind == KindManifest && (CheckDigest(doc.Config.Digest) != nil || doc.Config.Size > MaxConfig) {
			t.Errorf("accepted config %+v", doc.Config)
		}
		var keys map[string]any
		if err := json.Unmarshal(data, &keys); err != nil {
			t.Error(err)
		}
		if keys["layers"] != nil && keys["manifests"] != nil {
			t.Error("accepted a document of two kinds")
		}
		Choose(doc, ocispec.Platform{OS: "linux", Architecture: "amd64"})
		_ = fmt.Sprint(doc.MediaType)
	})
}
