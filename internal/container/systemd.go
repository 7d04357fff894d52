package container

import (
	"os"

	"tripod/internal/birth"
	"tripod/internal/cgroup"
)

// WithSystemd is the host with cgroups that systemd makes: root's, or the user's own. Annotations of the container may name
// properties of its unit.
func (h Host) WithSystemd(annotations map[string]string) (Host, error) {
	err := h.Cgroup.UseSystemd(cgroup.Systemd{User: os.Geteuid() != 0, Annotations: annotations, Hold: birth.Hold})
	return h, err
}
