package keeper

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kubelet's containerLogMaxSize and containerLogMaxFiles.
const (
	logMaxBytes = 10 << 20
	logMaxFiles = 5
)

// keptAttempts is how many attempts' logs are kept beside the first one's and the one being written: a crash loop must
// neither fill the disk nor push its own beginning out.
const keptAttempts = 5

// dateForm is what a rotated file's name ends with, as kubelet has it.
const dateForm = ".20060102-150405"

// logFile is the log of one attempt: DIR/N.log and the rotated N.log.YYYYMMDD-HHMMSS beside it. All names are opened
// below a descriptor of DIR and never through a symbolic link (CVE-2026-53489).
type logFile struct {
	dir, fd  int
	name     string
	size     int64
	maxBytes int64
	maxFiles int
	rotated  time.Time // the name of the newest rotated file
	lost     error     // why entries were last lost, nil if they are not
}

// openLog opens the log of an attempt in the directory dir, which is made when it is missing, and removes the logs of
// attempts that need not be kept. Zero limits are kubelet's.
func openLog(dir string, attempt int, maxBytes int64, maxFiles int) (*logFile, error) {
	l := &logFile{dir: -1, fd: -1, name: strconv.Itoa(attempt) + ".log", maxBytes: maxBytes, maxFiles: maxFiles}
	if l.maxBytes <= 0 {
		l.maxBytes = logMaxBytes
	}
	if l.maxFiles <= 0 {
		l.maxFiles = logMaxFiles
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make log directory: %w", err)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open log directory %s: %w", dir, err)
	}
	l.dir = fd
	l.forget(attempt)
	if old := l.old(); len(old) > 0 {
		l.rotated, _ = time.Parse(dateForm, old[len(old)-1][len(l.name):])
	}
	if err := l.reopen(); err != nil {
		l.close()
		return nil, fmt.Errorf("cannot open log %s/%s: %w", dir, l.name, err)
	}
	return l, nil
}

// reopen opens the file anew under its name: whoever renamed it has the old one for himself then.
func (l *logFile) reopen() error {
	const how = unix.O_WRONLY | unix.O_CREAT | unix.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(l.dir, l.name, how, 0o640)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return errors.Join(err, errors.New("not a regular file"))
	}
	if l.fd >= 0 {
		unix.Close(l.fd)
	}
	l.fd, l.size = fd, st.Size
	return nil
}

// write appends entries, in a new file if they would make this one too long. Entries that cannot be written (no space)
// are lost; the container is not held up for them.
func (l *logFile) write(entries []byte) {
	if l.size > 0 && l.size+int64(len(entries)) > l.maxBytes {
		if err := l.rotate(); err != nil {
			l.lost = err
		}
	}
	whole := l.size
	for len(entries) > 0 {
		n, err := unix.Write(l.fd, entries)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			// An entry that was cut off must not be the beginning of the next one.
			l.lost = err
			if unix.Ftruncate(l.fd, whole) == nil {
				l.size = whole
			}
			return
		}
		l.size += int64(n)
		entries = entries[n:]
	}
	l.lost = nil
}

// rotate gives the file its dated name, begins a new one and removes the oldest beyond maxFiles.
func (l *logFile) rotate() error {
	now := time.Now().UTC().Truncate(time.Second)
	if !now.After(l.rotated) {
		now = l.rotated.Add(time.Second)
	}
	for {
		dated := l.name + now.Format(dateForm)
		err := unix.Renameat2(l.dir, l.name, l.dir, dated, unix.RENAME_NOREPLACE)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		now = now.Add(time.Second)
	}
	l.rotated = now
	if err := l.reopen(); err != nil {
		return err
	}
	old := l.old()
	for len(old) > l.maxFiles-1 {
		_ = unix.Unlinkat(l.dir, old[0], 0)
		old = old[1:]
	}
	return nil
}

// old are the names of the rotated files, the oldest first.
func (l *logFile) old() []string {
	return l.names(func(name string) bool { return strings.HasPrefix(name, l.name+".") })
}

// forget removes the logs of all attempts but the first and the newest before attempt.
func (l *logFile) forget(attempt int) {
	for _, name := range l.names(func(string) bool { return true }) {
		number, _, ok := strings.Cut(name, ".log")
		n, err := strconv.Atoi(number)
		if ok && err == nil && n > 0 && n < attempt-keptAttempts {
			_ = unix.Unlinkat(l.dir, name, 0)
		}
	}
}

// names lists the directory's names that fit, sorted.
func (l *logFile) names(fits func(string) bool) []string {
	fd, err := unix.Openat(l.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	d := os.NewFile(uintptr(fd), ".")
	defer d.Close()
	all, _ := d.Readdirnames(-1)
	all = slices.DeleteFunc(all, func(name string) bool { return !fits(name) })
	slices.Sort(all)
	return all
}

// lastLines is the end of the log without what the entries begin with: up to 80 lines and 2 KiB, kubelet's bounds for a
// container that says of its end what it printed last.
func (l *logFile) lastLines() string {
	const maxLines, maxBytes = 80, 2 << 10
	text, err := readEnd(l.dir, l.name, 16<<10)
	if err != nil {
		return ""
	}
	entries := strings.SplitAfter(text, "\n")
	var out string
	for i := len(entries) - 1; i >= 0 && len(entries)-i <= maxLines+1; i-- {
		parts := strings.SplitN(entries[i], " ", 4)
		if len(parts) < 4 {
			continue
		}
		content := parts[3]
		if parts[2] == "P" {
			content = strings.TrimSuffix(content, "\n")
		}
		if len(out)+len(content) > maxBytes {
			break
		}
		out = content + out
	}
	return out
}

// readEnd reads the last bytes of a regular file below dir, never through a symbolic link.
func readEnd(dir int, name string, most int) (string, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", errors.New("not a regular file")
	}
	buf := make([]byte, min(int64(most), st.Size))
	n, err := unix.Pread(fd, buf, st.Size-int64(len(buf)))
	return strings.ToValidUTF8(string(buf[:max(n, 0)]), "\ufffd"), err
}

func (l *logFile) close() {
	for _, fd := range []int{l.fd, l.dir} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	l.fd, l.dir = -1, -1
}
