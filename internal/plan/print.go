package plan

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// String is the Plan for people, and the form of its golden files: what the parent opens, how it clones, and one line a
// step with the step's number, the call, what happens on which errno, and the field that asked for it.
func (p *Plan) String() string {
	var b strings.Builder
	for _, o := range p.Opens {
		fmt.Fprintf(&b, "open  %-22s %s", o.Name, o.Kind)
		if o.Path != "" {
			fmt.Fprintf(&b, " %s", o.Path)
		}
		if o.Recursive {
			b.WriteString(" recursive")
		}
		for _, f := range []struct {
			name string
			v    uint64
		}{{"set", o.Set}, {"clear", o.Clear}, {"rset", o.RSet}, {"rclear", o.RClear}, {"propagation", o.Propagation}} {
			if f.v != 0 {
				fmt.Fprintf(&b, " %s=%#x", f.name, f.v)
			}
		}
		if o.Idmap != "" {
			fmt.Fprintf(&b, " idmap=%s", o.Idmap)
		}
		if o.Kind == Mapping {
			fmt.Fprintf(&b, " uids=%v gids=%v", o.UIDs, o.GIDs)
		}
		if o.Kind == Tmpfs {
			fmt.Fprintf(&b, " data=%q copy=%s", o.Data, o.Copy)
		}
		from(&b, o.Origin)
	}
	fmt.Fprintf(&b, "clone flags=%#x", p.Clone)
	if p.IntoCgroup != "" {
		fmt.Fprintf(&b, " into %s", p.IntoCgroup)
	}
	if p.Birthplace != "" {
		fmt.Fprintf(&b, " in %s", p.Birthplace)
	}
	b.WriteString("\n")
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%3d   %-36s %s", i, s.Name, s.call())
		from(&b, s.Origin)
	}
	return b.String()
}

func from(b *strings.Builder, origin string) {
	if origin != "" {
		fmt.Fprintf(b, "  # %s", origin)
	}
	b.WriteString("\n")
}

// call is the step as strace(1) would show it, with what follows on which result.
func (s *Step) call() string {
	var b strings.Builder
	b.WriteString(s.Call.String() + "(")
	for i, a := range s.Args {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	b.WriteString(")")
	if s.Save != 0 {
		fmt.Fprintf(&b, " -> $%d", s.Save)
	}
	if s.Again {
		b.WriteString(" again on EINTR")
	}
	if s.Any {
		b.WriteString(" whatever comes")
	}
	for _, br := range s.On {
		fmt.Fprintf(&b, " on %s%s", unix.ErrnoName(br.Errno), skips(br.Skip))
	}
	switch {
	case s.Skip > 0 && s.When == NotZero:
		fmt.Fprintf(&b, " if not 0%s", skips(s.Skip))
	case s.Skip > 0 && s.When == Zero:
		fmt.Fprintf(&b, " if 0%s", skips(s.Skip))
	case s.Skip > 0:
		fmt.Fprintf(&b, " then%s", skips(s.Skip))
	}
	return b.String()
}

func skips(n uint8) string {
	if n == 0 {
		return " go on"
	}
	return fmt.Sprintf(" skip %d", n)
}

// String is the argument as strace(1) would show it.
func (a Arg) String() string {
	switch a.Kind {
	case TextArg:
		return strconv.Quote(a.S)
	case BytesArg:
		if len(a.S) > 32 {
			return fmt.Sprintf("%x…", a.S[:32])
		}
		return fmt.Sprintf("%x", a.S)
	case StringsArg:
		return fmt.Sprintf("%q", a.List)
	case ResultArg:
		return fmt.Sprintf("$%d", a.N)
	case FileArg:
		return "@" + a.S
	case BelowArg:
		return "@" + a.S + "-1"
	case AboveArg:
		return "@" + a.S + "+1"
	case ZeroedArg:
		return fmt.Sprintf("[%d bytes]", a.N)
	case InnerArg:
		return "&inner"
	case FilterArg:
		return fmt.Sprintf("[%d instructions]", len(a.S)/8)
	}
	if n := int64(a.N); n == -100 {
		return "AT_FDCWD"
	} else if a.N > 4095 {
		return fmt.Sprintf("%#x", a.N)
	}
	return strconv.FormatUint(a.N, 10)
}

// String is the kind of Open in a word.
func (k OpenKind) String() string {
	switch k {
	case Tree:
		return "tree"
	case Namespace:
		return "namespace"
	case Mapping:
		return "mapping"
	case Tmpfs:
		return "tmpfs"
	case Procfs:
		return "procfs"
	}
	return "given"
}
