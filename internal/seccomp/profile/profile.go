// Package profile gives the seccomp profile that containers get when they ask for none of their own: the default of
// Docker and containerd, from github.com/moby/profiles.
package profile

import (
	"fmt"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Default returns the profile for a process whose bounding set holds these capabilities ("CAP_SYS_ADMIN"): some
// system calls are open only to those who may use them. It depends on the kernel's version and the architecture.
func Default(capabilities []string) (*specs.LinuxSeccomp, error) {
	p, err := seccomp.GetDefaultProfile(&specs.Spec{
		Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make the default seccomp profile: %w", err)
	}
	return p, nil
}
