package pcapng

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

var (
	links   = []Interface{{Name: "eth0", Description: "Pod web, interface eth0", Filter: "port 80", Link: 1, Snap: 100}, {Name: "any", Link: 276}}
	packets = []Packet{
		{Interface: 0, Time: 1700000000_123456789, Data: []byte("abcde"), Length: 60, Direction: Inbound, Comment: "web/nginx"},
		{Interface: 1, Time: 1700000001_000000001, Data: []byte{}, Length: 0, Direction: Outbound},
		{Interface: 0, Time: 1700000002_999999999, Data: bytes.Repeat([]byte{7}, 99), Length: 99},
	}
)

func written(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, Section{OS: "Linux", Application: "tripod", Comment: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range links {
		if _, err := w.Interface(i); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range packets {
		if err := w.Packet(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Statistics(0, 1700000003e9, Statistics{Received: 5, Dropped: 1}); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(out.Len()) {
		t.Errorf("%d bytes are told, %d are there", w.Size(), out.Len())
	}
	return out.Bytes()
}

func all(r *Reader) (read []Packet, err error) {
	for {
		p, err := r.Next()
		if err != nil {
			return read, err
		}
		p.Data = append([]byte{}, p.Data...)
		read = append(read, p)
	}
}

func TestRoundTrip(t *testing.T) {
	data := written(t)
	r, err := NewReader(bytes.NewReader(append(data, data...))) // two sections
	if err != nil {
		t.Fatal(err)
	}
	read, err := all(r)
	if err != io.EOF {
		t.Fatal(err)
	}
	want := append([]Packet{}, packets...)
	for _, p := range packets {
		p.Interface += len(links)
		want = append(want, p)
	}
	if !reflect.DeepEqual(read, want) {
		t.Errorf("%+v\nwant %+v", read, want)
	}
	if got := r.Interfaces(); !reflect.DeepEqual(got, append(append([]Interface{}, links...), links...)) {
		t.Errorf("%+v", got)
	}
}

// TestOtherToolsReadIt has tshark, where it is, and tcpdump read what was written.
func TestOtherToolsReadIt(t *testing.T) {
	run := func(program string, data []byte, args ...string) string {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
		cmd := exec.Command(program, args...)
		cmd.Stdin = bytes.NewReader(data)
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", program, err, said.Bytes())
		}
		return string(out)
	}
	t.Run("tshark", func(t *testing.T) {
		got := run("tshark", written(t), "-r", "-", "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "frame.comment")
		want := "1700000000.123456789\t60\teth0\t0x00000001\tweb/nginx\n1700000001.000000001\t0\tany\t0x00000002\t\n1700000002.999999999\t99\teth0\t\t\n"
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
	t.Run("tcpdump", func(t *testing.T) {
		var out bytes.Buffer // libpcap reads files of one link type and one snap length only
		w, _ := NewWriter(&out, Section{})
		_, _ = w.Interface(Interface{Name: "lo", Link: 101})
		_ = w.Packet(Packet{Time: 1700000000_123456789, Data: []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 99, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, Length: 20})
		got := run("tcpdump", out.Bytes(), "-n", "-tt", "--nano", "-r", "-")
		if want := "1700000000.123456789 IP 1.2.3.4 > 5.6.7.8:  ip-proto-99 0\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// TestOldFiles reads pcap in both orders and resolutions.
func TestOldFiles(t *testing.T) {
	for _, c := range []struct {
		order binary.AppendByteOrder
		magic uint32
		want  int64
	}{
		{binary.LittleEndian, 0xa1b2c3d4, 5_000007000},
		{binary.BigEndian, 0xa1b2c3d4, 5_000007000},
		{binary.LittleEndian, 0xa1b23c4d, 5_000000007},
		{binary.BigEndian, 0xa1b23c4d, 5_000000007},
	} {
		file := c.order.AppendUint32(nil, c.magic)
		file = c.order.AppendUint16(c.order.AppendUint16(file, 2), 4)
		for _, v := range []uint32{0, 0, 65535, 113, 5, 7, 3, 60} {
			file = c.order.AppendUint32(file, v)
		}
		file = append(file, "abc"...)
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		read, err := all(r)
		if want := []Packet{{Time: c.want, Data: []byte("abc"), Length: 60}}; err != io.EOF || !reflect.DeepEqual(read, want) {
			t.Errorf("%+v, %v", read, err)
		}
		if r.Interfaces()[0].Link != 113 {
			t.Errorf("%+v", r.Interfaces())
		}
		r, _ = NewReader(bytes.NewReader(file[:len(file)-1]))
		if read, err := all(r); len(read) != 0 || !errors.Is(err, ErrFormat) {
			t.Errorf("cut: %v, %v", read, err)
		}
	}
}

// TestDamage cuts and changes a file at every byte: what was whole before is read, and the rest is an error or the end.
func TestDamage(t *testing.T) {
	data := written(t)
	for at := range data {
		r, err := NewReader(bytes.NewReader(data[:at]))
		if err == nil {
			_, err = all(r)
		}
		if err != io.EOF && !errors.Is(err, ErrFormat) {
			t.Errorf("cut at %d: %v", at, err)
		}
		changed := bytes.Clone(data)
		changed[at] ^= 0xff
		if r, err = NewReader(bytes.NewReader(changed)); err == nil {
			_, err = all(r)
		}
		if err != io.EOF && !errors.Is(err, ErrFormat) {
			t.Errorf("changed at %d: %v", at, err)
		}
	}
	for _, bad := range []string{"", "abc", "hello, world, this is text", strings.Repeat("\n\r\r\n", 20)} {
		if _, err := NewReader(strings.NewReader(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzRead reads whatever comes, with no more memory than the bounds allow.
func FuzzRead(f *testing.F) {
	f.Add(written(f))
	f.Add([]byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x01\x00\x00\x00\x05\x00\x00\x00\x07\x00\x00\x00\x03\x00\x00\x00\x3c\x00\x00\x00abc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		for range len(data) {
			p, err := r.Next()
			if err != nil {
				return
			}
			if len(p.Data) > len(data) || p.Length < len(p.Data) || p.Interface >= len(r.Interfaces()) {
				t.Fatalf("%+v", p)
			}
		}
	})
}
