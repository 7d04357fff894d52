package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
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
				out, err := f.podman("ps", "--filter", "pod="+pod, "--filter", "status=running", "--format", "{{.Names}}")
				if err == nil && len(strings.Fields(out)) != 3 { // the third is its pause
					err = fmt.Errorf("running: %q", out)
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

// present sees that everybody has the images.
func (f *Field) present() error {
	for _, t := range f.podTools() {
		for _, image := range []string{"docker.io/library/nginx:1.7.9", "docker.io/library/busybox:latest"} {
			if err := t.pull(image); err != nil {
				return err
			}
		}
	}
	return nil
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
	start := Benchmark{
		Name: "start a Pod of two containers, until both run", Unit: "ms", Rounds: 12, Before: f.present,
		Targets: []Target{{"podman", timesFaster, 5}},
	}
	enter := Benchmark{
		Name: "exec true in a running container", Unit: "ms", Rounds: 30,
		Targets: []Target{{"podman", atMost, 0.2}},
		Before: func() error {
			err := f.present()
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

// memory compares what ten Pods of two containers cost beside their own programs: every process that was not there before and
// is not one of the containers' sleep. Proportional set size counts a page shared by n processes as 1/n in each.
func memory(f *Field) ([]Benchmark, error) {
	return []Benchmark{
		f.memory("memory beside the containers' own, per Pod of 10 at rest", "MB PSS", "Pss:", 2),
		f.memory("of that, anonymous", "MB PSS", "Pss_Anon:", 1),
	}, nil
}

// rest is how long ten Pods are left alone before they are looked at: a Pod spends its life so, not in its start.
const rest = 5 * time.Second

func (f *Field) memory(name, unit, key string, bound float64) Benchmark {
	const count = 10
	b := Benchmark{Name: name, Unit: unit, Rounds: 1, Before: f.present, Targets: []Target{{"", below, bound}}}
	for _, t := range f.podTools() {
		var made []string
		b.Contenders = append(b.Contenders, Contender{
			Name: t.name,
			Measure: func() (float64, error) {
				before, err := processes()
				if err != nil {
					return 0, err
				}
				for n := range count {
					pod := "bench-memory-" + strconv.Itoa(n)
					file, err := f.podFile(pod)
					if err != nil {
						return 0, err
					}
					made = append(made, pod)
					if err := t.run(file, pod); err != nil {
						return 0, err
					}
				}
				time.Sleep(rest)
				after, err := processes()
				if err != nil {
					return 0, err
				}
				var kilobytes float64
				for pid, argv0 := range after {
					if _, was := before[pid]; !was && filepath.Base(argv0) != "sleep" {
						kilobytes += rollup(pid, key)
					}
				}
				return kilobytes / count / 1024, nil
			},
			Reset: func() error {
				var err error
				for _, pod := range made {
					err = errors.Join(err, t.remove(pod))
				}
				made = nil
				return err
			},
		})
	}
	return b
}

// processes maps every process to its argv[0].
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

// rollup is one figure of a process's smaps_rollup in kB; 0 when it has gone, or has no user space.
func rollup(pid int, key string) float64 {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb
		}
	}
	return 0
}
