package main

import (
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tripod/internal/lsns"
	"tripod/internal/owner"
)

// listNamespaces is lsns(8).
func listNamespaces(args []string) int {
	// It ends before a collection is worth the time.
	debug.SetGCPercent(800)
	c := lsns.Command{
		Out: os.Stdout, Err: os.Stderr, Version: version,
		UTF8: utf8Locale(os.Getenv), Terminal: terminalOf(os.Stdout, os.Getenv),
		Host: owner.Host{RunRoot: os.Getenv("TRIPOD_RUN_ROOT")},
		Wait: untilInterrupted,
	}
	return c.Run(args)
}

// utf8Locale says whether the locale's characters are UTF-8, by the first of the variables that is set (locale(7)).
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, ".utf-8") || strings.Contains(v, ".utf8")
		}
	}
	return false
}

// terminalOf tells how wide a terminal is: as the terminal says, else as COLUMNS does, else 80.
func terminalOf(f *os.File, getenv func(string) string) lsns.Terminal {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return lsns.Terminal{}
	}
	t := lsns.Terminal{Is: true, Width: 80}
	if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		t.Width = int(size.Col)
	} else if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 {
		t.Width = n
	}
	return t
}

// untilInterrupted waits for a time. It says whether that came before a signal to stop.
func untilInterrupted(d time.Duration) bool {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(stop)
	select {
	case <-time.After(d):
		return true
	case <-stop:
		return false
	}
}
