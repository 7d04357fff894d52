package owner

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the wanted results anew")

// fixture unpacks a fixture into a folder and returns a Host that looks there.
func fixture(t testing.TB, name string) (*txtar.Archive, *Host) {
	t.Helper()
	a, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := txtar.Write(a, dir); err != nil {
		t.Fatal(err)
	}
	return a, &Host{FS: dir, Proc: dir + "/proc"}
}

// TestRuntimes looks at the processes of each fixture: files of the real runtimes. The comment of a fixture says where it is from.
func TestRuntimes(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 8 {
		t.Fatalf("%d fixtures: %v", len(paths), err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			a, h := fixture(t, name)
			var got strings.Builder
			err := h.each(func(pid int) {
				c, ok, err := h.OfProcess(pid)
				if err != nil {
					t.Errorf("process %d: %v", pid, err)
				}
				if ok != c.Known() {
					t.Errorf("process %d: %v, and %+v", pid, ok, c)
				}
				text, err := json.Marshal(c)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&got, "%d %s %s\n", pid, strings.ReplaceAll(c.String(), " ", "_"), text)
			})
			if err != nil {
				t.Fatal(err)
			}
			want := &a.Files[len(a.Files)-1]
			if *update {
				want.Data = []byte(got.String())
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want.Name != "want" || string(want.Data) != got.String() {
				t.Errorf("got\n%swant\n%s", got.String(), want.Data)
			}
		})
	}
}

func mustAddr(t testing.TB, s string) netip.Addr {
	t.Helper()
	a, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func globAll(t testing.TB, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	return paths
}
