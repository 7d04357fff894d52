package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/net/bpf"

	"tripod/internal/capture"
	"tripod/internal/capture/filter"
	"tripod/internal/capture/pcapng"
)

// captureFile prints the packets of a file, or writes those that match to another.
func (a *app) captureFile(expression string, compile compiled, f captureFlags) error {
	if f.list {
		return misuse("name a Pod", "cannot list interfaces of a file")
	}
	in := a.in
	if f.read != "-" {
		file, err := os.Open(f.read)
		if err != nil {
			return fmt.Errorf("cannot read packets: %w", err)
		}
		defer file.Close()
		in = file
	}
	r, err := pcapng.NewReader(bufio.NewReaderSize(in, 256<<10))
	if err != nil {
		return fmt.Errorf("file %s: %w", f.read, err)
	}
	c := &fileCopy{r: r, compile: compile, machines: map[filter.Link]*bpf.VM{}}
	sink, done, err := a.captureSink(nil, expression, f, &socketOwners{})
	if err != nil {
		return err
	}
	err = c.copy(sink, f)
	if errors.Is(err, pcapng.ErrFormat) {
		err = fmt.Errorf("file %s: %w", f.read, err)
	}
	return errors.Join(err, sink.Flush(), done())
}

// fileCopy gives the packets of a file that match to a sink.
type fileCopy struct {
	r        *pcapng.Reader
	compile  compiled
	machines map[filter.Link]*bpf.VM // the filter, for each link of the file
	sources  []*capture.Source       // what stands for the interfaces of the file
	taken    int
}

func (c *fileCopy) copy(sink capture.Sink, f captureFlags) error {
	for {
		p, err := c.r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s := c.source(p.Interface)
		if way := f.way(); way != pcapng.Unknown && p.Direction != way {
			continue
		}
		match, err := c.matches(s.Link, p.Data)
		if err != nil {
			return err
		}
		if !match {
			continue
		}
		if f.snap > 0 {
			p.Data = p.Data[:min(len(p.Data), f.snap)]
		}
		if err := sink.Packet(&capture.Packet{Source: s, Time: p.Time, Data: p.Data, Length: p.Length, Direction: p.Direction}); err != nil {
			return err
		}
		if c.taken++; c.taken == f.count {
			return nil
		}
	}
}

// source stands for an interface of the file.
func (c *fileCopy) source(index int) *capture.Source {
	for _, i := range c.r.Interfaces()[len(c.sources):] {
		c.sources = append(c.sources, capture.FromFile(filter.Link(i.Link), i.Name))
	}
	return c.sources[index]
}

// matches runs the filter on a packet.
func (c *fileCopy) matches(link filter.Link, data []byte) (bool, error) {
	machine, ok := c.machines[link]
	if !ok {
		program, err := c.compile(filter.Options{Link: link})
		if err != nil {
			return false, err
		}
		instructions, known := bpf.Disassemble(program)
		if machine, err = bpf.NewVM(instructions); err != nil || !known {
			return false, fmt.Errorf("cannot run the filter on packets of a file: %w", errors.Join(err, filter.ErrProgram))
		}
		c.machines[link] = machine
	}
	n, err := machine.Run(data)
	return n > 0, err
}
