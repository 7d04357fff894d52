package main

import (
	"errors"

	"github.com/spf13/pflag"
)

// runFlags are the words of docker run, as typed. Their meaning is podOf's.
type runFlags struct {
	file            []string // -f: manifests instead of an image
	name, namespace string
	detach, remove  bool
	stdin, tty      bool
	detachKeys      string
	fetch           pullFlags

	env, envFile            []string
	volume, mount, tmpfs    []string
	publish                 []string
	memory, cpus            string
	memoryReservation       string
	pids                    int64
	user, workdir           string
	entrypoint              *string // nil: not given
	entrypointWord          string
	readOnly, privileged    bool
	capAdd, capDrop         []string
	securityOpt, sysctl     []string
	hostname                string
	network, pid, ipc       string
	userns                  string
	addHost                 []string
	dns, dnsSearch, dnsOpts []string
	pull, restart           string
	init                    bool
	shmSize, stopSignal     string
	cpuShares               int64
	groupAdd                []string
	stopTimeout             int64
	label, annotation       []string
}

// bind makes the flags of docker run.
func (f *runFlags) bind(flags *pflag.FlagSet) {
	flags.SetInterspersed(false)
	flags.StringArrayVarP(&f.file, "file", "f", nil, "run the Pods of this manifest: a file, a folder, a URL, or - for stdin")
	flags.StringVar(&f.name, "name", "", "name of the Pod")
	flags.StringVarP(&f.namespace, "namespace", "n", "default", "namespace of the Pod")
	flags.BoolVarP(&f.detach, "detach", "d", false, "leave it running and print its name")
	flags.BoolVar(&f.remove, "rm", false, "remove the Pod when it has ended")
	flags.BoolVarP(&f.stdin, "interactive", "i", false, "keep stdin open")
	flags.BoolVarP(&f.tty, "tty", "t", false, "give it a terminal")
	flags.StringVar(&f.detachKeys, "detach-keys", defaultDetachKeys, "keys that leave it running")

	flags.StringArrayVarP(&f.env, "env", "e", nil, "set a variable: NAME=VALUE, or NAME to pass ours on")
	flags.StringArrayVar(&f.envFile, "env-file", nil, "read variables from a file, one NAME=VALUE a line")
	flags.StringArrayVarP(&f.volume, "volume", "v", nil, "mount a path of the host: /HOST:/CONTAINER[:ro]; /CONTAINER alone is an empty volume")
	flags.StringArrayVar(&f.mount, "mount", nil, "mount: type=bind|tmpfs|volume,source=…,target=…[,readonly]")
	flags.StringArrayVar(&f.tmpfs, "tmpfs", nil, "mount memory: /CONTAINER[:size=64m]")
	flags.StringArrayVarP(&f.publish, "publish", "p", nil, "publish a port: [[IP:]HOST:]CONTAINER[/udp], ranges as 8000-8005:80-85; without HOST a free one is taken")
	flags.StringVarP(&f.memory, "memory", "m", "", "memory limit: 64m, 1g, 512Mi")
	flags.StringVar(&f.memoryReservation, "memory-reservation", "", "memory it asks for")
	flags.StringVar(&f.cpus, "cpus", "", "CPU limit: 1.5")
	flags.Int64Var(&f.cpuShares, "cpu-shares", 0, "CPU that it gets beside others, 1024 being one CPU")
	flags.StringVar(&f.shmSize, "shm-size", "", "size of /dev/shm: 64m")
	flags.Int64Var(&f.pids, "pids-limit", 0, "most processes and threads; -1 is no limit")
	flags.StringVarP(&f.user, "user", "u", "", "user and group: UID[:GID] or NAME[:GROUP]")
	flags.StringVarP(&f.workdir, "workdir", "w", "", "working folder")
	flags.StringVar(&f.entrypointWord, "entrypoint", "", "run this instead of the image's entrypoint")
	flags.StringSliceVar(&f.groupAdd, "group-add", nil, "add a group of the user, by its number")
	flags.BoolVar(&f.init, "init", false, "a first process of ours reaps what the command leaves")
	flags.BoolVar(&f.readOnly, "read-only", false, "make the root file system read-only")
	flags.BoolVar(&f.privileged, "privileged", false, "all capabilities and devices, no seccomp filter")
	flags.StringSliceVar(&f.capAdd, "cap-add", nil, "add a capability")
	flags.StringSliceVar(&f.capDrop, "cap-drop", nil, "drop a capability, or ALL")
	flags.StringArrayVar(&f.securityOpt, "security-opt", nil, "no-new-privileges, seccomp=unconfined")
	flags.StringArrayVar(&f.sysctl, "sysctl", nil, "set a kernel parameter of the Pod: NAME=VALUE")
	flags.StringVarP(&f.hostname, "hostname", "h", "", "host name (the Pod's name)")
	flags.StringVar(&f.network, "network", "", "bridge, host or none")
	flags.StringVar(&f.network, "net", "", "as --network")
	_ = flags.MarkHidden("net")
	flags.StringVar(&f.pid, "pid", "", "host: use the host's PID namespace")
	flags.StringVar(&f.ipc, "ipc", "", "host: use the host's IPC namespace")
	flags.StringVar(&f.userns, "userns", "", "host, pod or container: whose user namespace it has")
	flags.StringArrayVar(&f.addHost, "add-host", nil, "add a line to /etc/hosts: NAME:IP")
	flags.StringArrayVar(&f.dns, "dns", nil, "name server")
	flags.StringArrayVar(&f.dnsSearch, "dns-search", nil, "search domain")
	flags.StringArrayVar(&f.dnsOpts, "dns-option", nil, "resolver option")
	flags.StringVar(&f.pull, "pull", "missing", "when to pull the image: always, missing or never")
	flags.StringVar(&f.restart, "restart", "no", "when to start it again: no, on-failure[:TIMES] or always")
	flags.StringVar(&f.stopSignal, "stop-signal", "", "signal that asks it to end (the image's, or TERM)")
	flags.Int64Var(&f.stopTimeout, "stop-timeout", 10, "seconds from the stop signal to SIGKILL")
	flags.StringArrayVarP(&f.label, "label", "l", nil, "label: NAME=VALUE")
	flags.StringArrayVar(&f.annotation, "annotation", nil, "annotation: NAME=VALUE")
}

// dockerOnly are words of docker run that have no meaning here, or another form.
var dockerOnly = map[string]string{
	"attach":       "the streams are attached without -d; -i passes stdin on",
	"cgroupns":     "each container has a cgroup namespace of its own",
	"cidfile":      "choose the name yourself: --name",
	"cpu-quota":    "use --cpus 1.5",
	"cpu-period":   "use --cpus 1.5",
	"device":       "a container has the devices of every container; --privileged gives it all",
	"domainname":   "give --hostname",
	"expose":       "every port can be reached from other Pods; -p PORT publishes one",
	"health-cmd":   "a manifest has probes for it",
	"ip":           "the address is chosen; tripod ps -o wide shows it",
	"link":         "run both as containers of one Pod: tripod run -f FILE",
	"log-driver":   "logs are kept in CRI's form: tripod logs",
	"memory-swap":  "-m is the limit of memory",
	"publish-all":  "publish by number: -p PORT takes a free port of the host",
	"volumes-from": "run both as containers of one Pod: tripod run -f FILE",
}

// dockerHint says what to do instead of a flag of docker run that is not there.
func dockerHint(err error) string {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		if hint, ok := dockerOnly[unknown.GetSpecifiedName()]; ok {
			return hint
		}
		switch unknown.GetSpecifiedName() {
		case "a":
			return dockerOnly["attach"]
		case "P":
			return dockerOnly["publish-all"]
		}
	}
	return "see tripod run --help"
}
