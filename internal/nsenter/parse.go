package nsenter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/getopt"
	"tripod/internal/ns"
)

// theirs are the options of nsenter(1), in the order of its help.
func theirs() []getopt.Option {
	return []getopt.Option{
		{Short: 'a', Long: "all"},
		{Short: 't', Long: "target", Takes: getopt.Value},
		{Short: 'm', Long: "mount", Takes: getopt.Perhaps},
		{Short: 'u', Long: "uts", Takes: getopt.Perhaps},
		{Short: 'i', Long: "ipc", Takes: getopt.Perhaps},
		{Short: 'n', Long: "net", Takes: getopt.Perhaps},
		{Short: 'N', Long: "net-socket", Takes: getopt.Value},
		{Short: 'p', Long: "pid", Takes: getopt.Perhaps},
		{Short: 'C', Long: "cgroup", Takes: getopt.Perhaps},
		{Short: 'U', Long: "user", Takes: getopt.Perhaps},
		{Long: "user-parent"},
		{Short: 'T', Long: "time", Takes: getopt.Perhaps},
		{Short: 'S', Long: "setuid", Takes: getopt.Value},
		{Short: 'G', Long: "setgid", Takes: getopt.Value},
		{Long: "preserve-credentials"},
		{Long: "keep-caps"},
		{Short: 'r', Long: "root", Takes: getopt.Perhaps},
		{Short: 'w', Long: "wd", Takes: getopt.Perhaps},
		{Short: 'W', Long: "wdns", Takes: getopt.Perhaps},
		{Short: 'e', Long: "env"},
		{Short: 'F', Long: "no-fork"},
		{Short: 'c', Long: "join-cgroup"},
		{Short: 'Z', Long: "follow-context"},
		{Short: 'h', Long: "help"},
		{Short: 'V', Long: "version"},
	}
}

// ours are the options that nsenter(1) has not.
func ours() []getopt.Option {
	return []getopt.Option{
		{Long: "explain"},
		{Long: "like-container"},
		{Long: "pid-for-children"},
		{Long: "mount-proc"},
		{Long: "pty"},
		{Long: "forward-signals"},
		{Long: "kill-child", Takes: getopt.Perhaps},
		{Long: "tools", Takes: getopt.Value},
		{Long: "start-time", Takes: getopt.Value},
	}
}

// options are all that these arguments may hold. Ours are written in full: a beginning that nsenter(1) understands is
// not to become ambiguous.
func options(args []string) []getopt.Option {
	list := theirs()
	for _, o := range ours() {
		if slices.ContainsFunc(args, func(a string) bool { return a == "--"+o.Long || strings.HasPrefix(a, "--"+o.Long+"=") }) {
			list = append(list, o)
		}
	}
	return list
}

// UsageError is a mistake in the words of the command line, in getopt_long(3)'s words or nsenter(1)'s own.
type UsageError struct {
	Text string
	Try  bool // the line that points to --help comes after it
}

func (e *UsageError) Error() string { return e.Text }

func wrong(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...), false} }

// Parse reads the words behind nsenter's name. The error is a *UsageError.
//
// A first operand takes the place of -t when there is none and something wants one: nsenter POD[/CONTAINER], or a name
// with a scheme. Options may follow it. Without any, all namespaces are joined.
func Parse(args []string) (Options, error) {
	o := Options{Socket: -1}
	rest, err := o.read(args)
	if err != nil || o.Help || o.Version {
		return o, err
	}
	if name, ok := o.operand(rest); ok {
		more, err := o.read(rest[1:])
		if err == nil && o.Target != "" {
			err = wrong("cannot enter %s and %s: name one target", name, o.Target)
		}
		if err != nil {
			return o, err
		}
		rest = more
		o.Target, o.Operand = name, true
		o.All = o.All || o.asksNothing()
	}
	o.Args = rest
	return o, o.check()
}

// operand says whether the first word behind the options is the target: a name with a scheme or a slash in it that is
// no path, or any name when there would be nothing to do.
func (o Options) operand(rest []string) (string, bool) {
	if o.Target != "" || len(rest) == 0 || rest[0] == "" {
		return "", false
	}
	name := rest[0]
	return name, strings.Contains(name, "://") ||
		o.asksNothing() && !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, ".")
}

// read takes the options up to the first operand. Help and version are given as soon as they are met.
func (o *Options) read(args []string) (rest []string, err error) {
	found, rest, wrongs := getopt.Parse(options(args), args, true)
	for _, f := range found {
		if err := o.set(f); err != nil || o.Help || o.Version {
			return nil, err
		}
	}
	if wrongs != nil {
		return nil, &UsageError{wrongs.Error(), true}
	}
	return rest, nil
}

// spaceOf is the namespace of an option, by its long name.
func spaceOf(name string) (ns.Type, bool) {
	if name == "mount" {
		name = "mnt"
	}
	return ns.ParseType(name)
}

func (o *Options) set(w getopt.Found) (err error) {
	if t, ok := spaceOf(w.Long); ok {
		o.Spaces[t] = choice(w)
		return nil
	}
	switch w.Long {
	case "all":
		o.All = true
	case "target":
		if o.Target != "" {
			return wrong("option --target may be given only once")
		}
		if w.Value == "" {
			return wrong("failed to parse pid: ''")
		}
		o.Target = w.Value
	case "net-socket":
		n, err := strconv.ParseUint(w.Value, 10, 31)
		if err != nil {
			return wrong("failed to parse file descriptor: '%s'", w.Value)
		}
		o.Socket = int(n)
	case "user-parent":
		o.UserParent = true
	case "setuid":
		o.UID, err = parseID("uid", w.Value)
	case "setgid":
		o.GID, err = parseID("gid", w.Value)
	case "preserve-credentials":
		o.Preserve = true
	case "keep-caps":
		o.KeepCaps = true
	case "root":
		o.Root = choice(w)
	case "wd":
		o.Dir = choice(w)
	case "wdns":
		o.DirInside = choice(w)
	case "env":
		o.Env = true
	case "no-fork":
		o.NoFork = true
	case "join-cgroup":
		o.JoinCgroup = true
	case "follow-context":
		o.FollowLabel = true
	case "help":
		o.Help = true
	case "version":
		o.Version = true
	default:
		return o.setOurs(w)
	}
	return err
}

func (o *Options) setOurs(w getopt.Found) error {
	switch w.Long {
	case "explain":
		o.Explain = true
	case "like-container":
		o.LikeContainer = true
	case "pid-for-children":
		o.PIDForChildren = true
	case "mount-proc":
		o.MountProc = true
	case "pty":
		o.PTY = true
	case "forward-signals":
		o.ForwardSignals = true
	case "tools":
		o.Tools = w.Value
	case "start-time":
		n, err := strconv.ParseUint(w.Value, 10, 64)
		if err != nil || n == 0 {
			return wrong("cannot use --start-time %q: write field 22 of /proc/PID/stat", w.Value)
		}
		o.Start = n
	case "kill-child":
		o.KillChild = int(unix.SIGKILL)
		if w.HasValue {
			if o.KillChild = signalOf(w.Value); o.KillChild == 0 {
				return wrong("unknown signal: '%s'", w.Value)
			}
		}
	}
	return nil
}

// choice reads a value that may be missing. The short form may have = before it.
func choice(w getopt.Found) Choice {
	return Choice{Wanted: true, Given: w.HasValue, Path: strings.TrimPrefix(w.Value, "=")}
}

func parseID(kind, text string) (ID, error) {
	if text == "follow" {
		return ID{Set: true, Follow: true}, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 1<<32-1 {
		return ID{}, wrong("failed to parse %s: '%s'", kind, text)
	}
	return ID{Set: true, N: uint32(n)}, nil
}

// signalOf is the number of a signal: 15, TERM or SIGTERM; 0 if there is none.
func signalOf(text string) int {
	if n, err := strconv.Atoi(text); err == nil {
		if n > 0 && n <= 64 {
			return n
		}
		return 0
	}
	return int(unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(text), "SIG")))
}

// check refuses what makes no sense, before anything is looked at.
func (o Options) check() error {
	if o.Dir.Wanted && o.DirInside.Wanted {
		return wrong("mutually exclusive arguments: --wdns --wd")
	}
	if o.asksNothing() {
		return wrong("no namespace specified")
	}
	if o.Target != "" {
		return nil
	}
	for _, t := range [...]ns.Type{ns.User, ns.Cgroup, ns.IPC, ns.UTS, ns.Net, ns.PID, ns.Mnt, ns.Time} {
		if c := o.Spaces[t]; c.Wanted && !c.Given {
			return wrong("neither filename nor target pid supplied for ns/%s", t)
		}
	}
	for _, c := range []struct {
		name string
		Choice
	}{{"root", o.Root}, {"cwd", o.Dir}} {
		if c.Wanted && !c.Given {
			return wrong("neither filename nor target pid supplied for %s", c.name)
		}
	}
	for _, c := range []struct {
		name   string
		wanted bool
	}{
		{"--all", o.All},
		{"--net-socket", o.Socket >= 0},
		{"--env", o.Env},
		{"--join-cgroup", o.JoinCgroup},
		{"--follow-context", o.FollowLabel},
		{"--setuid follow", o.UID.Follow},
		{"--setgid follow", o.GID.Follow},
		{"--like-container", o.LikeContainer},
		{"--pid-for-children", o.PIDForChildren},
		{"--tools", o.Tools != ""},
	} {
		if c.wanted {
			return wrong("no target PID specified for %s", c.name)
		}
	}
	return nil
}
