package plan

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// refuse names the first field of a spec that is missing, or that would be ignored if it were let through.
func refuse(spec *specs.Spec) error {
	switch {
	case spec.Process == nil:
		return fmt.Errorf("process: missing")
	case spec.Root == nil:
		return fmt.Errorf("root: missing")
	case spec.Linux == nil:
		return fmt.Errorf("linux: missing")
	}
	for _, f := range []struct {
		field string
		asked bool
	}{
		{"linux.intelRdt", spec.Linux.IntelRdt != nil},
		{"linux.memoryPolicy", spec.Linux.MemoryPolicy != nil},
		{"linux.netDevices", len(spec.Linux.NetDevices) > 0},
	} {
		if f.asked {
			return fmt.Errorf("%s: not implemented", f.field)
		}
	}
	return checkHooks(spec.Hooks)
}
