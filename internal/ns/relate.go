package ns

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// relation is what a namespace's file tells of it.
type relation struct {
	index         int
	parent, owner uint64
	ownerUID      uint32
	netnsid       int
	nsid          uint64
	opened        bool
	denied        bool
	ghosts        []ghost
}

// ghost is a namespace that was met as a parent or an owner.
type ghost struct {
	t     Type
	id    uint64
	child uint64
	relation
}

// relate asks each namespace for its parent and its owner (ioctl_nsfs(2)), and enters those that nothing else told of.
func (s *Snapshot) relate() {
	known := map[uint64]bool{}
	for _, n := range s.Namespaces {
		known[n.ID] = true
	}
	wanted := s.toAsk()
	asked := inParts(len(wanted), func(from, to int) []relation {
		r := relater{snapshot: s, known: known, netlink: -1}
		defer r.close()
		all := make([]relation, 0, to-from)
		for _, i := range wanted[from:to] {
			all = append(all, r.relate(i))
		}
		return all
	})
	for _, part := range asked {
		for _, r := range part {
			s.Namespaces[r.index].relation(r)
			s.Partial = s.Partial || r.denied
			for _, g := range r.ghosts {
				s.enter(g)
			}
		}
	}
	s.owners()
}

// toAsk are the namespaces that are to be asked, by their indexes: all, where that can lead to one that is wanted or the answers
// themselves are; else those without a member, of which nothing else tells whose they are.
func (s *Snapshot) toAsk() []int {
	o := s.options
	all := o.Relations || o.NetNSID || o.NSID || o.wants(User) || o.wants(PID)
	var wanted []int
	for i, n := range s.Namespaces {
		if all || len(n.Members) == 0 {
			wanted = append(wanted, i)
		}
	}
	return wanted
}

// relation enters what a namespace told.
func (n *Namespace) relation(r relation) {
	n.Parent, n.Owner, n.OwnerUID, n.Opened = r.parent, r.owner, r.ownerUID, r.opened
	n.NetNSID, n.NSID = r.netnsid, r.nsid
}

// enter adds a namespace that was met as a parent or an owner.
func (s *Snapshot) enter(g ghost) {
	_, known := s.at[g.id]
	n := s.add(g.t, g.id)
	if !known {
		n.relation(g.relation)
		n.Ancestor = !s.options.wants(g.t)
	}
	if len(n.Members) == 0 {
		n.holdBy(Holder{Kind: ByChild, Child: g.child})
	}
}

// owners gives each namespace the user who made the user namespace that owns it.
func (s *Snapshot) owners() {
	for i := range s.Namespaces {
		n := &s.Namespaces[i]
		if n.Type == User || n.Owner == 0 {
			continue
		}
		if at, ok := s.at[n.Owner]; ok {
			n.OwnerUID = s.Namespaces[at].OwnerUID
		}
	}
}

// relater asks namespaces.
type relater struct {
	snapshot *Snapshot
	known    map[uint64]bool
	process  pidfd
	netlink  int // a socket of rtnetlink, -1 until it is wanted
}

func (r *relater) close() {
	r.process.close()
	if r.netlink >= 0 {
		unix.Close(r.netlink)
	}
}

// relate asks one namespace, and those above it that are not known.
func (r *relater) relate(index int) relation {
	n := &r.snapshot.Namespaces[index]
	fd, err := r.snapshot.open(n, &r.process)
	if err != nil {
		return relation{index: index, netnsid: NetNSIDUnknown, denied: unreadable(err)}
	}
	defer unix.Close(fd)
	return r.ask(index, n.Type, n.ID, fd)
}

// ask asks an open namespace. It ends: each step is one towards the initial user namespace, of at most 32 (user_namespaces(7)).
func (r *relater) ask(index int, t Type, id uint64, fd int) relation {
	rel := relation{index: index, opened: true, netnsid: NetNSIDUnknown}
	if t == User {
		if uid, err := unix.IoctlGetUint32(fd, unix.NS_GET_OWNER_UID); err == nil {
			rel.ownerUID = uid
		}
	}
	if t == User || t == PID {
		rel.parent = r.above(&rel, t, id, fd, unix.NS_GET_PARENT)
	}
	if t == User {
		// The owner of a user namespace is its parent.
		rel.owner = rel.parent
	} else {
		rel.owner = r.above(&rel, User, id, fd, unix.NS_GET_USERNS)
	}
	if t == Net && r.snapshot.options.NetNSID {
		rel.netnsid = r.netNSID(fd)
	}
	if r.snapshot.options.NSID {
		if nsid, err := unix.IoctlGetInt(fd, unix.NS_GET_ID); err == nil {
			rel.nsid = uint64(nsid)
		}
	}
	return rel
}

// above returns the namespace that an ioctl leads to, 0 when the kernel does not show it: it is above the reader's own, or there
// is none. One that is not known is asked in turn.
func (r *relater) above(rel *relation, t Type, child uint64, fd int, request uint) uint64 {
	up, err := unix.IoctlRetInt(fd, request)
	if err != nil {
		return 0
	}
	defer unix.Close(up)
	id := inodeOf(up)
	if id != 0 && !r.known[id] {
		g := ghost{t: t, id: id, child: child, relation: r.ask(0, t, id, up)}
		rel.ghosts = append(append(rel.ghosts, g), g.ghosts...)
	}
	return id
}

// errGone is what opening a namespace ends with when all that held it is gone.
var errGone = errors.New("it is gone")

// open opens a namespace by whatever has it. The descriptor is of that namespace and no other.
func (s *Snapshot) open(n *Namespace, process *pidfd) (int, error) {
	err := errGone
	try := func(fd int, e error) bool {
		if e != nil {
			if !gone(e) {
				err = e
			}
			return false
		}
		if inodeOf(fd) == n.ID {
			return true
		}
		unix.Close(fd)
		return false
	}
	for i, m := range n.Members {
		if i == maxAsked {
			break
		}
		if fd, e := unix.Open(processPath(s.Proc, s.Processes[m].PID)+"/ns/"+n.Type.String(), unix.O_RDONLY|unix.O_CLOEXEC, 0); try(fd, e) {
			return fd, nil
		}
	}
	for _, h := range n.Holders {
		if fd, e := s.openHolder(n, h, process); try(fd, e) {
			return fd, nil
		}
	}
	return -1, err
}

// openHolder opens a namespace by what holds it.
func (s *Snapshot) openHolder(n *Namespace, h Holder, process *pidfd) (int, error) {
	path := processPath(s.Proc, h.PID)
	switch h.Kind {
	case ByDescriptor:
		return openNSFS(unix.AT_FDCWD, path+"/fd/"+strconv.Itoa(h.FD), 0)
	case BySocket:
		return process.openSocketNet(h.PID, h.FD)
	case ByWaiting:
		return unix.Open(path+"/ns/"+n.Type.String()+"_for_children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	case ByMount:
		if h.PID == 0 {
			return openNSFS(unix.AT_FDCWD, h.Path, 0)
		}
		return openMount(path+"/root", h.Path)
	}
	return -1, unix.ENOENT
}

// resolveCached is RESOLVE_CACHED of openat2(2), Linux 5.12.
const resolveCached = 0x20

// openMount opens a namespace's file that is mounted below a root, which may be a container's: no link leads out of it, and no file
// system of its own making (FUSE) is asked, which might never answer. What a mount stands on is always in the kernel's cache.
func openMount(root, path string) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return openNSFS(dir, path, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS|resolveCached)
}

// openNSFS opens a namespace's file. What is there is looked at before it is opened: it may be a device or a FIFO by now.
func openNSFS(dir int, path string, resolve uint64) (int, error) {
	found, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve})
	if err != nil {
		return -1, err
	}
	defer unix.Close(found)
	if !isNSFS(found) {
		return -1, unix.ENOENT
	}
	return unix.Open("/proc/self/fd/"+strconv.Itoa(found), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// isNSFS says that a file is a namespace's.
func isNSFS(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}
