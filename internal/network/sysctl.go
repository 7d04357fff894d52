package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Files below /proc/sys/net speak of the network namespace of the thread that opens them.

func sysctlPath(name string) string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
}

// confName names a setting of one interface. The interface comes from us (letters and digits), so no dot of its own
// can lead elsewhere (CVE-2022-0811 is about names and values that do).
func confName(family, iface, key string) string {
	return "net." + family + ".conf." + iface + "." + key
}

func getSysctl(name string) (string, error) {
	b, err := os.ReadFile(sysctlPath(name))
	return strings.TrimSpace(string(b)), err
}

// setSysctl writes value unless it is there already, and gives the earlier one.
func setSysctl(name, value string) (before string, err error) {
	before, err = getSysctl(name)
	if err == nil && before != value {
		err = os.WriteFile(sysctlPath(name), []byte(value), 0)
	}
	if err != nil {
		return before, fmt.Errorf("cannot set sysctl %s to %s: %w", name, value, err)
	}
	return before, nil
}

// hostHasIPv6 says that the host's stack speaks IPv6: built in, and not disabled.
func hostHasIPv6() bool {
	for _, conf := range []string{"all", "default"} {
		if v, err := getSysctl(confName("ipv6", conf, "disable_ipv6")); err != nil || v != "0" {
			return false
		}
	}
	return true
}

// forwarding turns on forwarding for IPv4, and for IPv6 when v6. It tells keep of each value before it is changed.
func forwarding(v6 bool, keep func(name, before string) error) error {
	if err := change("net.ipv4.ip_forward", "1", keep); err != nil {
		return err
	}
	if !v6 {
		return nil
	}
	if v, err := getSysctl("net.ipv6.conf.all.forwarding"); err != nil || v == "1" {
		return err
	}
	// A router ignores router advertisements unless accept_ra is 2, so a host that has its own default route from one
	// would lose it (Documentation/networking/ip-sysctl.rst, accept_ra).
	confs, err := os.ReadDir("/proc/sys/net/ipv6/conf")
	if err != nil {
		return fmt.Errorf("cannot list interfaces: %w", err)
	}
	for _, c := range confs {
		if c.Name() == "all" || c.Name() == "lo" {
			continue
		}
		path := filepath.Join("/proc/sys/net/ipv6/conf", c.Name(), "accept_ra")
		b, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(b)) != "1" {
			continue
		}
		// The interface may have dots in its name (eth0.5), so the path is used and not a dotted name.
		if err := keep(path, "1"); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte("2"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot keep router advertisements on %s: %w", c.Name(), err)
		}
	}
	return change("net.ipv6.conf.all.forwarding", "1", keep)
}

func change(name, value string, keep func(name, before string) error) error {
	before, err := getSysctl(name)
	if err != nil {
		return fmt.Errorf("cannot read sysctl %s: %w", name, err)
	}
	if before == value {
		return nil
	}
	if err := keep(name, before); err != nil {
		return err
	}
	_, err = setSysctl(name, value)
	return err
}
