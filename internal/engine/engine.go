// Package engine turns Pods into images, bundles and a Life, and says in Kubernetes' words how they are.
//
// It has the will that package sandbox has not: which images, which root file systems, which files, what is to happen.
// Once a Pod's keeper has its Life, the engine may leave; what it decides after that (probes, live volumes) is not there
// yet. Status and what a Pod is made of are pure functions; the rest asks this host and does.
package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tripod/internal/image"
	"tripod/internal/keeper"
	"tripod/internal/life"
	"tripod/internal/sandbox"
)

// Engine runs Pods on one host.
type Engine struct {
	Host  sandbox.Host
	Store *image.Store

	// Progress gives who is told of the pull of one image; nil tells nobody.
	Progress func(ref string) image.Progress
	// Pull says how images are pulled; its Progress is not used.
	Pull image.PullOptions
}

// Options says how a Pod is run.
type Options struct {
	OnOrphan string // life.OrphanStop or life.OrphanKeep
	Remove   bool   // remove the Pod when it has ended; whoever runs it does so, and Sweep if that is gone

	Named   bool          // the Pod has its UID and time of creation: an API server gave them
	Records []life.Record // how an earlier life of the same Pod left its containers: their numbers and restarts go on from there
}

// Prepared is a Pod that is ready to begin: everything is made but its containers.
type Prepared struct {
	*sandbox.Sandbox
	Life life.Life
}

// Begin starts the containers.
func (p *Prepared) Begin(ctx context.Context) error { return p.Start(ctx, p.Life) }

// Prepare makes a Pod up to the moment before its containers begin. The caller holds its engine lock until Release. When
// Prepare fails it has left nothing.
func (e *Engine) Prepare(ctx context.Context, pod *corev1.Pod, images Images, o Options) (*Prepared, error) {
	if o.Named {
		pod = pod.DeepCopy()
	} else {
		pod = sandbox.Stamp(pod, newUID(), time.Now())
	}
	if o.Remove {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, sandbox.AnnotationRemove, "true")
	}
	host := e.Host
	if o.Remove && o.OnOrphan == life.OrphanStop {
		host.Program = "" // whoever runs it removes it, with its network
	}
	box, err := sandbox.Claim(host, pod)
	if err != nil {
		return nil, err
	}
	if err := keeper.Seed(box.Dir(), string(pod.UID), o.Records); err != nil {
		return nil, errors.Join(err, e.Remove(context.WithoutCancel(ctx), box, true), box.Release())
	}
	p := &Prepared{Sandbox: box}
	if p.Life, err = e.build(ctx, box, images, o.OnOrphan); err != nil {
		return nil, errors.Join(err, e.Remove(context.WithoutCancel(ctx), box, true), box.Release())
	}
	slog.Debug("bundles are there", "pod", box.String())
	return p, nil
}

// Remove takes away everything of a Pod; what runs only with force.
func (e *Engine) Remove(ctx context.Context, box *sandbox.Sandbox, force bool) error {
	return box.Remove(ctx, force, e.Store.Release)
}

// Sweep puts right what killed commands and dead keepers have left.
func (e *Engine) Sweep(ctx context.Context) error {
	err := e.Host.Sweep(ctx, e.Store.Release, func(box *sandbox.Sandbox) error { return box.Revive(ctx) })
	owners, failed := e.Store.Owners()
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	return e.Host.SweepOrphans(ctx, owners, e.Store.Release)
}

// Look is the Pod with its status of now.
func (e *Engine) Look(ctx context.Context, box *sandbox.Sandbox) (*corev1.Pod, error) {
	state, err := box.Observe(ctx)
	if err != nil {
		return nil, err
	}
	pod := box.Pod.DeepCopy()
	pod.APIVersion, pod.Kind = "v1", "Pod"
	delete(pod.Annotations, sandbox.AnnotationRemove)
	annotatePIDs(pod, &state.Status)
	if !state.Stopping.IsZero() && !state.Finished {
		at := metav1.NewTime(state.Stopping)
		pod.DeletionTimestamp = &at
	}
	pod.Status = Status(pod, Seen{
		Life: state.Life, Records: state.Containers, Finished: state.Finished, Stopping: state.Stopping,
		IPs: PodIPs(box), HostIP: HostIP(),
	}, time.Now())
	return pod, nil
}

// PIDs of a running Pod, in the host's PID namespace, as annotations: the Pod API has no field for them.
const (
	AnnotationPID      = "pid.tripod/"      // with the container's name behind it
	AnnotationPausePID = "pause.tripod/pid" // of the process that holds the Pod's namespaces
)

func annotatePIDs(pod *corev1.Pod, status *keeper.Status) {
	for _, r := range status.Containers {
		if r.State == life.Running {
			metav1.SetMetaDataAnnotation(&pod.ObjectMeta, AnnotationPID+r.Name, strconv.Itoa(r.Pid))
		}
	}
	if status.Pause.Pid > 0 && !status.Finished {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, AnnotationPausePID, strconv.Itoa(status.Pause.Pid))
	}
}

// newUID is a random UUID (RFC 9562, version 4), as an API server gives one.
func newUID() types.UID {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}
