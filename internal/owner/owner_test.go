package owner

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSanitise(t *testing.T) {
	for in, want := range map[string]string{
		"web":                "web",
		"\x1b]0;x\a\x1b[31m": `\x1b]0;x\x07\x1b[31m`,
		"a\nb\tc":            `a\x0ab\x09c`,
		"日本":                 "日本",
		"\u202egnp.exe":      `\u202egnp.exe`,
		"\xff\x9b31m":        `\xff\x9b31m`,
		"\u009b31m":          `\x9b31m`,
	} {
		if got := Sanitise(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := Sanitise(strings.Repeat("\x1b", 1<<20)); len(got) > maxSanitised+8 {
		t.Errorf("%d bytes", len(got))
	}
}

// TestNameOfAnother shows cgroups and state that a container or a user makes to be taken for somebody else.
func TestNameOfAnother(t *testing.T) {
	const real = "3366cb0592bcbdb39c443009c57e4e53a81cd788b8618d1209324ddb8bdaa288" // docker.txtar's web
	_, h := fixture(t, "docker")
	for path, want := range map[string]string{
		"/docker/" + real:                                 "web",
		"/docker/" + strings.Repeat("ab", 32):             "abababababab",
		"/lxc.payload.me/docker/" + real:                  "me",
		"/system.slice/docker-" + real + ".scope/lxc/me":  "web",
		"/user.slice/user@7.service/docker-" + real:       "3366cb0592bc",
		"/docker/" + real + "x":                           "",
		"/docker/../docker/" + real[:63] + "/":            "",
		"/docker/" + strings.ToUpper(real):                "",
		"/tripod/../../etc/passwd/x":                      "",
		"/tripod/0f0e0d0c-1111-4222-8333-44445555666/x":   "",
		"/x/tripod/0f0e0d0c-1111-4222-8333-444455556666/": "",
		"/machine.slice/machine-..scope":                  ".",
		"/machine.slice/machine-\x1b[2J.scope":            `\x1b[2J`,
	} {
		if c, _ := h.OfCgroup(path); c.String() != want && (want != "" || c.Known()) {
			t.Errorf("%q: %q, want %q (%+v)", path, c.String(), want, c)
		}
	}
}

// TestMovedStorage: administrators keep containers elsewhere than the runtimes would, and say so in their configuration.
func TestMovedStorage(t *testing.T) {
	id := strings.Repeat("ab", 32)
	docker := `{"ID":"` + id + `","Name":"/web","Config":{"Image":"nginx"}}`
	podman := `[{"id":"` + id + `","names":["web"],"metadata":"{\"image-name\":\"nginx\"}"}]`
	for _, c := range []struct{ name, cgroup, conf, text, state, content, want string }{
		{"docker", "/docker/" + id, "/etc/docker/daemon.json", `{"data-root": "/srv/docker/"}`, "/srv/docker/containers/" + id + "/config.v2.json", docker, "web"},
		{"docker, no path", "/docker/" + id, "/etc/docker/daemon.json", `{"data-root": "srv"}`, "/srv/containers/" + id + "/config.v2.json", docker, ""},
		{"docker, no JSON", "/docker/" + id, "/etc/docker/daemon.json", `data-root: /srv`, "/srv/containers/" + id + "/config.v2.json", docker, ""},
		{"podman", "/libpod_parent/libpod-" + id, "/etc/containers/storage.conf", "[storage]\ndriver = \"overlay\"\n# graphroot = \"/no\"\ngraphroot = \"/srv/c\" # ours\n", "/srv/c/overlay-containers/containers.json", podman, "web"},
		{"podman, the distribution's", "/libpod_parent/libpod-" + id, "/usr/share/containers/storage.conf", "graphroot='/srv/c'\n", "/srv/c/vfs-containers/containers.json", podman, "web"},
		{"podman, no path", "/libpod_parent/libpod-" + id, "/etc/containers/storage.conf", "graphroot = \nrunroot = \"/srv/c\"\n", "/srv/c/vfs-containers/containers.json", podman, ""},
	} {
		dir := t.TempDir()
		for path, text := range map[string]string{c.conf: c.text, c.state: c.content} {
			if err := os.MkdirAll(filepath.Dir(dir+path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir+path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		h := &Host{FS: dir, Proc: dir + "/proc"}
		if got, ok := h.OfCgroup(c.cgroup); !ok || got.Name != c.want {
			t.Errorf("%s: %+v, want %q", c.name, got, c.want)
		}
	}
}

// TestHostileState puts what is no state in the place of state: it must neither block nor be believed.
func TestHostileState(t *testing.T) {
	id := strings.Repeat("ab", 32)
	path := "/var/lib/docker/containers/" + id + "/config.v2.json"
	for name, put := range map[string]func(string) error{
		"pipe":      func(p string) error { return unix.Mkfifo(p, 0o600) },
		"folder":    func(p string) error { return os.Mkdir(p, 0o700) },
		"link":      func(p string) error { return os.Symlink("/dev/zero", p) },
		"truncated": func(p string) error { return os.WriteFile(p, []byte(`{"ID":"`+id+`","Name":"/we`), 0o600) },
		"deep":      func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("[", 1<<20)), 0o600) },
		"empty":     func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"other ID":  func(p string) error { return os.WriteFile(p, []byte(`{"ID":"x","Name":"/web"}`), 0o600) },
		"large":     func(p string) error { return os.Truncate(p, maxState+1) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Dir(dir+path), 0o700); err != nil {
				t.Fatal(err)
			}
			if name == "large" {
				if err := os.WriteFile(dir+path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := put(dir + path); err != nil {
				t.Fatal(err)
			}
			h := &Host{FS: dir, Proc: dir + "/proc"}
			if c, ok := h.OfCgroup("/docker/" + id); !ok || c.Name != "" || c.ID != id {
				t.Errorf("%v %+v", ok, c)
			}
		})
	}
}

// TestLongCgroupFile has a hundred thousand lines, and a path of a megabyte.
func TestLongCgroupFile(t *testing.T) {
	text := strings.Repeat("7:x:/user.slice/a/b/c\n", 100000) + "0::/docker/" + strings.Repeat("ab", 32) + "\n"
	if lines := parseLines(text); len(lines) != maxLines {
		t.Errorf("%d lines", len(lines))
	}
	if c := identify("/" + strings.Repeat("docker/", 1<<17)); c.Known() {
		t.Errorf("%+v", c)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/1", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/1/cgroup", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &Host{Proc: dir}
	if _, ok, err := h.OfProcess(1); ok || err == nil {
		t.Errorf("a cgroup file of %d bytes: %v, %v", len(text), ok, err)
	}
}

// TestAll lists each fixture's containers once, a monitor apart from what it watches, by their first process.
func TestAll(t *testing.T) {
	for name, want := range map[string]string{
		"bare":    "syscrun 203, plain-crun 1188, my-app 950, plain-runc 1116, sysrunc 177",
		"systemd": "box 970, web-1 218, web-3 254, web-3 (monitor) 251",
		"tripod":  "job 984, web/(sandbox) 981, web/nginx 980, web/(monitor) 982",
		"docker":  "3366cb0592bc 4001, evil 21809, web 21740, web 4000",
	} {
		_, h := fixture(t, name)
		all, err := h.All()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range all {
			if c.Runtime == Nspawn || name != "systemd" {
				got = append(got, c.String()+" "+strconv.Itoa(c.Init))
			}
		}
		slices.Sort(got)
		wanted := strings.Split(want, ", ")
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			t.Errorf("%s: %q, want %q", name, got, wanted)
		}
	}
}

// TestChoose names containers by each of the words that Find knows.
func TestChoose(t *testing.T) {
	id := func(b string) string { return strings.Repeat(b, 32) }
	all := []Container{
		{Runtime: Docker, Name: "web", ID: id("1a")},
		{Runtime: Docker, Name: "only", ID: id("1b")},
		{Runtime: Containerd, Engine: Kubelet, Pod: "web", PodNamespace: "prod", PodUID: "u1", Name: "nginx", ID: id("2a")},
		{Runtime: Containerd, Engine: Kubelet, Pod: "web", PodNamespace: "prod", PodUID: "u1", Sandbox: true, ID: id("2b")},
		{Runtime: Tripod, Pod: "shop", PodNamespace: "default", PodUID: "u2", Name: "cart", ID: "u2_cart_0"},
		{Runtime: Tripod, Pod: "shop", PodNamespace: "default", PodUID: "u2", Monitor: true},
		{Runtime: Tripod, Pod: "shop", PodNamespace: "test", PodUID: "u3", Name: "cart", ID: "u3_cart_0"},
		{Runtime: Podman, Name: "x\x1b[2J", ID: id("4a")},
		{Runtime: Podman, Name: id("1b")[:12], ID: id("4b")},
	}
	for word, want := range map[string]string{
		"only":                   "only",
		"docker://web":           "web",
		"cri://web":              "prod/web/nginx prod/web/(sandbox)",
		"prod/web":               "prod/web/nginx prod/web/(sandbox)",
		"web/nginx":              "prod/web/nginx",
		"prod/web/nginx":         "prod/web/nginx",
		"prod/web/(sandbox)":     "prod/web/(sandbox)",
		"containerd://" + "2b2b": "prod/web/(sandbox)",
		"default/shop/cart":      "shop/cart",
		"test/shop":              "test/shop/cart",
		"1a1a":                   "web",
		"1a1":                    "!no such",
		id("2a"):                 "prod/web/nginx",
		"web":                    "!give one of docker://web, containerd://prod/web/nginx",
		"shop":                   "!give one of tripod://default/shop/cart, tripod://test/shop/cart",
		"shop/cart":              "!give one of tripod://default/shop/cart, tripod://test/shop/cart",
		id("1b")[:12]:            id("1b")[:12], // a name beats the beginning of an ID
		"nginx":                  "!no such",
		"crio://web":             "!no such",
		"x\x1b[2J":               `x\x1b[2J`,
		"nosuch\x1b":             `!cannot find container nosuch\x1b`,
	} {
		scheme, rest, has := strings.Cut(word, "://")
		if !has {
			scheme, rest = "", word
		}
		found, err := choose(all, scheme, rest, word)
		var got []string
		for _, c := range found {
			got = append(got, c.String())
		}
		text := strings.Join(got, " ")
		if err != nil {
			text = "!" + err.Error()
			var a *AmbiguousError
			if errors.As(err, &a) {
				text += "; " + a.Hint()
			}
		}
		if fail, ok := strings.CutPrefix(want, "!"); ok && (err == nil || !strings.Contains(text, fail)) || !ok && text != want {
			t.Errorf("%q: %q, want %q", word, text, want)
		}
	}
}

// TestPin looks at ourselves, and at processes that are not there.
func TestPin(t *testing.T) {
	h := &Host{}
	me, err := h.Find(strconv.Itoa(os.Getpid()))
	if err != nil || me.PID != os.Getpid() || me.Start == 0 {
		t.Fatalf("%+v, %v", me, err)
	}
	if me.Inode != 0 {
		if _, err := h.Find(strconv.Itoa(me.PID) + ":" + strconv.FormatUint(me.Inode, 10)); err != nil {
			t.Error(err)
		}
		if _, err := h.Find(strconv.Itoa(me.PID) + ":" + strconv.FormatUint(me.Inode+1, 10)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("another inode: %v", err)
		}
	}
	if _, err := h.Pin(me.PID, me.Start+1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another start: %v", err)
	}
	for _, word := range []string{"4194305", "999999999"} {
		if _, err := h.Find(word); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", word, err)
		}
	}
	for _, word := range []string{"", "docker://", "nosuch://x", "ip://x", "unit://nosuch.service", "ip://203.0.113.77"} {
		if _, err := h.Find(word); err == nil {
			t.Errorf("%q is found", word)
		}
	}
}

// TestFibTrie reads the form that proc_pid_net(5) shows.
func TestFibTrie(t *testing.T) {
	const trie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.88.0.0
        /16 link UNICAST
     |-- 10.88.0.7
        /32 host LOCAL
     |-- 10.88.255.255
        /32 link BROADCAST
`
	for word, want := range map[string]bool{"10.88.0.7": true, "10.88.0.0": false, "10.88.255.255": false, "10.88.0.70": false} {
		if got := localIn(trie, mustAddr(t, word)); got != want {
			t.Errorf("%s: %v", word, got)
		}
	}
	const inet6 = "fd00000000000000000000000000000a 02 40 00 80 eth0\n"
	if !inet6Has(inet6, mustAddr(t, "fd00::a")) || inet6Has(inet6, mustAddr(t, "fd00::b")) {
		t.Error("if_inet6")
	}
}

func FuzzCgroup(f *testing.F) {
	for _, path := range globAll(f, "testdata/*.txtar") {
		a, _ := os.ReadFile(path)
		for l := range strings.SplitSeq(string(a), "\n") {
			if strings.Contains(l, ":/") {
				f.Add(l)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range parseLines(text) {
			c := identify(l.path)
			if again := identify(l.path); again != c {
				t.Errorf("%q: %+v, then %+v", l.path, c, again)
			}
			if c.Known() && c.Cgroup != "" && !c.Monitor && !strings.HasPrefix(l.path, c.Cgroup) {
				t.Errorf("%q: its cgroup is %q", l.path, c.Cgroup)
			}
			if strings.ContainsAny(c.String(), "\x1b\x00\n\u009b") {
				t.Errorf("%q: %q", l.path, c.String())
			}
		}
	})
}

// FuzzState reads bytes as every state file there is.
func FuzzState(f *testing.F) {
	id := strings.Repeat("ab", 32)
	uid := "0f0e0d0c-1111-4222-8333-444455556666"
	f.Add([]byte(`{"ID":"` + id + `","Name":"/web","State":{"Running":true,"Pid":-1}}`))
	f.Add([]byte(`[{"id":"` + id + `","names":[""],"metadata":"{"}]`))
	f.Add([]byte(`{"metadata":{"uid":"` + uid + `"},"containers":[{"name":"c","state":"running","pid":1}]}`))
	f.Add([]byte(`{"id":"x","init_process_pid":1,"cgroup_paths":{"":"/sys/fs/cgroup/unified/","a":"/sys/fs/cgroup/x"}}`))
	f.Add([]byte("LEADER=1\nSERVICE=systemd-nspawn"))
	f.Add([]byte(`{"pid":1,"process-start-time":18446744073709551615,"cgroup-path":"/"}`))
	dir := f.TempDir()
	files := []string{
		"/var/lib/docker/containers/" + id + "/config.v2.json", "/run/containerd/io.containerd.runtime.v2.task/default/" + id + "/config.json",
		"/run/containerd/io.containerd.runtime.v2.task/default/" + id + "/init.pid", "/var/lib/containers/storage/overlay-containers/containers.json",
		"/var/lib/containers/storage/overlay-containers/" + id + "/userdata/config.json", "/run/systemd/machines/m", "/run/runc/x/state.json", "/run/crun/x/status",
		"/run/tripod/pods/" + uid + "/pod.json", "/run/tripod/pods/" + uid + "/status.json", "/run/tripod-oci/x/state.json", "/proc/1/cgroup", "/proc/1/stat", "/proc/1/status",
	}
	for _, file := range files {
		if err := os.MkdirAll(filepath.Dir(dir+file), 0o700); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, file := range files {
			if err := os.WriteFile(dir+file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		h := &Host{FS: dir, Proc: dir + "/proc"}
		for _, path := range []string{"/docker/" + id, "/x/" + id, "/default/" + id, "/libpod_parent/libpod-" + id, "/crio-" + id, "/machine-m.scope", "/x", "/tripod/" + uid + "/c", "/tripod/" + uid + "/pause"} {
			c, _ := h.OfCgroup(path)
			if _, err := json.Marshal(c); err != nil {
				t.Error(err)
			}
			if s := c.String(); strings.ContainsAny(s, "\x1b\x00\n") {
				t.Errorf("%q", s)
			}
		}
		_, _ = h.All()
	})
}

// TestDyingProcesses asks for all containers while processes come and go.
func TestDyingProcesses(t *testing.T) {
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
				if err != nil {
					return
				}
				_, _ = p.Wait()
			}
		}
	}()
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
		if _, err := (&Host{}).All(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	<-done
}
