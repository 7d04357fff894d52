package keeper

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var entryForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([PF]) (.*)$`)

// readEntries is the reader's side: it returns what each stream said, whole lines and what was left unfinished.
func readEntries(tb testing.TB, log []byte) map[stream]string {
	tb.Helper()
	said := map[stream]*strings.Builder{stdout: {}, stderr: {}}
	for i, line := range strings.SplitAfter(string(log), "\n") {
		if line == "" {
			continue
		}
		text, ended := strings.CutSuffix(line, "\n")
		m := entryForm.FindStringSubmatch(strings.ReplaceAll(text, "\r", "."))
		if m == nil || !ended {
			tb.Fatalf("line %d is no entry: %.80q", i+1, line)
		}
		content := text[len(text)-len(m[3]):]
		if len(content) > maxContent {
			tb.Fatalf("line %d: %d bytes of content", i+1, len(content))
		}
		if m[2] == "F" {
			content += "\n"
		}
		said[stream(m[1])].WriteString(content)
	}
	return map[stream]string{stdout: said[stdout].String(), stderr: said[stderr].String()}
}

func TestLines(t *testing.T) {
	now := time.Date(2026, 11, 23, 15, 4, 5, 60, time.FixedZone("", 3600))
	const stamp = "2026-11-23T14:04:05.000000060Z stdout "
	long := strings.Repeat("x", maxContent)
	for _, tt := range []struct {
		name string
		in   []string
		out  string
	}{
		{"a line", []string{"hello\n"}, stamp + "F hello\n"},
		{"two and a half", []string{"a\nb\nc"}, stamp + "F a\n" + stamp + "F b\n" + stamp + "P c\n"},
		{"empty lines", []string{"\n\n"}, stamp + "F \n" + stamp + "F \n"},
		{"in pieces", []string{"he", "llo", "\n"}, stamp + "F hello\n"},
		{"nothing", []string{""}, ""},
		{"as long as an entry", []string{long + "\n"}, stamp + "F " + long + "\n"},
		{"so long, its end later", []string{long, "\n"}, stamp + "F " + long + "\n"},
		{"a byte longer", []string{long + "y\n"}, stamp + "P " + long + "\n" + stamp + "F y\n"},
		{"twice so long", []string{long + long + "\n"}, stamp + "P " + long + "\n" + stamp + "F " + long + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []byte
			write := func(b []byte) { got = append(got, b...) }
			l, scratch := lines{stream: stdout}, []byte(nil)
			for _, s := range tt.in {
				scratch = l.add([]byte(s), now, scratch, write)
			}
			l.flush(now, scratch, write)
			if string(got) != tt.out {
				t.Errorf("got  %.200q\nwant %.200q", got, tt.out)
			}
		})
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), uint64(1))
	f.Add(bytes.Repeat([]byte("0123456789abcdef"), 3000), uint64(2))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var got, scratch []byte
		write := func(b []byte) {
			if len(b) > maxScratch+maxContent+64 {
				t.Fatalf("%d bytes at once", len(b))
			}
			got = append(got, b...)
		}
		l := lines{stream: stderr}
		for rest := data; len(rest) > 0; {
			n := 1 + rnd.IntN(len(rest))
			scratch = l.add(rest[:n], time.Now(), scratch, write)
			rest = rest[n:]
			if rnd.IntN(4) == 0 {
				scratch = l.flush(time.Now(), scratch, write)
			}
			if len(l.tail) > maxContent {
				t.Fatalf("holds %d bytes", len(l.tail))
			}
		}
		l.flush(time.Now(), scratch, write)
		if back := readEntries(t, got)[stderr]; back != string(data) {
			t.Errorf("wrote %.200q, read %.200q", data, back)
		}
	})
}

func TestLogRotation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ns_pod_uid", "web")
	l, err := openLog(dir, 3, 64<<10, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var want strings.Builder
	in := lines{stream: stdout}
	var scratch []byte
	for i := range 10000 {
		s := fmt.Sprintf("line %d of a program that prints more than its log may hold\n", i)
		want.WriteString(s)
		scratch = in.add([]byte(s), time.Now(), scratch, l.write)
	}
	names := l.names(func(string) bool { return true })
	if len(names) != 3 || names[0] != "3.log" {
		t.Fatalf("files %q, want 3.log and 2 more", names)
	}
	var all []byte
	for _, name := range append(names[1:], names[0]) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(b) > 64<<10 {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		all = append(all, b...)
	}
	got := readEntries(t, all)[stdout]
	if !strings.HasSuffix(want.String(), got) || len(got) < 64<<10 {
		t.Errorf("the kept files are not the log's end without a hole (%d bytes)", len(got))
	}
}

func TestLogReopen(t *testing.T) {
	dir := t.TempDir()
	l, err := openLog(dir, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	path := filepath.Join(dir, "0.log")
	l.write([]byte("one\n"))
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	l.write([]byte("two\n"))
	if err := l.reopen(); err != nil {
		t.Fatal(err)
	}
	l.write([]byte("three\n"))
	for name, want := range map[string]string{path + ".old": "one\ntwo\n", path: "three\n"} {
		if b, _ := os.ReadFile(name); string(b) != want {
			t.Errorf("%s holds %q, want %q", name, b, want)
		}
	}
}

func TestCVE_2026_53489(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(victim, filepath.Join(dir, "0.log")); err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(dir, 0, 0, 0); err == nil {
		t.Error("opened a symbolic link")
	}
	link := filepath.Join(t.TempDir(), "web")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(link, 1, 0, 0); err == nil {
		t.Error("opened a directory that is a symbolic link")
	}
	if err := unix.Mkfifo(filepath.Join(dir, "2.log"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(dir, 2, 0, 0); err == nil {
		t.Error("opened a fifo")
	}
	// A link put in the way later is met by reopen.
	l, err := openLog(dir, 4, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := os.Remove(filepath.Join(dir, "4.log")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, "4.log")); err != nil {
		t.Fatal(err)
	}
	if err := l.reopen(); err == nil {
		t.Error("reopened a symbolic link")
	}
	if b, _ := os.ReadFile(victim); string(b) != "precious" {
		t.Errorf("the victim holds %q", b)
	}
}

func TestLogForgetsAttempts(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		l, err := openLog(dir, i, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		l.write([]byte("x\n"))
		l.close()
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if want := []string{"0.log", "14.log", "15.log", "16.log", "17.log", "18.log", "19.log"}; !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
}
