package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Result is what the console told.
type Result struct {
	Packages                []Package
	Passed, Failed, Skipped int      // tests, subtests not counted; a package that ends badly without naming a test counts as one failed
	Missing                 []string // packages that were to run and told no end
	Ended                   bool     // the last line was seen: nothing was cut off
}

// Package is one test binary's run.
type Package struct {
	Name                    string
	Passed, Failed, Skipped int
	Exit                    int
	Bad                     []string // lines of the failed tests
	Rest                    []string // lines after the last test: all of them where there is none, as in a script
}

// Read understands the console: @@ begin and @@ end lines around the verbose output of test binaries.
func Read(console io.Reader, expected []string) Result {
	var r Result
	var at *Package
	var since []string // lines since the last test ended
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		_, rest, _ := strings.Cut(strings.TrimPrefix(line, "@@ "), " ")
		switch {
		case line == "@@ all done":
			r.Ended = true
		case strings.HasPrefix(line, "@@ begin "):
			name, _, _ := strings.Cut(rest, " ")
			at, since = &Package{Name: name, Exit: -1}, nil
		case strings.HasPrefix(line, "@@ end ") && at != nil:
			_, code, _ := strings.Cut(rest, " ")
			if n, err := strconv.Atoi(code); err == nil {
				at.Exit = n
			}
			if at.Rest = since; at.Exit != 0 && at.Failed == 0 {
				at.Failed, at.Bad = 1, since
			}
			r.add(*at)
			at = nil
		case at == nil:
		case strings.HasPrefix(line, "--- PASS: "):
			at.Passed++
			since = nil
		case strings.HasPrefix(line, "--- SKIP: "):
			at.Skipped++
			since = nil
		case strings.HasPrefix(line, "--- FAIL: "):
			at.Failed++
			at.Bad = append(append(at.Bad, since...), line)
			since = nil
		default:
			since = append(since, line)
		}
	}
	for _, name := range expected {
		if !slices.ContainsFunc(r.Packages, func(p Package) bool { return p.Name == name }) {
			r.Missing = append(r.Missing, name)
		}
	}
	return r
}

func (r *Result) add(p Package) {
	r.Packages = append(r.Packages, p)
	r.Passed += p.Passed
	r.Failed += p.Failed
	r.Skipped += p.Skipped
}

// Print writes one line a package, as go test does, below what its failed tests said.
func (r Result) Print(w io.Writer) {
	for _, p := range r.Packages {
		verdict := "ok  "
		if p.Exit != 0 || p.Failed > 0 {
			verdict = "FAIL"
			for _, line := range p.Bad {
				fmt.Fprintln(w, line)
			}
		}
		if p.Passed+p.Failed+p.Skipped == 0 {
			for _, line := range p.Rest {
				fmt.Fprintln(w, line)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%d passed, %d failed, %d skipped\n", verdict, p.Name, p.Passed, p.Failed, p.Skipped)
	}
	for _, name := range r.Missing {
		fmt.Fprintf(w, "FAIL\t%s\tno end\n", name)
	}
}
