package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"tripod/internal/bundle"
	"tripod/internal/keeper"
	"tripod/internal/manifest"
	"tripod/internal/network"
	"tripod/internal/record"
	"tripod/internal/volume"
)

// shmSize is /dev/shm of a Pod, in bytes: what every container runtime gives.
const shmSize = 64 << 20

// ExistsError says that a Pod of this name is there already.
type ExistsError struct{ Pod string }

func (e *ExistsError) Error() string {
	return fmt.Sprintf("cannot run Pod %s: there is one already", e.Pod)
}

// Hint says how to go on.
func (e *ExistsError) Hint() string { return "tripod rm -f " + e.Pod + " removes it" }

// Claim makes the folder and the volumes of a Pod, and takes its name and its ids. The Pod must have a UID that no Pod had
// before. The caller holds the Pod's engine lock from then on, until Release. When Claim fails it has left nothing; when
// what follows it fails, Remove takes away all there is.
func Claim(h Host, pod *corev1.Pod) (_ *Sandbox, err error) {
	s := &Sandbox{Host: h, Pod: pod}
	ground, err := bundle.SandboxOf(pod)
	if err != nil {
		return nil, fmt.Errorf("cannot run Pod %s: %w", s, err)
	}
	var u undo
	if err := s.claim(&u, ground); err != nil {
		return nil, errors.Join(err, u.all())
	}
	slog.Debug("folder and volumes are there", "pod", s.String())
	return s, nil
}

// Raise starts the Pod's keeper, which makes its cgroups, namespaces and memory volumes.
func (s *Sandbox) Raise() error {
	client, err := keeper.Spawn(s.Host.Keeper, s.Dir())
	if err != nil {
		return fmt.Errorf("cannot run Pod %s: %w", s, err)
	}
	slog.Debug("keeper is ready", "pod", s.String(), "pid", client.Hello().Pid)
	s.pause, s.keeper = client.Hello().Pause, client.Hello().Process
	return nil
}

// Prepare makes what Connect needs of the host, beside Raise.
func (s *Sandbox) Prepare(ctx context.Context) error {
	if s.Pod.Spec.HostNetwork || s.Pod.Annotations[manifest.AnnotationNetwork] == NetworkNone {
		return nil
	}
	return network.Prepare(ctx, s.Host.network())
}

// Connect gives the Pod, whose keeper is there, its network, unless it has the host's or wants none.
func (s *Sandbox) Connect(ctx context.Context) error {
	if s.Pod.Spec.HostNetwork || s.Pod.Annotations[manifest.AnnotationNetwork] == NetworkNone {
		return nil
	}
	result, err := network.Attach(ctx, s.Host.network(), network.Request{
		UID: string(s.Pod.UID), Namespace: s.Pod.Namespace, Name: s.Pod.Name,
		NetNS: s.namespace("net"),
		Ports: ports(s.Pod),
	})
	if err != nil {
		return err
	}
	s.Notes = append(s.Notes, result.Notes...)
	slog.Debug("network is there", "pod", s.String())
	return nil
}

// claim makes the Pod's folder with what its keeper is to read, if no other Pod has its name. Names and ids are
// looked up and taken under one lock.
func (s *Sandbox) claim(u *undo, ground bundle.Sandbox) error {
	if err := s.Host.prepare(); err != nil {
		return err
	}
	lock, err := record.Acquire(filepath.Join(s.Host.RunRoot, "pods.lock"))
	if err != nil {
		return err
	}
	defer lock.Release()
	if err := s.Host.pair(); err != nil {
		return err
	}
	for _, other := range s.Host.all() {
		if other.Pod.Name == s.Pod.Name && other.Pod.Namespace == s.Pod.Namespace {
			return &ExistsError{s.String()}
		}
	}
	dir := s.Dir()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make folder of Pod %s: %w", s, err)
	}
	u.add(func() error { return os.RemoveAll(dir) })
	if s.engine, err = record.Try(s.file(engineLockFile)); err != nil {
		return err
	}
	u.add(s.engine.Release)
	if err := s.takeIDs(ground.User); err != nil {
		return fmt.Errorf("cannot run Pod %s: %w", s, err)
	}
	var owner volume.Owner
	if ground.User == bundle.OfPod {
		owner = volume.Owner{UID: int(s.ids[0].First), GID: int(s.ids[0].First)}
	}
	if s.Volumes, err = volume.Make(s.Host.Root, s.Host.RunRoot, s.Pod, owner); err != nil {
		return err
	}
	u.add(func() error { return volume.Remove(s.Host.Root, s.Host.RunRoot, string(s.Pod.UID)) })
	described, err := s.describe(ground)
	if err != nil {
		return fmt.Errorf("cannot run Pod %s: %w", s, err)
	}
	if err := keeper.WriteSandbox(dir, described); err != nil {
		return err
	}
	return record.PutFast(s.file(podFile), s.Pod)
}

// describe says to the keeper what it is to hold.
func (s *Sandbox) describe(ground bundle.Sandbox) (*keeper.Sandbox, error) {
	uid := string(s.Pod.UID)
	d := &keeper.Sandbox{
		Version: keeper.Version, UID: uid, Namespace: s.Pod.Namespace, Name: s.Pod.Name,
		Hostname:     ground.KernelHostname(s.Pod),
		CgroupPath:   bundle.CgroupOf(s.Pod),
		KeeperCgroup: "tripod/keepers/" + uid,
		Namespaces: keeper.Namespaces{
			Net: string(ground.Net), IPC: string(ground.IPC), UTS: string(ground.UTS), PID: string(ground.PID),
		},
		UserNS:    string(ground.User),
		Sysctls:   ground.Sysctls,
		Resources: ground.Resources,
		Shm:       shmSize,
	}
	for _, v := range s.Volumes {
		if m := v.Memory; m != nil {
			d.MemoryVolumes = append(d.MemoryVolumes, keeper.MemoryVolume{Name: v.Name, Path: v.Path, Size: m.Size, Mode: m.Mode, GID: m.GID})
		}
	}
	if s.Host.Program != "" {
		d.OnFinish = []string{s.Host.Program, "--root", s.Host.Root, "--run-root", s.Host.RunRoot, "settle", uid}
	}
	if ground.IPC == bundle.OfHost {
		d.Shm = 0 // the host's own /dev/shm is what hostIPC means
	}
	if ground.User == bundle.OfPod {
		d.UIDMap, d.GIDMap = s.ids[0].mapping(), s.ids[0].mapping()
	}
	return d, nil
}

// takeIDs takes the ranges of ids that a Pod's user namespaces need, and records them.
func (s *Sandbox) takeIDs(owner bundle.Owner) error {
	n := 0
	switch owner {
	case bundle.OfPod:
		n = 1
	case bundle.OfContainer:
		n = len(s.Pod.Spec.InitContainers) + len(s.Pod.Spec.Containers)
	}
	if n == 0 {
		s.ids = []idRange{} // known to be none
		return nil
	}
	var err error
	if s.ids, err = freeIDs(n, usedIDs(s.Host)); err != nil {
		return err
	}
	return record.PutFast(s.file(idsFile), s.ids)
}

// ports are the Pod's host ports.
func ports(pod *corev1.Pod) []network.Port {
	var all []network.Port
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range containers {
			for _, p := range c.Ports {
				if p.HostPort == 0 {
					continue
				}
				ip, _ := netip.ParseAddr(p.HostIP) // validated; "" is every address
				all = append(all, network.Port{HostIP: ip, HostPort: uint16(p.HostPort), ContainerPort: uint16(p.ContainerPort), Protocol: string(p.Protocol)})
			}
		}
	}
	return all
}

// network is where the Pods' network is kept.
func (h Host) network() network.Config { return network.Config{Root: h.Root, RunRoot: h.RunRoot} }

// namespace is the path of a namespace that the pause process holds.
func (s *Sandbox) namespace(kind string) string {
	return fmt.Sprintf("/proc/%d/ns/%s", s.pause.Pid, kind)
}

// Namespaces are the paths of the namespaces that the Pod's pause process holds.
func (s *Sandbox) Namespaces() bundle.Namespaces {
	return bundle.Namespaces{
		Net: s.namespace("net"), IPC: s.namespace("ipc"), UTS: s.namespace("uts"), PID: s.namespace("pid"), User: s.namespace("user"),
	}
}

// Network is the network that was made for the Pod; errors.Is fs.ErrNotExist for one that has none of its own.
func (s *Sandbox) Network() (*network.Result, error) {
	return network.Lookup(s.Host.network(), string(s.Pod.UID))
}

// IPs are the Pod's addresses; none for a Pod on the host's network, or with none.
func (s *Sandbox) IPs() []netip.Addr {
	found, err := s.Network()
	if err != nil {
		return nil
	}
	return found.IPs
}

// Stamp makes a Pod one that can be created: a copy with a UID and creation time of its own.
func Stamp(pod *corev1.Pod, uid types.UID, now time.Time) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.UID = uid
	pod.CreationTimestamp.Time = now.Truncate(time.Second)
	return pod
}

// Settle gives back the network of a Pod that has ended. Its keeper has it run by Program.
func (h Host) Settle(ctx context.Context, uid string) error {
	return network.Detach(ctx, h.network(), uid)
}
