package filter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"
)

// TestErrors sees that what is wrong is named with its place.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		text, word string
		at         int
		why        string
	}{
		{"tcp 80", "80", 4, `write "tcp port 80"`},
		{"ip 10.0.0.1", "10.0.0.1", 3, `write "ip host 10.0.0.1"`},
		{"port 80 and foo bar", "foo", 12, "no service has this name"},
		{"port 70000", "70000", 5, "at most 65535"},
		{"10.0.0.1", "10.0.0.1", 0, "write host, net, port"},
		{"(tcp or (udp)", "(", 0, "not closed"},
		{"tcp)", ")", 3, "no parenthesis is open"},
		{"tcp and", "", 7, "something is expected"},
		{"geneve 5", "geneve", 0, "--bpf"},
		{"ip protochain 6", "protochain", 3, "loops"},
		{"net 10.0.0.1/8", "10.0.0.1", 4, "bits are set"},
		{"net fe80::1/10", "fe80::1", 4, "write fe80::/10"},
		{"host 10.0.0.0/8", "/", 13, "write net"},
		{"host 1:2:3:4:5:6", "1:2:3:4:5:6", 5, "ether host"},
		{"tcp[13", "", 6, "] is expected"},
		{"ether[0] / 0 = 1", "0", 11, "divides by zero"},
		{"port 80 # 81", "#", 8, "not of the language"},
		{"host é", "é", 5, "not of the language"},
		{"inbound", "inbound", 0, "do not tell their direction"},
		{"host web", "web", 5, "no names are known"},
		{"less foo", "foo", 5, "a number is expected"},
		{"port", "", 4, "a port is expected"},
		{"99999999999 = 1", "99999999999", 0, "larger than 32 bits"},
		{strings.Repeat("(", 2000), "(", 1000, "nested deeper"},
		{"1 = " + strings.Repeat("-", 2000) + "1", "-", 1004, "nested deeper"},
		{strings.Repeat("tcp[", 2000), "tcp", 4000, "nested deeper"},
		{strings.Repeat("a", MaxText+1), "", 0, "longer than"},
	} {
		_, err := Compile(c.text, Options{})
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.40q: error %v", c.text, err)
			continue
		}
		if e.Word != c.word || e.At != c.at || !strings.Contains(e.Why, c.why) {
			t.Errorf("%.40q: %q at %d: %s; want %q at %d: %s", c.text, e.Word, e.At, e.Why, c.word, c.at, c.why)
		}
	}
}

// TestLargeFilters sees that filters of 100 kB and more end soon, with a program that the kernel takes or with an error.
func TestLargeFilters(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	random := make([]string, 0, 9000)
	for range cap(random) {
		random = append(random, randomPrimitive(r))
	}
	list := func(n int, join string, word func(int) string) string {
		words := make([]string, n)
		for i := range words {
			words[i] = word(i)
		}
		return strings.Join(words, join)
	}
	for name, c := range map[string]struct {
		text string
		fits bool
	}{
		"500 ports":        {list(500, " or ", func(i int) string { return fmt.Sprintf("port %d", i+1) }), true},
		"500 bare ports":   {"port " + list(500, " or ", func(i int) string { return fmt.Sprint(i + 1) }), true},
		"600 hosts":        {list(600, " or ", func(i int) string { return fmt.Sprintf("host 10.0.%d.%d", i/250, i%250) }), true},
		"20000 ports":      {list(20000, " or ", func(i int) string { return fmt.Sprintf("port %d", i+1) }), false},
		"20000 times tcp":  {list(20000, " or ", func(int) string { return "tcp" }), false},
		"20000 times not":  {strings.Repeat("not ", 20000) + "tcp", true},
		"deep parentheses": {strings.Repeat("(", 900) + "tcp" + strings.Repeat(")", 900), true},
		"random":           {strings.Join(random, " or "), false},
		"alternating":      {strings.Join(random[:6000], " and not "), false},
		"sum":              {"1 = len" + strings.Repeat("+len", 25000), false},
		"deep sum":         {"1 = " + strings.Repeat("(1+", 800) + "len" + strings.Repeat(")", 800), false},
		"products":         {"1 = " + strings.Repeat("ip[0]*(", 30) + "len" + strings.Repeat(")", 30), false},
		"pairs": {list(2000, " and ", func(i int) string {
			return fmt.Sprintf("(ether[%d] = 1 or ether[%d] = 2)", i%40, (i*7)%40)
		}), false},
	} {
		began := time.Now()
		program, err := Compile(c.text, Options{})
		t.Logf("%s: %d bytes, %d instructions, %v, error %v", name, len(c.text), len(program), time.Since(began), err)
		if err != nil {
			if c.fits {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err := Check(program); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLive sees what a program for a socket asks the kernel beside the packet.
func TestLive(t *testing.T) {
	for _, c := range []struct {
		text string
		link Link
		want string
	}{
		{"ip", CookedV2, "4\n40 0 0 4294963200\n21 0 1 2048\n6 0 0 262144\n6 0 0 0\n"},
		{"inbound", Ethernet, "4\n40 0 0 4294963204\n21 0 1 4\n6 0 0 0\n6 0 0 262144\n"},
		{"ifindex 3", CookedV2, "4\n32 0 0 4294963208\n21 0 1 3\n6 0 0 262144\n6 0 0 0\n"},
		// A tag beside the packet, or in it.
		{"vlan", Ethernet, "8\n48 0 0 4294963248\n21 0 5 0\n40 0 0 12\n21 3 0 33024\n21 2 0 34984\n21 1 0 37120\n6 0 0 0\n6 0 0 262144\n"},
	} {
		program, err := Compile(c.text, Options{Link: c.link, Live: true})
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		} else if got := PrintProgram(program); got != c.want {
			t.Errorf("%s: %s, want %s", c.text, got, c.want)
		}
	}
	if _, err := Compile("ether[0] = 1", Options{Link: CookedV2, Live: true}); err == nil {
		t.Error("a link header that the socket does not give can be asked for")
	}
}

func TestProgramIsChecked(t *testing.T) {
	good := "3\n40 0 0 12\n21 0 0 2048\n6 0 0 262144\n"
	program, err := ReadProgram(good)
	if err != nil || PrintProgram(program) != good {
		t.Errorf("%v, %v", program, err)
	}
	for _, bad := range []string{
		"", "0", "x", "-1", "5000\n", "1\n", "1\n6 0 0", "1\n6 0 0 0 0", "1\n70000 0 0 0", "1\n6 300 0 0", "1\n6 0 0 -1",
		"1\n40 0 0 12",           // no return
		"2\n21 0 1 0\n6 0 0 0",   // jumps out
		"2\n5 0 0 1\n6 0 0 0",    // jumps out
		"2\n52 0 0 0\n6 0 0 0",   // divides by zero
		"2\n100 0 0 32\n6 0 0 0", // shifts too far
		"2\n2 0 0 16\n6 0 0 0",   // memory
		"2\n96 0 0 16\n6 0 0 0",  // memory
		"2\n255 0 0 0\n6 0 0 0",  // no operation
		"2\n56 0 0 0\n6 0 0 0",
	} {
		if program, err := ReadProgram(bad); !errors.Is(err, ErrProgram) {
			t.Errorf("%q: %v, %v", bad, program, err)
		}
	}
}

func TestServices(t *testing.T) {
	names := Names{Services: ReadServices("# a comment\nweb 81/tcp www # b\nboth 5/tcp\nboth 5/udp\nbad x/tcp\nhalf\nodd 9/tcp\nodd 10/udp\nonlysctp 12/sctp")}
	for _, c := range []struct {
		name, proto string
		port        uint16
		ok          bool
	}{{"web", "tcp", 81, true}, {"www", "tcp", 81, true}, {"both", "", 5, true}, {"odd", "tcp", 9, true}, {"ssh", "tcp", 22, true}, {"bad", "", 0, false}, {"onlysctp", "sctp", 12, true}} {
		if port, proto, ok := names.service(c.name); port != c.port || ok != c.ok || ok && proto != c.proto {
			t.Errorf("%s: %d %s %v", c.name, port, proto, ok)
		}
	}
	if n, ok := (Names{Protocols: ReadProtocols("ip 0 IP\nospf 89 OSPFIGP\n")}).protocol("OSPFIGP"); n != 89 || !ok {
		t.Error(n, ok)
	}
}

// FuzzCompile compiles whatever comes, for every link. What compiles is a program that the kernel would take, and that runs.
func FuzzCompile(f *testing.F) {
	for _, text := range table {
		f.Add(text)
	}
	packets := corpus(Ethernet, 20, true)
	f.Fuzz(func(t *testing.T, text string) {
		for _, o := range []Options{{}, {Live: true}, {Link: CookedV2}, {Link: CookedV1}, {Link: Raw}, {Link: CookedV2, Live: true}} {
			program, err := Compile(text, o)
			if err != nil {
				var e *Error
				if !errors.As(err, &e) || e.At > len(text) {
					t.Fatalf("%q: error %v", text, err)
				}
				continue
			}
			if err := Check(program); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			instructions, _ := bpf.Disassemble(program)
			vm, err := bpf.NewVM(instructions)
			if err != nil {
				continue // it asks the kernel
			}
			for _, p := range packets {
				if _, err := vm.Run(p); err != nil {
					t.Fatalf("%q: %v", text, err)
				}
			}
		}
	})
}

// FuzzReadProgram reads whatever comes. What is taken is printed and read again alike.
func FuzzReadProgram(f *testing.F) {
	f.Add("3\n40 0 0 12\n21 0 0 2048\n6 0 0 262144\n")
	f.Fuzz(func(t *testing.T, text string) {
		program, err := ReadProgram(text)
		if err != nil {
			return
		}
		again, err := ReadProgram(PrintProgram(program))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(program) {
			t.Fatalf("%v, %v, %v", program, again, err)
		}
	})
}
