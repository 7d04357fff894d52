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

// ErrHostPathType says that a hostPath is not what its type says.
var ErrHostPathType = errors.New("hostPath type check failed")

// hostPath looks at a path of the host as its type says, makes it where that is said, and gives it free of links.
func (m *maker) hostPath(h *corev1.HostPathVolumeSource) (string, error) {
	if !filepath.IsAbs(h.Path) || slices.Contains(strings.Split(h.Path, "/"), "..") || strings.ContainsRune(h.Path, 0) {
		return "", fmt.Errorf("hostPath %q is not absolute or has a .. in it", h.Path)
	}
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	info, err := os.Stat(h.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := m.makeHostPath(h.Path, kind); err != nil {
			return "", err
		}
		info, err = os.Stat(h.Path)
	}
	if err != nil {
		return "", err
	}
	if !isKind(info.Mode(), kind) {
		return "", fmt.Errorf("%w: %s is not a %s", ErrHostPathType, h.Path, strings.TrimSuffix(string(kind), "OrCreate"))
	}
	return filepath.EvalSymlinks(h.Path)
}

// makeHostPath makes what is missing: of the types with OrCreate as kubelet does, and of the empty type a directory, as
// the runtimes below kubelet do. A file's directory must be there.
func (m *maker) makeHostPath(path string, kind corev1.HostPathType) error {
	switch kind {
	case corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate:
		return m.mkdirAll(path, 0o755)
	case corev1.HostPathFileOrCreate:
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w: %s is a link to nowhere", ErrHostPathType, path)
		}
		if err != nil {
			return err
		}
		m.made = append(m.made, path)
		return f.Close()
	}
	return fmt.Errorf("%w: %s does not exist", ErrHostPathType, path)
}

func isKind(mode fs.FileMode, kind corev1.HostPathType) bool {
	switch kind {
	case corev1.HostPathUnset:
		return true
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return mode.IsDir()
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return mode.IsRegular()
	case corev1.HostPathSocket:
		return mode&fs.ModeSocket != 0
	case corev1.HostPathCharDev:
		return mode&fs.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		return mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
	}
	return false
}
