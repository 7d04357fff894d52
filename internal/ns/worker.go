package ns

import (
	"cmp"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// worker looks at processes, one after another.
type worker struct {
	options Options
	proc    int // the folder of all processes, opened
	self    int // the process that looks
	part
	dirents [8 << 10]byte
	names   []string
	netOf   map[uint64]uint64 // network namespaces by the inode number of a socket
	process pidfd
}

// part is what a worker found.
type part struct {
	processes []Process
	held      []held
	waiting   []waiting
	partial   bool
}

// held is a namespace that a descriptor of a process holds.
type held struct {
	pid, fd int
	t       Type
	id      uint64
	socket  bool // the descriptor is a socket's
}

// waiting is a namespace that a process has ready for its children and is not in itself.
type waiting struct {
	pid int
	t   Type
	id  uint64
}

// look looks at a process and, if asked to, at its threads.
func (w *worker) look(pid int) {
	name := strconv.Itoa(pid)
	if !w.one(pid, pid, name) || !w.options.Threads {
		return
	}
	tids, err := listPIDs(w.options.Proc + "/" + name + "/task")
	w.note(name, err)
	for _, tid := range tids {
		if tid != pid {
			w.one(tid, pid, name+"/task/"+strconv.Itoa(tid))
		}
	}
}

// one looks at one process or thread, by its name in the folder of all. It says whether it is there.
func (w *worker) one(pid, tgid int, name string) bool {
	dir, err := openat(w.proc, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		w.note(name, err)
		return !gone(err)
	}
	defer closeFD(dir)
	p := Process{PID: pid, TGID: tgid}
	for t := range Type(NumTypes) {
		// Mount namespaces are looked at for what is mounted in them.
		if w.options.wants(t) || t == Mnt && !w.options.Members {
			var lerr error
			p.NS[t], lerr = readLink(dir, links[t], t)
			err = cmp.Or(err, lerr)
		}
	}
	if w.options.Waiting && !w.options.Members {
		for _, t := range []Type{PID, Time} {
			id, lerr := readLink(dir, links[t]+"_for_children", t)
			err = cmp.Or(err, lerr)
			if id != 0 && id != p.NS[t] && w.options.wants(t) {
				w.waiting = append(w.waiting, waiting{pid, t, id})
			}
		}
	}
	if p.NS == [NumTypes]uint64{} && !existsAt(w.proc, name) {
		return false
	}
	w.note(name, err)
	w.processes = append(w.processes, p)
	if !w.options.Members && pid == tgid {
		w.descriptors(pid, dir, name)
	}
	return true
}

// note takes down that something of a process may not be read. The kernel says so of links of processes that are gone, too
// (proc_ns_readlink).
func (w *worker) note(name string, err error) {
	w.partial = w.partial || unreadable(err) && existsAt(w.proc, name)
}

// descriptors looks for namespaces and sockets among the open files of a process, whose folder dir is. Most processes have few,
// with the lowest numbers: where the kernel says how many there are (Linux 6.2), these are read without a list, and what is
// left with one.
func (w *worker) descriptors(pid, dir int, name string) {
	size, err := sizeAt(dir, "fd")
	if err != nil {
		w.note(name, err)
		return
	}
	count, next := int(min(size, maxFDs)), 0
	if pid == w.self {
		count = 0 // this one opens and closes some meanwhile, so that the number says little
	}
	for next < count {
		err := w.descriptor(pid, dir, name, next)
		if errors.Is(err, unix.ENOENT) {
			break
		}
		next++
		if err != nil {
			w.note(name, err)
			return
		}
	}
	if count == 0 || next < count {
		w.listed(pid, dir, name, next)
	}
}

// listed reads the descriptors that the folder lists, from a number on.
func (w *worker) listed(pid, dir int, name string, from int) {
	list, err := openat(dir, "fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		w.note(name, err)
		return
	}
	defer closeFD(list)
	for seen := 0; seen < maxFDs; seen += len(w.names) {
		n, err := unix.ReadDirent(list, w.dirents[:])
		if n <= 0 || err != nil {
			return
		}
		_, _, w.names = unix.ParseDirent(w.dirents[:n], -1, w.names[:0])
		for _, number := range w.names {
			fd, err := strconv.Atoi(number)
			if err != nil || fd < from {
				continue
			}
			if err := w.descriptor(pid, dir, name, fd); err != nil {
				w.note(name, err)
			}
		}
	}
	w.partial = true
}

// descriptor looks at one open file. The error says that it cannot be looked at.
func (w *worker) descriptor(pid, dir int, name string, fd int) error {
	var buf [64]byte
	n, err := readlinkat(dir, "fd/"+strconv.Itoa(fd), buf[:])
	if err != nil {
		return err
	}
	// Names of namespaces and sockets end so; most others are paths.
	if n == 0 || buf[n-1] != ']' {
		return nil
	}
	link := string(buf[:n])
	if inode, ok := strings.CutPrefix(link, "socket:["); ok {
		if socket, err := strconv.ParseUint(strings.TrimSuffix(inode, "]"), 10, 64); err == nil && w.options.wants(Net) {
			if id := w.netOfSocket(pid, fd, name, socket); id != 0 {
				w.held = append(w.held, held{pid, fd, Net, id, true})
			}
		}
	} else if t, id, ok := ParseLink(link); ok && w.options.wants(t) {
		w.held = append(w.held, held{pid, fd, t, id, false})
	}
	return nil
}

// netOfSocket returns the network namespace of a socket, 0 when it is gone or may not be asked. A socket tells it only to who
// has it, so it is taken from its process for a moment. Forked processes have the same sockets: one of each is asked.
func (w *worker) netOfSocket(pid, fd int, name string, socket uint64) uint64 {
	if id, known := w.netOf[socket]; known {
		return id
	}
	if w.netOf == nil {
		w.netOf = map[uint64]uint64{}
	}
	var id uint64
	if net, err := w.process.openSocketNet(pid, fd); err == nil {
		id = inodeOf(net)
		unix.Close(net)
	} else {
		w.note(name, err)
	}
	w.netOf[socket] = id
	return id
}

// pidfd is a process that descriptors are taken from. The zero value is none.
type pidfd struct {
	pid, fd int
}

func (p *pidfd) close() {
	if p.pid != 0 {
		unix.Close(p.fd)
	}
	p.pid = 0
}

// openSocketNet opens the network namespace of a process's socket.
func (p *pidfd) openSocketNet(pid, fd int) (int, error) {
	if p.pid != pid {
		p.close()
		open, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return -1, err
		}
		p.pid, p.fd = pid, open
	}
	sock, err := unix.PidfdGetfd(p.fd, fd, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(sock)
	net, err := unix.IoctlRetInt(sock, unix.SIOCGSKNS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		return -1, unix.ENOENT
	}
	return net, err
}

// inodeOf is the inode number of an open file, 0 when it cannot be told.
func inodeOf(fd int) uint64 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}
