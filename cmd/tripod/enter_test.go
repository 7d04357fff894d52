package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/nsenter"
	"tripod/internal/owner"
)

// TestEnterWords has the command line of nsenter for each way to enter. nsenter understands all of them.
func TestEnterWords(t *testing.T) {
	target := owner.Target{PID: 7, Start: 99, Inode: 1234}
	for _, c := range []struct {
		name  string
		in    entrance
		tools string
		f     enterFlags
		want  string
	}{
		{
			"a Pod's",
			entrance{target: target, cwd: "/srv", user: &specs.User{UID: 33, GID: 44}},
			"/bin/busybox",
			enterFlags{execFlags: execFlags{tty: true}},
			"--target=7:1234 --start-time=99 --all --join-cgroup --like-container --forward-signals --kill-child --setuid=33 --setgid=44 --wdns=/srv --pty --tools=/bin/busybox -- sh -c x",
		},
		{
			"a stranger's, on a kernel without pidfs",
			entrance{target: owner.Target{PID: 7, Start: 99}},
			"",
			enterFlags{},
			"--target=7 --start-time=99 --all --join-cgroup --like-container --forward-signals --kill-child --wdns -- sh -c x",
		},
		{
			"a folder",
			entrance{target: target, cwd: "/srv"},
			"",
			enterFlags{execFlags: execFlags{cwd: "/tmp"}},
			"--target=7:1234 --start-time=99 --all --join-cgroup --like-container --forward-signals --kill-child --wdns=/tmp -- sh -c x",
		},
		{
			"two namespaces",
			entrance{target: target, cwd: "/srv"},
			"",
			enterFlags{spaces: [len(spaceFlags)]bool{0: true, 1: true}},
			"--target=7:1234 --start-time=99 --mount --pid --join-cgroup --like-container --forward-signals --kill-child --wdns=/srv -- sh -c x",
		},
		{
			"all but the files",
			entrance{target: target, cwd: "/srv"},
			"",
			enterFlags{spaces: [len(spaceFlags)]bool{false, true, true, true, true, true, true, true}},
			"--target=7:1234 --start-time=99 --pid --ipc --uts --net --cgroup --user --time --join-cgroup --like-container --forward-signals --kill-child -- sh -c x",
		},
	} {
		words := nsenterWords(&c.in, c.tools, []string{"sh", "-c", "x"}, c.f)
		if got := strings.Join(words[1:], " "); words[0] != "nsenter" || got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if o, err := nsenter.Parse(words[1:]); err != nil || !o.LikeContainer || !slices.Equal(o.Args, []string{"sh", "-c", "x"}) {
			t.Errorf("%s: %+v, %v", c.name, o, err)
		}
	}
}

func TestSetenv(t *testing.T) {
	env := []string{"A=1", "AB=2", "A=3"}
	if got := setenv(env, "A=4"); !slices.Equal(got, []string{"AB=2", "A=4"}) || !slices.Equal(env, []string{"A=1", "AB=2", "A=3"}) {
		t.Errorf("%v of %v", got, env)
	}
}

func TestStatic(t *testing.T) {
	for file, want := range map[string]bool{"/bin/busybox": true, "/bin/ls": false, "/etc/passwd": false, "/no/such": false} {
		if _, err := os.Stat(file); err != nil && want {
			t.Skipf("no %s", file)
		}
		if got := static(file); got != want {
			t.Errorf("%s: %v, want %v", file, got, want)
		}
	}
}
