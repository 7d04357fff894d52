package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Kernel is an unpacked kernel package.
type Kernel struct {
	Release string // 6.1.0-56-cloud-amd64
	Image   string // path of vmlinuz
	Modules string // path of lib/modules/RELEASE
}

const kernelPackage = "linux-image-cloud-amd64"

// findKernel returns the kernel that lies unpacked in dir, and fetches Debian's current one when there is none.
func findKernel(dir string) (Kernel, error) {
	if k, err := openKernel(dir); err == nil {
		return k, nil
	}
	deb, err := download()
	if err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(filepath.Dir(deb))
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return Kernel{}, err
	}
	if err := command("dpkg", "-x", deb, fresh); err != nil {
		return Kernel{}, err
	}
	k, err := openKernel(fresh)
	if err != nil {
		return Kernel{}, err
	}
	// depmod's tables are made by the package's installation, which does not happen here.
	if err := command("depmod", "-b", fresh, k.Release); err != nil {
		return Kernel{}, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return Kernel{}, err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return Kernel{}, err
	}
	return openKernel(dir)
}

func openKernel(dir string) (Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return Kernel{}, errors.Join(err, fmt.Errorf("%s holds %d kernels", dir, len(images)))
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	k := Kernel{release, images[0], filepath.Join(dir, "lib", "modules", release)}
	_, err = os.Stat(k.Modules)
	return k, err
}

// download fetches the package that the cloud kernel's meta package depends on, into a folder of its own.
func download() (string, error) {
	dir, err := os.MkdirTemp("", "kernel-")
	if err != nil {
		return "", err
	}
	var name string
	for attempt := range 2 {
		if attempt == 1 { // no package lists yet, or older than the archive
			if err = command("apt-get", "update", "-qq"); err != nil {
				break
			}
		}
		if name, err = concrete(); err != nil {
			continue
		}
		get := exec.Command("apt-get", "download", "-qq", name)
		get.Dir = dir
		var said bytes.Buffer
		get.Stderr = &said
		if err = get.Run(); err != nil {
			err = fmt.Errorf("cannot download %s: %w: %s", name, err, bytes.TrimSpace(said.Bytes()))
			continue
		}
		var debs []string
		if debs, err = filepath.Glob(filepath.Join(dir, "*.deb")); err == nil && len(debs) == 1 {
			return debs[0], nil
		}
	}
	return "", errors.Join(err, os.RemoveAll(dir))
}

// concrete names the package that the meta package stands for today.
func concrete() (string, error) {
	out, err := exec.Command("apt-cache", "depends", "--no-recommends", "--no-suggests", kernelPackage).Output()
	if err != nil {
		return "", fmt.Errorf("cannot ask for %s: %w", kernelPackage, err)
	}
	for field := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(field, "linux-image-") && field != kernelPackage {
			return field, nil
		}
	}
	return "", fmt.Errorf("cannot find what %s depends on", kernelPackage)
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run %s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
