package lint

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func sshPort(s *subject, c *container) {
	for i, p := range c.Ports {
		if p.ContainerPort == 22 && p.Protocol == corev1.ProtocolTCP {
			s.reportIn(c, fmt.Sprintf("ports[%d].containerPort", i), "take it out; enter with exec", "port 22")
		}
	}
}

func hostPort(s *subject, c *container) {
	for i, p := range c.Ports {
		if p.HostPort != 0 && !s.Pod.Spec.HostNetwork && s.Kind != "DaemonSet" {
			s.reportIn(c, fmt.Sprintf("ports[%d].hostPort", i), "use a Service", "port %d of the host", p.HostPort)
		}
	}
}

// firstFree is the first port that anybody may listen on (ip(7), ip_unprivileged_port_start).
const firstFree = 1024

func privilegedPort(s *subject, c *container) {
	for i, p := range c.Ports {
		if p.ContainerPort < firstFree {
			s.reportIn(c, fmt.Sprintf("ports[%d].containerPort", i), "listen above 1023; a Service can still have the port", "port %d", p.ContainerPort)
		}
	}
}

// portConflict finds a port that two containers of the Pod are to listen on. Init containers are gone before.
func portConflict(s *subject) {
	type port struct {
		number   int32
		protocol corev1.Protocol
	}
	has := map[port]string{}
	for i := range s.containers {
		c := &s.containers[i]
		if c.init {
			continue
		}
		for j, p := range c.Ports {
			key := port{p.ContainerPort, p.Protocol}
			if other, taken := has[key]; taken {
				s.reportIn(c, fmt.Sprintf("ports[%d].containerPort", j), "give one of them another port", "port %d is %s's, too", p.ContainerPort, other)
				continue
			}
			has[key] = "container " + c.Name
		}
	}
}

// probePort holds the port of each probe against those that the container names.
func probePort(s *subject, c *container) {
	for _, p := range []struct {
		field string
		probe *corev1.Probe
	}{{"startupProbe", c.StartupProbe}, {"readinessProbe", c.ReadinessProbe}, {"livenessProbe", c.LivenessProbe}} {
		if p.probe == nil {
			continue
		}
		field, port, ok := probed(p.probe)
		if !ok || listed(c, port) {
			continue
		}
		f := s.reportIn(c, p.field+"."+field, "add the port to ports, or ask one that is there", "no port of the container is %s", port.String())
		if port.Type == intstr.String {
			f.Level = Error // there is no number to ask
		}
	}
}

// probed is the port that a probe asks.
func probed(p *corev1.Probe) (field string, port intstr.IntOrString, ok bool) {
	switch {
	case p.HTTPGet != nil && p.HTTPGet.Host == "":
		return "httpGet.port", p.HTTPGet.Port, true
	case p.TCPSocket != nil && p.TCPSocket.Host == "":
		return "tcpSocket.port", p.TCPSocket.Port, true
	case p.GRPC != nil:
		return "grpc.port", intstr.FromInt32(p.GRPC.Port), true
	}
	return "", port, false
}

func listed(c *container, port intstr.IntOrString) bool {
	for _, p := range c.Ports {
		if port.Type == intstr.String && p.Name == port.StrVal || port.Type == intstr.Int && p.ContainerPort == port.IntVal {
			return true
		}
	}
	return false
}
