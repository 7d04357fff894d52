package keeper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// conn is one client's connection. It makes one request at a time.
type conn struct {
	k        *keep
	fd       int
	in       []byte
	fds      []int  // came with the request, owned
	out      []byte // not taken by the client yet
	patience *timer // for a whole request, or for the client to take its answers

	watching bool   // is told of each change
	stale    bool   // missed a change, since it had not taken the last one
	owner    bool   // its unasked end orphans the Pod
	busy     bool   // a request is being answered
	gone     func() // what else ends with the connection
	signal   func(n int) error
	done     bool
}

// accept takes new connections. Beyond maxConns they are closed at once.
func (k *keep) accept() {
	for {
		fd, _, err := unix.Accept4(k.socket, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED) {
			continue
		}
		if err != nil {
			return
		}
		if len(k.conns) >= maxConns || !allowed(fd) {
			unix.Close(fd)
			continue
		}
		c := &conn{k: k, fd: fd}
		k.conns[c] = true
		c.wait()
		c.interest()
	}
}

// wait gives the client requestTime for a whole request.
func (c *conn) wait() {
	c.k.loop.cancel(c.patience)
	c.patience = c.k.loop.after(requestTime, c.close)
}

// settle lets a connection stay open without another request.
func (c *conn) settle() {
	c.k.loop.cancel(c.patience)
	c.patience = nil
}

func (c *conn) interest() {
	events := uint32(unix.EPOLLIN)
	if len(c.out) > 0 {
		events |= unix.EPOLLOUT
	}
	if err := c.k.loop.on(c.fd, events, c.ready); err != nil {
		c.close()
	}
}

func (c *conn) ready() {
	if len(c.out) > 0 {
		c.flush()
	}
	if c.done {
		return
	}
	n, fds, err := receive(c.fd, c.k.buf)
	c.fds = append(c.fds, fds...)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return
	case err != nil || n == 0 || len(c.fds) > maxFDs:
		c.close()
		return
	}
	c.in = append(c.in, c.k.buf[:n]...)
	c.lines()
}

// lines answers the requests that have come whole.
func (c *conn) lines() {
	for !c.done {
		end := bytes.IndexByte(c.in, '\n')
		if end < 0 && len(c.in) <= maxRequest {
			return
		}
		if end < 0 || end > maxRequest {
			c.fail(fmt.Errorf("a request is longer than %d bytes", maxRequest))
			c.close()
			return
		}
		line := c.in[:end]
		c.in = c.in[end+1:]
		if len(c.in) == 0 {
			c.in = nil
		}
		c.request(line)
	}
}

func (c *conn) request(line []byte) {
	c.k.tidy()
	var r request
	fds := c.fds
	c.fds = nil
	if err := json.Unmarshal(line, &r); err != nil {
		closeAll(fds)
		c.fail(fmt.Errorf("a request is not understood: %w", err))
		c.close()
		return
	}
	if r.Version < Version-1 || r.Version > Version+1 {
		closeAll(fds)
		c.fail(fmt.Errorf("%s speaks version %d of the protocol, the client %d", c.k.id.Binary, Version, r.Version))
		c.close()
		return
	}
	stdio, err := spread(r.Stdio, fds)
	switch {
	case err != nil:
	case c.busy:
		err = c.side(&r)
	default:
		err = c.k.serve(c, &r, stdio)
	}
	if err != nil {
		closeAll(stdio[:])
		c.fail(err)
	}
}

// side serves what may be asked while a process runs for this connection: a signal, which has no answer.
func (c *conn) side(r *request) error {
	if r.Op != opSignal || c.signal == nil {
		return fmt.Errorf("cannot %s: the connection is busy", r.Op)
	}
	_ = c.signal(r.Signal)
	return nil
}

// spread puts descriptors, in their order, where want says.
func spread(want [3]bool, fds []int) (out [3]int, err error) {
	i := 0
	for at := range want {
		out[at] = -1
		if want[at] && i < len(fds) {
			out[at] = fds[i]
			i++
		} else if want[at] {
			err = errors.New("a descriptor is missing")
		}
	}
	if i < len(fds) {
		closeAll(fds[i:])
		err = errors.New("a descriptor is not spoken of")
	}
	return out, err
}

func (c *conn) fail(err error) {
	c.reply(reply{Error: err.Error()})
}

// reply sends one answer, with descriptors if there are some; they stay the caller's.
func (c *conn) reply(r reply, fds ...int) {
	if c.done {
		return
	}
	if !c.watching && c.patience != nil {
		c.wait()
	}
	data, err := json.Marshal(&r)
	if err != nil {
		c.close()
		return
	}
	data = append(data, '\n')
	if len(c.out) == 0 {
		n, err := send(c.fd, data, fds...)
		if err != nil && !errors.Is(err, unix.EAGAIN) || err != nil && len(fds) > 0 {
			c.close()
			return
		}
		data = data[max(n, 0):]
	}
	if len(data) == 0 {
		return
	}
	c.out = append(c.out, data...)
	if len(c.out) > maxReply {
		c.close()
		return
	}
	if c.patience == nil {
		c.patience = c.k.loop.after(stallTime, c.close)
	}
	c.interest()
}

// flush sends what waits. A watcher that missed changes is told the newest then.
func (c *conn) flush() {
	n, err := send(c.fd, c.out)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		c.close()
		return
	}
	c.out = c.out[max(n, 0):]
	if len(c.out) > 0 {
		return
	}
	c.out = nil
	if c.watching || c.busy {
		c.settle()
	}
	c.interest()
	if c.stale {
		c.tell()
	}
}

// tell sends a watcher the Pod's status, unless it has not taken the last one yet.
func (c *conn) tell() {
	c.stale = len(c.out) > 0
	if !c.stale {
		c.reply(reply{Status: c.k.status()})
	}
}

// answered ends a request that was answered later; the next one may come.
func (c *conn) answered() {
	c.busy, c.gone, c.signal = false, nil, nil
	if !c.done {
		c.wait()
		c.lines()
	}
}

func (c *conn) close() {
	if c.done {
		return
	}
	c.done = true
	c.settle()
	closeAll(c.fds)
	c.k.loop.closeFD(c.fd)
	delete(c.k.conns, c)
	if c.gone != nil {
		c.gone()
	}
	if c.owner {
		c.k.orphaned()
	}
}
