package owner

import (
	"encoding/json"
	"os/user"
	"path"
	"strings"
)

// storage is a folder of containers as podman and CRI-O keep it: one folder a container and an index of their names.
type storage struct {
	root  string // …/storage
	dir   string // …/storage/overlay-containers
	owner int    // the user whose it is
	names map[string]stored
}

// stored is one entry of the index.
type stored struct {
	ID       string   `json:"id"`
	Names    []string `json:"names"`
	Metadata string   `json:"metadata"` // JSON again
}

// dockerRoots are the folders that docker may keep its containers in: its own, and the one that its administrator chose (dockerd(8),
// daemon.json).
func (h *Host) dockerRoots() []string {
	roots := []string{"/var/lib/docker"}
	var conf struct {
		Root string `json:"data-root"`
	}
	if h.load("/etc/docker/daemon.json", 0, &conf) && path.IsAbs(conf.Root) {
		roots = append(roots, path.Clean(conf.Root))
	}
	return roots
}

// storageRoots are the folders that root's podman and CRI-O may keep theirs in. Of containers-storage.conf(5) the one line is read
// that says so.
func (h *Host) storageRoots() []string {
	roots := []string{"/var/lib/containers/storage"}
	for _, file := range []string{"/etc/containers/storage.conf", "/usr/share/containers/storage.conf"} {
		text, ok := h.read(file, 0)
		if !ok {
			continue
		}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, "=")
			value, _, _ = strings.Cut(value, "#")
			value = strings.Trim(strings.TrimSpace(value), `"'`)
			if strings.TrimSpace(key) == "graphroot" && path.IsAbs(value) && path.Clean(value) != roots[0] {
				return append(roots, path.Clean(value))
			}
		}
		break // the first file that is there is the whole configuration
	}
	return roots
}

// storages are the folders where the containers of a user lie, root's for "".
func (h *Host) storages(uid string) []*storage {
	if all, ok := h.memory.storage[uid]; ok {
		return all
	}
	roots, owner := h.storageRoots(), 0
	if uid != "" && uid != "0" {
		roots, owner = nil, anyOwner
		if u, err := user.LookupId(uid); err == nil && path.IsAbs(u.HomeDir) {
			roots = []string{u.HomeDir + "/.local/share/containers/storage"}
			owner = number(uid)
		}
	}
	var all []*storage
	for _, root := range roots {
		for _, driver := range []string{"overlay", "vfs", "btrfs", "zfs"} {
			s := &storage{root: root, dir: root + "/" + driver + "-containers", owner: owner, names: map[string]stored{}}
			var index []stored
			if !h.load(s.dir+"/containers.json", owner, &index) {
				continue
			}
			for _, e := range index {
				s.names[e.ID] = e
			}
			all = append(all, s)
		}
	}
	if h.memory.storage == nil {
		h.memory.storage = map[string][]*storage{}
	}
	h.memory.storage[uid] = all
	return all
}

// storageOf is the folder that knows the container. Only the folders of the user who runs it are asked: no user can give a
// container the name of another's.
func (h *Host) storageOf(c *Container) *storage {
	for _, s := range h.storages(c.User) {
		if _, ok := s.names[c.ID]; ok {
			return s
		}
	}
	return nil
}

// nameStorage reads the names that podman or CRI-O have given (seen with podman 4.3.1; CRI-O's annotations from its
// documentation).
func (h *Host) nameStorage(c *Container) bool {
	s := h.storageOf(c)
	if s == nil {
		return false
	}
	entry := s.names[c.ID]
	if len(entry.Names) > 0 {
		c.Name = entry.Names[0]
	}
	var meta struct {
		Image string `json:"image-name"`
	}
	if json.Unmarshal([]byte(entry.Metadata), &meta) == nil {
		c.Image = meta.Image
	}
	spec := h.userdata(s, c.ID)
	a := spec.Annotations
	if a["io.container.manager"] == "cri-o" || a["io.kubernetes.pod.name"] != "" {
		nameCRIO(c, a)
		return true
	}
	if c.Runtime == CRI || c.Runtime == OCI {
		c.Runtime = Podman
	}
	box := a["io.kubernetes.cri-o.SandboxID"] // of the Pod's infra container, which has none itself
	short := strings.TrimSuffix(c.Name, "-infra")
	c.Sandbox = box == "" && c.PodUID != "" && short != c.Name && strings.HasPrefix(c.PodUID, short)
	if c.PodUID != "" {
		// podman 5 has a data base that is not read: the beginning of the Pod's ID names it as well.
		c.Pod = orElse(h.podmanName(s, c.PodUID), c.PodUID[:min(12, len(c.PodUID))])
	}
	return true
}

// nameCRIO reads CRI-O's annotations.
func nameCRIO(c *Container, a map[string]string) {
	c.Runtime, c.Engine = CRIO, Kubelet
	c.Pod, c.PodNamespace = a["io.kubernetes.pod.name"], a["io.kubernetes.pod.namespace"]
	c.PodUID = orElse(a["io.kubernetes.pod.uid"], c.PodUID)
	c.Name, c.Image = a["io.kubernetes.container.name"], orElse(a["io.kubernetes.cri-o.ImageName"], c.Image)
	if a["io.kubernetes.cri-o.ContainerType"] == "sandbox" {
		c.Sandbox, c.Name = true, ""
	}
}

// userdata is the OCI config of a container.
func (h *Host) userdata(s *storage, id string) annotated {
	var spec annotated
	if safeName(id) {
		h.load(s.dir+"/"+id+"/userdata/config.json", s.owner, &spec)
	}
	return spec
}
