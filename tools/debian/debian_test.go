package debian

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFiles(t *testing.T) {
	files, err := Files("coreutils")
	if err != nil {
		t.Skip(err)
	}
	if !slices.Contains(files, "/usr/bin/ls") {
		t.Error("no ls in coreutils")
	}
	if !slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, "/libc.so.6") }) {
		t.Error("ls without its C library")
	}
	if !slices.ContainsFunc(files, func(f string) bool { return strings.Contains(f, "/ld-linux") }) {
		t.Error("ls without its loader")
	}
	seen := map[string]bool{"/": true}
	for _, f := range files {
		if _, err := os.Lstat(f); err != nil {
			t.Error(err)
		}
		if !seen[filepath.Dir(f)] {
			t.Errorf("%s comes before its folder", f)
		}
		seen[f] = true
	}
}

func TestFilesOfNoPackage(t *testing.T) {
	if _, err := Files("no-such-package"); err == nil {
		t.Error("a package that is not there has files")
	}
}
