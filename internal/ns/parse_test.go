package ns

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	const rest = " S 7 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0 18446744073709551615\n"
	for _, comm := range []string{"sh", "a b", "na)me (x", ") R 1 (", "\x1b[31m\n", ""} {
		p, err := parseStat([]byte("12 (" + comm + ")" + fmt.Sprintf(rest, 9000)))
		if err != nil || p.Comm != comm || p.PPID != 7 || p.Start != 9000 || p.State != 'S' {
			t.Errorf("%q: %+v, %v", comm, p, err)
		}
	}
	for _, bad := range []string{"", "1 (x", "1 x) S 1", "1 (x) S 1 2 3", "1 (x) SS 7 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 9 0"} {
		if p, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, p)
		}
	}
}

func TestParseLink(t *testing.T) {
	for link, ok := range map[string]bool{
		"net:[4026531840]": true, "cgroup:[1]": true, "net:[0]": false, "net:[x]": false, "net:[1": false, "/net:[1]": false,
		"mnt:[99999999999999999999]": false, "anon_inode:[eventfd]": false, "": false,
	} {
		_, id, got := ParseLink(link)
		if got != ok {
			t.Errorf("%q: %v", link, got)
		}
		name, _, _ := strings.Cut(link, ":")
		if quick := parseID([]byte(link), name); quick != id && ok {
			t.Errorf("%q: %d, want %d", link, quick, id)
		}
	}
}

func TestNSMounts(t *testing.T) {
	text := "36 35 98:0 /mnt1 /mnt2 rw - ext3 /dev/root rw\n" +
		`40 36 0:4 net:[4026532177] /run/netns/a\040b rw,nosuid shared:5 - nsfs nsfs rw` + "\n" +
		`41 36 0:4 mnt:[4026532178] /run/\134x rw - nsfs nsfs rw` + "\n" +
		"42 36 0:4 net:[bad] /x rw - nsfs nsfs rw\n43 36 0:4 - nsfs nsfs rw\n"
	want := []Mount{{Net, 4026532177, "/run/netns/a b"}, {Mnt, 4026532178, `/run/\x`}}
	if got := nsMounts([]byte(text)); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestAddressTexts(t *testing.T) {
	trie := "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.42.0.7\n        /32 host LOCAL\n     |-- 10.42.0.255\n        /32 link BROADCAST\nLocal:\n     |-- 10.42.0.7\n        /32 host LOCAL\n"
	if got := fmt.Sprint(parseFibTrie([]byte(trie))); got != "[10.42.0.7 10.42.0.7]" {
		t.Error(got)
	}
	six := "fd000000000000000000000000000001 02 40 00 80     eth0\n00000000000000000000000000000001 01 80 10 80       lo\nbad\n"
	if got := fmt.Sprint(parseIfInet6([]byte(six))); got != "[fd00::1 ::1]" {
		t.Error(got)
	}
}

func FuzzTexts(f *testing.F) {
	f.Add([]byte("12 (sh) S 7 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 9 0\n"))
	f.Add([]byte(`40 36 0:4 net:[4026532177] /run/a\040b rw shared:5 - nsfs nsfs rw`))
	f.Add([]byte("     |-- 10.42.0.7\n        /32 host LOCAL\n"))
	f.Add([]byte("fd000000000000000000000000000001 02 40 00 80 eth0"))
	f.Add(netNSIDRequest(7))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := parseStat(text); err == nil && !strings.Contains(string(text), "("+p.Comm+")") {
			t.Errorf("name %q", p.Comm)
		}
		for _, m := range nsMounts(text) {
			if m.ID == 0 || len(m.Path) > len(text) {
				t.Errorf("%+v", m)
			}
		}
		for _, typ := range Types() {
			got, id, ok := ParseLink(string(text))
			if quick := parseID(text, typ.String()); quick != 0 && (!ok || got != typ || id != quick) {
				t.Errorf("%q: %d, not %d", text, quick, id)
			}
		}
		parseFibTrie(text)
		parseIfInet6(text)
		parseNetNSID(text)
		p := Process{Cmdline: string(text)}
		if strings.Contains(p.CommandLine(), "\x00") {
			t.Errorf("%q has a NUL", p.CommandLine())
		}
	})
}
