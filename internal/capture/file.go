package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"tripod/internal/capture/pcapng"
)

// FileOptions say where packets are written. The zero value of all but Path is one file without end.
type FileOptions struct {
	Path string    // with conversions of strftime(3) when Every is set
	Out  io.Writer // instead of Path

	Size  int64         // bytes after which the next file is begun; 0 is no limit
	Every time.Duration // after which the next file is begun; 0 never
	Files int           // with Size: this many are kept, the oldest is written over; with Every alone: after these it ends

	Section pcapng.Section
	Filter  string
	Snap    int
	Comment func(*Packet) string // of a packet; nil has none
	Now     func() time.Time
}

// File is a Sink that writes pcapng files. Each is whole: it has its own header and interfaces.
type File struct {
	o       FileOptions
	sources []*Source
	out     *bufio.Writer
	file    *os.File // nil when it is Out
	writer  *pcapng.Writer
	index   map[key]int // of the interfaces in this file
	number  int         // of this file, since the last turn of Every
	begun   time.Time
	turns   int // of Every
}

type key struct {
	source *Source
	number int
}

// Create begins the first file, which has the interfaces of the sources.
func Create(sources []*Source, o FileOptions) (*File, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Every > 0 {
		if _, err := stamp(o.Path, o.Now()); err != nil {
			return nil, err
		}
	}
	f := &File{o: o, sources: sources}
	return f, f.begin()
}

// name is the path of the file that is begun now, numbered as tcpdump's.
func (f *File) name() string {
	name := f.o.Path
	if f.o.Every > 0 {
		name, _ = stamp(name, f.begun)
	}
	if f.o.Size == 0 {
		return name
	}
	if f.o.Files > 0 && f.o.Every == 0 {
		return name + fmt.Sprintf("%0*d", len(strconv.Itoa(f.o.Files-1)), f.number%f.o.Files)
	}
	if f.number == 0 {
		return name
	}
	return name + strconv.Itoa(f.number)
}

func (f *File) begin() error {
	f.begun = f.o.Now()
	var out io.Writer = f.o.Out
	if out == nil {
		file, err := os.OpenFile(f.name(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("cannot write packets: %w", err)
		}
		f.file, out = file, file
	}
	f.out = bufio.NewWriterSize(out, 256<<10)
	var err error
	if f.writer, err = pcapng.NewWriter(f.out, f.o.Section); err != nil {
		return err
	}
	f.index = map[key]int{}
	for _, s := range f.sources {
		for _, i := range s.Present {
			if _, err := f.interfaceOf(s, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// interfaceOf is the index of an interface in the file. The first packet of one that is new brings it in.
func (f *File) interfaceOf(s *Source, number int) (int, error) {
	k := key{s, number}
	if index, ok := f.index[k]; ok {
		return index, nil
	}
	name := s.InterfaceName(number)
	about := ""
	if s.Label != "" {
		about = "interface " + name + " of Pod " + s.Label
		if len(f.sources) > 1 {
			name = s.Label + ":" + name
		}
	}
	index, err := f.writer.Interface(pcapng.Interface{
		Name: name, Description: about, Filter: f.o.Filter, Link: uint16(s.Link), Snap: uint32(f.o.Snap),
	})
	f.index[k] = index
	return index, err
}

// errDone ends a session whose last file is full.
var errDone = fmt.Errorf("the last file is written: %w", errEnough)

// Packet writes a packet, to the next file if this one's size or time is over.
func (f *File) Packet(p *Packet) error {
	if err := f.turn(); err != nil {
		return err
	}
	index, err := f.interfaceOf(p.Source, p.Interface)
	if err != nil {
		return err
	}
	out := pcapng.Packet{Interface: index, Time: p.Time, Data: p.Data, Length: p.Length, Direction: p.Direction}
	if f.o.Comment != nil {
		out.Comment = f.o.Comment(p)
	}
	return f.writer.Packet(out)
}

// turn begins the next file when it is time.
func (f *File) turn() error {
	late := f.o.Every > 0 && f.o.Now().Sub(f.begun) >= f.o.Every
	large := f.o.Size > 0 && f.writer.Size() >= f.o.Size
	switch {
	case late:
		f.turns++
		if f.o.Files > 0 && f.turns >= f.o.Files {
			return errDone
		}
		f.number = 0
	case large:
		f.number++
	default:
		return nil
	}
	if err := f.end(); err != nil {
		return err
	}
	return f.begin()
}

// Flush brings to the file what was written.
func (f *File) Flush() error {
	if err := f.out.Flush(); err != nil {
		return fmt.Errorf("cannot write packets: %w", err)
	}
	return nil
}

// end finishes a file with the counters of its interfaces.
func (f *File) end() error {
	var all error
	for _, s := range f.sources {
		if len(s.Present) == 0 {
			continue
		}
		stats := s.Stats()
		if err := f.writer.Statistics(f.index[key{s, s.Present[0]}], f.o.Now().UnixNano(), pcapng.Statistics(stats)); err != nil {
			all = err
		}
	}
	all = errors.Join(all, f.Flush())
	if f.file != nil {
		all = errors.Join(all, f.file.Close())
		f.file = nil
	}
	return all
}

// Close finishes the last file.
func (f *File) Close() error { return f.end() }

// stamp fills in the conversions of strftime(3) that make sense in a file's name.
func stamp(name string, now time.Time) (string, error) {
	var out strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			out.WriteByte(name[i])
			continue
		}
		if i++; i == len(name) {
			return "", fmt.Errorf("cannot name files %q: %% ends it", name)
		}
		switch name[i] {
		case 'Y':
			out.WriteString(now.Format("2006"))
		case 'y':
			out.WriteString(now.Format("06"))
		case 'm':
			out.WriteString(now.Format("01"))
		case 'd':
			out.WriteString(now.Format("02"))
		case 'H':
			out.WriteString(now.Format("15"))
		case 'M':
			out.WriteString(now.Format("04"))
		case 'S':
			out.WriteString(now.Format("05"))
		case 'F':
			out.WriteString(now.Format("2006-01-02"))
		case 'T':
			out.WriteString(now.Format("15:04:05"))
		case 'j':
			out.WriteString(now.Format("002"))
		case 's':
			out.WriteString(strconv.FormatInt(now.Unix(), 10))
		case '%':
			out.WriteByte('%')
		default:
			return "", fmt.Errorf("cannot name files %q: there is no %%%c here; use Y y m d H M S F T j s", name, name[i])
		}
	}
	return out.String(), nil
}
