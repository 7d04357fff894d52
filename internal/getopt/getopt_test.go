package getopt

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

var options = []Option{
	{'a', "all", Nothing},
	{'o', "output", Value},
	{0, "output-all", Nothing},
	{'T', "tree", Perhaps},
	{'n', "", Nothing},
	{0, "alias", Nothing},
}

// said is what Parse found, in one line.
func said(found []Found, operands []string, err error) string {
	var b strings.Builder
	for _, f := range found {
		name := "--" + f.Long
		if f.Long == "" {
			name = "-" + string(f.Short)
		}
		fmt.Fprintf(&b, " %s", name)
		if f.HasValue {
			fmt.Fprintf(&b, " %q", f.Value)
		}
	}
	for i, o := range operands {
		if i == 0 {
			b.WriteString(" --")
		}
		fmt.Fprintf(&b, " %q", o)
	}
	if err != nil {
		fmt.Fprintf(&b, "; %v", err)
	}
	return strings.TrimSpace(b.String())
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		args    string
		inOrder bool
		want    string
	}{
		{"-a -n x -o y z", false, `--all -n --output "y" -- "x" "z"`},
		{"-a -n x -o y z", true, `--all -n -- "x" "-o" "y" "z"`},
		{"-anoy", false, `--all -n --output "y"`},
		{"-T x", false, `--tree -- "x"`},
		{"-Tx -T=x --tree=x --tree", false, `--tree "x" --tree "=x" --tree "x" --tree`},
		{"--output=", false, `--output ""`},
		{"--outp", false, `; option '--outp' is ambiguous; possibilities: '--output' '--output-all'`},
		{"--output-a -- -a", false, `--output-all -- "-a"`},
		{"--al -a", false, `; option '--al' is ambiguous; possibilities: '--all' '--alias'`},
		{"--tr=p", false, `--tree "p"`},
		{"-", false, `-- "-"`},
		{"-a --all=1", false, `--all; option '--all' doesn't allow an argument`},
		{"-ax -a", false, `--all; invalid option -- 'x'`},
		{"-ao", false, `--all; option requires an argument -- 'o'`},
		{"--output", false, `; option '--output' requires an argument`},
		{"--nix=1", false, `; unrecognized option '--nix=1'`},
	} {
		if got := said(Parse(options, strings.Fields(c.args), c.inOrder)); got != c.want {
			t.Errorf("%s: %s, want %s", c.args, got, c.want)
		}
	}
}

// TestAgainstLibrary asks the C library's getopt_long, by way of getopt(1), about the same words.
func TestAgainstLibrary(t *testing.T) {
	tool, err := exec.LookPath("getopt")
	if err != nil {
		t.Skip("no getopt(1)")
	}
	for _, args := range []string{
		"-an x -o y z", "-anoy", "-T x", "-Tx", "--tree=x --tree", "--output=", "--outp", "--output-a -- -a", "--al", "--tr=p", "-", "--all=1",
		"-ax", "-ao", "--output", "--nix=1", "--nix", "--outp=2", "--", "x -- -a", "-o -- -a", "-o", "--output-all=",
	} {
		out, err := exec.Command(tool, append([]string{"-n", "x", "-o", "ao:T::n", "-l", "all,output:,output-all,tree::,alias", "--"}, strings.Fields(args)...)...).CombinedOutput()
		found, operands, perr := Parse(options, strings.Fields(args), false)
		if (err != nil) != (perr != nil) {
			t.Errorf("%s: getopt(1) says %s, Parse says %s", args, out, said(found, operands, perr))
			continue
		}
		if perr != nil {
			if theirs, _, _ := strings.Cut(string(out), "\n"); theirs != "x: "+perr.Error() {
				t.Errorf("%s: %s, want %s", args, perr, theirs)
			}
			continue
		}
		if ours := " " + asGetopt(strings.Fields(args), found, operands) + "\n"; ours != string(out) {
			t.Errorf("%s: %q, want %q", args, ours, out)
		}
	}
}

// asGetopt writes what was found as getopt(1) does. It keeps the form, short or long, in which an option was given.
func asGetopt(args []string, found []Found, operands []string) string {
	var words []string
	isLong := func(f Found) bool {
		for _, a := range args {
			if strings.HasPrefix(a, "--") && len(a) > 2 && strings.HasPrefix(f.Long, strings.SplitN(a[2:], "=", 2)[0]) {
				return true
			}
		}
		return false
	}
	for _, f := range found {
		if isLong(f) {
			words = append(words, "--"+f.Long)
		} else {
			words = append(words, "-"+string(f.Short))
		}
		if f.Takes != Nothing {
			words = append(words, "'"+f.Value+"'")
		}
	}
	words = append(words, "--")
	for _, o := range operands {
		words = append(words, "'"+o+"'")
	}
	return strings.Join(words, " ")
}

func FuzzParse(f *testing.F) {
	f.Add("-a --output=x\x00-- -T")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		found, operands, err := Parse(options, args, false)
		if err == nil && len(found)+len(operands) > len(line)+len(args) {
			t.Errorf("%q: %s", line, said(found, operands, err))
		}
	})
}
