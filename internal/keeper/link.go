package keeper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// link is a client's end of one connection. It ends with its context.
type link struct {
	ctx  context.Context
	f    *os.File
	raw  syscall.RawConn
	stop func() bool
	in   []byte
	fds  []int
}

func open(ctx context.Context, dir string) (*link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := connect(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	l := &link{ctx: ctx, f: os.NewFile(uintptr(fd), socketFile)}
	if l.raw, err = l.f.SyscallConn(); err != nil {
		l.f.Close()
		return nil, err
	}
	l.stop = context.AfterFunc(ctx, func() { _ = l.f.SetDeadline(time.Unix(1, 0)) })
	return l, nil
}

// say sends a request, with descriptors.
func (l *link) say(r request, fds ...int) error {
	r.Version = Version
	data, err := json.Marshal(&r)
	if err != nil {
		return err
	}
	if len(data) > maxRequest {
		return fmt.Errorf("cannot ask the keeper to %s: the request is longer than %d bytes", r.Op, maxRequest)
	}
	data = append(data, '\n')
	var failed error
	err = l.raw.Write(func(fd uintptr) bool {
		for len(data) > 0 {
			n, err := send(int(fd), data, fds...)
			if errors.Is(err, unix.EAGAIN) {
				return false
			}
			if err != nil {
				failed = err
				return true
			}
			data, fds = data[n:], nil
		}
		return true
	})
	return l.reason(errors.Join(failed, err))
}

// hear waits for one answer, and the descriptors that came with it, which are the caller's then. A connection that ends
// is io.EOF.
func (l *link) hear() (r reply, fds []int, err error) {
	for {
		if end := bytes.IndexByte(l.in, '\n'); end >= 0 {
			err := json.Unmarshal(l.in[:end], &r)
			l.in = l.in[end+1:]
			fds, l.fds = l.fds, nil
			return r, fds, err
		}
		if len(l.in) > maxReply {
			return r, nil, fmt.Errorf("an answer is longer than %d bytes", maxReply)
		}
		if err := l.more(); err != nil {
			return r, nil, err
		}
	}
}

func (l *link) more() error {
	buf := make([]byte, 4<<10)
	var n int
	var failed error
	err := l.raw.Read(func(fd uintptr) bool {
		var fds []int
		n, fds, failed = receive(int(fd), buf)
		l.fds = append(l.fds, fds...)
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err := l.reason(errors.Join(failed, err)); err != nil {
		return err
	}
	if n == 0 {
		return io.EOF
	}
	l.in = append(l.in, buf[:n]...)
	return nil
}

// reason puts the context's end in the place of what it caused.
func (l *link) reason(err error) error {
	if err != nil && l.ctx.Err() != nil {
		return l.ctx.Err()
	}
	return err
}

func (l *link) close() {
	l.stop()
	l.f.Close()
	closeAll(l.fds)
	l.fds = nil
}

// ask is say and hear; an answer that is an error is one.
func (l *link) ask(r request, fds ...int) (reply, []int, error) {
	if err := l.say(r, fds...); err != nil {
		return reply{}, nil, err
	}
	got, with, err := l.hear()
	if err == nil && got.Error != "" {
		closeAll(with)
		return got, nil, &RefusedError{Text: got.Error, Code: got.Code}
	}
	return got, with, err
}

// RefusedError is what a keeper answered instead of doing what it was asked.
type RefusedError struct {
	Text string
	Code int // of an exec that could not start: 126 or 127 as a shell says it; else 0
}

func (e *RefusedError) Error() string { return e.Text }
