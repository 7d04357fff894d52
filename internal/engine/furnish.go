package engine

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/bundle"
	"tripod/internal/image"
	"tripod/internal/life"
	"tripod/internal/plan"
	"tripod/internal/sandbox"
	"tripod/internal/seccomp/profile"
)

// furnish writes the Pod's files and its containers' bundles, and gives the Life that begins them.
func (e *Engine) furnish(box *sandbox.Sandbox, images Images, onOrphan string) (life.Life, error) {
	ground, err := bundle.SandboxOf(box.Pod)
	if err != nil {
		return life.Life{}, err
	}
	node := thisNode()
	var ips []string
	for _, ip := range box.IPs() {
		ips = append(ips, ip.String())
	}
	resolv, err := hostResolvConf()
	if err != nil {
		return life.Life{}, err
	}
	var hosts []byte
	if ground.Net == bundle.OfHost {
		if hosts, err = os.ReadFile("/etc/hosts"); err != nil && !os.IsNotExist(err) {
			return life.Life{}, fmt.Errorf("cannot read hosts of the host: %w", err)
		}
	}
	files, err := box.WriteFiles(bundle.Hosts(box.Pod, ground, ips, hosts), bundle.Hostname(box.Pod, ground, node), bundle.ResolvConf(box.Pod, resolv))
	if err != nil {
		return life.Life{}, err
	}
	in := bundle.Input{
		Pod: box.Pod, Node: node, IPs: ips, Namespaces: box.Namespaces(), Files: files, Volumes: box.Volumes.Paths(),
		DefaultSeccomp: profile.Default, LocalSeccomp: localSeccomp,
	}
	// Each container is written by a goroutine of its own: most of it is waiting for the disk.
	containers := slices.Concat(box.Pod.Spec.InitContainers, box.Pod.Spec.Containers)
	made := make([]bundle.Place, len(containers))
	var group errgroup.Group
	for i := range containers {
		group.Go(func() (err error) {
			made[i], err = e.container(box, &containers[i], images[containers[i].Image], in)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return life.Life{}, err
	}
	places := map[string]bundle.Place{}
	for i, c := range containers {
		places[c.Name] = made[i]
	}
	return bundle.Life(box.Pod, onOrphan, func(c *corev1.Container) bundle.Place { return places[c.Name] }), nil
}

// container writes the bundle of one container.
func (e *Engine) container(box *sandbox.Sandbox, c *corev1.Container, img *image.Image, in bundle.Input) (bundle.Place, error) {
	in.Container, in.Image = c, img.Config
	in.UIDs = box.IDs(c.Name)
	in.GIDs = in.UIDs
	var err error
	if in.Passwd, in.Group, err = e.accounts(img); err != nil {
		return bundle.Place{}, err
	}
	if in.SubPaths, err = box.SubPaths(c); err != nil {
		return bundle.Place{}, err
	}
	if in.Files.TerminationLog, err = box.TerminationLog(c.Name); err != nil {
		return bundle.Place{}, err
	}
	if s := c.SecurityContext; s != nil && s.Privileged != nil && *s.Privileged {
		if in.Devices, err = hostDevices(); err != nil {
			return bundle.Place{}, err
		}
	}
	root, err := e.Store.Root(img, box.Owner(c.Name))
	if err != nil {
		return bundle.Place{}, err
	}
	in.RootMounts = root.Mounts
	spec, err := bundle.Spec(in)
	if err != nil {
		return bundle.Place{}, err
	}
	fs, err := e.rootfs(box, c, root)
	if err != nil {
		return bundle.Place{}, err
	}
	if err := box.WriteBundle(c.Name, spec, fs); err != nil {
		return bundle.Place{}, err
	}
	return bundle.Place{
		Bundle: box.Bundle(c.Name), Log: box.Host.LogFolder(box.Pod, c.Name), TerminationLog: in.Files.TerminationLog,
		Image: c.Image, ImageID: imageID(img), StopSignal: img.Config.Config.StopSignal,
	}, nil
}

// rootfs says how the container's root is made of its image's layers and a writable one.
func (e *Engine) rootfs(box *sandbox.Sandbox, c *corev1.Container, root image.Root) (plan.Rootfs, error) {
	fs := plan.Rootfs{Lower: slices.Clone(root.Lower)}
	scratch, err := needsScratch(e.Host.Root)
	if err != nil {
		return fs, err
	}
	if fs.Scratch = scratch; scratch {
		return fs, nil
	}
	fs.Upper, fs.Work, err = box.Layers(c.Name)
	return fs, err
}

// imageID is what kubectl shows: the digest of what was pulled, or of the config.
func imageID(img *image.Image) string {
	if img.Digest != "" {
		return img.Digest.String()
	}
	return img.ID.String()
}
