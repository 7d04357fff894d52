package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/bundle"
	"tripod/internal/container"
	"tripod/internal/image"
	"tripod/internal/life"
	"tripod/internal/plan"
	"tripod/internal/record"
	"tripod/internal/sandbox"
	"tripod/internal/seccomp/profile"
)

// Explained is a Pod at each of its hops from an object to what the kernel is asked.
type Explained struct {
	Pod        *corev1.Pod
	Life       life.Life
	Containers []ExplainedContainer // init containers first
}

// ExplainedContainer is one container of it.
type ExplainedContainer struct {
	Name string
	Spec *specs.Spec
	Root plan.Rootfs
	Plan *plan.Plan
}

// Explain says what a Pod that is here was made of.
func (e *Engine) Explain(ctx context.Context, box *sandbox.Sandbox) (*Explained, error) {
	pod, err := e.Look(ctx, box)
	if err != nil {
		return nil, err
	}
	state, err := box.Observe(ctx)
	if err != nil {
		return nil, err
	}
	x := &Explained{Pod: pod, Life: state.Life}
	for _, c := range x.Life.Containers {
		one := ExplainedContainer{Name: c.Name, Spec: &specs.Spec{}}
		if err := record.Get(filepath.Join(c.Bundle, "config.json"), one.Spec); err != nil {
			return nil, fmt.Errorf("cannot explain Pod %s: %w", box, err)
		}
		if err := record.Get(filepath.Join(c.Bundle, "rootfs.json"), &one.Root); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot explain Pod %s: %w", box, err)
		}
		for _, r := range state.Containers {
			if r.Name == c.Name {
				one.Root = sandbox.RootOf(c.Bundle, one.Root, r.Attempt)
			}
		}
		x.Containers = append(x.Containers, one)
	}
	return x, x.compile(nil)
}

// Imagine says what a Pod would be made of. Nothing is made; what only a running Pod has is named in capitals: PAUSE is
// the process that holds its namespaces, UID its UID.
func (e *Engine) Imagine(ctx context.Context, pod *corev1.Pod) (*Explained, error) {
	pod = pod.DeepCopy()
	images := Images{}
	for _, w := range wants([]*corev1.Pod{pod}) {
		img, err := e.Store.Ensure(ctx, w.ref, image.Never, e.Pull)
		if err != nil {
			return nil, fmt.Errorf("cannot explain Pod %s: %w", pod.Name, err)
		}
		images[w.ref] = img
	}
	pod.UID = "UID"
	x := &Explained{Pod: pod}
	in := bundle.Input{
		Pod: pod, Node: thisNode(), Namespaces: imagined(), Volumes: map[string]string{},
		DefaultSeccomp: profile.Default, LocalSeccomp: localSeccomp,
	}
	dir := e.Host.Dir(pod.UID)
	file := func(name string) string { return filepath.Join(dir, "files", name) }
	in.Files = bundle.Files{Hosts: file("hosts"), Hostname: file("hostname"), ResolvConf: file("resolv.conf"), Shm: filepath.Join(dir, "shm")}
	assumed := map[string]plan.Kind{in.Files.Shm: plan.Dir}
	for _, f := range []string{in.Files.Hosts, in.Files.Hostname, in.Files.ResolvConf} {
		assumed[f] = plan.Regular
	}
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.HostPath != nil:
			in.Volumes[v.Name] = v.HostPath.Path
		case v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumMemory:
			in.Volumes[v.Name] = filepath.Join(dir, "volumes", v.Name)
		default:
			in.Volumes[v.Name] = filepath.Join(e.Host.Root, "volumes", "UID", v.Name)
		}
		assumed[in.Volumes[v.Name]] = plan.Dir
	}
	places := map[string]bundle.Place{}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			one, err := e.imagine(&containers[i], images, in, assumed)
			if err != nil {
				return nil, fmt.Errorf("cannot explain Pod %s: %w", pod.Name, err)
			}
			x.Containers = append(x.Containers, one)
			places[one.Name] = bundle.Place{
				Bundle: filepath.Join(dir, "containers", one.Name), Log: e.Host.LogFolder(pod, one.Name),
				Image: containers[i].Image, ImageID: imageID(images[containers[i].Image]),
				StopSignal: images[containers[i].Image].Config.Config.StopSignal,
			}
		}
	}
	x.Life = bundle.Life(pod, life.OrphanStop, func(c *corev1.Container) bundle.Place { return places[c.Name] })
	return x, x.compile(assumed)
}

func imagined() bundle.Namespaces {
	at := func(kind string) string { return "/proc/PAUSE/ns/" + kind }
	return bundle.Namespaces{Net: at("net"), IPC: at("ipc"), UTS: at("uts"), PID: at("pid"), User: at("user")}
}

func (e *Engine) imagine(c *corev1.Container, images Images, in bundle.Input, assumed map[string]plan.Kind) (ExplainedContainer, error) {
	one := ExplainedContainer{Name: c.Name}
	img := images[c.Image]
	in.Container, in.Image = c, img.Config
	// A user namespace of the container's own has ids that are chosen when it is made; these show the form.
	in.UIDs = []specs.LinuxIDMapping{{HostID: 524288, Size: sandbox.IDsPerPod}}
	in.GIDs = in.UIDs
	in.SubPaths = map[int]string{}
	for i, m := range c.VolumeMounts {
		if m.SubPath != "" {
			in.SubPaths[i] = filepath.Join(in.Volumes[m.Name], m.SubPath)
			assumed[in.SubPaths[i]] = plan.Dir
		}
	}
	var err error
	if in.Passwd, in.Group, err = e.accounts(img); err != nil {
		return one, err
	}
	lower, mounts, err := e.Store.Lower(img)
	if err != nil {
		return one, err
	}
	in.RootMounts = mounts
	if one.Spec, err = bundle.Spec(in); err != nil {
		return one, err
	}
	dir := filepath.Join(e.Host.Writable(in.Pod.UID), c.Name)
	root := plan.Rootfs{Lower: lower, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	one.Root = sandbox.RootOf(filepath.Join(e.Host.Dir(in.Pod.UID), "containers", c.Name), root, 0)
	return one, nil
}

// compile gives each container its Plan.
func (x *Explained) compile(assumed map[string]plan.Kind) error {
	host, err := container.Look()
	if err != nil {
		return err
	}
	for i := range x.Containers {
		c := &x.Containers[i]
		c.Plan, err = container.Explain(container.Config{
			ID: c.Name, Spec: c.Spec, Root: c.Root, Host: host, CgroupPath: bundle.CgroupOf(x.Pod) + "/" + c.Name,
		}, assumed)
		if err != nil {
			return fmt.Errorf("cannot explain container %s: %w", c.Name, err)
		}
	}
	return nil
}
