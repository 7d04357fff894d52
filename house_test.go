// The house rules. This file is the map of the house: every package, its floor, and what it may touch.
// A change here is a change of architecture, and belongs in ARCHITECTURE.md in the same commit.
package tripod

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "tripod"

// floors names every package once, by its folder. A package imports only packages of lower floors.
var floors = [][]string{
	0: {
		"internal/golden",
		"contrib/systemd",
		"internal/quickjson",
		"internal/dbus",
		"internal/record",
		"internal/seccomp",
		"internal/life",
		"internal/socket",
		"internal/ns", "internal/ns/alone", "internal/getopt",
		"internal/capture/filter",
		"internal/capture/pcapng",
	},
	1: {
		"internal/capture/packet",
		"internal/capture",
		"internal/cgroup",
		"internal/registry",
		"internal/manifest",
		"internal/objects",
		"internal/pki",
		"internal/owner",
		"internal/seccomp/profile",
	},
	2: {
		"internal/api/admit",
		"internal/api/openapi",
		"internal/api/pods",
		"internal/api/stored",
		"internal/whois",
		"internal/share",
		"internal/plan",
		"internal/image",
		"internal/network",
		"internal/volume",
		"internal/bundle",
		"internal/lint",
		"internal/lsns",
	},
	3: {
		"internal/api/kinds",
		"internal/birth",
	},
	4: {
		"internal/container",
		"internal/nsenter",
	},
	5: {
		"internal/keeper",
	},
	6: {
		"internal/sandbox",
	},
	7: {
		"internal/engine",
	},
	8: {
		"internal/api",
		"internal/controllers",
		"internal/node",
		"internal/static",
	},
	9: {
		"cmd/tripod",
		"cmd/tripod-api",
		"cmd/tripod-oci",
		"cmd/tripodd",
	},
}

// outside are the folders of Go code that no binary of ours is built from.
var outside = []string{".", "e2e", "bench", "tools"}

// only names the packages that may import what the rest must not. A trailing /* stands for all below.
var only = map[string][]string{
	"unsafe": {
		"internal/ns",
		"internal/birth",
		"internal/capture",
		"internal/cgroup",
		"internal/keeper",
	},
	"golang.org/x/sys/unix": {
		"internal/capture",
		"internal/capture/filter",
		"internal/ns", "internal/ns/alone",
		"internal/nsenter",
		"internal/owner",
		"internal/share",
		"internal/socket",
		"internal/cgroup",
		"internal/dbus",
		"internal/record",
		"internal/seccomp",
		"internal/plan",
		"internal/birth",
		"internal/container",
		"internal/keeper",
		"internal/image",
		"internal/network",
		"internal/volume",
		"internal/sandbox",
		"internal/engine",
		"internal/node",
		"internal/static",
		"cmd/tripod",
		"cmd/tripod-api",
		"cmd/tripod-oci",
		"cmd/tripodd",
	},
	"k8s.io/*": {
		"internal/api", "internal/api/admit", "internal/api/kinds", "internal/api/openapi", "internal/api/pods", "internal/api/stored",
		"internal/manifest",
		"internal/objects",
		"internal/lint",
		"internal/bundle",
		"internal/volume",
		"internal/sandbox",
		"internal/engine",
		"internal/controllers",
		"internal/node",
		"internal/static",
		"cmd/tripod",
		"cmd/tripod-api",
		"cmd/tripodd",
	},
	"go.podman.io/*": {
		"internal/registry",
		"internal/image",
	},
	"github.com/spf13/cobra": {
		"cmd/tripod", "cmd/tripod-api", "cmd/tripod-oci", "cmd/tripodd",
	},
	"github.com/google/nftables": {
		"internal/network",
	},
}

// pure packages decide: values in, values out. They ask nothing of the machine or the clock.
var pure = []string{
	"internal/plan",
	"internal/bundle",
	"internal/lint",
	"internal/life",
	"internal/seccomp",
	"internal/capture/filter",
	"internal/capture/pcapng",
	"internal/capture/packet",
}

// impure is what a pure package may not import.
var impure = []string{"net", "net/http", "os", "os/exec"}

// denied says what a binary must never be linked from: its weight is paid at every start.
var denied = map[string][]string{
	"./cmd/tripod-oci": {"k8s.io/", "sigs.k8s.io/", "go.podman.io/", "google.golang.org/", "net/http", "github.com/distribution/", "github.com/google/go-containerregistry/", module + "/internal/golden"},
	"./cmd/tripod":     {"google.golang.org/grpc", "k8s.io/kubernetes/pkg/controller", "k8s.io/apiserver/pkg/server", "k8s.io/kubectl/", "github.com/rogpeppe/"},
	"./cmd/tripod-api": {"google.golang.org/grpc", "k8s.io/kubernetes/", "k8s.io/apiserver/", "go.podman.io/", module + "/internal/"},
}

// banned are names that name no job.
var banned = []string{"util", "utils", "common", "helper", "helpers", "misc", "base", "shared", "types", "manager"}

// Sizes of files and functions that are not tests, in lines. A reviewer asks from 400 and 80 on; the test refuses from here.
const (
	maxFile = 450
	maxFunc = 110
)

// vague begins an error that does not say what was wanted: the house says "cannot VERB KIND NAME: cause".
var vague = regexp.MustCompile(`(?i)\b(failed to|unable to|could not|error while)\b`)

// borrowed are packages that speak in the words of the command whose place they take, vague or not.
var borrowed = []string{"internal/nsenter", "internal/api/admit", "internal/node"}

// unfinished marks what does not belong in a finished text.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX|HA` + `CK)\b`)

// source is one Go file of the house.
type source struct {
	path, dir string
	test      bool
	fset      *token.FileSet
	file      *ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name != "." && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if ignored(file) {
			return nil
		}
		all = append(all, source{path, filepath.Dir(path), strings.HasSuffix(path, "_test.go"), fset, file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// ignored says that a file is a program of its own that go run starts, no part of its package.
func ignored(file *ast.File) bool {
	for _, group := range file.Comments {
		for _, line := range group.List {
			if line.Pos() < file.Package && line.Text == "//go:build ignore" {
				return true
			}
		}
	}
	return false
}

func isOutside(dir string) bool {
	return slices.ContainsFunc(outside, func(o string) bool { return dir == o || strings.HasPrefix(dir, o+"/") })
}

func matches(pattern, imp string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "/*"); ok {
		return imp == prefix || strings.HasPrefix(imp, prefix+"/")
	}
	return pattern == imp
}

func TestFloors(t *testing.T) {
	floor := map[string]int{}
	for n, dirs := range floors {
		for _, dir := range dirs {
			if was, twice := floor[dir]; twice {
				t.Errorf("%s stands on floor %d and on floor %d", dir, was, n)
			}
			floor[dir] = n
		}
	}
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if isOutside(s.dir) {
			continue
		}
		here, known := floor[s.dir]
		if !known {
			t.Errorf("%s: %s stands on no floor; add it to floors", s.path, s.dir)
		}
		if documents(s) {
			documented[s.dir] = true
		} else if _, seen := documented[s.dir]; !seen {
			documented[s.dir] = false
		}
		if s.test {
			continue
		}
		for _, spec := range s.file.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			if below, ours := strings.CutPrefix(imp, module+"/"); ours {
				if there, known := floor[below]; !known || there >= here {
					t.Errorf("%s: floor %d imports %s of floor %d", s.path, here, imp, there)
				}
			}
			for pattern, may := range only {
				if matches(pattern, imp) && !slices.Contains(may, s.dir) {
					t.Errorf("%s: only %v may import %s", s.path, may, imp)
				}
			}
			if slices.Contains(pure, s.dir) && slices.Contains(impure, imp) {
				t.Errorf("%s: a pure package imports %s", s.path, imp)
			}
		}
	}
	for dir := range floor {
		switch has, seen := documented[dir]; {
		case !seen:
			t.Errorf("floors names %s, which holds no Go file", dir)
		case !has:
			t.Errorf("%s has no doc that begins %q", dir, docStart(dir, filepath.Base(dir)))
		}
	}
}

// docStart is how the doc of a package begins: "Package x " or, for a command, "Command x ".
func docStart(dir, name string) string {
	if strings.HasPrefix(dir, "cmd/") {
		return "Command " + filepath.Base(dir) + " "
	}
	return "Package " + name + " "
}

func documents(s source) bool {
	return !s.test && strings.HasPrefix(s.file.Doc.Text(), docStart(s.dir, s.file.Name.Name))
}

func TestNames(t *testing.T) {
	for _, s := range sources(t) {
		for _, part := range append(strings.Split(s.dir, "/"), strings.TrimSuffix(strings.TrimSuffix(filepath.Base(s.path), ".go"), "_test")) {
			if slices.Contains(banned, part) {
				t.Errorf("%s: %q names no job", s.path, part)
			}
		}
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || ast.IsGenerated(s.file) {
			continue
		}
		if lines := s.fset.File(s.file.Pos()).LineCount(); lines > maxFile {
			t.Errorf("%s has %d lines, more than %d", s.path, lines, maxFile)
		}
		for _, decl := range s.file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			first, last := s.fset.Position(fn.Pos()), s.fset.Position(fn.End())
			if lines := last.Line - first.Line + 1; lines > maxFunc {
				t.Errorf("%s: %s has %d lines, more than %d", first, fn.Name.Name, lines, maxFunc)
			}
		}
	}
}

// TestHabits reads the code itself: effects at start, clocks in pure packages, errors that say nothing.
func TestHabits(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || isOutside(s.dir) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s: init() has effects nobody asked for; main wires by constructors", s.fset.Position(n.Pos()))
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name == "Now" && slices.Contains(pure, s.dir) {
					t.Errorf("%s: a pure package asks the clock; take now as an argument", s.fset.Position(n.Pos()))
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING && vague.MatchString(n.Value) && !slices.Contains(borrowed, s.dir) {
					t.Errorf("%s: %s: say \"cannot VERB KIND NAME: cause\"", s.fset.Position(n.Pos()), n.Value)
				}
			}
			return true
		})
	}
}

// TestWeight keeps the binaries small: every linked package's init runs at every start.
func TestWeight(t *testing.T) {
	for cmd, prefixes := range denied {
		if _, err := os.Stat(cmd); err != nil {
			continue
		}
		list := exec.Command("go", "list", "-deps", cmd)
		list.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", cmd, err)
		}
		for _, dep := range strings.Fields(string(out)) {
			for _, p := range prefixes {
				if strings.HasPrefix(dep, p) {
					t.Errorf("%s is linked from %s", cmd, dep)
				}
			}
		}
	}
}

// TestText reads every file that is kept in the repository.
func TestText(t *testing.T) {
	out, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Skip("not a git checkout")
	}
	for path := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		text, err := os.ReadFile(path)
		if err != nil || bytes.IndexByte(text, 0) >= 0 || path == "LICENSE" || path == "go.sum" || path == "THIRD_PARTY.md" || strings.Contains(path, "testdata/fuzz/") {
			continue
		}
		for n, line := range strings.Split(string(text), "\n") {
			if word := unfinished.FindString(line); word != "" {
				t.Errorf("%s:%d: %s", path, n+1, word)
			}
		}
	}
}

// kept are the tests, scripts and benchmarks that SPECIFICATION.md names.
var kept = regexp.MustCompile("`([a-z0-9-]+)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`|`e2e/([a-z-]+)`|bench: ([^|,]+?) ?(?:\\||,|$)")

// tests are the names of all tests, as package.TestName.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test {
				names[filepath.Base(filepath.Join(module, s.dir))+"."+f.Name.Name] = true
			}
		}
	}
	return names
}

// TestPromises sees that what keeps a promise of SPECIFICATION.md is there.
func TestPromises(t *testing.T) {
	text, err := os.ReadFile("SPECIFICATION.md")
	if err != nil {
		t.Fatal(err)
	}
	var benches strings.Builder
	for _, s := range sources(t) {
		if s.dir != "bench" {
			continue
		}
		data, err := os.ReadFile(s.path)
		if err != nil {
			t.Fatal(err)
		}
		benches.Write(data)
	}
	tests := tests(t)
	_, promises, _ := strings.Cut(string(text), "\n## ")
	for line := range strings.Lines(promises) {
		for _, m := range kept.FindAllStringSubmatch(strings.TrimSpace(line), -1) {
			switch {
			case m[1] != "" && !tests[m[1]+"."+m[2]]:
				t.Errorf("SPECIFICATION.md names %s.%s, which is not there", m[1], m[2])
			case m[3] != "":
				if _, err := os.Stat("e2e/testdata/script/" + m[3] + ".txtar"); err != nil {
					t.Errorf("SPECIFICATION.md names e2e/%s: %v", m[3], err)
				}
			case m[4] != "" && !strings.Contains(benches.String(), m[4]):
				t.Errorf("SPECIFICATION.md names the benchmark %q, which is not there", m[4])
			}
		}
	}
}

// attacks is how many docs/attacks.md tells of.
const attacks = 83

var (
	attackRow  = regexp.MustCompile(`^\| ([0-9]+) \| ((?:CVE|GHSA)-[^|]+) \| [^|]+ \| ([^|]+) \|$`)
	attackTest = regexp.MustCompile("`([a-z]+)`|(Test[A-Za-z0-9_]+)")
)

// TestAttacks sees that each published attack has its row in docs/attacks.md, and that the tests named there exist.
func TestAttacks(t *testing.T) {
	text, err := os.ReadFile("docs/attacks.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, next := tests(t), 1
	for line := range strings.Lines(string(text)) {
		row := attackRow.FindStringSubmatch(strings.TrimSpace(line))
		if row == nil {
			continue
		}
		if row[1] != strconv.Itoa(next) {
			t.Errorf("docs/attacks.md: row %s, want %d", row[1], next)
		}
		next++
		var packages []string
		named := false
		for _, m := range attackTest.FindAllStringSubmatch(row[3], -1) {
			if m[1] != "" {
				if named {
					packages, named = nil, false
				}
				packages = append(packages, m[1])
				continue
			}
			named = true
			for _, p := range packages {
				if !tests[p+"."+m[2]] {
					t.Errorf("docs/attacks.md: row %s names %s.%s, which is not there", row[1], p, m[2])
				}
			}
		}
		if says := strings.HasPrefix(row[3], "does not apply") || strings.Contains(row[3], "the tests of") || row[3] == "see below"; !named && !says {
			t.Errorf("docs/attacks.md: row %s names no test and no reason", row[1])
		}
	}
	if next-1 != attacks {
		t.Errorf("docs/attacks.md has %d attacks, want %d", next-1, attacks)
	}
}
