package dbus

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"
)

const minute = time.Minute

// Messages are what the usual library makes of the same values, and it reads ours as we do its.
func TestAgainstLibrary(t *testing.T) {
	property := func(name, sig string, v any) []any { return []any{name, Variant{sig, v}} }
	m := Message{
		Kind: Call, Serial: 7, Destination: "org.freedesktop.systemd1", Path: "/org/freedesktop/systemd1",
		Interface: "org.freedesktop.systemd1.Manager", Member: "StartTransientUnit", Signature: "ssa(sv)a(sa(sv))nqixdybg",
		Body: []any{
			"a-b.scope", "replace",
			[]any{
				property("PIDs", "au", []any{uint32(1), uint32(70000)}), property("Delegate", "b", true), property("MemoryMax", "t", uint64(1)<<40),
				property("DeviceAllow", "a(ss)", []any{[]any{"/dev/char/1:3", "rwm"}, []any{"char-*", "m"}}), property("AllowedCPUs", "ay", []any{byte(3), byte(255)}),
				property("Nothing", "a(sv)", []any{}),
			},
			[]any{},
			int16(-3), uint16(4), int32(-5), int64(-6), 0.5, byte(9), false, "a{sv}",
		},
	}
	text, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := godbus.DecodeMessage(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.IsValid(); err != nil {
		t.Error(err)
	}
	// As the library writes them, from types of its own.
	type pair struct{ A, B string }
	type named struct {
		Name  string
		Value godbus.Variant
	}
	type aux struct {
		Name       string
		Properties []named
	}
	v := godbus.MakeVariant
	theirs.Body = []any{
		"a-b.scope", "replace", []named{
			{"PIDs", v([]uint32{1, 70000})},
			{"Delegate", v(true)},
			{"MemoryMax", v(uint64(1) << 40)},
			{"DeviceAllow", v([]pair{{"/dev/char/1:3", "rwm"}, {"char-*", "m"}})},
			{"AllowedCPUs", v([]byte{3, 255})},
			{"Nothing", v([]named{})},
		}, []aux{}, int16(-3), uint16(4), int32(-5), int64(-6), 0.5, byte(9), false, godbus.ParseSignatureMust("a{sv}"),
	}
	var again bytes.Buffer
	if err := theirs.EncodeTo(&again, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	got, err := decode(again.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got.Serial = m.Serial
	if !reflect.DeepEqual(got, m) {
		t.Errorf("got  %#v\nwant %#v", got, m)
	}
	if body := len(again.Bytes()) - len(text); body != 0 || !bytes.HasSuffix(text, again.Bytes()[again.Len()-300:]) {
		t.Errorf("the library's bytes are others: %d more\n%q\n%q", body, text, again.Bytes())
	}
	if got, err := decode(text); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("our own: %v %#v", err, got)
	}
	for n := range text {
		if _, err := decode(text[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken for a message", n, len(text))
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, c := range []struct {
		sig    string
		values []any
	}{
		{"s", []any{1}},
		{"s", []any{"a\x00b"}},
		{"u", nil},
		{"", []any{"a"}},
		{"v", []any{Variant{"ss", "a"}}},
		{"v", []any{Variant{"", nil}}},
		{"a", []any{[]any{}}},
		{"()", []any{[]any{}}},
		{"(s", []any{[]any{"a"}}},
		{"as", []any{[]any{uint32(1)}}},
		{strings.Repeat("a", 100) + "s", []any{[]any{}}},
	} {
		if b, err := appendValues(nil, c.sig, c.values); err == nil {
			t.Errorf("%s %v: %x", c.sig, c.values, b)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for address, want := range map[string]string{
		"unix:path=/run/dbus/system_bus_socket":         "/run/dbus/system_bus_socket",
		"unix:abstract=/tmp/x,guid=0;unix:path=/a%20b":  "@/tmp/x /a b",
		"tcp:host=localhost,port=1;unix:guid=1,path=/c": "/c",
		"tcp:host=localhost":                            "",
		"unix:path=/a%2":                                "",
		"unix:path=/a%zz":                               "",
		"":                                              "",
	} {
		names, err := parseAddress(address)
		if got := strings.Join(names, " "); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", address, got, err)
		}
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/a b")
	if a, err := Session(); err != nil || a != "unix:path=/run/user/a%20b/bus" {
		t.Errorf("%q, %v", a, err)
	}
}

// bus runs a real daemon of the test's own.
func bus(t *testing.T) string {
	t.Helper()
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("dbus-daemon is not installed (Debian: dbus)")
	}
	conf := filepath.Join(t.TempDir(), "bus.conf")
	text := `<busconfig><type>session</type><listen>unix:path=` + conf + `.sock</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(daemon, "--config-file="+conf, "--nofork", "--print-address=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

func TestCallsAndSignals(t *testing.T) {
	address := bus(t)
	c, err := Dial(address, minute)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Match("type='signal',member='Done'"); err != nil {
		t.Fatal(err)
	}
	other, err := godbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for n := range uint32(3) {
		if err := other.Emit("/x", "org.example.X.Done", n, "text"); err != nil {
			t.Fatal(err)
		}
	}
	// The signals come in between.
	got, err := c.Call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su", "org.example.Y", uint32(0))
	if err != nil || len(got) != 1 || got[0] != uint32(1) {
		t.Fatalf("%v, %v", got, err)
	}
	s, err := c.Wait(func(m Message) bool { return m.Member == "Done" && m.Body[0] == uint32(2) })
	if err != nil || s.Path != "/x" || s.Interface != "org.example.X" || s.Body[1] != "text" {
		t.Errorf("%+v, %v", s, err)
	}
	var e *Error
	_, err = c.Call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NoSuch", "")
	if !errors.As(err, &e) || e.Name != "org.freedesktop.DBus.Error.UnknownMethod" {
		t.Errorf("%v", err)
	}
	if _, err := c.Call("org.example.Nobody", "/", "org.example.X", "Y", ""); !errors.As(err, &e) || e.Name != "org.freedesktop.DBus.Error.ServiceUnknown" {
		t.Errorf("%v", err)
	}
}

// Nothing waits for ever: neither for a bus that says nothing nor for a signal that does not come.
func TestDeadline(t *testing.T) {
	c, err := Dial(bus(t), 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Wait(func(Message) bool { return false }); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if _, err := Dial("unix:path="+t.TempDir()+"/none", minute); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range []Message{
		{Kind: Signal, Path: "/", Member: "JobRemoved", Signature: "uoss", Body: []any{uint32(1), "/j", "a.scope", "done"}},
		{Kind: Return, ReplySerial: 1, Signature: "v", Body: []any{Variant{"a{sv}", []any{[]any{"a", Variant{"ay", []any{byte(1)}}}}}}},
	} {
		text, err := m.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decode(text)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			return // strings with a zero byte in them, as the wire lets through
		}
		if n, err := decode(again); err != nil || !reflect.DeepEqual(n.Body, m.Body) && len(m.Body) > 0 && !hasNaN(m) {
			t.Errorf("%v: %#v, then %#v", err, m, n)
		}
	})
}

// hasNaN: a floating point number that differs from itself.
func hasNaN(m Message) bool { return strings.ContainsAny(m.Signature, "dv") }
