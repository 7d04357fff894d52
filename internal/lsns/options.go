package lsns

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tripod/internal/getopt"
	"tripod/internal/ns"
	"tripod/internal/owner"
)

// tree says by what relation lines are children of others.
type tree uint8

const (
	byProcess tree = iota // the process that stands in a line has the parent that stands in another
	byParent
	byOwner
	flat
)

// options are the command line.
type options struct {
	json, raw, noHeadings, noTruncate, noWrap bool
	persistent, threads, strict, pods         bool
	tree                                      tree
	columns                                   []column
	types                                     [ns.NumTypes]bool
	task                                      int
	filter                                    *filter
	operand                                   string // a namespace's number, or a Pod
	watch                                     time.Duration
	info                                      func(*Command) error // prints something else

	namespace uint64       // the one whose processes are to be shown
	targets   map[int]bool // show only namespaces that these processes are in; nil is all
}

// words are the options of the command line. Where a beginning means several, they are named in this order.
var words = []getopt.Option{
	{Short: 'J', Long: "json"},
	{Short: 'l', Long: "list"},
	{Short: 'u', Long: "notruncate"},
	{Short: 'n', Long: "noheadings"},
	{Short: 'o', Long: "output", Takes: getopt.Value},
	{Long: "output-all"},
	{Short: 'P', Long: "persistent"},
	{Short: 'p', Long: "task", Takes: getopt.Value},
	{Short: 'Q', Long: "filter", Takes: getopt.Value},
	{Short: 'r', Long: "raw"},
	{Short: 'W', Long: "nowrap"},
	{Short: 't', Long: "type", Takes: getopt.Value},
	{Short: 'T', Long: "tree", Takes: getopt.Perhaps},
	{Short: 'H', Long: "list-columns"},
	{Long: "pods"},
	{Long: "threads"},
	{Long: "strict"},
	{Long: "watch", Takes: getopt.Perhaps},
	{Short: 'h', Long: "help"},
	{Short: 'V', Long: "version"},
}

// exclusive are options that say opposite things, first the one that an error names first.
var exclusive = [][2]string{{"json", "raw"}, {"list", "tree"}, {"persistent", "task"}}

// parse reads the command line.
func parse(args []string) (options, error) {
	var o options
	found, operands, err := getopt.Parse(words, args, false)
	given := map[string]bool{}
	var output string
	for _, f := range found {
		given[f.Long] = true
		for _, pair := range exclusive {
			if given[pair[0]] && given[pair[1]] {
				return o, fmt.Errorf("mutually exclusive arguments: --%s --%s", pair[0], pair[1])
			}
		}
		if f.Long == "output" {
			output = f.Value
		} else if err := o.set(f); err != nil {
			return o, err
		}
		if o.info != nil && f.Long != "list-columns" {
			return o, nil
		}
	}
	if err != nil {
		return o, usageError{err}
	}
	if o.info != nil {
		return o, nil
	}
	if len(operands) > 0 {
		if err := o.setOperand(operands[0]); err != nil {
			return o, err
		}
	}
	// All columns are a list, as of old, where nothing is said of trees.
	if given["output-all"] && !given["tree"] && o.operand == "" {
		o.tree = flat
	}
	if o.columns, err = chooseColumns(&o, given["output"], output, given["output-all"]); err != nil {
		return o, err
	}
	return o, nil
}

// setOperand takes what is neither an option nor a value of one.
func (o *options) setOperand(word string) error {
	if o.task != 0 {
		return errors.New("--task is mutually exclusive with <namespace>")
	}
	if word == "" {
		return errors.New("invalid namespace argument: ''")
	}
	o.operand = word
	if id, err := strconv.ParseUint(word, 10, 64); err == nil {
		o.namespace = id
	}
	return nil
}

// set takes one option.
func (o *options) set(f getopt.Found) (err error) {
	switch f.Long {
	case "json":
		o.json = true
	case "list":
		o.tree = flat
	case "noheadings":
		o.noHeadings = true
	case "persistent":
		o.persistent = true
	case "task":
		if o.task, err = strconv.Atoi(f.Value); err != nil {
			return fmt.Errorf("invalid PID argument: '%s'", f.Value)
		}
	case "filter":
		if o.filter, err = parseFilter(f.Value); err != nil {
			return fmt.Errorf("cannot use filter: %w", err)
		}
	case "raw":
		o.raw, o.noWrap = true, true
	case "notruncate":
		o.noTruncate = true
	case "nowrap":
		o.noWrap = true
	case "type":
		t, ok := ns.ParseType(f.Value)
		if !ok {
			return fmt.Errorf("unknown namespace type: %s", f.Value)
		}
		o.types[t] = true
	case "tree":
		return o.setTree(f)
	case "pods":
		o.pods = true
	case "threads":
		o.threads = true
	case "strict":
		o.strict = true
	case "watch":
		return o.setWatch(f)
	case "list-columns":
		o.info = func(c *Command) error { return listColumns(c, o.json, o.raw) }
	case "help":
		o.info = printHelp
	case "version":
		o.info = printVersion
	}
	return nil
}

func (o *options) setTree(f getopt.Found) error {
	switch word := strings.TrimPrefix(f.Value, "="); {
	case !f.HasValue || word == "owner":
		o.tree = byOwner
	case word == "parent":
		o.tree = byParent
	case word == "process":
		o.tree = byProcess
	default:
		return fmt.Errorf("unknown tree type: %s", word)
	}
	return nil
}

// setWatch takes the seconds between two looks, 2 without a value.
func (o *options) setWatch(f getopt.Found) error {
	o.watch = 2 * time.Second
	if !f.HasValue {
		return nil
	}
	seconds, err := strconv.ParseFloat(f.Value, 64)
	if err != nil || !(seconds >= 0.1 && seconds <= 86400) {
		return fmt.Errorf("invalid interval: '%s' (seconds, from 0.1 to 86400)", f.Value)
	}
	o.watch = time.Duration(seconds * float64(time.Second))
	return nil
}

// shows says whether a column is shown or asked for by the filter.
func (o *options) shows(names ...string) bool {
	for _, name := range names {
		for _, c := range o.columns {
			if c.name == name {
				return true
			}
		}
		if o.filter.uses(name) {
			return true
		}
	}
	return false
}

// scan says what is to be looked at.
func (o *options) scan(proc string) ns.Options {
	return ns.Options{
		Proc: proc, Only: o.types, Threads: o.threads,
		Waiting:   o.persistent || o.shows("HOLDER"),
		Relations: o.tree == byOwner || o.tree == byParent || o.shows("PNS", "ONS"),
		NetNSID:   o.shows("NETNSID"),
		NSID:      o.shows("NSID"),
	}
}

// find turns the operand into what it means: a namespace by its number, or the processes of a Pod.
func (o *options) find(host *owner.Host, s *ns.Snapshot) error {
	switch {
	case o.operand == "":
		return nil
	case o.namespace != 0:
		if n := s.Find(o.namespace); n == nil || n.Ancestor {
			return fmt.Errorf("not found namespace: %s", o.operand)
		}
		return nil
	}
	targets, err := podTargets(host, o.operand)
	o.targets = targets
	return err
}
