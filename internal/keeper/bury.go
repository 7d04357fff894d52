package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tripod/internal/cgroup"
	"tripod/internal/record"
)

// ErrAlive says that a Pod's keeper lives.
var ErrAlive = errors.New("the keeper lives")

// Alive says whether the Pod whose folder is dir has a keeper: whether its lock is held.
func Alive(dir string) bool {
	lock, err := record.Try(filepath.Join(dir, lockFile))
	if err == nil {
		_ = lock.Release()
	}
	return errors.Is(err, record.ErrLocked)
}

// Bury cleans up after the dead keeper of the Pod uid below the run root run: it kills what is left of the Pod by its
// cgroup, puts on record that nobody saw its containers end (137, ContainerStatusUnknown), and removes its cgroups. The
// folder stays; Spawn makes the Pod a new keeper that goes on where the records end. It returns the records. An error
// that errors.Is ErrAlive says that the keeper lives, and nothing was done; fs.ErrNotExist that there never was a Pod.
func Bury(run, uid string) (*Status, error) {
	dir := filepath.Join(run, "pods", uid)
	var s Sandbox
	if err := record.Get(filepath.Join(dir, sandboxFile), &s); err != nil {
		return nil, err
	}
	if err := s.check(dir); err != nil {
		return nil, fmt.Errorf("cannot bury keeper of pod %s: %w", uid, err)
	}
	lock, err := record.Try(filepath.Join(dir, lockFile))
	if errors.Is(err, record.ErrLocked) {
		return nil, fmt.Errorf("cannot bury keeper of pod %s: %w", uid, ErrAlive)
	}
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	host, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	if err := endGroups(host, s.CgroupPath, s.KeeperCgroup); err != nil {
		return nil, err
	}
	return burial(dir, &s)
}

// BuryLost ends what runs in the cgroups of a Pod whose folder is gone, its keeper too.
func BuryLost(uid string) error {
	group, own := "tripod/"+uid, keeperGroups+uid
	if uid == path.Base(keeperGroups) {
		return fmt.Errorf("cannot bury pod %q: that is no UID", uid)
	}
	if err := errors.Join(cgroup.CheckPath(group), cgroup.CheckPath(own)); err != nil {
		return fmt.Errorf("cannot bury pod %q: %w", uid, err)
	}
	host, err := cgroup.Detect()
	if err != nil {
		return err
	}
	return endGroups(host, own, group)
}

// keeperGroups is where the keepers' cgroups are, with the Pod's UID behind it.
const keeperGroups = "tripod/keepers/"

// endGroups kills what is in cgroups and removes them, with those above as far as nothing else is left in them.
func endGroups(host cgroup.Host, paths ...string) error {
	for _, own := range paths {
		if own == "" {
			continue
		}
		group := cgroup.Open(host, own)
		if err := group.Kill(); err != nil {
			return err
		}
		if err := group.Remove(); err != nil {
			return err
		}
	}
	prune(host, paths...)
	return nil
}

// prune removes the cgroups that a Pod's own were made below, as far as nothing else is left in them.
func prune(host cgroup.Host, paths ...string) {
	for _, own := range paths {
		for above := path.Dir(own); above != "." && above != "/"; above = path.Dir(above) {
			_, _ = cgroup.Open(host, above).Prune()
		}
	}
}

// burial brings the records up to date.
func burial(dir string, s *Sandbox) (*Status, error) {
	status, err := Read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		status, err = &Status{Version: Version, BootID: bootID(), UID: s.UID}, nil
	}
	if err != nil {
		return nil, err
	}
	if !status.Finished {
		status.Containers, status.Pause = lost(status.Containers), Process{}
		if err := record.Put(filepath.Join(dir, statusFile), status); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{socketFile, identityFile} {
		if err := unix.Unlink(filepath.Join(dir, name)); err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("cannot remove %s: %w", filepath.Join(dir, name), err)
		}
	}
	return status, nil
}
