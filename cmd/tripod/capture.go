package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/bpf"

	"tripod/internal/capture"
	"tripod/internal/capture/filter"
	"tripod/internal/capture/packet"
	"tripod/internal/capture/pcapng"
)

// captureFlags are the words of capture: tcpdump's, and a few more.
type captureFlags struct {
	link       string // -i
	list       bool
	keepQuiet  bool // -p: not promiscuous
	snap       int
	buffer     int // KiB
	count      int
	direction  string
	filterFile string
	program    string
	numerics   int
	dump       int // -d
	text       packet.Options
	precision  string

	write  string
	also   bool // --print
	read   string
	size   int
	files  int
	rotate int
	last   time.Duration
}

func newCapture(a *app) *cobra.Command {
	var f captureFlags
	cmd := &cobra.Command{
		Use:   "capture POD|POD/CONTAINER|RUNTIME://NAME|PID [POD...] [FILTER...]",
		Short: "Show the packets of a Pod, as tcpdump does",
		Long: `Show the packets in the network namespace of a Pod, or of a container of any runtime. Neither the
host nor the image needs tcpdump; the flags, the filter language and the text are tcpdump's.

Packets of every interface are shown, those between the Pod's own containers too; -i takes one.
With POD/CONTAINER, packets of sockets that other containers have are left out. With several
Pods, what all of them see is put in the order of time, so both ends of a flow stand together.
In a filter, the name of a Pod means its addresses: tripod capture web host db.

Ctrl-C ends it; how many packets the kernel had no room for is said then.`,
		Example: `  tripod capture web port 80
  tripod capture web -nn -X 'tcp[tcpflags] & tcp-syn != 0'
  tripod capture web db tcp port 5432
  tripod capture web -w - | tshark -r -
  tripod capture web --last 30s -w crash.pcapng
  tripod capture web -i eth0 -w web.pcapng -C 10 -W 5
  tripod capture docker://shop -c 10 udp port 53
  tripod capture -r web.pcapng -v icmp`,
		ValidArgsFunction: a.completePods,
		RunE:              func(_ *cobra.Command, args []string) error { return a.capture(args, f) },
	}
	captureLiveFlags(cmd, &f)
	captureTextFlags(cmd, &f)
	return cmd
}

func captureLiveFlags(cmd *cobra.Command, f *captureFlags) {
	flags := cmd.Flags()
	flags.StringVarP(&f.link, "interface", "i", capture.Any, "on this interface: a name, a number, or any")
	flags.BoolVarP(&f.list, "list-interfaces", "D", false, "list the interfaces")
	flags.BoolVarP(&f.keepQuiet, "no-promiscuous-mode", "p", false, "do not make the interface promiscuous")
	flags.IntVarP(&f.snap, "snapshot-length", "s", 0, "bytes of each packet to keep (0: 262144)")
	flags.IntVarP(&f.buffer, "buffer-size", "B", 2048, "size of the kernel's buffer, in KiB")
	flags.IntVarP(&f.count, "count", "c", 0, "end after this many packets")
	flags.StringVarP(&f.direction, "direction", "Q", "inout", "packets that go in, out or inout")
	flags.StringVarP(&f.filterFile, "filter-file", "F", "", "read the filter from a file")
	flags.StringVar(&f.program, "bpf", "", "use the program in this file as filter, as tcpdump -ddd prints it")
	flags.CountVarP(&f.dump, "dump", "d", "print the filter's program and end: -d to read, -dd for C, -ddd for --bpf")
	flags.StringVarP(&f.write, "write", "w", "", "write pcapng to a file, - is stdout")
	flags.BoolVar(&f.also, "print", false, "with -w, print the packets too")
	flags.StringVarP(&f.read, "read", "r", "", "read packets from a file, pcapng or pcap, - is stdin")
	flags.IntVarP(&f.size, "file-size", "C", 0, "with -w, begin the next file after this many millions of bytes")
	flags.IntVarP(&f.files, "file-count", "W", 0, "with -C, keep this many files; with -G, end after them")
	flags.IntVarP(&f.rotate, "rotate-seconds", "G", 0, "with -w, begin the next file after this many seconds; its name may have %F, %T, %s …")
	flags.DurationVar(&f.last, "last", 0, "keep the packets of this time in memory; give them at the end, and for each SIGUSR1")
	for _, name := range []string{"line-buffered", "packet-buffered"} {
		short := strings.ToLower(name[:1])
		if name == "packet-buffered" {
			short = "U"
		}
		flags.BoolP(name, short, false, "as always: nothing is held back")
		_ = flags.MarkHidden(name)
	}
}

func captureTextFlags(cmd *cobra.Command, f *captureFlags) {
	flags := cmd.Flags()
	flags.CountVarP(&f.numerics, "numeric", "n", "addresses and ports as numbers")
	flags.CountVarP(&f.text.Verbose, "verbose", "v", "say more, -vv and -vvv yet more")
	flags.BoolVarP(&f.text.Quiet, "quick", "q", false, "say less")
	flags.BoolVarP(&f.text.Link, "link", "e", false, "the link header too")
	flags.BoolVarP(&f.text.Number, "number", "#", false, "number the packets")
	flags.BoolVarP(&f.text.Whole, "absolute-tcp-sequence-numbers", "S", false, "TCP sequence numbers as they are")
	flags.CountVarP(&f.text.Stamp, "time", "t", "-t no time, -tt seconds since 1970, -ttt since the packet before, -tttt with date, -ttttt since the first")
	flags.StringVar(&f.precision, "time-stamp-precision", "micro", "micro or nano")
	flags.BoolVar(&f.text.Nano, "nano", false, "times in nanoseconds")
	flags.CountVarP(&f.text.Hex, "hex", "x", "the packet in hex, -xx with its link header")
	flags.CountVarP(&f.text.Both, "hex-ascii", "X", "the packet in hex and characters, -XX with its link header")
	flags.CountVarP(&f.text.ASCII, "ascii", "A", "the packet in characters")
	flags.SetInterspersed(true)
}

// check refuses flags that do not go together.
func (f *captureFlags) check() error {
	switch f.direction {
	case "in", "out", "inout":
	default:
		return misuse("use in, out or inout", "cannot use -Q %q", f.direction)
	}
	switch f.precision {
	case "micro":
	case "nano":
		f.text.Nano = true
	default:
		return misuse("use micro or nano", "cannot use --time-stamp-precision %q", f.precision)
	}
	for _, n := range []struct {
		flag  string
		value int
	}{{"-s", f.snap}, {"-B", f.buffer}, {"-c", f.count}, {"-C", f.size}, {"-W", f.files}, {"-G", f.rotate}} {
		if n.value < 0 {
			return misuse("give a number of 0 or more", "cannot use %s %d", n.flag, n.value)
		}
	}
	file := f.write != "" && f.write != "-"
	switch {
	case f.size > 0 && !file:
		return misuse("write to a file with -w FILE", "cannot use -C: there is no file")
	case f.rotate > 0 && !file:
		return misuse("write to a file with -w FILE", "cannot use -G: there is no file")
	case f.files > 0 && f.size == 0 && f.rotate == 0:
		return misuse("-C says how large a file is, -G how long it is written", "cannot use -W without -C or -G")
	case f.last < 0:
		return misuse("give a time such as 30s", "cannot use --last %s", f.last)
	case f.last > 0 && f.read != "":
		return misuse("leave one of them out", "cannot use --last with -r")
	case f.program != "" && f.filterFile != "":
		return misuse("leave one of them out", "cannot use --bpf with -F")
	case f.also && f.write == "-":
		return misuse("write to a file with -w FILE", "cannot print packets into the file on stdout")
	case f.write == "-" && isTerminal(os.Stdout):
		return misuse("write to a file or a pipe", "cannot write packets to a terminal")
	}
	return nil
}

// capture does what the flags say: print the program of a filter, list interfaces, read a file, or capture.
func (a *app) capture(args []string, f captureFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	var pods []string
	if f.read == "" && f.dump == 0 {
		if len(args) == 0 {
			return misuse("tripod ps shows the Pods; or read a file with -r", "cannot capture: no Pod is named")
		}
		pods, args = args[:1], args[1:]
		for len(args) > 0 && !filter.Begins(args[0]) {
			pods, args = append(pods, args[0]), args[1:]
		}
	}
	expression, err := f.expression(args)
	if err != nil {
		return err
	}
	compile, err := a.compiler(expression, f)
	if err != nil {
		return err
	}
	switch {
	case f.dump > 0:
		return a.dumpFilter(compile, f)
	case f.read != "":
		return a.captureFile(expression, compile, f)
	}
	return a.captureLive(pods, expression, compile, f)
}

// maxFilterFile bounds what is read of -F and --bpf, in bytes.
const maxFilterFile = filter.MaxText + 1

// expression is the filter in words or in the file of -F.
func (f captureFlags) expression(args []string) (string, error) {
	switch {
	case f.filterFile == "":
		if f.program != "" && len(args) > 0 {
			return "", misuse("leave one of them out", "cannot use --bpf with the filter %q", strings.Join(args, " "))
		}
		return strings.Join(args, " "), nil
	case len(args) > 0:
		return "", misuse("leave one of them out", "cannot use -F with the filter %q", strings.Join(args, " "))
	}
	data, err := readBounded(f.filterFile, maxFilterFile)
	if err != nil {
		return "", fmt.Errorf("cannot read filter: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// compiled makes a filter for a link.
type compiled func(filter.Options) ([]bpf.RawInstruction, error)

// compiler makes filters for links as they turn out to be. What is wrong with the filter itself is told now.
func (a *app) compiler(expression string, f captureFlags) (compiled, error) {
	if f.program != "" {
		text, err := readBounded(f.program, maxFilterFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read BPF program: %w", err)
		}
		program, err := filter.ReadProgram(string(text))
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", f.program, err)
		}
		return func(filter.Options) ([]bpf.RawInstruction, error) { return program, nil }, nil
	}
	names := a.filterNames()
	compile := func(o filter.Options) ([]bpf.RawInstruction, error) {
		o.Names = names
		return filter.Compile(expression, o)
	}
	if f.dump > 0 || f.read != "" {
		return compile, nil
	}
	_, err := compile(filter.Options{Live: true, Link: filter.Ethernet})
	return compile, err
}

// dumpFilter prints the program of a filter for packets of an Ethernet file, as tcpdump -d does.
func (a *app) dumpFilter(compile compiled, f captureFlags) error {
	program, err := compile(filter.Options{Snap: uint32(f.snap)})
	if err != nil {
		return err
	}
	switch f.dump {
	case 1:
		for i, p := range program {
			if _, err := fmt.Fprintln(a.out, filter.Print(i, p)); err != nil {
				return err
			}
		}
		return nil
	case 2:
		for _, p := range program {
			if _, err := fmt.Fprintf(a.out, "{ 0x%x, %d, %d, 0x%08x },\n", p.Op, p.Jt, p.Jf, p.K); err != nil {
				return err
			}
		}
		return nil
	}
	_, err = fmt.Fprint(a.out, filter.PrintProgram(program))
	return err
}

func (f captureFlags) way() pcapng.Direction {
	switch f.direction {
	case "in":
		return pcapng.Inbound
	case "out":
		return pcapng.Outbound
	}
	return pcapng.Unknown
}
