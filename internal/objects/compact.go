package objects

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// logWriter writes a log from its beginning.
type logWriter struct {
	w    io.Writer
	head header
	f    frame
	size int64
	err  error
}

// newLogWriter begins a log whose snapshot is of version base.
func newLogWriter(w io.Writer, base uint64) *logWriter {
	l := &logWriter{w: w, head: newHeader(base)}
	l.write(l.head.encode())
	l.f.reset()
	return l
}

func (l *logWriter) write(b []byte) {
	if l.err == nil {
		_, l.err = l.w.Write(b)
		l.size += int64(len(b))
	}
}

func (l *logWriter) add(r logRecord) error {
	if l.f.add(r); l.f.full() {
		return l.flush()
	}
	return l.err
}

func (l *logWriter) flush() error {
	if !l.f.empty() {
		l.write(l.f.seal(l.head))
		l.f.reset()
	}
	return l.err
}

// end ends the snapshot.
func (l *logWriter) end() error {
	l.f.add(logRecord{kind: end, version: l.head.base})
	return l.flush()
}

// snapshot writes to w a log of what is alive in another one. Its base is the last version there and so many more.
func snapshot(w io.Writer, name string, r io.ReaderAt, found surveyed, more uint64) (*logWriter, error) {
	l := newLogWriter(w, found.version+more)
	for _, p := range found.living {
		data, err := p.read(name, r)
		if err != nil {
			return nil, err
		}
		if err := l.add(logRecord{kept, p.version, p.id, data}); err != nil {
			return nil, err
		}
	}
	return l, l.end()
}

// compaction is a new log, made while the store went on writing to the old one.
type compaction struct {
	f    file
	w    *logWriter
	upTo int64 // how much of the old log it stands for
	err  error
}

// compactIfDue begins a compaction when the dead have outgrown the living.
func (s *Store) compactIfDue() {
	if s.compacting || s.size < max(s.o.CompactFrom, s.o.CompactFactor*s.live, s.retry) {
		return
	}
	s.compacting = true
	go func(log file, size int64) { s.compacted <- s.compact(log, size) }(s.log, s.size)
}

// compact writes the new log, but for what is written to the old one meanwhile.
func (s *Store) compact(log file, size int64) (c compaction) {
	if c.f, c.err = s.o.disk.open(s.path(newName), os.O_RDWR|os.O_CREATE|os.O_TRUNC); c.err != nil {
		return c
	}
	name := s.path(logName)
	found, err := survey(name, log, size)
	if err == nil {
		c.upTo = found.whole
		c.w, err = snapshot(io.NewOffsetWriter(c.f, 0), name, log, found, 0)
	}
	if err == nil {
		err = c.f.Sync()
	}
	c.err = err
	return c
}

// adopt adds to a new log what has been written since, and puts it in the place of the old one.
func (s *Store) adopt(c compaction) {
	s.compacting = false
	was := s.size
	if c.err == nil {
		c.err = s.catchUp(c)
	}
	if c.err == nil {
		c.err = c.f.Sync()
	}
	old := s.log
	if c.err == nil {
		c.err = s.swap(c)
	}
	if c.err != nil {
		s.discard(c)
		s.retry = was + was/2
		s.o.Log.Warn("cannot compact the log of objects", "file", s.path(logName), "error", c.err)
		return
	}
	s.head, s.retry = c.w.head, 0
	old.Close()
	if err := s.settle(); err != nil {
		s.o.Log.Warn("cannot write objects for now", "file", s.path(logName), "error", err)
	}
	s.o.Log.Info("compacted the log of objects", "file", s.path(logName), "from", was, "to", s.size)
}

// swap gives a whole new log the name of the old one. Until the folder is synced the name may be either's after a power cut, so
// nothing is written before.
func (s *Store) swap(c compaction) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.o.disk.rename(s.path(newName), s.path(logName)); err != nil {
		return err
	}
	s.log, s.size = c.f, c.w.size
	s.unsettled = func() error { return s.o.disk.syncDir(s.dir) }
	return nil
}

// catchUp copies what was written to the old log since a compaction began.
func (s *Store) catchUp(c compaction) error {
	o := order{base: c.w.head.base, last: c.w.head.base, ended: true}
	_, err := scanFrames(s.path(logName), s.log, s.head, c.upTo, s.size, &o, func(r logRecord, _ int64) error { return c.w.add(r) })
	return errors.Join(err, c.w.flush())
}

// endCompaction waits for a compaction that runs, and throws it away.
func (s *Store) endCompaction() {
	if s.compacting {
		s.discard(<-s.compacted)
	}
}

func (s *Store) discard(c compaction) {
	if c.f != nil {
		c.f.Close()
	}
	if err := s.o.disk.remove(s.path(newName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.o.Log.Warn("cannot remove a half-made log of objects", "file", s.path(newName), "error", err)
	}
}
