package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/bundle"
	"tripod/internal/plan"
	"tripod/internal/record"
	"tripod/internal/volume"
)

// Bundle is the folder of a container's bundle.
func (s *Sandbox) Bundle(container string) string {
	return filepath.Join(s.Dir(), bundlesDir, container)
}

// Files says where the files lie that all containers of the Pod have mounted.
func (s *Sandbox) Files() bundle.Files {
	files := bundle.Files{
		Hosts:      filepath.Join(s.file(filesDir), "hosts"),
		Hostname:   filepath.Join(s.file(filesDir), "hostname"),
		ResolvConf: filepath.Join(s.file(filesDir), "resolv.conf"),
		Shm:        s.file("shm"),
	}
	if s.Pod.Spec.HostIPC {
		files.Shm = "/dev/shm"
	}
	return files
}

// WriteFiles writes them.
func (s *Sandbox) WriteFiles(hosts, hostname, resolvConf []byte) error {
	if err := os.MkdirAll(s.file(filesDir), 0o700); err != nil {
		return fmt.Errorf("cannot write files of Pod %s: %w", s, err)
	}
	files := s.Files()
	for path, text := range map[string][]byte{files.Hosts: hosts, files.Hostname: hostname, files.ResolvConf: resolvConf} {
		if err := writeFile(path, text, 0o644); err != nil {
			return fmt.Errorf("cannot write files of Pod %s: %w", s, err)
		}
	}
	return nil
}

// writeFile is os.WriteFile whatever the umask.
func writeFile(path string, text []byte, mode os.FileMode) error {
	if err := os.WriteFile(path, text, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// TerminationLog makes the file in which a container can say why it ended. Whoever it runs as can write to it.
func (s *Sandbox) TerminationLog(container string) (string, error) {
	path := filepath.Join(s.Bundle(container), "termination-log")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("cannot make bundle of container %s: %w", container, err)
	}
	if err := writeFile(path, nil, 0o666); err != nil {
		return "", fmt.Errorf("cannot make bundle of container %s: %w", container, err)
	}
	return path, nil
}

// WriteBundle records what a container is: its spec, and how its root is made. The keeper reads both at every start.
func (s *Sandbox) WriteBundle(container string, spec any, root plan.Rootfs) error {
	dir := s.Bundle(container)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make bundle of container %s: %w", container, err)
	}
	if err := record.PutFast(filepath.Join(dir, "config.json"), spec); err != nil {
		return err
	}
	return record.PutFast(filepath.Join(dir, "rootfs.json"), root)
}

// Layers makes the folders of what a container writes to its root, of which each of its runs has its own part.
func (s *Sandbox) Layers(container string) (upper, work string, err error) {
	dir := filepath.Join(s.Host.Writable(s.Pod.UID), container)
	upper, work = filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return "", "", fmt.Errorf("cannot make layer of container %s: %w", container, err)
		}
	}
	return upper, work, nil
}

// SubPaths resolves the subPaths of a container's mounts inside their volumes, and makes what is missing of them. The
// result has the host path by index of volumeMounts.
func (s *Sandbox) SubPaths(c *corev1.Container) (map[int]string, error) {
	var found map[int]string
	for i, m := range c.VolumeMounts {
		if m.SubPath == "" {
			continue
		}
		for _, v := range s.Volumes {
			if v.Name != m.Name {
				continue
			}
			dir := v.Path
			if v.Memory != nil { // mounted where the keeper sees it alone
				dir = "/proc/" + strconv.Itoa(s.keeper.Pid) + "/root" + v.Path
			}
			rel, err := volume.SubPath(dir, m.SubPath)
			if err != nil {
				return nil, fmt.Errorf("cannot mount volume %s in container %s: %w", m.Name, c.Name, err)
			}
			if found == nil {
				found = map[int]string{}
			}
			found[i] = filepath.Join(v.Path, rel)
		}
	}
	return found, nil
}

// RootOf is the root of one attempt at a container, as its keeper makes it of rootfs.json.
func RootOf(dir string, root plan.Rootfs, attempt int) plan.Rootfs {
	if root.Path == "" && root.Mountpoint == "" {
		root.Mountpoint = filepath.Join(dir, "rootfs")
	}
	if root.Upper != "" {
		number := strconv.Itoa(attempt)
		root.Upper, root.Work = filepath.Join(root.Upper, number), filepath.Join(root.Work, number)
	}
	return root
}
