package static

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What is told of a folder: files that were written and closed, came by a name or lost it, and the folder's own end. Not each
// write: a text that is half there is no text.
const (
	ofFiles  = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	ofParent = unix.IN_CREATE | unix.IN_MOVED_TO
)

// folders is an inotify(7) of folders of manifests. A folder that is not there is waited for in the nearest one above that is.
type folders struct {
	f    *os.File
	fd   int
	dirs []string
	by   map[int32]string // watch -> the folder of manifests that it is of, "" for one above
}

// watchFolders tells the paths of files that changed, and "" when all must be looked at. The channel ends with ctx.
func watchFolders(ctx context.Context, dirs []string) (<-chan string, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch folders of manifests: %w", err)
	}
	w := &folders{f: os.NewFile(uintptr(fd), "inotify"), fd: fd, dirs: dirs, by: map[int32]string{}}
	if err := w.add(); err != nil {
		w.f.Close()
		return nil, err
	}
	out := make(chan string)
	context.AfterFunc(ctx, func() { w.f.Close() })
	go func() {
		defer close(out)
		buffer := make([]byte, 64<<10)
		for {
			n, err := w.f.Read(buffer)
			if err != nil {
				return // closed: ctx is done
			}
			for _, path := range w.paths(buffer[:n]) {
				select {
				case out <- path:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out, nil
}

// add watches what is there of the folders, and the nearest that is above each: a folder that goes may come again.
func (w *folders) add() error {
	for _, dir := range w.dirs {
		if err := w.watch(dir, dir, ofFiles); err != nil && !absent(err) {
			return err
		}
		for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
			err := w.watch(above, "", ofParent)
			if err == nil {
				break
			}
			if !absent(err) || above == filepath.Dir(above) {
				return err
			}
		}
	}
	return nil
}

func absent(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

func (w *folders) watch(path, of string, mask uint32) error {
	wd, err := unix.InotifyAddWatch(w.fd, path, mask|unix.IN_MASK_ADD|unix.IN_ONLYDIR)
	if err != nil {
		return fmt.Errorf("cannot watch folder %s: %w", path, err)
	}
	if w.by[int32(wd)] == "" { // one folder may be above another
		w.by[int32(wd)] = of
	}
	return nil
}

// paths are the files that events tell of.
func (w *folders) paths(events []byte) []string {
	var out []string
	anew := false
	for len(events) >= unix.SizeofInotifyEvent {
		wd, mask := int32(binary.NativeEndian.Uint32(events)), binary.NativeEndian.Uint32(events[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		name := string(bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00"))
		events = events[end:]
		dir := w.by[wd]
		if mask&unix.IN_IGNORED != 0 {
			delete(w.by, wd)
		}
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0 || mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0:
			anew = true
		case mask&unix.IN_ISDIR != 0:
			anew = anew || w.leads(name)
		case dir != "" && mask&ofFiles != 0 && isManifest(name):
			out = append(out, filepath.Join(dir, name))
		}
	}
	if anew {
		_ = w.add() // what is not there now is told of when it comes
		out = append(out, "")
	}
	return out
}

// leads says that a folder of this name may be on the way to one of manifests.
func (w *folders) leads(name string) bool {
	for _, dir := range w.dirs {
		for path := dir; path != filepath.Dir(path); path = filepath.Dir(path) {
			if filepath.Base(path) == name {
				return true
			}
		}
	}
	return false
}
