package capture

import (
	"container/heap"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Sink takes packets, in the order of time.
type Sink interface {
	// Packet takes one packet. Its data are there until Packet returns.
	Packet(p *Packet) error
	// Flush is called when no more packets are ready.
	Flush() error
}

// Session reads sources until it is told to stop.
type Session struct {
	Sources []*Source
	Sink    Sink
	Count   int   // packets, after which it ends; 0 is no limit
	Holders []int // pidfds of what holds the namespaces: when one has ended, so has the session

	// Keep says which packets are taken at all; nil takes every one.
	Keep func(*Packet) bool

	// OnWake is called, between packets, for each Wake.
	OnWake func() error

	wake  int // an eventfd
	stop  bool
	taken int
	queue queue
}

// ErrEnded says that what held a namespace has ended.
var ErrEnded = errors.New("the Pod has ended")

// errEnough ends a session that has taken its packets.
var errEnough = errors.New("enough packets")

// settle is how long packets of several sources wait for earlier ones of another: what the kernel may keep them, and some more.
const settle = 3 * defaultWait * time.Millisecond

// NewSession makes a session.
func NewSession(sources []*Source, sink Sink) (*Session, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot begin capture: %w", err)
	}
	return &Session{Sources: sources, Sink: sink, wake: fd}, nil
}

// Stop ends the session; Wake has OnWake called. Both may be called by any goroutine, until Close.
func (s *Session) Stop() { s.signal(1 << 32) }

// Wake has OnWake called.
func (s *Session) Wake() { s.signal(1) }

func (s *Session) signal(n uint64) {
	_, _ = unix.Write(s.wake, []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24), byte(n >> 32), 0, 0, 0})
}

// Close gives back what the session holds: not its sources.
func (s *Session) Close() error { return unix.Close(s.wake) }

// Taken is how many packets the sink was given.
func (s *Session) Taken() int { return s.taken }

// Run reads until Stop, until Count packets are taken, or until a source or the sink fails. What the ring holds when it is
// stopped is read too.
func (s *Session) Run() error {
	polls := make([]unix.PollFd, 0, len(s.Sources)+len(s.Holders)+1)
	for _, source := range s.Sources {
		polls = append(polls, unix.PollFd{Fd: int32(source.fd), Events: unix.POLLIN})
	}
	polls = append(polls, unix.PollFd{Fd: int32(s.wake), Events: unix.POLLIN})
	for _, fd := range s.Holders {
		polls = append(polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	for {
		err := s.round(polls)
		if err != nil || s.stop {
			last := s.finish(err)
			if errors.Is(err, errEnough) {
				err = nil
			}
			if err == nil {
				err = last
			}
			return err
		}
	}
}

// round waits for packets, a wish or an end, and takes what has come.
func (s *Session) round(polls []unix.PollFd) error {
	timeout := -1
	if len(s.queue) > 0 {
		timeout = int(settle.Milliseconds())
	}
	if _, err := unix.Poll(polls, timeout); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("cannot wait for packets: %w", err)
	}
	taken := s.taken
	for i, source := range s.Sources {
		if polls[i].Revents == 0 {
			continue
		}
		if _, err := source.Drain(s.take); err != nil {
			return err
		}
		if polls[i].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
			if err := source.failure(); err != nil {
				return err
			}
		}
	}
	if err := s.release(time.Now().Add(-settle).UnixNano()); err != nil {
		return err
	}
	rest := polls[len(s.Sources):]
	if rest[0].Revents != 0 {
		if err := s.wishes(); err != nil {
			return err
		}
	}
	for _, p := range rest[1:] {
		if p.Revents != 0 {
			return ErrEnded
		}
	}
	if s.taken == taken {
		return nil
	}
	return s.Sink.Flush()
}

// wishes reads what Stop and Wake have asked for.
func (s *Session) wishes() error {
	var n [8]byte
	if _, err := unix.Read(s.wake, n[:]); err != nil {
		return nil // nobody has asked, or was heard already
	}
	s.stop = s.stop || n[4] != 0
	if (n[0] != 0 || n[1] != 0) && s.OnWake != nil {
		return s.OnWake()
	}
	return nil
}

// finish takes what is left in the rings and in the queue. New packets are refused from here on, and the kernel gives the block
// that it is filling when its time is over.
func (s *Session) finish(err error) error {
	if errors.Is(err, errEnough) {
		return s.Sink.Flush()
	}
	var last error
	for _, source := range s.Sources {
		last = errors.Join(last, source.refuse())
	}
	if last == nil && err == nil || errors.Is(err, ErrEnded) || errors.Is(err, ErrDown) {
		time.Sleep(time.Duration(s.longest()) * time.Millisecond)
	}
	for _, source := range s.Sources {
		if _, derr := source.Drain(s.take); derr != nil {
			last = errors.Join(last, derr)
		}
	}
	if last == nil {
		last = s.release(1<<63 - 1)
	}
	if errors.Is(last, errEnough) {
		last = nil
	}
	return errors.Join(last, s.Sink.Flush())
}

// longest is the longest time, in milliseconds, that the kernel keeps packets of a source, and a little more.
func (s *Session) longest() int {
	wait := 0
	for _, source := range s.Sources {
		wait = max(wait, source.wait)
	}
	return wait + wait/4 + 1
}

// take gives a packet to the sink at once when there is one source, or lets it wait for the others.
func (s *Session) take(p *Packet) error {
	if len(s.Sources) == 1 {
		return s.give(p)
	}
	kept := *p
	kept.Data = append([]byte(nil), p.Data...)
	heap.Push(&s.queue, &kept)
	return nil
}

func (s *Session) give(p *Packet) error {
	if s.Keep != nil && !s.Keep(p) {
		return nil
	}
	if err := s.Sink.Packet(p); err != nil {
		return err
	}
	if s.taken++; s.taken == s.Count {
		return errEnough
	}
	return nil
}

// release gives the packets that are older than a time.
func (s *Session) release(before int64) error {
	for len(s.queue) > 0 && s.queue[0].Time < before {
		if err := s.give(heap.Pop(&s.queue).(*Packet)); err != nil {
			return err
		}
	}
	return nil
}

// queue holds packets of several sources, the earliest first.
type queue []*Packet

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].Time < q[j].Time }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*Packet)) }
func (q *queue) Pop() any {
	old := *q
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return p
}
