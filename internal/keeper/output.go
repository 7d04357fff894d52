package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// flushTime is how long the beginning of a line, such as a prompt, waits for its end before it goes to the log.
const flushTime = 250 * time.Millisecond

// output is one of a container's outputs: what comes out of it goes to the log and to who is attached. While one of
// those cannot take it, no more is read, so that a program is slowed down instead of losing output; one that takes
// nothing for stallTime is dropped.
type output struct {
	k     *keep
	fd    int // pipe or terminal; -1 after its end
	lines lines
	log   *logFile // nil keeps none
	sinks []*sink
	flush *timer
	ended func()
	more  func() // beside ready, for a terminal whose input waits for room
}

// sink is one that is attached to an output. It owns its descriptor.
type sink struct {
	fd      int
	pending []byte // what it has not taken yet
	stall   *timer
}

// interest tells the loop what the output waits for now.
func (o *output) interest() error {
	if o.fd < 0 {
		return nil
	}
	var events uint32
	if !o.blocked() {
		events = unix.EPOLLIN
	}
	if o.more != nil {
		events |= unix.EPOLLOUT
	}
	if events == 0 {
		// Without this an error or hang-up, which epoll always tells, would come again and again.
		o.k.loop.off(o.fd)
		return nil
	}
	return o.k.loop.on(o.fd, events, o.ready)
}

func (o *output) blocked() bool {
	for _, s := range o.sinks {
		if len(s.pending) > 0 {
			return true
		}
	}
	return false
}

func (o *output) ready() {
	if o.more != nil {
		o.more()
	}
	if !o.blocked() {
		o.read()
	}
}

// read takes what is there, one buffer at most; it says whether there was anything.
func (o *output) read() bool {
	if o.fd < 0 {
		return false
	}
	n, err := unix.Read(o.fd, o.k.buf)
	switch {
	case n > 0:
		o.take(o.k.buf[:n])
		return true
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return false
	}
	// The end of a pipe reads nothing, that of a terminal is EIO.
	o.close()
	return false
}

func (o *output) take(data []byte) {
	if o.log != nil {
		lost := o.log.lost
		o.k.scratch = o.lines.add(data, time.Now(), o.k.scratch, o.log.write)
		if o.log.lost != nil && lost == nil {
			o.k.note(fmt.Errorf("output is lost: cannot write log %s: %w", o.log.name, o.log.lost))
		}
		o.hold()
	}
	for _, s := range o.sinks {
		if len(s.pending) > 0 {
			s.pending = append(s.pending, data...)
			continue
		}
		s.pending = data
		o.feed(s)
		s.pending = bytes.Clone(s.pending)
	}
}

// hold gives the beginning of a line its time.
func (o *output) hold() {
	if len(o.lines.tail) > 0 && o.flush == nil {
		o.flush = o.k.loop.after(flushTime, o.flushTail)
	}
}

func (o *output) flushTail() {
	o.k.loop.cancel(o.flush)
	o.flush = nil
	if o.log != nil {
		o.k.scratch = o.lines.flush(time.Now(), o.k.scratch, o.log.write)
	}
}

// drain reads what is there now and says whether the end has come. A sink that is behind does not keep it from the log.
func (o *output) drain() bool {
	for range 64 { // a pipe holds 64 KiB as a rule and 1 MiB at most
		if !o.read() {
			break
		}
	}
	return o.fd < 0
}

// attach adds a sink, whose descriptor it sets non-blocking.
func (o *output) attach(fd int) *sink {
	_ = unix.SetNonblock(fd, true)
	s := &sink{fd: fd}
	o.sinks = append(o.sinks, s)
	o.k.sinks++
	return s
}

// feed gives a sink what it will take.
func (o *output) feed(s *sink) {
	for len(s.pending) > 0 {
		n, err := unix.Write(s.fd, s.pending)
		if n > 0 {
			s.pending = s.pending[n:]
			o.k.loop.cancel(s.stall)
			s.stall = nil
			continue
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if !errors.Is(err, unix.EAGAIN) {
			o.detach(s)
			return
		}
		if s.stall == nil {
			s.stall = o.k.loop.after(stallTime, func() { o.detach(s) })
		}
		_ = o.k.loop.on(s.fd, unix.EPOLLOUT, func() { o.feed(s) })
		_ = o.interest()
		return
	}
	s.pending = nil
	o.k.loop.off(s.fd)
	if o.fd < 0 {
		o.detach(s)
		return
	}
	_ = o.interest()
}

// detach closes a sink.
func (o *output) detach(s *sink) {
	for i := range o.sinks {
		if o.sinks[i] == s {
			o.sinks = append(o.sinks[:i:i], o.sinks[i+1:]...)
			o.k.sinks--
			o.k.loop.cancel(s.stall)
			o.k.loop.closeFD(s.fd)
			break
		}
	}
	_ = o.interest()
}

// close is the end of the output. Sinks that are behind keep what they have not taken, and close when they have it.
func (o *output) close() {
	if o.fd < 0 {
		return
	}
	o.flushTail()
	o.k.loop.closeFD(o.fd)
	o.fd = -1
	for _, s := range append([]*sink(nil), o.sinks...) {
		if len(s.pending) == 0 {
			o.detach(s)
		}
	}
	if o.ended != nil {
		o.ended()
	}
}
