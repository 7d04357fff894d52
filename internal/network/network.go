// Package network gives a Pod its network: a pair of virtual links into its namespace, addresses, the way out and
// the host ports that lead in.
//
// Words. The host is the network namespace of the calling thread, so a test that locks its thread into a namespace
// of its own has a host of its own. A root is one tripod (its --root and --run-root); it has one bridge, one IPv4
// subnet, one IPv6 /64 and one nftables table, all named by a hash of the root, so that two roots never meet. A lease
// is an address that belongs to a Pod. A record is what the root remembers of a Pod's network, in RUN/network.
//
// The order is what makes a kill harmless: a Pod's record is written first, and then its lease, its ports and its links
// are made, under names that follow from root and Pod alone. Detach undoes by these names, as often as it is called, and Sweep
// does it for each record whose Pod is gone. The bridge, the table and the rules in other people's tables are made with
// the first Pod and go with the last.
//
// Truth about the host is asked of the host: subnets in use are its routes and addresses, host ports in use are the
// elements of every tripod table and the sockets that listen. One lock for the whole machine (Config.HostLock) keeps two
// roots from choosing at once; no file has to agree with the kernel.
//
// Addresses are our own few lines and not CNI's host-local plugin: a symbolic link per lease (the name is the
// address, the target is the Pod) is made or refused by one atomic system call, where host-local takes a lock of its
// own, writes a file and cannot give both families one number.
//
// A host port is a map element that leads to the Pod, as kubelet and CNI's portmap do it. No socket is held for it:
// only a process that lives as long as the Pod could, and it would have to be told of each change. So a port that
// somebody else has is refused when the Pod comes, and a process that takes it later is shadowed by the Pod.
//
// IPv4 forwarding (and IPv6's, where the host has IPv6) is turned on and stays on: the kernel keeps no count of who
// needs it, so turning it off could cut off a virtual machine or Docker. The earlier values are remembered and Changed
// tells them.
//
// A Pod's own address is reached from wherever a packet for it is forwarded to this host, as with kubelet; who wants only
// host ports open to the network has a firewall that drops forwarded packets, as Docker brings one. There ours lets pass
// what Pods begin, what answers them, and what came by a host port.
//
// Where Config.CNIDir has a network configuration, its plugins are asked instead and nothing of the above is made. The
// networks that podman and nerdctl keep for themselves in that directory do not count.
package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"tripod/internal/record"
)

// Interface is the name of a Pod's link inside its namespace, as with kubelet.
const Interface = "eth0"

// Errors that callers tell apart.
var (
	// ErrPortTaken says that a host port belongs to another Pod or to a process of the host.
	ErrPortTaken = errors.New("host port is taken")
	// ErrNoAddress says that every address of the root's subnet is leased.
	ErrNoAddress = errors.New("no free address")
	// ErrMissing says that this host or this process lacks what a network needs.
	ErrMissing = errors.New("missing on this host")
	// ErrBadRequest says that the request or the configuration can never work.
	ErrBadRequest = errors.New("refused")
)

// Config says where a root keeps its state. All but Root and RunRoot may be left zero.
type Config struct {
	Root    string // absolute
	RunRoot string // absolute; state goes to RunRoot/network
	// CNIDir is where a CNI configuration is looked for: "" is /etc/cni/net.d, "none" is nowhere.
	CNIDir string
	// CNIBin are the directories of CNI plugins; none is /opt/cni/bin, /usr/lib/cni, /usr/libexec/cni.
	CNIBin []string
	// CNITimeout bounds one run of one plugin; 0 is one minute.
	CNITimeout time.Duration
	// HostLock is the lock file that all roots of one host network share: "" is /run/tripod-network.lock.
	HostLock string
	// Subnet and Subnet6 are the root's subnets when a person wants to choose; zero chooses free ones.
	Subnet, Subnet6 netip.Prefix
	// NoIPv6 gives Pods IPv4 only, also where the host has IPv6.
	NoIPv6 bool
}

// Request is a Pod that wants a network.
type Request struct {
	UID       string // of the Pod: letters, digits, '-', '.', '_'
	Namespace string
	Name      string
	NetNS     string // path of the Pod's network namespace, such as /proc/PID/ns/net
	Ports     []Port
}

// Port leads a port of the host to a port of the Pod.
type Port struct {
	HostIP        netip.Addr `json:"hostIP,omitzero"` // the zero Addr and the unspecified ones mean each address of the host
	HostPort      uint16     `json:"hostPort"`
	ContainerPort uint16     `json:"containerPort"`
	Protocol      string     `json:"protocol,omitempty"` // TCP (also ""), UDP, SCTP
}

// Result is the network a Pod has.
type Result struct {
	IPs       []netip.Addr `json:"ips"` // IPv4 first
	Gateway   netip.Addr   `json:"gateway,omitzero"`
	Interface string       `json:"interface"` // inside the Pod
	// Notes are what a person should know, one line each, such as a foreign firewall that will drop the Pod's traffic.
	Notes []string `json:"notes,omitempty"`
}

// Attach gives the Pod its network and returns when traffic flows. A Pod that has one already, in the same
// namespace, gets the same answer again; a network half made by somebody who was killed is taken away and made anew.
// When Attach fails it has left nothing. A Pod has one caller at a time; Pods may be attached at once, by any processes.
func Attach(ctx context.Context, cfg Config, req Request) (*Result, error) {
	runtime.LockOSThread() // all below speaks of this thread's network namespace
	defer runtime.UnlockOSThread()
	result, err := attach(ctx, cfg, req)
	if err != nil {
		return nil, fmt.Errorf("cannot attach pod %s to the network: %w", podName(req.Namespace, req.Name, req.UID), err)
	}
	return result, nil
}

func attach(ctx context.Context, cfg Config, req Request) (*Result, error) {
	s, err := open(cfg)
	if err != nil {
		return nil, err
	}
	if err := req.validate(); err != nil {
		return nil, err
	}
	if err := permitted(); err != nil {
		return nil, err
	}
	target, err := openNetNS(req.NetNS)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	plugins, err := loadCNI(s.cfg)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.makeDirs(); err != nil {
		return nil, err
	}
	switch was, err := s.pod(req.UID); {
	case err == nil && was.Result != nil && was.Inode == target.inode && was.Boot == bootID():
		return was.Result, nil
	case err == nil:
		if err := s.detach(ctx, req.UID); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if plugins != nil {
		return s.attachCNI(ctx, plugins, req, target)
	}
	return s.attachBridge(ctx, req, target)
}

// Prepare makes what the first Pod of a root waits for longest, its bridge and rules, before that Pod's namespace is there.
// Attach makes whatever is missing, so this is never needed; and what it made goes with the last Pod, or with Sweep.
func Prepare(ctx context.Context, cfg Config) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := prepare(ctx, cfg); err != nil {
		return fmt.Errorf("cannot prepare the network: %w", err)
	}
	return nil
}

func prepare(ctx context.Context, cfg Config) error {
	s, err := open(cfg)
	if err != nil {
		return err
	}
	if err := permitted(); err != nil {
		return err
	}
	plugins, err := loadCNI(s.cfg)
	if err != nil || plugins != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.makeDirs(); err != nil {
		return err
	}
	host, err := openRoute()
	if err != nil {
		return err
	}
	defer host.Close()
	lock, err := s.lock()
	if err != nil {
		return err
	}
	defer lock.Release()
	_, _, err = s.ensure(host, false)
	return err
}

// Detach takes everything of Pods away: their links, leases, host ports and records; and with the last Pod the root's
// bridge, table and rules. A Pod that has nothing is no error. Many Pods in one call cost little more than one.
func Detach(ctx context.Context, cfg Config, uids ...string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s, err := open(cfg)
	for _, uid := range uids {
		if err == nil {
			err = validUID(uid)
		}
	}
	if err == nil {
		err = s.detach(ctx, uids...)
	}
	if err != nil {
		return fmt.Errorf("cannot detach pod %s from the network: %w", strings.Join(uids, ", "), err)
	}
	return nil
}

// Lookup gives the network that Attach made for a Pod; errors.Is fs.ErrNotExist when there is none.
func Lookup(cfg Config, uid string) (*Result, error) {
	s, err := open(cfg)
	if err != nil {
		return nil, err
	}
	if err := validUID(uid); err != nil {
		return nil, err
	}
	pod, err := s.pod(uid)
	if err != nil {
		return nil, fmt.Errorf("cannot look up the network of pod %s: %w", uid, err)
	}
	if pod.Result == nil || pod.Boot != bootID() {
		return nil, fmt.Errorf("cannot look up the network of pod %s: half made, or of another boot: %w", uid, fs.ErrNotExist)
	}
	return pod.Result, nil
}

// Check says what of a Pod's network is no longer as Attach made it; errors.Is fs.ErrNotExist when it never was.
func Check(ctx context.Context, cfg Config, uid string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := Lookup(cfg, uid); err != nil {
		return err
	}
	s, err := open(cfg)
	if err != nil {
		return err
	}
	pod, err := s.pod(uid)
	if err == nil && pod.CNI != nil {
		err = s.checkCNI(ctx, pod)
	} else if err == nil {
		err = s.checkBridge(pod)
	}
	if err != nil {
		return fmt.Errorf("the network of pod %s is damaged: %w", podName(pod.Namespace, pod.Name, uid), err)
	}
	return nil
}

// attachBridge is Attach with our own bridge. First what others must see (lease, record, ports), under the root's
// lock, then the links, without it: making them is most of the time and two Pods do not meet there.
func (s *state) attachBridge(ctx context.Context, req Request, target *netNS) (result *Result, err error) {
	pod := &pod{
		Version: recordVersion, UID: req.UID, Namespace: req.Namespace, Name: req.Name,
		NetNS: req.NetNS, Inode: target.inode, Boot: bootID(), Ports: req.Ports, Veth: s.veth(req.UID),
	}
	// A failure is undone by the same hand as a kill: all of it is found by the Pod's names.
	defer func() {
		if err != nil {
			err = undone(err, s.detach(context.WithoutCancel(ctx), req.UID))
		}
	}()
	host, err := openRoute()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	net, bridge, err := s.reserve(host, pod)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := plug(host, bridge, net, pod, target); err != nil {
		return nil, err
	}
	pod.Result = &Result{IPs: pod.IPs, Gateway: net.gateway(), Interface: Interface, Notes: net.Notes}
	if err := s.finish(pod); err != nil {
		return nil, err
	}
	return pod.Result, nil
}

// undone is why something failed, in one line, and why it could not be undone where that failed too.
func undone(err, undo error) error {
	if undo == nil {
		return err
	}
	return fmt.Errorf("%w; and it is not undone yet: %w", err, undo)
}

// reserve takes what two Pods could both want: the root's bridge and table while they are there, an address, ports.
func (s *state) reserve(host *route, pod *pod) (*rootNet, link, error) {
	lock, err := s.lock()
	if err != nil {
		return nil, link{}, err
	}
	defer lock.Release()
	// Ports are free or not for all roots at once, and so are subnets.
	var hostLock *record.Lock
	if len(pod.Ports) > 0 {
		if hostLock, err = s.lockHost(); err != nil {
			return nil, link{}, err
		}
		defer hostLock.Release()
		if err := s.portsFree(pod); err != nil {
			return nil, link{}, err
		}
	}
	net, bridge, err := s.ensure(host, hostLock != nil)
	if err != nil {
		return nil, link{}, err
	}
	if pod.IPs, err = s.nextFree(net); err != nil {
		return nil, link{}, err
	}
	if err := s.putPod(pod); err != nil {
		return nil, link{}, err
	}
	if err := s.claim(pod.IPs[0], pod.UID); err != nil {
		return nil, link{}, err
	}
	if len(pod.Ports) > 0 {
		if err := s.openPorts(net, pod); err != nil {
			return nil, link{}, err
		}
	}
	return net, bridge, nil
}
