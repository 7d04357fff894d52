package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// ErrMounted says that something is mounted below a volume and stays so.
var ErrMounted = errors.New("something is mounted there")

// Remove removes the emptyDirs of a Pod and all that is in them. It is no error when there are none.
func Remove(root, run, uid string) error {
	if err := checkName(uid); err != nil {
		return fmt.Errorf("cannot remove volumes of pod: uid: %w", err)
	}
	var errs []error
	for _, dir := range []string{filepath.Join(root, "volumes", uid), filepath.Join(run, "pods", uid, "volumes")} {
		if err := removeTree(dir); err != nil {
			errs = append(errs, fmt.Errorf("cannot remove volumes %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// Sweep removes the emptyDirs of every Pod that is no more.
func Sweep(root, run string, live func(uid string) bool) error {
	entries, err := os.ReadDir(filepath.Join(root, "volumes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot sweep volumes: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !live(e.Name()) {
			errs = append(errs, Remove(root, run, e.Name()))
		}
	}
	return errors.Join(errs...)
}

// removeTree removes a directory, but nothing of what is mounted in it: a container with Bidirectional propagation may
// have put a file system of the host there.
func removeTree(dir string) error {
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	real := filepath.Join(parent, filepath.Base(dir))
	mounts, err := below(real)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("cannot unmount %s: %w", m.Mountpoint, err)
		}
	}
	if mounts, err = below(real); err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%w: %s", ErrMounted, mounts[0].Mountpoint)
	}
	return os.RemoveAll(real)
}

// below gives the mounts at or below a directory, in the order they were made.
func below(dir string) ([]*mountinfo.Info, error) {
	return mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
}
