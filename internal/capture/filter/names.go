package filter

import (
	"bufio"
	"slices"
	"strconv"
	"strings"
)

// Service is a line of /etc/services: a name of a port.
type Service struct {
	Name  string // or an alias
	Port  uint16
	Proto string // tcp, udp, sctp
}

// Protocol is a line of /etc/protocols.
type Protocol struct {
	Name   string
	Number uint8
}

// maxLines bounds what is read of the two files.
const maxLines = 20000

// ReadServices reads the text of /etc/services. Lines that are none are left out.
func ReadServices(text string) []Service {
	var all []Service
	eachLine(text, func(f []string) {
		port, proto, ok := strings.Cut(f[1], "/")
		n, err := strconv.ParseUint(port, 10, 16)
		if !ok || err != nil {
			return
		}
		for i, name := range f {
			if i != 1 {
				all = append(all, Service{name, uint16(n), proto})
			}
		}
	})
	return all
}

// ReadProtocols reads the text of /etc/protocols.
func ReadProtocols(text string) []Protocol {
	var all []Protocol
	eachLine(text, func(f []string) {
		n, err := strconv.ParseUint(f[1], 10, 8)
		if err != nil {
			return
		}
		for i, name := range f {
			if i != 1 {
				all = append(all, Protocol{name, uint8(n)})
			}
		}
	})
	return all
}

// eachLine gives the fields of lines of at least two words.
func eachLine(text string, f func([]string)) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 0; n < maxLines && lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if fields := strings.Fields(line); len(fields) >= 2 {
			f(fields)
		}
	}
}

// wellKnown are the ports whose names need no /etc/services.
var wellKnown = [...]Service{
	{"ftp-data", 20, "tcp"},
	{"ftp", 21, "tcp"},
	{"ssh", 22, "tcp"},
	{"telnet", 23, "tcp"},
	{"smtp", 25, "tcp"},
	{"domain", 53, "tcp"},
	{"domain", 53, "udp"},
	{"bootps", 67, "udp"},
	{"bootpc", 68, "udp"},
	{"tftp", 69, "udp"},
	{"http", 80, "tcp"},
	{"kerberos", 88, "tcp"},
	{"kerberos", 88, "udp"},
	{"pop3", 110, "tcp"},
	{"ntp", 123, "udp"},
	{"imap2", 143, "tcp"},
	{"snmp", 161, "tcp"},
	{"snmp", 161, "udp"},
	{"ldap", 389, "tcp"},
	{"ldap", 389, "udp"},
	{"https", 443, "tcp"},
	{"https", 443, "udp"},
	{"syslog", 514, "udp"},
	{"imaps", 993, "tcp"},
	{"mysql", 3306, "tcp"},
	{"postgresql", 5432, "tcp"},
	{"http-alt", 8080, "tcp"},
}

// service finds a port by name. The protocol is "" when the name has the same port for TCP and UDP.
func (n Names) service(name string) (port uint16, proto string, ok bool) {
	find := func(proto string) (uint16, bool) {
		for _, list := range [][]Service{n.Services, wellKnown[:]} {
			if i := slices.IndexFunc(list, func(s Service) bool { return s.Name == name && s.Proto == proto }); i >= 0 {
				return list[i].Port, true
			}
		}
		return 0, false
	}
	tcp, isTCP := find("tcp")
	udp, isUDP := find("udp")
	switch {
	case isTCP && isUDP && tcp == udp:
		return tcp, "", true
	case isTCP:
		return tcp, "tcp", true
	case isUDP:
		return udp, "udp", true
	}
	sctp, isSCTP := find("sctp")
	return sctp, "sctp", isSCTP
}

// builtIn are the protocols whose names need no /etc/protocols.
var builtIn = [...]Protocol{
	{"icmp", 1},
	{"igmp", 2},
	{"ipencap", 4},
	{"tcp", 6},
	{"egp", 8},
	{"igp", 9},
	{"udp", 17},
	{"ipv6", 41},
	{"rsvp", 46},
	{"gre", 47},
	{"esp", 50},
	{"ah", 51},
	{"ipv6-icmp", 58},
	{"eigrp", 88},
	{"ospf", 89},
	{"pim", 103},
	{"vrrp", 112},
	{"l2tp", 115},
	{"sctp", 132},
	{"udplite", 136},
}

func (n Names) protocol(name string) (uint32, bool) {
	for _, list := range [][]Protocol{n.Protocols, builtIn[:]} {
		if i := slices.IndexFunc(list, func(p Protocol) bool { return p.Name == name }); i >= 0 {
			return uint32(list[i].Number), true
		}
	}
	return 0, false
}

// etherProtocol finds a number of Ethernet's by name.
func etherProtocol(name string) (uint32, bool) {
	if name == "loopback" {
		return protoLoopback, true
	}
	p := protocolWord(name)
	return p.ether, p.ether != 0
}

// isKeyword says whether a word is one of the language, and how it is spelled here.
func isKeyword(text string) (string, bool) {
	switch text {
	case "ether", "link", "fddi", "tr", "wlan", "ppp", "slip":
		if text == "ppp" || text == "slip" {
			return "link", true
		}
		return "ether", true
	case "radio", "vpi", "vci", "lane", "metac", "bcc", "sc", "ilmic", "connectmsg", "metaconnect", "oamf4", "oamf4sc",
		"oamf4ec", "oam", "llc", "gateway", "protochain", "ifname", "on", "rnr", "rulenum", "reason", "rset", "ruleset", "srnr",
		"subrulenum", "action", "type", "subtype", "direction", "dir", "ra", "ta", "addr1", "addr2", "addr3", "addr4", "iih", "lsp",
		"snp", "csnp", "psnp", "l1", "l2", "clnp", "esis", "es-is", "isis", "is-is", "geneve", "byte", "fisu", "lssu", "lsu",
		"msu", "opc", "dpc", "sls", "sio", "hfisu", "hlssu", "hmsu", "hopc", "hdpc", "hsls", "hsio",
		"and", "or", "not", "src", "dst", "host", "net", "mask", "port", "portrange", "proto", "broadcast", "multicast",
		"less", "greater", "len", "length", "inbound", "outbound", "ifindex", "vlan", "mpls", "pppoed", "pppoes":
		if text == "length" {
			return "len", true
		}
		return text, true
	}
	return text, protocolWord(text).known()
}

// unknownHere says why a keyword of pcap-filter(7) is not in this language; "" when it is.
func unknownHere(text string) string {
	switch text {
	case "gateway":
		return "this word needs a table of Ethernet addresses; write \"ether host MAC and not host ADDRESS\""
	case "protochain":
		return "chains of headers take loops, which the kernel does not run; write \"proto\""
	case "llc":
		return "this word is not in tripod's language; write \"ether[12:2] <= 1500\""
	case "byte":
		return "this word is not in tripod's language; write \"ether[N] = V\""
	case "radio", "vpi", "vci", "lane", "metac", "bcc", "sc", "ilmic", "connectmsg", "metaconnect", "oamf4", "oamf4sc",
		"oamf4ec", "oam", "ifname", "on", "rnr", "rulenum", "reason", "rset", "ruleset", "srnr",
		"subrulenum", "action", "type", "subtype", "direction", "dir", "ra", "ta", "addr1", "addr2", "addr3", "addr4", "iih", "lsp",
		"snp", "csnp", "psnp", "l1", "l2", "clnp", "esis", "es-is", "isis", "is-is", "geneve", "fisu", "lssu", "lsu",
		"msu", "opc", "dpc", "sls", "sio", "hfisu", "hlssu", "hmsu", "hopc", "hdpc", "hsls", "hsio":
		return "this word is not in tripod's language; give the program that tcpdump -ddd prints with --bpf"
	}
	return ""
}

// constant is a named number of the language.
func constant(text string) (uint32, bool) {
	i := slices.IndexFunc(constants[:], func(c constantName) bool { return c.name == text })
	if i < 0 {
		return 0, false
	}
	return constants[i].value, true
}

type constantName struct {
	name  string
	value uint32
}

// constants are the named numbers: offsets, and values of ICMP's type, ICMPv6's type and TCP's flags.
var constants = [...]constantName{
	{"icmptype", 0},
	{"icmpcode", 1},
	{"icmp-echoreply", 0},
	{"icmp-unreach", 3},
	{"icmp-sourcequench", 4},
	{"icmp-redirect", 5},
	{"icmp-echo", 8},
	{"icmp-routeradvert", 9},
	{"icmp-routersolicit", 10},
	{"icmp-timxceed", 11},
	{"icmp-paramprob", 12},
	{"icmp-tstamp", 13},
	{"icmp-tstampreply", 14},
	{"icmp-ireq", 15},
	{"icmp-ireqreply", 16},
	{"icmp-maskreq", 17},
	{"icmp-maskreply", 18},
	{"icmp6type", 0},
	{"icmp6code", 1},
	{"icmp6-destinationunreach", 1},
	{"icmp6-packettoobig", 2},
	{"icmp6-timeexceeded", 3},
	{"icmp6-parameterproblem", 4},
	{"icmp6-echo", 128},
	{"icmp6-echoreply", 129},
	{"icmp6-multicastlistenerquery", 130},
	{"icmp6-multicastlistenerreportv1", 131},
	{"icmp6-multicastlistenerdone", 132},
	{"icmp6-routersolicit", 133},
	{"icmp6-routeradvert", 134},
	{"icmp6-neighborsolicit", 135},
	{"icmp6-neighboradvert", 136},
	{"icmp6-redirect", 137},
	{"icmp6-routerrenum", 138},
	{"icmp6-nodeinformationquery", 139},
	{"icmp6-nodeinformationresponse", 140},
	{"icmp6-ineighbordiscoverysolicit", 141},
	{"icmp6-ineighbordiscoveryadvert", 142},
	{"icmp6-multicastlistenerreportv2", 143},
	{"icmp6-homeagentdiscoveryrequest", 144},
	{"icmp6-homeagentdiscoveryreply", 145},
	{"icmp6-mobileprefixsolicit", 146},
	{"icmp6-mobileprefixadvert", 147},
	{"icmp6-certpathsolicit", 148},
	{"icmp6-certpathadvert", 149},
	{"icmp6-multicastrouteradvert", 151},
	{"icmp6-multicastroutersolicit", 152},
	{"icmp6-multicastrouterterm", 153},
	{"tcpflags", 13},
	{"tcp-fin", 1},
	{"tcp-syn", 2},
	{"tcp-rst", 4},
	{"tcp-push", 8},
	{"tcp-ack", 16},
	{"tcp-urg", 32},
	{"tcp-ece", 64},
	{"tcp-cwr", 128},
}
