package bundle

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Hosts is a Pod's /etc/hosts, byte for byte as kubelet writes it: the Pod's addresses and its hostAliases. A Pod on the
// host's network has the host's file, given here, in front of its aliases.
func Hosts(pod *corev1.Pod, s Sandbox, ips []string, ofHost []byte) []byte {
	var b bytes.Buffer
	if s.Net == OfHost {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.Write(ofHost)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n" +
			"127.0.0.1\tlocalhost\n" +
			"::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::0\tip6-localnet\n" +
			"fe00::0\tip6-mcastprefix\n" +
			"fe00::1\tip6-allnodes\n" +
			"fe00::2\tip6-allrouters\n")
		for _, ip := range ips {
			if s.Domain != "" {
				fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, s.Hostname, s.Domain, s.Hostname)
			} else {
				fmt.Fprintf(&b, "%s\t%s\n", ip, s.Hostname)
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range pod.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
		}
	}
	return b.Bytes()
}

// Hostname is a Pod's /etc/hostname.
func Hostname(pod *corev1.Pod, s Sandbox, n Node) []byte {
	return []byte(s.uname(pod, n) + "\n")
}

// The limits of a resolv.conf that Kubernetes keeps (pkg/apis/core/validation).
const (
	maxNameservers      = 3
	maxSearches         = 32
	maxSearchBytes      = 2048
	maxSearchBytesOfOne = 253
)

// ResolvConf is a Pod's /etc/resolv.conf: the host's, given here, or nothing with dnsPolicy None, and the Pod's dnsConfig
// behind it. There is no cluster DNS here, so ClusterFirst is what kubelet makes of it without one: Default.
func ResolvConf(pod *corev1.Pod, ofHost []byte) []byte {
	var c resolv
	if pod.Spec.DNSPolicy != corev1.DNSNone {
		c = parseResolv(ofHost)
	}
	if d := pod.Spec.DNSConfig; d != nil {
		c.servers = append(c.servers, d.Nameservers...)
		c.searches = append(c.searches, d.Searches...)
		for _, o := range d.Options {
			word := o.Name
			if o.Value != nil && *o.Value != "" {
				word += ":" + *o.Value
			}
			c.options = append(c.options, strings.Fields(word)...) // Kubernetes takes any bytes here, line breaks too
		}
	}
	return c.text()
}

// resolv is a resolv.conf(5).
type resolv struct{ servers, searches, options []string }

// parseResolv reads one as kubelet does: the last search counts, options add up.
func parseResolv(text []byte) resolv {
	var c resolv
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") || strings.HasPrefix(words[0], ";") {
			continue
		}
		switch words[0] {
		case "nameserver":
			if len(words) > 1 {
				c.servers = append(c.servers, words[1])
			}
		case "search":
			c.searches = words[1:]
		case "options":
			c.options = append(c.options, words[1:]...)
		}
	}
	return c
}

func (c resolv) text() []byte {
	var b bytes.Buffer
	if searches := fitting(unique(c.searches)); len(searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(searches, " "))
	}
	servers := unique(c.servers)
	for _, s := range servers[:min(len(servers), maxNameservers)] {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if options := mergeOptions(c.options); len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.Bytes()
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// fitting leaves out search domains that resolvers would stumble on: some abort on one that is too long.
func fitting(searches []string) []string {
	searches = searches[:min(len(searches), maxSearches)]
	searches = slices.DeleteFunc(slices.Clone(searches), func(s string) bool { return len(s) > maxSearchBytesOfOne })
	for len(strings.Join(searches, " ")) > maxSearchBytes {
		searches = searches[:len(searches)-1]
	}
	return searches
}

// mergeOptions keeps the last value of each option, sorted by name.
func mergeOptions(options []string) []string {
	values := map[string]string{}
	for _, o := range options {
		name, _, _ := strings.Cut(o, ":")
		values[name] = o
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, values[name])
	}
	return out
}
