package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tripodd is a daemon under test, with the field's images.
type tripodd struct {
	f       *Field
	process *exec.Cmd
	client  *http.Client
}

func (f *Field) tripodd() *tripodd {
	socket := filepath.Join(f.dir, "tripod-run", "tripod.sock")
	return &tripodd{f: f, client: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// start returns when the daemon has answered for the first time.
func (d *tripodd) start() error {
	log, err := os.OpenFile(filepath.Join(d.f.dir, "tripodd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.process = exec.Command(filepath.Join(filepath.Dir(d.f.tripod), "tripodd"))
	d.process.Env, d.process.Stderr = d.f.env, log
	if err := d.process.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err = d.ask(http.MethodGet, "/api/v1/namespaces/default/pods", "", nil); err == nil {
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(err, d.stop())
		}
	}
}

func (d *tripodd) stop() error {
	d.client.CloseIdleConnections()
	return errors.Join(d.process.Process.Signal(unix.SIGTERM), d.process.Wait())
}

// ask is one request and its answer.
func (d *tripodd) ask(method, path, kind string, body []byte) ([]byte, error) {
	r, err := http.NewRequest(method, "http://tripod"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", kind)
	answer, err := d.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return text, err
}

// apply is a server-side apply of a manifest.
func (d *tripodd) apply(path string, manifest []byte) error {
	_, err := d.ask(http.MethodPatch, path+"?fieldManager=bench&force=true", "application/apply-patch+yaml", manifest)
	return err
}

// benchPod is what is looked at of a Pod.
type benchPod struct {
	Metadata struct{ Name, CreationTimestamp string }
	Status   struct {
		Conditions []struct{ Type, Status string }
	}
}

func (p benchPod) ready() bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c struct{ Type, Status string }) bool { return c.Type == "Ready" && c.Status == "True" })
}

// readiness tells, by a watch from now on, how long after began each of n Pods with a label was ready.
func (d *tripodd) readiness(label string, n int, begin func() error) (times []time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	events, err := d.watch(ctx, "/api/v1/namespaces/default/pods?labelSelector="+label)
	if err != nil {
		return nil, err
	}
	defer events.Close()
	began := time.Now()
	if err := begin(); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for in := json.NewDecoder(events); len(times) < n; {
		var e struct{ Object benchPod }
		if err := in.Decode(&e); err != nil {
			return nil, fmt.Errorf("%d of %d Pods are ready: %w", len(times), n, err)
		}
		if name := e.Object.Metadata.Name; e.Object.ready() && !seen[name] {
			seen[name] = true
			times = append(times, time.Since(began))
		}
	}
	return times, nil
}

func (d *tripodd) watch(ctx context.Context, path string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://tripod"+path+"&watch=true", nil)
	if err != nil {
		return nil, err
	}
	answer, err := d.client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, errors.New(answer.Status)
	}
	return answer.Body, nil
}

// scale applies a Deployment of Pods that sleep.
func (d *tripodd) scale(replicas int) error {
	return d.apply("/apis/apps/v1/namespaces/default/deployments/bench", fmt.Appendf(nil, `apiVersion: apps/v1
kind: Deployment
metadata: {name: bench}
spec:
  replicas: %d
  selector: {matchLabels: {app: bench}}
  template:
    metadata: {labels: {app: bench}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: 'docker.io/library/busybox:latest', imagePullPolicy: IfNotPresent, command: [sleep, '36000']}]
`, replicas))
}

// empty deletes the Deployment and waits until no Pod is left.
func (d *tripodd) empty() error {
	_, err := d.ask(http.MethodDelete, "/apis/apps/v1/namespaces/default/deployments/bench", "", nil)
	for end := time.Now().Add(3 * time.Minute); err == nil; time.Sleep(50 * time.Millisecond) {
		var list struct{ Items []benchPod }
		text, gerr := d.ask(http.MethodGet, "/api/v1/namespaces/default/pods", "", nil)
		if err = gerr; err == nil {
			err = json.Unmarshal(text, &list)
		}
		if err == nil && len(list.Items) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d Pods are left", len(list.Items))
		}
	}
	return err
}

// daemons measures tripodd.
func daemons(f *Field) ([]Benchmark, error) {
	d := f.tripodd()
	begin := func() error { return errors.Join(f.present(), d.start()) }
	return []Benchmark{
		{
			Name: "tripodd: start to the first answer", Unit: "ms", Rounds: 10, Targets: []Target{{"", below, 350}},
			Contenders: []Contender{{Name: "tripodd", Measure: timed(d.start), Reset: d.stop}},
		},
		d.applies(begin),
		d.scales(begin),
		d.rests("tripodd: memory with 100 Pods", "MB RSS", begin, 100, func() (float64, error) { return residentMB(d.process.Process.Pid) }),
		d.rests("tripodd: CPU time over 20 s at rest, with 100 Pods", "ms", begin, 0, func() (float64, error) {
			before, err := cpuTicks(d.process.Process.Pid)
			if err != nil {
				return 0, err
			}
			time.Sleep(20 * time.Second)
			after, err := cpuTicks(d.process.Process.Pid)
			return 10 * (after - before), err
		}),
		d.watchers(begin),
	}, nil
}

// applies compares a Pod of two containers, until it is ready, with podman's.
func (d *tripodd) applies(begin func() error) Benchmark {
	const pod = "bench-apply"
	podman := d.f.podTools()[1]
	labelled := strings.Replace(fmt.Sprintf(manifest, pod), "metadata:\n", "metadata:\n  labels: {app: bench-apply}\n", 1)
	var file string
	return Benchmark{
		Name: "apply a Pod of two containers, until it is ready", Unit: "ms", Rounds: 8, Targets: []Target{{"podman", timesFaster, 10}},
		Before: func() (err error) {
			file, err = d.f.podFile(pod)
			return errors.Join(err, begin())
		},
		After: d.stop,
		Contenders: []Contender{
			{
				Name: "tripodd",
				Measure: func() (float64, error) {
					times, err := d.readiness("app=bench-apply", 1, func() error { return d.apply("/api/v1/namespaces/default/pods/"+pod, []byte(labelled)) })
					if err != nil {
						return 0, err
					}
					return milliseconds(times[0]), nil
				},
				Reset: func() error {
					_, err := d.ask(http.MethodDelete, "/api/v1/namespaces/default/pods/"+pod, "", nil)
					for err == nil {
						time.Sleep(10 * time.Millisecond)
						_, err = d.ask(http.MethodGet, "/api/v1/namespaces/default/pods/"+pod, "", nil)
					}
					if strings.Contains(err.Error(), "404") {
						return nil
					}
					return err
				},
			},
			{Name: "podman", Measure: timed(func() error { return podman.run(file, pod) }), Reset: func() error { return podman.remove(pod) }},
		},
	}
}

// scales grows a Deployment from 3 Pods to 50.
func (d *tripodd) scales(begin func() error) Benchmark {
	var note string
	return Benchmark{
		Name: "tripodd: scale from 3 to 50 Pods, until all are ready", Unit: "Pods/s", More: true, Rounds: 1, Before: begin,
		After: func() error { return errors.Join(d.empty(), d.stop()) },
		Notes: func() []string { return []string{note} },
		Contenders: []Contender{{Name: "tripodd", Measure: func() (float64, error) {
			if _, err := d.readiness("app=bench", 3, func() error { return d.scale(3) }); err != nil {
				return 0, err
			}
			times, err := d.readiness("app=bench", 50, func() error { return d.scale(50) })
			if err != nil {
				return 0, err
			}
			fresh := times[3:] // three were ready at once
			note = fmt.Sprintf("a Pod was ready after %.0f ms in the median, %.0f ms at p99", milliseconds(fresh[len(fresh)/2]), milliseconds(fresh[len(fresh)*99/100]))
			return float64(len(fresh)) / fresh[len(fresh)-1].Seconds(), nil
		}}},
	}
}

// rests looks at a daemon that has 100 Pods and nothing to do.
func (d *tripodd) rests(name, unit string, begin func() error, bound float64, look func() (float64, error)) Benchmark {
	return Benchmark{
		Name: name, Unit: unit, Rounds: 1, Targets: []Target{{"", below, bound}},
		Before: func() error {
			err := begin()
			if err == nil {
				_, err = d.readiness("app=bench", 100, func() error { return d.scale(100) })
			}
			time.Sleep(rest)
			return err
		},
		After:      func() error { return errors.Join(d.empty(), d.stop()) },
		Contenders: []Contender{{Name: "tripodd", Measure: look}},
	}
}

// watchers has a thousand clients hear of one change.
func (d *tripodd) watchers(begin func() error) Benchmark {
	const count, path = 1000, "/api/v1/namespaces/default/configmaps"
	return Benchmark{
		Name: "tripodd: a change is heard by 1,000 watchers", Unit: "ms", Rounds: 1, Before: begin, After: d.stop,
		Contenders: []Contender{{Name: "tripodd", Measure: func() (float64, error) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			heard := make(chan error, count)
			for range count {
				events, err := d.watch(ctx, path+"?fieldSelector=metadata.name=bench-change")
				if err != nil {
					return 0, err
				}
				go func() {
					defer events.Close()
					_, err := bufio.NewReader(events).ReadString('\n')
					heard <- err
				}()
			}
			began := time.Now()
			if _, err := d.ask(http.MethodPost, path, "application/json", []byte(`{"metadata":{"name":"bench-change"}}`)); err != nil {
				return 0, err
			}
			for range count {
				if err := <-heard; err != nil {
					return 0, err
				}
			}
			took := milliseconds(time.Since(began))
			_, err := d.ask(http.MethodDelete, path+"/bench-change", "", nil)
			return took, err
		}}},
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func residentMB(pid int) (float64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "VmRSS:" {
			kb, err := strconv.ParseFloat(words[1], 64)
			return kb / 1024, err
		}
	}
	return 0, errors.Join(err, errors.New("no VmRSS"))
}

// cpuTicks is the CPU time of a process in ticks of 10 ms.
func cpuTicks(pid int) (float64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, behind, _ := strings.Cut(string(text), ") ")
	words := strings.Fields(behind)
	if err != nil || len(words) < 13 {
		return 0, errors.Join(err, errors.New("no CPU time"))
	}
	user, uerr := strconv.ParseFloat(words[11], 64)
	system, serr := strconv.ParseFloat(words[12], 64)
	return user + system, errors.Join(uerr, serr)
}
