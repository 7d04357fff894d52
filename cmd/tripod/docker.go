package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/engine"
)

// newDocker is the command line of the name docker: ps and inspect of tripod's containers in docker's form, for habits and for
// scripts that ask for a container's PID. It is no docker: other words are refused.
func newDocker(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "docker",
		Short: "List and inspect tripod's containers as docker does",
		Long: `List and inspect the containers of tripod's Pods in docker's form. This is tripod under
another name: it knows ps and inspect, and the names that a kubelet gives (k8s_CONTAINER_POD_NAMESPACE_UID_N).`,
		Example:           "  docker ps\n  docker inspect -f '{{.State.Pid}}' nginx",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.prepare() },
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return misuse("this docker is tripod: it knows ps and inspect; see tripod --help for the rest", "cannot run docker %s: no such command", args[0])
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	a.root, a.runRoot, a.logLevel = env("TRIPOD_ROOT", "/var/lib/tripod"), env("TRIPOD_RUN_ROOT", "/run/tripod"), "warn"
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err: err, hint: "see " + cmd.CommandPath() + " --help"}
	})
	inspect := newDockerInspect(a)
	container := &cobra.Command{Use: "container", Short: "ps and inspect", Hidden: true}
	container.AddCommand(newDockerPs(a), newDockerInspect(a))
	root.AddCommand(newDockerPs(a), inspect, container)
	return root
}

// dockerContainer is a container as docker ps shows it; the fields are the names that --format knows (docker-ps(1)).
type dockerContainer struct {
	ID, Image, Command, CreatedAt, RunningFor, Status, State, Ports, Names, Labels, Mounts, Networks, Size, LocalVolumes string

	full    dockerInspect
	created time.Time
	running bool
}

// dockerID is the ID of a container in docker's form: 64 digits, made from the one that tripod has for it.
func dockerID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// dockerContainers are the containers of all Pods and their sandboxes, the newest first, as docker lists them.
func (a *app) dockerContainers(ctx context.Context) ([]dockerContainer, error) {
	pods, err := a.pods(ctx, "", true, nil)
	if err != nil {
		return nil, err
	}
	made, err := a.madeProcesses()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var all []dockerContainer
	for _, pod := range pods {
		for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
			if s.ContainerID != "" {
				all = append(all, dockerOf(pod, s, made(pod, s.Name), now))
			}
		}
		if box, ok := dockerSandbox(pod, now); ok {
			all = append(all, box)
		}
	}
	slices.SortStableFunc(all, func(x, y dockerContainer) int { return y.created.Compare(x.created) })
	return all, nil
}

// madeProcesses tells what a container's first process was made from: the image's command and variables are there, too. Nil is one
// of which that is not known any more.
func (a *app) madeProcesses() (func(pod *corev1.Pod, container string) *specs.Process, error) {
	e, err := a.engine()
	if err != nil {
		return nil, err
	}
	boxes, err := a.boxes(e.Host, "", true, nil)
	if err != nil {
		return nil, err
	}
	return func(pod *corev1.Pod, container string) *specs.Process {
		for _, box := range boxes {
			if box.Pod.UID != pod.UID {
				continue
			}
			if spec, err := box.Spec(container); err == nil {
				return spec.Process
			}
		}
		return nil
	}, nil
}

// dockerName is the name that a kubelet gives a container: k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT.
func dockerName(container string, pod *corev1.Pod, attempt int32) string {
	return fmt.Sprintf("k8s_%s_%s_%s_%s_%d", container, pod.Name, pod.Namespace, pod.UID, attempt)
}

// specOf is a container's part of the Pod.
func specOf(pod *corev1.Pod, name string) corev1.Container {
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		if c.Name == name {
			return c
		}
	}
	return corev1.Container{Name: name}
}

func dockerOf(pod *corev1.Pod, s corev1.ContainerStatus, process *specs.Process, now time.Time) dockerContainer {
	spec := specOf(pod, s.Name)
	full := inspectOf(pod, s, spec, process)
	c := dockerContainer{full: full, created: pod.CreationTimestamp.Time, running: full.State.Running}
	if s.State.Running != nil {
		c.created = s.State.Running.StartedAt.Time
	}
	c.Image, c.Command = s.Image, strings.TrimSpace(full.Path+" "+strings.Join(full.Args, " "))
	c.State, c.Status = full.State.Status, dockerStatus(full.State, now)
	c.fill(pod, now)
	return c
}

// dockerSandbox is a Pod's pause process as a container, while it runs.
func dockerSandbox(pod *corev1.Pod, now time.Time) (dockerContainer, bool) {
	pid := pod.Annotations[engine.AnnotationPausePID]
	if pid == "" || pid == "0" {
		return dockerContainer{}, false
	}
	full := inspectSandbox(pod, pid)
	c := dockerContainer{full: full, created: pod.CreationTimestamp.Time, running: true}
	c.Image, c.Command = "pause", "/pause"
	c.State, c.Status = full.State.Status, dockerStatus(full.State, now)
	c.fill(pod, now)
	return c, true
}

// fill sets what all containers of a Pod have alike.
func (c *dockerContainer) fill(pod *corev1.Pod, now time.Time) {
	c.ID, c.Names = c.full.ID, strings.TrimPrefix(c.full.Name, "/")
	c.CreatedAt = c.created.Format("2006-01-02 15:04:05 -0700 MST")
	c.RunningFor = dockerAge(now.Sub(c.created)) + " ago"
	c.Networks, c.Size = c.full.HostConfig.NetworkMode, "0B"
	var labels []string
	for k, v := range pod.Labels {
		labels = append(labels, k+"="+v)
	}
	slices.Sort(labels)
	c.Labels = strings.Join(labels, ",")
}

// dockerStatus is Up 5 minutes, or Exited (1) 2 hours ago.
func dockerStatus(s dockerState, now time.Time) string {
	switch s.Status {
	case "running":
		return "Up " + dockerAge(now.Sub(s.started))
	case "exited":
		return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, dockerAge(now.Sub(s.finished)))
	}
	return "Created"
}

// dockerAge is a time span in docker's words: one unit, as it becomes large enough.
func dockerAge(d time.Duration) string {
	n := func(count time.Duration, unit string) string {
		if count == 1 {
			return map[string]string{"second": "1 second", "minute": "About a minute", "hour": "About an hour"}[unit]
		}
		return fmt.Sprintf("%d %ss", count, unit)
	}
	switch {
	case d < time.Second:
		return "Less than a second"
	case d < time.Minute:
		return n(d/time.Second, "second")
	case d < time.Hour:
		return n(d/time.Minute, "minute")
	case d < 48*time.Hour:
		return n(d/time.Hour, "hour")
	case d < 14*24*time.Hour:
		return n(d/(24*time.Hour), "day")
	case d < 60*24*time.Hour:
		return n(d/(7*24*time.Hour), "week")
	case d < 2*365*24*time.Hour:
		return n(d/(30*24*time.Hour), "month")
	}
	return n(d/(365*24*time.Hour), "year")
}

// dockerFind are the containers that a word of docker inspect means: the whole name, the beginning of an ID, or, when it means
// only one, the container's name in its Pod or POD/CONTAINER.
func dockerFind(all []dockerContainer, word string) (dockerContainer, error) {
	word = strings.TrimPrefix(word, "/")
	for _, match := range []func(c dockerContainer) bool{
		func(c dockerContainer) bool { return c.Names == word || c.ID == word },
		func(c dockerContainer) bool { return len(word) >= 4 && strings.HasPrefix(c.ID, word) },
		func(c dockerContainer) bool { return c.running && slices.Contains(c.full.short, word) },
		func(c dockerContainer) bool { return slices.Contains(c.full.short, word) },
	} {
		var found []dockerContainer
		for _, c := range all {
			if match(c) {
				found = append(found, c)
			}
		}
		switch len(found) {
		case 0:
			continue
		case 1:
			return found[0], nil
		}
		var names []string
		for _, c := range found {
			names = append(names, c.Names)
		}
		return dockerContainer{}, misuse("give one of "+strings.Join(names, ", "), "cannot inspect %s: it means %d containers", word, len(found))
	}
	return dockerContainer{}, fmt.Errorf("no such object: %s", word)
}
