package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const updateHelp = `Usage: tripod-oci update [OPTIONS] ID

Changes the limits of a container. What is not named stays as it is.

Options:
  -r, --resources FILE        limits as in linux.resources of config.json, - for stdin; all other options are left out then
      --blkio-weight N        10 to 1000
      --cpu-period US
      --cpu-quota US          of CPU time in each period; -1 for no limit
      --cpu-burst US
      --cpu-share N
      --cpu-rt-period US
      --cpu-rt-runtime US
      --cpu-idle 0|1
      --cpuset-cpus LIST
      --cpuset-mems LIST
      --memory BYTES          k, m and g may follow; -1 for no limit
      --memory-reservation BYTES
      --memory-swap BYTES     memory and swap together; -1 for no limit
      --pids-limit N

Examples:
  tripod-oci update --memory 256m --pids-limit 100 web
  echo '{"cpu":{"quota":50000,"period":100000}}' | tripod-oci update -r - web
`

func update(g *globals, args []string) (int, error) {
	var file string
	var res specs.LinuxResources
	operands, err := words(updateHelp, append(limits(&res), text(&file, 'r', "resources")), args, 1, 1)
	if err != nil {
		return 0, err
	}
	if file != "" {
		res = specs.LinuxResources{}
		if err := readJSON(file, &res); err != nil {
			return 0, fmt.Errorf("--resources: %w", err)
		}
	}
	c, r, d, err := g.change(operands[0])
	if err != nil {
		return 0, err
	}
	defer d.Unlock()
	switch status := d.Status(&r); {
	case status == specs.StateStopped:
		return 0, wrongState("update", d.ID, status)
	case c.Group == nil:
		return 0, fmt.Errorf("cannot update container %s: it has no cgroup of its own", d.ID)
	}
	if err := c.Group.Update(&res); err != nil {
		return 0, fmt.Errorf("cannot update container %s: %w", d.ID, err)
	}
	return 0, nil
}

// limits are the options that each set one field of res.
func limits(res *specs.LinuxResources) []option {
	cpu := func() *specs.LinuxCPU { return made(&res.CPU) }
	memory := func() *specs.LinuxMemory { return made(&res.Memory) }
	return []option{
		limit("blkio-weight", func(n uint64) { w := uint16(n); made(&res.BlockIO).Weight = &w }, 1000),
		limit("cpu-period", func(n uint64) { cpu().Period = &n }, 0),
		signed("cpu-quota", func(n int64) { cpu().Quota = &n }),
		limit("cpu-burst", func(n uint64) { cpu().Burst = &n }, 0),
		limit("cpu-share", func(n uint64) { cpu().Shares = &n }, 0),
		limit("cpu-rt-period", func(n uint64) { cpu().RealtimePeriod = &n }, 0),
		signed("cpu-rt-runtime", func(n int64) { cpu().RealtimeRuntime = &n }),
		signed("cpu-idle", func(n int64) { cpu().Idle = &n }),
		setting("cpuset-cpus", func(v string) error { cpu().Cpus = v; return nil }),
		setting("cpuset-mems", func(v string) error { cpu().Mems = v; return nil }),
		size("memory", func(n int64) { memory().Limit = &n }),
		size("memory-reservation", func(n int64) { memory().Reservation = &n }),
		size("memory-swap", func(n int64) { memory().Swap = &n }),
		signed("pids-limit", func(n int64) { made(&res.Pids).Limit = &n }),
		setting("kernel-memory", func(string) error { return errNoKernel }),
		setting("kernel-memory-tcp", func(string) error { return errNoKernel }),
		setting("l3-cache-schema", func(string) error { return errNoRDT }),
		setting("mem-bw-schema", func(string) error { return errNoRDT }),
	}
}

var (
	errNoKernel = errors.New("kernels of today have no limit of their own memory apart")
	errNoRDT    = errors.New("not supported: it is for Intel RDT")
)

func made[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}

func setting(name string, set func(string) error) option {
	o := text(nil, 0, name)
	o.set = set
	return o
}

// limit is a number that is not negative, and at most most if that is not 0.
func limit(name string, set func(uint64), most uint64) option {
	return setting(name, func(value string) error {
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil || most > 0 && n > most {
			return fmt.Errorf("%q is out of range", value)
		}
		set(n)
		return nil
	})
}

func signed(name string, set func(int64)) option {
	return setting(name, func(value string) error {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", value)
		}
		set(n)
		return nil
	})
}

// size is a number of bytes, with a unit of powers of 1024.
func size(name string, set func(int64)) option {
	return setting(name, func(value string) error {
		number, unit := strings.TrimSuffix(strings.ToLower(value), "b"), int64(1)
		for i, letter := range [...]string{"k", "m", "g", "t"} {
			if cut, ok := strings.CutSuffix(number, letter); ok {
				number, unit = cut, 1<<(10*(i+1))
				break
			}
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < -1 || n > 1<<62/unit {
			return fmt.Errorf("%q is no size in bytes; write 268435456, 256m or 1g", value)
		}
		set(n * unit)
		return nil
	})
}
