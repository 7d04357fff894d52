package main

import (
	"bytes"
	"io"
	"sync"
	"time"

	"tripod/internal/sandbox"
)

// logWriter puts the lines of several containers on one stream. A line that comes in parts stays whole.
type logWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func newLogWriter(out io.Writer) *logWriter { return &logWriter{out: out} }

// lineStyle is how a container's lines look.
type lineStyle struct {
	prefix     string
	colour     string // escape sequence before the prefix; "" is none
	timestamps bool
}

// longestWhole bounds what is held back for the end of a line; beyond it the parts come one by one.
const longestWhole = 1 << 20

// lines returns what takes the lines of one container.
func (w *logWriter) lines(style lineStyle) func(sandbox.Line) error {
	var held bytes.Buffer
	return func(line sandbox.Line) error {
		if held.Len() == 0 {
			if style.colour != "" {
				held.WriteString(style.colour)
			}
			held.WriteString(style.prefix)
			if style.colour != "" {
				held.WriteString(colourOff)
			}
			if style.timestamps {
				held.WriteString(line.Time.UTC().Format(time.RFC3339Nano) + " ")
			}
		}
		held.Write(line.Text)
		if line.Partial && held.Len() < longestWhole {
			return nil
		}
		if !line.Partial {
			held.WriteByte('\n')
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		_, err := held.WriteTo(w.out)
		held.Reset()
		return err
	}
}

// colourOff ends a colour.
const colourOff = "\x1b[0m"

// palette are colours that can be read on dark and on light ground.
var palette = []string{"\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[34m", "\x1b[96m", "\x1b[93m", "\x1b[92m", "\x1b[95m", "\x1b[94m"}
