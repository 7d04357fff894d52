package bundle

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/life"
	"tripod/internal/manifest"
)

// Place is where the things of one container are, and what its image adds to its life.
type Place struct {
	Bundle         string // directory with config.json and rootfs.json
	Log            string // directory of N.log
	TerminationLog string // host file that is mounted at terminationMessagePath
	Image, ImageID string
	StopSignal     string // the image's, "" for SIGTERM
}

// Life gives what is to happen to a Pod's containers, init containers first. The onOrphan is life.OrphanStop or
// life.OrphanKeep.
func Life(pod *corev1.Pod, onOrphan string, place func(*corev1.Container) Place) life.Life {
	l := life.Life{
		Version:       life.Version,
		RestartPolicy: string(pod.Spec.RestartPolicy),
		Grace:         corev1.DefaultTerminationGracePeriodSeconds * time.Second,
		OnOrphan:      onOrphan,
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		l.Grace = time.Duration(*s) * time.Second
	}
	if n, err := strconv.Atoi(pod.Annotations[manifest.AnnotationRestarts]); err == nil {
		l.MaxRestarts = &n
	}
	for i := range pod.Spec.InitContainers {
		c := containerLife(&pod.Spec.InitContainers[i], place)
		c.Init = true
		l.Containers = append(l.Containers, c)
	}
	for i := range pod.Spec.Containers {
		l.Containers = append(l.Containers, containerLife(&pod.Spec.Containers[i], place))
	}
	return l
}

// Guest gives the life of an ephemeral container.
func Guest(c *corev1.Container, place func(*corev1.Container) Place) life.Container {
	l := containerLife(c, place)
	l.Ephemeral = true
	return l
}

func containerLife(c *corev1.Container, place func(*corev1.Container) Place) life.Container {
	p := place(c)
	out := life.Container{
		Name:           c.Name,
		Bundle:         p.Bundle,
		Log:            p.Log,
		Stdin:          c.Stdin,
		StdinOnce:      c.StdinOnce,
		TTY:            c.TTY,
		StopSignal:     p.StopSignal,
		Image:          p.Image,
		ImageID:        p.ImageID,
		TerminationLog: p.TerminationLog,
		LogsOnError:    c.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError,
	}
	if c.RestartPolicy != nil {
		out.RestartPolicy = string(*c.RestartPolicy)
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		out.StopSignal = string(*c.Lifecycle.StopSignal)
	}
	return out
}
