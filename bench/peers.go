package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/e2e"
)

const registryAddr = "127.0.0.1:5000"

// Field is where the contenders meet: a folder with everybody's state, a registry with the images, and what the peers need to
// run at all on this host.
type Field struct {
	dir      string
	tripod   string // paths of our binaries
	oci      string
	env      []string // for tripod and podman
	undoings []func() error
}

// bareField is a field for runtimes alone: without registry, podman and what that needs.
func bareField(bin string) (*Field, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	f := &Field{dir: dir, tripod: filepath.Join(bin, "tripod"), oci: filepath.Join(bin, "tripod-oci")}
	f.later(func() error { return os.RemoveAll(dir) })
	return f, nil
}

// newField makes the field. What it does outside its folder is taken back by undo, in reverse.
func newField(bin string) (f *Field, err error) {
	if f, err = bareField(bin); err != nil {
		return nil, err
	}
	dir, begun := f.dir, f
	defer func() {
		if err != nil {
			err = errors.Join(err, begun.undo())
		}
	}()
	for _, program := range []string{f.tripod, f.oci, "crun", "runc", "podman", "docker-registry"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, err
		}
	}
	conf := map[string]string{
		"registries.conf": fmt.Sprintf("unqualified-search-registries = [\"docker.io\"]\n[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n[[registry]]\nlocation = %q\ninsecure = true\n", registryAddr, registryAddr),
		// Debian's podman asks for more open files than the hard limit of many hosts.
		"containers.conf": "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\nlog_driver = \"k8s-file\"\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n",
		"policy.json":     `{"default": [{"type": "insecureAcceptAnything"}]}`,
		"auth.json":       "{}",
	}
	for name, text := range conf {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	f.env = append(os.Environ(),
		"CONTAINERS_REGISTRIES_CONF="+filepath.Join(dir, "registries.conf"), "CONTAINERS_CONF="+filepath.Join(dir, "containers.conf"),
		"REGISTRY_AUTH_FILE="+filepath.Join(dir, "auth.json"),
		"TRIPOD_ROOT="+filepath.Join(dir, "tripod"), "TRIPOD_RUN_ROOT="+filepath.Join(dir, "tripod-run"))
	if err := f.hugetlb(); err != nil {
		return nil, err
	}
	return f, f.registry()
}

func (f *Field) later(undo func() error) { f.undoings = append(f.undoings, undo) }

func (f *Field) undo() error {
	var err error
	for i := len(f.undoings) - 1; i >= 0; i-- {
		err = errors.Join(err, f.undoings[i]())
	}
	f.undoings = nil
	return err
}

// hugetlb mounts the hugetlb controller as a hierarchy of its own where cgroup v1 is in use and hugetlb is not: crun refuses
// a host that has a controller on v2 beside v1, and where nothing is mounted at the usual place it makes folders there.
func (f *Field) hugetlb() error {
	const at, podmans = "/sys/fs/cgroup/hugetlb", "/sys/fs/cgroup/hugetlb/libpod_parent"
	known, err := os.ReadFile("/proc/cgroups")
	if err != nil || cgroupMode() != "cgroup v1" || !strings.Contains(string(known), "\nhugetlb\t") {
		return nil
	}
	if _, err := os.Stat(at + "/cgroup.procs"); err == nil {
		return nil
	}
	if err := f.undelegate("hugetlb"); err != nil {
		return err
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("cgroup", at, "cgroup", 0, "hugetlb"); err != nil {
		return errors.Join(fmt.Errorf("cannot mount hugetlb for crun: %w", err), os.Remove(at))
	}
	f.later(func() error {
		_ = os.Remove(podmans) // which podman leaves, and which would keep the controller from going back to where it was
		return errors.Join(unix.Unmount(at, unix.MNT_DETACH), os.Remove(at))
	})
	return nil
}

// undelegate takes a controller back that the root of the v2 hierarchy has given to the groups below it: while they have it, no
// other hierarchy can.
func (f *Field) undelegate(controller string) error {
	const given = "/sys/fs/cgroup/unified/cgroup.subtree_control"
	all, err := os.ReadFile(given)
	if err != nil || !slices.Contains(strings.Fields(string(all)), controller) {
		return nil
	}
	if err := os.WriteFile(given, []byte("-"+controller), 0); err != nil {
		return fmt.Errorf("cannot take %s back from the groups of cgroup v2: %w", controller, err)
	}
	f.later(func() error {
		err := os.WriteFile(given, []byte("+"+controller), 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the other hierarchy ends when nobody looks at it any more, and only then has this one the controller
		}
		return err
	})
	return nil
}

func (f *Field) registry() error {
	images, err := e2e.Images()
	if err != nil {
		return err
	}
	large, err := largeImage()
	if err != nil {
		return err
	}
	storage := filepath.Join(f.dir, "registry")
	if err := e2e.Fill(storage, append(images, large)); err != nil {
		return err
	}
	server, err := e2e.Serve(storage, registryAddr)
	if err != nil {
		return err
	}
	f.later(server.Stop)
	return nil
}

// ours runs tripod.
func (f *Field) ours(args ...string) (string, error) { return output(f.env, f.tripod, args...) }

// podman runs podman with folders of its own.
func (f *Field) podman(args ...string) (string, error) {
	return output(f.env, "podman", append([]string{"--root", filepath.Join(f.dir, "podman"), "--runroot", filepath.Join(f.dir, "podman-run")}, args...)...)
}

// versions names every program that is compared, as it names itself.
func (f *Field) versions() []string {
	var list []string
	for _, c := range [][]string{{f.tripod, "version"}, {"crun", "--version"}, {"runc", "--version"}, {"podman", "--version"}, {"conmon", "--version"}} {
		if _, err := exec.LookPath(c[0]); err != nil {
			continue // not asked for, or newField would have told
		}
		out, err := output(nil, c[0], c[1:]...)
		if err != nil {
			out = err.Error()
		}
		line, _, _ := strings.Cut(out, "\n")
		list = append(list, line)
	}
	return list
}
