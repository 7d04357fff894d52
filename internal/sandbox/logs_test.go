package sandbox

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func at(second int) string { return fmt.Sprintf("2026-11-23T10:00:%02d.000000000Z", second) }

func TestParseLine(t *testing.T) {
	for _, c := range []struct {
		raw, text string
		partial   bool
		stream    string
		ok        bool
	}{
		{at(1) + " stdout F hello world\n", "hello world", false, "stdout", true},
		{at(1) + " stderr P half", "half", true, "stderr", true},
		{at(1) + " stdout F ", "", false, "stdout", true},
		{at(1) + " stdout F", "", false, "stdout", true},
		{"2026-11-23T10:00:00+02:00 stdout F:x tagged", "tagged", false, "stdout", true},
		{at(1) + " stdin F no", "", false, "", false},
		{at(1) + " stdout X no", "", false, "", false},
		{"today stdout F no", "", false, "", false},
		{"", "", false, "", false},
		{"\n", "", false, "", false},
	} {
		line, err := ParseLine([]byte(c.raw))
		if (err == nil) != c.ok || string(line.Text) != c.text || line.Partial != c.partial || line.Stream != c.stream {
			t.Errorf("ParseLine(%q) = %q %v %q, %v", c.raw, line.Text, line.Partial, line.Stream, err)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(at(1) + " stdout F hello\n"))
	f.Add([]byte("a b P:x c"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		line, err := ParseLine(raw)
		if err == nil && !bytes.Contains(raw, line.Text) {
			t.Errorf("ParseLine(%q) made up %q", raw, line.Text)
		}
	})
}

func TestReadLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	if err := ReadLog(t.Context(), path, LogOptions{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadLog of nothing: %v", err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	fmt.Fprintf(w, "%s stdout F one\n", at(1))
	w.Close()
	write(t, path+".20261123-100001.gz", packed.String())
	write(t, path+".20261123-100003", at(2)+" stdout F two\n"+at(3)+" stdout P three \n")
	write(t, path, at(3)+" stdout F and a half\nrubbish\n"+at(4)+" stderr F four\n"+at(5)+" stdout F not yet whole")
	for _, c := range []struct {
		name string
		o    LogOptions
		want string
	}{
		{"all", LogOptions{}, "one\ntwo\nthree and a half\nfour\n"},
		{"tail", LogOptions{Tail: 2}, "three and a half\nfour\n"},
		{"tail of more than there is", LogOptions{Tail: 20}, "one\ntwo\nthree and a half\nfour\n"},
		{"no tail", LogOptions{Tail: -1}, ""},
		{"since", LogOptions{Since: time.Date(2026, 11, 23, 10, 0, 4, 0, time.UTC)}, "four\n"},
	} {
		var got strings.Builder
		if err := ReadLog(t.Context(), path, c.o, printTo(&got)); err != nil || got.String() != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got.String(), err, c.want)
		}
	}
}

// A reader that follows sees every line of a log that is rotated while it reads, and ends when the writer has.
func TestFollowLog(t *testing.T) {
	const lines, each = 300, 7
	path := filepath.Join(t.TempDir(), "0.log")
	write(t, path, "")
	over := make(chan struct{})
	go func() {
		defer close(over)
		f, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		for i := range lines {
			fmt.Fprintf(f, "%s stdout F %d\n", at(1), i)
			if i%each == each-1 {
				f.Close()
				os.Rename(path, fmt.Sprintf("%s.20261123-%06d", path, i))
				f, _ = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			}
		}
		f.Close()
	}()
	ended := func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	}
	var got, want strings.Builder
	for i := range lines {
		fmt.Fprintln(&want, i)
	}
	if err := ReadLog(t.Context(), path, LogOptions{Follow: ended}, printTo(&got)); err != nil || got.String() != want.String() {
		t.Errorf("followed %d bytes, want %d: %v", got.Len(), want.Len(), err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ReadLog(ctx, path, LogOptions{Follow: func() bool { return false }}, printTo(&got)); err != nil {
		t.Errorf("following after the context's end: %v", err)
	}
}

func printTo(b *strings.Builder) func(Line) error {
	return func(line Line) error {
		b.Write(line.Text)
		if !line.Partial {
			b.WriteByte('\n')
		}
		return nil
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
