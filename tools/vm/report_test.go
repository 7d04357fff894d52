package main

import (
	"os"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const good = "boot noise\r\n@@ begin a.test 6.1\r\n=== RUN   TestX\r\n--- PASS: TestX (0.00s)\r\n    --- PASS: TestX/sub (0.00s)\r\n--- SKIP: TestY (0.00s)\r\nPASS\r\n\r\n@@ end a.test 0\r\n"
	for _, c := range []struct {
		name, console                    string
		passed, failed, skipped, missing int
		ended                            bool
	}{
		{"all well", good + "@@ all done\r\n", 1, 0, 1, 0, true},
		{"cut off after a package", good, 1, 0, 1, 0, false},
		{"cut off within a package", strings.TrimSuffix(good, "@@ end a.test 0\r\n"), 0, 0, 0, 1, false},
		{"a test failed", strings.Replace(strings.Replace(good, "PASS: TestX (", "FAIL: TestX (", 1), "end a.test 0", "end a.test 1", 1) + "@@ all done\r\n", 0, 1, 1, 0, true},
		{"crashed between tests", strings.Replace(good, "end a.test 0", "end a.test 2", 1) + "@@ all done\r\n", 1, 1, 1, 0, true},
		{"no kernel", "qemu: no\n", 0, 0, 0, 1, false},
	} {
		r := Read(strings.NewReader(c.console), []string{"a.test"})
		if r.Passed != c.passed || r.Failed != c.failed || r.Skipped != c.skipped || len(r.Missing) != c.missing || r.Ended != c.ended {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

func TestLoadOrder(t *testing.T) {
	dir := t.TempDir()
	dep := "kernel/a.ko: kernel/b.ko kernel/c.ko\nkernel/b.ko: kernel/c.ko\nkernel/c.ko:\n"
	if err := os.WriteFile(dir+"/modules.dep", []byte(dep), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := loadOrder(Kernel{Modules: dir}, []string{"b", "a", "built-in"})
	if want := "kernel/c.ko kernel/b.ko kernel/a.ko"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("got %v %v, want %s", got, err, want)
	}
}
