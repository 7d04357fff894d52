package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/cgroup"
)

// Whose a namespace is.
const (
	OfPod       = "pod"       // one that the pause process holds and all containers share
	OfHost      = "host"      // the host's
	OfContainer = "container" // each container's own
)

// Sandbox is what a keeper needs to know to hold a Pod's ground: sandbox.json.
type Sandbox struct {
	Version   int    `json:"version"`
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Hostname  string `json:"hostname,omitempty"` // of the Pod's own UTS namespace

	CgroupPath   string `json:"cgroupPath"`             // of the Pod, below every hierarchy: tripod/UID
	KeeperCgroup string `json:"keeperCgroup,omitempty"` // of the keeper: tripod/keepers/UID; "" leaves it where it is

	Namespaces Namespaces             `json:"namespaces"`
	UserNS     string                 `json:"userNS,omitempty"` // OfHost (or ""), OfPod or OfContainer
	UIDMap     []specs.LinuxIDMapping `json:"uidMap,omitempty"` // of the Pod's user namespace
	GIDMap     []specs.LinuxIDMapping `json:"gidMap,omitempty"`

	Sysctls   map[string]string     `json:"sysctls,omitempty"` // of the Pod's own namespaces
	Resources *specs.LinuxResources `json:"resources,omitempty"`

	Shm           int64          `json:"shm,omitempty"` // bytes of /dev/shm at DIR/shm, in the keeper's mount namespace; 0 makes none
	MemoryVolumes []MemoryVolume `json:"memoryVolumes,omitempty"`

	// OnFinish is a command that is run when the Pod is finished: it gives back what only the Pod's maker knows of, such
	// as addresses. It has OnFinishTime seconds.
	OnFinish []string `json:"onFinish,omitempty"`
}

// Namespaces says whose each namespace is: OfPod (or "") or OfHost; PID also OfContainer, which is its "".
type Namespaces struct {
	Net string `json:"net,omitempty"`
	IPC string `json:"ipc,omitempty"`
	UTS string `json:"uts,omitempty"`
	PID string `json:"pid,omitempty"`
}

// MemoryVolume is a tmpfs that the keeper mounts in its own mount namespace, for the containers to bind.
type MemoryVolume struct {
	Name string      `json:"name"`
	Path string      `json:"path"`           // an existing directory below DIR
	Size int64       `json:"size,omitempty"` // bytes; 0 is the kernel's default, half of the memory
	Mode os.FileMode `json:"mode,omitempty"` // permissions; 0 is 0777
	GID  int         `json:"gid,omitempty"`  // group on the host; 0 is the group of the Pod's root
}

// bits is the mode as chmod(2) takes it.
func (v MemoryVolume) bits() uint32 {
	if v.Mode == 0 {
		return 0o777
	}
	bits := uint32(v.Mode.Perm())
	if v.Mode&os.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if v.Mode&os.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// shmDir is where the Pod's /dev/shm is mounted.
func shmDir(dir string) string { return filepath.Join(dir, "shm") }

// check says what is wrong with a Sandbox that lies in dir.
func (s *Sandbox) check(dir string) error {
	n := s.Namespaces
	switch {
	case s.Version < 1 || s.Version > Version:
		return fmt.Errorf("version %d of sandbox.json is not one of 1 to %d", s.Version, Version)
	case s.UID == "" || strings.ContainsAny(s.UID, "/\x00\n"):
		return fmt.Errorf("uid %q cannot name a Pod", s.UID)
	case !whose(n.Net, OfPod, OfHost), !whose(n.IPC, OfPod, OfHost), !whose(n.UTS, OfPod, OfHost),
		!whose(n.PID, OfContainer, OfPod, OfHost), !whose(s.UserNS, OfHost, OfPod, OfContainer):
		return fmt.Errorf("namespaces %+v, user %q: not of pod, host or container", n, s.UserNS)
	case s.UserNS == OfPod && (len(s.UIDMap) == 0 || len(s.GIDMap) == 0):
		return fmt.Errorf("a user namespace of the Pod needs uidMap and gidMap")
	case s.Shm < 0:
		return fmt.Errorf("shm is %d bytes", s.Shm)
	}
	if err := cgroup.CheckPath(s.CgroupPath); err != nil {
		return err
	}
	if s.KeeperCgroup != "" {
		if err := cgroup.CheckPath(s.KeeperCgroup); err != nil {
			return err
		}
	}
	for _, v := range s.MemoryVolumes {
		if filepath.Clean(v.Path) != v.Path || !strings.HasPrefix(v.Path, dir+"/") || v.Size < 0 {
			return fmt.Errorf("memory volume %q: path %q is not below %s, or its size is %d", v.Name, v.Path, dir, v.Size)
		}
	}
	return nil
}

func whose(w string, known ...string) bool {
	for _, k := range known {
		if w == k || w == "" {
			return true
		}
	}
	return false
}
