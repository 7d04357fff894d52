package cgroup

import (
	"fmt"
	"strconv"
	"strings"
)

// highest bounds the numbers of a set: more CPUs or nodes than any Linux has.
const highest = 1<<16 - 1

// parseSet reads the kernel's form of a set of CPUs or memory nodes: "0-2,7" (cpuset(7), "List format"). Empty is none.
func parseSet(s string) ([]uint16, error) {
	if s == "" {
		return nil, nil
	}
	var set []uint16
	for part := range strings.SplitSeq(s, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			to = from
		}
		a, aerr := strconv.ParseUint(from, 10, 16)
		b, berr := strconv.ParseUint(to, 10, 16)
		if aerr != nil || berr != nil || a > b || len(set)+int(b-a) > highest {
			return nil, fmt.Errorf("%.40q is no list of numbers such as 0-2,7", s)
		}
		for n := a; n <= b; n++ {
			set = append(set, uint16(n))
		}
	}
	return set, nil
}
