// Command notices writes THIRD_PARTY.md: which modules the binaries are linked from, and each one's licence text, read
// from the module cache. With -check it writes nothing and fails when the file is not what it would write.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// module is a module some binary is linked from.
type module struct {
	Path, Version, Dir string
	Main               bool
	Replace            *module
}

// notice is one licence or notice text, and every module that carries it word for word.
type notice struct {
	text    string
	modules []string
}

func main() {
	out := flag.String("o", "THIRD_PARTY.md", "the `file` to write")
	check := flag.Bool("check", false, "compare, write nothing")
	flag.Parse()
	if err := run(*out, *check, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

func run(out string, check bool, packages []string) error {
	if len(packages) == 0 {
		packages = []string{"./cmd/..."}
	}
	modules, err := linked(packages)
	if err != nil {
		return err
	}
	text, err := render(modules)
	if err != nil {
		return err
	}
	if !check {
		return os.WriteFile(out, text, 0o644)
	}
	if have, err := os.ReadFile(out); err != nil || !bytes.Equal(have, text) {
		return errors.Join(err, fmt.Errorf("%s is not what the binaries are linked from; run make notices", out))
	}
	return nil
}

// linked lists the modules that the packages are built from, sorted by path, the main module left out.
func linked(packages []string) ([]module, error) {
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=Module"}, packages...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list packages: %w", err)
	}
	found := map[string]module{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ Module *module }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if m := p.Module; m != nil && !m.Main {
			if m.Replace != nil {
				m = m.Replace
			}
			found[m.Path] = *m
		}
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot find the Go tree: %w", err)
	}
	list := []module{{Path: "std", Version: "Go's own library", Dir: strings.TrimSpace(string(root))}}
	for _, m := range found {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

var noticeFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|unlicense)([._-].*)?$`)

func render(modules []module) ([]byte, error) {
	var notices []*notice
	byText := map[string]*notice{}
	var b bytes.Buffer
	fmt.Fprint(&b, "# What the binaries are linked from\n\nWritten by `make notices`. The full texts follow the table.\n\n| module | version | licence |\n|---|---|---|\n")
	for _, m := range modules {
		texts, err := read(m)
		if err != nil {
			return nil, err
		}
		kinds := []string{}
		for _, text := range texts {
			for _, k := range licences(text) {
				if !slices.Contains(kinds, k) {
					kinds = append(kinds, k)
				}
			}
			n := byText[text]
			if n == nil {
				n = &notice{text: text}
				byText[text], notices = n, append(notices, n)
			}
			n.modules = append(n.modules, m.Path)
		}
		if len(kinds) == 0 {
			return nil, fmt.Errorf("cannot tell the licence of %s: read %s", m.Path, m.Dir)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", m.Path, m.Version, strings.Join(kinds, ", "))
	}
	for _, n := range notices {
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s\n```\n", strings.Join(n.modules, ", "), n.text)
	}
	return b.Bytes(), nil
}

// read returns the licence and notice texts at the top of the module's folder, trimmed, in order of file name.
func read(m module) ([]string, error) {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, e := range entries {
		if e.IsDir() || !noticeFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, trim(string(text)))
	}
	return texts, nil
}

// trim drops carriage returns, blanks at line ends and blank lines at both ends, so that equal texts are equal.
func trim(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " \t\r\f")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

// licences names what a text holds, each licence by the sentence that is its own, as SPDX does. A NOTICE holds none.
func licences(text string) []string {
	var found []string
	flat := strings.Join(strings.Fields(text), " ")
	for _, k := range []struct{ sentence, name string }{
		{"Apache License Version 2.0", "Apache-2.0"},
		{"Mozilla Public License Version 2.0", "MPL-2.0"},
		{"Mozilla Public License, version 2.0", "MPL-2.0"},
		{"Permission is hereby granted, free of charge", "MIT"},
		{"Permission to use, copy, modify, and/or distribute this software for any purpose", "ISC"},
		{"Permission to use, copy, modify, and distribute this software for any purpose", "ISC"},
		{"This is free and unencumbered software released into the public domain", "Unlicense"},
		{"Neither the name", "BSD-3-Clause"},
		{"be used to endorse or promote products derived from this software", "BSD-3-Clause"},
		{"Redistribution and use in source and binary forms", "BSD-2-Clause"},
	} {
		if strings.Contains(flat, k.sentence) {
			// The shorter BSD licence is within the longer.
			if !slices.Contains(found, k.name) && (k.name != "BSD-2-Clause" || !slices.Contains(found, "BSD-3-Clause")) {
				found = append(found, k.name)
			}
		}
	}
	return found
}
