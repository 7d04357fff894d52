package owner

import (
	"slices"
	"strings"

	"tripod/internal/life"
)

// name fills in what the runtime's state says of a container: its names, its Pod, its first process. A user can call a cgroup
// what he likes below his own systemd, so only his own state gives names to that.
func (h *Host) name(c *Container) {
	if c.User != "" && c.Runtime != Podman && c.Runtime != Runc && c.Runtime != Crun {
		return
	}
	switch c.Runtime {
	case Tripod:
		h.nameTripod(c)
	case Docker:
		h.nameDocker(c)
	case Containerd:
		h.nameContainerd(c)
	case CRIO, Podman:
		h.nameStorage(c)
	case Runc, Crun:
		if isHex(c.ID, 64) && h.storageOf(c) != nil {
			c.Runtime = Podman
			h.nameStorage(c)
		}
	case CRI, OCI:
		h.nameUnknown(c)
	case Nspawn, Machined:
		h.nameMachine(c)
	}
}

// nameUnknown asks each runtime whether it knows an ID of which the path does not say whose it is.
func (h *Host) nameUnknown(c *Container) {
	switch {
	case h.nameDocker(c):
		c.Runtime = Docker
	case h.nameContainerd(c):
		c.Runtime = Containerd
	case h.nameStorage(c):
	}
}

// podRecord is the part of a Pod's pod.json that is read: the API's own form.
type podRecord struct {
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		UID       string `json:"uid"`

		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Containers     []namedImage `json:"containers"`
		InitContainers []namedImage `json:"initContainers"`
	} `json:"spec"`
}

type namedImage struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

// statusRecord is the part of a Pod's status.json that is read: a keeper's.
type statusRecord struct {
	Pause struct {
		Pid   int    `json:"pid"`
		Start uint64 `json:"start"`
	} `json:"pause"`
	Containers []life.Record `json:"containers"`
}

// nameTripod reads the records of a Pod of ours.
func (h *Host) nameTripod(c *Container) {
	if c.PodUID == "" {
		return
	}
	dir := h.runRoot() + "/pods/" + c.PodUID
	var pod podRecord
	if h.load(dir+"/pod.json", 0, &pod) && pod.Metadata.UID == c.PodUID {
		c.Pod, c.PodNamespace = pod.Metadata.Name, pod.Metadata.Namespace
		for _, in := range [][]namedImage{pod.Spec.InitContainers, pod.Spec.Containers} {
			for _, n := range in {
				if n.Name == c.Name {
					c.Image = n.Image
				}
			}
		}
	}
	var status statusRecord
	if !h.load(dir+"/status.json", 0, &status) || c.Monitor {
		return
	}
	if c.Sandbox {
		if p := status.Pause; h.alive(p.Pid, p.Start) {
			c.Init, c.InitStart = p.Pid, p.Start
		}
		return
	}
	for _, r := range status.Containers {
		if r.Name == c.Name {
			c.ID = r.ID
			if r.State == life.Running && h.alive(r.Pid, r.PidStart) {
				c.Init, c.InitStart = r.Pid, r.PidStart
			}
		}
	}
}

// nameDocker reads docker's record of a container (seen with docker 28.2.2).
func (h *Host) nameDocker(c *Container) bool {
	var s struct {
		ID     string `json:"ID"`
		Name   string `json:"Name"`
		Config struct {
			Image  string            `json:"Image"`
			Labels map[string]string `json:"Labels"`
		} `json:"Config"`
		State struct {
			Running bool `json:"Running"`
			Pid     int  `json:"Pid"`
		} `json:"State"`
	}
	if !isHex(c.ID, 64) {
		return false
	}
	has := func(root string) bool {
		return h.load(root+"/containers/"+c.ID+"/config.v2.json", 0, &s) && s.ID == c.ID
	}
	if !slices.ContainsFunc(h.dockerRoots(), has) {
		return false
	}
	c.Name, c.Image = strings.TrimPrefix(s.Name, "/"), s.Config.Image
	if s.State.Running {
		h.init(c, s.State.Pid)
	}
	l := s.Config.Labels
	if pod := l["io.kubernetes.pod.name"]; pod != "" {
		c.Engine, c.Pod, c.PodNamespace, c.PodUID = Kubelet, pod, l["io.kubernetes.pod.namespace"], l["io.kubernetes.pod.uid"]
		c.Name = l["io.kubernetes.container.name"]
		if l["io.kubernetes.docker.type"] == "podsandbox" {
			c.Sandbox, c.Name = true, ""
		}
	}
	return true
}

// annotated is the part of an OCI config.json that is read.
type annotated struct {
	Annotations map[string]string `json:"annotations"`
}

// nameContainerd reads the bundle of containerd's task, with the annotations of its CRI plugin (seen with containerd 1.6.20;
// those of the CRI plugin from pkg/cri/annotations of its documentation).
func (h *Host) nameContainerd(c *Container) bool {
	// Docker's daemon may have a containerd of its own.
	return h.nameTask(c, "/run/containerd/io.containerd.runtime.v2.task/") ||
		h.nameTask(c, "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/")
}

// nameTask looks for a container among the tasks of one containerd.
func (h *Host) nameTask(c *Container, tasks string) bool {
	namespaces := []string{c.Engine}
	if c.Engine == "" || c.Engine == Kubelet {
		namespaces = append([]string{"k8s.io"}, h.entries(tasks)...)
	}
	if !safeName(c.ID) {
		return false
	}
	for _, namespace := range namespaces {
		var s annotated
		dir := tasks + namespace + "/" + c.ID
		if !safeName(namespace) || !h.load(dir+"/config.json", 0, &s) {
			continue
		}
		if text, ok := h.read(dir+"/init.pid", 0); ok {
			if pid, _, ok := parsePID(strings.TrimSpace(string(text))); ok {
				h.init(c, pid)
			}
		}
		if namespace == "moby" {
			c.Runtime = Docker
			return true
		}
		if c.Engine == "" {
			c.Engine = namespace
		}
		a := s.Annotations
		if c.Name == "" {
			c.Name = a["nerdctl/name"]
		}
		if pod := a["io.kubernetes.cri.sandbox-name"]; pod != "" {
			c.Engine, c.Pod, c.PodNamespace = Kubelet, pod, a["io.kubernetes.cri.sandbox-namespace"]
			c.PodUID = orElse(a["io.kubernetes.cri.sandbox-uid"], c.PodUID)
			c.Name, c.Image = a["io.kubernetes.cri.container-name"], a["io.kubernetes.cri.image-name"]
			c.Sandbox = a["io.kubernetes.cri.container-type"] == "sandbox"
		}
		if c.Name == "" && !c.Sandbox && !isHex(c.ID, 64) {
			c.Name = c.ID // ctr has no other name for it
		}
		return true
	}
	return false
}

// nameMachine reads systemd-machined's record, a list of NAME=value lines (from machinectl(1) and the format of
// /run/systemd/machines, which that calls private).
func (h *Host) nameMachine(c *Container) {
	if !safeName(c.Name) {
		return
	}
	text, ok := h.read("/run/systemd/machines/"+c.Name, 0)
	if !ok {
		return
	}
	for l := range strings.SplitSeq(string(text), "\n") {
		switch key, value, _ := strings.Cut(l, "="); key {
		case "LEADER":
			if pid, _, ok := parsePID(value); ok {
				h.init(c, pid)
			}
		case "SERVICE":
			if value == "systemd-nspawn" {
				c.Runtime = Nspawn
			}
		}
	}
}

// init believes a state file's first process when that is in the container's cgroup.
func (h *Host) init(c *Container, pid int) {
	for _, l := range h.lines(pid) {
		if below(l.path, c.Cgroup) {
			c.Init, c.InitStart = pid, startOf(h.proc(), pid)
			return
		}
	}
}
