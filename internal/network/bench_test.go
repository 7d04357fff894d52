package network

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkAttach is what a Pod's start pays for its network; the namespace is made outside the clock.
func BenchmarkAttach(b *testing.B) {
	for _, ports := range [][]Port{nil, {{HostPort: 8080, ContainerPort: 80}}} {
		b.Run(fmt.Sprintf("ports=%d", len(ports)), func(b *testing.B) {
			h := newHost(b)
			h.attach(b, h.cfg, "first")
			for b.Loop() {
				b.StopTimer()
				ns := newNetNS(b)
				b.StartTimer()
				if _, err := Attach(context.Background(), h.cfg, Request{UID: "p", NetNS: ns.path(), Ports: ports}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				must(b, Detach(context.Background(), h.cfg, "p"))
				ns.Close()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkDetach is what a Pod's end pays; most of it is the kernel's wait for packets under way (synchronize_net).
func BenchmarkDetach(b *testing.B) {
	h := newHost(b)
	h.attach(b, h.cfg, "first")
	for b.Loop() {
		b.StopTimer()
		ns := newNetNS(b)
		if _, err := Attach(context.Background(), h.cfg, Request{UID: "p", NetNS: ns.path()}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		must(b, Detach(context.Background(), h.cfg, "p"))
		b.StopTimer()
		ns.Close()
		b.StartTimer()
	}
}

// BenchmarkDetachMany is the end of 50 Pods in one call.
func BenchmarkDetachMany(b *testing.B) {
	h := newHost(b)
	h.attach(b, h.cfg, "first")
	for b.Loop() {
		b.StopTimer()
		var uids []string
		for i := range 50 {
			uids = append(uids, fmt.Sprint("p", i))
			ns := newNetNS(b)
			if _, err := Attach(context.Background(), h.cfg, Request{UID: uids[i], NetNS: ns.path()}); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		must(b, Detach(context.Background(), h.cfg, uids...))
	}
}

// BenchmarkReady is what the first Pod of a root, and doctor, pay for the question what this host can do.
func BenchmarkReady(b *testing.B) {
	h := newHost(b)
	for b.Loop() {
		must(b, Ready(h.cfg))
	}
}

// BenchmarkFirstAndLast is a root's only Pod, with all that is made and removed around it.
func BenchmarkFirstAndLast(b *testing.B) {
	h := newHost(b)
	ns := newNetNS(b)
	for b.Loop() {
		if _, err := Attach(context.Background(), h.cfg, Request{UID: "p", NetNS: ns.path()}); err != nil {
			b.Fatal(err)
		}
		must(b, Detach(context.Background(), h.cfg, "p"))
	}
}
