package main

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tripod/internal/life"
	"tripod/internal/manifest"
)

// surroundings are what docker run's words mean something else in: values, so that podOf asks nothing itself.
type surroundings struct {
	dir     string            // the caller's working folder
	environ []string          // the caller's variables, for -e NAME
	files   map[string]string // what --env-file names, read
	suffix  string            // end of a made-up Pod name
	// freePort finds a port of the host for a container's port that is to have any.
	freePort func(corev1.ContainerPort) (int32, error)
}

// podOf is the Pod that docker run's words ask for: one container, named after its image.
// A user given by name is left in the annotation of manifest.AnnotationUser for the engine, that has the image's passwd.
func podOf(f runFlags, image string, args []string, s surroundings) (*corev1.Pod, error) {
	name := containerName(image)
	p := &podMaker{surroundings: s, flags: f}
	p.container = corev1.Container{Name: name, Image: image, Stdin: f.stdin, StdinOnce: f.stdin && !f.detach, TTY: f.tty, WorkingDir: f.workdir}
	p.pod = &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: f.name, Namespace: f.namespace},
	}
	if p.pod.Name == "" {
		p.pod.Name = name + "-" + s.suffix
	}
	for _, step := range []func() error{
		func() error { return p.command(args) }, p.policies, p.variables, p.resources, p.security, p.volumes, p.ports,
		p.namespaces, p.names,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	p.pod.Spec.Containers = []corev1.Container{p.container}
	return p.pod, nil
}

// podMaker is a Pod on its way.
type podMaker struct {
	surroundings
	flags     runFlags
	pod       *corev1.Pod
	container corev1.Container
}

// containerName is the last part of an image's name, as a DNS label.
func containerName(image string) string {
	if image == "host:/" {
		return "host"
	}
	name := image
	if transport, rest, ok := strings.Cut(image, ":"); ok && slices.Contains([]string{"oci", "oci-archive", "docker-archive", "dir"}, transport) {
		name = strings.TrimSuffix(strings.TrimSuffix(rest, ".tar"), "/")
	}
	name, _, _ = strings.Cut(name, "@")
	name = path.Base(name)
	name, _, _ = strings.Cut(name, ":")
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, name)
	name = strings.Trim(name[:min(len(name), 50)], "-")
	if name == "" {
		return "container"
	}
	return name
}

// command resolves --entrypoint and the words after the image. An empty --entrypoint clears the image's.
func (p *podMaker) command(args []string) error {
	entrypoint := p.flags.entrypoint
	switch {
	case entrypoint == nil:
		p.container.Args = args
	case *entrypoint == "" && len(args) == 0:
		return misuse("give a command after the image", "cannot run %s: --entrypoint is empty and there is no command", p.container.Image)
	case *entrypoint == "":
		p.container.Command = args
	default:
		p.container.Command = []string{*entrypoint}
		p.container.Args = args
	}
	return nil
}

// policies resolves --pull, --restart, --stop-timeout and --stop-signal.
func (p *podMaker) policies() error {
	switch p.flags.pull {
	case "always":
		p.container.ImagePullPolicy = corev1.PullAlways
	case "missing", "":
		p.container.ImagePullPolicy = corev1.PullIfNotPresent
	case "never":
		p.container.ImagePullPolicy = corev1.PullNever
	default:
		return misuse("use always, missing or never", "cannot use --pull %q: no such policy", p.flags.pull)
	}
	policy, most, limited := strings.Cut(p.flags.restart, ":")
	if n, err := strconv.ParseUint(most, 10, 31); limited && (policy != "on-failure" || err != nil) {
		policy = p.flags.restart
	} else if n > 0 { // docker's on-failure:0 is no limit
		p.annotate(manifest.AnnotationRestarts, most)
	}
	switch policy {
	case "no", "":
		p.pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	case "on-failure":
		p.pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	case "always", "unless-stopped":
		p.pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	default:
		return misuse("use no, on-failure, on-failure:N or always; the pause between restarts grows",
			"cannot use --restart %q: no such policy", p.flags.restart)
	}
	if p.flags.remove && p.pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		return misuse("leave out one of them", "cannot use --rm with --restart %s", p.flags.restart)
	}
	if p.flags.stopTimeout < 0 {
		return misuse("give seconds, 0 or more", "cannot use --stop-timeout %d", p.flags.stopTimeout)
	}
	grace := p.flags.stopTimeout
	p.pod.Spec.TerminationGracePeriodSeconds = &grace
	if word := p.flags.stopSignal; word != "" {
		if _, err := life.Signal(word); err != nil {
			return misuse("use a name such as INT", "cannot use --stop-signal %q: %w", word, err)
		}
		signal := corev1.Signal("SIG" + strings.TrimPrefix(strings.ToUpper(word), "SIG"))
		p.container.Lifecycle = &corev1.Lifecycle{StopSignal: &signal}
		p.pod.Spec.OS = &corev1.PodOS{Name: corev1.Linux} // Kubernetes asks for it beside a signal
	}
	return nil
}

// variables resolves --env-file and -e; the later of two with one name holds.
func (p *podMaker) variables() error {
	set := func(word, from string) error {
		name, value, ok := strings.Cut(word, "=")
		if name == "" || strings.ContainsAny(name, " \t") {
			return misuse("write NAME=VALUE", "cannot use %s %q: no variable name", from, word)
		}
		if !ok {
			i := slices.IndexFunc(p.environ, func(e string) bool { return strings.HasPrefix(e, name+"=") })
			if i < 0 {
				return nil // docker too: a variable that we do not have is not passed on
			}
			value = p.environ[i][len(name)+1:]
		}
		p.container.Env = slices.DeleteFunc(p.container.Env, func(e corev1.EnvVar) bool { return e.Name == name })
		// Kubernetes expands $(NAME) in values; docker does not.
		p.container.Env = append(p.container.Env, corev1.EnvVar{Name: name, Value: strings.ReplaceAll(value, "$(", "$$(")})
		return nil
	}
	for _, file := range p.flags.envFile {
		for line := range strings.Lines(p.files[file]) {
			line = strings.TrimLeft(strings.TrimRight(line, "\r\n"), " \t")
			if line == "" || line[0] == '#' {
				continue
			}
			if err := set(line, "the line in "+file); err != nil {
				return err
			}
		}
	}
	for _, word := range p.flags.env {
		if err := set(word, "-e"); err != nil {
			return err
		}
	}
	for i, arg := range p.container.Args {
		p.container.Args[i] = strings.ReplaceAll(arg, "$(", "$$(")
	}
	for i, arg := range p.container.Command {
		p.container.Command[i] = strings.ReplaceAll(arg, "$(", "$$(")
	}
	return nil
}

// maxShares is the kernel's.
const maxShares = 1 << 18

// resources resolves -m, --memory-reservation, --cpus and --cpu-shares.
func (p *podMaker) resources() error {
	limits, requests := corev1.ResourceList{}, corev1.ResourceList{}
	for _, m := range []struct {
		word, flag string
		into       corev1.ResourceList
	}{{p.flags.memory, "-m", limits}, {p.flags.memoryReservation, "--memory-reservation", requests}} {
		if m.word == "" {
			continue
		}
		bytes, err := parseBytes(m.word)
		if err != nil {
			return misuse("write 64m, 1g or 512Mi", "cannot use %s %q: %w", m.flag, m.word, err)
		}
		m.into[corev1.ResourceMemory] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	if p.flags.cpus != "" {
		n, err := strconv.ParseFloat(p.flags.cpus, 64)
		if err != nil || !(n >= 0.001 && n <= 1e6) {
			return misuse("write a number of CPUs such as 0.5", "cannot use --cpus %q: not a number of CPUs", p.flags.cpus)
		}
		limits[corev1.ResourceCPU] = *resource.NewMilliQuantity(int64(n*1000+0.5), resource.DecimalSI)
	}
	if p.flags.cpuShares < 0 || p.flags.cpuShares > maxShares {
		return misuse("1024 is one CPU", "cannot use --cpu-shares %d: not from 2 to %d", p.flags.cpuShares, maxShares)
	}
	if p.flags.cpuShares > 0 { // kubelet gives 1024 shares for one CPU that is asked for
		requests[corev1.ResourceCPU] = *resource.NewMilliQuantity((p.flags.cpuShares*1000+1023)/1024, resource.DecimalSI)
	}
	if len(limits) > 0 {
		p.container.Resources.Limits = limits
	}
	if len(requests) > 0 {
		p.container.Resources.Requests = requests
	}
	return nil
}

// parseBytes reads docker's and Kubernetes' sizes: docker's k, m, g, t are powers of 1024, as are Ki, Mi, Gi, Ti.
func parseBytes(word string) (int64, error) {
	number := strings.TrimRight(word, "bBiIkKmMgGtT")
	var shift uint
	switch unit := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(word[len(number):]), "b"), "i"); unit {
	case "":
	case "k":
		shift = 10
	case "m":
		shift = 20
	case "g":
		shift = 30
	case "t":
		shift = 40
	default:
		return 0, fmt.Errorf("no such unit %q", word[len(number):])
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n >= 0) {
		return 0, fmt.Errorf("not a size")
	}
	if n *= float64(int64(1) << shift); n >= 1<<62 {
		return 0, fmt.Errorf("too large")
	}
	return int64(n), nil
}

// absolute is a host path as the caller means it, from their working folder.
func (p *podMaker) absolute(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(p.dir, name)
}
