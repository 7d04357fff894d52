package node

import (
	"io"
	"time"

	"tripod/internal/sandbox"
)

// logText writes lines of a log as kubectl is to show them.
type logText struct {
	w      io.Writer
	stamps bool   // the time before each line
	only   string // Stdout or Stderr; "" is both
	left   int64  // bytes that may still be written; -1 is no bound
	inside bool   // a line has begun
	buf    []byte
}

func (l *logText) line(line sandbox.Line) error {
	if l.only == "Stdout" && line.Stream != "stdout" || l.only == "Stderr" && line.Stream != "stderr" {
		return nil
	}
	l.buf = l.buf[:0]
	if l.stamps && !l.inside {
		l.buf = append(line.Time.UTC().AppendFormat(l.buf, time.RFC3339Nano), ' ')
	}
	l.buf = append(l.buf, line.Text...)
	if l.inside = line.Partial; !line.Partial {
		l.buf = append(l.buf, '\n')
	}
	data, whole := l.buf, true
	if l.left >= 0 && int64(len(data)) >= l.left {
		data, whole = data[:l.left], false
	}
	if l.left >= 0 {
		l.left -= int64(len(data))
	}
	if _, err := l.w.Write(data); err != nil {
		return err
	}
	if !whole {
		return errLimit
	}
	return nil
}
