package objects

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"tripod/internal/record"
)

// bump is added to the version of a restored store: whoever has seen versions that were made after the backup is told that they are
// gone, and not that they are the same as other ones made since.
const bump = 1_000_000_000

// Backup writes to w what is alive at one version, while the store goes on. Restore reads it.
func (s *Store) Backup(w io.Writer) error {
	s.mu.RLock()
	f, err := s.o.disk.open(s.path(logName), os.O_RDONLY)
	size := s.size
	s.mu.RUnlock()
	if err == nil {
		defer f.Close()
		var found surveyed
		if found, err = survey(s.path(logName), f, size); err == nil {
			_, err = snapshot(w, s.path(logName), f, found, 0)
		}
	}
	return backedUp(s.dir, err)
}

// Backup writes to w what is alive in the store of a folder, whether another process has it open or not. It takes no lock: what is
// being written meanwhile is in the backup or not, each frame as a whole.
func Backup(dir string, w io.Writer) error {
	name := filepath.Join(dir, logName)
	f, err := osDisk{}.open(name, os.O_RDONLY)
	if err == nil {
		defer f.Close()
		var found surveyed
		if found, err = surveyShared(name, f); err == nil {
			_, err = snapshot(w, name, f, found, 0)
		}
	}
	return backedUp(dir, err)
}

func backedUp(dir string, err error) error {
	if err != nil {
		return fmt.Errorf("cannot back up objects %s: %w", dir, err)
	}
	return nil
}

// surveyShared surveys a log that another process may be writing. When the disk is full, that one cuts off what it could not write
// whole, also while it is read here: so what looks like damage is looked at again.
func surveyShared(name string, f file) (found surveyed, err error) {
	for range 3 {
		var size int64
		if size, err = f.Size(); err == nil {
			found, err = survey(name, f, size)
		}
		if err == nil {
			break
		}
	}
	return found, err
}

// Restore makes a store of a backup, in a folder that is missing or empty. The backup is checked whole before there is a store. Its
// version is well above that of the backup.
func Restore(dir string, r io.Reader) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot restore objects %s: %w", dir, err)
		}
	}()
	if err := makeFolder(osDisk{}, dir); err != nil {
		return err
	}
	lock, err := record.Try(filepath.Join(dir, lockName))
	if err != nil {
		return err
	}
	defer lock.Release()
	switch entries, err := os.ReadDir(dir); {
	case err != nil:
		return err
	case slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != lockName }):
		return ErrNotEmpty
	}
	return restore(osDisk{}, dir, r)
}

// spoolName is a backup while it is checked.
const spoolName = "restore"

func restore(d disk, dir string, r io.Reader) (err error) {
	var files [2]file
	for i, name := range []string{spoolName, newName} {
		path := filepath.Join(dir, name)
		if files[i], err = d.open(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC); err != nil {
			return err
		}
		defer files[i].Close()
		defer func() {
			if e := d.remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}()
	}
	size, err := io.Copy(io.NewOffsetWriter(files[0], 0), r)
	if err != nil {
		return err
	}
	found, err := survey("backup", files[0], size)
	if err != nil {
		return err
	}
	if found.whole < size {
		return fmt.Errorf("the backup is cut or damaged at byte %d", found.whole)
	}
	if _, err := snapshot(io.NewOffsetWriter(files[1], 0), "backup", files[0], found, bump); err != nil {
		return err
	}
	return publish(d, dir, files[1])
}
