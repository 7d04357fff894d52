package main

import (
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"tripod/internal/manifest"
	"tripod/internal/sandbox"
)

// security resolves --user, --read-only, --privileged, --cap-add, --cap-drop and --security-opt.
func (p *podMaker) security() error {
	s := &corev1.SecurityContext{}
	if p.flags.readOnly {
		s.ReadOnlyRootFilesystem = yes()
	}
	if p.flags.privileged {
		s.Privileged = yes()
	}
	if len(p.flags.capAdd)+len(p.flags.capDrop) > 0 {
		s.Capabilities = &corev1.Capabilities{Add: capabilities(p.flags.capAdd), Drop: capabilities(p.flags.capDrop)}
	}
	for _, word := range p.flags.securityOpt {
		switch word {
		case "no-new-privileges", "no-new-privileges=true", "no-new-privileges:true":
			no := false
			s.AllowPrivilegeEscalation = &no
		case "seccomp=unconfined", "seccomp:unconfined":
			s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		default:
			return misuse("use no-new-privileges or seccomp=unconfined", "cannot use --security-opt %q: no such option", word)
		}
	}
	if word := p.flags.user; word != "" {
		user, group, hasGroup := strings.Cut(word, ":")
		uid, userErr := strconv.ParseUint(user, 10, 31)
		gid, groupErr := strconv.ParseUint(group, 10, 31)
		switch {
		case user == "" || hasGroup && group == "":
			return misuse("write UID[:GID] or NAME[:GROUP]", "cannot use --user %q: not a user and group", word)
		case userErr != nil || hasGroup && groupErr != nil:
			p.annotate(manifest.AnnotationUser, word)
		default:
			s.RunAsUser = number(int64(uid))
			if hasGroup {
				s.RunAsGroup = number(int64(gid))
			}
		}
	}
	if *s != (corev1.SecurityContext{}) {
		p.container.SecurityContext = s
	}
	return nil
}

// capabilities are names as Kubernetes writes them: upper case, without CAP_.
func capabilities(words []string) []corev1.Capability {
	var all []corev1.Capability
	for _, word := range words {
		all = append(all, corev1.Capability(strings.TrimPrefix(strings.ToUpper(word), "CAP_")))
	}
	return all
}

// namespaces resolves --network, --pid, --ipc, --userns, --init, --group-add, --pids-limit, --sysctl and --hostname.
func (p *podMaker) namespaces() error {
	spec := &p.pod.Spec
	switch p.flags.network {
	case "", "bridge":
	case "host":
		spec.HostNetwork = true
	case "none":
		p.annotate(manifest.AnnotationNetwork, sandbox.NetworkNone)
	default:
		return misuse("use bridge, host or none", "cannot use --network %q: no such network", p.flags.network)
	}
	for _, ns := range []struct {
		flag, word string
		host       *bool
	}{{"--pid", p.flags.pid, &spec.HostPID}, {"--ipc", p.flags.ipc, &spec.HostIPC}} {
		switch ns.word {
		case "", "private":
		case "host":
			*ns.host = true
		default:
			return misuse("use host or private", "cannot use %s %q: no such mode", ns.flag, ns.word)
		}
	}
	switch p.flags.userns {
	case "", "host":
	case "pod":
		no := false
		spec.HostUsers = &no
	case "container":
		p.annotate(manifest.AnnotationUserNS, "container")
	default:
		return misuse("use host, pod or container", "cannot use --userns %q: no such mode", p.flags.userns)
	}
	if p.flags.pids != 0 {
		p.annotate(manifest.AnnotationPids, strconv.FormatInt(p.flags.pids, 10))
	}
	spec.Hostname = p.flags.hostname
	if p.flags.init { // the Pod's own first process reaps in a PID namespace that is the whole Pod's
		spec.ShareProcessNamespace = yes()
	}
	if len(p.flags.sysctl)+len(p.flags.groupAdd) > 0 {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	for _, word := range p.flags.groupAdd {
		gid, err := strconv.ParseUint(word, 10, 31)
		if err != nil {
			return misuse("give its number", "cannot use --group-add %q: not a number", word)
		}
		spec.SecurityContext.SupplementalGroups = append(spec.SecurityContext.SupplementalGroups, int64(gid))
	}
	for _, word := range p.flags.sysctl {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return misuse("write NAME=VALUE", "cannot use --sysctl %q: no value", word)
		}
		spec.SecurityContext.Sysctls = append(spec.SecurityContext.Sysctls, corev1.Sysctl{Name: name, Value: value})
	}
	return nil
}

// names resolves --label, --annotation, --add-host and the --dns flags.
func (p *podMaker) names() error {
	for _, word := range p.flags.label {
		name, value, _ := strings.Cut(word, "=")
		if p.pod.Labels == nil {
			p.pod.Labels = map[string]string{}
		}
		p.pod.Labels[name] = value
	}
	for _, word := range p.flags.annotation {
		name, value, _ := strings.Cut(word, "=")
		p.annotate(name, value)
	}
	for _, word := range p.flags.addHost {
		name, ip, ok := strings.Cut(word, ":")
		if _, err := netip.ParseAddr(strings.Trim(ip, "[]")); !ok || err != nil {
			return misuse("write NAME:IP", "cannot use --add-host %q: not a name and an address", word)
		}
		p.pod.Spec.HostAliases = append(p.pod.Spec.HostAliases, corev1.HostAlias{IP: strings.Trim(ip, "[]"), Hostnames: []string{name}})
	}
	if len(p.flags.dns)+len(p.flags.dnsSearch)+len(p.flags.dnsOpts) == 0 {
		return nil
	}
	dns := &corev1.PodDNSConfig{Nameservers: p.flags.dns, Searches: p.flags.dnsSearch}
	for _, word := range p.flags.dnsOpts {
		name, value, ok := strings.Cut(word, ":")
		option := corev1.PodDNSConfigOption{Name: name}
		if ok {
			option.Value = &value
		}
		dns.Options = append(dns.Options, option)
	}
	if p.pod.Spec.DNSConfig = dns; len(dns.Nameservers) > 0 {
		p.pod.Spec.DNSPolicy = corev1.DNSNone
	}
	return nil
}

func (p *podMaker) annotate(name, value string) {
	if p.pod.Annotations == nil {
		p.pod.Annotations = map[string]string{}
	}
	p.pod.Annotations[name] = value
}

func yes() *bool            { t := true; return &t }
func number(n int64) *int64 { return &n }
