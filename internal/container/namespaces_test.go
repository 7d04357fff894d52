package container

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestEveryNamespaceByPath: a container joins all eight of another; each is the other's then, or an error.
func TestEveryNamespaceByPath(t *testing.T) {
	names := map[specs.LinuxNamespaceType]string{
		specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts",
		specs.MountNamespace: "mnt", specs.CgroupNamespace: "cgroup", specs.TimeNamespace: "time", specs.UserNamespace: "user",
	}
	for _, user := range []bool{false, true} {
		first := sample("sleep", "1000")
		if user {
			first = userNamespace("sleep", "1000")
		}
		first.Linux.Namespaces = append(first.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		cfg := Config{ID: "first", Spec: first, Host: look(t), Root: layers(t), CgroupPath: cgroupName(t) + "-first"}
		holder, err := Run(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for typ, name := range names {
			if user && typ == specs.MountNamespace || !user && typ == specs.UserNamespace {
				continue
			}
			link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", holder.Pid, name))
			if err != nil {
				t.Fatal(err)
			}
			spec := sample("readlink", "/proc/self/ns/"+name)
			root := layers(t)
			if user {
				// What is in a user namespace is to be joined with it: the others belong to it.
				spec = userNamespace("readlink", "/proc/self/ns/"+name)
				i := slices.IndexFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
				spec.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/user", holder.Pid)
				if typ == specs.UserNamespace {
					spec.Linux.UIDMappings, spec.Linux.GIDMappings = nil, nil
					root = plainRoot(t)
					root.Owned = true
					if err := os.Chown(root.Path, 200000, 200000); err != nil {
						t.Fatal(err)
					}
				}
			}
			if typ == specs.MountNamespace {
				// The root of a mount namespace by path is found in it: one that begins with the host's.
				root = plainRoot(t)
				link = joinable(t, spec)
			} else {
				setPath(spec, typ, fmt.Sprintf("/proc/%d/ns/%s", holder.Pid, name))
			}
			if typ == specs.UTSNamespace {
				spec.Hostname = ""
			}
			out, _, err := runs(t, Config{Spec: spec, Root: root})
			if err != nil || strings.TrimSpace(out) != link {
				t.Errorf("user namespace %v: %s is %q, %v; want %s", user, name, out, err, link)
			}
			// A file of another type is told from one of the right type.
			wrong := "net"
			if typ == specs.NetworkNamespace {
				wrong = "uts"
			}
			setPath(spec, typ, "/proc/self/ns/"+wrong)
			if _, _, err := runs(t, Config{Spec: spec, Root: root}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("is no %s namespace", typ)) {
				t.Errorf("%s by a path of %s: %v", typ, wrong, err)
			}
		}
		if err := errors.Join(holder.Kill(), waited(holder), holder.Delete()); err != nil {
			t.Error(err)
		}
		gone(t, cfg)
	}
}

func waited(c *Container) error { _, err := c.Wait(); return err }

func setPath(spec *specs.Spec, typ specs.LinuxNamespaceType, path string) {
	for i, n := range spec.Linux.Namespaces {
		if n.Type == typ {
			spec.Linux.Namespaces[i].Path = path
			return
		}
	}
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: typ, Path: path})
}

// joinable makes a mount namespace, held by a descriptor of this process, and lets spec join it.
func joinable(t *testing.T, spec *specs.Spec) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := os.StartProcess("/usr/bin/unshare", []string{"unshare", "-m", "sh", "-c", "echo; exec sleep 1000"}, &os.ProcAttr{Files: []*os.File{nil, w, nil}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Kill(); _, _ = cmd.Wait() })
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	path := fmt.Sprintf("/proc/%d/ns/mnt", cmd.Pid)
	setPath(spec, specs.MountNamespace, path)
	link, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// TestJoinedMappings: the mappings of a user namespace by path are its own; a spec that names others is refused.
func TestJoinedMappings(t *testing.T) {
	holder := userNamespace("sleep", "1000")
	cfg := Config{ID: "holder", Spec: holder, Host: look(t), Root: layers(t), CgroupPath: cgroupName(t) + "-holder"}
	c, err := Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(c.Kill(), waited(c), c.Delete()); err != nil {
			t.Error(err)
		}
		gone(t, cfg)
	}()
	for _, change := range []struct {
		uid  uint32
		host uint32
		none bool
		want string
	}{
		{0, 200000, false, ""},
		{0, 0, true, ""},
		{0, 200001, false, "linux.uidMappings: they are not those of the user namespace"},
		{70000, 0, true, "process.user.uid: 70000 is not in linux.uidMappings"},
	} {
		spec := userNamespace("true")
		setPath(spec, specs.UserNamespace, fmt.Sprintf("/proc/%d/ns/user", c.Pid))
		spec.Linux.UIDMappings[0].HostID = change.host
		spec.Process.User.UID = change.uid
		root := layers(t)
		if change.none {
			spec.Linux.UIDMappings, spec.Linux.GIDMappings = nil, nil
			root = plainRoot(t)
			root.Owned = true
			if err := os.Chown(root.Path, 200000, 200000); err != nil {
				t.Fatal(err)
			}
		}
		_, _, err := runs(t, Config{Spec: spec, Root: root})
		if change.want == "" && err != nil || change.want != "" && (err == nil || !strings.Contains(err.Error(), change.want)) {
			t.Errorf("%+v: %v", change, err)
		}
	}
}

// TestTimeOffsets: clocks inside are ahead, and the host's stay.
func TestTimeOffsets(t *testing.T) {
	for _, spec := range []*specs.Spec{sample("cat", "/proc/uptime"), userNamespace("cat", "/proc/uptime")} {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1 << 24, Nanosecs: 500}, "monotonic": {Secs: 7}}
		out, _, err := runs(t, Config{Spec: spec})
		if err != nil {
			t.Fatal(err)
		}
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
			t.Fatal(err)
		}
		up, _ := strconv.ParseFloat(strings.Fields(out)[0], 64)
		if ahead := up - float64(now.Sec); ahead < 1<<24-60 || ahead > 1<<24+1 {
			t.Errorf("uptime %s is %.0f s ahead, want %d", out, ahead, 1<<24)
		}
	}
}

// TestSysctls: those of each namespace are set; one whose namespace is the host's is refused, and stays.
func TestSysctls(t *testing.T) {
	for key, typ := range map[string]specs.LinuxNamespaceType{
		"net.ipv4.ip_default_ttl": specs.NetworkNamespace, "net.core.somaxconn": specs.NetworkNamespace, "kernel.shmmni": specs.IPCNamespace,
		"kernel.msgmax": specs.IPCNamespace, "fs.mqueue.msg_max": specs.IPCNamespace, "kernel.domainname": specs.UTSNamespace,
	} {
		file := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		spec := sample("cat", file)
		spec.Linux.Sysctl = map[string]string{key: "77"}
		if out, _, err := runs(t, Config{Spec: spec}); err != nil || out != "77\n" {
			t.Errorf("%s: %q, %v", key, out, err)
		}
		spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == typ })
		spec.Hostname = ""
		if _, _, err := runs(t, Config{Spec: spec}); err == nil || !strings.Contains(err.Error(), "linux.sysctl."+key+": the container has no namespace") {
			t.Errorf("%s of the host: %v", key, err)
		}
		if after, _ := os.ReadFile(file); string(after) != string(before) {
			t.Errorf("%s of the host is %q, was %q", key, after, before)
		}
	}
}
