package share

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// count is how many mounts or sockets container i has in common with another one; None is none.
func count(all []Facts, i int, kind string) string {
	n := 0
	others := func(has func(Facts) bool) {
		for j, o := range all {
			if j != i && has(o) {
				n++
				return
			}
		}
	}
	if kind == Sockets {
		for inode := range all[i].Sockets {
			others(func(o Facts) bool { return o.Sockets[inode] })
		}
	} else {
		for k, m := range all[i].Mounts {
			if !slices.ContainsFunc(all[i].Mounts[:k], m.same) {
				others(func(o Facts) bool { return slices.ContainsFunc(o.Mounts, m.same) })
			}
		}
	}
	if n == 0 {
		return None
	}
	return strconv.Itoa(n)
}

// commonMounts are the mounts that two containers or more have, by where the first one has them.
func commonMounts(all []Facts) []Common {
	type place struct{ device, root string }
	by := map[place][]Use{}
	kind := map[place]string{}
	for _, f := range all {
		for _, m := range f.Mounts {
			p := place{m.Device, m.Root}
			by[p] = append(by[p], Use{f.Name, m.Target})
			kind[p] = m.FSType
		}
	}
	var found []Common
	for p, uses := range by {
		if slices.ContainsFunc(uses, func(u Use) bool { return u.Name != uses[0].Name }) {
			found = append(found, Common{Kind: Mounts, What: fmt.Sprintf("%s %s %s", kind[p], p.device, p.root), By: uses})
		}
	}
	slices.SortFunc(found, func(a, b Common) int {
		return cmp.Or(cmp.Compare(a.By[0].Where, b.By[0].Where), cmp.Compare(a.What, b.What))
	})
	return found
}

// commonSockets are the sockets that two containers or more hold.
func commonSockets(all []Facts) []Common {
	by := map[uint64][]Use{}
	for _, f := range all {
		for inode := range f.Sockets {
			by[inode] = append(by[inode], Use{Name: f.Name})
		}
	}
	var found []Common
	for inode, uses := range by {
		if len(uses) > 1 {
			found = append(found, Common{Kind: Sockets, What: fmt.Sprintf("socket:[%d]", inode), By: uses})
		}
	}
	slices.SortFunc(found, func(a, b Common) int { return cmp.Compare(a.What, b.What) })
	return found
}
