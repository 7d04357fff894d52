package packet

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tripod/internal/capture/filter"
	"tripod/internal/capture/pcapng"
)

// printed is what we print of a file.
func printed(t testing.TB, file string, o Options) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapng.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	p := New(o)
	var out []byte
	for {
		packet, err := r.Next()
		if err == io.EOF {
			return string(out)
		}
		if err != nil {
			t.Fatal(err)
		}
		link := filter.Link(r.Interfaces()[packet.Interface].Link)
		out = p.Append(out, Packet{Link: link, Time: packet.Time, Data: packet.Data, Length: packet.Length})
	}
}

// modes are tcpdump's words and what they are here.
var modes = []struct {
	words string
	o     Options
}{
	{"-n -t", Options{Stamp: 1}},
	{"-n", Options{}},
	{"-n -tt", Options{Stamp: 2}},
	{"-n -ttt", Options{Stamp: 3}},
	{"-n -tttt", Options{Stamp: 4}},
	{"-n -ttttt", Options{Stamp: 5}},
	{"-n --nano", Options{Nano: true}},
	{"-n -t -#", Options{Stamp: 1, Number: true}},
	{"-n -t -e", Options{Stamp: 1, Link: true}},
	{"-n -t -q", Options{Stamp: 1, Quiet: true}},
	{"-n -t -S", Options{Stamp: 1, Whole: true}},
	{"-n -t -v", Options{Stamp: 1, Verbose: 1}},
	{"-n -t -v -e", Options{Stamp: 1, Verbose: 1, Link: true}},
	{"-n -t -vv", Options{Stamp: 1, Verbose: 2}},
	{"-n -t -vvv", Options{Stamp: 1, Verbose: 3}},
	{"-n -t -x", Options{Stamp: 1, Hex: 1}},
	{"-n -t -xx", Options{Stamp: 1, Hex: 2}},
	{"-n -t -xxx", Options{Stamp: 1, Hex: 3}},
	{"-n -t -X", Options{Stamp: 1, Both: 1}},
	{"-n -t -XX", Options{Stamp: 1, Both: 2}},
	{"-n -t -A", Options{Stamp: 1, ASCII: 1}},
}

// TestAsTcpdump compares with tcpdump, line by line, what both print of real traffic: ARP, ping, HTTP, DNS, DHCP, errors,
// fragments and neighbor discovery, IPv4 and IPv6, on Ethernet and on a cooked link.
func TestAsTcpdump(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip(err)
	}
	asTcpdump(t, "testdata/traffic.pcap", cookedCopy(t, "testdata/traffic.pcap"))
}

// TestFreshTraffic compares as TestAsTcpdump does, with traffic that is made now.
func TestFreshTraffic(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made by root")
	}
	for _, program := range []string{"tcpdump", "busybox", "python3", "curl", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	if out, err := exec.Command("testdata/traffic.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	asTcpdump(t, dir+"/traffic.pcap")
}

func asTcpdump(t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		for _, mode := range modes {
			cmd := exec.Command("tcpdump", append(strings.Fields(mode.words), "-r", file)...)
			cmd.Env = append(os.Environ(), "TZ=UTC")
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			mode.o.Zone = time.UTC
			compare(t, mode.words, string(out), printed(t, file, mode.o))
		}
	}
}

// compare shows the first lines that differ.
func compare(t *testing.T, words, want, got string) {
	t.Helper()
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	differ := 0
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			differ++
			if differ <= 6 {
				ours := ""
				if i < len(b) {
					ours = b[i]
				}
				t.Errorf("%s: line %d\ntcpdump: %q\nours:    %q", words, i+1, a[i], ours)
			}
		}
	}
	if len(a) != len(b) {
		t.Errorf("%s: tcpdump prints %d lines, we %d", words, len(a), len(b))
	}
}

// cookedCopy is the same traffic as the interface any would have given it.
func cookedCopy(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapng.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, _ := pcapng.NewWriter(&out, pcapng.Section{})
	_, _ = w.Interface(pcapng.Interface{Name: "any", Link: uint16(filter.CookedV2)})
	for i := 0; ; i++ {
		p, err := r.Next()
		if err != nil {
			break
		}
		head := append([]byte{p.Data[12], p.Data[13], 0, 0, 0, 0, 0x7f, 0xff, 0, 1, byte(i % 5), 6}, p.Data[6:12]...)
		p.Data = append(append(head, 0, 0), p.Data[14:]...)
		p.Length += 6
		if err := w.Packet(p); err != nil {
			t.Fatal(err)
		}
	}
	name := t.TempDir() + "/cooked.pcapng"
	if err := os.WriteFile(name, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestNames prints names where there are some.
func TestNames(t *testing.T) {
	o := Options{Stamp: 1, Names: Names{
		Address: func(a netip.Addr) string { return map[string]string{"10.9.0.2": "web"}[a.String()] },
		Port:    func(p uint16, proto string) string { return map[string]string{"80tcp": "http"}[fmt.Sprint(p, proto)] },
	}}
	got := printed(t, "testdata/traffic.pcap", o)
	for _, want := range []string{" > web.http: Flags [S], seq ", "IP web.http > 10.9.0.1.", "ARP, Request who-has web tell 10.9.0.1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in the text", want)
		}
	}
}

// TestCut prints every packet cut at every byte: it ends, in one mark or another.
func TestCut(t *testing.T) {
	f, err := os.Open("testdata/traffic.pcap")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapng.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{Verbose: 3, Link: true, Both: 2})
	for {
		packet, err := r.Next()
		if err != nil {
			return
		}
		for n := range min(len(packet.Data), 150) {
			if clean(p.Append(nil, Packet{Link: filter.Ethernet, Data: packet.Data[:n:n], Length: packet.Length})) != "" {
				t.Fatalf("% x", packet.Data[:n])
			}
		}
	}
}

// clean gives the first character that a terminal might obey.
func clean(out []byte) string {
	for _, c := range out {
		if c < ' ' && c != '\n' && c != '\t' || c >= 0x7f {
			return fmt.Sprintf("%#x", c)
		}
	}
	return ""
}

// FuzzPrint prints whatever comes as a packet of each link, in every way. Nothing of it may reach a terminal as a command.
func FuzzPrint(f *testing.F) {
	file, err := os.Open("testdata/traffic.pcap")
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	r, err := pcapng.NewReader(file)
	if err != nil {
		f.Fatal(err)
	}
	for {
		p, err := r.Next()
		if err != nil {
			break
		}
		f.Add(bytes.Clone(p.Data), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		o := Options{Verbose: int(how & 3), Link: how&4 != 0, Quiet: how&8 != 0, Number: true, Stamp: int(how >> 4), Both: int(how & 1), ASCII: 1}
		for _, link := range []filter.Link{filter.Ethernet, filter.CookedV1, filter.CookedV2, filter.Raw, 999} {
			out := New(o).Append(nil, Packet{Link: link, Data: data, Length: len(data) + int(how&1)})
			if bad := clean(out); bad != "" {
				t.Fatalf("%s in %q", bad, out)
			}
			if len(out) > 4096+80*len(data)+100*maxRecords*maxName {
				t.Fatalf("%d bytes of text for %d of packet", len(out), len(data))
			}
		}
	})
}
