package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/bundle"
	"tripod/internal/cgroup"
	"tripod/internal/image"
	"tripod/internal/network"
	"tripod/internal/sandbox"
)

// Origins says what a Pod and its containers have, and what asked for each.
type Origins struct {
	Pod        string             `json:"pod"`
	Namespace  string             `json:"namespace"`
	Things     []bundle.Origin    `json:"things"` // of the Pod
	Containers []ContainerOrigins `json:"containers"`
}

// ContainerOrigins says it of one container.
type ContainerOrigins struct {
	Name   string          `json:"name"`
	Init   bool            `json:"init,omitempty"`
	Things []bundle.Origin `json:"things"`
}

// Origins follows from what Explain or Imagine found. The box is the Pod that is here, or nil for one that is imagined:
// only the first has addresses.
func (e *Engine) Origins(ctx context.Context, x *Explained, box *sandbox.Sandbox) (*Origins, error) {
	host, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	o := &Origins{Pod: x.Pod.Name, Namespace: x.Pod.Namespace}
	if o.Things, err = bundle.PodOrigins(x.Pod); err != nil {
		return nil, err
	}
	if pause := x.Pod.Annotations[AnnotationPausePID]; box != nil && pause != "" {
		o.hold(pause)
	}
	if err := o.network(x.Pod, box); err != nil {
		return nil, err
	}
	ground, err := bundle.SandboxOf(x.Pod)
	if err != nil {
		return nil, err
	}
	settings, err := cgroup.Settings(host, ground.Resources)
	if err != nil {
		return nil, err
	}
	o.Things = append(o.Things, cgroupOrigins(host, bundle.CgroupOf(x.Pod), settings, func(string) string { return "the sum of its containers', or spec.resources" })...)
	lists := []struct {
		field string
		list  []corev1.Container
	}{{"initContainers", x.Pod.Spec.InitContainers}, {"containers", x.Pod.Spec.Containers}}
	n := 0
	for _, l := range lists {
		for i := range l.list {
			if n == len(x.Containers) {
				return o, nil // a Pod that has not begun
			}
			c, field := &l.list[i], fmt.Sprintf("spec.%s[%d]", l.field, i)
			one := ContainerOrigins{Name: c.Name, Init: l.field == "initContainers"}
			spec := x.Containers[n].Spec
			one.Things = bundle.ContainerOrigins(x.Pod, c, field, e.configOf(ctx, c.Image), spec)
			if settings, err = cgroup.Settings(host, spec.Linux.Resources); err != nil {
				return nil, err
			}
			one.Things = append(one.Things, cgroupOrigins(host, bundle.CgroupOf(x.Pod)+"/"+c.Name, settings, func(origin string) string {
				return bundle.ResourceField(x.Pod, c, field, origin)
			})...)
			o.Containers = append(o.Containers, one)
			n++
		}
	}
	return o, nil
}

// configOf is the config of an image that is here, or nil.
func (e *Engine) configOf(ctx context.Context, ref string) *ocispec.ImageConfig {
	img, err := e.Store.Ensure(ctx, ref, image.Never, e.Pull)
	if err != nil {
		return nil
	}
	return &img.Config.Config
}

// hold adds the numbers of the namespaces that pause holds.
func (o *Origins) hold(pause string) {
	for i := range o.Things {
		t := &o.Things[i]
		kind, pods := strings.CutSuffix(t.What, ": the Pod's")
		if t.Part != "namespace" || !pods {
			continue
		}
		if link, err := os.Readlink("/proc/" + pause + "/ns/" + kind); err == nil {
			t.What += ", " + link
		}
	}
}

// network adds the Pod's addresses and what leads to them.
func (o *Origins) network(pod *corev1.Pod, box *sandbox.Sandbox) error {
	for i, c := range pod.Spec.Containers {
		for j, p := range c.Ports {
			if p.HostPort == 0 || pod.Spec.HostNetwork {
				continue
			}
			at := p.HostIP
			if at == "" {
				at = "each address of the host"
			}
			o.Things = append(o.Things, bundle.Origin{
				Part: "firewall", What: fmt.Sprintf("%s port %d of %s -> %d", p.Protocol, p.HostPort, at, p.ContainerPort),
				Meaning: "an element of the map of tripod's own nftables table: what comes for it is led to the Pod",
				From:    fmt.Sprintf("spec.containers[%d].ports[%d].hostPort", i, j),
			})
		}
	}
	if box == nil {
		return nil
	}
	found, err := box.Network()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, ip := range found.IPs {
		o.Things = append(o.Things, bundle.Origin{
			Part: "address", What: ip.String() + " on " + found.Interface, Meaning: meaningOf(found), From: "default; spec.hostNetwork leaves it out",
		})
	}
	for _, note := range found.Notes {
		o.Things = append(o.Things, bundle.Origin{Part: "firewall", What: note, From: "the host"})
	}
	return nil
}

func meaningOf(r *network.Result) string {
	if !r.Gateway.IsValid() {
		return "the Pod's, in a network of a CNI plugin"
	}
	return "the Pod's, on a bridge of tripod's; the way out is " + r.Gateway.String() + ", behind the host's address"
}

// cgroupOrigins are the writes to control files.
func cgroupOrigins(host cgroup.Host, path string, settings []cgroup.Setting, from func(origin string) string) []bundle.Origin {
	var all []bundle.Origin
	for _, s := range settings {
		dir := ""
		for _, y := range host.Hierarchies {
			if y.Name == s.Hierarchy {
				dir = y.Mountpoint
			}
		}
		all = append(all, bundle.Origin{
			Part: "cgroup", What: s.File + " = " + s.Value, Meaning: filepath.Join(dir, path, s.File), From: from(s.Origin),
		})
	}
	return all
}
