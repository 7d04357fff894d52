// Package capture takes packets out of a network namespace, as tcpdump does: a packet socket with a memory-mapped ring, and a
// filter that the kernel runs on each packet.
//
// The socket is opened by a thread that is in the namespace for that moment alone; nothing is run in the Pod, and nothing is
// asked of its image. A Source is one such socket. A Session reads one or more, puts their packets in the order of time and
// gives them to a Sink: a file (file.go), the last seconds in memory (recent.go), or whatever prints them.
package capture

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/net/bpf"

	"tripod/internal/capture/filter"
	"tripod/internal/capture/pcapng"
	"tripod/internal/socket"
)

// Any is the interface that means all.
const Any = "any"

// Options say what to capture. The zero value is every interface, promiscuous nowhere, whole packets.
type Options struct {
	Interface   string // its name or number; "" is Any
	Promiscuous bool   // not on Any
	Snap        int    // bytes of each packet; 0 is filter.MaxSnap
	Buffer      int    // bytes of the ring; 0 is 2 MiB
	Wait        int    // milliseconds that the kernel may keep packets to give more at once; 0 is 100

	// Direction leaves only packets that came in or went out; pcapng.Unknown leaves both.
	Direction pcapng.Direction

	// Compile makes the filter for the link that the interface turned out to have; nil takes everything.
	Compile func(o filter.Options) ([]bpf.RawInstruction, error)
}

// Packet is one packet of a ring. Its data are there until the function that it was given to returns.
type Packet struct {
	Source    *Source
	Time      int64 // nanoseconds since 1970
	Data      []byte
	Length    int // on the wire, with the link header of the capture
	Interface int // its number in the namespace
	Direction pcapng.Direction
}

// ErrNoInterface says that a namespace has no such interface.
var ErrNoInterface = errors.New("no such interface")

// InterfaceError is ErrNoInterface, and says which there are.
type InterfaceError struct {
	Name string
	Have []string
}

func (e *InterfaceError) Error() string {
	return fmt.Sprintf("cannot capture on interface %s: %v", e.Name, ErrNoInterface)
}

// Unwrap makes it ErrNoInterface.
func (e *InterfaceError) Unwrap() error { return ErrNoInterface }

// Hint names the interfaces.
func (e *InterfaceError) Hint() string { return "there is " + fmt.Sprint(e.Have) + " and any" }

// Interface is what a namespace has to capture on.
type Interface struct {
	Index int
	Name  string
	Flags net.Flags
}

// Interfaces lists what the namespace of a file has to capture on, by number.
func Interfaces(path string) ([]Interface, error) {
	var all []Interface
	err := socket.Inside(path, func() error {
		list, err := net.Interfaces()
		if err != nil {
			return fmt.Errorf("cannot list interfaces: %w", err)
		}
		for _, i := range list {
			all = append(all, Interface{i.Index, i.Name, i.Flags})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Interface) int { return a.Index - b.Index })
	return all, err
}
