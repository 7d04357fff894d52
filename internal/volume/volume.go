// Package volume makes what a Pod mounts on the host, and takes it away again.
//
// An emptyDir on disk is a directory ROOT/volumes/UID/NAME. One in memory is an empty directory RUN/pods/UID/volumes/NAME
// and the description of the tmpfs that the Pod's keeper mounts there, in its own mount namespace. A hostPath is the
// user's own: it is looked at and, where its type says so, made, but never removed.
//
// Every path given out is free of symbolic links, and a subPath is resolved inside its volume (CVE-2017-1002101). Whoever
// opens them later must do so without following links, since a container may have put some there since
// (CVE-2021-25741).
package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Volume is one volume of a Pod, made.
type Volume struct {
	Name   string
	Path   string // on the host; of a memory volume, in the keeper's mount namespace
	Memory *Memory
	Host   bool // a hostPath: the user's own
}

// Memory is the tmpfs of an emptyDir with medium Memory.
type Memory struct {
	Size     int64 // bytes; 0 is the kernel's own limit, half of the memory
	Mode     fs.FileMode
	UID, GID int
}

// Set is a Pod's volumes in the order of its manifest.
type Set []Volume

// Paths gives where each volume lies, by name.
func (s Set) Paths() map[string]string {
	m := make(map[string]string, len(s))
	for _, v := range s {
		m[v.Name] = v.Path
	}
	return m
}

// Owner has the host's ids that are 0 in the user namespace of a Pod; the zero value is the host's root.
type Owner struct{ UID, GID int }

// Make makes a Pod's volumes, those that are not there yet. When one cannot be made, what this call made is taken away.
func Make(root, run string, pod *corev1.Pod, owner Owner) (Set, error) {
	uid := string(pod.UID)
	if err := checkName(uid); err != nil {
		return nil, fmt.Errorf("cannot make volumes of pod %s: uid: %w", pod.Name, err)
	}
	m := maker{disk: filepath.Join(root, "volumes", uid), memory: filepath.Join(run, "pods", uid, "volumes"), owner: owner}
	if s := pod.Spec.SecurityContext; s != nil && s.FSGroup != nil {
		gid := int(*s.FSGroup)
		m.fsGroup = &gid
	}
	var set Set
	for i := range pod.Spec.Volumes {
		v, err := m.volume(&pod.Spec.Volumes[i])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot make volume %s of pod %s: %w", pod.Spec.Volumes[i].Name, pod.Name, err), m.undo())
		}
		set = append(set, v)
	}
	return set, nil
}

// maker makes the volumes of one Pod and remembers what it made.
type maker struct {
	disk, memory string
	owner        Owner
	fsGroup      *int
	made         []string // in order
}

func (m *maker) undo() error {
	var errs []error
	for _, path := range slices.Backward(m.made) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("cannot undo: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (m *maker) volume(v *corev1.Volume) (Volume, error) {
	if err := checkName(v.Name); err != nil {
		return Volume{}, err
	}
	switch {
	case v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumMemory:
		return m.inMemory(v)
	case v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumDefault:
		return m.onDisk(v)
	case v.HostPath != nil:
		path, err := m.hostPath(v.HostPath)
		return Volume{Name: v.Name, Path: path, Host: true}, err
	}
	return Volume{}, fmt.Errorf("only emptyDir (on disk or in memory) and hostPath are implemented")
}

// attributes gives mode and owner of an emptyDir: open to all, as kubelet's, and with a fsGroup that group's for
// whatever is made in it.
func (m *maker) attributes(e *corev1.EmptyDirVolumeSource) (mode fs.FileMode, uid, gid int) {
	mode, uid, gid = 0o777, m.owner.UID, m.owner.GID
	if e.Mode != nil {
		mode = fs.FileMode(*e.Mode) & 0o777
		if *e.Mode&0o1000 != 0 {
			mode |= fs.ModeSticky
		}
	}
	if m.fsGroup != nil {
		gid += *m.fsGroup
		mode |= fs.ModeSetgid | 0o070
	}
	return mode, uid, gid
}

func (m *maker) inMemory(v *corev1.Volume) (Volume, error) {
	path := filepath.Join(m.memory, v.Name)
	if err := m.mkdirAll(path, 0o700); err != nil {
		return Volume{}, err
	}
	mem := &Memory{}
	mem.Mode, mem.UID, mem.GID = m.attributes(v.EmptyDir)
	if v.EmptyDir.SizeLimit != nil {
		mem.Size = v.EmptyDir.SizeLimit.Value()
	}
	real, err := filepath.EvalSymlinks(path)
	return Volume{Name: v.Name, Path: real, Memory: mem}, err
}

func (m *maker) onDisk(v *corev1.Volume) (Volume, error) {
	path := filepath.Join(m.disk, v.Name)
	if err := m.mkdirAll(m.disk, 0o700); err != nil {
		return Volume{}, err
	}
	switch err := os.Mkdir(path, 0o700); {
	case errors.Is(err, fs.ErrExist):
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			return Volume{}, fmt.Errorf("%s is there and no directory: %w", path, err)
		}
	case err != nil:
		return Volume{}, err
	default:
		m.made = append(m.made, path)
		mode, uid, gid := m.attributes(v.EmptyDir)
		// Chown before chmod: it clears the setgid bit.
		if err := os.Chown(path, uid, gid); err != nil {
			return Volume{}, err
		}
		if err := os.Chmod(path, mode); err != nil {
			return Volume{}, err
		}
	}
	real, err := filepath.EvalSymlinks(path)
	return Volume{Name: v.Name, Path: real}, err
}

// mkdirAll is os.MkdirAll that remembers what it made.
func (m *maker) mkdirAll(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	switch {
	case err == nil:
		m.made = append(m.made, path)
		return nil
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path:
		if err := m.mkdirAll(filepath.Dir(path), mode); err != nil {
			return err
		}
		return m.mkdirAll(path, mode)
	case errors.Is(err, fs.ErrExist):
		if info, e := os.Stat(path); e == nil && info.IsDir() {
			return nil
		}
	}
	return err
}

// checkName refuses what would leave the folder that it names an entry of.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\x00\n") {
		return fmt.Errorf("%q cannot name a directory", name)
	}
	return nil
}
