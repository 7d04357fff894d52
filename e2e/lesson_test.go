package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lessonBlock is one block of commands of a page, and what is said of its output in comments below it:
//
//	<!-- sees REGEXP -->   the output of the block matches
//	<!-- code N -->        its last command ends so; else each ends with 0
type lessonBlock struct {
	line     int
	commands []string
	sees     []string
	code     int
}

var lessonNote = regexp.MustCompile(`^<!-- (sees|code) (.*) -->$`)

// readLesson reads the blocks of a page.
func readLesson(page string) ([]lessonBlock, error) {
	var blocks []lessonBlock
	inside := false
	scanner := bufio.NewScanner(strings.NewReader(page))
	for n := 1; scanner.Scan(); n++ {
		line := scanner.Text()
		switch {
		case line == "```console":
			inside = true
			blocks = append(blocks, lessonBlock{line: n})
		case line == "```":
			inside = false
		case inside:
			command, ok := strings.CutPrefix(line, "$ ")
			if !ok {
				return nil, fmt.Errorf("line %d: %q is no command", n, line)
			}
			b := &blocks[len(blocks)-1]
			b.commands = append(b.commands, command)
		default:
			m := lessonNote.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			b := &blocks[len(blocks)-1]
			if m[1] == "sees" {
				b.sees = append(b.sees, m[2])
				continue
			}
			code, err := strconv.Atoi(m[2])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			b.code = code
		}
	}
	return blocks, scanner.Err()
}

// script is a block as a line of a script of testscript and the program that it runs.
func (b lessonBlock) script(name string) (lines, program string) {
	var p strings.Builder
	p.WriteString("set -u\n")
	for i, c := range b.commands {
		last := i == len(b.commands)-1
		if last && b.code != 0 {
			fmt.Fprintf(&p, "%s\ncode=$?\ntest $code = %d || { echo \"exit code $code\"; exit 1; }\n", c, b.code)
		} else {
			fmt.Fprintf(&p, "{ %s\n} || exit\n", c)
		}
	}
	lines = fmt.Sprintf("exec bash %s\n", name)
	for _, s := range b.sees {
		lines += fmt.Sprintf("stdout '%s'\n", strings.ReplaceAll("(?m)"+s, "'", "''"))
	}
	return lines, p.String()
}

func commandsOf(blocks []lessonBlock) string {
	var all []string
	for _, b := range blocks {
		all = append(all, b.commands...)
	}
	return strings.Join(all, "\n")
}

// TestLesson types what the pages of the lesson say, block by block, against a Pod of tripod.
func TestLesson(t *testing.T) {
	if os.Getenv("TRIPOD_VM") != "" {
		t.Skip("the emulated machine has neither the pages nor tcpdump")
	}
	pages, err := filepath.Glob("../docs/lesson*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("no lesson", err)
	}
	dir := t.TempDir()
	var first []lessonBlock
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := readLesson(string(text))
		if err != nil || len(blocks) == 0 {
			t.Fatalf("%s: %d blocks, %v", page, len(blocks), err)
		}
		if first == nil {
			first = blocks
		}
		if said, want := commandsOf(blocks), commandsOf(first); said != want {
			t.Errorf("%s and %s say different commands (-%[2]s +%[1]s):\n%[3]s", page, pages[0], cmp.Diff(want, said))
		}
		var script, files strings.Builder
		script.WriteString("registry\n")
		for i, b := range blocks {
			name := fmt.Sprintf("line%d.sh", b.line)
			lines, program := b.script(name)
			fmt.Fprintf(&script, "\n# %s, line %d\n%s", filepath.Base(page), blocks[i].line, lines)
			fmt.Fprintf(&files, "-- %s --\n%s", name, program)
		}
		script.WriteString("noleaks\n\n")
		for _, example := range []string{"multi-containers.yaml", "init.yaml"} {
			data, err := os.ReadFile("../examples/" + example)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&files, "-- examples/%s --\n%s", example, data)
		}
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		if err := os.WriteFile(filepath.Join(dir, name+".txtar"), []byte(script.String()+files.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	runScripts(t, dir)
}
