package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cni "github.com/containernetworking/cni/pkg/types/100"
)

// debianPlugins are what Debian's package containernetworking-plugins installs.
const debianPlugins = "/usr/lib/cni"

func write(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), mode))
}

func TestCNIPlugins(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(debianPlugins + "/portmap"); err != nil {
		t.Skip("needs containernetworking-plugins")
	}
	h := newHost(t)
	h.cfg.CNIDir = t.TempDir()
	data := t.TempDir()
	write(t, h.cfg.CNIDir+"/10-net.conflist", fmt.Sprintf(`{
		"cniVersion": "0.4.0", "name": "test-net", "plugins": [
			{"type": "bridge", "bridge": "cnitest0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
			 "ipam": {"type": "host-local", "dataDir": %q, "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "10.77.0.0/24"}]]}},
			{"type": "portmap", "capabilities": {"portMappings": true}}]}`, data), 0o644)
	write(t, h.cfg.CNIDir+"/20-later.conflist", `{"name": "later"`, 0o644)
	write(t, h.cfg.CNIDir+"/00-podman.conflist", `{"name": "podman", "plugins": [{"type": "bridge", "bridge": "cni-podman0"}]}`, 0o644)
	must(t, Ready(h.cfg))
	a := h.attach(t, h.cfg, "a", Port{HostPort: 8080, ContainerPort: 80})
	b := h.attach(t, h.cfg, "b")
	if want := netip.MustParsePrefix("10.77.0.0/24"); len(a.IPs) != 1 || !want.Contains(a.IPs[0]) || a.Gateway != at(want, 1) {
		t.Fatalf("got %+v, not an address of %s", a.Result, want)
	}
	serve(t, a.netNS, "tcp4", to(any4, 80))
	serve(t, h.outside, "tcp4", to(any4, 82))
	reaches(t, "pod to pod", b.netNS, "tcp4", to(a.IPs[0], 80), b.IPs[0])
	reaches(t, "pod to outside", a.netNS, "tcp4", to(outsideAddress, 82), hostAddress)
	reaches(t, "outside to host port", h.outside, "tcp4", to(hostAddress, 8080), outsideAddress)
	must(t, a.inside(func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err == nil {
			defer l.Close()
			_, err = net.Dial("tcp4", l.Addr().String())
		}
		return err
	}))
	must(t, Check(context.Background(), h.cfg, "b"))
	_, err := Attach(context.Background(), h.cfg, Request{UID: "c", NetNS: newNetNS(t).path(), Ports: []Port{{HostPort: 8080, ContainerPort: 1}}})
	if !errors.Is(err, ErrPortTaken) || !strings.Contains(err.Error(), "default/pod-a") {
		t.Errorf("a port that another pod has: %v", err)
	}
	must(t, b.inside(func() error { tool(t, "ip", "addr", "flush", "dev", "eth0"); return nil }))
	if err := Check(context.Background(), h.cfg, "b"); err == nil {
		t.Error("CHECK did not see that the address is gone")
	}
	// The configuration is gone before the Pod is.
	must(t, os.RemoveAll(h.cfg.CNIDir))
	must(t, Detach(context.Background(), h.cfg, "a"))
	must(t, Detach(context.Background(), h.cfg, "b"))
	left, err := filepath.Glob(data + "/test-net/10.*")
	must(t, err)
	if len(left) != 0 {
		t.Errorf("host-local still holds %v", left)
	}
	refused(t, "outside to a closed host port", h.outside, "tcp4", to(hostAddress, 8080))
}

func TestCNIThatMisbehaves(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	bin := t.TempDir()
	h.cfg.CNIDir, h.cfg.CNIBin, h.cfg.CNITimeout = t.TempDir(), []string{bin}, time.Second
	log := t.TempDir() + "/log"
	script := func(name, add string) {
		write(t, filepath.Join(bin, name), "#!/bin/sh\necho $CNI_COMMAND >> "+log+"\n[ $CNI_COMMAND = ADD ] || exit 0\n"+add+"\n", 0o755)
	}
	script("hangs", "sleep 1000")
	script("stops", "kill -STOP $$")
	script("floods", "yes")
	script("lies", `echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/24","interface":7}]}'`)
	script("empty", `echo '{"cniVersion":"1.0.0"}'`)
	script("garbage", `echo '{{{'`)
	script("fails", `printf %s '{"cniVersion":"1.0.0","code":100,"msg":"no luck\n at all"}'; exit 1`)
	script("complains", `echo "what is this" >&2; exit 3`)
	for name, says := range map[string]string{
		"hangs": "did not answer ADD in 1s", "stops": "did not answer ADD in 1s", "floods": "more than 1048576 bytes",
		"lies": "names interface 7 of 0", "empty": "no address", "garbage": "cannot add it to CNI network n", "fails": "error 100: no luck at all",
		"complains": "what is this", "missing": "plugin missing of CNI network n: not in " + bin,
	} {
		write(t, h.cfg.CNIDir+"/n.conflist", `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"`+name+`"}]}`, 0o644)
		os.Remove(log)
		_, err := Attach(context.Background(), h.cfg, Request{UID: "a", NetNS: newNetNS(t).path()})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", name, err, says)
		}
		if ran, _ := os.ReadFile(log); name != "missing" && string(ran) != "ADD\nDEL\n" {
			t.Errorf("%s: the plugin was asked %q", name, ran)
		}
		if _, err := Lookup(h.cfg, "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: left a record: %v", name, err)
		}
	}
	write(t, h.cfg.CNIDir+"/n.conflist", `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"empty"}]}`, 0o644)
	_, err := Attach(context.Background(), h.cfg, Request{UID: "a", NetNS: newNetNS(t).path(), Ports: []Port{{HostPort: 1, ContainerPort: 1}}})
	if !errors.Is(err, ErrBadRequest) || !strings.Contains(err.Error(), "portMappings") {
		t.Errorf("host ports without a plugin for them: %v", err)
	}
}

// CNI's library: the type of a plugin with a path in it ran any program.
func TestCVE_2021_20206(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	program := filepath.Join(t.TempDir(), "evil")
	write(t, program, "#!/bin/sh\ntouch "+ran+"\n", 0o755)
	up := strings.Repeat("../", 20) + program[1:]
	for _, text := range []string{
		`{"name":"n","plugins":[{"type":%q}]}`, `{"name":"n","type":%q}`, `{"name":"n","plugins":[{"type":"bridge","ipam":{"type":%q}}]}`,
		`{"name":"n","plugins":[{"type":"bridge"},{"type":%q}]}`,
	} {
		for _, kind := range []string{program, up, "./" + up, "x/../" + up} {
			dir := t.TempDir()
			write(t, dir+"/n.conflist", fmt.Sprintf(text, kind), 0o644)
			if c, err := loadCNI(Config{CNIDir: dir}); !errors.Is(err, ErrBadRequest) {
				t.Errorf("%s with %s: %v, %v", text, kind, c, err)
			}
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("it ran")
	}
}

func TestBadCNIConfigurations(t *testing.T) {
	for _, text := range []string{
		`{"name":"n","plugins":[{"type":"../../bin/reboot"}]}`, `{"name":"n","plugins":[{"type":"/bin/reboot"}]}`, `{"name":"n","plugins":[{"type":".."}]}`,
		`{"name":"n","type":"../x"}`, `{"name":"n","plugins":[{"type":"bridge","ipam":{"type":"../x"}}]}`,
		`{"name":"../n","plugins":[{"type":"bridge"}]}`, `{"name":"n\n","plugins":[{"type":"bridge"}]}`, `{"plugins":[{"type":"bridge"}]}`,
		`{"name":"n","plugins":[]}`, `{"name":"n"}`, `{"name":"n","plugins":[{}]}`, `{"name":"n","plugins":[7]}`, `[]`, ``, `{"name":"n"`,
	} {
		dir := t.TempDir()
		write(t, dir+"/n.conflist", text, 0o644)
		if c, err := loadCNI(Config{CNIDir: dir}); !errors.Is(err, ErrBadRequest) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, %v", text, c, err)
		}
	}
	dir := t.TempDir()
	write(t, dir+"/n.conflist", strings.Repeat(" ", maxCNIConfig+1), 0o644)
	if _, err := loadCNI(Config{CNIDir: dir}); err == nil {
		t.Error("a configuration without end was read")
	}
	for name, text := range map[string]string{
		"old.conf":   `{"name":"n","type":"bridge"}`,
		"a.json":     `{"name":"n","type":"bridge"}`,
		"b.conflist": `{"name":"n","plugins":[{"type":"bridge"}]}`,
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, name), text, 0o644)
		if c, err := loadCNI(Config{CNIDir: dir}); err != nil || c == nil || len(c.list.Plugins) != 1 || c.list.Plugins[0].Network.Type != "bridge" {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	dir = t.TempDir()
	write(t, dir+"/n.conflist", `{"cniVersion":"1.1.0","name":"n"}`, 0o644)
	write(t, dir+"/n/plugin.conf", `{"type":"ptp"}`, 0o644)
	if c, err := loadCNI(Config{CNIDir: dir}); err != nil || len(c.list.Plugins) != 1 || c.list.Plugins[0].Network.Type != "ptp" {
		t.Errorf("a plugin in a file of its own: %v, %v", c, err)
	}
}

func FuzzCNIConfig(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","ipam":{"type":"host-local"}}]}`))
	f.Add([]byte(`{"name":"n","type":"bridge","capabilities":{"portMappings":true}}`))
	f.Add([]byte(`{"cniVersions":["1.0.0","9.9.9"],"name":"n","plugins":[{"type":"../x"}]}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseCNI(b, dir)
		if err != nil || list == nil {
			return
		}
		for _, p := range list.Plugins {
			if strings.ContainsAny(p.Network.Type, "/\x00") || p.Network.Type == "" {
				t.Errorf("accepted plugin type %q", p.Network.Type)
			}
		}
		again, err := recordOf(list).list()
		if err != nil || len(again.Plugins) != len(list.Plugins) {
			t.Errorf("the record does not give it back: %v", err)
		}
	})
}

func FuzzCNIResult(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1","interface":0}]}`))
	f.Add([]byte(`{"cniVersion":"1.0.0","ips":[{"address":"::1/64","interface":-1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := cni.NewResult(b)
		if err != nil {
			return
		}
		current, err := cni.NewResultFromResult(r)
		if err != nil {
			return
		}
		if out, err := cniResult(current); err == nil && (len(out.IPs) == 0 || len(out.IPs) > maxCNIIPs) {
			t.Errorf("%d addresses", len(out.IPs))
		}
	})
}
