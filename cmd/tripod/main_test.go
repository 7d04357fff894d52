package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every verb says what it does, shows how, and stops at the first thing that it does not know.
func TestVerbs(t *testing.T) {
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short text %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.Runnable() && !cmd.HasSubCommands() && cmd.Example == "" && !cmd.Hidden {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		if f := cmd.Flags().Lookup("namespace"); f != nil && f.DefValue != "default" {
			t.Errorf("%s: -n defaults to %q", cmd.CommandPath(), f.DefValue)
		}
		names := map[string]string{}
		for _, sub := range cmd.Commands() {
			for _, name := range append(sub.Aliases, sub.Name()) {
				if other, taken := names[name]; taken {
					t.Errorf("%s is a name of %s and of %s", name, other, sub.Name())
				}
				names[name] = sub.Name()
			}
			visit(sub)
		}
	}
	root := newRoot(&app{})
	if root.PersistentFlags().Lookup("namespace") != nil {
		t.Error("-n is global: lsns and nsenter have their own")
	}
	visit(root)
}

func TestExitCodes(t *testing.T) {
	t.Setenv("TRIPOD_ROOT", t.TempDir())
	t.Setenv("TRIPOD_RUN_ROOT", t.TempDir())
	for _, c := range []struct {
		args string
		code int
		want string // of stderr
	}{
		{"version", 0, ""},
		{"pull x", 1, "tripod: unknown command \"pull\" for \"tripod\"\n\nDid you mean this?\n\tkill\n\timage\n"},
		{"image load -i /nosuch.tar", 1, "tripod: cannot read archive: open /nosuch.tar: no such file or directory\n"},
		{"nosuch", 1, "tripod: unknown command \"nosuch\""},
		{"run", 125, "tripod: there is no image and no manifest to run\nhint: tripod run IMAGE, or tripod run -f FILE\n"},
		{"run --device /dev/kvm x", 125, "tripod: unknown flag: --device\nhint: a container has the devices of every container; --privileged gives it all\n"},
		{"run -P x", 125, "tripod: unknown shorthand flag: 'P' in -P\nhint: publish by number: -p PORT takes a free port of the host\n"},
		{"--version", 0, ""},
		{"exec nosuch -c x ls -l", 125, "tripod: cannot find Pod nosuch in namespace default: no such Pod\n"},
		{"exec nosuch --help", 0, ""},
		{"exec nosuch --nosuch ls", 125, "tripod: unknown flag: --nosuch\nhint: see tripod exec --help\n"},
		{"run --nosuch x", 125, "tripod: unknown flag: --nosuch\nhint: see tripod run --help\n"},
		{"run -f x.yaml --rm", 125, "tripod: cannot use --rm with a manifest\nhint: write it into the manifest\n"},
		{"run -f /nosuch.yaml", 125, "tripod: cannot read manifest: stat /nosuch.yaml: no such file or directory\n"},
		{"exec nosuch -- true", 125, "tripod: cannot find Pod nosuch in namespace default: no such Pod\nhint: tripod ps -A shows all Pods\n"},
		{"exec nosuch", 125, "tripod: cannot run a command in Pod nosuch: no command\nhint: write it after --: tripod exec nosuch -- COMMAND\n"},
		{"logs nosuch", 1, "tripod: cannot find Pod nosuch in namespace default: no such Pod\nhint: tripod ps -A shows all Pods\n"},
		{"stop", 1, "tripod: no Pod is named\nhint: name a Pod, or use --all or -l\n"},
		{"kill -s NOSUCH web", 1, "tripod: cannot send signal \"NOSUCH\""},
		{"rm -i nosuch", 0, ""},
		{"ps", 0, "No Pods found in namespace default.\n"},
		{"ps -A -o xml", 1, "tripod: cannot print as \"xml\": no such form\n"},
		{"ps -l =", 1, "tripod: cannot read selector \"=\""},
		{"ps --log-level loud", 1, "tripod: cannot use --log-level \"loud\": no such level\n"},
		{"wait --for rain web", 1, "tripod: cannot wait for \"rain\": no such condition\n"},
		{"explain web --at moon", 1, "tripod: cannot explain at \"moon\": no such hop\n"},
	} {
		var out, err strings.Builder
		a := &app{out: &out, err: &err}
		if code := a.main(strings.Fields(c.args)); code != c.code || !strings.HasPrefix(err.String(), c.want) {
			t.Errorf("tripod %s: exit code %d, said %q, want %d, %q", c.args, code, err.String(), c.code, c.want)
		}
		if c.want == "" && err.Len() > 0 {
			t.Errorf("tripod %s said %q", c.args, err.String())
		}
	}
}

func TestComplain(t *testing.T) {
	var b strings.Builder
	a := &app{err: &b}
	a.complain(errors.Join(errors.New("one"), misuse("do this", "two")))
	if want := "tripod: one\ntripod: two\nhint: do this\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
