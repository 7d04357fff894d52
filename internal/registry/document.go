package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
)

// Bounds on what is believed of a registry.
const (
	MaxDocument  = 4 << 20 // bytes of a manifest or index (what the OCI distribution-spec asks registries to take)
	MaxConfig    = 8 << 20 // bytes of a config blob
	MaxLayers    = 500     // of one image; overlayfs takes no more lower directories
	maxManifests = 4096    // of one index
)

// Kind tells the three sorts of documents apart.
type Kind int

const (
	KindManifest Kind = iota // OCI image manifest, Docker schema 2
	KindIndex                // OCI image index, Docker manifest list
	KindSchema1              // Docker schema 1, signed or not
)

// Document is a manifest or an index as it came, and what it says.
type Document struct {
	Kind      Kind
	MediaType string
	Digest    digest.Digest // of Data; of a signed schema 1 manifest, of what is signed
	Data      []byte

	Config    ocispec.Descriptor   // KindManifest
	Layers    []ocispec.Descriptor // KindManifest: lowest first. KindSchema1: digests only, of unknown size
	Manifests []ocispec.Descriptor // KindIndex
}

// ParseDocument checks and parses a document. want, when not "", is the digest it must have. contentType is what the
// server called it, or "".
//
// A document that could be read as two kinds, or whose own media type is not the server's, is refused: two readers of one
// digest would see two images (CVE-2021-41190).
func ParseDocument(data []byte, contentType string, want digest.Digest) (*Document, error) {
	if len(data) > MaxDocument {
		return nil, fmt.Errorf("manifest is larger than %d bytes", MaxDocument)
	}
	var body struct {
		SchemaVersion int                  `json:"schemaVersion"`
		MediaType     string               `json:"mediaType"`
		Config        ocispec.Descriptor   `json:"config"`
		Layers        []ocispec.Descriptor `json:"layers"`
		Manifests     []ocispec.Descriptor `json:"manifests"`
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return nil, fmt.Errorf("manifest is not JSON: %w", err)
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, fmt.Errorf("manifest is malformed: %w", err)
	}
	doc := &Document{Data: data, Config: body.Config, Layers: body.Layers, Manifests: body.Manifests}
	var err error
	if doc.Kind, err = kindOf(keys); err != nil {
		return nil, err
	}
	if doc.MediaType, err = mediaTypeOf(doc.Kind, contentType, body.MediaType); err != nil {
		return nil, err
	}
	if doc.Digest, err = manifest.Digest(data); err != nil {
		return nil, fmt.Errorf("manifest is malformed: %w", err)
	}
	if want != "" {
		if err := CheckDigest(want); err != nil {
			return nil, err
		}
		if doc.Digest != want {
			return nil, fmt.Errorf("manifest has digest %s, want %s", doc.Digest, want)
		}
	}
	return doc, doc.check()
}

// kindOf decides by the members a document has. Go's JSON decoder takes names in any case, so they are compared so here.
func kindOf(keys map[string]json.RawMessage) (Kind, error) {
	var index, image, schema1 bool
	for key := range keys {
		switch strings.ToLower(key) {
		case "manifests":
			index = true
		case "layers", "config":
			image = true
		case "fslayers":
			schema1 = true
		}
	}
	switch {
	case index && !image && !schema1:
		return KindIndex, nil
	case image && !index && !schema1:
		return KindManifest, nil
	case schema1 && !index && !image:
		return KindSchema1, nil
	case !index && !image && !schema1:
		return 0, errors.New("manifest has neither layers nor manifests")
	}
	return 0, errors.New("manifest is ambiguous: it has members of two kinds of manifest")
}

// mediaTypeOf is the media type of a document of this kind, which the server (loosely) and the document itself tell.
func mediaTypeOf(kind Kind, contentType, own string) (string, error) {
	served, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		served = ""
	}
	if _, ok := kindOfMediaType(served); !ok {
		served = "" // application/json, text/plain: simple file servers know no better
	}
	if served != "" && own != "" && served != own {
		return "", fmt.Errorf("manifest says media type %s, but was served as %s", own, served)
	}
	mediaType := served
	if mediaType == "" {
		mediaType = own
	}
	if mediaType == "" {
		return [...]string{ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, manifest.DockerV2Schema1MediaType}[kind], nil
	}
	said, ok := kindOfMediaType(mediaType)
	if !ok {
		return "", fmt.Errorf("manifest has unknown media type %q", mediaType)
	}
	if said != kind {
		return "", fmt.Errorf("manifest of media type %s has the members of another kind", mediaType)
	}
	return mediaType, nil
}

func kindOfMediaType(mediaType string) (Kind, bool) {
	switch mediaType {
	case ocispec.MediaTypeImageManifest, manifest.DockerV2Schema2MediaType:
		return KindManifest, true
	case ocispec.MediaTypeImageIndex, manifest.DockerV2ListMediaType:
		return KindIndex, true
	case manifest.DockerV2Schema1MediaType, manifest.DockerV2Schema1SignedMediaType:
		return KindSchema1, true
	}
	return 0, false
}

func (d *Document) check() error {
	switch d.Kind {
	case KindIndex:
		if len(d.Manifests) > maxManifests {
			return fmt.Errorf("index has %d manifests, more than %d", len(d.Manifests), maxManifests)
		}
		return checkDescriptors("manifest", d.Manifests, MaxDocument)
	case KindSchema1:
		return d.checkSchema1()
	}
	switch d.Config.MediaType {
	case ocispec.MediaTypeImageConfig, manifest.DockerV2Schema2ConfigMediaType:
	default:
		return fmt.Errorf("not a container image: config has media type %q", d.Config.MediaType)
	}
	if err := checkDescriptors("config", []ocispec.Descriptor{d.Config}, MaxConfig); err != nil {
		return err
	}
	if len(d.Layers) > MaxLayers {
		return fmt.Errorf("manifest has %d layers, more than %d", len(d.Layers), MaxLayers)
	}
	for i, layer := range d.Layers {
		if err := checkLayer(layer.MediaType); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return checkDescriptors("layer", d.Layers, 1<<50)
}

func (d *Document) checkSchema1() error {
	v1, err := manifest.Schema1FromManifest(d.Data)
	if err != nil {
		return fmt.Errorf("manifest is malformed: %w", err)
	}
	if len(v1.FSLayers) > MaxLayers {
		return fmt.Errorf("manifest has %d layers, more than %d", len(v1.FSLayers), MaxLayers)
	}
	d.Layers = nil
	for _, layer := range v1.LayerInfos() {
		if layer.EmptyLayer {
			continue
		}
		if err := CheckDigest(layer.Digest); err != nil {
			return err
		}
		d.Layers = append(d.Layers, ocispec.Descriptor{MediaType: manifest.DockerV2Schema2LayerMediaType, Digest: layer.Digest})
	}
	return nil
}

func checkDescriptors(what string, list []ocispec.Descriptor, most int64) error {
	for i, desc := range list {
		if err := CheckDigest(desc.Digest); err != nil {
			return fmt.Errorf("%s %d: %w", what, i, err)
		}
		if desc.Size < 0 || desc.Size > most {
			return fmt.Errorf("%s %d: size %d is not between 0 and %d bytes", what, i, desc.Size, most)
		}
	}
	return nil
}

// CheckDigest refuses what is no sha256 digest. A digest becomes a file name, so nothing else may pass.
func CheckDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("bad digest %q: %w", d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %s is not a sha256", d)
	}
	return nil
}

// checkLayer refuses layers of a kind that cannot be unpacked. Docker's "foreign" and OCI's "nondistributable" layers are
// layers like others: they are asked of the registry, never of the URLs they carry.
func checkLayer(mediaType string) error {
	switch mediaType {
	case ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.diff.tar",
		manifest.DockerV2Schema2LayerMediaType,
		"application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":
		return nil
	}
	if strings.HasSuffix(mediaType, "+encrypted") {
		return fmt.Errorf("layer is encrypted (%s)", mediaType)
	}
	return fmt.Errorf("unknown layer media type %q", mediaType)
}
