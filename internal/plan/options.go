package plan

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// options is what the option words of one spec mount mean (config-linux.md, "Linux mount options").
type options struct {
	flags       uintptr // MS_* for mount(2)
	cleared     uintptr // MS_* that a word took away
	rset, rclr  uint64  // MOUNT_ATTR_* for all mounts below (rro, …)
	propagation []uintptr
	idmap       string // "", "idmap" or "ridmap"
	data        string // what the file system itself reads
	bind        bool
	nofollow    bool // NoFollow
	copyUp      bool // tmpcopyup
}

// NoFollow is the option word of a bind mount whose source is opened without following symbolic links: a container may
// have put one there since the source was chosen (CVE-2021-25741). mount(8) leaves words with x- to programs like us.
const NoFollow = "x-tripod.nofollow"

// word is what one option word does.
type word struct {
	name string
	set  uintptr
	clr  uintptr
}

// words is sorted by name. It is data: one row a word.
var words = []word{
	{"acl", unix.MS_POSIXACL, 0},
	{"async", 0, unix.MS_SYNCHRONOUS},
	{"atime", 0, unix.MS_NOATIME},
	{"bind", unix.MS_BIND, 0},
	{"defaults", 0, 0},
	{"dev", 0, unix.MS_NODEV},
	{"diratime", 0, unix.MS_NODIRATIME},
	{"dirsync", unix.MS_DIRSYNC, 0},
	{"exec", 0, unix.MS_NOEXEC},
	{"iversion", unix.MS_I_VERSION, 0},
	{"lazytime", unix.MS_LAZYTIME, 0},
	{"loud", 0, unix.MS_SILENT},
	{"mand", unix.MS_MANDLOCK, 0},
	{"noacl", 0, unix.MS_POSIXACL},
	{"noatime", unix.MS_NOATIME, 0},
	{"nodev", unix.MS_NODEV, 0},
	{"nodiratime", unix.MS_NODIRATIME, 0},
	{"noexec", unix.MS_NOEXEC, 0},
	{"noiversion", 0, unix.MS_I_VERSION},
	{"nolazytime", 0, unix.MS_LAZYTIME},
	{"nomand", 0, unix.MS_MANDLOCK},
	{"norelatime", 0, unix.MS_RELATIME},
	{"nostrictatime", 0, unix.MS_STRICTATIME},
	{"nosuid", unix.MS_NOSUID, 0},
	{"nosymfollow", unix.MS_NOSYMFOLLOW, 0},
	{"rbind", unix.MS_BIND | unix.MS_REC, 0},
	{"relatime", unix.MS_RELATIME, 0},
	{"remount", unix.MS_REMOUNT, 0},
	{"ro", unix.MS_RDONLY, 0},
	{"rw", 0, unix.MS_RDONLY},
	{"silent", unix.MS_SILENT, 0},
	{"strictatime", unix.MS_STRICTATIME, 0},
	{"suid", 0, unix.MS_NOSUID},
	{"symfollow", 0, unix.MS_NOSYMFOLLOW},
	{"sync", unix.MS_SYNCHRONOUS, 0},
}

// recursive has the words that change every mount below as well: set, or cleared if not.
var recursive = []struct {
	name  string
	attr  uint64
	clear bool
}{
	{"ratime", unix.MOUNT_ATTR_NOATIME, true},
	{"rdev", unix.MOUNT_ATTR_NODEV, true},
	{"rdiratime", unix.MOUNT_ATTR_NODIRATIME, true},
	{"rexec", unix.MOUNT_ATTR_NOEXEC, true},
	{"rnoatime", unix.MOUNT_ATTR_NOATIME, false},
	{"rnodev", unix.MOUNT_ATTR_NODEV, false},
	{"rnodiratime", unix.MOUNT_ATTR_NODIRATIME, false},
	{"rnoexec", unix.MOUNT_ATTR_NOEXEC, false},
	{"rnorelatime", unix.MOUNT_ATTR_RELATIME, true},
	{"rnostrictatime", unix.MOUNT_ATTR_STRICTATIME, true},
	{"rnosuid", unix.MOUNT_ATTR_NOSUID, false},
	{"rnosymfollow", unix.MOUNT_ATTR_NOSYMFOLLOW, false},
	{"rrelatime", unix.MOUNT_ATTR_RELATIME, false},
	{"rro", unix.MOUNT_ATTR_RDONLY, false},
	{"rrw", unix.MOUNT_ATTR_RDONLY, true},
	{"rstrictatime", unix.MOUNT_ATTR_STRICTATIME, false},
	{"rsuid", unix.MOUNT_ATTR_NOSUID, true},
	{"rsymfollow", unix.MOUNT_ATTR_NOSYMFOLLOW, true},
}

// propagations has the words of mount propagation.
var propagations = []word{
	{"private", unix.MS_PRIVATE, 0},
	{"rprivate", unix.MS_PRIVATE | unix.MS_REC, 0},
	{"rshared", unix.MS_SHARED | unix.MS_REC, 0},
	{"rslave", unix.MS_SLAVE | unix.MS_REC, 0},
	{"runbindable", unix.MS_UNBINDABLE | unix.MS_REC, 0},
	{"shared", unix.MS_SHARED, 0},
	{"slave", unix.MS_SLAVE, 0},
	{"unbindable", unix.MS_UNBINDABLE, 0},
}

func find(table []word, name string) (word, bool) {
	i, ok := slices.BinarySearchFunc(table, name, func(w word, n string) int { return strings.Compare(w.name, n) })
	if !ok {
		return word{}, false
	}
	return table[i], true
}

// parseOptions reads the option words of one mount. A word that is none of ours goes to the file system as data.
func parseOptions(list []string) options {
	var o options
	var data []string
	for _, name := range list {
		if w, ok := find(words, name); ok {
			o.flags = o.flags&^w.clr | w.set
			o.cleared = o.cleared&^w.set | w.clr
			continue
		}
		if w, ok := find(propagations, name); ok {
			o.propagation = append(o.propagation, w.set)
			continue
		}
		if o.recursive(name) {
			continue
		}
		switch name {
		case "idmap", "ridmap":
			o.idmap = name
		case NoFollow:
			o.nofollow = true
		case "tmpcopyup":
			o.copyUp = true
		case "":
		default:
			data = append(data, name)
		}
	}
	o.data = strings.Join(data, ",")
	o.bind = o.flags&unix.MS_BIND != 0
	return o
}

func (o *options) recursive(name string) bool {
	for _, r := range recursive {
		if r.name != name {
			continue
		}
		if r.clear {
			o.rclr |= r.attr
			o.rset &^= r.attr
		} else {
			o.rset |= r.attr
			o.rclr &^= r.attr
		}
		return true
	}
	return false
}

// attributes turns MS_* flags into what mount_setattr(2) is to set and clear.
func (o *options) attributes() (set, clr uint64) {
	set, clr = attributesOf(o.flags), attributesOf(o.cleared)
	if o.flags&unix.MS_NOATIME != 0 {
		set |= unix.MOUNT_ATTR_NOATIME
	}
	if o.flags&unix.MS_STRICTATIME != 0 {
		set |= unix.MOUNT_ATTR_STRICTATIME
	}
	return set, clr &^ set
}

// normalAtime lets the access time attributes be set: the kernel wants the whole field cleared then (mount_setattr(2)).
func normalAtime(set, clr uint64, asked bool) (uint64, uint64) {
	const field = unix.MOUNT_ATTR__ATIME
	if asked || (set|clr)&field != 0 {
		clr |= field
	}
	return set, clr
}

func attributesOf(flags uintptr) (attr uint64) {
	for _, f := range []struct {
		flag uintptr
		attr uint64
	}{
		{unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY},
		{unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID},
		{unix.MS_NODEV, unix.MOUNT_ATTR_NODEV},
		{unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC},
		{unix.MS_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME},
		{unix.MS_NOSYMFOLLOW, unix.MOUNT_ATTR_NOSYMFOLLOW},
	} {
		if flags&f.flag != 0 {
			attr |= f.attr
		}
	}
	return attr
}

// MountOptions are the option words of mounts that have a meaning here, sorted. Others go to the file system.
func MountOptions() []string {
	list := []string{"idmap", "ridmap", "tmpcopyup", NoFollow}
	for _, table := range [][]word{words, propagations} {
		for _, w := range table {
			list = append(list, w.name)
		}
	}
	for _, r := range recursive {
		list = append(list, r.name)
	}
	slices.Sort(list)
	return list
}
