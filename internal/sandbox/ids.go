package sandbox

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/manifest"
	"tripod/internal/record"
)

// IDsPerPod is how many user and group ids a user namespace of a Pod or container has: all that a 16-bit file system
// can name, as kubelet's.
const IDsPerPod = 65536

// firstIDs is where ranges are looked for: above what distributions give to users (from 100000 on, 65536 each) for the
// first few, and the range itself is checked against them.
const firstIDs = 524288

// lastIDs is the end of the ids that a range may hold: below the 31st bit, since some programs take ids for signed.
const lastIDs = 1 << 31

// ErrNoIDs says that every range of ids is taken.
var ErrNoIDs = fmt.Errorf("no free range of %d ids", IDsPerPod)

// idRange is Size host ids from First on.
type idRange struct {
	First uint32 `json:"first"`
	Size  uint32 `json:"size"`
}

func (r idRange) overlaps(o idRange) bool {
	return uint64(r.First) < uint64(o.First)+uint64(o.Size) && uint64(o.First) < uint64(r.First)+uint64(r.Size)
}

// freeIDs chooses n ranges of IDsPerPod ids each that overlap neither one another nor any of those in use.
func freeIDs(n int, used []idRange) ([]idRange, error) {
	var free []idRange
	for first := uint32(firstIDs); first <= lastIDs-IDsPerPod && len(free) < n; first += IDsPerPod {
		r := idRange{first, IDsPerPod}
		if !slices.ContainsFunc(used, r.overlaps) {
			free = append(free, r)
		}
	}
	if len(free) < n {
		return nil, ErrNoIDs
	}
	return free, nil
}

// usedIDs are the ranges that someone on this host has: users by /etc/subuid and /etc/subgid, every process that is in a
// user namespace, and our own Pods, whose namespaces may not exist yet.
func usedIDs(h Host) []idRange {
	var used []idRange
	for _, name := range []string{"/etc/subuid", "/etc/subgid"} {
		if data, err := os.ReadFile(name); err == nil {
			used = append(used, subordinate(data)...)
		}
	}
	maps, _ := filepath.Glob("/proc/[0-9]*/[ug]id_map")
	for _, name := range maps {
		if data, err := os.ReadFile(name); err == nil {
			used = append(used, mapped(data)...)
		}
	}
	for _, s := range h.all() {
		used = append(used, s.ranges()...)
	}
	return used
}

// subordinate reads subuid(5): NAME:FIRST:COUNT a line.
func subordinate(data []byte) []idRange {
	var all []idRange
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if f := strings.Split(lines.Text(), ":"); len(f) == 3 {
			all = appendRange(all, f[1], f[2])
		}
	}
	return all
}

// mapped reads uid_map of user_namespaces(7): INSIDE OUTSIDE COUNT a line. The map of the first namespace, all ids to
// themselves, says nothing.
func mapped(data []byte) []idRange {
	var all []idRange
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[2] != "4294967295" {
			all = appendRange(all, f[1], f[2])
		}
	}
	return all
}

func appendRange(all []idRange, first, size string) []idRange {
	a, err := strconv.ParseUint(first, 10, 32)
	n, err2 := strconv.ParseUint(size, 10, 32)
	if err != nil || err2 != nil || n == 0 {
		return all
	}
	return append(all, idRange{uint32(a), uint32(n)})
}

// mapping maps all ids of a range to 0 and on.
func (r idRange) mapping() []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: r.First, Size: r.Size}}
}

// idsFile has the ranges of a Pod.
const idsFile = "ids.json"

// ranges are those that the Pod was given.
func (s *Sandbox) ranges() []idRange {
	if s.ids == nil {
		_ = record.Get(s.file(idsFile), &s.ids) // most Pods have none
	}
	return s.ids
}

// IDs map the ids of a container's user namespace: the Pod's, or its own; nil where it has the host's.
func (s *Sandbox) IDs(container string) []specs.LinuxIDMapping {
	ranges := s.ranges()
	if s.Pod.Annotations[manifest.AnnotationUserNS] == "" && len(ranges) > 0 {
		return ranges[0].mapping()
	}
	for i, c := range slices.Concat(s.Pod.Spec.InitContainers, s.Pod.Spec.Containers) {
		if c.Name == container && i < len(ranges) {
			return ranges[i].mapping()
		}
	}
	return nil
}
