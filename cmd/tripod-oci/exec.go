package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripod/internal/container"
)

const execHelp = `Usage: tripod-oci exec [OPTIONS] ID COMMAND [ARG...]
       tripod-oci exec [OPTIONS] --process FILE ID

Runs a further process in a container: as the container's own, with these changes.

Options:
  -d, --detach              return when the process runs
  -t, --tty                 give it a terminal
  -e, --env NAME=VALUE      add to its environment; may be given several times
  -u, --user UID[:GID]
  -g, --additional-gids GID may be given several times
      --cwd DIR
  -c, --cap CAP_NAME        give it one more capability; may be given several times
      --no-new-privs
      --apparmor PROFILE
      --process-label LABEL of SELinux
  -p, --process FILE        all of the process, as in config.json
      --cgroup PATH         in a cgroup below the container's, which is there
      --pid-file FILE       write the process's PID there
      --console-socket PATH send the terminal's master to this socket
      --preserve-fds N      hand N descriptors from 3 on to the process
      --ignore-paused       wait for a paused container to go on, instead of failing

Examples:
  tripod-oci exec web cat /etc/hostname
  tripod-oci exec -t -e TERM=xterm web sh
  tripod-oci exec -d --pid-file /run/top.pid web top -b
`

type execOptions struct {
	detach, tty, noNewPrivs, ignorePaused bool
	env, gids, caps                       []string
	user, cwd, apparmor, label, process   string
	cgroup, pidFile, console              string
	preserve                              int
}

func exec(g *globals, args []string) (int, error) {
	var o execOptions
	operands, err := words(execHelp, []option{
		flag(&o.detach, 'd', "detach"), flag(&o.tty, 't', "tty"), texts(&o.env, 'e', "env"), text(&o.user, 'u', "user"),
		texts(&o.gids, 'g', "additional-gids"), text(&o.cwd, 0, "cwd"), texts(&o.caps, 'c', "cap"),
		flag(&o.noNewPrivs, 0, "no-new-privs"), text(&o.apparmor, 0, "apparmor"), text(&o.label, 0, "process-label"),
		text(&o.process, 'p', "process"), text(&o.cgroup, 0, "cgroup"), text(&o.pidFile, 0, "pid-file"),
		text(&o.console, 0, "console-socket"), number(&o.preserve, 0, "preserve-fds"), flag(&o.ignorePaused, 0, "ignore-paused"),
	}, args, 1, -1)
	if err != nil {
		return 0, err
	}
	extra, err := preserved(o.preserve)
	if err != nil {
		return 0, err
	}
	c, r, d, err := g.load(operands[0])
	if err != nil {
		return 0, err
	}
	switch status := d.Status(&r); {
	case status == container.StatePaused && !o.ignorePaused:
		return 0, fmt.Errorf("cannot exec in container %s: it is paused; resume it, or use --ignore-paused", d.ID)
	case status == specs.StateStopped || status == specs.StateCreating || c.PidFD == nil:
		return 0, wrongState("exec in", d.ID, status)
	}
	spec, err := c.Brief()
	if err != nil {
		return 0, err
	}
	proc, err := o.processOf(spec.Process, operands[1:])
	if err != nil {
		return 0, err
	}
	cfg := container.ExecConfig{Process: proc, Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, Cgroup: strings.Trim(o.cgroup, "/")}
	cfg.OwnStdio, cfg.Extra = pipes(cfg.Stdio), extra
	return g.execute(c, cfg, &o)
}

// execute runs the process, and stays with it unless told otherwise.
func (g *globals) execute(c *container.Container, cfg container.ExecConfig, o *execOptions) (_ int, err error) {
	var signals *forwarder
	if !o.detach {
		if signals, err = catch(); err != nil {
			return 0, err
		}
		ownSize(cfg.Process)
	}
	p, err := c.Exec(cfg)
	if err != nil {
		return 0, fmt.Errorf("cannot exec in container %s: %w", c.ID, err)
	}
	var tty *session
	if o.console != "" {
		err = sendConsole(o.console, p.Console)
	} else if p.Console != nil {
		tty, err = attend(p.Console)
	}
	if err == nil {
		err = writePID(o.pidFile, p.Pid)
	}
	if err != nil {
		_ = p.Signal(unix.SIGKILL)
		_, werr := p.Wait()
		return 0, errors.Join(fmt.Errorf("cannot exec in container %s: %w", c.ID, err), werr)
	}
	if o.detach {
		return 0, nil
	}
	exit, err := signals.attend(p, tty)
	tty.end()
	return exit.Code, err
}

// processOf is the process that the words ask for, made from the container's own or from a file.
func (o *execOptions) processOf(own *specs.Process, args []string) (*specs.Process, error) {
	var proc specs.Process
	if o.process != "" {
		if len(args) > 0 {
			return nil, errors.New("--process: it names the command already")
		}
		if err := readJSON(o.process, &proc); err != nil {
			return nil, fmt.Errorf("--process: %w", err)
		}
	} else {
		if len(args) == 0 {
			return nil, errors.New("no command to execute; see: tripod-oci help exec")
		}
		if own != nil {
			proc = *own
		}
		proc.Args, proc.Terminal, proc.ConsoleSize = args, false, nil
	}
	proc.Terminal = proc.Terminal || o.tty
	switch {
	case proc.Terminal && o.detach && o.console == "":
		return nil, errors.New("--tty: a process that is left alone needs --console-socket for its terminal")
	case !proc.Terminal && o.console != "":
		return nil, errors.New("--console-socket: the process has no terminal; use --tty")
	}
	proc.Env = append(proc.Env[:len(proc.Env):len(proc.Env)], o.env...)
	if o.cwd != "" {
		proc.Cwd = o.cwd
	}
	if o.apparmor != "" {
		proc.ApparmorProfile = o.apparmor
	}
	if o.label != "" {
		proc.SelinuxLabel = o.label
	}
	proc.NoNewPrivileges = proc.NoNewPrivileges || o.noNewPrivs
	if err := o.identity(&proc); err != nil {
		return nil, err
	}
	return &proc, o.capabilities(&proc)
}

func (o *execOptions) identity(proc *specs.Process) error {
	if o.user != "" {
		uid, gid, both := strings.Cut(o.user, ":")
		n, err := userID(uid)
		if err != nil {
			return fmt.Errorf("--user: %w", err)
		}
		proc.User = specs.User{UID: n}
		if both {
			if proc.User.GID, err = userID(gid); err != nil {
				return fmt.Errorf("--user: %w", err)
			}
		}
	}
	gids := proc.User.AdditionalGids
	for _, word := range o.gids {
		n, err := userID(word)
		if err != nil {
			return fmt.Errorf("--additional-gids: %w", err)
		}
		gids = append(gids[:len(gids):len(gids)], n)
	}
	proc.User.AdditionalGids = gids
	return nil
}

// userID reads a numeric id. Names are the caller's to look up: the container's /etc/passwd is the container's word. All
// ones stand for no id (setuid(2)).
func userID(word string) (uint32, error) {
	n, err := strconv.ParseUint(word, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, fmt.Errorf("%q is no numeric id", word)
	}
	return uint32(n), nil
}

// capabilities adds to the sets that a process has by itself. Not to the inheritable one, which would outlive an execve that
// takes the others away (CVE-2022-29162), and to the ambient one only what the kernel lets in: what is inheritable already.
func (o *execOptions) capabilities(proc *specs.Process) error {
	if len(o.caps) == 0 {
		return nil
	}
	var caps specs.LinuxCapabilities
	if proc.Capabilities != nil {
		caps = *proc.Capabilities
	}
	for _, set := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted} {
		*set = append((*set)[:len(*set):len(*set)], o.caps...)
	}
	for _, name := range o.caps {
		if slices.Contains(caps.Inheritable, name) {
			caps.Ambient = append(caps.Ambient[:len(caps.Ambient):len(caps.Ambient)], name)
		}
	}
	proc.Capabilities = &caps
	return nil
}

// readJSON reads a bounded file of JSON; "-" is our stdin.
func readJSON(path string, v any) error {
	in := os.Stdin
	if path != "-" {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, container.MaxConfig+1))
	if err != nil {
		return err
	}
	if len(data) > container.MaxConfig {
		return fmt.Errorf("%s: larger than %d bytes", path, container.MaxConfig)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
