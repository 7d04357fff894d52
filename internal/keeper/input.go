package keeper

import (
	"errors"

	"golang.org/x/sys/unix"
)

// input is a container's standard input: what those who are attached send goes there, one after another. While the
// container does not read, they are not read either.
type input struct {
	k       *keep
	fd      int     // write end of a pipe; -1 when there is none or it is closed
	tty     *output // instead of fd: the terminal
	once    bool    // close it when the first one who is attached ends it
	pending []byte
	sources []int // descriptors of those who are attached, owned
}

// attach adds a source, whose descriptor it sets non-blocking.
func (in *input) attach(fd int) {
	_ = unix.SetNonblock(fd, true)
	in.sources = append(in.sources, fd)
	in.interest()
}

// target is the descriptor to write to, -1 if there is none.
func (in *input) target() int {
	if in.tty != nil {
		return in.tty.fd
	}
	return in.fd
}

// interest reads from the sources only while nothing is pending.
func (in *input) interest() {
	for _, fd := range in.sources {
		if len(in.pending) > 0 {
			in.k.loop.off(fd)
		} else {
			_ = in.k.loop.on(fd, unix.EPOLLIN, func() { in.read(fd) })
		}
	}
}

func (in *input) read(fd int) {
	n, err := unix.Read(fd, in.k.buf)
	switch {
	case n > 0:
		in.write(in.k.buf[:n])
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
	default:
		in.detach(fd)
		if in.once {
			in.close()
		}
	}
}

// write passes data on, and keeps what the container does not take now.
func (in *input) write(data []byte) {
	rest := in.pass(data)
	if len(rest) == 0 {
		return
	}
	in.pending = append([]byte(nil), rest...)
	in.interest()
	if in.tty != nil {
		in.tty.more = in.resume
		_ = in.tty.interest()
	} else {
		_ = in.k.loop.on(in.fd, unix.EPOLLOUT, in.resume)
	}
}

// pass writes to the container; it returns what was not taken.
func (in *input) pass(data []byte) []byte {
	for len(data) > 0 {
		n, err := unix.Write(in.target(), data)
		switch {
		case n > 0:
			data = data[n:]
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return data
		default:
			in.close() // nobody reads any more
			return nil
		}
	}
	return nil
}

func (in *input) resume() {
	in.pending = in.pass(in.pending)
	if len(in.pending) > 0 {
		return
	}
	in.pending = nil
	if in.tty != nil {
		in.tty.more = nil
		_ = in.tty.interest()
	} else if in.fd >= 0 {
		in.k.loop.off(in.fd)
	}
	in.interest()
}

// detach closes one source; the container's input stays open.
func (in *input) detach(fd int) {
	for i := range in.sources {
		if in.sources[i] == fd {
			in.sources = append(in.sources[:i:i], in.sources[i+1:]...)
			in.k.loop.closeFD(fd)
			return
		}
	}
}

// close ends the container's input and all sources. A terminal stays; only its input ends.
func (in *input) close() {
	for _, fd := range append([]int(nil), in.sources...) {
		in.detach(fd)
	}
	in.pending = nil
	if in.tty != nil {
		in.tty.more = nil
	}
	in.k.loop.closeFD(in.fd)
	in.fd = -1
}
