package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// defaultDetachKeys are docker's.
const defaultDetachKeys = "ctrl-p,ctrl-q"

// isTerminal reports whether a stream of ours is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colours reports whether to colour what is written to a stream (no-color.org, and a terminal that can).
func colours(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// raw puts the terminal of stdin into raw mode and returns what puts it back; nothing happens where stdin is none.
func raw(in *os.File) (restore func(), err error) {
	fd := int(in.Fd())
	if !term.IsTerminal(fd) {
		return func() {}, nil
	}
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(fd, state) }, nil
}

// detachKeys reads docker's form of a key sequence: letters, or ctrl- and one of a-z, @, [, \, ], ^, _; commas between.
func detachKeys(word string) ([]byte, error) {
	if word == "" {
		return nil, nil
	}
	var keys []byte
	for key := range strings.SplitSeq(word, ",") {
		name, ctrl := strings.CutPrefix(key, "ctrl-")
		if len(name) != 1 {
			return nil, misuse("write keys such as ctrl-p,ctrl-q", "cannot use --detach-keys %q: no such key %q", word, key)
		}
		c := name[0]
		if ctrl {
			switch {
			case c >= 'a' && c <= 'z':
				c -= 'a' - 1
			case c >= '@' && c <= '_':
				c -= '@'
			default:
				return nil, misuse("write keys such as ctrl-p,ctrl-q", "cannot use --detach-keys %q: no such key %q", word, key)
			}
		}
		keys = append(keys, c)
	}
	return keys, nil
}

// detachReader passes input on until the detach keys are typed, which end it.
// Keys that begin the sequence are held back until it is clear that they are not it.
type detachReader struct {
	in       io.Reader
	keys     []byte
	matched  int    // keys of the sequence typed so far
	pending  []byte // input to hand out before reading more
	detached func() // called once when the sequence is complete
	done     bool
}

func (d *detachReader) Read(p []byte) (int, error) {
	for len(d.pending) == 0 {
		if d.done {
			return 0, io.EOF
		}
		buf := make([]byte, len(p))
		n, err := d.in.Read(buf)
		for _, c := range buf[:n] {
			if d.typed(c) {
				d.done = true
				d.detached()
				break
			}
		}
		if err != nil {
			d.done = true
			d.pending = append(d.pending, d.keys[:d.matched]...)
			d.matched = 0
			if len(d.pending) == 0 {
				return 0, err
			}
		}
	}
	n := copy(p, d.pending)
	d.pending = d.pending[n:]
	return n, nil
}

// typed takes one key and reports whether it completed the sequence.
func (d *detachReader) typed(c byte) bool {
	if len(d.keys) == 0 {
		d.pending = append(d.pending, c)
		return false
	}
	if c != d.keys[d.matched] {
		d.pending = append(d.pending, d.keys[:d.matched]...)
		d.matched = 0
		if c != d.keys[0] {
			d.pending = append(d.pending, c)
			return false
		}
	}
	if d.matched++; d.matched < len(d.keys) {
		return false
	}
	d.matched = 0
	return true
}
