// Package record keeps small truths on disk: one JSON file a fact, replaced whole or not at all, and locks that end with their holder.
//
// A record is a value written by Put and read by Get. A reader sees the old value or the new one, never a part of
// either, also after a power cut. A lock is a flock(2) on a file of its own: the kernel releases it when its holder
// dies, so a lock that can be taken is proof that nobody holds it.
//
// Do not use it for what grows (logs, layers): a record is read whole and bounded by MaxSize.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MaxSize bounds what Get reads of one record, in bytes.
const MaxSize = 8 << 20

// ErrLocked says that another process holds the lock that Try asked for.
var ErrLocked = errors.New("locked by another process")

// Put writes v as JSON to path, mode 0600, so that it is durable when Put returns: a temporary file beside it is
// written and fsynced, renamed over path, and the directory is fsynced.
func Put(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode record %s: %w", path, err)
	}
	return write(path, append(data, '\n'), true)
}

// PutFast is Put without the two fsyncs: whole or not at all for every reader of this boot, but not promised to outlive
// a power cut. It is for records of things that a power cut ends anyway, such as processes.
func PutFast(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode record %s: %w", path, err)
	}
	return write(path, append(data, '\n'), false)
}

// PutBytes is Put of what is no JSON.
func PutBytes(path string, data []byte) error { return write(path, data, true) }

func write(path string, data []byte, durable bool) (err error) {
	dir := filepath.Dir(path)
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot write record %s: %w", path, err)
		}
	}()
	f, named, err := create(dir, filepath.Base(path))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Write(data); err == nil && durable {
		err = f.Sync()
	}
	if err == nil {
		err = publish(f, named, path)
	}
	if err != nil {
		if named {
			os.Remove(f.Name())
		}
		return err
	}
	if !durable {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// create opens a new file in dir. It has no name there, so that a kill leaves nothing, where the file system can do that
// (open(2), O_TMPFILE).
func create(dir, base string) (f *os.File, named bool, err error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir), false, nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, false, err
	}
	f, err = os.CreateTemp(dir, "."+base+".*")
	return f, true, err
}

// publish gives f the name path. Where there is a record of that name already, f takes a name of its own for the moment
// until it replaces it: no call puts a nameless file in another's place.
func publish(f *os.File, named bool, path string) error {
	if named {
		return os.Rename(f.Name(), path)
	}
	link := func(to string) error {
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
	}
	err := link(path)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d.%d", filepath.Base(path), os.Getpid(), f.Fd()))
	_ = unix.Unlink(temp) // of a process of our number that was killed here
	if err := link(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		_ = unix.Unlink(temp)
		return err
	}
	return nil
}

// Get reads the record at path into v. A record that does not exist is an error that errors.Is fs.ErrNotExist; one that
// is larger than MaxSize, or is no JSON of v's shape, is an error that names path.
func Get(path string, v any) error { return GetWith(json.Unmarshal, path, v) }

// GetWith is Get with a reader of JSON that is not encoding/json's.
func GetWith(unmarshal func([]byte, any) error, path string, v any) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot read record %s: %w", path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return fmt.Errorf("cannot read record %s: %w", path, err)
	}
	if len(data) > MaxSize {
		return fmt.Errorf("cannot read record %s: larger than %d bytes", path, MaxSize)
	}
	if err := unmarshal(data, v); err != nil {
		return fmt.Errorf("cannot read record %s: %w", path, err)
	}
	return nil
}

// Lock is a held flock(2). The zero value holds nothing.
type Lock struct{ f *os.File }

// Acquire waits until it holds the lock file at path, which it makes when it is missing.
func Acquire(path string) (*Lock, error) { return lock(path, fresh, unix.LOCK_EX) }

// Share waits until it holds the lock file at path together with other sharers, while nobody holds it by Acquire.
func Share(path string) (*Lock, error) { return lock(path, fresh, unix.LOCK_SH) }

// Try takes the lock file at path, or fails at once with an error that errors.Is ErrLocked.
func Try(path string) (*Lock, error) { return lock(path, fresh, unix.LOCK_EX|unix.LOCK_NB) }

// TryDir is Try of a directory, which is its own lock and must be there.
func TryDir(path string) (*Lock, error) {
	return lock(path, os.O_RDONLY|unix.O_DIRECTORY, unix.LOCK_EX|unix.LOCK_NB)
}

// fresh opens a lock file, and makes it when it is missing.
const fresh = os.O_RDWR | os.O_CREATE

func lock(path string, open, how int) (*Lock, error) {
	for {
		f, err := os.OpenFile(path, open|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			err = unix.Flock(int(f.Fd()), how)
		}
		if err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = ErrLocked
			}
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		// The last holder may have removed the file between our open and our flock; then we hold a lock
		// that nobody else will ever meet.
		if held, err := f.Stat(); err == nil {
			if named, err := os.Stat(path); err == nil && os.SameFile(held, named) {
				return &Lock{f}, nil
			}
		}
		f.Close()
	}
}

// Release gives the lock back. The file stays.
func (l *Lock) Release() error {
	if l == nil || l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// Remove removes the lock's file while the lock is held, then gives it back: whoever waits for it takes a new one.
func (l *Lock) Remove() error {
	if l == nil || l.f == nil {
		return nil
	}
	return errors.Join(os.Remove(l.f.Name()), l.Release())
}

// File is the held descriptor, to be inherited by a process that is to hold the lock on.
func (l *Lock) File() *os.File { return l.f }
