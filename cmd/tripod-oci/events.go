package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/cgroup"
	"tripod/internal/container"
)

const eventsHelp = `Usage: tripod-oci events [OPTIONS] ID

Prints what a container uses, a line of JSON each time, and a line whenever it ran out of memory, until it ends.

Options:
      --interval TIME  between two (default 5s)
      --stats          print what it uses once, and end

Examples:
  tripod-oci events --stats web | jq .data.memory.usage
  tripod-oci events --interval 1s web
`

// event is a line of runc's events command.
type event struct {
	Type string        `json:"type"`
	ID   string        `json:"id"`
	Data *cgroup.Stats `json:"data,omitempty"`
}

func events(g *globals, args []string) (int, error) {
	interval, once := "5s", false
	operands, err := words(eventsHelp, []option{text(&interval, 0, "interval"), flag(&once, 0, "stats")}, args, 1, 1)
	if err != nil {
		return 0, err
	}
	every, err := time.ParseDuration(interval)
	if err != nil || every <= 0 {
		return 0, fmt.Errorf("--interval: %q is no time such as 5s", interval)
	}
	c, r, d, err := g.load(operands[0])
	if err != nil {
		return 0, err
	}
	switch status := d.Status(&r); {
	case status == specs.StateStopped || c.PidFD == nil:
		return 0, wrongState("watch", d.ID, status)
	case c.Group == nil:
		return 0, fmt.Errorf("cannot watch container %s: it has no cgroup of its own", d.ID)
	}
	out := json.NewEncoder(os.Stdout)
	if once {
		return 0, tell(out, c)
	}
	return 0, watch(out, c, every)
}

// tell prints what a container uses.
func tell(out *json.Encoder, c *container.Container) error {
	stats, err := c.Group.Stats()
	if err != nil {
		return err
	}
	return out.Encode(event{Type: "stats", ID: c.ID, Data: &stats})
}

// watch prints events until the container ends.
func watch(out *json.Encoder, c *container.Container, every time.Duration) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	oom, err := c.Group.OOM(ctx)
	if err != nil && !errors.Is(err, cgroup.ErrNoController) {
		return err
	}
	ended := make(chan struct{})
	go func() {
		poll := []unix.PollFd{{Fd: int32(c.PidFD.Fd()), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(poll, -1); !errors.Is(err, unix.EINTR) {
				close(ended)
				return
			}
		}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return nil
		case _, ok := <-oom:
			if !ok {
				oom = nil
				continue
			}
			err = out.Encode(event{Type: "oom", ID: c.ID})
		case <-tick.C:
			err = tell(out, c)
		}
		if err != nil {
			return err
		}
	}
}
