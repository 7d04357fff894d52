package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"tripod/internal/capture"
	"tripod/internal/capture/filter"
	"tripod/internal/capture/packet"
	"tripod/internal/capture/pcapng"
	"tripod/internal/keeper"
	"tripod/internal/owner"
)

// captured is a Pod, or a container of any runtime, whose packets are wanted.
type captured struct {
	label     string
	target    owner.Target
	container string // the cgroup of the one container that is wanted
	path      string // of the network namespace
	holder    int    // pidfd of who holds it
}

// captured finds what a word means. The namespace is reached by the process that lives longest: a Pod's pause.
func (a *app) captured(h *owner.Host, word string) (*captured, error) {
	t, err := h.Find(word)
	if err != nil {
		return nil, err
	}
	c := &captured{target: t, label: podLabel(t)}
	if oneContainer(h, word) {
		c.container = t.Container.Cgroup
	}
	pid, start := t.PID, t.Start
	if t.Container.Runtime == "tripod" && t.Container.PodUID != "" {
		if box, err := a.host().Find(t.Container.PodNamespace, t.Container.PodUID); err == nil {
			if status, err := keeper.Read(box.Dir()); err == nil && status.Pause.Pid > 0 {
				pid, start = status.Pause.Pid, status.Pause.Start
			}
		}
	}
	c.path = fmt.Sprintf("/proc/%d/ns/net", pid)
	if c.holder, err = unix.PidfdOpen(pid, 0); err != nil {
		return nil, fmt.Errorf("cannot capture packets of %s: it has ended", c.label)
	}
	// The descriptor is of the process that was meant only if that is still there.
	if _, err := h.Pin(pid, start); err != nil {
		unix.Close(c.holder)
		return nil, fmt.Errorf("cannot capture packets of %s: %w", c.label, err)
	}
	return c, nil
}

// podLabel is what a target is called beside its packets.
func podLabel(t owner.Target) string {
	switch c := t.Container; {
	case c.Pod != "" && c.PodNamespace != "" && c.PodNamespace != "default":
		return owner.Sanitise(c.PodNamespace + "." + c.Pod)
	case c.Pod != "":
		return owner.Sanitise(c.Pod)
	case c.Name != "":
		return owner.Sanitise(c.Name)
	}
	return fmt.Sprint(t.PID)
}

// captureLive captures until it is told to stop.
func (a *app) captureLive(words []string, expression string, compile compiled, f captureFlags) (err error) {
	h := a.owners()
	var all []*captured
	defer func() {
		for _, c := range all {
			unix.Close(c.holder)
		}
	}()
	for _, word := range words {
		c, err := a.captured(h, word)
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	if f.list {
		return a.listInterfaces(all)
	}
	var sources []*capture.Source
	defer func() {
		for _, s := range sources {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, c := range all {
		s, err := capture.Open(c.path, capture.Options{
			Interface: f.link, Promiscuous: !f.keepQuiet, Snap: f.snap, Buffer: f.buffer << 10, Direction: f.way(),
			Compile: func(o filter.Options) ([]bpf.RawInstruction, error) { return compile(o) },
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.label, err)
		}
		s.Label = c.label
		sources = append(sources, s)
	}
	owners := newSocketOwners(a, h, all, sources)
	defer owners.end()
	sink, done, err := a.captureSink(sources, expression, f, owners)
	if err != nil {
		return err
	}
	if err := a.announce(sources, f); err != nil {
		return err
	}
	err = a.captureUntilTold(sources, all, sink, owners, f)
	return errors.Join(err, done())
}

// announce says what is captured, before the first packet.
func (a *app) announce(sources []*capture.Source, f captureFlags) error {
	snap := f.snap
	if snap == 0 {
		snap = filter.MaxSnap
	}
	for _, s := range sources {
		if err := a.say("listening on %s of %s, link-type %s (%s), snapshot length %d bytes", s.Name, s.Label, s.Link.Name(), s.Link.Description(), snap); err != nil {
			return err
		}
	}
	return nil
}

// captureUntilTold runs a session until a signal, and says how many packets there were.
func (a *app) captureUntilTold(sources []*capture.Source, all []*captured, sink capture.Sink, owners *socketOwners, f captureFlags) error {
	session, err := capture.NewSession(sources, sink)
	if err != nil {
		return err
	}
	defer session.Close()
	session.Count, session.Keep = f.count, owners.keep()
	for _, c := range all {
		session.Holders = append(session.Holders, c.holder)
	}
	summary := func() error {
		var sum capture.Stats
		for _, s := range sources {
			stats := s.Stats()
			sum.Received += stats.Received
			sum.Dropped += stats.Dropped
		}
		return a.say("%s captured\n%s received by filter\n%s dropped by kernel", packets(uint64(session.Taken())), packets(sum.Received), packets(sum.Dropped))
	}
	recent, keeps := sink.(*capture.Recent)
	session.OnWake = summary
	if keeps {
		session.OnWake = recent.Give
	}
	told := make(chan os.Signal, 8)
	signal.Notify(told, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1)
	defer signal.Stop(told)
	over, heard := make(chan struct{}), make(chan struct{})
	defer func() {
		close(over)
		<-heard
	}()
	go func() {
		defer close(heard)
		for {
			select {
			case <-over:
				return
			case s := <-told:
				if s == unix.SIGUSR1 {
					session.Wake()
				} else {
					session.Stop()
				}
			}
		}
	}()
	err = session.Run()
	if keeps {
		err = errors.Join(err, recent.Give())
	}
	if errors.Is(err, capture.ErrEnded) {
		err = a.say("tripod: %v", err)
	}
	return errors.Join(err, summary())
}

func packets(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}

// listInterfaces prints the interfaces of Pods as tcpdump -D does.
func (a *app) listInterfaces(all []*captured) error {
	for _, c := range all {
		list, err := capture.Interfaces(c.path)
		if err != nil {
			return err
		}
		prefix := ""
		if len(all) > 1 {
			prefix = c.label + ": "
		}
		for _, i := range list {
			words := slices.DeleteFunc(strings.Split(i.Flags.String(), "|"), func(w string) bool { return w == "broadcast" || w == "multicast" || w == "0" })
			if _, err := fmt.Fprintf(a.out, "%s%d.%s [%s]\n", prefix, i.Index, i.Name, strings.Join(words, ", ")); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(a.out, "%sany (all interfaces)\n", prefix); err != nil {
			return err
		}
	}
	return nil
}

// captureSink is where packets go: text, a file, both; by way of memory with --last. done finishes it.
func (a *app) captureSink(sources []*capture.Source, expression string, f captureFlags, owners *socketOwners) (capture.Sink, func() error, error) {
	var sinks several
	done := func() error { return nil }
	if f.write != "" {
		o := capture.FileOptions{
			Path: f.write, Size: int64(f.size) * 1_000_000, Files: f.files, Every: time.Duration(f.rotate) * time.Second,
			Filter: expression, Snap: orMost(f.snap), Comment: owners.comment,
			Section: pcapng.Section{OS: "Linux", Application: "tripod " + version},
		}
		if f.write == "-" {
			o.Path, o.Out = "", a.out
		}
		file, err := capture.Create(sources, o)
		if err != nil {
			return nil, nil, err
		}
		if err := file.Flush(); err != nil {
			return nil, nil, err
		}
		sinks, done = append(sinks, file), file.Close
	}
	if f.write == "" || f.also {
		sinks = append(sinks, a.newPacketText(sources, f))
	}
	var sink capture.Sink = sinks
	if len(sinks) == 1 {
		sink = sinks[0]
	}
	if f.last > 0 {
		sink = &capture.Recent{To: sink, Last: f.last}
	}
	return sink, done, nil
}

func orMost(snap int) int {
	if snap == 0 {
		return filter.MaxSnap
	}
	return snap
}

// several is a sink that gives to each of its own.
type several []capture.Sink

func (s several) Packet(p *capture.Packet) error {
	for _, sink := range s {
		if err := sink.Packet(p); err != nil {
			return err
		}
	}
	return nil
}

func (s several) Flush() error {
	for _, sink := range s {
		if err := sink.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// packetText is a sink that prints packets.
type packetText struct {
	a       *app
	labels  bool // say whose a packet is
	out     []byte
	printer *packet.Printer
	current *capture.Source // of the packet that is printed: numbers of interfaces are its namespace's own
}

func (a *app) newPacketText(sources []*capture.Source, f captureFlags) *packetText {
	t := &packetText{a: a, labels: len(sources) > 1}
	o := f.text
	if f.numerics == 0 {
		o.Names = a.textNames()
	}
	o.Names.Interface = func(number int) string {
		if t.current == nil || number == 0 {
			return ""
		}
		return t.current.InterfaceName(number)
	}
	t.printer = packet.New(o)
	return t
}

// Packet prints one packet.
func (t *packetText) Packet(p *capture.Packet) error {
	t.current = p.Source
	one := packet.Packet{Link: p.Source.Link, Time: p.Time, Data: p.Data, Length: p.Length}
	if t.labels {
		one.Prefix = p.Source.Label + " "
	}
	t.out = t.printer.Append(t.out, one)
	if len(t.out) < 64<<10 {
		return nil
	}
	return t.Flush()
}

// Flush writes what was printed.
func (t *packetText) Flush() error {
	_, err := t.a.out.Write(t.out)
	t.out = t.out[:0]
	return err
}
