package owner

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Of the real state of podman 4.3.1, with a Pod called shop and a container shop-cart in it.
const (
	boltPod  = "8e984b032779c648f90e054ac5c49467f1d082cb3c86ed07d426895756e4dc5c"
	boltCart = "4c674b4b598201f5102fa15d7b121d0c71e7427c09bc7c99d21e5fd176a26369"
)

func boltState(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open("testdata/bolt_state.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPodmanState reads names from the real state, from one whose newer meta is torn, and none from what is cut off.
func TestPodmanState(t *testing.T) {
	data := boltState(t)
	look := func(data []byte, key string) string {
		f, ok := openBolt(data)
		if !ok {
			return "(no file)"
		}
		name, ok := f.get("id-registry", key)
		if !ok {
			return "(none)"
		}
		return string(name)
	}
	for key, want := range map[string]string{boltPod: "shop", boltCart: "shop-cart", "": "(none)", boltPod[:63]: "(none)", "\xff": "(none)"} {
		if got := look(data, key); got != want {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
	for at := range len(data) / 1024 {
		if got := look(data[:at*1024], boltPod); got != "shop" && got != "(none)" && got != "(no file)" {
			t.Errorf("cut at %d: %q", at*1024, got)
		}
	}
	newer := 0
	if txid := func(at int) uint64 { return binary.NativeEndian.Uint64(data[at+boltHeader+48:]) }; txid(4096) > txid(0) {
		newer = 4096
	}
	torn := bytes.Clone(data)
	torn[newer+boltHeader+20]++
	f, ok := openBolt(torn)
	if whole, _ := openBolt(data); !ok || f.root == whole.root {
		t.Error("a meta with a wrong checksum is believed")
	}
	torn[4096-newer+boltHeader+20]++
	if got := look(torn, boltPod); got != "(no file)" {
		t.Errorf("two torn metas: %q", got)
	}

	h := &Host{FS: t.TempDir()}
	file := h.FS + "/var/lib/containers/storage/libpod/bolt_state.db"
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := h.podmanName(&storage{root: "/var/lib/containers/storage"}, boltPod); got != "shop" {
		t.Errorf("%q", got)
	}
}

// FuzzPodmanState changes bytes of the real state; its metas are made right again, so that what lies below is read.
func FuzzPodmanState(f *testing.F) {
	whole := boltState(f)
	f.Add(uint32(0), []byte{1})
	f.Add(uint32(8192+10), []byte{255, 255})
	f.Add(uint32(4096*5), bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(_ *testing.T, at uint32, change []byte) {
		data := bytes.Clone(whole)
		copy(data[int(at)%len(data):], change)
		if file, ok := openBolt(data); ok {
			file.get("id-registry", boltPod)
			file.get(string(change), boltCart)
		}
		file := boltFile{data: data, pageSize: 4096}
		for root := range uint64(len(data) / 4096) {
			file.root = root
			file.get("id-registry", boltPod)
		}
	})
}
