package container

import (
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/cgroup"
)

// Adopt returns the running container whose init is pid, which this process's program made before it was executed
// anew. Only Exec needs the spec. The pidfd is the container's from then on.
func Adopt(id string, pid int, pidfd *os.File, cgroupPath string, host Host, spec *specs.Spec) *Container {
	c := &Container{Process: Process{Pid: pid, PidFD: pidfd}, ID: id, host: host, spec: spec}
	if cgroupPath != "" {
		c.Group = cgroup.Open(host.Cgroup, cgroupPath)
	}
	return c
}
