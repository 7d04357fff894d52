package nsenter

import (
	"path/filepath"
	"strings"
	"testing"

	"tripod/internal/golden"
	"tripod/internal/ns"
	"tripod/internal/plan"
)

// target are all namespaces of a process 7 that belong to user namespace 100, and a user namespace 101 below it.
func target() Facts {
	f := Facts{PID: 7, Comm: "nginx", Self: 100, Admin: true, Groups: true, Keeps: true, LastCap: 2, Env: []string{"PATH=/usr/bin:/bin"}, NoFile: plan.Rlimit{Soft: 1024, Hard: 4096}}
	for i, t := range order {
		f.Joins = append(f.Joins, Join{Type: t, File: "/proc/7/ns/" + t.String(), ID: uint64(i + 1), Owner: 100})
	}
	return f
}

// TestGolden has what is decided for each kind of wish: order, both passes, identity, what is done last.
func TestGolden(t *testing.T) {
	user := Join{Type: ns.User, File: "/proc/7/ns/user", ID: 101}
	for _, c := range []struct {
		name, args string
		facts      func(f *Facts)
	}{
		{"all", "-t 7 -a true", func(*Facts) {}},
		{"net", "-t 7 -n ip addr", func(f *Facts) { f.Joins = f.Joins[3:4] }},
		{"user", "-t 7 -U -n id", func(f *Facts) { f.Joins, f.Users = f.Joins[3:4], []Join{user} }},
		{"unprivileged", "-t 7 -U -n --preserve-credentials id", func(f *Facts) {
			f.Joins, f.Users, f.Admin, f.Groups = f.Joins[3:4], []Join{user}, false, false
			f.Joins[0].Owner = 101
		}},
		{"chain", "-t 7 -U -n -m id", func(f *Facts) {
			f.Joins = []Join{{Type: ns.Net, ID: 4, Owner: 101}, {Type: ns.Mnt, ID: 6, Owner: 102}}
			f.Users = []Join{user, {Type: ns.User, File: "/proc/7/ns/user", ID: 102}}
			f.Admin, f.Groups = false, false
		}},
		{"places", "-t 7 -m -r -W/tmp -S 5 -G 6 -c -e", func(f *Facts) {
			f.Joins, f.Root, f.Inside, f.Cgroups, f.Env = f.Joins[5:6], true, "/tmp", 2, []string{"A=b"}
			f.UID, f.GID, f.Shell = ID{Set: true, N: 5}, ID{Set: true, N: 6}, "/bin/ash"
		}},
		{"nofork", "-t 7 -p -F true", func(f *Facts) { f.Joins = f.Joins[4:5] }},
		{"keepcaps", "-t 7 -U --keep-caps true", func(f *Facts) { f.Joins, f.Users = nil, []Join{user} }},
		{"pty", "-t 7 -p --pty --mount-proc --kill-child=TERM --forward-signals sh", func(f *Facts) { f.Joins = f.Joins[4:5] }},
		{"like", "-t 7 -a --like-container sh", func(f *Facts) {
			f.Users = []Join{user}
			f.UID, f.GID = ID{Set: true, N: 1000}, ID{Set: true, N: 1000}
			f.Like = &Likened{Groups: []uint32{20}, Umask: 0o22, Bounding: 3, Permitted: 1, Effective: 1, NoNewPrivs: true, Rlimits: []plan.Rlimit{{Soft: 1, Hard: 2}}, OOM: 500}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := Parse(strings.Fields(c.args))
			if err != nil {
				t.Fatal(err)
			}
			f := target()
			c.facts(&f)
			j, err := Decide(o, f)
			if err != nil {
				t.Fatal(err)
			}
			given := []string{plan.Status, "root", "cwd", "pty", "cgroup:0", "cgroup:1"}
			for _, n := range append(f.Joins, f.Users...) {
				given = append(given, n.file())
			}
			if err := j.Plan.Verify(given...); err != nil {
				t.Error(err)
			}
			golden.Check(t, filepath.Join("testdata", c.name+".txt"), "nsenter "+c.args+"\n\n"+j.String()+hints(j))
		})
	}
}

func hints(j *Joining) string {
	var b strings.Builder
	for i := range j.Plan.Steps {
		if h := j.Hints[i]; h != "" {
			b.WriteString("hint for " + j.Plan.Steps[i].Name + ": " + h + "\n")
		}
	}
	return b.String()
}

// TestExecute has the files that are tried, as execvp(3) does.
func TestExecute(t *testing.T) {
	for _, c := range []struct {
		file, path string
		want       string
	}{
		{"ls", "PATH=/a::/b", "/a/ls ls /b/ls"},
		{"ls", "", "/bin/ls /usr/bin/ls"},
		{"./ls", "PATH=/a", "./ls"},
		{"", "PATH=/a", ""},
	} {
		var env []string
		if c.path != "" {
			env = []string{c.path}
		}
		if got := strings.Join(candidates(c.file, env), " "); got != c.want {
			t.Errorf("%q of %s: %q, want %q", c.file, c.path, got, c.want)
		}
	}
	long := "PATH=/a" + strings.Repeat(":/b", 300)
	j, err := Decide(Options{Args: []string{"ls"}}, Facts{Env: []string{long}, Keeps: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Plan.Verify(); err != nil {
		t.Error(err)
	}
}
