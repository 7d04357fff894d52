package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ports resolves -p: [[IP:]HOST:]CONTAINER[/PROTOCOL], both sides single or ranges of one length.
func (p *podMaker) ports() error {
	for _, word := range p.flags.publish {
		ports, err := parsePublish(word)
		for i := range ports {
			if err == nil && ports[i].HostPort == 0 {
				ports[i].HostPort, err = p.freePort(ports[i])
			}
		}
		if err != nil {
			return misuse("write [[IP:]HOST:]CONTAINER[/udp], such as 8080:80", "cannot use -p %q: %w", word, err)
		}
		p.container.Ports = append(p.container.Ports, ports...)
	}
	return nil
}

// parsePublish reads one -p. A host port of 0 stands for any that is free.
func parsePublish(word string) ([]corev1.ContainerPort, error) {
	rest, protocol, _ := strings.Cut(word, "/")
	switch protocol = strings.ToUpper(protocol); protocol {
	case "":
		protocol = "TCP"
	case "TCP", "UDP":
	default:
		return nil, fmt.Errorf("no such protocol %q", protocol)
	}
	at := strings.LastIndexByte(rest, ':')
	container := rest[at+1:]
	ip, host := "", rest[:max(at, 0)]
	if at := strings.LastIndexByte(host, ':'); at >= 0 {
		ip, host = strings.Trim(host[:at], "[]"), host[at+1:]
		if _, err := netip.ParseAddr(ip); err != nil {
			return nil, fmt.Errorf("%q is not an IP address", ip)
		}
	}
	to, lastTo, err := portRange(container)
	if err != nil {
		return nil, err
	}
	if host == "" || host == "0" {
		var ports []corev1.ContainerPort
		for ; to <= lastTo; to++ {
			ports = append(ports, corev1.ContainerPort{HostIP: ip, ContainerPort: to, Protocol: corev1.Protocol(protocol)})
		}
		return ports, nil
	}
	from, last, err := portRange(host)
	if err != nil {
		return nil, err
	}
	if last-from != lastTo-to {
		return nil, fmt.Errorf("the two ranges are not of one length")
	}
	var ports []corev1.ContainerPort
	for ; from <= last; from, to = from+1, to+1 {
		ports = append(ports, corev1.ContainerPort{HostIP: ip, HostPort: from, ContainerPort: to, Protocol: corev1.Protocol(protocol)})
	}
	return ports, nil
}

// portRange reads 80 or 8000-8005.
func portRange(word string) (first, last int32, err error) {
	low, high, ok := strings.Cut(word, "-")
	if !ok {
		high = low
	}
	a, err := strconv.ParseUint(low, 10, 16)
	b, err2 := strconv.ParseUint(high, 10, 16)
	if err != nil || err2 != nil || a == 0 || b < a {
		return 0, 0, fmt.Errorf("%q is not a port from 1 to 65535", word)
	}
	return int32(a), int32(b), nil
}

// portTries bounds the search for a free port.
const portTries = 100

// freePort finds ports of the host that nobody has: neither a program, which the kernel knows, nor another Pod of ours. It
// tells which one was taken, for who asked for any does not know.
func (a *app) freePort() func(corev1.ContainerPort) (int32, error) {
	taken := map[int32]bool{}
	boxes, _ := a.host().List() // what cannot be listed is found out when the port is opened
	for _, box := range boxes {
		for _, c := range box.Pod.Spec.Containers {
			for _, p := range c.Ports {
				taken[p.HostPort] = true
			}
		}
	}
	return func(p corev1.ContainerPort) (int32, error) {
		for range portTries {
			port, err := anyPort(p)
			if err != nil {
				return 0, fmt.Errorf("no free port: %w", err)
			}
			if !taken[port] {
				taken[port] = true
				return port, a.say("note: port %d/%s is port %d of this host", p.ContainerPort, strings.ToLower(string(p.Protocol)), port)
			}
		}
		return 0, fmt.Errorf("no free port was found")
	}
}

// anyPort is a port that the kernel gave out a moment ago.
func anyPort(p corev1.ContainerPort) (int32, error) {
	address := net.JoinHostPort(p.HostIP, "0")
	if p.Protocol == corev1.ProtocolUDP {
		conn, err := net.ListenPacket("udp", address)
		if err != nil {
			return 0, err
		}
		return int32(conn.LocalAddr().(*net.UDPAddr).Port), conn.Close()
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return 0, err
	}
	return int32(l.Addr().(*net.TCPAddr).Port), l.Close()
}
