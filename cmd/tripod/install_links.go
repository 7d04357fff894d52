package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
)

// link is a name under which people know a command that a program of ours can be.
type link struct{ name, program string }

// links are the names that install-links makes.
func links() []link {
	return []link{{"lsns", beside("tripod-oci")}, {"nsenter", beside("tripod-oci")}, {"docker", beside("tripod")}}
}

func newInstallLinks(a *app) *cobra.Command {
	var force, remove bool
	cmd := &cobra.Command{
		Use:   "install-links DIR [NAME...]",
		Short: "Make the names lsns, nsenter and docker in a folder",
		Long: `Make symbolic links in a folder, so that the commands people know are tripod's: lsns and
nsenter, and docker for ps and inspect, or those of them that are named. Put the folder before
others in PATH. Files of the same names that are not such links are left alone, unless --force
says otherwise.`,
		Example: "  tripod install-links /usr/local/bin\n  tripod install-links ~/bin docker\n  tripod install-links --remove /usr/local/bin",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			chosen, err := chosenLinks(args[1:])
			if err != nil {
				return err
			}
			if remove {
				return removeLinks(args[0], chosen)
			}
			return installLinks(args[0], chosen, force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace files of these names")
	cmd.Flags().BoolVar(&remove, "remove", false, "take away the links that were made")
	cmd.MarkFlagsMutuallyExclusive("force", "remove")
	return cmd
}

// chosenLinks are the links of these names, or all.
func chosenLinks(names []string) ([]link, error) {
	all := links()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []link
	for _, name := range names {
		i := slices.IndexFunc(all, func(l link) bool { return l.name == name })
		if i < 0 {
			return nil, misuse("use lsns, nsenter or docker", "cannot make link %q: tripod is not known by this name", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// installLinks makes all links or none: each beside its name first, then all put in place, and what was replaced put back when
// one cannot be.
func installLinks(dir string, all []link, force bool) (err error) {
	var todo []link
	for _, l := range all {
		path := filepath.Join(dir, l.name)
		if target, rerr := os.Readlink(path); rerr == nil && target == l.program {
			continue
		}
		info, serr := os.Lstat(path)
		switch {
		case errors.Is(serr, fs.ErrNotExist):
		case serr != nil:
			return fmt.Errorf("cannot make link %s: %w", path, serr)
		case info.IsDir():
			return fmt.Errorf("cannot make link %s: there is a folder", path)
		case !force:
			return misuse("move it away, or replace it with --force", "cannot make link %s: there is a file that is not tripod's", path)
		}
		todo = append(todo, l)
	}
	work, err := os.MkdirTemp(dir, ".tripod-links-")
	if err != nil {
		return fmt.Errorf("cannot make links in %s: %w", dir, err)
	}
	defer os.RemoveAll(work)
	var undo []func() error
	defer func() {
		for i := len(undo) - 1; err != nil && i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	for _, l := range todo {
		path, saved, fresh := filepath.Join(dir, l.name), filepath.Join(work, l.name+".old"), filepath.Join(work, l.name)
		if err := os.Symlink(l.program, fresh); err != nil {
			return fmt.Errorf("cannot make link %s: %w", path, err)
		}
		// What is replaced keeps a second name, so that there is no moment without the first.
		back := func() error { return os.Remove(path) }
		if err := os.Link(path, saved); err == nil {
			back = func() error { return os.Rename(saved, path) }
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot make link %s: %w", path, err)
		}
		if err := os.Rename(fresh, path); err != nil {
			return fmt.Errorf("cannot make link %s: %w", path, err)
		}
		undo = append(undo, back)
	}
	return nil
}

// removeLinks takes away the links that are ours.
func removeLinks(dir string, all []link) error {
	var errs []error
	for _, l := range all {
		path := filepath.Join(dir, l.name)
		if target, err := os.Readlink(path); err != nil || target != l.program {
			continue
		}
		if err := os.Remove(path); err != nil {
			errs = append(errs, fmt.Errorf("cannot remove link %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}
