package lsns

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripod/internal/golden"
	"tripod/internal/ns"
	"tripod/internal/ns/alone"
)

// shown prints what a command line shows of a snapshot.
func shown(t *testing.T, s *ns.Snapshot, c Command, args ...string) string {
	t.Helper()
	o, err := parse(args)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	if o.filter == nil && o.namespace != 0 && s.Find(o.namespace) == nil {
		t.Fatalf("no namespace %d", o.namespace)
	}
	v := newView(&o, newFacts(s, &c))
	v.partial = s.Partial
	return string(v.print(o.form(&c)))
}

func TestGolden(t *testing.T) {
	c := Command{UTF8: true, Now: 95000 * time.Second}
	for name, args := range map[string]string{
		"list": "-l", "json": "-J", "raw": "-r -l --output-all", "net": "-l -t net", "holders": "-l -o NS,TYPE,NPROCS,NSID,AGE,HOLDER", "holders-nowrap": "-lW -o NS,HOLDER",
		"owner": "-T", "parent": "-Tparent -o NS,TYPE,PNS,ONS", "owner-json": "-T -J -o NS -t mnt", "one": "4026532200", "persistent": "-l -P", "columns": "-l --output-all", "filter": "-l -Q NPROCS==0",
	} {
		golden.Check(t, "testdata/"+name+".golden", shown(t, sample(), c, strings.Fields(args)...))
	}
	// A tree's line goes on beside every line of a cell.
	tree := sample()
	tree.Namespaces[2].Holders = []ns.Holder{{Kind: ns.ByMount, Path: "/run/a"}, {Kind: ns.ByMount, Path: "/run/b"}, {Kind: ns.ByMount, Path: "/run/c"}}
	golden.Check(t, "testdata/tree.golden", shown(t, tree, c, "-o", "NS,HOLDER,COMMAND"))
	partial := sample()
	partial.Partial = true
	golden.Check(t, "testdata/partial.golden", shown(t, partial, c, "-J", "-t", "mnt", "-o", "NS"))
	for name, args := range map[string]string{"help": "--help", "list-columns": "-H", "list-columns-json": "-H -J", "list-columns-raw": "-H -r"} {
		var out bytes.Buffer
		c := Command{Out: &out, Err: &out, Version: "1.2"}
		if code := c.Run(strings.Fields(args)); code != 0 {
			t.Errorf("%s: exit code %d", args, code)
		}
		golden.Check(t, "testdata/"+name+".golden", out.String())
	}
}

// TestControlCharacters: what a process calls itself does not reach the terminal as it is, and JSON is JSON.
func TestControlCharacters(t *testing.T) {
	s := sample()
	name := "a\x1b]0;x\x07\u202eb\u0085\x7f\xff\u2066\xe2\x80\tc\n"
	s.Processes[4].Cmdline = name + "\x00"
	s.Mounts[0] = ns.Mount{Type: ns.Net, ID: 4026532201, Path: "/run/\x1b[2J"}
	for _, c := range []Command{{UTF8: true}, {}} {
		for _, args := range []string{"-l", "-J", "-r", "-lW", "-T"} {
			text := shown(t, s, c, append(strings.Fields(args), "-o", "NS,NSFS,COMMAND")...)
			for _, r := range text {
				if r != '\n' && (r < ' ' || r >= 0x7f && !visible(r, 2) || r == '\u202e') {
					t.Errorf("%s: %U in %q", args, r, text)
				}
			}
		}
	}
	var doc struct {
		Namespaces []struct {
			Command *string
		}
	}
	if err := json.Unmarshal([]byte(shown(t, s, Command{}, "-J", "-l", "-t", "mnt")), &doc); err != nil {
		t.Fatal(err)
	}
	// Each byte that is no UTF-8 is one replacement.
	if got, want := *doc.Namespaces[5].Command, string([]rune(name)); got != want {
		t.Errorf("JSON says %q, want %q", got, want)
	}
}

// TestMistakes has the mistakes in whose words we differ from util-linux.
func TestMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"-l -T":                "lsns: mutually exclusive arguments: --list --tree\n",
		"-P -p 1":              "lsns: mutually exclusive arguments: --persistent --task\n",
		"-o NS,,PID":           "lsns: unknown column: \n",
		"-o +":                 "lsns: unknown column: \n",
		"-o NS,\x1b":           "lsns: unknown column: \\x1b\n",
		"-Q NS=1":              "lsns: cannot use filter: column 3: = means nothing here\n",
		"--watch=0":            "lsns: invalid interval: '0' (seconds, from 0.1 to 86400)\n",
		"--watch=NaN":          "lsns: invalid interval: 'NaN' (seconds, from 0.1 to 86400)\n",
		"no-such-pod-anywhere": "lsns: cannot find container no-such-pod-anywhere: no such container\n",
		"-o " + strings.TrimSuffix(strings.Repeat("NS,", 65), ","): "lsns: too many columns: 65 (at most 64)\n",
	} {
		var out, errs bytes.Buffer
		c := Command{Out: &out, Err: &errs}
		if code := c.Run(strings.Fields(args)); code != 1 || !strings.HasSuffix(errs.String(), want) || out.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, errs.String(), want)
		}
	}
}

func TestShortAge(t *testing.T) {
	for seconds, want := range map[int]string{0: "0s", 119: "119s", 120: "2m", 125: "2m5s", 3600: "60m", 3 * 3600: "3h", 5*3600 + 60: "5h1m", 47 * 3600: "47h", 49 * 3600: "2d1h", 86400 * 9: "9d"} {
		if got := shortAge(time.Duration(seconds) * time.Second); got != want {
			t.Errorf("%ds: %s, want %s", seconds, got, want)
		}
	}
}

func TestComplete(t *testing.T) {
	for _, c := range []struct{ before, word, want string }{
		{"-t", "u", "user uts"},
		{"", "--type=u", "--type=user --type=uts"},
		{"", "--no", "--notruncate --noheadings --nowrap"},
		{"-o", "NS,POD", "NS,POD NS,PODNS"},
		{"", "--tree=o", "--tree=owner"},
		{"", "web", ""},
	} {
		var got []string
		for _, word := range Complete(strings.Fields(c.before), c.word) {
			word, _, _ = strings.Cut(word, "\t")
			got = append(got, word)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s %s: %v, want %s", c.before, c.word, got, c.want)
		}
	}
}

// TestNames: a process whose name holds a parenthesis is like any other. util-linux 2.38 prints nothing then.
func TestNames(t *testing.T) {
	if !alone.Inside(t) {
		return
	}
	cmd := alone.Script(t, unix.CLONE_NEWUTS, `printf 'x) R 7 (y' >/proc/self/comm; echo ready; sleep 1000 & wait`)
	got := ask(t, "/proc/self/exe", "C", 0, []string{"-t", "uts", "-o", "PID,PPID"})
	if want := strconv.Itoa(cmd.Process.Pid) + "    1\n"; got.code != 0 || !strings.Contains(got.out, want) {
		t.Errorf("%+v", got)
	}
}

// TestStrict looks as nobody: what may not be read is told, and --strict makes it an error.
func TestStrict(t *testing.T) {
	if !alone.Inside(t) {
		return
	}
	look := func(args ...string) answer {
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Dir = "/"
		cmd.Env = []string{asCommand + "=0"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.Run()
		return answer{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
	}
	warning := regexp.MustCompile(`^lsns: warning: (process 1|[2-9] processes) may not be read, so namespaces and counts are those that can be seen\n$`)
	if got := look("-t", "uts", "-o", "NPROCS"); got.out != "NPROCS\n     1\n" || got.code != 0 || !warning.MatchString(got.err) {
		t.Errorf("%+v", got)
	}
	if got := look("-J", "-t", "uts", "-o", "NPROCS", "--strict"); got.code != exitPartial || !strings.Contains(got.out, "\"partial\": true\n") {
		t.Errorf("%+v", got)
	}
	if got := ask(t, "/proc/self/exe", "C", 0, []string{"--strict", "-J"}); got.code != 0 || got.err != "" || strings.Contains(got.out, "partial") {
		t.Errorf("root: %+v", got)
	}
}

// TestWatch looks three times, and no more when there is nobody to wait for.
func TestWatch(t *testing.T) {
	looks := 0
	var out bytes.Buffer
	c := Command{Out: &out, Err: &bytes.Buffer{}, Wait: func(d time.Duration) bool {
		looks++
		return d == 500*time.Millisecond && looks < 3
	}}
	if code := c.Run([]string{"--watch=0.5", "-p", strconv.Itoa(os.Getpid()), "-t", "uts", "-o", "TYPE"}); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if want := strings.Repeat("TYPE\nuts\n", 3); out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// TestDifferences: each difference that docs/lsns.md names has a test that is there.
func TestDifferences(t *testing.T) {
	if _, err := os.Stat("../../go.mod"); err != nil {
		t.Skip("not in the repository")
	}
	text, err := os.ReadFile("../../docs/lsns.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## Differences")
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, " | ")
		if len(cells) != 3 || cells[0] == "| there" {
			continue
		}
		rows++
		for name := range strings.SplitSeq(strings.Trim(cells[2], "| \n"), ", ") {
			name = strings.Trim(name, "`")
			if script, ok := strings.CutPrefix(name, "e2e/"); ok {
				if _, err := os.Stat("../../e2e/testdata/script/" + script + ".txtar"); err != nil {
					t.Error(err)
				}
				continue
			}
			folder, test, _ := strings.Cut(name, ".")
			if out, err := exec.Command("grep", "-rl", "func "+test+"(", "../"+folder).Output(); err != nil || len(out) == 0 {
				t.Errorf("%s is not there", name)
			}
		}
	}
	if rows < 10 {
		t.Errorf("%d differences", rows)
	}
}

// FuzzTrees draws trees of relations that processes may have made up, with rings among them: each line stands in a tree once.
func FuzzTrees(f *testing.F) {
	f.Add([]byte{1, 2, 3, 2, 3, 1, 3, 1, 2, 4, 0, 0, 5, 5, 5})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &ns.Snapshot{Proc: "/nowhere/proc"}
		for i := 0; i+2 < len(data) && i < 300; i += 3 {
			n := len(s.Namespaces)
			s.Processes = append(s.Processes, ns.Process{PID: n + 1, TGID: n + 1, PPID: int(data[i]), Comm: "x"})
			s.Namespaces = append(s.Namespaces, ns.Namespace{ID: uint64(n + 1), Type: ns.Type(data[i] % ns.NumTypes), Members: []int{n}, Parent: uint64(data[i+1]), Owner: uint64(data[i+2])})
		}
		for _, args := range [][]string{{"-T"}, {"-Tparent"}, {"-Tprocess"}, {"-l"}, {"-T", "-QNS > 2"}} {
			want := len(s.Namespaces)
			if len(args) == 2 {
				want = max(0, want-2)
			}
			if got := strings.Count(shown(t, s, Command{}, append(args, "-n", "-o", "NS,COMMAND")...), "\n"); got != want {
				t.Errorf("%q: %d lines of %d", args, got, want)
			}
		}
		all := make([]int, len(s.Processes))
		for i := range all {
			all[i] = i
		}
		if len(all) > 0 {
			s.Namespaces[0].Members = all
			if got := strings.Count(shown(t, s, Command{}, "1", "-n", "-o", "PID,COMMAND"), "\n"); got != len(all) {
				t.Errorf("%d processes of %d", got, len(all))
			}
		}
	})
}
