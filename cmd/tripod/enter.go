package main

import (
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tripod/internal/image"
	"tripod/internal/nsenter"
	"tripod/internal/owner"
	"tripod/internal/sandbox"
)

// enterFlags are the words of enter.
type enterFlags struct {
	execFlags
	tools  string
	noTTY  bool
	spaces [len(spaceFlags)]bool
}

// spaceFlags are the namespaces that can be asked for one by one, by nsenter's words. -u and -n are the user and the namespace of the
// Pod here, as they are of exec.
var spaceFlags = [...]struct{ name, short, what string }{
	{"mount", "m", "mount"},
	{"pid", "p", "PID"},
	{"ipc", "i", "IPC"},
	{"uts", "", "UTS"},
	{"net", "", "network"},
	{"cgroup", "C", "cgroup"},
	{"user-namespace", "U", "user"},
	{"time", "", "time"},
}

// spaceWords are the options of nsenter that join what was asked for: all, where nothing was.
func (f enterFlags) spaceWords() []string {
	var words []string
	for i, on := range f.spaces {
		if on {
			words = append(words, "--"+strings.TrimSuffix(spaceFlags[i].name, "-namespace"))
		}
	}
	if words == nil {
		return []string{"--all"}
	}
	return words
}

// some says that not all namespaces are joined, and mount whether the mount namespace is.
func (f enterFlags) some() bool  { return f.spaces != [len(spaceFlags)]bool{} }
func (f enterFlags) mount() bool { return f.spaces[0] || !f.some() }

// What --tools means beside an image.
const (
	anyTools  = "any"  // the host's busybox if it is static, else what host has
	hostTools = "host" // the host's programs and libraries
)

func newEnter(a *app) *cobra.Command {
	var f enterFlags
	cmd := &cobra.Command{
		Use:   "enter POD [-c CONTAINER] [-- COMMAND [ARG...]]",
		Short: "Enter a container with a shell, and with tools if it has none",
		Long: `Run a shell or a command in a running container, of a Pod or of another runtime
(docker://NAME, podman://NAME, cri://ID, unit://NAME.service, ip://ADDRESS, PID): in all of its
namespaces, in its cgroup, with its user, capabilities, limits and variables. With -m, -p, -i, -C, -U,
--uts, --net or --time only these namespaces are joined, and the others stay the host's.

Where the image has no shell, tools come along: those of --tools, else the host's. They are laid
over the container's root in a mount namespace of the command's own: nothing is written to the image,
the container does not see them, and they are gone with the command. --tools alone takes the host's
static busybox, or what --tools=host has: the host's programs and libraries. --tools=IMAGE takes an
image's. What is edited of the container's own files there is edited in the container.`,
		Example: `  tripod enter web
  tripod enter web -c nginx -- ps ax
  tripod enter web -c nginx --net -- ss -ltn
  tripod enter distroless --tools=busybox
  tripod enter docker://db --tools=host -- strace -p 1`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := a.behindPod(cmd, args)
			if err != nil {
				return err
			}
			return a.enter(cmd, args[0], args[1:], f)
		},
	}
	a.namespaceFlag(cmd, &f.namespace)
	flags := cmd.Flags()
	flags.SetInterspersed(a.completing())
	flags.StringVarP(&f.container, "container", "c", "", "this container")
	flags.StringVar(&f.tools, "tools", "", "bring tools along: host, or an image's")
	flags.Lookup("tools").NoOptDefVal = anyTools
	flags.BoolVarP(&f.noTTY, "no-tty", "T", false, "no terminal, though ours is one")
	flags.StringVarP(&f.user, "user", "u", "", "as this user: UID[:GID] or NAME[:GROUP]")
	flags.StringVarP(&f.cwd, "cwd", "w", "", "in this folder")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "with a variable: NAME=VALUE, or NAME to pass ours on")
	for i, space := range spaceFlags {
		flags.BoolVarP(&f.spaces[i], space.name, space.short, false, "join the "+space.what+" namespace, and others only where they are named")
	}
	_ = cmd.RegisterFlagCompletionFunc("container", a.completeContainers)
	return cmd
}

// entrance is what is entered.
type entrance struct {
	target owner.Target
	box    *sandbox.Sandbox // of a Pod of ours
	name   string           // of its container
	env    []string
	user   *specs.User // who its program is, if that is known better than by looking at it
	cwd    string
}

func (a *app) enter(cmd *cobra.Command, word string, args []string, f enterFlags) error {
	in, err := a.entrance(word, f)
	if err != nil {
		return err
	}
	f.stdin, f.tty = true, !f.noTTY && isTerminal(a.in) && isTerminal(a.out)
	switch {
	case !f.mount() && f.tools != "":
		return misuse("add -m", "cannot bring tools along: they are laid over the files of the mount namespace, which is not joined")
	case !f.mount() && len(args) == 0:
		args = []string{"sh"} // the host's
	case len(args) == 0 && f.tools == "":
		shell, err := nsenter.Shell(in.target, in.env)
		if err != nil {
			return fmt.Errorf("cannot enter %s: %w", word, err)
		}
		if args = []string{shell}; shell == "" {
			f.tools = anyTools
			if err := a.say("%s has no shell: this one is the host's (--tools=IMAGE for another)", word); err != nil {
				return err
			}
		}
	}
	if f.tools == "" && in.box != nil && !f.some() {
		// The container's keeper does it, with the seccomp filter too.
		f.container = in.name
		return a.exec(cmd, in.box.String(), args, f.execFlags)
	}
	tools, err := a.tools(cmd.Context(), f.tools)
	if err != nil {
		return err
	}
	if tools != "" && (len(args) == 0 || args[0] == "") {
		args = []string{"sh"}
		if f.tools != anyTools || tools == "/" {
			args = []string{"/bin/sh", "-c", "command -v bash >/dev/null && exec bash || exec sh"}
		}
	}
	return a.nsenter(in, tools, args, f)
}

// entrance finds what a word means: a Pod of ours first, then whatever runs on this host.
func (a *app) entrance(word string, f enterFlags) (*entrance, error) {
	box, err := a.host().Find(f.namespace, word)
	if err != nil {
		var missing *sandbox.NotFoundError
		if !errors.As(err, &missing) {
			return nil, err
		}
		return a.stranger(word, f, err)
	}
	c, err := a.container(box, f.container)
	if err != nil {
		return nil, err
	}
	p, err := box.Init(c.Name)
	if err != nil {
		return nil, err
	}
	host := owner.Host{RunRoot: a.runRoot}
	in := &entrance{box: box, name: c.Name}
	if in.target, err = host.Pin(p.Pid, p.Start); err != nil {
		return nil, fmt.Errorf("cannot enter container %s of Pod %s: %w", c.Name, box, err)
	}
	spec, err := box.Spec(c.Name)
	if err != nil {
		return nil, err
	}
	in.env, in.user, in.cwd = spec.Process.Env, &spec.Process.User, spec.Process.Cwd
	if f.user != "" {
		in.user, err = box.User(c.Name, f.user)
	}
	return in, err
}

// stranger is a container of another runtime, or any process. If there is none either, the error is that of the Pod.
func (a *app) stranger(word string, f enterFlags, missing error) (*entrance, error) {
	host := owner.Host{RunRoot: a.runRoot}
	name := word
	if f.container != "" {
		name += "/" + f.container
	}
	t, err := host.Find(name)
	if errors.Is(err, owner.ErrNotFound) && !strings.Contains(word, "://") {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	in := &entrance{target: t}
	if in.env, err = nsenter.Environ(t); err != nil {
		return nil, fmt.Errorf("cannot enter %s: %w", owner.Sanitise(word), err)
	}
	if f.user != "" {
		uid, gid, _ := strings.Cut(f.user, ":")
		u, uerr := strconv.ParseUint(uid, 10, 32)
		g, gerr := strconv.ParseUint(cmp.Or(gid, uid), 10, 32)
		if uerr != nil || gerr != nil {
			return nil, misuse("write UID:GID", "cannot enter %s as %s: a name is looked up in Pods of tripod alone", word, f.user)
		}
		in.user = &specs.User{UID: uint32(u), GID: uint32(g)}
	}
	return in, nil
}

// tools is what nsenter is told of --tools.
func (a *app) tools(ctx context.Context, word string) (string, error) {
	switch word {
	case "":
		return "", nil
	case anyTools:
		if box, err := exec.LookPath("busybox"); err == nil && static(box) {
			return box, nil
		}
		return "/", nil
	case hostTools:
		return "/", nil
	}
	store, err := image.Open(real(a.root))
	if err != nil {
		return "", err
	}
	img, err := store.Ensure(ctx, word, image.IfNotPresent, image.PullOptions{})
	if err != nil {
		return "", err
	}
	dirs, _, err := store.Lower(img)
	if err != nil {
		return "", err
	}
	if word == "host:/" {
		return "/", nil
	}
	if slices.ContainsFunc(dirs, func(d string) bool { return strings.Contains(d, ":") }) {
		return "", fmt.Errorf("cannot use image %s as tools: there is a colon in the name of the folder that it is kept in, %s", word, a.root)
	}
	return strings.Join(dirs, ":"), nil
}

// static says that a program needs no loader and no library.
func static(file string) bool {
	f, err := elf.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// nsenter executes tripod-oci as nsenter, in the place of this program.
func (a *app) nsenter(in *entrance, tools string, args []string, f enterFlags) error {
	program := beside("tripod-oci")
	words := nsenterWords(in, tools, args, f)
	env := in.env
	for _, v := range passOn(f.env, os.Environ()) {
		env = setenv(env, v)
	}
	if term := os.Getenv("TERM"); f.tty && term != "" && !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "TERM=") }) {
		env = append(env, "TERM="+term)
	}
	return fmt.Errorf("cannot run %s: %w", program, unix.Exec(program, words, env))
}

// nsenterWords is the command line of nsenter that enters.
func nsenterWords(in *entrance, tools string, args []string, f enterFlags) []string {
	t := in.target
	pid := strconv.Itoa(t.PID)
	if t.Inode != 0 {
		pid += ":" + strconv.FormatUint(t.Inode, 10)
	}
	words := []string{"nsenter", "--target=" + pid, "--start-time=" + strconv.FormatUint(t.Start, 10)}
	words = append(words, f.spaceWords()...)
	words = append(words, "--join-cgroup", "--like-container", "--forward-signals", "--kill-child")
	if in.user != nil {
		words = append(words, fmt.Sprint("--setuid=", in.user.UID), fmt.Sprint("--setgid=", in.user.GID))
	}
	switch {
	case f.cwd != "":
		words = append(words, "--wdns="+f.cwd)
	case !f.mount(): // the host's folder, where we are
	case in.cwd != "":
		words = append(words, "--wdns="+in.cwd)
	default:
		words = append(words, "--wdns")
	}
	if f.tty {
		words = append(words, "--pty")
	}
	if tools != "" {
		words = append(words, "--tools="+tools)
	}
	return append(append(words, "--"), args...)
}

// setenv is an environment with one variable set.
func setenv(env []string, v string) []string {
	name, _, _ := strings.Cut(v, "=")
	out := slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, name+"=") })
	return append(out, v)
}
