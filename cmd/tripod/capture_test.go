package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const traffic = "../../internal/capture/packet/testdata/traffic.pcap"

// tripodRun runs one command line.
func tripodRun(t *testing.T, args ...string) (out, said string, code int) {
	t.Helper()
	t.Setenv("TRIPOD_ROOT", t.TempDir())
	t.Setenv("TRIPOD_RUN_ROOT", t.TempDir())
	t.Setenv("TZ", "UTC")
	var o, e bytes.Buffer
	code = (&app{out: &o, err: &e, in: os.Stdin}).main(args)
	return o.String(), e.String(), code
}

// TestCaptureReads sees that reading files, with filters, gives the lines of tcpdump.
func TestCaptureReads(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip(err)
	}
	for _, words := range []string{
		"-nn -t", "-nnvvXt tcp port 80 and host 10.9.0.1", "-nt -c 3 icmp or icmp6", "-ntqe udp or arp", "-ntA tcp[tcpflags] & tcp-push != 0",
		"-nnttttv -# port domain", "-nt not ip and not ip6", "-ntxx less 60",
	} {
		args := append([]string{"capture", "-r", traffic}, strings.Fields(words)...)
		got, said, code := tripodRun(t, args...)
		theirs := exec.Command("tcpdump", append([]string{"-r", traffic}, strings.Fields(words)...)...)
		theirs.Env = append(os.Environ(), "TZ=UTC")
		want, err := theirs.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) || code != 0 {
			t.Errorf("%s: exit code %d, %s\n%s\ntcpdump:\n%s", words, code, said, got, want)
		}
	}
}

// TestCaptureCopies writes what matches to another file, and reads that again.
func TestCaptureCopies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "copy.pcapng")
	if _, said, code := tripodRun(t, "capture", "-r", traffic, "-w", file, "tcp"); code != 0 {
		t.Fatal(said)
	}
	want, _, _ := tripodRun(t, "capture", "-nr", traffic, "tcp")
	got, said, code := tripodRun(t, "capture", "-nr", file)
	if got != want || got == "" || code != 0 {
		t.Errorf("%s%s, want %s", said, got, want)
	}
}

// TestCapturePrograms prints programs as tcpdump does, and takes them back.
func TestCapturePrograms(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip(err)
	}
	for _, how := range []string{"-d", "-dd", "-ddd"} {
		got, _, _ := tripodRun(t, "capture", how, "tcp", "port", "80")
		want, err := exec.Command("tcpdump", how, "-y", "EN10MB", "tcp port 80").Output()
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: %s, want %s", how, got, want)
		}
	}
	program := filepath.Join(t.TempDir(), "program")
	text, _, _ := tripodRun(t, "capture", "-ddd", "icmp")
	if err := os.WriteFile(program, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want, _, _ := tripodRun(t, "capture", "-nr", traffic, "icmp")
	if got, said, code := tripodRun(t, "capture", "-nr", traffic, "--bpf", program); got != want || code != 0 {
		t.Errorf("%s%s, want %s", said, got, want)
	}
}

// TestCaptureMistakes names what is wrong with the words, before anything is done.
func TestCaptureMistakes(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("2\n6 0 0 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{}, "cannot capture: no Pod is named"},
		{[]string{"web", "tcp", "80"}, `at "80" (position 5)`},
		{[]string{"web", "db", "tcp", "foo"}, `at "foo" (position 5)`},
		{[]string{"nosuch"}, "cannot find"},
		{[]string{"web", "-Q", "up"}, `cannot use -Q "up"`},
		{[]string{"web", "-c", "-1"}, "cannot use -c -1"},
		{[]string{"web", "-C", "1"}, "cannot use -C: there is no file"},
		{[]string{"web", "-G", "1", "-w", "-"}, "cannot use -G: there is no file"},
		{[]string{"web", "-W", "2", "-w", "x"}, "cannot use -W without -C or -G"},
		{[]string{"web", "--bpf", bad}, "2 instructions are promised, 1 are there"},
		{[]string{"web", "--bpf", bad, "tcp"}, "cannot use --bpf with the filter"},
		{[]string{"web", "-F", bad, "tcp"}, "cannot use -F with the filter"},
		{[]string{"web", "-F", dir + "/none"}, "cannot read filter"},
		{[]string{"-r", bad}, "file " + bad + ": cannot read packets: it begins with"},
		{[]string{"-r", dir + "/none"}, "cannot read packets"},
		{[]string{"-r", traffic, "inbound"}, "do not tell their direction"},
		{[]string{"-r", traffic, "--last", "3s"}, "cannot use --last with -r"},
		{[]string{"web", "--time-stamp-precision", "pico"}, "cannot use --time-stamp-precision"},
	} {
		out, said, code := tripodRun(t, append([]string{"capture"}, c.args...)...)
		if code == 0 || !strings.Contains(said, c.want) || out != "" {
			t.Errorf("%q: exit code %d, said %q, want %q", c.args, code, said, c.want)
		}
	}
}
