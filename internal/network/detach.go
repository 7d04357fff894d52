package network

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
)

// detach ends what the Pods have. What is slow, the links, goes before the lock, unless nobody is left who could wait.
func (s *state) detach(ctx context.Context, uids ...string) error {
	var failed []error
	var gone []*pod
	for _, uid := range uids {
		pod, err := s.departing(ctx, uid)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		gone = append(gone, pod)
	}
	if err := s.removePods(gone); err != nil {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// departing is what is known of a Pod that is to go, with its CNI plugins done. Without a record there are still its names.
func (s *state) departing(ctx context.Context, uid string) (*pod, error) {
	p, err := s.pod(uid)
	if errors.Is(err, fs.ErrNotExist) {
		return &pod{UID: uid, Veth: s.veth(uid)}, nil
	}
	if err == nil && p.CNI != nil {
		err = s.detachCNI(ctx, p)
	}
	return p, err
}

func (s *state) removePods(gone []*pod) error {
	var links []string
	ports := map[string]bool{}
	for _, pod := range gone {
		if pod.CNI == nil {
			links = append(links, pod.Veth)
			ports[pod.UID] = len(pod.Ports) > 0
		}
	}
	host, err := openRoute()
	if err != nil {
		return err
	}
	defer host.Close()
	uids, err := s.uids()
	if err != nil {
		return err
	}
	last := len(uids) <= len(gone) // a guess: nobody is stopped from coming yet
	if !last {
		if err := host.deleteLinks(links...); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return host.deleteLinks(links...) // this root never had a Pod, or a reboot has taken all
	}
	lock, err := s.lock()
	if err != nil {
		return err
	}
	defer lock.Release()
	if slices.Contains(slices.Collect(maps.Values(ports)), true) {
		if err := s.closePorts(func(uid string) bool { return ports[uid] }); err != nil {
			return err
		}
	}
	for _, pod := range gone {
		if ports[pod.UID] {
			forgetFlows(pod)
		}
	}
	if last {
		rest, err := s.uids()
		if err != nil {
			return err
		}
		// The bridge goes in one request with its last links.
		if !slices.ContainsFunc(rest, func(uid string) bool {
			return !slices.ContainsFunc(gone, func(p *pod) bool { return p.UID == uid })
		}) {
			links = append(links, s.bridge())
		}
		if err := host.deleteLinks(links...); err != nil {
			return err
		}
	}
	for _, pod := range gone {
		if err := s.forget(pod); err != nil {
			return err
		}
	}
	if n, err := s.count(); err != nil || n > 0 {
		return err
	}
	return s.tearDown(host)
}
