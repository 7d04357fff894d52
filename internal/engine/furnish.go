package engine

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/bundle"
	"tripod/internal/image"
	"tripod/internal/life"
	"tripod/internal/plan"
	"tripod/internal/sandbox"
	"tripod/internal/seccomp/profile"
)

// build makes all of a claimed Pod but its containers, and gives the Life that begins them. What does not need the other
// is made side by side: images are leased and the bridge is made while the keeper starts, bundles are written while the network comes up.
func (e *Engine) build(ctx context.Context, box *sandbox.Sandbox, images Images, onOrphan string) (life.Life, error) {
	containers := slices.Concat(box.Pod.Spec.InitContainers, box.Pod.Spec.Containers)
	parts := make([]part, len(containers))
	var first errgroup.Group
	first.Go(box.Raise)
	first.Go(func() error { return box.Prepare(ctx) })
	for i := range containers {
		first.Go(func() (err error) {
			parts[i], err = e.part(box, &containers[i], images[containers[i].Image])
			return err
		})
	}
	if err := first.Wait(); err != nil {
		return life.Life{}, err
	}
	in := input(box)
	var second errgroup.Group
	connect := func() error { return box.Connect(ctx) }
	if tellsIPs(containers) {
		if err := connect(); err != nil {
			return life.Life{}, err
		}
		in.IPs = addresses(box)
	} else {
		second.Go(connect)
	}
	for i := range parts {
		second.Go(func() error { return parts[i].write(box, in) })
	}
	if err := second.Wait(); err != nil {
		return life.Life{}, err
	}
	if err := writeFiles(box, in.Node); err != nil {
		return life.Life{}, err
	}
	return bundle.Life(box.Pod, onOrphan, func(c *corev1.Container) bundle.Place {
		i := slices.IndexFunc(parts, func(p part) bool { return p.container.Name == c.Name })
		return parts[i].place(box)
	}), nil
}

// input is what all containers of a Pod have in common.
func input(box *sandbox.Sandbox) bundle.Input {
	return bundle.Input{
		Pod: box.Pod, Node: thisNode(), Namespaces: box.Namespaces(), Files: box.Files(), Volumes: box.Volumes.Paths(),
		DefaultSeccomp: profile.Default, LocalSeccomp: localSeccomp,
	}
}

// tellsIPs says whether a container is told the Pod's addresses in a variable.
func tellsIPs(containers []corev1.Container) bool {
	return slices.ContainsFunc(containers, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Env, func(v corev1.EnvVar) bool {
			return v.ValueFrom != nil && v.ValueFrom.FieldRef != nil && strings.HasPrefix(v.ValueFrom.FieldRef.FieldPath, "status.podIP")
		})
	})
}

func addresses(box *sandbox.Sandbox) []string {
	var ips []string
	for _, ip := range PodIPs(box) {
		ips = append(ips, ip.String())
	}
	return ips
}

// PodIPs are the Pod's addresses; on the host's network they are the host's.
func PodIPs(box *sandbox.Sandbox) []netip.Addr {
	if !box.Pod.Spec.HostNetwork {
		return box.IPs()
	}
	if ip := HostIP(); ip.IsValid() {
		return []netip.Addr{ip}
	}
	return nil
}

// writeFiles writes hosts, hostname and resolv.conf of a Pod that has its network.
func writeFiles(box *sandbox.Sandbox, node bundle.Node) error {
	ground, err := bundle.SandboxOf(box.Pod)
	if err != nil {
		return err
	}
	resolv, err := hostResolvConf()
	if err != nil {
		return err
	}
	var hosts []byte
	if ground.Net == bundle.OfHost {
		if hosts, err = os.ReadFile("/etc/hosts"); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("cannot read hosts of the host: %w", err)
		}
	}
	return box.WriteFiles(bundle.Hosts(box.Pod, ground, addresses(box), hosts), bundle.Hostname(box.Pod, ground, node), bundle.ResolvConf(box.Pod, resolv))
}

// MakeError says that a container cannot be made as its Pod asks for it.
type MakeError struct {
	Container, Pod string
	Cause          error
}

func (e *MakeError) Error() string {
	return fmt.Sprintf("cannot make container %s in Pod %s: %v", e.Container, e.Pod, e.Cause)
}

// Unwrap gives the cause.
func (e *MakeError) Unwrap() error { return e.Cause }

// part is what one container is made of, beside what all of its Pod have.
type part struct {
	container      *corev1.Container
	image          *image.Image
	input          bundle.Input // the fields that are the container's own
	root           plan.Rootfs
	terminationLog string
}

// part leases the container's image and makes its folders.
func (e *Engine) part(box *sandbox.Sandbox, c *corev1.Container, img *image.Image) (p part, err error) {
	defer func() {
		if err != nil {
			err = &MakeError{Container: c.Name, Pod: box.String(), Cause: err}
		}
	}()
	p = part{container: c, image: img}
	if p.input.Passwd, p.input.Group, err = e.accounts(img); err != nil {
		return p, err
	}
	if p.terminationLog, err = box.TerminationLog(c.Name); err != nil {
		return p, err
	}
	if s := c.SecurityContext; s != nil && s.Privileged != nil && *s.Privileged {
		if p.input.Devices, err = hostDevices(); err != nil {
			return p, err
		}
	}
	root, err := e.Store.Root(img, box.Owner(c.Name))
	if err != nil {
		return p, err
	}
	p.input.RootMounts = root.Mounts
	p.root, err = e.rootfs(box, c, root)
	return p, err
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

// write writes the container's bundle; in has what all containers of the Pod share.
func (p *part) write(box *sandbox.Sandbox, in bundle.Input) (err error) {
	defer func() {
		if err != nil {
			err = &MakeError{Container: p.container.Name, Pod: box.String(), Cause: err}
		}
	}()
	in.Container, in.Image = p.container, p.image.Config
	in.Passwd, in.Group, in.Devices, in.RootMounts = p.input.Passwd, p.input.Group, p.input.Devices, p.input.RootMounts
	in.Files.TerminationLog = p.terminationLog
	in.UIDs = box.IDs(p.container.Name)
	in.GIDs = in.UIDs
	if in.SubPaths, err = box.SubPaths(p.container); err != nil {
		return err
	}
	spec, err := bundle.Spec(in)
	if err != nil {
		return err
	}
	return box.WriteBundle(p.container.Name, spec, p.root)
}

// place is where the container's things are, for its Life.
func (p *part) place(box *sandbox.Sandbox) bundle.Place {
	return bundle.Place{
		Bundle: box.Bundle(p.container.Name), Log: box.Host.LogFolder(box.Pod, p.container.Name), TerminationLog: p.terminationLog,
		Image: p.container.Image, ImageID: imageID(p.image), StopSignal: p.image.Config.Config.StopSignal,
	}
}

// imageID is what kubectl shows: the digest of what was pulled, or of the config.
func imageID(img *image.Image) string {
	if img.Digest != "" {
		return img.Digest.String()
	}
	return img.ID.String()
}
