package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstallLinks(t *testing.T) {
	all := []link{{"lsns", "/x/tripod-oci"}, {"nsenter", "/x/tripod-oci"}, {"docker", "/x/tripod"}}
	names := func(dir string) string {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, e := range entries {
			word := e.Name()
			if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
				word += "->" + target
			} else if data, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil {
				word += "=" + string(data)
			}
			text = append(text, word)
		}
		return strings.Join(text, " ")
	}
	const linked = "docker->/x/tripod lsns->/x/tripod-oci nsenter->/x/tripod-oci"

	dir := t.TempDir()
	for range 2 {
		if err := installLinks(dir, all, false); err != nil {
			t.Fatal(err)
		}
		if got := names(dir); got != linked {
			t.Errorf("made %s", got)
		}
	}

	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "docker"), []byte("theirs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := installLinks(foreign, all, false); err == nil || !strings.Contains(err.Error(), "not tripod's") {
		t.Errorf("error %v", err)
	}
	if got := names(foreign); got != "docker=theirs" {
		t.Errorf("left %s", got)
	}
	if err := installLinks(foreign, all, true); err != nil {
		t.Fatal(err)
	}
	if got := names(foreign); got != linked {
		t.Errorf("made %s", got)
	}

	// The last name cannot be made: it is in a folder that is not there.
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "lsns"), []byte("theirs"), 0o755); err != nil {
		t.Fatal(err)
	}
	bad := append(all[:2:2], link{"no/such", "/x/tripod"})
	if err := installLinks(broken, bad, true); err == nil {
		t.Error("a name that cannot be made was made")
	}
	if got := names(broken); got != "lsns=theirs" {
		t.Errorf("left %s", got)
	}

	if err := installLinks(filepath.Join(dir, "nowhere"), all, false); err == nil {
		t.Error("links in no folder")
	}
}

func TestChosenLinks(t *testing.T) {
	if all, err := chosenLinks(nil); err != nil || len(all) != 3 {
		t.Errorf("all: %v, %v", all, err)
	}
	if one, err := chosenLinks([]string{"docker"}); err != nil || len(one) != 1 || one[0].name != "docker" {
		t.Errorf("docker: %v, %v", one, err)
	}
	if _, err := chosenLinks([]string{"podman"}); err == nil {
		t.Error("podman is taken for a name of tripod's")
	}
}
