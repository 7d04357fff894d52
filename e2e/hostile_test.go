package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

// hostile is the program "hostile ADDR FOLDER": a registry in which each repository misbehaves in a way of its own, told by its name.
// What leads out of a layer leads to FOLDER.
func hostile() {
	if len(os.Args) != 3 {
		fail("usage: hostile ADDR FOLDER")
	}
	fail("%v", http.ListenAndServe(os.Args[1], &evil{folder: os.Args[2], made: map[string]*stock{}}))
}

// evil is the registry of hostile.
type evil struct {
	folder string
	mu     sync.Mutex
	made   map[string]*stock
}

// stock is what a repository holds: its manifest, and the blobs that names.
type stock struct {
	manifest []byte
	blobs    map[digest.Digest][]byte
}

func (e *evil) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v2/"), "/") // NAME/manifests/TAG, NAME/blobs/DIGEST
	if len(parts) != 3 {
		return // /v2/ itself: here is a registry
	}
	if parts[1] == "manifests" {
		e.manifest(w, r, parts[0])
	} else {
		e.blob(w, r, parts[0], parts[2])
	}
}

func (e *evil) manifest(w http.ResponseWriter, r *http.Request, name string) {
	m, contentType := bytes.Clone(e.image(name).manifest), types.OCIManifestSchema1
	switch name {
	case "stalls":
		<-r.Context().Done()
		return
	case "endless":
		for {
			if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
				return
			}
		}
	case "garbage":
		m = []byte("\x7fELF\x00\xff garbage")
	case "website":
		contentType, m = "text/html", []byte("<html>Welcome to the airport's network</html>")
	case "huge":
		m = append(append(m[:len(m)-1], `,"annotations":{"a":"`...), append(bytes.Repeat([]byte("x"), 100<<20), `"}}`...)...)
	case "unauthorized":
		w.Header().Set("WWW-Authenticate", `Basic realm="hostile"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	case "notoken":
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="hostile"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	case "denied":
		w.WriteHeader(http.StatusForbidden)
		return
	case "missing":
		http.NotFound(w, r)
		return
	case "broken":
		w.WriteHeader(http.StatusInternalServerError)
		return
	case "redirects":
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
		return
	case "disagrees":
		contentType = types.DockerManifestList
	case "ambiguous":
		m = append(m[:len(m)-1], `,"manifests":[]}`...)
	case "layers":
		m = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, types.OCIManifestSchema1, descriptor(types.OCIConfigJSON, []byte("{}")),
			strings.TrimSuffix(strings.Repeat(descriptor(types.OCILayer, nil)+",", 20_000), ","))
	}
	w.Header().Set("Content-Type", string(contentType))
	w.Write(m)
}

func (e *evil) blob(w http.ResponseWriter, r *http.Request, name, sum string) {
	data, here := e.image(name).blobs[digest.Digest(sum)]
	if !here {
		http.NotFound(w, r)
		return
	}
	if data[0] != '{' { // the layer
		switch name {
		case "pauses":
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			w.Write(data[:len(data)/2])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		case "short":
			data = data[:len(data)/2]
		case "long":
			data = append(bytes.Clone(data), make([]byte, 1<<20)...)
		case "forged":
			data = bytes.Clone(data)
			data[9]++ // the system that gzip ran on: all else is as it was
		}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// image makes what a repository holds.
func (e *evil) image(name string) *stock {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.made[name] != nil {
		return e.made[name]
	}
	raw, err := archive(e.layer(name))
	if err != nil && name != "giant" { // whose archive ends early
		fail("cannot make the layer of %s: %v", name, err)
	}
	switch name {
	case "noarchive":
		raw = []byte("this is no archive, however long one looks at it")
	case "header":
		extend(raw)
	}
	packed, diff, system := zipped(raw), digest.FromBytes(raw), "linux"
	switch name {
	case "nogzip":
		packed = []byte("\x1f\x8bthis is no gzip")
	case "unlike":
		diff = digest.FromString("another layer")
	case "windows":
		system = "windows"
	}
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":%q,"rootfs":{"type":"layers","diff_ids":[%q]}}`, system, diff)
	s := &stock{
		manifest: fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, types.OCIManifestSchema1,
			descriptor(types.OCIConfigJSON, config), descriptor(types.OCILayer, packed)),
		blobs: map[digest.Digest][]byte{digest.FromBytes(config): config, digest.FromBytes(packed): packed},
	}
	e.made[name] = s
	return s
}

// layer fills the archive of a repository's only layer.
func (e *evil) layer(name string) func(*Tree) {
	up := strings.Repeat("../", 20) + strings.TrimPrefix(e.folder, "/")
	return func(t *Tree) {
		switch name {
		case "dotdot":
			t.File(up+"/planted", 0o644, []byte("evil"))
		case "absolute":
			t.File(e.folder+"/planted", 0o644, []byte("evil"))
		case "through":
			t.Link("out", e.folder)
			t.File("out/planted", 0o644, []byte("evil"))
		case "mode": // CVE-2021-32760
			t.Link("out", e.folder+"/file")
			t.File("out", 0o6777, nil)
		case "hardlink":
			t.Hard("out", up+"/file")
		case "whiteout":
			t.Link("out", e.folder)
			t.File("out/.wh.file", 0o644, nil)
		case "header": // see header
			t.File("x", 0o644, make([]byte, 64<<20))
		case "giant": // 1 TiB, says its header, and nothing is behind it
			t.err = t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 1 << 40})
		case "bomb": // 256 MiB in 256 KiB
			t.File("x", 0o644, make([]byte, 256<<20))
		default:
			t.File("x", 0o644, []byte("fine"))
		}
	}
}

// extend makes the first file of an archive the extended header of the next (pax(1)): the writer of archives makes none so large.
func extend(raw []byte) {
	const checksum, kind = 148, 156 // where they stand in a header
	raw[kind] = 'x'
	copy(raw[checksum:], "        ")
	sum := 0
	for _, b := range raw[:512] {
		sum += int(b)
	}
	copy(raw[checksum:], fmt.Sprintf("%06o\x00 ", sum))
}

func descriptor(mediaType types.MediaType, data []byte) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, digest.FromBytes(data), len(data))
}

func zipped(data []byte) []byte {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(data) // a bytes.Buffer takes all
	z.Close()
	return packed.Bytes()
}
