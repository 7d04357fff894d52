// Package filter compiles tcpdump's filter language to classic BPF, the program that a packet socket runs on each packet.
//
// The language is the one of pcap-filter(7), less what concerns radio, ATM, SS7, ISO and pf; docs/capture.md says what is in
// it. A filter goes through these forms:
//
//	text   words, each with its position                         lex.go
//	cond   and, or, not over tests of values of the packet       parse.go, and the files of the primitives
//	node   a test that goes on to one of two nodes; no cycles    graph.go, simplify.go
//	code   instructions                                          emit.go
//
// Values and nodes are made once: equal ones are one. What a path through the graph has found out is not asked again
// (simplify.go), and questions about one value are brought together (group.go), so that the code is as short as libpcap's for the filters that people write.
package filter

import (
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
)

// Link says how a packet begins: a LINKTYPE value of tcpdump.org/linktypes.html.
type Link uint16

// The link types that are known here.
const (
	Ethernet Link = 1
	Raw      Link = 101 // an IPv4 or IPv6 header
	CookedV1 Link = 113 // LINUX_SLL
	CookedV2 Link = 276 // LINUX_SLL2
)

// Name is the name that tcpdump gives it.
func (l Link) Name() string {
	switch l {
	case Ethernet:
		return "EN10MB"
	case Raw:
		return "RAW"
	case CookedV1:
		return "LINUX_SLL"
	case CookedV2:
		return "LINUX_SLL2"
	}
	return fmt.Sprintf("%d", uint16(l))
}

// Description is the name in words.
func (l Link) Description() string {
	switch l {
	case Ethernet:
		return "Ethernet"
	case Raw:
		return "Raw IP"
	case CookedV1:
		return "Linux cooked v1"
	case CookedV2:
		return "Linux cooked v2"
	}
	return "unknown"
}

// The bounds of a filter.
const (
	// MaxText is the greatest length of a filter's text, in bytes.
	MaxText = 1 << 20
	// MaxInstructions is how many the kernel takes (BPF_MAXINSNS of linux/bpf_common.h).
	MaxInstructions = 4096
	// MaxSnap is how many bytes of a packet are kept where nothing else is said; it is tcpdump's number too.
	MaxSnap = 262144

	maxNesting = 1000
	maxNodes   = 40000
)

// Options are what a filter is compiled for. The zero value is a file of Ethernet packets.
type Options struct {
	Link Link // 0 is Ethernet

	// Live is for a packet socket on this host, not for packets in a file: VLAN tags are beside the packet then, and
	// packets of cooked links begin with the network header (packet(7), SOCK_DGRAM).
	Live bool

	// Snap is how many bytes of a packet that matches are kept; 0 is MaxSnap.
	Snap uint32

	// Netmask is the interface's IPv4 netmask, for "ip broadcast"; 0 is not known, and the whole address counts.
	Netmask uint32

	Names Names
}

// Names finds what words mean. The zero value knows a few well-known ports and protocols only.
type Names struct {
	// Host gives the addresses of a name; nil knows none.
	Host func(name string) ([]netip.Addr, error)
	// Services are what /etc/services has.
	Services []Service
	// Protocols are what /etc/protocols has.
	Protocols []Protocol
}

// Error says what is wrong with a filter, and where.
type Error struct {
	At   int    // bytes before the word
	Word string // as it was written; empty at the end of the text
	Why  string
}

func (e *Error) Error() string {
	if e.Word == "" {
		return "cannot compile filter: at its end: " + e.Why
	}
	return fmt.Sprintf("cannot compile filter: at %q (position %d): %s", clip(e.Word), e.At+1, e.Why)
}

// clip shortens a word for a message.
func clip(word string) string {
	const most = 60
	if len(word) > most {
		return word[:most] + "…"
	}
	return word
}

// Compile makes the program of a filter. An empty filter matches everything. The error is an *Error.
func Compile(text string, o Options) ([]bpf.RawInstruction, error) {
	if o.Link == 0 {
		o.Link = Ethernet
	}
	if o.Snap == 0 {
		o.Snap = MaxSnap
	}
	words, err := lex(text)
	if err != nil {
		return nil, err
	}
	b := newGraph()
	accept, reject := b.verdict(o.Snap), b.verdict(0)
	root, vlan, err := compile(b, words, o, false, accept, reject)
	if err != nil {
		return nil, err
	}
	if vlan && o.Live && o.Link == Ethernet {
		// The kernel takes the outer tag off a packet that it receives; one that it sends may have it still. The
		// filter is compiled for both, and the packet chooses.
		stripped, _, err := compile(b, words, o, true, accept, reject)
		if err != nil {
			return nil, err
		}
		root = b.test(test{op: equal, left: b.absolute(1, tagPresent)}, root, stripped)
	}
	if b.full() {
		return nil, tooLarge()
	}
	code, ok := emit(group(b, simplify(b, root)))
	if !ok {
		return nil, &Error{Why: "its arithmetic needs more than the 16 words of memory that a program has"}
	}
	if len(code) > MaxInstructions {
		return nil, tooLarge()
	}
	return code, nil
}

// Begins says whether a filter may begin with a word. A bare name, such as that of a Pod, does not begin one.
func Begins(text string) bool {
	words, err := lex(text)
	return err != nil || words[0].kind != name
}

func tooLarge() *Error {
	return &Error{Why: fmt.Sprintf("the whole takes more than the %d instructions that the kernel allows", MaxInstructions)}
}

// compile makes the graph of a filter, and says whether it has the word vlan.
func compile(b *graph, words []word, o Options, stripped bool, accept, reject *node) (*node, bool, error) {
	p := &parser{words: words, gen: newGenerator(b, o, stripped)}
	c, err := p.filter()
	if err != nil {
		return nil, false, err
	}
	return b.decide(c, accept, reject), p.gen.vlans > 0, nil
}
