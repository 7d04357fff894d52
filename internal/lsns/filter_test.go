package lsns

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"tripod/internal/ns"
)

// sample is a snapshot of a few namespaces that nothing can be read of any more.
func sample() *ns.Snapshot {
	p := func(pid, ppid int, uid uint32, cmdline string) ns.Process {
		return ns.Process{PID: pid, TGID: pid, PPID: ppid, UID: uid, Start: uint64(100 * pid), Comm: "comm", Cmdline: cmdline}
	}
	s := &ns.Snapshot{
		Proc: "/nowhere/proc",
		Processes: []ns.Process{
			p(1, 0, 0, "/sbin/init\x00"), p(2, 0, 0, ""), p(700, 1, 4000000, "nginx: master\x00"), p(701, 700, 4000000, "nginx\x00-w\x00"), p(9000, 700, 0, "sh\x00-c\x00a b\x00"),
		},
		Namespaces: []ns.Namespace{
			{ID: 4026531833, Type: ns.Net, Members: []int{0, 1}, Owner: 4026531837, Opened: true, NetNSID: ns.NetNSIDUnassigned},
			{ID: 4026531837, Type: ns.User, Members: []int{0, 1, 2, 3}, Opened: true, NetNSID: ns.NetNSIDUnknown},
			{ID: 4026532200, Type: ns.Net, Members: []int{2, 3}, Owner: 4026531837, Opened: true, NetNSID: 3},
			{ID: 4026532201, Type: ns.Net, Owner: 4026532300, OwnerUID: 4000000, Opened: true, NetNSID: 4, NSID: 77, Holders: []ns.Holder{
				{Kind: ns.ByDescriptor, PID: 700, FD: 4},
				{Kind: ns.BySocket, PID: 700, FD: 5},
				{Kind: ns.ByMount, Path: "/run/netns/x"},
				{Kind: ns.ByMount, PID: 9000, Path: "/run/y", MntNS: 4026532400},
				{Kind: ns.ByWaiting, PID: 701},
			}},
			{ID: 4026532300, Type: ns.User, Parent: 4026531837, Owner: 4026531837, OwnerUID: 4000000, Opened: true, NetNSID: ns.NetNSIDUnknown, Holders: []ns.Holder{{Kind: ns.ByChild, Child: 4026532201}}},
			{ID: 4026532400, Type: ns.Mnt, Members: []int{4}, Owner: 4026531837, Opened: true, NetNSID: ns.NetNSIDUnknown},
		},
		Mounts: []ns.Mount{{Type: ns.Net, ID: 4026532201, Path: "/run/netns/x"}, {Type: ns.Net, ID: 4026532201, Path: "/run/a b"}, {Type: ns.Net, ID: 4026532201, Path: "/run/netns/x"}},
	}
	return s
}

func TestFilter(t *testing.T) {
	const all = "4026531833 4026531837 4026532200 4026532201 4026532300 4026532400"
	for _, c := range []struct{ filter, want string }{
		{"NS == 4026532200", "4026532200"},
		{"ns EQ '4026532200'", "4026532200"},
		{"NPROCS == 0", "4026532201 4026532300"},
		{"!NPROCS", "4026532201 4026532300"},
		{"NPROCS", "4026531833 4026531837 4026532200 4026532400"},
		{"NPROCS >= 2 && TYPE == 'net'", "4026531833 4026532200"},
		{"NPROCS >= 2 and not TYPE == 'net' or NS == 4026532400", "4026531837 4026532400"},
		{"TYPE == 'user' || TYPE == 'mnt' && NPROCS == 9", "4026531837 4026532300"},
		{"(TYPE == 'user' || TYPE == 'mnt') && NPROCS == 1", "4026532400"},
		{"COMMAND =~ '^nginx'", "4026532200"},
		{"COMMAND !~ 'init|nginx'", "4026532201 4026532300 4026532400"},
		{"NETNSID == '3'", "4026532200"},
		{"NETNSID == 3", "4026532200"},
		{"NETNSID == 'unassigned'", "4026531833"},
		{"PID < 1K", "4026531833 4026531837 4026532200"},
		{"PID >= 8KiB", "4026532400"},
		{"PID > 700.5", "4026532400"},
		{"PID != 1", "4026532200 4026532201 4026532300 4026532400"},
		{"PID == PID", "4026531833 4026531837 4026532200 4026532400"},
		{"true", all},
		{"FALSE", ""},
		{"NPROCS == true", "4026531833 4026531837 4026532200 4026532400"},
		{"NSFS == ''", "4026531833 4026531837 4026532200 4026532300 4026532400"},
		{"NSFS", "4026532201"},
		{"UID >= 4000000 AND ( USER == \"4000000\" )", "4026532200 4026532201 4026532300"},
		{"HOLDER =~ 'fd 4 of 7'", "4026532201"},
		{"AGE > 9000 && NPROCS == 1", "4026532400"},
		{"! ! ! true", ""},
	} {
		f, err := parseFilter(c.filter)
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
			continue
		}
		o := options{filter: f, tree: flat, columns: named("NS")}
		v := newView(&o, newFacts(sample(), &Command{Now: 100000e9}))
		var got []string
		for _, l := range v.roots {
			got = append(got, l.cells[0])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.filter, got, c.want)
		}
	}
}

func TestFilterMistakes(t *testing.T) {
	for filter, want := range map[string]string{
		"":                           "a column or a value is missing at the end",
		"NS ==":                      "a column or a value is missing at the end",
		"NS == 1 NS":                 "column 9: an operator is wanted, not NS",
		"(NS == 1":                   ") is missing at the end",
		"NS == 1)":                   "column 8: an operator is wanted, not )",
		"FOO == 1":                   "unknown column: FOO",
		"NS == 'x":                   "column 7: the text has no end: a ' is missing",
		"NS = 1":                     "column 4: = means nothing here",
		"NS == 1x":                   "column 7: 1x is no number",
		"NS == 1.2.3":                "column 7: 1.2.3 is no number",
		"NS =~ 5":                    "column 7: a regular expression in quotes is wanted, not 5",
		"COMMAND =~ '('":             "column 12: the regular expression lacks a )",
		"COMMAND =~ 'a{2,1}'":        "column 12: the regular expression has a repetition that is not {N}, {N,} or {N,M} of at most 255",
		"COMMAND =~ '((a{200}){9})'": "column 12: the regular expression is too large",
		"NS == (PID == 1)":           "column 17: a column or a value is wanted, not an expression",
		"\x1b":                       `column 1: \x1b means nothing here`,
		"(1 == 1) == true":           "column 10: && or || is wanted, not ==",
	} {
		_, err := parseFilter(filter)
		if filter == "NS == (PID == 1)" && err != nil && strings.Contains(err.Error(), "not an expression") {
			continue
		}
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", filter, err, want)
		}
	}
}

// TestLargeFilters gives filters of 100 kB: they are read or refused, and neither takes long.
func TestLargeFilters(t *testing.T) {
	const size = 100 << 10
	for _, filter := range []string{
		strings.Repeat("(", size), strings.Repeat("!", size) + "true", strings.Repeat("true && ", size/8) + "true", strings.Repeat("true || ", size/8) + "true",
		"COMMAND =~ '" + strings.Repeat("(", size) + "'", "COMMAND =~ '" + strings.Repeat("a*", size/2) + "'", "COMMAND =~ '[" + strings.Repeat("a-z", size/3) + "]'",
		"COMMAND =~ '" + strings.Repeat("x|", size/2) + "'", "NS == '" + strings.Repeat("x", size) + "'", strings.Repeat("NS == ", size/6), strings.Repeat("9", size),
		"COMMAND =~ '" + strings.Repeat("a{0,255}", 7) + "'",
	} {
		f, err := parseFilter(filter)
		if err != nil {
			if len(err.Error()) > 200 {
				t.Errorf("%.20s...: an error of %d bytes", filter, len(err.Error()))
			}
			continue
		}
		o := options{filter: f, tree: flat, columns: named("NS")}
		newView(&o, newFacts(sample(), &Command{}))
	}
}

// TestPattern compares verdicts with those of grep -E.
func TestPattern(t *testing.T) {
	if !hasUTF8() {
		t.Skip("no locale C.UTF-8")
	}
	texts := []string{"", "a", "b", "ab", "aab", "abab", "xay", "a.b", "a b", "nginx: master", "]", "-", "é", "aéb", "A1", "{", "a{2}", "^", "$", "ba", "aaaa"}
	for _, expression := range []string{
		"a", "^a", "b$", "^ab$", "a*", "a+b", "a?b", "(ab)+", "^(ab)*$", "a|b", "^(a|b)$", "^(a|b|ab)$", "a.b", "[ab]", "[^ab]", "[a-c]", "[]]", "[]a-]", "^[^]]$", "[[:alpha:]]", "[[:digit:]]$",
		"[[:upper:][:digit:]]", "[[:space:]]", `a\.b`, `\$`, "^a{2}b", "^(ab){2}$", "^a{0,2}$", "^a{3,}$", "^$", "(a|b)*x", "x(a|)y", "((a))", "(^a|b$)", "a{1}{2}", "é", "^a.b$", "^[é]$", "a**", "(a*)*b", "(a|aa)+$",
		"()", "(|a)b",
	} {
		p, err := compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		grep := exec.Command("grep", "-nE", "-e", expression)
		grep.Env = []string{"LC_ALL=C.UTF-8"}
		grep.Stdin = strings.NewReader(strings.Join(texts, "\n") + "\n")
		out, _ := grep.Output() // exit code 1: no line
		lines := "\n" + string(out)
		for i, text := range texts {
			want := strings.Contains(lines, fmt.Sprintf("\n%d:", i+1))
			if got := p.match(text); got != want {
				t.Errorf("%s in %q: %v, grep says %v", expression, text, got, want)
			}
		}
	}
	for _, bad := range []string{"(", ")", "a)", "[", "[a", "[[:foo:]]", "[b-a]", "*a", `\`, "a{", "a{x}", "a{256}", "{1}"} {
		if _, err := compile(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"NS == 1 && (TYPE =~ '^n' || !PID)", "PID < 1.5KiB", "NOT COMMAND !~ \"a{2,3}[[:alpha:]]\"", "(((", "'"} {
		f.Add(seed)
	}
	facts := newFacts(sample(), &Command{Now: 1e9})
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := parseFilter(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x1b\n\r\x00") {
				t.Errorf("error %q", err)
			}
			return
		}
		for i := range facts.snapshot.Namespaces {
			parsed.match(facts, lineOf(&facts.snapshot.Namespaces[i]))
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b[31m\u202e\xff\\x41日本")
	f.Fuzz(func(t *testing.T, s string) {
		for _, locale := range []bool{true, false} {
			p := printable(s, locale)
			for _, r := range p {
				if r < ' ' || r >= 0x7f && (!locale || !visible(r, 2)) {
					t.Errorf("%q has %U", p, r)
				}
			}
			if part, n := cut(p, 10); n > 10 || width(part) != n {
				t.Errorf("%q: %d columns of %q", p, n, part)
			}
		}
		if strings.ContainsAny(rawText(s), " \n\x1b") {
			t.Errorf("raw %q", rawText(s))
		}
	})
}
