package container

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// portrait is a program that prints what a container looks like from inside, without what no two containers have alike.
const portrait = `
echo hostname $(hostname); echo user $(id); echo umask $(umask); pwd; echo "$0 $*"; env | grep -v SHLVL | grep -v ^_= | sort
for n in cgroup ipc mnt net pid time user uts; do [ $(readlink /proc/self/ns/$n) = "$(eval echo \$host_$n)" ] && echo $n shared || echo $n own; done
grep -E '^(Cap|NoNew|Groups)' /proc/self/status
cat /proc/self/oom_score_adj /proc/sys/net/ipv4/ip_default_ttl /proc/self/cgroup
grep -v Sig /proc/self/limits
cut -d' ' -f4- /proc/self/mountinfo | sed -e 's/ - \([^ ]*\) [^ ]* / \1 /' -e 's/\(master\|shared\|propagate_from\):[0-9]* //' | sort
ls -ln /dev | sed 's/[A-Z][a-z][a-z] .*:[0-9]* //'
cat /proc/keys /etc/hidden | wc -c; ls /sys/firmware; touch /proc/sys/x /x 2>&1; cat /sys/class/net/lo/flags
echo session $(cut -d' ' -f6 /proc/self/stat)
exit 7`

// TestScript runs the script that Explain writes, and compares the container that it makes with the real one.
func TestScript(t *testing.T) {
	adj := 600
	for name, change := range map[string]func(*specs.Spec){
		"plain": func(*specs.Spec) {},
		"much": func(s *specs.Spec) {
			s.Root.Readonly = true
			s.Process.User = specs.User{UID: 33, GID: 34, AdditionalGids: []uint32{7, 8}}
			s.Process.OOMScoreAdj = &adj
			s.Process.Cwd = "/etc"
			s.Process.NoNewPrivileges = false
			kill := []string{"CAP_KILL"}
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: append(kill, "CAP_CHOWN"), Permitted: kill, Effective: kill, Inheritable: kill, Ambient: kill}
			s.Process.Rlimits = append(s.Process.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200})
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_default_ttl": "33"}
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/odd", Type: "c", Major: 1, Minor: 3}, {Path: "/dev/fifo", Type: "p"}}
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: "/usr/bin", Options: []string{"bind", "ro", "nosuid"}},
				specs.Mount{Destination: "/tmp/ro", Type: "tmpfs", Options: []string{"ro", "size=64k"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := sample("sh", "-c", portrait, "it's", "a  b")
			change(spec)
			for _, n := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
				link, _ := os.Readlink("/proc/self/ns/" + n)
				spec.Process.Env = append(spec.Process.Env, "host_"+n+"="+link)
			}
			root := plainRoot(t)
			applets(t, root.Path, "env", "cut", "sed", "sort", "tr", "wc")
			cfg := Config{Spec: spec, Root: root}
			cfg.CgroupPath = cgroupName(t)
			want, exit, err := runs(t, cfg)
			if err != nil || exit.Code != 7 {
				t.Fatalf("exit %d, %v: %s", exit.Code, err, want)
			}
			cfg.Host = look(t)
			p, err := Explain(cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "container.sh")
			if err := os.WriteFile(file, []byte(p.Script()), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", file)
			got, err := cmd.CombinedOutput()
			for _, y := range cfg.Host.Cgroup.Hierarchies {
				if err := os.Remove(filepath.Join(y.Mountpoint, cfg.CgroupPath)); err != nil && !os.IsNotExist(err) {
					t.Error(err)
				}
			}
			if cmd.ProcessState.ExitCode() != 7 {
				t.Errorf("the script ended with %v", err)
			}
			if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); diff != "" {
				t.Errorf("the container by hand is another (-real +by hand):\n%s\n%s", diff, fmt.Sprint(p.Script()))
			}
		})
	}
}
