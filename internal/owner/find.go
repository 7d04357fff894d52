package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ErrNotFound says that no container has this name.
var ErrNotFound = errors.New("no such container")

// AmbiguousError says that a name means several containers.
type AmbiguousError struct {
	Word  string
	Means []string // each of them, so that it can be typed
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("cannot find container %s: it means %d containers", Sanitise(e.Word), len(e.Means))
}

// Hint names the containers.
func (e *AmbiguousError) Hint() string { return "give one of " + strings.Join(e.Means, ", ") }

// Find is the process that a word means:
//
//	PID, PID:INODE                       a process; with its number in pidfs, that one and no other
//	POD, NAMESPACE/POD                   the Pod's first main container
//	POD/CONTAINER, NAMESPACE/POD/CONTAINER
//	NAME, ID                             a container without a Pod; four or more characters of an ID
//	RUNTIME://WORD                       one of these, of docker, podman, containerd, crio, cri, lxc, nspawn, tripod …
//	unit://NAME.service                  a systemd unit
//	ip://ADDRESS                         whoever has the address in a network namespace of its own
//
// A word that means several is an AmbiguousError, one that means none is ErrNotFound.
func (h *Host) Find(word string) (Target, error) {
	if pid, inode, ok := parsePID(word); ok {
		t, err := h.Pin(pid, 0)
		if err == nil && inode != 0 && t.Inode != inode {
			err = fmt.Errorf("cannot find process %s: it has ended, or the number is another's: %w", Sanitise(word), fs.ErrNotExist)
		}
		return t, err
	}
	found, err := h.Containers(word)
	if err != nil {
		return Target{}, err
	}
	c, ok := h.chief(found)
	if !ok {
		return Target{}, ambiguous(word, found)
	}
	t, err := h.Pin(c.Init, c.InitStart)
	if err == nil && t.Container.Cgroup != c.Cgroup {
		err = fmt.Errorf("cannot find container %s: it has ended: %w", Sanitise(word), ErrNotFound)
	}
	t.Container.Init, t.Container.InitStart = c.Init, c.InitStart
	return t, err
}

// parsePID reads PID and PID:INODE.
func parsePID(word string) (pid int, inode uint64, ok bool) {
	n, rest, has := strings.Cut(word, ":")
	pid = number(n)
	if pid <= 0 {
		return 0, 0, false
	}
	if has {
		var err error
		if inode, err = strconv.ParseUint(rest, 10, 64); err != nil {
			return 0, 0, false
		}
	}
	return pid, inode, true
}

// Containers are the running containers that a word of Find means, all of one Pod if it names a Pod, its sandbox first. Words
// that mean containers of several Pods are an AmbiguousError.
func (h *Host) Containers(word string) ([]Container, error) {
	scheme, rest, has := strings.Cut(word, "://")
	if !has {
		scheme, rest = "", word
	}
	switch {
	case rest == "":
		return nil, fmt.Errorf("cannot find container %q: it has no name", Sanitise(word))
	case scheme == "unit":
		return h.unit(rest)
	case scheme == "ip":
		return h.ip(rest)
	case has && !known(scheme):
		return nil, fmt.Errorf("cannot find container %s: no runtime is called %s; there are %s, and unit, ip", Sanitise(word), Sanitise(scheme), strings.Join(runtimes(), ", "))
	}
	all, err := h.All()
	if err != nil {
		return nil, err
	}
	return choose(all, scheme, rest, word)
}

func runtimes() []string {
	return []string{Tripod, Docker, Containerd, CRIO, CRI, Podman, LXC, Nspawn, Machined, Runc, Crun, BuildKit, Flatpak, Snap}
}

func known(scheme string) bool { return slices.Contains(runtimes(), scheme) }

// ofScheme says whether a container is one of the runtime that was asked for. cri is every runtime below a kubelet.
func (c Container) ofScheme(scheme string) bool {
	return scheme == "" || scheme == c.Runtime || scheme == CRI && c.Engine == Kubelet
}

// How well a word fits a container: a name that was given beats an ID, a whole ID its beginning.
const (
	noFit = iota
	fitsBeginning
	fitsID
	fitsName
)

// fit says how well a word fits, and whether it named the Pod and not one container.
func (c Container) fit(word string) (fit int, pod bool) {
	a, rest, two := strings.Cut(word, "/")
	b, d, three := strings.Cut(rest, "/")
	name := c.Name
	if c.Sandbox {
		name = "(sandbox)"
	}
	switch {
	case three:
		if c.PodNamespace == a && c.Pod == b && c.Pod != "" && (name == d || c.Name == d) {
			return fitsName, false
		}
	case two:
		if c.Pod != "" && c.Pod == a && (name == b || c.Name == b) {
			return fitsName, false
		}
		if c.Pod != "" && c.PodNamespace == a && c.Pod == b {
			return fitsName, true
		}
	case c.Pod == word:
		return fitsName, true
	case c.Name == word && (c.Pod == "" || c.Runtime == Podman):
		return fitsName, false
	case c.ID == word:
		return fitsID, false
	case c.PodUID == word:
		return fitsID, true
	case len(word) >= 4 && strings.HasPrefix(c.ID, word):
		return fitsBeginning, false
	case len(word) >= 4 && strings.HasPrefix(c.PodUID, word):
		return fitsBeginning, true
	}
	return noFit, false
}

// choose is pure: the containers of all that a word means.
func choose(all []Container, scheme, word, typed string) ([]Container, error) {
	var found []Container
	best := noFit
	for _, c := range all {
		if c.Monitor || !c.ofScheme(scheme) {
			continue
		}
		fit, _ := c.fit(word)
		if fit > best {
			best, found = fit, nil
		}
		if fit == best && fit != noFit {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("cannot find container %s: %w", Sanitise(typed), ErrNotFound)
	}
	for _, c := range found {
		_, pod := c.fit(word)
		if len(found) > 1 && (!pod || !samePod(c, found[0])) {
			return nil, ambiguous(typed, found)
		}
	}
	return found, nil
}

func samePod(a, b Container) bool {
	return a.Runtime == b.Runtime && a.PodUID == b.PodUID && a.PodNamespace == b.PodNamespace && a.Pod == b.Pod
}

// ambiguous names each container, or its Pod, by a word that means it alone.
func ambiguous(word string, found []Container) *AmbiguousError {
	e := &AmbiguousError{Word: word}
	several := false
	for _, c := range found {
		several = several || !samePod(c, found[0])
	}
	for _, c := range found {
		name := c.Runtime + "://" + c.Word()
		if several && c.Pod != "" && c.PodUID != "" && c.ID == "" {
			name = c.Runtime + "://" + Sanitise(c.PodUID)
		}
		if !slices.Contains(e.Means, name) {
			e.Means = append(e.Means, name)
		}
	}
	return e
}

// Word is the shortest exact name: NAMESPACE/POD/CONTAINER in a Pod, else the name, else the ID.
func (c Container) Word() string {
	switch {
	case c.Pod != "" && c.PodNamespace != "" && c.Name != "":
		return Sanitise(c.PodNamespace + "/" + c.Pod + "/" + c.Name)
	case c.Pod != "" && c.Name != "":
		return Sanitise(c.Pod + "/" + c.Name)
	case c.Name != "":
		return Sanitise(c.Name)
	case c.ID != "":
		return Sanitise(c.ShortID())
	}
	return Sanitise(c.PodUID)
}

// chief is the one container that stands for those of a Pod: the first main one of its manifest, else the one whose process is
// the oldest, the sandbox last.
func (h *Host) chief(found []Container) (Container, bool) {
	if len(found) == 0 {
		return Container{}, false
	}
	order := h.mainContainers(found[0])
	slices.SortStableFunc(found, func(a, b Container) int {
		return place(order, a) - place(order, b)
	})
	return found[0], true
}

// place is where a container stands: main ones in the manifest's order, others, the sandbox.
func place(order []string, c Container) int {
	if c.Sandbox {
		return len(order) + 1
	}
	if i := slices.Index(order, c.Name); i >= 0 {
		return i
	}
	return len(order)
}

// mainContainers are the names of the main containers of a Pod of ours, in order.
func (h *Host) mainContainers(c Container) []string {
	var pod podRecord
	if c.Runtime != Tripod || !safeName(c.PodUID) || !h.load(h.runRoot()+"/pods/"+c.PodUID+"/pod.json", 0, &pod) {
		return nil
	}
	var names []string
	if name := pod.Metadata.Annotations["kubectl.kubernetes.io/default-container"]; name != "" {
		names = append(names, name)
	}
	for _, m := range pod.Spec.Containers {
		names = append(names, m.Name)
	}
	return names
}

// unit is the first process of a systemd unit, as if it were a container.
func (h *Host) unit(name string) ([]Container, error) {
	if !strings.Contains(name, ".") {
		name += ".service"
	}
	found := map[string]*candidate{}
	err := h.each(func(pid int) {
		for _, l := range h.lines(pid) {
			c := identify(l.path)
			if i := strings.Index(l.path+"/", "/"+name+"/"); i >= 0 {
				c = Container{Unit: name, User: c.User, Cgroup: l.path[:i+1+len(name)]}
				if found[c.Cgroup] == nil {
					found[c.Cgroup] = &candidate{Container: c}
				}
				found[c.Cgroup].pids = append(found[c.Cgroup].pids, pid)
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	all := h.settled(found)
	switch len(all) {
	case 0:
		return nil, fmt.Errorf("cannot find unit %s: it has no process", Sanitise(name))
	case 1:
		return all, nil
	}
	e := &AmbiguousError{Word: "unit://" + name}
	for _, c := range all {
		e.Means = append(e.Means, strconv.Itoa(c.Init)+" ("+Sanitise(c.Cgroup)+")")
	}
	slices.Sort(e.Means)
	return nil, e
}

// ip is whoever has an address: the containers in the network namespaces that have it, which are those of one Pod.
func (h *Host) ip(word string) ([]Container, error) {
	addr, err := netip.ParseAddr(word)
	if err != nil {
		return nil, fmt.Errorf("cannot find address %s: it is no IP address", Sanitise(word))
	}
	nets, err := h.WithAddress(addr)
	if err != nil {
		return nil, err
	}
	all, err := h.All()
	if err != nil {
		return nil, err
	}
	var found []Container
	for _, c := range all {
		if !c.Monitor && slices.Contains(nets, h.netOf(c.Init)) {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("cannot find container with address %s: %w", addr, ErrNotFound)
	}
	for _, c := range found {
		if !samePod(c, found[0]) || c.PodUID == "" && len(found) > 1 {
			return nil, ambiguous("ip://"+word, found)
		}
	}
	return found, nil
}
