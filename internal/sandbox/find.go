package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"tripod/internal/keeper"
	"tripod/internal/record"
	"tripod/internal/volume"
)

// Sandbox is one Pod on this host, as its folder tells it.
type Sandbox struct {
	Host Host
	Pod  *corev1.Pod // with its UID, creation time and, once it has a network, addresses

	Notes   []string   // what its maker should tell a person
	Volumes volume.Set // of a Pod that was created by this process

	engine *record.Lock   // held by the Pod's one will
	pause  keeper.Process // holds the namespaces
	keeper keeper.Process
	ids    []idRange // of the Pod's user namespace, or of each container's, init containers first
}

// ErrNotFound says that there is no such Pod.
var ErrNotFound = errors.New("no such Pod")

// AmbiguousError says that a name means several Pods.
type AmbiguousError struct {
	Word string
	Pods []string // NAMESPACE/NAME (UID) of each
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("cannot find Pod %s: it means %d Pods", e.Word, len(e.Pods))
}

// Hint names the Pods.
func (e *AmbiguousError) Hint() string { return "give more of one of " + strings.Join(e.Pods, ", ") }

// NotFoundError says that no Pod has this name, and which Pods there are.
type NotFoundError struct {
	Word, Namespace string
	Near            []string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("cannot find Pod %s in namespace %s: %v", e.Word, e.Namespace, ErrNotFound)
}

// Unwrap makes it ErrNotFound.
func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// Hint names what may have been meant.
func (e *NotFoundError) Hint() string {
	if len(e.Near) == 0 {
		return "tripod ps -A shows all Pods"
	}
	return "there is " + strings.Join(e.Near, ", ")
}

// List is every Pod on this host, by namespace, name and age. A folder that is no whole Pod is not among them: Sweep
// removes it, or its maker is not done.
func (h Host) List() ([]*Sandbox, error) {
	entries, err := os.ReadDir(h.Pods())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list Pods: %w", err)
	}
	var all []*Sandbox
	for _, e := range entries {
		if s, err := h.Open(types.UID(e.Name())); err == nil {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b *Sandbox) int {
		return cmp.Or(cmp.Compare(a.Pod.Namespace, b.Pod.Namespace), cmp.Compare(a.Pod.Name, b.Pod.Name),
			a.Pod.CreationTimestamp.Compare(b.Pod.CreationTimestamp.Time), cmp.Compare(a.Pod.UID, b.Pod.UID))
	})
	return all, nil
}

// all is List where an error is as good as none.
func (h Host) all() []*Sandbox {
	all, _ := h.List()
	return all
}

// Open reads the folder of the Pod with this UID. An error that errors.Is fs.ErrNotExist says that there is none.
func (h Host) Open(uid types.UID) (*Sandbox, error) {
	s := &Sandbox{Host: h, Pod: &corev1.Pod{}}
	if err := record.Get(filepath.Join(h.Dir(uid), podFile), s.Pod); err != nil {
		return nil, err
	}
	if s.Pod.UID != uid {
		return nil, fmt.Errorf("cannot read Pod %s: its record is of Pod %s", uid, s.Pod.UID)
	}
	return s, nil
}

// Find is the Pod that a word means: its name in the namespace, NAMESPACE/NAME, pod/NAME, or a beginning of its UID of
// at least four characters. A name wins over a beginning of a UID.
func (h Host) Find(namespace, word string) (*Sandbox, error) {
	all, err := h.List()
	if err != nil {
		return nil, err
	}
	return choose(all, namespace, word)
}

func choose(all []*Sandbox, namespace, word string) (*Sandbox, error) {
	name := strings.TrimPrefix(strings.TrimPrefix(word, "pods/"), "pod/")
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		namespace, name = ns, rest
	}
	var byName, byUID []*Sandbox
	missing := &NotFoundError{Word: name, Namespace: namespace}
	for _, s := range all {
		if s.Pod.Name == name && s.Pod.Namespace == namespace {
			byName = append(byName, s)
		} else if s.Pod.Name == name || strings.HasPrefix(s.Pod.Name, name) && name != "" {
			missing.Near = append(missing.Near, s.String())
		}
		if len(name) >= 4 && strings.HasPrefix(string(s.Pod.UID), name) {
			byUID = append(byUID, s)
		}
	}
	found := byName
	if len(found) == 0 {
		found = byUID
	}
	switch len(found) {
	case 0:
		return nil, missing
	case 1:
		return found[0], nil
	}
	e := &AmbiguousError{Word: word}
	for _, s := range found {
		e.Pods = append(e.Pods, s.String()+" ("+string(s.Pod.UID)+")")
	}
	return nil, e
}

// String is NAMESPACE/NAME, or NAME alone in the namespace that holds where none is given.
func (s *Sandbox) String() string {
	if s.Pod.Namespace == "default" {
		return s.Pod.Name
	}
	return s.Pod.Namespace + "/" + s.Pod.Name
}

// Dir is the Pod's folder.
func (s *Sandbox) Dir() string { return s.Host.Dir(s.Pod.UID) }

func (s *Sandbox) file(name string) string { return filepath.Join(s.Dir(), name) }

// ContainerError says that a Pod has no such container.
type ContainerError struct {
	Pod, Name string
	Names     []string
}

func (e *ContainerError) Error() string {
	return fmt.Sprintf("cannot find container %s in Pod %s", e.Name, e.Pod)
}

// Hint names the containers.
func (e *ContainerError) Hint() string { return "it has " + strings.Join(e.Names, ", ") }

// Container is the container that a word means: "" is the one that kubectl's annotation chooses, or the first main one.
func (s *Sandbox) Container(word string) (corev1.Container, error) {
	spec := s.Pod.Spec
	if word == "" {
		word = s.Pod.Annotations["kubectl.kubernetes.io/default-container"]
	}
	if word == "" {
		return spec.Containers[0], nil
	}
	var names []string
	for _, c := range slices.Concat(spec.Containers, spec.InitContainers, Guests(s.Pod)) {
		if c.Name == word {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return corev1.Container{}, &ContainerError{Pod: s.String(), Name: word, Names: names}
}
