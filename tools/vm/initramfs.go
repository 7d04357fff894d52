package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// boot are the modules that the disk needs.
var boot = []string{"virtio_pci", "virtio_blk"}

// firstInit finds the disk and goes over to it, to the program that the kernel's command line names. A root in the initramfs itself would not do: pivot_root(2) refuses rootfs.
const firstInit = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for m in /modules/*; do /bin/busybox insmod $m; done
n=0
until [ -b /dev/vda ] || [ $n = 100 ]; do /bin/busybox sleep 0.1; n=$((n+1)); done
/bin/busybox mount -t ext4 /dev/vda /root && exec /bin/busybox switch_root /root $second
/bin/busybox poweroff -f
`

// makeInitramfs writes a cpio archive (newc) with busybox, the disk's modules in the order they load, and the first init.
func makeInitramfs(path string, k Kernel) error {
	order, err := loadOrder(k, boot)
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	a := &archive{w: bufio.NewWriter(out)}
	for _, dir := range []string{"bin", "dev", "root", "modules"} {
		a.entry(dir, 0o40755, nil)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	a.entry("bin/busybox", 0o100755, busybox)
	a.entry("init", 0o100755, []byte(firstInit))
	for i, module := range order {
		data, err := os.ReadFile(filepath.Join(k.Modules, module))
		if err != nil {
			return err
		}
		a.entry(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(module)), 0o100644, data)
	}
	a.entry("TRAILER!!!", 0, nil)
	if a.err == nil {
		a.err = a.w.Flush()
	}
	if a.err != nil {
		return fmt.Errorf("cannot write %s: %w", path, a.err)
	}
	return out.Close()
}

// loadOrder reads modules.dep and returns the files of the named modules, each after those it depends on.
func loadOrder(k Kernel, names []string) ([]string, error) {
	dep, err := os.ReadFile(filepath.Join(k.Modules, "modules.dep"))
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{} // module name: its file, then the files it depends on, nearest first
	for line := range strings.Lines(string(dep)) {
		file, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs[strings.TrimSuffix(filepath.Base(file), ".ko")] = append([]string{file}, strings.Fields(rest)...)
	}
	var order []string
	for _, name := range names {
		files := slices.Clone(needs[name])
		slices.Reverse(files)
		for _, f := range files {
			if !slices.Contains(order, f) {
				order = append(order, f)
			}
		}
	}
	return order, nil // a module that is not in the list is built in
}

// archive writes cpio entries and keeps the first error.
type archive struct {
	w   *bufio.Writer
	n   int
	err error
}

func (a *archive) entry(name string, mode uint32, data []byte) {
	a.n++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.n, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	a.write([]byte(header + name + "\x00"))
	a.pad(len(header) + len(name) + 1)
	a.write(data)
	a.pad(len(data))
}

func (a *archive) pad(n int) { a.write(make([]byte, (4-n%4)%4)) }

func (a *archive) write(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
}
