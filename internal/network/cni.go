package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	cni "github.com/containernetworking/cni/pkg/types/100"
)

const (
	maxCNIConfig  = 1 << 20 // bytes of one configuration file
	maxCNIPlugins = 64      // plugins in one network
	maxCNIIPs     = 64      // addresses in one result
)

// cniNetwork is a CNI network that takes the place of our bridge.
type cniNetwork struct {
	cfg  Config
	list *libcni.NetworkConfigList
}

// cniRecord is the network as it was when the Pod was attached. The Pod is detached by it, whatever became of the
// configuration file.
type cniRecord struct {
	Name         string            `json:"name"`
	Version      string            `json:"version"`
	DisableCheck bool              `json:"disableCheck,omitempty"`
	Plugins      []json.RawMessage `json:"plugins"`
}

// loadCNI gives the network of the first configuration in name order; nil when there is none. A file that is bad is an
// error and not passed over: a slip in an editor is not to change which network Pods have. Passed over are the networks that
// other engines keep for themselves in the same directory.
func loadCNI(cfg Config) (*cniNetwork, error) {
	if cfg.CNIDir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(cfg.CNIDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for CNI configurations: %w", err)
	}
	for _, e := range entries { // ReadDir sorts by name
		switch filepath.Ext(e.Name()) {
		case ".conflist", ".conf", ".json":
		default:
			continue
		}
		path := filepath.Join(cfg.CNIDir, e.Name())
		b, err := readBounded(path, maxCNIConfig)
		if err != nil {
			return nil, fmt.Errorf("cannot read CNI configuration: %w", err)
		}
		list, err := parseCNI(b, cfg.CNIDir)
		if err != nil {
			return nil, fmt.Errorf("cannot use CNI configuration %s: %w", path, err)
		}
		if list != nil {
			return &cniNetwork{cfg, list}, nil
		}
	}
	return nil, nil
}

// parseCNI reads a network list, or a single plugin as older configurations have it. It gives nil for another
// engine's own network. Plugins may also lie in files in dir/NAME (CNI specification 1.1, section 1).
func parseCNI(b []byte, dir string) (*libcni.NetworkConfigList, error) {
	var head struct {
		Name    string `json:"name"`
		Type    string `json:"type"`
		Nerdctl any    `json:"nerdctlID"`
		Plugins []struct {
			Bridge string `json:"bridge"`
		} `json:"plugins"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	// Debian's podman package brings /etc/cni/net.d/87-podman-bridge.conflist, and podman and nerdctl keep what their
	// `network create` makes there.
	if head.Nerdctl != nil || len(head.Plugins) > 0 && strings.HasPrefix(head.Plugins[0].Bridge, "cni-podman") {
		return nil, nil
	}
	if !plainName(head.Name) { // before it becomes part of a path
		return nil, fmt.Errorf("%w: name %q is not letters, digits, '-', '_' and '.'", ErrBadRequest, head.Name)
	}
	if len(head.Plugins) > maxCNIPlugins {
		return nil, fmt.Errorf("%w: %d plugins are more than %d", ErrBadRequest, len(head.Plugins), maxCNIPlugins)
	}
	list, err := parseCNIList(b, head.Type, dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if len(list.Plugins) == 0 {
		return nil, fmt.Errorf("%w: it names no plugin", ErrBadRequest)
	}
	for _, p := range list.Plugins {
		// CVE-2021-20206: a type such as ../../bin/reboot ran a program outside the plugin directories.
		if !plainName(p.Network.Type) {
			return nil, fmt.Errorf("%w: plugin type %q is not the plain name of a plugin (CVE-2021-20206)", ErrBadRequest, p.Network.Type)
		}
		if t := p.Network.IPAM.Type; t != "" && !plainName(t) {
			return nil, fmt.Errorf("%w: ipam type %q is not the plain name of a plugin (CVE-2021-20206)", ErrBadRequest, t)
		}
	}
	return list, nil
}

func parseCNIList(b []byte, kind, dir string) (*libcni.NetworkConfigList, error) {
	if kind != "" {
		one, err := libcni.NetworkPluginConfFromBytes(b)
		if err != nil {
			return nil, err
		}
		return &libcni.NetworkConfigList{Name: one.Network.Name, CNIVersion: one.Network.CNIVersion, Plugins: []*libcni.PluginConfig{one}, Bytes: b}, nil
	}
	list, err := libcni.NetworkConfFromBytes(b)
	if err != nil || list.LoadOnlyInlinedPlugins {
		return list, err
	}
	more, err := libcni.NetworkPluginConfsFromFiles(dir, list.Name)
	list.Plugins = append(list.Plugins, more...)
	return list, err
}

// plainName says that a name is a file name with nothing special in it.
func plainName(name string) bool { return validUID(name) == nil && name[0] != '.' && name[0] != '-' }

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, err
}

// ready says which plugin is missing.
func (c *cniNetwork) ready() error {
	for _, p := range c.list.Plugins {
		if _, err := invoke.FindInPath(p.Network.Type, c.cfg.CNIBin); err != nil {
			return fmt.Errorf("%w: plugin %s of CNI network %s: not in %s", ErrMissing, p.Network.Type, c.list.Name, strings.Join(c.cfg.CNIBin, ", "))
		}
	}
	return nil
}

func (c *cniNetwork) opensPorts() bool {
	return slices.ContainsFunc(c.list.Plugins, func(p *libcni.PluginConfig) bool { return p.Network.Capabilities["portMappings"] })
}

// attachCNI is Attach with CNI plugins.
func (s *state) attachCNI(ctx context.Context, c *cniNetwork, req Request, target *netNS) (result *Result, err error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	if len(req.Ports) > 0 && !c.opensPorts() {
		return nil, fmt.Errorf("%w: host port %s: no plugin of CNI network %s has the capability portMappings", ErrBadRequest, req.Ports[0], c.list.Name)
	}
	pod := &pod{
		Version: recordVersion, UID: req.UID, Namespace: req.Namespace, Name: req.Name,
		NetNS: req.NetNS, Inode: target.inode, Boot: bootID(), Ports: req.Ports, CNI: recordOf(c.list),
	}
	if err := s.reservePorts(pod); err != nil {
		return nil, err
	}
	// DEL follows an ADD that failed, too: plugins are to remove what is there (CNI specification, section 2).
	defer func() {
		if err != nil {
			err = undone(err, s.detach(context.WithoutCancel(ctx), req.UID))
		}
	}()
	err = target.inside(func() error {
		inner, err := openRoute()
		if err != nil {
			return err
		}
		defer inner.Close()
		return inner.do(setUp(1, "lo"))
	})
	if err != nil {
		return nil, err
	}
	answer, err := s.plugins("ADD").AddNetworkList(ctx, c.list, s.cniArgs(pod))
	if err != nil {
		return nil, fmt.Errorf("cannot add it to CNI network %s: %w", c.list.Name, inner(err))
	}
	current, err := cni.NewResultFromResult(answer)
	if err != nil {
		return nil, fmt.Errorf("cannot read the result of CNI network %s: %w", c.list.Name, err)
	}
	if pod.Result, err = cniResult(current); err != nil {
		return nil, fmt.Errorf("CNI network %s: %w", c.list.Name, err)
	}
	pod.IPs = pod.Result.IPs
	return pod.Result, s.finish(pod)
}

// reservePorts writes the Pod's record when nobody has its ports.
func (s *state) reservePorts(pod *pod) error {
	lock, err := s.lock()
	if err != nil {
		return err
	}
	defer lock.Release()
	if len(pod.Ports) > 0 {
		hostLock, err := s.lockHost()
		if err != nil {
			return err
		}
		defer hostLock.Release()
		if err := s.portsFree(pod); err != nil {
			return err
		}
	}
	return s.putPod(pod)
}

// cniResult takes the Pod's addresses out of a plugin's answer.
func cniResult(r *cni.Result) (*Result, error) {
	out := &Result{Interface: Interface}
	for _, c := range r.IPs {
		if i := c.Interface; i != nil {
			if *i < 0 || *i >= len(r.Interfaces) || r.Interfaces[*i] == nil {
				return nil, fmt.Errorf("its result names interface %d of %d", *i, len(r.Interfaces))
			}
			if r.Interfaces[*i].Sandbox == "" {
				continue // the host's end
			}
		}
		ip, ok := netip.AddrFromSlice(c.Address.IP)
		if !ok {
			return nil, errors.New("its result has an address that is none")
		}
		if len(out.IPs) == maxCNIIPs {
			return nil, fmt.Errorf("its result has more than %d addresses", maxCNIIPs)
		}
		out.IPs = append(out.IPs, ip.Unmap())
		if gateway, ok := netip.AddrFromSlice(c.Gateway); ok && !out.Gateway.IsValid() {
			out.Gateway = gateway.Unmap()
		}
	}
	if len(out.IPs) == 0 {
		return nil, errors.New("its result has no address for the pod")
	}
	slices.SortStableFunc(out.IPs, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() }) // IPv4 first
	return out, nil
}

// detachCNI asks the plugins to remove what they made. They are not told of a namespace that is gone: its path may be
// another process's by now.
func (s *state) detachCNI(ctx context.Context, pod *pod) error {
	list, err := pod.CNI.list()
	if err != nil {
		return err
	}
	if err := s.plugins("DEL").DelNetworkList(ctx, list, s.cniArgs(pod)); err != nil {
		return fmt.Errorf("cannot delete it from CNI network %s: %w", list.Name, inner(err))
	}
	return nil
}

// checkCNI asks the plugins whether all is as they made it.
func (s *state) checkCNI(ctx context.Context, pod *pod) error {
	list, err := pod.CNI.list()
	if err != nil {
		return err
	}
	err = s.plugins("CHECK").CheckNetworkList(ctx, list, s.cniArgs(pod))
	if err != nil && !errors.Is(err, libcni.ErrorCheckNotSupp) {
		return fmt.Errorf("CNI network %s: %w", list.Name, inner(err))
	}
	return nil
}

func (s *state) plugins(verb string) *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(s.cfg.CNIBin, filepath.Join(s.dir, "cni"), &pluginExec{verb: verb, timeout: s.cfg.CNITimeout})
}

// portMapping is an entry of the capability portMappings (CNI conventions, "Dynamic Plugin specific fields").
type portMapping struct {
	HostPort      uint16 `json:"hostPort"`
	ContainerPort uint16 `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

func (s *state) cniArgs(pod *pod) *libcni.RuntimeConf {
	ns := pod.NetNS
	if !pod.there() {
		ns = "" // as the specification has it for DEL
	}
	mappings := make([]portMapping, len(pod.Ports))
	for i, p := range pod.Ports {
		mappings[i] = portMapping{p.HostPort, p.ContainerPort, strings.ToLower(p.Protocol), ""}
		if p.HostIP.IsValid() {
			mappings[i].HostIP = p.HostIP.String()
		}
	}
	return &libcni.RuntimeConf{
		ContainerID: pod.UID, NetNS: ns, IfName: Interface,
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", pod.Namespace},
			{"K8S_POD_NAME", pod.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", pod.UID},
			{"K8S_POD_UID", pod.UID},
		},
		CapabilityArgs: map[string]any{"portMappings": mappings},
	}
}

func recordOf(list *libcni.NetworkConfigList) *cniRecord {
	r := &cniRecord{Name: list.Name, Version: list.CNIVersion, DisableCheck: list.DisableCheck}
	for _, p := range list.Plugins {
		r.Plugins = append(r.Plugins, p.Bytes)
	}
	return r
}

func (r *cniRecord) list() (*libcni.NetworkConfigList, error) {
	list := &libcni.NetworkConfigList{Name: r.Name, CNIVersion: r.Version, DisableCheck: r.DisableCheck}
	for _, b := range r.Plugins {
		p, err := libcni.NetworkPluginConfFromBytes(b)
		if err != nil {
			return nil, fmt.Errorf("cannot read the recorded CNI network %s: %w", r.Name, err)
		}
		list.Plugins = append(list.Plugins, p)
	}
	return list, nil
}
