package nsenter

import (
	"fmt"

	"tripod/internal/ns"
)

// reason says why a namespace may not be joined and what would help, "" where nothing is known (setns(2)).
func reason(j *Joining, n Join) string {
	f := j.Facts
	if f.Admin {
		return ""
	}
	if n.Type == ns.User {
		return fmt.Sprintf("you hold no CAP_SYS_ADMIN in user namespace %d: it takes its owner, or root", n.ID)
	}
	if n.Owner == 0 {
		return ""
	}
	for _, u := range f.Users {
		if u.ID == n.Owner {
			if n.Type == ns.Mnt || n.Type == ns.PID {
				return fmt.Sprintf("%s namespace %d is owned by user namespace %d, which was joined: CAP_SYS_CHROOT and CAP_SYS_ADMIN were missing there", n.Type, n.ID, n.Owner)
			}
			return ""
		}
	}
	if n.Owner == f.Self {
		return fmt.Sprintf("%s namespace %d is owned by your own user namespace %d, where you hold no CAP_SYS_ADMIN", n.Type, n.ID, n.Owner)
	}
	add := "-U --preserve-credentials"
	if len(f.Users) > 0 {
		add = "--user-parent"
	}
	return fmt.Sprintf("%s namespace %d is owned by user namespace %d, where you hold no CAP_SYS_ADMIN; add %s", n.Type, n.ID, n.Owner, add)
}
