package main

import (
	"encoding/binary"
	"sync"
	"time"

	"tripod/internal/capture"
	"tripod/internal/capture/filter"
	"tripod/internal/capture/pcapng"
	"tripod/internal/owner"
)

// socketOwners knows which container has the sockets of the Pods whose packets are captured, by protocol and local port. It looks
// again, beside the capture, when a port comes that it does not know; so the first packets of a short connection may have no
// owner. The zero value knows none.
type socketOwners struct {
	pods  map[*capture.Source]*captured
	mu    sync.Mutex
	known map[socketKey]socketOwner
	wake  chan struct{}
	over  chan struct{}
	ended sync.WaitGroup
}

type socketKey struct {
	source *capture.Source
	tcp    bool
	port   uint16
}

type socketOwner struct{ container, cgroup string }

// Looking at all processes of a host takes time, so it is done no more often than this, and a tenth of the time at most.
const ownersPause = 200 * time.Millisecond

// newSocketOwners looks once, and then beside the capture.
func newSocketOwners(a *app, h *owner.Host, all []*captured, sources []*capture.Source) *socketOwners {
	o := &socketOwners{
		pods: map[*capture.Source]*captured{}, known: map[socketKey]socketOwner{},
		wake: make(chan struct{}, 1), over: make(chan struct{}),
	}
	for i, s := range sources {
		o.pods[s] = all[i]
	}
	o.look(a, h)
	o.ended.Go(func() {
		for {
			select {
			case <-o.over:
				return
			case <-o.wake:
			}
			began := time.Now()
			o.look(a, h)
			select {
			case <-o.over:
				return
			case <-time.After(max(ownersPause, 9*time.Since(began))):
			}
		}
	})
	return o
}

// end ends the looking.
func (o *socketOwners) end() {
	close(o.over)
	o.ended.Wait()
}

// look finds the owners of all sockets of the Pods. What is not known any more stays: a packet may come after its socket.
func (o *socketOwners) look(a *app, h *owner.Host) {
	for s, c := range o.pods {
		sockets, _, err := a.sockets(h, c.target, ssFlags{tcp: true, udp: true})
		if err != nil {
			continue
		}
		o.mu.Lock()
		for _, one := range sockets {
			key := socketKey{s, one.Proto == "tcp", one.Local.Port()}
			for _, u := range one.Users {
				o.known[key] = socketOwner{owner.Sanitise(u.Container.Name), u.Container.Cgroup}
			}
		}
		if len(o.known) > 1<<16 {
			clear(o.known)
		}
		o.mu.Unlock()
	}
}

// owner is who has the socket of a packet; "" is not known.
func (o *socketOwners) owner(p *capture.Packet) socketOwner {
	key, ok := localPort(p)
	if !ok || o.pods == nil {
		return socketOwner{}
	}
	o.mu.Lock()
	found, known := o.known[key]
	o.mu.Unlock()
	if !known {
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
	return found
}

// comment is what is written beside a packet: POD/CONTAINER.
func (o *socketOwners) comment(p *capture.Packet) string {
	found := o.owner(p)
	if found.container == "" {
		return ""
	}
	return p.Source.Label + "/" + found.container
}

// keep leaves out packets of sockets that another container has than the one that is wanted. It is nil where whole Pods are.
func (o *socketOwners) keep() func(*capture.Packet) bool {
	for _, c := range o.pods {
		if c.container != "" {
			return o.wanted
		}
	}
	return nil
}

func (o *socketOwners) wanted(p *capture.Packet) bool {
	want := o.pods[p.Source].container
	if want == "" {
		return true
	}
	found := o.owner(p)
	return found.cgroup == "" || found.cgroup == want
}

// localPort finds the port of a packet's end in the Pod.
func localPort(p *capture.Packet) (socketKey, bool) {
	d, kind := p.Data, uint16(0)
	switch {
	case p.Source.Link == filter.Ethernet && len(d) > 14:
		kind, d = binary.BigEndian.Uint16(d[12:]), d[14:]
		if kind == 0x8100 && len(d) > 4 {
			kind, d = binary.BigEndian.Uint16(d[2:]), d[4:]
		}
	case p.Source.Link == filter.CookedV2 && len(d) > 20:
		kind, d = binary.BigEndian.Uint16(d), d[20:]
	case p.Source.Link == filter.Raw && len(d) > 0:
		kind = map[byte]uint16{4: 0x800, 6: 0x86dd}[d[0]>>4]
	}
	var proto byte
	switch {
	case kind == 0x800 && len(d) >= 20 && binary.BigEndian.Uint16(d[6:])&0x1fff == 0:
		size := int(d[0]&15) * 4
		proto, d = d[9], d[min(size, len(d)):]
	case kind == 0x86dd && len(d) >= 40:
		proto, d = d[6], d[40:]
	default:
		return socketKey{}, false
	}
	if len(d) < 4 || proto != 6 && proto != 17 {
		return socketKey{}, false
	}
	port := binary.BigEndian.Uint16(d[2:])
	if p.Direction == pcapng.Outbound {
		port = binary.BigEndian.Uint16(d)
	}
	return socketKey{p.Source, proto == 6, port}, true
}
