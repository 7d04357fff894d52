package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"
)

// notify tells systemd how the daemon is (sd_notify(3)); without one that asked, nobody.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		slog.Debug("cannot tell systemd", "error", err)
		return
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		slog.Debug("cannot tell systemd", "error", err)
	}
}

// watchdog says that the daemon lives, twice as often as systemd wants to hear it, as long as it does.
func watchdog(ctx context.Context, lives func() error) {
	every, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); err != nil || every <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return
	}
	tick := time.NewTicker(time.Duration(every) * time.Microsecond / 2)
	defer tick.Stop()
	for {
		if err := lives(); err != nil {
			slog.Error("the daemon does not answer itself", "error", err)
		} else {
			notify("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
