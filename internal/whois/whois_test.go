package whois

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tripod/internal/ns"
	"tripod/internal/owner"
)

func TestParse(t *testing.T) {
	names := []string{"process", "namespace", "socket", "port", "address", "interface", "cgroup", "container"}
	for word, want := range map[string]string{
		"1234":              "process 1234, port 1234",
		"70000":             "process 70000, socket 70000",
		"4026531840":        "namespace 4026531840",
		"3000000000":        "socket 3000000000",
		"pid:12":            "process 12",
		"12:999":            "process 12 pidfs 999",
		"tcp/8080":          "port 8080 kinds 1",
		"8080/udp":          "port 8080 kinds 2",
		"udp:53":            "port 53 kinds 2",
		":80":               "port 80",
		"10.0.0.5":          "address 10.0.0.5",
		"::ffff:10.0.0.5":   "address 10.0.0.5",
		"fd00::1":           "address fd00::1",
		"[fd00::1]":         "address fd00::1",
		"10.0.0.5:80":       "port 80 at 10.0.0.5",
		"[fd00::1]:80":      "port 80 at fd00::1",
		"socket:[77]":       "socket 77",
		"net:[4026531840]":  "namespace 4026531840 net",
		"veth12ab":          "interface veth12ab, container veth12ab",
		"web/nginx":         "container web/nginx",
		"docker://shop":     "container docker://shop",
		"/docker/ab/":       "cgroup /docker/ab",
		"/sys/fs/cgroup/a":  "cgroup /a",
		"":                  "!it is empty",
		"tcp/70000":         "!from 1 to 65535",
		"tcp/0":             "!from 1 to 65535",
		"0":                 "!number 0",
		"nosuch:[5]":        "!TYPE:[INODE]",
		"averyverylongname": "container averyverylongname",
		"two words":         "!no interface and no container",
		"x\x1b[2J y":        `!TYPE`,

		"/sys/fs/cgroup/pids/a/b":              "cgroup /a/b",
		"/sys/fs/cgroup/unified/docker/x":      "cgroup /docker/x",
		"/sys/fs/cgroup/cpu,cpuacct/docker/x/": "cgroup /docker/x",
	} {
		all, err := Parse(word)
		var got []string
		for _, q := range all {
			s := names[q.Kind]
			if q.Number != 0 {
				s += " " + strconv.FormatUint(q.Number, 10)
			}
			if q.Pidfs != 0 {
				s += fmt.Sprintf(" pidfs %d", q.Pidfs)
			}
			if q.Kind == Port && q.Proto < 3 {
				s += fmt.Sprintf(" kinds %d", q.Proto)
			}
			switch {
			case q.Kind == Port && q.Addr.IsValid():
				s += " at " + q.Addr.String()
			case q.Kind == Address:
				s += " " + q.Addr.String()
			case q.Name != "":
				s += " " + q.Name
			case q.Typed:
				s += " " + q.Type.String()
			}
			got = append(got, s)
		}
		text := strings.Join(got, ", ")
		if err != nil {
			text = "!" + err.Error()
			if strings.Contains(text, "\x1b") {
				t.Errorf("%q: %q", word, text)
			}
		}
		if fail, ok := strings.CutPrefix(want, "!"); ok && (err == nil || !strings.Contains(text, fail)) || !ok && text != want {
			t.Errorf("%q: %q, want %q", word, text, want)
		}
	}
}

// TestAskOurselves looks for this process by everything it has.
func TestAskOurselves(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	ids, err := ns.Of("", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	for _, word := range []string{strconv.Itoa(os.Getpid()), link, "tcp/" + port, port, "127.0.0.1:" + port, fmt.Sprintf("net:[%d]", ids[ns.Net]), fmt.Sprint(ids[ns.IPC])} {
		all, _, err := Ask(&owner.Host{}, word)
		if err != nil {
			t.Errorf("%s: %v", word, err)
		}
		found := false
		for _, a := range all {
			found = found || a.PID == os.Getpid() || a.Others > 0 // ourselves may be one of several of the host
			if a.PID == os.Getpid() && a.Container.Known() {
				t.Errorf("%s: %+v is not a container", word, a)
			}
		}
		if !found && !strings.Contains(word, "net:[") && word != fmt.Sprint(ids[ns.IPC]) {
			t.Errorf("%s: %+v", word, all)
		}
		if len(all) == 0 {
			t.Errorf("%s: no answer", word)
		}
	}
	for _, word := range []string{"4194305", "127.0.0.2:" + port, "udp/" + port, "203.0.113.7", "nosuchif0", "/no/such/cgroup", "socket:[1]", "net:[5]"} {
		if all, _, err := Ask(&owner.Host{}, word); err != nil || len(all) > 0 {
			t.Errorf("%s: %+v, %v", word, all, err)
		}
	}
}

// TestVeth makes a network namespace with one end of a veth pair and an address, and asks for both.
func TestVeth(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	p := exec.Command("unshare", "-n", "sh", "-c", "read x")
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = p.Wait() }()
	mine, _ := ns.Of("", os.Getpid())
	for theirs := mine; theirs[ns.Net] == mine[ns.Net]; {
		if theirs, err = ns.Of("", p.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	pid := strconv.Itoa(p.Process.Pid)
	name := "who" + pid
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", args, out)
		}
	}
	run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", pid)
	defer exec.Command("ip", "link", "del", name).Run()
	run("nsenter", "-t", pid, "-n", "ip", "addr", "add", "192.0.2.77/32", "dev", "eth0")
	run("nsenter", "-t", pid, "-n", "ip", "addr", "add", "2001:db8::77/128", "dev", "eth0")
	for _, word := range []string{name, "192.0.2.77", "2001:db8::77"} {
		all, _, err := Ask(&owner.Host{}, word)
		if err != nil || len(all) != 1 || all[0].PID != p.Process.Pid {
			t.Errorf("%s: %+v, %v", word, all, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1:2", "tcp/80", "[::]:1", "net:[1]", "/a", "a%b", "80/udp", "pid:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		all, err := Parse(word)
		if (err == nil) != (len(all) > 0) {
			t.Errorf("%q: %v, %v", word, all, err)
		}
	})
}

// TestNamespaceWithoutProcess mounts a network namespace that no process is in, and asks who keeps it.
func TestNamespaceWithoutProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	file := filepath.Join(t.TempDir(), "net")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("unshare", "--net="+file, "true").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer func() {
		if err := unix.Unmount(file, 0); err != nil {
			t.Error(err)
		}
	}()
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{fmt.Sprint(st.Ino), fmt.Sprintf("net:[%d]", st.Ino)} {
		all, _, err := Ask(&owner.Host{}, word)
		if err != nil || len(all) != 1 || !strings.HasSuffix(all[0].What, "mounted on "+file) {
			t.Errorf("%s: %+v, %v", word, all, err)
		}
	}
}
