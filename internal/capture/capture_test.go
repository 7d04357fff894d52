package capture

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"tripod/internal/capture/filter"
	"tripod/internal/capture/pcapng"
)

// list is a sink that keeps packets.
type list struct {
	packets []Packet
	links   []string
}

func (l *list) Packet(p *Packet) error {
	kept := *p
	kept.Data = bytes.Clone(p.Data)
	l.packets = append(l.packets, kept)
	l.links = append(l.links, p.Source.InterfaceName(p.Interface))
	return nil
}
func (l *list) Flush() error { return nil }

func compiled(text string) func(filter.Options) ([]bpf.RawInstruction, error) {
	return func(o filter.Options) ([]bpf.RawInstruction, error) { return filter.Compile(text, o) }
}

func open(t testing.TB, p place, o Options) *Source {
	t.Helper()
	s, err := Open(p.path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// during runs a session while f does something, and stops it then.
func during(t testing.TB, sink Sink, count int, f func(*Session), sources ...*Source) error {
	t.Helper()
	s, err := NewSession(sources, sink)
	if err != nil {
		t.Fatal(err)
	}
	s.Count = count
	done := make(chan error, 1)
	go func() { done <- s.Run() }()
	f(s)
	s.Stop()
	err = <-done
	if cerr := s.Close(); cerr != nil {
		t.Error(cerr)
	}
	return err
}

func TestCapture(t *testing.T) {
	a, b := lan(t)
	source := open(t, b, Options{Interface: "eth0", Promiscuous: true, Snap: 60, Compile: compiled("udp port 7777")})
	if source.Link != filter.Ethernet || source.Name != "eth0" {
		t.Errorf("%+v", source)
	}
	var got list
	began := time.Now().UnixNano()
	err := during(t, &got, 0, func(*Session) {
		a.send("10.9.0.2:7777", "one", strings.Repeat("two", 100))
		a.send("10.9.0.2:7778", "not this one")
		b.send("10.9.0.1:7777", "back")
	}, source)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, p := range got.packets {
		seen = append(seen, fmt.Sprintf("%d %d %d %q", p.Direction, len(p.Data), p.Length, p.Data[min(42, len(p.Data)):]))
		if p.Time < began || p.Time > time.Now().UnixNano() {
			t.Errorf("time %d", p.Time)
		}
	}
	want := []string{`1 45 45 "one"`, `1 60 342 "twotwotwotwotwotwo"`, `2 46 46 "back"`}
	if !slices.Equal(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
	if stats := source.Stats(); stats.Received != 3 || stats.Dropped != 0 {
		t.Errorf("%+v", stats)
	}
}

// TestNothingBeforeTheFilter opens sources while unwanted packets come all the time: none is ever seen.
func TestNothingBeforeTheFilter(t *testing.T) {
	a, b := lan(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		a.in(func() error {
			c, err := net.Dial("udp", "10.9.0.2:1111")
			if err != nil {
				return err
			}
			defer c.Close()
			for {
				select {
				case <-stop:
					return nil
				default:
					_, _ = c.Write([]byte("flood"))
				}
			}
		})
	}()
	for _, name := range []string{"eth0", Any} {
		for range 20 {
			source, err := Open(b.path, Options{Interface: name, Wait: 1, Compile: compiled("udp port 2222")})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
			if n, err := source.Drain(func(p *Packet) error { return fmt.Errorf("% x", p.Data) }); n != 0 || err != nil {
				t.Errorf("%s: %d packets, %v", name, n, err)
			}
			if stats := source.Stats(); stats.Received != 0 {
				t.Errorf("%s: %+v", name, stats)
			}
			source.Close()
		}
	}
	close(stop)
	<-stopped
}

func TestAny(t *testing.T) {
	a, b := lan(t)
	source := open(t, b, Options{Compile: compiled("udp port 7777 or udp port 7778")})
	var got list
	err := during(t, &got, 0, func(*Session) {
		a.send("10.9.0.2:7777", "cable")
		b.send("127.0.0.1:7778", "loop")
	}, source)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.packets) != 2 { // what goes over lo is seen once
		t.Fatalf("%d packets", len(got.packets))
	}
	for i, want := range []struct {
		link string
		text string
		kind byte
	}{{"eth0", "cable", 0}, {"lo", "loop", 0}} {
		p := got.packets[i]
		if got.links[i] != want.link || !bytes.HasSuffix(p.Data, []byte(want.text)) || p.Length != len(p.Data) {
			t.Errorf("%s: %q", got.links[i], p.Data)
		}
		if p.Data[0] != 8 || p.Data[1] != 0 || int(p.Data[7]) != p.Interface || p.Data[10] != want.kind || p.Data[11] != 6 || p.Data[20] != 0x45 {
			t.Errorf("link header % x", p.Data[:20])
		}
	}
}

// TestTags sees that a VLAN tag, which the kernel takes off a packet that comes in, is where it was on the wire, and that
// filters find it, there and in a packet that goes out.
func TestTags(t *testing.T) {
	a, b := lan(t)
	header := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1}
	udp := append([]byte{0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2, 0x1e, 0x61, 0x1e, 0x61, 0, 10, 0, 0}, "hi"...)
	tag := func(kind byte, id byte) []byte { return []byte{0x81 + 7*(kind&1), 0xa8 * (kind & 1), 0, id} }
	frames := [][]byte{
		slices.Concat(header, tag(0, 5), []byte{8, 0}, udp),
		slices.Concat(header, tag(1, 5), tag(0, 6), []byte{8, 0}, udp),
		slices.Concat(header, []byte{8, 0}, udp),
	}
	for _, c := range []struct {
		text    string
		in, out []int // the frames that are found
	}{
		{"vlan 5 and ip", []int{0}, []int{0}},
		{"vlan 5 and vlan 6 and udp port 7777", []int{1}, []int{1}},
		{"vlan and vlan 5", nil, nil},
		{"vlan", []int{0, 1}, []int{0, 1}},
		{"udp and not vlan", []int{2}, []int{2}},
		{"vlan 6 or ip", []int{0}, []int{0}}, // behind "vlan" a tag is skipped, whether there is one or not
		{"udp port 7777", []int{0, 2}, []int{2}},
	} {
		for end, want := range map[place][]int{b: c.in, a: c.out} {
			source := open(t, end, Options{Interface: "eth0", Compile: compiled("(" + c.text + ") and not icmp and not arp and not ip6")})
			var got list
			if err := during(t, &got, 0, func(*Session) {
				for _, frame := range frames {
					a.raw(frame)
				}
			}, source); err != nil {
				t.Fatal(err)
			}
			var found []int
			for _, p := range got.packets {
				found = append(found, slices.IndexFunc(frames, func(f []byte) bool { return bytes.Equal(f, p.Data) }))
				if p.Length != len(p.Data) {
					t.Errorf("%s: %d of %d bytes", c.text, len(p.Data), p.Length)
				}
			}
			if !slices.Equal(found, want) {
				t.Errorf("%s: in %v: frames %v, want %v", c.text, end == b, found, want)
			}
		}
	}
}

// TestBothEnds merges both ends of a flow: each packet leaves one end before it reaches the other.
func TestBothEnds(t *testing.T) {
	a, b := lan(t)
	const count = 50
	o := Options{Interface: "eth0", Compile: compiled("udp port 7777")}
	ends := []*Source{open(t, a, o), open(t, b, o)}
	var got list
	err := during(t, &got, 0, func(*Session) {
		for i := range count {
			if i%2 == 0 {
				a.send("10.9.0.2:7777", fmt.Sprint(i))
			} else {
				b.send("10.9.0.1:7777", fmt.Sprint(i))
			}
		}
	}, ends...)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.packets) != 2*count {
		t.Fatalf("%d packets", len(got.packets))
	}
	for i, p := range got.packets {
		at, direction := ends[i/2%2], pcapng.Outbound // 0 leaves a, enters b; 1 leaves b, enters a
		if i%2 == 1 {
			at, direction = ends[1-i/2%2], pcapng.Inbound
		}
		if p.Source != at || p.Direction != direction || string(p.Data[42:]) != fmt.Sprint(i/2) {
			t.Errorf("packet %d: %q, direction %d", i, p.Data[42:], p.Direction)
		}
	}
}

func TestEnds(t *testing.T) {
	a, b := lan(t)
	t.Run("count", func(t *testing.T) {
		source := open(t, b, Options{Interface: "eth0", Compile: compiled("udp port 7777")})
		var got list
		err := during(t, &got, 2, func(*Session) { a.send("10.9.0.2:7777", "1", "2", "3") }, source)
		if err != nil || len(got.packets) != 2 {
			t.Errorf("%d packets, %v", len(got.packets), err)
		}
	})
	t.Run("no interface", func(t *testing.T) {
		_, err := Open(b.path, Options{Interface: "eth7"})
		var missing *InterfaceError
		if !errors.As(err, &missing) || !slices.Equal(missing.Have, []string{"lo", "eth0"}) {
			t.Errorf("%v", err)
		}
	})
	t.Run("by number", func(t *testing.T) {
		all, err := Interfaces(b.path)
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		if s := open(t, b, Options{Interface: fmt.Sprint(all[1].Index)}); s.Name != "eth0" {
			t.Error(s.Name)
		}
	})
	t.Run("holder", func(t *testing.T) {
		c := newPlace(t)
		source := open(t, c, Options{})
		fd, err := unix.PidfdOpen(c.pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		s, err := NewSession([]*Source{source}, &list{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.Holders = []int{fd}
		_ = unix.Kill(c.pid, unix.SIGKILL)
		if err := s.Run(); !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
	})
	t.Run("interface goes", func(t *testing.T) {
		source := open(t, b, Options{Interface: "eth0"})
		s, err := NewSession([]*Source{source}, &list{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		a.run("ip", "link", "del", "eth0")
		if err := s.Run(); !errors.Is(err, ErrDown) {
			t.Error(err)
		}
	})
}

// TestFiles writes files by size and by time, and reads them again.
func TestFiles(t *testing.T) {
	a, b := lan(t)
	source := open(t, b, Options{Interface: "eth0", Compile: compiled("udp port 7777")})
	source.Label = "web"
	dir := t.TempDir()
	file, err := Create([]*Source{source}, FileOptions{
		Path: filepath.Join(dir, "x"), Size: 1000, Files: 3, Filter: "udp port 7777", Snap: filter.MaxSnap,
		Comment: func(p *Packet) string { return "web/" + string(p.Data[42:43]) },
	})
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, 40)
	for i := range texts {
		texts[i] = strings.Repeat(fmt.Sprint(i%10), 100)
	}
	if err := during(t, file, 0, func(*Session) { a.send("10.9.0.2:7777", texts...) }, source); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	if want := []string{dir + "/x0", dir + "/x1", dir + "/x2"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if info, _ := f.Stat(); info.Size() > 1600 {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
		r, err := pcapng.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		for {
			p, err := r.Next()
			if err != nil {
				break
			}
			if p.Comment != "web/"+string(p.Data[42:43]) || p.Direction != pcapng.Inbound || p.Length != 142 {
				t.Errorf("%s: %+v", name, p)
			}
		}
		if i := r.Interfaces(); len(i) != 1 || i[0].Name != "eth0" || i[0].Description != "interface eth0 of Pod web" || i[0].Filter != "udp port 7777" {
			t.Errorf("%s: %+v", name, i)
		}
	}
}

func TestFileNames(t *testing.T) {
	now := time.Date(2026, 11, 23, 22, 5, 6, 0, time.UTC)
	for _, c := range []struct {
		o      FileOptions
		number int
		want   string
	}{
		{FileOptions{Path: "x"}, 0, "x"},
		{FileOptions{Path: "x", Size: 1}, 0, "x"},
		{FileOptions{Path: "x", Size: 1}, 7, "x7"},
		{FileOptions{Path: "x", Size: 1, Files: 12}, 3, "x03"},
		{FileOptions{Path: "x", Size: 1, Files: 12}, 15, "x03"},
		{FileOptions{Path: "x-%F_%H%M%S-%j-%%", Every: 1}, 0, "x-2026-11-23_220506-327-%"},
		{FileOptions{Path: "x-%s", Every: 1, Size: 1}, 2, fmt.Sprintf("x-%d2", now.Unix())},
	} {
		f := &File{o: c.o, number: c.number, begun: now}
		if got := f.name(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.o, got, c.want)
		}
	}
	if _, err := stamp("x%Q", now); err == nil {
		t.Error("%Q is taken")
	}
}

// TestRecent keeps what is young and fits.
func TestRecent(t *testing.T) {
	at := int64(0)
	var got list
	source := &Source{names: map[int]string{0: "eth0"}}
	r := &Recent{To: &got, Last: 30 * time.Second, Now: func() time.Time { return time.Unix(at, 0) }}
	for at = range 100 {
		if err := r.Packet(&Packet{Source: source, Time: at * 1e9, Data: []byte{byte(at)}}); err != nil {
			t.Fatal(err)
		}
	}
	at = 110
	if err := r.Give(); err != nil {
		t.Fatal(err)
	}
	if len(got.packets) != 20 || got.packets[0].Time != 80e9 {
		t.Errorf("%d packets from %d on", len(got.packets), got.packets[0].Time)
	}
	got.packets = nil
	r.Bytes = 10 * (1000 + packetCost)
	for range 50_000 {
		_ = r.Packet(&Packet{Source: source, Time: at * 1e9, Data: make([]byte, 1000)})
	}
	if err := r.Give(); err != nil || len(got.packets) != 10 {
		t.Errorf("%d packets, %v", len(got.packets), err)
	}
	if err := r.Give(); err != nil || len(got.packets) != 10 {
		t.Errorf("given twice: %d packets, %v", len(got.packets), err)
	}
}
