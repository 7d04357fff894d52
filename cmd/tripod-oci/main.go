// Command tripod-oci runs OCI bundles with the command line of runc, and is the keeper of a Pod's containers.
//
// It is small on purpose: it stays in memory beside every Pod, and it starts for every container.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// version and commit are set by the linker.
var (
	version = "0.1.0"
	commit  = "unknown"
)

// verb is one command. Its words are its own to read, after those of all commands.
type verb struct {
	name, about string
	run         func(g *globals, args []string) (int, error)
}

// verbs are what the first argument can be, in the order of a container's life.
func verbs() []verb {
	return []verb{
		{"create", "make a container of a bundle, and leave it before its program", create},
		{"start", "let a created container run its program", start},
		{"run", "create and start a container", run},
		{"state", "print what a container is doing", state},
		{"list", "list containers", list},
		{"ps", "list the processes of a container", ps},
		{"exec", "run a further process in a container", exec},
		{"kill", "send a signal to a container", kill},
		{"delete", "remove a container", remove},
		{"pause", "stop all processes of a container for a while", pause},
		{"resume", "let them go on", resume},
		{"update", "change the limits of a container", update},
		{"events", "print what a container uses, and that it ran out of memory", events},
		{"spec", "write a config.json to begin with", spec},
		{"explain", "print the system calls that make a container, or a shell script of them", explain},
		{"features", "print what this runtime can do, as JSON", printFeatures},
		{"keep", "be a Pod's keeper; tripod starts it", keep},
	}
}

const usage = `tripod-oci runs OCI bundles. Its command line is that of runc.

Usage: tripod-oci [OPTIONS] COMMAND ...

Commands:
%s  version    print the version
  help       print this, or the help of a command: tripod-oci help run

Options:
      --root DIR              state of containers (default %s)
      --log FILE              append messages to FILE too
      --log-format text|json  how they are written there (default text)
      --debug                 write more of them
      --cgroup-manager NAME   cgroupfs (default), systemd, or disabled: containers stay in the caller's cgroups
      --systemd-cgroup        the same as --cgroup-manager=systemd
      --rootless true|false|auto
                              do without a cgroup that may not be made, if nothing is to be limited (default auto:
                              when the user is not the host's root)
  -v, --version
  -h, --help

Exit codes of run, exec and start: the program's own; 125 when the container cannot be made, 126 when its program
cannot be executed, 127 when there is no such program. Of all others: 0, or 1.
`

func main() {
	if f := face(filepath.Base(os.Args[0])); f != nil {
		os.Exit(f(os.Args[1:]))
	}
	os.Exit(command(os.Args[1:]))
}

// command does what the words say and returns the exit code.
func command(args []string) int {
	g, args, err := parseGlobals(args)
	if err != nil {
		return g.fail(err, 1)
	}
	if len(args) == 0 || args[0] == "help" && len(args) == 1 {
		printUsage()
		return 0
	}
	if args[0] == "help" {
		args = []string{args[1], "--help"}
	}
	if args[0] == "version" {
		printVersion()
		return 0
	}
	if f := face(args[0]); f != nil {
		return f(args[1:])
	}
	for _, v := range verbs() {
		if v.name != args[0] {
			continue
		}
		g.debug("%s %s", v.name, strings.Join(args[1:], " "))
		code, err := v.run(g, args[1:])
		if err != nil {
			return g.fail(err, exitCode(v.name, err))
		}
		return code
	}
	return g.fail(fmt.Errorf("no command %q; see: tripod-oci help", args[0]), 1)
}

func printUsage() {
	var list strings.Builder
	for _, v := range verbs() {
		fmt.Fprintf(&list, "  %-9s  %s\n", v.name, v.about)
	}
	fmt.Printf(usage, list.String(), defaultRoot())
}

// printVersion prints the lines that callers of runc read: Docker, containerd, podman.
func printVersion() {
	fmt.Printf("tripod-oci version %s\ncommit: %s\nspec: %s\ngo: %s\n", version, commit, specs.Version, runtime.Version())
}
