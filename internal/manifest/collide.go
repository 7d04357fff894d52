package manifest

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// collisions tells Pods that cannot be together on one host: of one name, or
// with one host port.
func collisions(workloads []Workload) Errors {
	var faults Errors
	names := map[string]*Workload{}
	ports := map[hostPort][]holder{}
	for i := range workloads {
		w := &workloads[i]
		for _, p := range w.Pods {
			name := p.Namespace + "/" + p.Name
			if first, twice := names[name]; twice {
				faults = append(faults, &Error{
					File: w.File, Line: w.Line, Field: "metadata.name",
					Msg: fmt.Sprintf("pod %s is there already, from %s %s in %s:%d", name, strings.ToLower(first.Kind), first.Name, first.File, first.Line),
				})
				continue
			}
			names[name] = w
			for port, ip := range hostPorts(p) {
				for _, h := range ports[port] {
					if h.ip == ip || h.ip.IsUnspecified() || ip.IsUnspecified() {
						faults = append(faults, &Error{
							File: w.File, Line: w.Line,
							Msg: fmt.Sprintf("pod %s wants host port %d/%s, which pod %s has", name, port.number, port.protocol, h.pod),
						})
						break
					}
				}
				ports[port] = append(ports[port], holder{ip, name})
			}
		}
	}
	return faults.sorted()
}

type hostPort struct {
	protocol corev1.Protocol
	number   int32
}

type holder struct {
	ip  netip.Addr
	pod string
}

// hostPorts gives the ports that a Pod takes on the host.
func hostPorts(p *corev1.Pod) func(func(hostPort, netip.Addr) bool) {
	return func(yield func(hostPort, netip.Addr) bool) {
		for _, c := range p.Spec.Containers {
			for _, port := range c.Ports {
				ip, err := netip.ParseAddr(port.HostIP)
				if err != nil {
					ip = netip.IPv4Unspecified()
				}
				if port.HostPort != 0 && !yield(hostPort{port.Protocol, port.HostPort}, ip) {
					return
				}
			}
		}
	}
}
