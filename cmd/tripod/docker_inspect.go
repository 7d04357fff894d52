package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/engine"
)

func newDockerInspect(a *app) *cobra.Command {
	var format, kind string
	cmd := &cobra.Command{
		Use:     "inspect NAME|ID...",
		Short:   "Show all that is known of containers",
		Example: "  docker inspect nginx\n  docker inspect -f '{{.State.Pid}}' web/nginx",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, words []string) error {
			if kind != "" && kind != "container" {
				return misuse("use --type container", "cannot inspect a thing of type %q", kind)
			}
			all, err := a.dockerContainers(cmd.Context())
			if err != nil {
				return err
			}
			found := []dockerInspect{}
			var wrong []error
			for _, word := range words {
				c, err := dockerFind(all, word)
				if err != nil {
					wrong = append(wrong, err)
					continue
				}
				found = append(found, c.full)
			}
			if err := a.printInspect(found, format); err != nil {
				return err
			}
			return errors.Join(wrong...)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "a Go template, or json")
	cmd.Flags().StringVar(&kind, "type", "", "container")
	cmd.Flags().BoolP("size", "s", false, "as docker's; sizes are not shown")
	_ = cmd.Flags().MarkHidden("size")
	return cmd
}

// printInspect prints an array, or a line each by a template. A template sees the fields' names in docker's program, such as ID,
// and where it asks for another, those of the JSON, such as Id.
func (a *app) printInspect(all []dockerInspect, format string) error {
	switch format {
	case "":
		e := json.NewEncoder(a.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "    ")
		return e.Encode(all)
	case "json":
		format = "{{json .}}"
	}
	t, err := dockerTemplate(format)
	if err != nil {
		return err
	}
	for _, c := range all {
		var line strings.Builder
		err := t.Execute(&line, c)
		if err != nil {
			line.Reset()
			err = t.Option("missingkey=error").Execute(&line, plainOf(c))
		}
		if err != nil {
			return fmt.Errorf("cannot print with --format %q: %w", format, err)
		}
		if _, err := fmt.Fprintln(a.out, line.String()); err != nil {
			return err
		}
	}
	return nil
}

// plainOf is what an object's JSON says, by its names there.
func plainOf(v any) (plain any) {
	text, err := json.Marshal(v)
	if err == nil {
		_ = json.Unmarshal(text, &plain)
	}
	return plain
}

// dockerInspect is a container as docker inspect shows it, as far as tripod has the like.
type dockerInspect struct {
	ID              string `json:"Id"`
	Created         string
	Path            string
	Args            []string
	State           dockerState
	Image           string
	ResolvConfPath  string `json:",omitempty"`
	LogPath         string
	Name            string
	RestartCount    int32
	Driver          string
	Platform        string
	HostConfig      dockerHostConfig
	Mounts          []dockerMount
	Config          dockerConfig
	NetworkSettings dockerNetwork

	short []string // what else it may be called
}

type dockerState struct {
	Status     string
	Running    bool
	Paused     bool
	Restarting bool
	OOMKilled  bool
	Dead       bool
	Pid        int
	ExitCode   int32
	Error      string
	StartedAt  string
	FinishedAt string

	started, finished time.Time
}

type dockerHostConfig struct {
	NetworkMode, IpcMode, PidMode, UTSMode, UsernsMode string
	Privileged, ReadonlyRootfs                         bool
	Memory                                             int64 // bytes; 0: no limit
	NanoCpus                                           int64 // billionths of a CPU; 0: no limit
}

type dockerMount struct {
	Type        string
	Name        string `json:",omitempty"`
	Destination string
	RW          bool
}

type dockerConfig struct {
	Hostname, User string
	Tty, OpenStdin bool
	Env            []string
	Cmd            []string
	Image          string
	WorkingDir     string
	Entrypoint     []string
	Labels         map[string]string
}

type dockerNetwork struct {
	IPAddress         string
	GlobalIPv6Address string
}

func dockerTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// inspectOf puts a container of a Pod into docker's form.
func inspectOf(pod *corev1.Pod, s corev1.ContainerStatus, spec corev1.Container, process *specs.Process) dockerInspect {
	d := dockerInspect{
		ID: dockerID(s.ContainerID), Created: dockerTime(pod.CreationTimestamp.Time), Image: s.ImageID, Name: "/" + dockerName(s.Name, pod, s.RestartCount),
		RestartCount: s.RestartCount, Driver: "overlay2", Platform: "linux", Mounts: []dockerMount{}, HostConfig: hostConfig(pod), NetworkSettings: dockerAddresses(pod),
		short: []string{s.Name, pod.Name + "/" + s.Name, pod.Namespace + "/" + pod.Name + "/" + s.Name, strings.TrimPrefix(s.ContainerID, "tripod://")},
	}
	d.Config = dockerConfig{
		Hostname: pod.Name, Tty: spec.TTY, OpenStdin: spec.Stdin, Cmd: spec.Args, Entrypoint: spec.Command, Image: s.Image, WorkingDir: spec.WorkingDir,
		Labels: kubeletLabels(pod, s.Name, "container"), Env: []string{},
	}
	if h := pod.Spec.Hostname; h != "" {
		d.Config.Hostname = h
	}
	for _, e := range spec.Env {
		if e.ValueFrom == nil {
			d.Config.Env = append(d.Config.Env, e.Name+"="+e.Value)
		}
	}
	if c := spec.SecurityContext; c != nil {
		d.HostConfig.Privileged = c.Privileged != nil && *c.Privileged
		d.HostConfig.ReadonlyRootfs = c.ReadOnlyRootFilesystem != nil && *c.ReadOnlyRootFilesystem
		if c.RunAsUser != nil {
			d.Config.User = strconv.FormatInt(*c.RunAsUser, 10)
		}
	}
	command := slices.Concat(spec.Command, spec.Args)
	if process != nil {
		command, d.Config.Env, d.Config.WorkingDir = process.Args, process.Env, process.Cwd
		if len(spec.Command) == 0 && len(spec.Args) == 0 {
			d.Config.Cmd = process.Args
		}
	}
	d.Args = []string{}
	if len(command) > 0 {
		d.Path, d.Args = command[0], command[1:]
	}
	d.HostConfig.Memory = spec.Resources.Limits.Memory().Value()
	d.HostConfig.NanoCpus = spec.Resources.Limits.Cpu().MilliValue() * 1e6
	for _, m := range spec.VolumeMounts {
		d.Mounts = append(d.Mounts, dockerMount{Type: "volume", Name: m.Name, Destination: m.MountPath, RW: !m.ReadOnly})
	}
	d.State = stateOf(s)
	d.State.Pid, _ = strconv.Atoi(pod.Annotations[engine.AnnotationPID+s.Name])
	return d
}

// stateOf is a container's state in docker's words.
func stateOf(s corev1.ContainerStatus) dockerState {
	d := dockerState{Status: "created", StartedAt: dockerTime(time.Time{}), FinishedAt: dockerTime(time.Time{})}
	last := s.State.Terminated
	switch {
	case s.State.Running != nil:
		d.Status, d.Running, d.started = "running", true, s.State.Running.StartedAt.Time
		d.StartedAt = dockerTime(d.started)
		return d
	case last == nil:
		last = s.LastTerminationState.Terminated
	}
	if last != nil {
		d.Status, d.ExitCode, d.Error, d.OOMKilled = "exited", last.ExitCode, "", last.Reason == "OOMKilled"
		d.started, d.finished = last.StartedAt.Time, last.FinishedAt.Time
		d.StartedAt, d.FinishedAt = dockerTime(d.started), dockerTime(d.finished)
	}
	return d
}

// inspectSandbox puts a Pod's pause process into docker's form.
func inspectSandbox(pod *corev1.Pod, pid string) dockerInspect {
	began := pod.CreationTimestamp.Time
	d := dockerInspect{
		ID: dockerID(string(pod.UID)), Created: dockerTime(began), Path: "/pause", Args: []string{}, Image: "pause", Name: "/" + dockerName("POD", pod, 0),
		Driver: "overlay2", Platform: "linux", Mounts: []dockerMount{}, HostConfig: hostConfig(pod), NetworkSettings: dockerAddresses(pod),
		Config: dockerConfig{Hostname: pod.Name, Image: "pause", Env: []string{}, Labels: kubeletLabels(pod, "POD", "podsandbox")},
		State:  dockerState{Status: "running", Running: true, StartedAt: dockerTime(began), FinishedAt: dockerTime(time.Time{}), started: began},
		short:  []string{"POD", pod.Name + "/POD", string(pod.UID)},
	}
	d.State.Pid, _ = strconv.Atoi(pid)
	return d
}

func hostConfig(pod *corev1.Pod) dockerHostConfig {
	word := func(host bool, otherwise string) string {
		if host {
			return "host"
		}
		return otherwise
	}
	sandbox := "container:" + dockerID(string(pod.UID))
	shared := pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace
	h := dockerHostConfig{
		NetworkMode: word(pod.Spec.HostNetwork, sandbox), IpcMode: word(pod.Spec.HostIPC, sandbox), UTSMode: word(pod.Spec.HostNetwork, ""),
		PidMode: word(pod.Spec.HostPID, ""),
	}
	if shared {
		h.PidMode = sandbox
	}
	return h
}

func dockerAddresses(pod *corev1.Pod) dockerNetwork {
	n := dockerNetwork{}
	for _, ip := range pod.Status.PodIPs {
		if strings.Contains(ip.IP, ":") {
			n.GlobalIPv6Address = ip.IP
		} else {
			n.IPAddress = ip.IP
		}
	}
	return n
}

// kubeletLabels are the labels that a kubelet gives docker's containers, beside the Pod's own.
func kubeletLabels(pod *corev1.Pod, container, kind string) map[string]string {
	l := map[string]string{
		"io.kubernetes.container.name": container, "io.kubernetes.docker.type": kind,
		"io.kubernetes.pod.name": pod.Name, "io.kubernetes.pod.namespace": pod.Namespace, "io.kubernetes.pod.uid": string(pod.UID),
	}
	for k, v := range pod.Labels {
		l[k] = v
	}
	return l
}
