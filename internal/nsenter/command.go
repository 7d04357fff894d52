package nsenter

import (
	"errors"
	"fmt"
	"io"
	"os"
)

const help = `
Usage:
 nsenter [options] [<program> [<argument>...]]
 nsenter [options] <pod>[/<container>] [options] [<program> [<argument>...]]

Run a program with namespaces of other processes.

Options:
 -a, --all              enter all namespaces
 -t, --target <target>  whose namespaces: <pid>, <pid>:<inode>, <pod>[/<container>],
                         docker://<name>, cri://<id>, podman://<name>,
                         unit://<name>.service, ip://<address>
 -m, --mount[=<file>]   enter mount namespace
 -u, --uts[=<file>]     enter UTS namespace (hostname etc)
 -i, --ipc[=<file>]     enter System V IPC namespace
 -n, --net[=<file>]     enter network namespace
 -N, --net-socket <fd>  enter the network namespace of the target's socket
 -p, --pid[=<file>]     enter pid namespace
 -C, --cgroup[=<file>]  enter cgroup namespace
 -U, --user[=<file>]    enter user namespace
     --user-parent      enter the parent of the user namespace
 -T, --time[=<file>]    enter time namespace
                         <file> may be :<id>, a namespace's 64-bit id
 -S, --setuid <uid>|follow  set uid in entered namespace
 -G, --setgid <gid>|follow  set gid in entered namespace
     --preserve-credentials do not touch uids or gids
     --keep-caps        keep the capabilities that the user namespace gives
 -r, --root[=<dir>]     set the root directory
 -w, --wd[=<dir>]       set the working directory
 -W, --wdns[=<dir>]     set the working directory in namespace
 -e, --env              the target's environment instead of this one
 -F, --no-fork          do not fork before exec'ing <program>
 -c, --join-cgroup      join the target's cgroups
 -Z, --follow-context   set SELinux context according to --target

     --like-container   take the target's user, groups, capabilities, limits,
                         no_new_privs and label; no seccomp filter
     --pid-for-children the pid namespace that the target's children get
     --mount-proc       mount a /proc for the pid namespace, in a mount
                         namespace of its own
     --pty              give the program a terminal of its own
     --forward-signals  pass signals on to the program
     --kill-child[=<signal>]  kill the program when nsenter dies
     --start-time <ticks>  the target is the process that began then, or none:
                         field 22 of /proc/<pid>/stat
     --tools <dir>      lay the programs below <dir> over the target's root
     --explain          print what would be done, and in which order

 -h, --help             display this help
 -V, --version          display version
`

// Command is the whole command: it prints on stdout and stderr and returns the exit code.
func Command(args []string, cfg Config) int {
	o, err := Parse(args)
	code := ExitFailure
	switch {
	case err != nil:
	case o.Help:
		_, err = io.WriteString(os.Stdout, help)
		code = 0
	case o.Version:
		_, err = fmt.Printf("nsenter from tripod %s (features: selinux, nsfs)\n", cfg.Version)
		code = 0
	default:
		code, err = Run(o, cfg)
	}
	if err == nil {
		return code
	}
	fmt.Fprintln(os.Stderr, "nsenter:", err)
	var misuse *UsageError
	if errors.As(err, &misuse) && misuse.Try {
		fmt.Fprintln(os.Stderr, "Try 'nsenter --help' for more information.")
	}
	var hinted interface {
		error
		Hint() string
	}
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		fmt.Fprintln(os.Stderr, "hint:", hinted.Hint())
	}
	return max(code, ExitFailure)
}
