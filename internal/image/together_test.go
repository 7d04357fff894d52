package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"tripod/internal/record"
	"tripod/internal/registry"
)

// blobCounter counts how many bytes of each blob a registry sent, and can cut an answer.
type blobCounter struct {
	next http.Handler
	mu   sync.Mutex
	sent map[string]int64
	cut  func(r *http.Request) int64 // < 0: the whole answer

	noRanges bool
}

func (c *blobCounter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i := strings.Index(r.URL.Path, "/blobs/")
	if r.Method != http.MethodGet || i < 0 {
		c.next.ServeHTTP(w, r)
		return
	}
	left := int64(-1)
	if c.cut != nil {
		left = c.cut(r)
	}
	out := &cutWriter{w, c, r.URL.Path[i+7:], left}
	if r.Header.Get("Range") == "" || c.noRanges {
		c.next.ServeHTTP(out, r)
		return
	}
	whole := httptest.NewRecorder()
	plain := r.Clone(r.Context())
	plain.Header.Del("Range")
	c.next.ServeHTTP(whole, plain)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(whole.Body.Bytes()))
}

// count is how many bytes of a blob were sent so far.
func (c *blobCounter) count(d v1.Hash) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent[d.String()]
}

type cutWriter struct {
	http.ResponseWriter
	c    *blobCounter
	blob string
	left int64
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if w.left == 0 {
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	if w.left > 0 && int64(len(p)) > w.left {
		p = p[:w.left]
	}
	n, err := w.ResponseWriter.Write(p)
	if w.left > 0 {
		w.left -= int64(n)
	}
	w.c.mu.Lock()
	w.c.sent[w.blob] += int64(n)
	w.c.mu.Unlock()
	if w.left == 0 {
		return n, io.ErrShortWrite
	}
	return n, err
}

func counted(cut func(*http.Request) int64) (*blobCounter, func(http.Handler) http.Handler) {
	c := &blobCounter{sent: map[string]int64{}, cut: cut}
	return c, func(h http.Handler) http.Handler { c.next = h; return c }
}

func bigImage(t testing.TB, layers int, size int) v1.Image {
	var list []v1.Layer
	for i := range layers {
		list = append(list, layerOf(t, tarOf(t, entry{name: fmt.Sprintf("file%d", i), data: noise(uint64(i+1), size)})))
	}
	return imageOf(t, list...)
}

func TestTwoPullsShareTheWork(t *testing.T) {
	c, wrap := counted(nil)
	r := newRegistry(t, wrap)
	img := bigImage(t, 4, 2<<20)
	ref := r.push(t, "big:1", img)
	root := t.TempDir()
	o := plainHTTP(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			s, err := Open(root)
			if err == nil {
				_, err = s.Pull(t.Context(), ref, o)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	layers, _ := img.Layers()
	for _, l := range layers {
		d, _ := l.Digest()
		size, _ := l.Size()
		if c.count(d) != size {
			t.Errorf("blob %s of %d bytes: %d were sent", d, size, c.count(d))
		}
	}
	s, _ := Open(root)
	assertClean(t, s)
}

// assertClean proves that nothing unfinished is left: no scratch, no partial blob, no lock, no lease of a pull.
func assertClean(t testing.TB, s *Store) {
	t.Helper()
	for _, pattern := range []string{"snapshots/tmp-*", "images/partial/*", "images/locks/*", "images/leases/*+pull*", "images/blobs/sha256/tmp-*", "images/*/.*", "snapshots/*/unsettled"} {
		found, err := filepath.Glob(filepath.Join(filepath.Dir(s.images), pattern))
		if err != nil || len(found) > 0 {
			t.Errorf("left behind: %v %v", found, err)
		}
	}
}

func TestPullResumes(t *testing.T) {
	t.Run("ranges", func(t *testing.T) { testResume(t, false) })
	t.Run("no ranges", func(t *testing.T) { testResume(t, true) })
}

func testResume(t *testing.T, noRanges bool) {
	img := bigImage(t, 2, 4<<20)
	layers, _ := img.Layers()
	first, _ := layers[0].Digest()
	second, _ := layers[1].Digest()
	var broken atomic.Bool
	broken.Store(true)
	c, wrap := counted(func(r *http.Request) int64 {
		if !broken.Load() {
			return -1
		}
		if r.Header.Get("Range") != "" {
			return 0
		}
		if strings.HasSuffix(r.URL.Path, second.String()) {
			return 1 << 20
		}
		return -1
	})
	c.noRanges = noRanges
	r := newRegistry(t, wrap)
	ref := r.push(t, "big:1", img)
	s, o := openStore(t), plainHTTP(t)
	o.Parallel = 1
	if _, err := s.Pull(t.Context(), ref, o); err == nil {
		t.Fatal("a pull from a registry that breaks off went well")
	} else {
		t.Log(err)
	}
	if _, err := os.Stat(filepath.Join(s.partial(), second.Hex)); err != nil {
		t.Fatalf("the beginning of the blob was not kept: %v", err)
	}
	broken.Store(false)
	got := mustPull(t, s, ref, o)
	for i := range 2 {
		if readAll(t, s, got, fmt.Sprintf("/file%d", i)) != noise(uint64(i+1), 4<<20) {
			t.Errorf("file%d is damaged", i)
		}
	}
	for i, d := range []v1.Hash{first, second} {
		size, _ := layers[i].Size()
		if sent := c.count(d); sent != size && !noRanges {
			t.Errorf("blob %d of %d bytes: %d were sent in both pulls", i, size, sent)
		}
	}
	assertClean(t, s)
}

func TestPullHealsADamagedBeginning(t *testing.T) {
	img := bigImage(t, 1, 1<<20)
	layers, _ := img.Layers()
	d, _ := layers[0].Digest()
	ref := newRegistry(t, nil).push(t, "big:1", img)
	s := openStore(t)
	if err := os.WriteFile(filepath.Join(s.partial(), d.Hex), []byte(noise(9, 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	got := mustPull(t, s, ref, plainHTTP(t))
	if readAll(t, s, got, "/file0") != noise(1, 1<<20) {
		t.Error("the file is damaged")
	}
	assertClean(t, s)
}

// TestMain makes the test binary a process that pulls, for tests that kill one.
func TestMain(m *testing.M) {
	if ref := os.Getenv("IMAGE_TEST_PULL"); ref != "" {
		s, err := Open(os.Getenv("IMAGE_TEST_ROOT"))
		if err == nil {
			_, err = s.Pull(context.Background(), ref, PullOptions{Registry: registry.Options{Insecure: true, RegistriesConf: "/dev/null"}})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func pullProcess(root, ref string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "IMAGE_TEST_PULL="+ref, "IMAGE_TEST_ROOT="+root)
	return cmd
}

func TestKilledPullIsSweptAndResumed(t *testing.T) {
	img := bigImage(t, 3, 2<<20)
	layers, _ := img.Layers()
	last, _ := layers[2].Digest()
	reached, resume := make(chan struct{}), make(chan struct{})
	var once sync.Once
	_, wrap := counted(func(r *http.Request) int64 {
		if strings.HasSuffix(r.URL.Path, last.String()) {
			once.Do(func() { close(reached) })
			<-resume
		}
		return -1
	})
	ref := newRegistry(t, wrap).push(t, "big:1", img)
	s := openStore(t)
	root := filepath.Dir(s.images)
	cmd := pullProcess(root, ref)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-reached
	// While it lives, nothing of its work is taken.
	for len(globbed(t, s.blobs())) < 4 {
		time.Sleep(time.Millisecond) // manifest, config and two layers, which do not depend on the blocked one
	}
	if _, err := s.Prune(PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if have := globbed(t, s.blobs()); len(have) < 4 {
		t.Errorf("Prune took blobs of a pull at work: %v left", have)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	close(resume)
	got := mustPull(t, s, ref, plainHTTP(t))
	if readAll(t, s, got, "/file2") != noise(3, 2<<20) {
		t.Error("the file is damaged")
	}
	if _, err := s.Prune(PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	assertClean(t, s)
	if readAll(t, s, got, "/file0") != noise(1, 2<<20) {
		t.Error("Prune took a file of a named image")
	}
}

func TestProcessesShareTheWork(t *testing.T) {
	c, wrap := counted(nil)
	img := bigImage(t, 3, 2<<20)
	ref := newRegistry(t, wrap).push(t, "big:1", img)
	s := openStore(t)
	var cmds []*exec.Cmd
	for range 3 {
		cmd := pullProcess(filepath.Dir(s.images), ref)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	layers, _ := img.Layers()
	for _, l := range layers {
		d, _ := l.Digest()
		size, _ := l.Size()
		if c.count(d) != size {
			t.Errorf("blob %s of %d bytes: %d were sent", d, size, c.count(d))
		}
	}
	assertClean(t, s)
}

func globbed(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestRemoveAndPrune(t *testing.T) {
	base := layerOf(t, tarOf(t, entry{name: "base", data: noise(1, 1000)}))
	one, two := imageOf(t, base, layerOf(t, tarOf(t, entry{name: "one", data: "1"}))), imageOf(t, base, layerOf(t, tarOf(t, entry{name: "two", data: "2"})))
	r := newRegistry(t, nil)
	s, o := openStore(t), plainHTTP(t)
	refOne, refTwo, alias := r.push(t, "one:1", one), r.push(t, "two:1", two), r.push(t, "alias:1", one)
	imgOne := mustPull(t, s, refOne, o)
	mustPull(t, s, alias, o)
	imgTwo := mustPull(t, s, refTwo, o)
	if n := len(globbed(t, s.snapshots)); n != 3 {
		t.Fatalf("%d snapshots, want 3: the base is shared", n)
	}
	if _, err := s.Root(imgOne, "pod_web"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(imgOne.ID.Encoded()[:12], false, o); err == nil {
		t.Error("an ID with two names was removed")
	}
	if removed, err := s.Remove(alias, false, o); err != nil || len(removed.Names) != 1 || len(removed.Blobs) != 0 {
		t.Errorf("removing one name of two: %+v %v", removed, err)
	}
	_, err := s.Remove(refOne, false, o)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "pod_web") {
		t.Errorf("removing an image in use: %v", err)
	}
	if _, err := s.Remove(refOne, true, o); err != nil {
		t.Error(err)
	}
	if _, err := s.Prune(PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if readAll(t, s, imgOne, "/one") != "1" {
		t.Error("the snapshot of a leased image was taken")
	}
	if _, err := s.ReadFile(imgTwo, "/two", 10); err == nil {
		t.Error("prune --all left an image that nobody uses")
	}
	if list, err := s.List(); err != nil || len(list) != 1 || len(list[0].Names) != 0 {
		t.Errorf("a leased image without names is not listed: %v %v", list, err)
	}
	if err := s.Release("pod_web"); err != nil {
		t.Fatal(err)
	}
	removed, err := s.Prune(PruneOptions{})
	if err != nil || len(removed.Snapshots) != 2 || removed.Bytes < 1000 {
		t.Errorf("prune: %+v %v", removed, err)
	}
	for _, dir := range []string{s.blobs(), s.snapshots, s.names(), s.leases()} {
		if left := globbed(t, dir); len(left) > 0 {
			t.Errorf("left in %s: %v", dir, left)
		}
	}
	if _, err := s.Remove("nothing:1", false, o); !errors.Is(err, ErrNotFound) {
		t.Errorf("removing nothing: %v", err)
	}
}

func TestPruneSweepsWhatTheDeadLeft(t *testing.T) {
	s := openStore(t)
	for _, path := range []string{
		filepath.Join(s.snapshots, "tmp-dead", "fs", "x"), filepath.Join(s.partial(), strings.Repeat("a", 64)), filepath.Join(s.blobs(), "tmp-1"),
		filepath.Join(s.locks(), "b"), filepath.Join(s.leases(), "dead"+pullingSuffix), filepath.Join(s.leases(), "dead"+pullingSuffix+".json"),
		filepath.Join(s.names(), ".x.json.1"), filepath.Join(s.blobs(), strings.Repeat("c", 64)), filepath.Join(s.snapshots, strings.Repeat("d", 64), "fs", "x"),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	live, err := s.newScratch()
	if err != nil {
		t.Fatal(err)
	}
	busy, err := record.Try(filepath.Join(s.partial(), strings.Repeat("e", 64)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(live.path); err != nil {
		t.Errorf("Prune took the work of a living process: %v", err)
	}
	if err := live.discard(); err != nil {
		t.Fatal(err)
	}
	if err := busy.Remove(); err != nil {
		t.Errorf("Prune took the download of a living process: %v", err)
	}
	assertClean(t, s)
	for _, dir := range []string{s.blobs(), s.snapshots} {
		if left := globbed(t, dir); len(left) > 0 {
			t.Errorf("left in %s: %v", dir, left)
		}
	}
}

// A snapshot of another boot that was never settled may have lost bytes.
func TestUnsettledSnapshotIsMadeAgain(t *testing.T) {
	ref := newRegistry(t, nil).push(t, "app:1", imageOf(t, layerOf(t, tarOf(t, entry{name: "x", data: "good"}))))
	s, o := openStore(t), plainHTTP(t)
	img := mustPull(t, s, ref, o)
	dir := s.snapshotPath(chainIDs(img.Layers)[0])
	if err := os.WriteFile(filepath.Join(dir, unsettled), []byte("another boot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "fs", "x"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Root(img, "x"); err == nil {
		t.Error("a snapshot that may have lost bytes was given out")
	}
	img, err := s.Ensure(t.Context(), ref, Never, o)
	if err != nil {
		t.Fatal(err)
	}
	if have := readAll(t, s, img, "/x"); have != "good" {
		t.Errorf("the file is %q", have)
	}
	assertClean(t, s)
}

// Images that hold the same layers in another order must not wait for each other in a ring.
func TestPullsOfTheSameLayersInAnotherOrder(t *testing.T) {
	var layers []v1.Layer
	for i := range 4 {
		layers = append(layers, layerOf(t, tarOf(t, entry{name: fmt.Sprintf("file%d", i), data: noise(uint64(i+1), 1<<20)})))
	}
	r := newRegistry(t, nil)
	o := plainHTTP(t)
	o.Parallel = 2
	var refs []string
	for i := range layers {
		order := append(append([]v1.Layer{}, layers[i:]...), layers[:i]...)
		refs = append(refs, r.push(t, fmt.Sprintf("turned%d:1", i), imageOf(t, order...)))
	}
	s := openStore(t)
	var group sync.WaitGroup
	for _, ref := range append(refs, refs...) {
		group.Go(func() {
			if _, err := s.Pull(t.Context(), ref, o); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	assertClean(t, s)
	for _, ref := range refs {
		img, err := s.Resolve(ref, o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range layers {
			if readAll(t, s, img, fmt.Sprintf("/file%d", i)) != noise(uint64(i+1), 1<<20) {
				t.Errorf("%s: file%d is damaged", ref, i)
			}
		}
	}
}

func TestInterruptedPullIsKept(t *testing.T) {
	img := bigImage(t, 1, 4<<20)
	layers, _ := img.Layers()
	d, _ := layers[0].Digest()
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	defer close(release)
	ref := newRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, d.String()) || ctx.Err() != nil {
				h.ServeHTTP(w, r)
				return
			}
			whole := httptest.NewRecorder()
			h.ServeHTTP(whole, r)
			w.Write(whole.Body.Bytes()[:1<<20])
			w.(http.Flusher).Flush()
			<-release
		})
	}).push(t, "big:1", img)
	s, o := openStore(t), plainHTTP(t)
	o.Progress = progressFunc(func(_ digest.Digest, _ State, done, _ int64) {
		if done >= 1<<20 {
			cancel()
		}
	})
	if _, err := s.Pull(ctx, ref, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want canceled", err)
	}
	if info, err := os.Stat(filepath.Join(s.partial(), d.Hex)); err != nil || info.Size() < 1<<20 {
		t.Errorf("what was fetched is not kept: %v", err)
	}
	if left := globbed(t, s.snapshots); len(left) > 0 {
		t.Errorf("left in snapshots: %v", left)
	}
	o.Progress = nil
	if got := mustPull(t, s, ref, o); readAll(t, s, got, "/file0") != noise(1, 4<<20) {
		t.Error("the file is damaged")
	}
	assertClean(t, s)
}

type progressFunc func(d digest.Digest, state State, done, total int64)

func (f progressFunc) Layer(d digest.Digest, state State, done, total int64) {
	f(d, state, done, total)
}
