package sandbox

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// LogOptions says what of a log to read. The zero value reads all there is, once.
type LogOptions struct {
	Since  time.Time   // nothing older
	Tail   int         // only so many of the last lines that are there at first; 0 is all, -1 none
	Follow func() bool // nil: do not wait for more. Else: whether no more will be written, asked before each look
}

// maxLine bounds one line of a log file: the keeper splits at 16 KiB, and others write no more than 64 KiB.
const maxLine = 256 << 10

// ReadLog gives each the lines of one attempt of a container, oldest first, through all the files it was rotated into.
// Text is the callee's only until it returns. Lines that are none are left out. Following ends when Follow says so and
// all is read, or with ctx, which is no error. A log that does not exist is one that errors.Is fs.ErrNotExist.
func ReadLog(ctx context.Context, path string, o LogOptions, each func(Line) error) error {
	r := &logReader{path: path, since: o.Since, each: each}
	defer r.close()
	if o.Tail != 0 {
		r.tail = &tail{most: max(o.Tail, 0)}
	}
	found, err := r.toLast()
	if err == nil && !found {
		err = fs.ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("cannot read log %s: %w", path, err)
	}
	if err := r.flush(); err != nil || o.Follow == nil {
		return err
	}
	changes := watch(filepath.Dir(path))
	defer changes.close()
	for {
		last := o.Follow()
		if _, err := r.toLast(); err != nil {
			return fmt.Errorf("cannot read log %s: %w", path, err)
		}
		if last || ctx.Err() != nil {
			return nil
		}
		changes.wait(ctx)
	}
}

// logReader reads the files of one log.
type logReader struct {
	path  string
	since time.Time
	each  func(Line) error
	tail  *tail // holds lines back; nil: none are
	file  *os.File
	in    *bufio.Reader
	begun []byte // of a line whose end is not written yet
}

// files are the names that the log lies under, oldest first: PATH.TIMESTAMP[.gz], then PATH.
func (r *logReader) files() []string {
	rotated, _ := filepath.Glob(escape(r.path) + ".*") // its only error is a bad pattern
	rotated = slices.DeleteFunc(rotated, func(name string) bool { return strings.HasSuffix(name, ".tmp") })
	slices.Sort(rotated)
	return append(rotated, r.path)
}

// escape makes a path mean itself in filepath.Glob.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// toLast reads to the end of the last file, and reports whether there is any.
func (r *logReader) toLast() (bool, error) {
	for {
		if r.file != nil {
			if err := r.more(); err != nil {
				return true, err
			}
		}
		next, err := r.next()
		if err != nil || next == nil {
			return r.file != nil, err
		}
		if r.file != nil {
			// Its writer may have added a last line after we had read it and before it was renamed.
			if err := r.more(); err != nil {
				return true, err
			}
		}
		if err := r.open(next); err != nil {
			return true, err
		}
	}
}

// next opens the file after the open one, or the oldest; nil when there is none. Names move to the next file while we
// look: what was opened is believed only if it still comes next afterwards.
func (r *logReader) next() (*os.File, error) {
	for {
		name := r.after()
		if name == "" {
			return nil, nil
		}
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			if name == r.path {
				return nil, nil
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		opened, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if info, err := os.Stat(r.after()); err == nil && os.SameFile(opened, info) {
			return f, nil
		}
		f.Close()
	}
}

// after is the name of the file after the open one, or of the oldest; "" when the open one is the last.
func (r *logReader) after() string {
	files := r.files()
	if r.file == nil {
		return files[0]
	}
	mine, err := r.file.Stat()
	if err != nil {
		return ""
	}
	for i, name := range files {
		if info, err := os.Stat(name); err == nil && os.SameFile(mine, info) {
			return slices.Concat(files, []string{""})[i+1]
		}
	}
	return files[0] // ours was deleted: all there are came after it
}

// open makes f the open file.
func (r *logReader) open(f *os.File) error {
	r.close()
	r.file, r.begun = f, nil
	var in io.Reader = f
	if strings.HasSuffix(f.Name(), ".gz") {
		unpacked, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		in = unpacked
	}
	r.in = bufio.NewReaderSize(in, 64<<10)
	return nil
}

// more reads what has been written to the open file.
func (r *logReader) more() error {
	for {
		part, err := r.in.ReadSlice('\n')
		if len(r.begun)+len(part) <= maxLine {
			r.begun = append(r.begun, part...)
		}
		switch {
		case err == nil:
			line, bad := ParseLine(r.begun)
			if bad == nil {
				if bad = r.take(line); bad != nil {
					return bad
				}
			}
			r.begun = r.begun[:0]
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

func (r *logReader) take(line Line) error {
	if line.Time.Before(r.since) {
		return nil
	}
	if r.tail != nil {
		r.tail.add(line)
		return nil
	}
	return r.each(line)
}

// flush hands out the lines that were held back and holds back no more.
func (r *logReader) flush() error {
	if r.tail == nil {
		return nil
	}
	lines := r.tail.lines
	r.tail = nil
	for _, parts := range lines {
		for _, line := range parts {
			if err := r.each(line); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *logReader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// tail holds the last lines, each with its parts.
type tail struct {
	most  int
	lines [][]Line
	open  bool // the last line's end has not come
}

func (t *tail) add(line Line) {
	line.Text = slices.Clone(line.Text)
	if t.open {
		t.lines[len(t.lines)-1] = append(t.lines[len(t.lines)-1], line)
	} else {
		t.lines = append(t.lines, []Line{line})
	}
	t.open = line.Partial
	if extra := len(t.lines) - t.most; extra > 0 {
		if t.lines = t.lines[extra:]; len(t.lines) == 0 {
			t.open = false
		}
	}
}
