package golden

import (
	"os"
	"path/filepath"
	"testing"
)

// recorder is a test that only notes whether it failed.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Fatal(...any)          { r.failed = true }

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "golden")
	if err := os.WriteFile(file, []byte("want\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, got string
		failed    bool
	}{
		{file, "want\n", false},
		{file, "want", true},
		{file, "other\n", true},
		{file + ".missing", "want\n", true},
	} {
		r := &recorder{TB: t}
		if Check(r, test.path, test.got); r.failed != test.failed {
			t.Errorf("%s with %q: failed %v, want %v", filepath.Base(test.path), test.got, r.failed, test.failed)
		}
	}
}

func TestUpdate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "golden")
	*update = true
	defer func() { *update = false }()
	Check(t, file, "got\n")
	if data, err := os.ReadFile(file); err != nil || string(data) != "got\n" {
		t.Errorf("%q, %v", data, err)
	}
}
