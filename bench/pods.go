package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// manifest is the lesson's Pod, under a name. The images are present, so nothing is pulled.
const manifest = `apiVersion: v1
kind: Pod
metadata:
  name: %s
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: nginx, image: 'docker.io/library/nginx:1.7.9', imagePullPolicy: IfNotPresent, command: [sleep, '36000']}
  - {name: busybox, image: 'docker.io/library/busybox:latest', imagePullPolicy: IfNotPresent, command: [sleep, '36000']}
`

// podTool makes, enters and removes Pods of two containers.
type podTool struct {
	name   string
	pull   func(image string) error
	run    func(file, pod string) error
	up     func(pod string) error // an error unless both containers run
	exec   func(pod string) error
	remove func(pod string) error
}

func (f *Field) podTools() []podTool {
	just := func(_ string, err error) error { return err }
	return []podTool{
		{
			name:   "tripod",
			pull:   func(image string) error { return just(f.ours("image", "pull", image)) },
			run:    func(file, pod string) error { return just(f.ours("run", "-d", "-f", file)) },
			exec:   func(pod string) error { return just(f.ours("exec", pod, "-c", "busybox", "--", "true")) },
			remove: func(pod string) error { return just(f.ours("rm", "-f", pod)) },
			up: func(pod string) error {
				out, err := f.ours("inspect", pod, "-o", "jsonpath={.status.containerStatuses[*].state.running.startedAt}")
				if err == nil && len(strings.Fields(out)) != 2 {
					err = fmt.Errorf("running since: %q", out)
				}
				return err
			},
		},
		{
			name:   "podman",
			pull:   func(image string) error { return just(f.podman("pull", "-q", image)) },
			run:    func(file, pod string) error { return just(f.podman("kube", "play", file)) },
			exec:   func(pod string) error { return just(f.podman("exec", pod+"-busybox", "true")) },
			remove: func(pod string) error { return just(f.podman("pod", "rm", "-f", "-t", "0", pod)) },
			up: func(pod string) error {
				out, err := f.podman("ps", "--filter", "pod="+pod, "--format", "{{.State}}")
				if err == nil && strings.Count(out, "running") != 3 {
					err = fmt.Errorf("states: %q", out)
				}
				return err
			},
		},
	}
}

func (f *Field) podFile(name string) (string, error) {
	path := filepath.Join(f.dir, name+".yaml")
	return path, os.WriteFile(path, fmt.Appendf(nil, manifest, name), 0o644)
}

// pods compares the start of a Pod and a command in it.
func pods(f *Field) ([]Benchmark, error) {
	const pod, inside = "bench-start", "bench-exec"
	file, err := f.podFile(pod)
	if err != nil {
		return nil, err
	}
	insideFile, err := f.podFile(inside)
	if err != nil {
		return nil, err
	}
	present := func() error {
		for _, t := range f.podTools() {
			for _, image := range []string{"docker.io/library/nginx:1.7.9", "docker.io/library/busybox:latest"} {
				if err := t.pull(image); err != nil {
					return err
				}
			}
		}
		return nil
	}
	start := Benchmark{
		Name: "start a Pod of two containers, until both run", Unit: "ms", Rounds: 12, Before: present,
		Targets: []Target{{"podman", timesFaster, 5}},
	}
	enter := Benchmark{
		Name: "exec true in a running container", Unit: "ms", Rounds: 30,
		Targets: []Target{{"podman", atMost, 0.2}},
		Before: func() error {
			err := present()
			for _, t := range f.podTools() {
				if err == nil {
					err = t.run(insideFile, inside)
				}
			}
			return err
		},
		After: func() error {
			var err error
			for _, t := range f.podTools() {
				err = errors.Join(err, t.remove(inside))
			}
			return err
		},
	}
	for _, t := range f.podTools() {
		once := timed(func() error { return t.run(file, pod) })
		start.Contenders = append(start.Contenders, Contender{
			Name: t.name,
			Measure: func() (float64, error) {
				ms, err := once()
				if err == nil {
					err = t.up(pod)
				}
				return ms, err
			},
			Reset: func() error { return t.remove(pod) },
		})
		enter.Contenders = append(enter.Contenders, Contender{Name: t.name, Measure: timed(func() error { return t.exec(inside) })})
	}
	return []Benchmark{start, enter}, nil
}

// memory compares what ten Pods of two containers cost beside their own programs: proportional set size of every process that
// was not there before and is not one of the containers' sleep.
func memory(f *Field) ([]Benchmark, error) {
	const count = 10
	b := Benchmark{
		Name: "memory of the processes beside the containers, per Pod at 10 Pods", Unit: "MB PSS", Rounds: 1,
		Targets: []Target{{"podman", atMost, 1}, {"", below, 2}},
	}
	for _, t := range f.podTools() {
		var made []string
		b.Contenders = append(b.Contenders, Contender{
			Name: t.name,
			Measure: func() (float64, error) {
				before, err := processes()
				if err != nil {
					return 0, err
				}
				for _, image := range []string{"docker.io/library/nginx:1.7.9", "docker.io/library/busybox:latest"} {
					if err := t.pull(image); err != nil {
						return 0, err
					}
				}
				for n := range count {
					name := "bench-memory-" + strconv.Itoa(n)
					file, err := f.podFile(name)
					if err != nil {
						return 0, err
					}
					if err := t.run(file, name); err != nil {
						return 0, err
					}
					made = append(made, name)
				}
				after, err := processes()
				if err != nil {
					return 0, err
				}
				var sum float64
				for pid, argv0 := range after {
					if _, was := before[pid]; was || filepath.Base(argv0) == "sleep" {
						continue
					}
					sum += pss(pid)
				}
				return sum / count / 1024, nil
			},
			Reset: func() error {
				var err error
				for _, name := range made {
					err = errors.Join(err, t.remove(name))
				}
				made = nil
				return err
			},
		})
	}
	return []Benchmark{b}, nil
}

// processes maps every process with a user space to its argv[0].
func processes() (map[int]string, error) {
	entries, err := os.ReadDir("/proc")
	found := map[int]string{}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			cmdline, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
			argv0, _, _ := bytes.Cut(cmdline, []byte{0})
			found[pid] = string(argv0)
		}
	}
	return found, err
}

// pss is a process's proportional set size in kB; 0 when it has gone.
func pss(pid int) float64 {
	rollup, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	for line := range strings.Lines(string(rollup)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb
		}
	}
	return 0
}
