package plan

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// gate is the last halt, between created and running.
func (p *program) gate() {
	p.origin = ""
	p.halt(Created)
}

// halt tells the parent that the child has come so far, and waits for its word. A parent that died closes the gate:
// the child ends then.
func (p *program) halt(h Halt) {
	p.halts = append(p.halts, h)
	if p.unprivileged {
		// Without rights on the host the parent can take and join only what it may look into.
		p.show()
		defer p.hide()
	}
	p.add("tell that it is "+h.String(), Write, File(Status), Bytes(Ready[:]), Int(len(Ready)))
	read := p.add("wait for the word", Read, File(Gate), Arg{Kind: ZeroedArg, N: 8}, Int(1))
	read.Again, read.Skip, read.When = true, 1, NotZero
	p.add("end: nobody gave it", ExitGroup, Int(125))
}

// latch is the place where a container waits that is created by one command and started by another. Its parent has let it
// through the gate, when all was recorded that finds it again, and may be gone.
func (p *program) latch() {
	p.origin = ""
	read := p.add("wait for start", Read, File(Latch), Arg{Kind: ZeroedArg, N: 8}, Int(1))
	read.Again, read.Skip, read.When = true, 1, NotZero
	p.add("end: nobody starts it", ExitGroup, Int(125))
}

// String is the halt in a word.
func (h Halt) String() string {
	switch h {
	case Mounted:
		return "mounted"
	case Terminal:
		return "at its terminal"
	case Listening:
		return "listened to"
	}
	return "created"
}

// Ready is what the child writes to Status at a halt: a step number that no plan has, and 0.
var Ready = [16]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// kept are the descriptors that a child needs for what is behind its seccomp filter.
func kept(in Input) []string {
	if in.Latched {
		return []string{Gate, Latch}
	}
	return []string{Gate}
}

// forget closes what the birth opened: everything but the three standard descriptors, those that the caller hands over,
// and the status pipe, which execve closes. From here on no descriptor leads to the host. The parent sees to it that the
// status pipe's number is above all of those, and that of each that is kept above the one before.
func (p *program) forget(extra int, keep ...string) {
	p.origin = ""
	for i := range extra {
		p.add(fmt.Sprint("take descriptor ", 3+i), Dup3, File(fmt.Sprint("extra:", i)), Int(3+i), Int(0))
	}
	p.add("close everything below the status pipe", CloseRange, Int(3+extra), Arg{Kind: BelowArg, S: Status}, Int(0))
	above := Arg{Kind: AboveArg, S: Status}
	for _, name := range keep {
		// Neighbours have nothing between them.
		p.add("close everything below the "+name, CloseRange, above, Arg{Kind: BelowArg, S: name}, Int(0)).on(unix.EINVAL, 0)
		above.S = name
	}
	p.add("close everything above the "+above.name(), CloseRange, above, Int(uint32(0xffffffff)), Int(0))
}

// name is what an argument's descriptor is called.
func (a Arg) name() string {
	if a.S == Status {
		return "status pipe"
	}
	return a.S
}
