package plan

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// privateView gives the child a mount namespace of its own, from which nothing comes back to the host. With slave, what
// the host mounts below the root still comes in. One that is joined is somebody else's: it is taken as it is, and gets
// a new root.
func (p *program) privateView(s spaces, slave bool) {
	for _, j := range s.joined {
		if j.flag == unix.CLONE_NEWNS {
			p.origin = j.origin
			ns := p.open(Open{Name: NamespaceFile(j.typ), Kind: Namespace, Path: j.path})
			p.add("join mount namespace", Setns, ns, Int(j.flag)).sh(byNsenter + "--mount=" + quote(j.path))
			p.origin = "linux.namespaces"
			p.add("let mounts out no more", Mount, null, Text("/"), null, Int(unix.MS_REC|unix.MS_SLAVE), null)
			return
		}
	}
	p.add("new mount namespace", Unshare, Int(unix.CLONE_NEWNS)).sh(byUnshare + "--mount")
	if slave {
		p.add("make mounts slaves", Mount, null, Text("/"), null, Int(unix.MS_REC|unix.MS_SLAVE), null).sh("mount --make-rslave /")
		return
	}
	p.add("make mounts private", Mount, null, Text("/"), null, Int(unix.MS_REC|unix.MS_PRIVATE), null).
		sh("mount --make-rprivate /")
}

// owner is the host's ids of a container's root.
type owner struct{ uid, gid uint32 }

// root mounts the container's / on r.Mountpoint (or on r.Path itself) and keeps it in rRoot. With mapped, the lower
// layers are clones whose owners are mapped by the user namespace "ns:user": an overlay itself cannot be (EINVAL). The
// upper one is the container's alone: it holds the host's ids, and its top belongs to owner. It returns where it is.
func (p *program) root(r Rootfs, mapped bool, owner owner, slave bool) (string, error) {
	p.origin = "root"
	mapped = mapped && !r.Owned
	if r.Path == "" && len(r.Lower) == 0 {
		return "", fmt.Errorf("root.path: no directory and no layers")
	}
	if path.Clean(r.Path) == "/" {
		return "", fmt.Errorf("root.path: / is the host's own root; name another directory, or a bind of / in one")
	}
	if r.Mountpoint == "" && (r.Path == "" || mapped) {
		return "", fmt.Errorf("root: no mount point for it")
	}
	at := r.Mountpoint
	if r.Path != "" && !mapped {
		at = r.Path
	}
	many := r.Path == "" && !mapped && len(overlayData(r.Lower, r.Upper, r.Work)) >= maxText
	if r.Scratch || mapped || many {
		at = path.Join(r.Mountpoint, "merged")
		p.add("mount scratch tmpfs", Mount, Text("tmpfs"), Text(r.Mountpoint), Text("tmpfs"), Int(unix.MS_NODEV), Text("mode=0755")).
			sh("mount -t tmpfs -o mode=0755 tmpfs", quote(r.Mountpoint))
		p.mkdir(at)
	}
	if r.Path != "" {
		tree := Open{Name: "root", Path: r.Path, Recursive: true, Propagation: unix.MS_PRIVATE, Idmap: idmapOf(mapped)}
		if slave {
			tree.Propagation = unix.MS_SLAVE
		}
		p.add("mount root file system", MoveMount, p.tree(tree), empty, cwd, Text(at), Int(unix.MOVE_MOUNT_F_EMPTY_PATH)).
			sh("mount --rbind", quote(r.Path), quote(at))
		p.openRoot(at)
		return at, nil
	}
	lower, upper, work := r.Lower, r.Upper, r.Work
	switch {
	case mapped:
		lower = p.mappedLayers(r)
	case many:
		lower = p.shortNames(r)
	}
	if r.Scratch {
		upper, work = path.Join(r.Mountpoint, "upper"), path.Join(r.Mountpoint, "work")
		p.mkdir(upper)
		p.mkdir(work)
	}
	if mapped && upper != "" {
		p.add("own "+upper, Fchownat, cwd, Text(upper), Int(owner.uid), Int(owner.gid), Int(unix.AT_SYMLINK_NOFOLLOW))
	}
	p.overlay(lower, upper, work, at)
	p.openRoot(at)
	return at, nil
}

func idmapOf(mapped bool) string {
	if mapped {
		return "ns:user"
	}
	return ""
}

func (p *program) mkdir(dir string) {
	p.add("make "+dir, Mkdirat, cwd, Text(dir), Int(0o755)).sh("mkdir", quote(dir))
}

// mappedLayers attaches an idmapped clone of every lower layer below the mount point's scratch tmpfs.
func (p *program) mappedLayers(r Rootfs) (lower []string) {
	for i, host := range r.Lower {
		name := fmt.Sprint("l", i)
		at := path.Join(r.Mountpoint, name)
		p.mkdir(at)
		tree := p.open(Open{Name: "layer:" + name, Kind: Tree, Path: host, Propagation: unix.MS_PRIVATE, Idmap: "ns:user"})
		p.add("attach layer "+name, MoveMount, tree, empty, cwd, Text(at), Int(unix.MOVE_MOUNT_F_EMPTY_PATH))
		lower = append(lower, at)
	}
	return lower
}

// overlay mounts the layers at. mount(2) takes one page of data: layers are named relative to the directory that they
// have in common, the child's working directory meanwhile.
func (p *program) overlay(lower []string, upper, work, at string) {
	if len(lower) == 1 && upper == "" {
		// The kernel takes no overlay of one directory: a read-only bind is the same.
		p.add("mount root file system", Mount, Text(lower[0]), Text(at), null, Int(unix.MS_BIND), null).
			sh("mount --bind", quote(lower[0]), quote(at))
		p.add("make root read-only", Mount, null, Text(at), null, Int(unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY), null).
			sh("mount -o remount,bind,ro", quote(at))
		return
	}
	common := commonDir(lower)
	p.add("enter the layers' directory", Chdir, Text(common)).sh("cd", quote(common))
	data := overlayData(lower, upper, work)
	if len(data) >= maxText {
		p.fail(fmt.Errorf("root: %d layers are more than one mount takes", len(lower)))
	}
	p.add("mount root file system", Mount, Text("overlay"), Text(at), Text("overlay"), Int(0), Text(data)).
		sh("mount -t overlay -o", quote(data), "overlay", quote(at))
}

// overlayData is what an overlay of these directories is mounted with, from the directory that they have in common.
func overlayData(lower []string, upper, work string) string {
	common := commonDir(lower)
	names := make([]string, len(lower))
	for i, l := range lower {
		names[i] = escape(strings.TrimPrefix(l, common))
	}
	data := "lowerdir=" + strings.Join(names, ":")
	if upper != "" {
		data += ",upperdir=" + escape(upper) + ",workdir=" + escape(work)
	}
	return data
}

// shortNames gives layers that are too many for their own names new ones: links on the mount point's scratch tmpfs.
func (p *program) shortNames(r Rootfs) (lower []string) {
	for i, host := range r.Lower {
		at := path.Join(r.Mountpoint, fmt.Sprint(i))
		p.add(fmt.Sprint("name layer ", i), Symlinkat, Text(host), cwd, Text(at)).sh("ln -s", quote(host), quote(at))
		lower = append(lower, at)
	}
	return lower
}

// escape protects the characters that overlayfs reads in a path.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(s)
}

// commonDir is the deepest directory that all paths lie in, with a slash at its end.
func commonDir(paths []string) string {
	common := path.Dir(paths[0]) + "/"
	for _, p := range paths[1:] {
		for !strings.HasPrefix(p, common) {
			common = path.Dir(strings.TrimSuffix(common, "/"))
			if common != "/" {
				common += "/"
			}
		}
	}
	if strings.HasPrefix(common, "//") {
		common = common[1:]
	}
	return common
}

func (p *program) openRoot(at string) {
	p.add("open root", Openat, cwd, Text(at), Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).save(rRoot).sh("cd", quote(at))
}

// pivot makes the container's root the process's, and lets go of the host's.
func (p *program) pivot() {
	p.origin = "root"
	p.add("enter root", Fchdir, Result(rRoot))
	p.add("pivot root", PivotRoot, Text("."), Text("."))
	// The old root lies on top of the new one now, and "." is in it.
	p.add("let go of the host's root", Umount2, Text("."), Int(unix.MNT_DETACH))
	p.add("enter /", Chdir, Text("/"))
}
