package keeper

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// loop is the keeper's one thread of thought: it waits for descriptors, times and posted functions, and calls what
// belongs to them, one after another. Everything but post and its mutex belongs to that thread.
type loop struct {
	epoll  int
	wake   int
	watch  map[int]func()
	timers []*timer
	done   bool

	mu     sync.Mutex
	posted []func()
}

// timer calls f once, at its time.
type timer struct {
	at time.Time
	f  func()
}

func newLoop() (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &loop{epoll: epoll, wake: wake, watch: map[int]func(){}}
	if err := l.on(wake, unix.EPOLLIN, l.woken); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// on calls f whenever fd is ready for events. F must bear being called for nothing.
func (l *loop) on(fd int, events uint32, f func()) error {
	op := unix.EPOLL_CTL_ADD
	if _, known := l.watch[fd]; known {
		op = unix.EPOLL_CTL_MOD
	}
	if err := unix.EpollCtl(l.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	l.watch[fd] = f
	return nil
}

// off forgets fd. It is called before fd is closed.
func (l *loop) off(fd int) {
	if _, known := l.watch[fd]; known {
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
		delete(l.watch, fd)
	}
}

// closeFD forgets and closes fd, if it is one.
func (l *loop) closeFD(fd int) {
	if fd >= 0 {
		l.off(fd)
		unix.Close(fd)
	}
}

// post has f called by the loop. Any thread may post.
func (l *loop) post(f func()) {
	l.mu.Lock()
	l.posted = append(l.posted, f)
	l.mu.Unlock()
	_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (l *loop) woken() {
	var count [8]byte
	_, _ = unix.Read(l.wake, count[:])
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range posted {
		f()
	}
}

// after has f called once, when d has passed.
func (l *loop) after(d time.Duration, f func()) *timer {
	t := &timer{at: time.Now().Add(d), f: f}
	l.timers = append(l.timers, t)
	return t
}

// cancel takes a timer back; nil and one that has been called are fine.
func (l *loop) cancel(t *timer) {
	for i := range l.timers {
		if l.timers[i] == t {
			l.timers = append(l.timers[:i], l.timers[i+1:]...)
			return
		}
	}
}

// due takes out a timer whose time has come.
func (l *loop) due(now time.Time) *timer {
	for _, t := range l.timers {
		if !now.Before(t.at) {
			l.cancel(t)
			return t
		}
	}
	return nil
}

// timeout is how long epoll may wait, in milliseconds, rounded up; -1 is for ever.
func (l *loop) timeout(now time.Time) int {
	ms := -1
	for _, t := range l.timers {
		d := max(0, int((t.at.Sub(now)+time.Millisecond-1)/time.Millisecond))
		if ms < 0 || d < ms {
			ms = d
		}
	}
	return ms
}

// run goes round until done is set.
func (l *loop) run() error {
	var events [32]unix.EpollEvent
	for !l.done {
		n, err := unix.EpollWait(l.epoll, events[:], l.timeout(time.Now()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("epoll_wait", err)
		}
		for i := 0; i < n && !l.done; i++ {
			if f := l.watch[int(events[i].Fd)]; f != nil {
				f()
			}
		}
		for t := l.due(time.Now()); t != nil && !l.done; t = l.due(time.Now()) {
			t.f()
		}
	}
	return nil
}

func (l *loop) close() {
	unix.Close(l.wake)
	unix.Close(l.epoll)
}
