package filter

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// oracle is tcpdump's own compiler.
func oracle(t *testing.T, link Link, text string) ([]bpf.RawInstruction, error) {
	t.Helper()
	cmd := exec.Command("tcpdump", "-ddd", "-y", link.Name(), "--", text)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		if strings.Contains(said.String(), "rejects all packets") {
			return []bpf.RawInstruction{{Op: 6}}, nil
		}
		return nil, fmt.Errorf("%s", strings.TrimSpace(said.String()))
	}
	program, err := ReadProgram(string(out))
	if errors.Is(err, ErrProgram) {
		t.Fatalf("%s: tcpdump's program is refused: %v\n%s", text, err, out)
	}
	return program, nil
}

func needTcpdump(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("no tcpdump here to compare with")
	}
}

func machine(t *testing.T, program []bpf.RawInstruction) *bpf.VM {
	t.Helper()
	instructions, _ := bpf.Disassemble(program)
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatalf("%v: %v", err, program)
	}
	return vm
}

func hostNames(t *testing.T) Names {
	t.Helper()
	services, _ := os.ReadFile("/etc/services")
	protocols, _ := os.ReadFile("/etc/protocols")
	return Names{
		Services: ReadServices(string(services)), Protocols: ReadProtocols(string(protocols)),
		Host: func(name string) ([]netip.Addr, error) {
			if name == "localhost" {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}
			return nil, errors.New("no such host")
		},
	}
}

// sameVerdicts compares our program with tcpdump's on every packet, and says whether the programs are one.
func sameVerdicts(t *testing.T, link Link, text string, packets [][]byte, names Names) (identical bool) {
	t.Helper()
	theirs, err := oracle(t, link, text)
	ours, ourErr := Compile(text, Options{Link: link, Names: names})
	switch {
	case err != nil && ourErr != nil:
		return true
	case err != nil:
		t.Errorf("%s: %q: tcpdump says %v, we compile", link.Name(), text, err)
		return false
	case ourErr != nil:
		t.Errorf("%s: %q: %v", link.Name(), text, ourErr)
		return false
	}
	if err := Check(ours); err != nil {
		t.Errorf("%q: %v", text, err)
		return false
	}
	a, b := machine(t, ours), machine(t, theirs)
	for i, packet := range packets {
		got, gerr := a.Run(packet)
		want, werr := b.Run(packet)
		if got != want || (gerr == nil) != (werr == nil) {
			t.Errorf("%s: %q: packet %d % x: %d (%v), tcpdump's program says %d (%v)\nours:\n%s\ntheirs:\n%s",
				link.Name(), text, i, packet, got, gerr, want, werr, PrintProgram(ours), PrintProgram(theirs))
			return false
		}
	}
	return PrintProgram(ours) == PrintProgram(theirs)
}

// table are expressions of every primitive in many contexts.
var table = strings.Split(strings.TrimSpace(`
ip
ip6
arp
rarp
tcp
udp
sctp
icmp
icmp6
igmp
igrp
pim
vrrp
carp
ah
esp
atalk
aarp
decnet
lat
sca
mopdl
moprc
iso
stp
ipx
netbeui
host 1.2.3.4
src 1.2.3.4
dst 1.2.3.4
src host 1.2.3.4
src or dst host 1.2.3.4
dst or src 1.2.3.4
src and dst host 1.2.3.4
host 10
host 10.1
ip host 1.2.3.4
arp host 1.2.3.4
rarp dst host 1.2.3.4
host fe80::1
ip6 host fe80::1
src ::1
dst host 2001:db8::1
host localhost
net 10
net 10.0
src net 10.0.0
net 10.0.0.0/8
net 192.168.1.0/24
net 192.168.1.0/25
net 1.2.3.4/32
net 0.0.0.0/0
net 10.0.0.0 mask 255.0.0.0
arp net 10
net fe80::/10
net fe80::/64
net 2001:db8::/33
ip6 net fe80::/10
dst net 2001:db8::/32
net fe80::1
ether host 1:2:3:4:5:6
ether src 01:02:03:04:05:06
ether dst 0102.0304.0506
ether dst 01-02-03-04-05-06
link src 1:2:3:4:5:6
ether broadcast
broadcast
ip broadcast
ether multicast
multicast
ip multicast
ip6 multicast
port 80
src port 80
dst port 80
src and dst port 80
src or dst port 80
tcp port 80
udp port 53
sctp port 80
tcp src port 80
tcp dst port 22
port ssh
port domain
tcp port domain
udp port domain
port ntp
portrange 20-80
portrange 80
portrange 80-20
tcp portrange ftp-ssh
udp dst portrange 53-443
portrange 80-80
ip proto 6
ip proto \tcp
ip6 proto 17
ip6 proto \tcp
proto 6
proto \udp
proto ospf
ether proto 0x800
ether proto \ip
ether proto \arp
ether proto loopback
ether proto 0x42
ether proto 0xfe
ether proto 0xf0
ether proto 0xe0
ether proto 6
ether proto 1600
less 100
greater 60
len > 60
len <= 60
len = 60
len != 60
len - 20 > 50
60 < len
tcp[13] & 2 != 0
tcp[tcpflags] & tcp-syn != 0
tcp[tcpflags] & (tcp-syn|tcp-fin) != 0
tcp[tcpflags] == tcp-syn
tcp[tcpflags] & (tcp-syn|tcp-ack) == (tcp-syn|tcp-ack)
tcp[0:2] = 80
tcp[0:2] > tcp[2:2]
tcp[2:2] >= tcp[0:2] + 1
tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420
tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)
udp[4:2] > 20
udp[ip[0]:2] = 1
udp[0] * 2 + 1 = 7
icmp[icmptype] = icmp-echo
icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply
icmp[icmpcode] = 0
icmp6[0] = 128
icmp6[icmp6type] = icmp6-echo
igmp[0] = 0x11
sctp[0:2] = 80
pim[0] = 1
vrrp[0] = 1
ip[0] & 0xf != 5
ip[6:2] & 0x1fff = 0
ip[8] < 64
ip[12:4] = ip[16:4]
ip[2:2] > tcp[2:2]+1
ip6[6] = 6
ip6[7] = 255
arp[6:2] = 1
arp[7] = 2
rarp[7] = 3
atalk[0] = 1
decnet[0] = 1
ether[0] & 1 = 0
ether[0] & 1 = 0 and ip[16] >= 224
ether[12:2] = 0x800
link[6:4] = 0x01020304
ether[ether[14] & 7] = 5
ether[len - 1] = 5
ether[0] | 1 & 3 = 0
ether[0] + 1 & 3 = 0
ether[0] << 2 + 1 = 0
ether[0] % 5 * 3 = 0
ether[0] ^ 1 & 3 = 0
ether[0] + 5 % 3 = 0
ether[0] + 5 ^ 3 = 0
ether[0] & 1 ^ 3 = 0
ether[1] * ether[2] / ether[3] = 0
ether[1] % ether[3] = 1
ether[1] / ether[3] = 1
(ether[1] + ether[2]) * (ether[3] + ether[4]) = 21
ether[0] >= 0
1 = 1
1 = 2
1 + 1 = 2
vlan
vlan 5
vlan and ip
vlan 5 and tcp port 80
vlan and vlan
vlan and vlan 7 and udp
vlan or ip
ip or vlan
ip or vlan and ip
not vlan
vlan and ether[0] = 1
vlan and ether host 1:2:3:4:5:6
mpls
mpls 100
mpls and ip
mpls 100 and tcp port 80
mpls and mpls
mpls and mpls 5 and host 1.2.3.4
mpls and ip6
vlan and mpls
vlan and mpls and host 10.0.0.1
pppoed
pppoes
pppoes 5
pppoes and ip
pppoes and ip6 and tcp
pppoes 5 and tcp port 80
pppoes and arp
vlan and pppoes and ip
not tcp
! tcp
not not tcp
not port 80
tcp and port 80
tcp and not port 22
tcp or udp
tcp && udp
tcp || udp
tcp or udp and port 80
(tcp or udp) and port 80
tcp and port 80 or udp and port 53
port 80 or 443
port 80 or 443 or 22
tcp dst port ftp or ftp-data or domain
port (80 or 443)
tcp port (80 or not 443)
tcp src port (80 or 22)
port 80 or (443)
port 80 and (443 or 22)
host 1.2.3.4 and not 10.0.0.1
host 1.2.3.4 or 10.0.0.1 and port 80 or 443
host (1.2.3.4 or 10.0.0.1)
src host 10.0.0.1 and dst port 80
src net 10 and dst net 192.168
ip and not net 10
tcp port 80 or not 443
net (10 or 192.168)
proto (6 or 17)
ip proto 6 or 17
ether host (1:2:3:4:5:6 or ff:ff:ff:ff:ff:ff)
not (tcp port 80 and host 1.2.3.4)
not (arp or port 53)
not arp and not port 53
host 10.0.0.1 and (port 80 or port 443)
tcp[13] & 7 != 0 and not src and dst net 10
ip[0] & 0xf = 5 or ip[0] & 0xf = 6
ip[8] > 10 and ip[8] < 20
ip[8] > 10 and ip[8] > 5
ip[8] = 64 and ip[8] > 10
tcp and tcp and tcp
tcp and not tcp
tcp or not tcp
net 10.0.0.0/8 and host 10.0.0.1
icmp or icmp6 or arp
ip and tcp and host 10.0.0.1 and port 80 and greater 60
portrange 1-1023 and not portrange 22-80
udp and not port 53 and not multicast and not broadcast
tcp port http and (tcp[tcpflags] & tcp-push) != 0

not 1.2.3.4
10.0.0.1
tcp 80
tcp or 80
port tcp
ip port 80
tcp host 1.2.3.4
host 1:2:3:4:5:6
src 1:2:3:4:5:6
port 70000
portrange 1-70000
vlan 5000
tcp and
and tcp
(tcp
tcp)
tcp udp
tcp[13
tcp[0:3] = 1
tcp[0] = 
ether[0] / 0 = 1
ether[0] << 33 = 1
net 10.1.2.3/8
net 10.0.0.0/33
net fe80::1/10
ip6 net 10
ip6 host 1.2.3.4
ip host fe80::1
arp port 80
arp multicast
ip6 broadcast
tcp broadcast
tcp proto 6
arp proto 6
ip proto foo
port foo
ah[0] = 1
radio
host foo.invalid
mpls and arp[0
pppoes and vlan
gateway foo
(port 80) or 443
port (80 or tcp)
tcp port
host
net
ether[0] = 1 = 1
len
99999999999 = 1
src
src or port 80
1.2.3.4.5
mpls 2000000
`), "\n")

// TestVerdicts sees that for every expression of the table our program gives the verdict of tcpdump's on every packet,
// and that both refuse the same expressions.
func TestVerdicts(t *testing.T) {
	needTcpdump(t)
	names := hostNames(t)
	for _, link := range []Link{Ethernet, CookedV2, CookedV1, Raw} {
		t.Run(link.Name(), func(t *testing.T) {
			t.Parallel()
			packets := corpus(link, 600, true)
			same, all := 0, 0
			for _, text := range table {
				if link != Ethernet && unsafeForLink(text) {
					continue
				}
				all++
				if sameVerdicts(t, link, text, packets, names) {
					same++
				}
			}
			t.Logf("%d of %d programs are tcpdump's to the instruction", same, all)
		})
	}
}

// unsafeForLink leaves out what tcpdump itself gets wrong on links without an Ethernet header.
func unsafeForLink(text string) bool { return strings.Contains(text, "mpls") || text == "" }

// identical are expressions whose program is that of tcpdump -d to the instruction.
var identical = []string{
	"ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6", "sctp", "host 1.2.3.4", "src host 1.2.3.4", "host fe80::1",
	"net 10.0.0.0/8", "net fe80::/10", "port 80", "port 80 or 443", "tcp port 80", "tcp dst port 80", "udp port 53",
	"portrange 20-80", "not port 22", "tcp port 80 and host 1.2.3.4", "tcp[13] & 2 != 0", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
	"icmp[icmptype] = icmp-echo", "ether host 1:2:3:4:5:6", "broadcast", "multicast", "ip multicast", "less 100", "greater 100",
	"vlan", "vlan 5 and ip", "arp host 1.2.3.4", "tcp or udp", "not arp and not port 53", "ip proto 6", "ether proto 0x800",
	"host 1.2.3.4 and not 10.0.0.1", "src net 10 and dst net 192.168", "ip[8] < 64",
	"tcp src port (80 or 22)", "mpls and ip", "pppoes and tcp",
}

func TestInstructions(t *testing.T) {
	needTcpdump(t)
	for _, link := range []Link{Ethernet, CookedV1, CookedV2} {
		for _, text := range identical {
			theirs, err := oracle(t, link, text)
			if err != nil {
				continue // not of this link
			}
			ours, err := Compile(text, Options{Link: link})
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if a, b := PrintProgram(ours), PrintProgram(theirs); a != b {
				t.Errorf("%s: %q: ours\n%stcpdump's\n%s", link.Name(), text, a, b)
			}
		}
	}
}

// TestPrint prints tcpdump's programs as tcpdump -d does.
func TestPrint(t *testing.T) {
	needTcpdump(t)
	for _, text := range []string{
		"tcp port 80", "udp[ip[0]:2] * 3 / 2 % 7 + 5 - ether[0] = 1", "ip[0] | 1 ^ 3 > len", "ether[0] << 2 >= ether[1] >> 3",
		"icmp6 protochain 6 or ip protochain 5", "ether[0:4] & ether[4:4] != 0", "-ip[0] = 3 or ip[len] = 4",
	} {
		program, err := oracle(t, Ethernet, text)
		if err != nil {
			continue
		}
		want, err := exec.Command("tcpdump", "-d", "-y", "EN10MB", "--", text).Output()
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for at, i := range program {
			fmt.Fprintln(&got, Print(at, i))
		}
		if got.String() != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", text, got.String(), want)
		}
	}
}

// TestRandomVerdicts makes expressions by chance and compares as TestVerdicts does. Packets are long enough for every load:
// a load beyond a packet's end ends a program, and which loads are left out differs between compilers.
func TestRandomVerdicts(t *testing.T) {
	needTcpdump(t)
	const count = 150
	names := hostNames(t)
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			packets := corpus(Ethernet, 400, false)
			r := rand.New(rand.NewPCG(seed, 7))
			same := 0
			for range count {
				if sameVerdicts(t, Ethernet, randomExpression(r, 3), packets, names) {
					same++
				}
			}
			t.Logf("%d of %d programs are tcpdump's to the instruction", same, count)
		})
	}
}

// TestProtocolOnTheRight sees that bytes of a protocol are looked at in packets of that protocol only, also on the right of
// an operator, where libpcap 1.10 reads them from any packet.
func TestProtocolOnTheRight(t *testing.T) {
	program, err := Compile("0 + udp[0] + 1 = 1 or 1 + udp[0] = 1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	vm := machine(t, program)
	arp := append(make([]byte, 12), 8, 6)
	if verdict, err := vm.Run(append(arp, make([]byte, 60)...)); verdict != 0 || err != nil {
		t.Errorf("an ARP packet has a byte of UDP: %d, %v", verdict, err)
	}
}

func pick(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

func randomExpression(r *rand.Rand, depth int) string {
	if depth == 0 || r.IntN(5) == 0 {
		return randomPrimitive(r)
	}
	switch r.IntN(6) {
	case 0:
		return "not " + randomPrimitive(r)
	case 1:
		return "not (" + randomExpression(r, depth-1) + ")"
	case 2, 3:
		return randomExpression(r, depth-1) + pick(r, " and ", " or ") + randomExpression(r, depth-1)
	default:
		return "(" + randomExpression(r, depth-1) + ")" + pick(r, " and ", " or ") + "(" + randomExpression(r, depth-1) + ")"
	}
}

func randomPrimitive(r *rand.Rand) string {
	direction := pick(r, "", "", "src ", "dst ", "src and dst ")
	switch r.IntN(8) {
	case 0:
		return pick(r, "ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6", "sctp", "vlan", "multicast", "broadcast", "ip multicast")
	case 1:
		return direction + "host " + pick(r, "1.2.3.4", "10.0.0.1", "192.168.1.5", "fe80::1", "2001:db8::1")
	case 2:
		return direction + "net " + pick(r, "10", "192.168", "10.0.0.0/8", "fe80::/10", "2001:db8::/32", "1.2.3.0/24")
	case 3, 4:
		return pick(r, "", "tcp ", "udp ", "sctp ") + direction + "port " + pick(r, "80", "443", "22", "53", "80 or 443", "(22 or 53)")
	case 5:
		return pick(r, "", "tcp ", "udp ") + direction + "portrange " + pick(r, "20-80", "53-443", "1-1023")
	case 6:
		return pick(r, "ip proto ", "ip6 proto ", "proto ") + pick(r, "1", "6", "17", "58")
	default:
		return randomAmount(r, 2) + pick(r, " = ", " != ", " > ", " < ", " >= ", " <= ") + randomAmount(r, 1)
	}
}

func randomAmount(r *rand.Rand, depth int) string {
	if depth == 0 || r.IntN(3) == 0 {
		switch r.IntN(3) {
		case 0:
			return fmt.Sprint(r.IntN(300))
		case 1:
			return "len"
		}
		return pick(r, "ip", "ip6", "tcp", "udp", "icmp", "ether", "arp") + fmt.Sprintf("[%d%s]", r.IntN(20), pick(r, "", ":2", ":4"))
	}
	// On the right only what every packet has: there libpcap forgets to ask for the protocol (TestProtocolOnTheRight).
	return "(" + randomAmount(r, depth-1) + pick(r, " + ", " - ", " & ", " | ", " * ") + pick(r, "len", fmt.Sprint(r.IntN(300)), "ether[13]") + ")"
}
