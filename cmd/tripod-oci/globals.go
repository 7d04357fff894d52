package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tripod/internal/container"
	"tripod/internal/getopt"
)

// globals are the options that stand before the command.
type globals struct {
	root     string
	cgroups  string // cgroupfs, systemd or disabled
	rootless string // true, false or auto
	logger
}

// defaultRoot is where the state of containers is kept: in memory, since no container outlives the host.
func defaultRoot() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && os.Geteuid() != 0 {
		return filepath.Join(dir, "tripod-oci")
	}
	return "/run/tripod-oci"
}

// parseGlobals reads the words before the command. On error what could be read is there, so that the error can be logged.
func parseGlobals(args []string) (*globals, []string, error) {
	g := &globals{root: defaultRoot(), cgroups: "cgroupfs", rootless: "auto"}
	var systemd, help, version bool
	var criu string
	options := []option{
		text(&g.root, 0, "root"),
		text(&g.file, 0, "log"),
		choice(&g.format, 0, "log-format", "text", "json"),
		flag(&g.verbose, 0, "debug"),
		flag(&systemd, 0, "systemd-cgroup"),
		choice(&g.cgroups, 0, "cgroup-manager", "cgroupfs", "systemd", "disabled"),
		choice(&g.rootless, 0, "rootless", "true", "false", "auto"),
		text(&criu, 0, "criu"),
		flag(&version, 'v', "version"),
		flag(&help, 'h', "help"),
	}
	rest, err := parse(options, args, true)
	if err != nil {
		return g, nil, fmt.Errorf("%w; see: tripod-oci help", err)
	}
	switch {
	case help:
		return g, []string{"help"}, nil
	case version:
		return g, []string{"version"}, nil
	case criu != "":
		return g, nil, errors.New("--criu: checkpoints are not supported")
	case systemd && g.cgroups == "disabled":
		return g, nil, errors.New("--systemd-cgroup and --cgroup-manager=disabled: choose one")
	case systemd:
		g.cgroups = "systemd"
	}
	if g.root, err = filepath.Abs(g.root); err != nil {
		return g, nil, fmt.Errorf("--root: %w", err)
	}
	return g, rest, nil
}

// option is an option of a command and what is done with it.
type option struct {
	getopt.Option
	set func(value string) error
}

// flag is an option without a value; --name=false takes it back, as runc has it.
func flag(to *bool, short byte, long string) option {
	return option{getopt.Option{Short: short, Long: long, Takes: getopt.Perhaps}, func(value string) error {
		switch value {
		case "", "true", "1":
			*to = true
		case "false", "0":
			*to = false
		default:
			return fmt.Errorf("%q is neither true nor false", value)
		}
		return nil
	}}
}

func text(to *string, short byte, long string) option {
	return option{getopt.Option{Short: short, Long: long, Takes: getopt.Value}, func(value string) error {
		*to = value
		return nil
	}}
}

// list is an option that may be given several times.
func texts(to *[]string, short byte, long string) option {
	return option{getopt.Option{Short: short, Long: long, Takes: getopt.Value}, func(value string) error {
		*to = append(*to, value)
		return nil
	}}
}

func choice(to *string, short byte, long string, words ...string) option {
	o := text(to, short, long)
	o.set = func(value string) error {
		for _, w := range words {
			if w == value {
				*to = value
				return nil
			}
		}
		return fmt.Errorf("%q is none of %v", value, words)
	}
	return o
}

// parse reads the words of a command and returns its operands. With inOrder the first operand ends the options.
func parse(options []option, args []string, inOrder bool) ([]string, error) {
	known := make([]getopt.Option, 0, 2*len(options))
	for _, o := range options {
		if o.Takes == getopt.Perhaps && o.Short != 0 {
			// A short flag has no value, so that -dt is -d -t.
			known = append(known, getopt.Option{Short: o.Short, Takes: getopt.Nothing})
			o.Short = 0
		}
		known = append(known, o.Option)
	}
	found, operands, err := getopt.Parse(known, args, inOrder)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		for _, o := range options {
			if f.Long != "" && o.Long != f.Long || f.Long == "" && o.Short != f.Short {
				continue
			}
			if err := o.set(f.Value); err != nil {
				return nil, fmt.Errorf("--%s: %w", o.Long, err)
			}
			break
		}
	}
	return operands, nil
}

// errHelped says that a command printed its help and has nothing else to do.
var errHelped = errors.New("help was asked for")

// words reads the words of a command that takes between least and most operands; most -1 is any number, after the first
// of which no option is read.
func words(help string, options []option, args []string, least, most int) ([]string, error) {
	var wanted bool
	operands, err := parse(append(options, flag(&wanted, 'h', "help")), args, most < 0)
	switch {
	case err == nil && wanted:
		fmt.Print(help)
		return nil, errHelped
	case err == nil && len(operands) < least:
		err = errors.New("too few arguments")
	case err == nil && most >= 0 && len(operands) > most:
		err = fmt.Errorf("too many arguments, from %q on", operands[most])
	}
	if err != nil {
		return nil, fmt.Errorf("%w; see: tripod-oci help %s", err, commandOf(help))
	}
	return operands, nil
}

// exitCode is what a command that failed ends with. Those that run programs tell as docker does how far they came.
func exitCode(verb string, err error) int {
	switch {
	case errors.Is(err, errHelped):
		return 0
	case verb == "run" || verb == "exec" || verb == "start":
		return container.ExitCode(err)
	}
	return 1
}

// commandOf is the command that a help is about: its third word.
func commandOf(help string) string {
	if w := strings.Fields(help); len(w) > 2 {
		return w[2]
	}
	return "COMMAND"
}
