package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Report is everything that one run of the benchmarks told.
type Report struct {
	Machine  []string
	Versions []string
	Results  []Result
}

// machine says what the figures were measured on.
func machine() []string {
	field := func(file, key string) string {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
				return strings.TrimSpace(value)
			}
		}
		return "unknown"
	}
	cpus, _ := os.ReadFile("/proc/cpuinfo")
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return []string{
		fmt.Sprintf("%d × %s, memory %s", strings.Count(string(cpus), "processor\t"), field("/proc/cpuinfo", "model name"), field("/proc/meminfo", "MemTotal")),
		"Linux " + strings.TrimSpace(string(release)) + ", " + cgroupMode(),
	}
}

// Head prints machine and versions.
func (r Report) Head(w io.Writer) {
	for _, line := range append(r.Machine, r.Versions...) {
		fmt.Fprintln(w, line)
	}
}

// Write puts report.txt, results.json and bench.svg into a folder.
func (r Report) Write(dir string) error {
	var text strings.Builder
	r.Head(&text)
	for _, result := range r.Results {
		result.Print(&text)
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"report.txt": []byte(text.String()), "results.json": data, "bench.svg": r.plot()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
