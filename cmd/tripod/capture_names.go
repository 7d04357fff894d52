package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"tripod/internal/capture/filter"
	"tripod/internal/capture/packet"
	"tripod/internal/sandbox"
)

// readBounded reads a file of at most size bytes.
func readBounded(path string, size int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, size+1))
	if err == nil && int64(len(data)) > size {
		err = fmt.Errorf("file %s is larger than %d bytes", path, size)
	}
	return data, err
}

// filterNames are what words in a filter mean: names of Pods, then of hosts; and the names of /etc/services and /etc/protocols.
func (a *app) filterNames() filter.Names {
	services, _ := readBounded("/etc/services", maxServices)
	protocols, _ := readBounded("/etc/protocols", maxServices)
	return filter.Names{
		Services: filter.ReadServices(string(services)), Protocols: filter.ReadProtocols(string(protocols)),
		Host: func(name string) ([]netip.Addr, error) {
			box, err := a.host().Find("default", name)
			switch {
			case err == nil:
				if ips := box.IPs(); len(ips) > 0 {
					return ips, nil
				}
				return nil, fmt.Errorf("the Pod %s has none of its own", box)
			case !errors.Is(err, sandbox.ErrNotFound):
				return nil, err
			}
			ctx, done := context.WithTimeout(context.Background(), 5*time.Second)
			defer done()
			ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
			if err != nil {
				return nil, errors.New("neither a Pod nor a host is called so")
			}
			return ips, nil
		},
	}
}

// textNames are the names that are printed for numbers: Pods' for their addresses, and those of /etc/services for ports. There is
// no asking of name servers: it would make packets.
func (a *app) textNames() packet.Names {
	pods := map[netip.Addr]string{}
	if boxes, err := a.host().List(); err == nil {
		for _, box := range boxes {
			for _, ip := range box.IPs() {
				pods[ip] = strings.ReplaceAll(box.String(), "/", ".")
			}
		}
	}
	services := readServices("/etc/services")
	return packet.Names{
		Address: func(ip netip.Addr) string { return pods[ip] },
		Port:    func(port uint16, proto string) string { return services[fmt.Sprintf("%s/%d", proto, port)] },
	}
}
