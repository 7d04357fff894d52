package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"tripod/internal/life"
	"tripod/internal/record"
)

// ErrNoKeeper says that no keeper answers for a Pod: it has finished, died, or never was.
var ErrNoKeeper = errors.New("no keeper")

// Client asks a Pod's keeper. Each request has its own connection, so a Client may be used by several goroutines.
type Client struct {
	dir   string
	hello Hello
}

// Dial returns a Client for the keeper of the Pod whose folder is dir. An error that errors.Is ErrNoKeeper says that
// there is none; a keeper of another version is an error that names both programs.
func Dial(dir string) (*Client, error) {
	c := &Client{dir: dir}
	got, err := c.once(context.Background(), request{Op: opHello})
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return nil, fmt.Errorf("%w (the client is %s)", err, self())
	case err != nil:
		return nil, err
	case got.Hello == nil || got.Version < Version-1 || got.Version > Version+1:
		return nil, fmt.Errorf("cannot speak to the keeper in %s: it speaks version %d of the protocol, %s speaks %d",
			dir, got.Version, self(), Version)
	}
	c.hello = *got.Hello
	return c, nil
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// Hello is what the keeper said of itself when it was dialled.
func (c *Client) Hello() Hello { return c.hello }

func (c *Client) open(ctx context.Context) (*link, error) {
	l, err := open(ctx, c.dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("cannot reach the keeper in %s: %w", c.dir, ErrNoKeeper)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach the keeper in %s: %w", c.dir, err)
	}
	return l, nil
}

// once makes one request on a connection of its own. A keeper that went away during it is ErrNoKeeper.
func (c *Client) once(ctx context.Context, r request) (reply, error) {
	l, err := c.open(ctx)
	if err != nil {
		return reply{}, err
	}
	defer l.close()
	got, fds, err := l.ask(r)
	closeAll(fds)
	if err == nil && got.Done && r.Op != opStatus {
		err = io.EOF // it tells everybody that it leaves, instead of an answer
	}
	return got, c.left(err)
}

// left says ErrNoKeeper of a connection that the keeper's end has ended.
func (c *Client) left(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("the keeper in %s has left: %w", c.dir, ErrNoKeeper)
	}
	return err
}

// Apply gives the keeper its Pod's Life, or a new one. When Apply returns, the keeper has it on record and has begun.
func (c *Client) Apply(ctx context.Context, l life.Life) error {
	_, err := c.once(ctx, request{Op: opLife, Life: &l})
	return err
}

// Status is how the Pod is now.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	got, err := c.once(ctx, request{Op: opStatus})
	if err == nil && got.Status == nil {
		err = errors.New("the keeper told no status")
	}
	return got.Status, err
}

// Watch calls f with the Pod's status now and after each change, on the caller's goroutine; changes that come faster
// than f returns are told together. It returns nil when the Pod is finished (f was told) and its keeper has cleaned up,
// f's error when f returns one, ctx's when it ends, and ErrNoKeeper when the keeper died.
func (c *Client) Watch(ctx context.Context, f func(*Status) error) error {
	return c.follow(ctx, request{Op: opWatch}, f)
}

func (c *Client) follow(ctx context.Context, r request, f func(*Status) error) error {
	l, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	got, fds, err := l.ask(r)
	for err == nil {
		closeAll(fds)
		if got.Status != nil {
			if err := f(got.Status); err != nil {
				return err
			}
		}
		if got.Done {
			return nil
		}
		got, fds, err = l.hear()
	}
	return c.left(err)
}

// Stop stops the Pod and returns when it is finished and its keeper has cleaned up: each container has its stop signal,
// then SIGKILL after grace. A negative grace is the Life's own.
func (c *Client) Stop(ctx context.Context, grace time.Duration) error {
	r := request{Op: opStop}
	if grace >= 0 {
		seconds := grace.Seconds()
		r.Grace = &seconds
	}
	return c.follow(ctx, r, func(*Status) error { return nil })
}

// StopContainer stops one container and returns when it was told; its restart policy holds as for any other exit. A
// negative grace is the Life's own.
func (c *Client) StopContainer(ctx context.Context, container string, grace time.Duration) error {
	r := request{Op: opStop, Container: container}
	if grace >= 0 {
		seconds := grace.Seconds()
		r.Grace = &seconds
	}
	_, err := c.once(ctx, r)
	return err
}

// Kill kills all processes of a container with SIGKILL. Its restart policy holds as for any other exit.
func (c *Client) Kill(ctx context.Context, container string) error {
	_, err := c.once(ctx, request{Op: opKill, Container: container})
	return err
}

// Signal sends a signal to the first process of a container.
func (c *Client) Signal(ctx context.Context, container string, n int) error {
	_, err := c.once(ctx, request{Op: opSignal, Container: container, Signal: n})
	return err
}

// Resize tells a container's terminal its size.
func (c *Client) Resize(ctx context.Context, container string, s Size) error {
	_, err := c.once(ctx, request{Op: opResize, Container: container, Width: s.Width, Height: s.Height})
	return err
}

// Reopen has all log files opened anew, after somebody renamed them.
func (c *Client) Reopen(ctx context.Context) error {
	_, err := c.once(ctx, request{Op: opReopen})
	return err
}

// Quit ends a keeper whose Pod runs nothing, with or without a Life, and returns when it has cleaned up.
func (c *Client) Quit(ctx context.Context) error {
	return c.follow(ctx, request{Op: opQuit}, func(*Status) error { return nil })
}

// Owner is the claim that a Pod has an owner who is there. If it ends in any other way than by Release, the keeper does
// what the Life's OnOrphan says.
type Owner struct{ l *link }

// Own claims the Pod. The claim ends with the process.
func (c *Client) Own() (*Owner, error) {
	l, err := c.open(context.Background())
	if err != nil {
		return nil, err
	}
	if _, _, err := l.ask(request{Op: opOwn}); err != nil {
		l.close()
		return nil, c.left(err)
	}
	return &Owner{l}, nil
}

// Release gives the claim back: the Pod goes on without an owner.
func (o *Owner) Release() error {
	defer o.l.close()
	_, _, err := o.l.ask(request{Op: opDisown})
	if errors.Is(err, io.EOF) {
		return nil // the Pod has ended
	}
	return err
}

// Read returns what the keeper of the Pod in dir recorded last, whether it lives or not. errors.Is fs.ErrNotExist: there
// never was one.
func Read(dir string) (*Status, error) {
	var s Status
	if err := record.Get(filepath.Join(dir, statusFile), &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// ReadLife returns the Life that was applied last to the Pod in dir. errors.Is fs.ErrNotExist: there was none.
func ReadLife(dir string) (*life.Life, error) {
	var l life.Life
	if err := record.Get(filepath.Join(dir, lifeFile), &l); err != nil {
		return nil, err
	}
	return &l, nil
}

// Seed records how an earlier life of the Pod in dir left its containers, for a keeper that is to be spawned: it goes on
// where these records end.
func Seed(dir, uid string, records []life.Record) error {
	if len(records) == 0 {
		return nil
	}
	s := &Status{Version: Version, BootID: bootID(), UID: uid, Phase: life.PhasePending, Containers: records}
	return record.PutFast(filepath.Join(dir, statusFile), s)
}

// WriteSandbox records what the keeper of the Pod in dir is to hold, for Spawn.
func WriteSandbox(dir string, s *Sandbox) error {
	if err := s.check(dir); err != nil {
		return fmt.Errorf("cannot record sandbox of Pod %s: %w", s.UID, err)
	}
	return record.PutFast(filepath.Join(dir, sandboxFile), s)
}
