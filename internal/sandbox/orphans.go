package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tripod/internal/keeper"
	"tripod/internal/network"
	"tripod/internal/record"
	"tripod/internal/volume"
)

// pairFile, in Root, names the RunRoot that Root's Pods are in. Without it a tripod with another RunRoot would take
// them for Pods that a reboot has ended, and sweep what they write to.
const pairFile = "run-root.json"

// PairError says that Root belongs to Pods in another RunRoot.
type PairError struct{ Root, RunRoot, Other string }

func (e *PairError) Error() string {
	return fmt.Sprintf("cannot use root %s with run root %s: Pods in %s use it", e.Root, e.RunRoot, e.Other)
}

// Hint says how to go on.
func (e *PairError) Hint() string { return "use --run-root " + e.Other + ", or another --root" }

// pair ties Root to RunRoot. A RunRoot without Pods gives Root free. The caller holds RunRoot's pods.lock.
func (h Host) pair() error {
	path := filepath.Join(h.Root, pairFile)
	var other string
	err := record.Get(path, &other)
	switch {
	case err == nil && other == h.RunRoot:
		return nil
	case err == nil:
		if entries, _ := os.ReadDir(Host{RunRoot: other}.Pods()); len(entries) > 0 {
			return &PairError{h.Root, h.RunRoot, other}
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return record.PutFast(path, h.RunRoot)
}

// SweepOrphans removes what Pods without a folder have left in Root: after a reboot, what all of them had. Where somebody
// removed the folder of a Pod that runs, it ends. Owners are
// those who lease images, of whom the Pods' containers are given up by release. Logs stay: they may tell why the host
// went down.
func (h Host) SweepOrphans(ctx context.Context, owners []string, release func(owner string) error) error {
	var paired string
	if err := record.Get(filepath.Join(h.Root, pairFile), &paired); err != nil || paired != h.RunRoot {
		return nil // nothing was ever made here, or by others
	}
	var errs []error
	for _, owner := range owners {
		if uid, _, ok := strings.Cut(owner, "_"); ok && h.orphan(uid) {
			errs = append(errs, release(owner))
		}
	}
	for dir, remove := range map[string]func(uid string) error{
		"containers": func(uid string) error {
			if err := keeper.BuryLost(uid); err != nil {
				return err
			}
			return os.RemoveAll(filepath.Join(h.Root, "containers", uid))
		},
		"volumes": func(uid string) error { return volume.Remove(h.Root, h.RunRoot, uid) },
	} {
		entries, err := os.ReadDir(filepath.Join(h.Root, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if h.orphan(e.Name()) {
				errs = append(errs, remove(e.Name()))
			}
		}
	}
	if entries, _ := os.ReadDir(filepath.Join(h.RunRoot, "network", "pods")); len(entries) > 0 {
		errs = append(errs, network.Sweep(ctx, h.network(), func(uid string) bool { return !h.orphan(uid) }))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot sweep: %w", err)
	}
	return nil
}

// orphan reports whether a Pod has no folder. A Pod's folder is made before, and removed after, all else that it has.
func (h Host) orphan(uid string) bool {
	_, err := os.Lstat(filepath.Join(h.Pods(), uid))
	return errors.Is(err, fs.ErrNotExist)
}
