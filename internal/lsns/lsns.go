// Package lsns is the command lsns: the namespaces of the host as a table, a tree, a list or JSON.
//
// It takes the command line of util-linux's lsns and prints, byte for byte, what that does, but for the differences that
// docs/lsns.md names; and it knows containers and Pods.
//
// Words: a view is what was asked for: lines of cells below columns, made of a Snapshot without a question to anybody but for
// what a column needs of a process. A form is how a view is printed. A line is a namespace or, where one namespace was asked for,
// a process in it.
package lsns

import (
	"errors"
	"fmt"
	"io"
	"time"

	"tripod/internal/ns"
	"tripod/internal/owner"
)

// Exit codes.
const (
	exitFailure = 1
	exitPartial = 3 // --strict, and something might not be read
)

// Command is where the command runs. The zero value is not right: Out and Err must be set.
type Command struct {
	Out, Err io.Writer
	Terminal Terminal
	UTF8     bool   // the locale's characters are UTF-8
	Version  string // what --version says
	Host     owner.Host
	Now      time.Duration // since boot, for AGE; 0 asks /proc/uptime

	// Wait waits until the time for the next look has come. It says whether there is to be one; nil is never.
	Wait func(time.Duration) bool
}

// Terminal is what Out leads to. The zero value is no terminal.
type Terminal struct {
	Is    bool
	Width int // columns
}

// Run does what the command line says and returns the exit code.
func (c *Command) Run(args []string) int {
	o, err := parse(args)
	if err == nil && o.info != nil {
		err = o.info(c)
		if err == nil {
			return 0
		}
	}
	if err == nil {
		err = c.run(&o)
	}
	var code exitError
	switch {
	case errors.As(err, &code):
		return int(code)
	case err != nil:
		fmt.Fprintf(c.Err, "lsns: %v\n", err)
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) {
			fmt.Fprintf(c.Err, "hint: %s\n", hinted.Hint())
		}
		var usage usageError
		if errors.As(err, &usage) {
			fmt.Fprintln(c.Err, "Try 'lsns --help' for more information.")
		}
		return exitFailure
	}
	return 0
}

// exitError ends the command with a code and without a word.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a command line that cannot be read.
type usageError struct{ error }

// run looks, and prints; again and again with --watch.
func (c *Command) run(o *options) error {
	for warned := false; ; {
		if o.watch > 0 && c.Terminal.Is {
			// Clear the screen and what has scrolled off it.
			io.WriteString(c.Out, "\x1b[H\x1b[2J\x1b[3J")
		}
		partial, unread, err := c.once(o)
		if err != nil {
			return err
		}
		if partial && !warned {
			fmt.Fprintf(c.Err, "lsns: warning: %s may not be read, so namespaces and counts are those that can be seen\n", unread)
			warned = true
		}
		if o.watch == 0 || c.Wait == nil || !c.Wait(o.watch) {
			if partial && o.strict {
				return exitError(exitPartial)
			}
			return nil
		}
	}
}

// once looks once. It says whether something could not be read, and of whom.
func (c *Command) once(o *options) (partial bool, unread string, err error) {
	snapshot, err := ns.Scan(o.scan(c.Host.Proc))
	if err != nil {
		return false, "", err
	}
	if err := o.find(&c.Host, snapshot); err != nil {
		return false, "", err
	}
	f := newFacts(snapshot, c)
	v := newView(o, f)
	v.partial = snapshot.Partial
	_, err = c.Out.Write(v.print(o.form(c)))
	return v.partial, unreadOf(snapshot), err
}

// unreadOf says which processes showed none of their namespaces; where all did, something else of some was hidden.
func unreadOf(s *ns.Snapshot) string {
	n, pid := 0, 0
	for _, p := range s.Processes {
		if p.PID == p.TGID && p.NS == [ns.NumTypes]uint64{} {
			n, pid = n+1, p.PID
		}
	}
	switch n {
	case 0:
		return "some processes"
	case 1:
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("%d processes", n)
}
