// Package debian lists the files of installed Debian packages with the libraries their programs need, so that a small root
// file system (an image's layer, a virtual machine's disk) can be made of them without an archive at hand.
//
// A package's dependencies are not followed: libraries are found as the dynamic loader finds them, and anything else is
// named by the caller.
package debian

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// merged are the top folders that are symbolic links into /usr on a Debian of today.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// units is where systemd and its units are.
const units = "/usr/lib/systemd"

// left are folders that a program does not need to run.
var left = []string{"/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/lintian", "/usr/share/bug", "/usr/share/info", "/usr/share/doc-base", units, "/etc/init.d", "/usr/share/bash-completion"}

// Files returns every path of the packages and of the libraries their programs need, folders before what is in them. Paths
// are absolute and usr-merged: /bin itself is in the list, as a link, and its files are below /usr/bin.
func Files(packages ...string) ([]string, error) { return files(left, packages) }

// System is Files with the units of systemd, for a root file system that systemd boots.
func System(packages ...string) ([]string, error) {
	return files(slices.DeleteFunc(slices.Clone(left), func(l string) bool { return l == units }), packages)
}

func files(left, packages []string) ([]string, error) {
	out, err := exec.Command("dpkg-query", append([]string{"-L"}, packages...)...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.New(strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("cannot list packages %v: %w", packages, err)
	}
	c := collection{}
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSuffix(path, "\n")
		if !strings.HasPrefix(path, "/") || path == "/." || slices.ContainsFunc(left, func(l string) bool { return path == l || strings.HasPrefix(path, l+"/") }) {
			continue
		}
		if err := c.add(path); err != nil {
			return nil, err
		}
	}
	for _, dir := range merged {
		if to, err := os.Readlink("/" + dir); err == nil && to == "usr/"+dir {
			c["/"+dir] = true
		}
	}
	paths := make([]string, 0, len(c))
	for path := range c {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths, nil
}

// collection is the set of paths found so far.
type collection map[string]bool

// add takes in a path, the folders above it, where it leads if it is a link, and the libraries it needs if it is a program.
func (c collection) add(path string) error {
	path = canonical(path)
	if c[path] || path == "/" {
		return nil
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // excluded by the administrator (dpkg --path-exclude), or a configuration file that was taken away
	} else if err != nil {
		return err
	}
	if err := c.add(filepath.Dir(path)); err != nil {
		return err
	}
	c[path] = true
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		return c.add(to)
	case info.Mode().IsRegular() && (info.Mode()&0o111 != 0 || strings.Contains(path, ".so")):
		return c.libraries(path)
	}
	return nil
}

// canonical moves a path of a merged top folder below /usr.
func canonical(path string) string {
	path = filepath.Clean(path)
	for _, dir := range merged {
		if rest, ok := strings.CutPrefix(path, "/"+dir+"/"); ok {
			return "/usr/" + dir + "/" + rest
		}
	}
	return path
}

// libraries adds what the loader would load for an ELF file; other files need nothing.
func (c collection) libraries(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	for _, prog := range f.Progs {
		if prog.Type == elf.PT_INTERP {
			name := make([]byte, prog.Filesz)
			if _, err := prog.ReadAt(name, 0); err != nil {
				return fmt.Errorf("cannot read the interpreter of %s: %w", path, err)
			}
			if err := c.add(strings.TrimRight(string(name), "\x00")); err != nil {
				return err
			}
		}
	}
	needed, err := f.DynString(elf.DT_NEEDED)
	if err != nil {
		return nil // static
	}
	search, err := f.DynString(elf.DT_RUNPATH)
	if err != nil {
		return nil
	}
	// The last one is where a library finds its like, which the program that loads both has named.
	dirs := []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", filepath.Dir(path)}
	for _, s := range search {
		for dir := range strings.SplitSeq(s, ":") {
			dirs = append(dirs, strings.ReplaceAll(dir, "$ORIGIN", filepath.Dir(path)))
		}
	}
	for _, lib := range needed {
		i := slices.IndexFunc(dirs, func(dir string) bool {
			_, err := os.Stat(filepath.Join(dir, lib))
			return err == nil
		})
		if i < 0 {
			return fmt.Errorf("cannot find library %s of %s", lib, path)
		}
		if err := c.add(filepath.Join(dirs[i], lib)); err != nil {
			return err
		}
	}
	return nil
}
