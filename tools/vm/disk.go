package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"tripod/e2e"
	"tripod/tools/debian"
)

// tools are the packages whose programs the tests drive.
var tools = []string{
	"base-files", "bash", "dash", "coreutils", "util-linux", "mount", "bsdutils", "findutils", "grep", "sed", "mawk", "hostname", "login",
	"procps", "psmisc", "net-tools", "iproute2", "nftables", "curl", "tar", "gzip", "zstd", "kmod", "netbase", "ca-certificates",
	"debianutils", "diffutils", "patch", "jq", "strace", "apparmor", "uidmap", "libcap2-bin", "iptables", "containernetworking-plugins", "busybox-static", "docker-registry", "skopeo", "runc", "crun",
}

// systemdTools are added where systemd is the machine's init: it, the buses it is asked over, and podman, which asks it.
var systemdTools = []string{
	"systemd", "dbus", "dbus-daemon", "dbus-bin", "dbus-system-bus-common", "dbus-session-bus-common", "dbus-user-session", "libpam-modules", "libpam-runtime",
	"podman", "conmon", "golang-github-containers-common", "golang-github-containers-image",
}

// slow are tests that push more through the kernel than an emulated one takes in their time. They say nothing of a kernel.
const slow = "TestMemoryIsBounded"

// diskSize is what the tests have to write into, beside what is there.
const diskSize = "6G"

// secondInit makes the machine what a Debian with systemd would be, as far as containers see it, unless systemd has done so,
// and runs the tests.
const secondInit = `#!/bin/bash
export PATH=/opt/tripod:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp LANG=C.UTF-8 TRIPOD_VM=1
[ ! -d /opt/registry ] || export TRIPOD_E2E_REGISTRY=/opt/registry
if [ ! -d /run/systemd/system ]; then
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mount -t devtmpfs dev /dev
	mkdir -p /dev/pts /dev/shm
	mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
	mount -t tmpfs -o mode=1777 shm /dev/shm
	mount -t mqueue mqueue /dev/mqueue 2>/dev/null || { mkdir -p /dev/mqueue; mount -t mqueue mqueue /dev/mqueue; }
	mount -t tmpfs -o mode=755 run /run
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	mount --make-rshared /
	for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c >/sys/fs/cgroup/cgroup.subtree_control; done
	hostname vm
	ip link set lo up
fi
ulimit -n 1048576
modprobe -a overlay veth bridge nf_tables nft_chain_nat nft_nat nft_masq nft_ct br_netfilter dummy inet_diag tcp_diag loop
cd /tests
while read -r id dir command; do
	echo
	echo "@@ begin $id $(uname -r)"
	cd "/src/$dir"
	rc=0
	timeout -k 10 1200 $command </dev/null 2>&1 || rc=$?
	echo
	echo "@@ end $id $rc"
done <list
echo "@@ all done"
sync
busybox poweroff -f
`

// systemdFiles are the machine's own where systemd boots it: the tests as a unit, with a user's systemd beside them, which
// needs no login here.
var systemdFiles = map[string]string{
	"etc/systemd/system/tests.target":               "[Unit]\nRequires=basic.target tests.service\nAfter=basic.target\n",
	"etc/systemd/system/tests.service":              "[Unit]\nRequires=dbus.socket user@1000.service\nAfter=dbus.socket user@1000.service\n[Service]\nType=oneshot\nExecStart=/sbin/tests\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\nTimeoutStartSec=infinity\n",
	"etc/systemd/system/user@.service.d/login.conf": "[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n",
	"etc/systemd/system/user-runtime-dir@.service":  "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/install -d -m 700 -o %i -g %i /run/user/%i\n",
	"etc/systemd/journald.conf.d/small.conf":        "[Journal]\nStorage=volatile\nReadKMsg=no\n",
	"etc/machine-id":                                "7d21d4f2ae0a4c2f8d6e1f5f0c3b9a10\n",
}

// stage fills root with the tools, the modules, our binaries and one test binary for each package that has tests, beside a
// copy of the package's folder. It returns the names the packages report under.
func stage(root string, k Kernel, work Work) ([]string, error) {
	list, packages := debian.Files, tools
	if work.Systemd {
		list, packages = debian.System, append(slices.Clone(tools), systemdTools...)
	}
	files, err := list(packages...)
	if err != nil {
		return nil, fmt.Errorf("%w; make test installs what is missing", err)
	}
	if err := copyFiles(root, files); err != nil {
		return nil, err
	}
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "root", "tests", "src", "etc", "var/tmp", "var/lib", "mnt", "opt/tripod"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o1777|fs.ModeSticky); err != nil {
		return nil, err
	}
	if work.Systemd {
		for name, text := range systemdFiles {
			if err := writeFile(filepath.Join(root, name), text, 0o644); err != nil {
				return nil, err
			}
		}
	}
	for name, text := range map[string]string{
		"sbin/tests":   secondInit,
		"etc/passwd":   "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\nmessagebus:x:100:100::/nonexistent:/usr/sbin/nologin\nsomebody:x:1000:1000::/tmp:/bin/bash\n",
		"etc/group":    "root:x:0:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\nmessagebus:x:100:\nsomebody:x:1000:\n",
		"etc/hostname": "vm\n",
		"etc/hosts":    "127.0.0.1 localhost vm\n::1 localhost\n",
		"etc/subuid":   "root:100000:65536000\n",
		"etc/subgid":   "root:100000:65536000\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			return nil, err
		}
	}
	// What update-alternatives makes is in no package.
	for name, to := range map[string]string{"iptables": "iptables-nft", "ip6tables": "ip6tables-nft", "awk": "../bin/mawk"} {
		if err := os.Symlink(to, filepath.Join(root, "usr/sbin", name)); err != nil {
			return nil, err
		}
	}
	modules := filepath.Join(root, "usr/lib/modules")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		return nil, err
	}
	if err := command("cp", "-a", k.Modules, modules); err != nil {
		return nil, err
	}
	if bins, _ := filepath.Glob("bin/tripod*"); len(bins) > 0 {
		if err := command("cp", append(bins, filepath.Join(root, "opt/tripod"))...); err != nil {
			return nil, err
		}
	}
	if work.Script != "" || slices.Contains(work.Packages, "e2e") {
		images, err := e2e.Images()
		if err != nil {
			return nil, err
		}
		if err := e2e.Fill(filepath.Join(root, "opt/registry"), images); err != nil {
			return nil, err
		}
	}
	built, err := buildTests(root, work)
	if err == nil && work.Script != "" {
		if err := os.WriteFile(filepath.Join(root, "tests/script"), []byte(work.Script+"\n"), 0o644); err != nil {
			return nil, err
		}
		return []string{"script"}, os.WriteFile(filepath.Join(root, "tests/list"), []byte("script . bash /tests/script\n"), 0o644)
	}
	return built, err
}

func writeFile(path, text string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}

func buildTests(root string, work Work) ([]string, error) {
	var built []string
	var list bytes.Buffer
	for _, dir := range work.Packages {
		id := strings.ReplaceAll(dir, "/", "-")
		binary := filepath.Join("/tests", id, filepath.Base(dir)+".test") // the name that go test gives it
		tests, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil || len(tests) == 0 {
			continue
		}
		fmt.Printf("building the tests of %s\n", dir)
		compile := exec.Command("go", "test", "-c", "-o", filepath.Join(root, binary), "./"+dir)
		compile.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
		if out, err := compile.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cannot build the tests of %s: %w: %s", dir, err, bytes.TrimSpace(out))
		}
		if err := os.MkdirAll(filepath.Join(root, "src", dir), 0o755); err != nil {
			return nil, err
		}
		if err := command("cp", "-a", dir+"/.", filepath.Join(root, "src", dir)); err != nil {
			return nil, err
		}
		built = append(built, id)
		fmt.Fprintf(&list, "%s %s %s -test.v -test.parallel=1 -test.timeout=18m -test.skip=%s", id, dir, binary, slow)
		if work.Run != "" {
			fmt.Fprintf(&list, " -test.run=%s", work.Run)
		}
		list.WriteString("\n")
	}
	return built, os.WriteFile(filepath.Join(root, "tests/list"), list.Bytes(), 0o644)
}

// copyFiles copies host files to the same place below root: modes and links are kept, owners are root.
func copyFiles(root string, paths []string) error {
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		to := filepath.Join(root, path)
		switch mode := info.Mode(); {
		case mode.IsDir():
			err = os.MkdirAll(to, mode.Perm())
		case mode&fs.ModeSymlink != 0:
			var target string
			if target, err = os.Readlink(path); err == nil {
				err = os.Symlink(target, to)
			}
		case mode.IsRegular():
			var data []byte
			if data, err = os.ReadFile(path); err == nil {
				err = os.WriteFile(to, data, mode.Perm())
			}
			if err == nil {
				err = os.Chmod(to, mode.Perm()|mode&(fs.ModeSetuid|fs.ModeSetgid))
			}
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// makeDisk makes an ext4 image of a tree, without mounting anything.
func makeDisk(path, root string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return command("mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0,lazy_itable_init=1", "-d", root, path, diskSize)
}
