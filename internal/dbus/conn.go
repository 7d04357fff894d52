// Package dbus calls methods over D-Bus and waits for signals: no more than it takes to ask systemd for something. It
// is small because the runtime's program is also every Pod's keeper: the usual library, which the tests hold this one
// against, adds a seventh to a keeper's memory (150 kB, more than the 1 MB that it may have) and a fifth to each start.
//
// Words: a bus is the daemon that messages go through. A call is answered by a return or a failure; a signal is sent to
// whoever has asked for it by a match rule.
//
// The rules are those of the D-Bus specification, https://dbus.freedesktop.org/doc/dbus-specification.html.
package dbus

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a connection to a bus, for one goroutine.
type Conn struct {
	socket  *os.File
	in      *bufio.Reader
	serial  uint32
	signals []Message // that came while an answer was waited for
}

// maxSignals bounds those that nobody has asked for yet.
const maxSignals = 1024

// Error is a failure that the other side answered.
type Error struct {
	Name    string // "org.freedesktop.systemd1.UnitExists"
	Message string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Message
}

// The address of the system's bus where the environment names none.
const systemBus = "unix:path=/run/dbus/system_bus_socket"

// System is the address of the system's bus.
func System() string {
	if a := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); a != "" {
		return a
	}
	return systemBus
}

// Session is the address of the user's own bus. Without one, the error says which variables would name it.
func Session() (string, error) {
	if a := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); a != "" {
		return a, nil
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return "", errors.New("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
	}
	return "unix:path=" + escape(dir+"/bus"), nil
}

// escape writes a value as an address holds it.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c == '-' || c == '_' || c == '/' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// parseAddress returns the sockets that an address names, in order; other transports than unix are left out.
func parseAddress(address string) ([]string, error) {
	var names []string
	for one := range strings.SplitSeq(address, ";") {
		options, ok := strings.CutPrefix(one, "unix:")
		if !ok {
			continue
		}
		for option := range strings.SplitSeq(options, ",") {
			key, value, _ := strings.Cut(option, "=")
			value, err := unescape(value)
			switch {
			case err != nil:
				return nil, err
			case key == "path" && value != "":
				names = append(names, value)
			case key == "abstract" && value != "":
				names = append(names, "@"+value) // which unix.SockaddrUnix takes for the abstract space
			}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%.200q names no unix socket", address)
	}
	return names, nil
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("%.200q ends in an escape", s)
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%.200q has no hexadecimal number after %%", s)
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), nil
}

// Dial connects to the bus at an address and says hello. All of the connection's work, this included, must be done
// within the time given, or is os.ErrDeadlineExceeded.
func Dial(address string, within time.Duration) (*Conn, error) {
	names, err := parseAddress(address)
	if err != nil {
		return nil, fmt.Errorf("cannot use D-Bus address: %w", err)
	}
	for _, name := range names {
		var c *Conn
		if c, err = dial(name, within); err == nil {
			return c, nil
		}
		err = fmt.Errorf("cannot connect to D-Bus at %s: %w", name, err)
	}
	return nil, err
}

func dial(name string, within time.Duration) (_ *Conn, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: name})
	if err == nil {
		err = unix.SetNonblock(fd, true) // only now: a full backlog is waited for
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	c := &Conn{socket: os.NewFile(uintptr(fd), name)}
	c.in = bufio.NewReader(c.socket)
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := c.socket.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	if err := c.authenticate(); err != nil {
		return nil, err
	}
	_, err = c.Call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", "")
	return c, err
}

// authenticate proves who we are by the socket's credentials. We do not name our user: in a user namespace that is
// another number than the bus sees.
func (c *Conn) authenticate() error {
	if _, err := c.socket.WriteString("\x00AUTH EXTERNAL\r\n"); err != nil {
		return err
	}
	for range 2 {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch word, _, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " "); word {
		case "DATA":
			if _, err := c.socket.WriteString("DATA\r\n"); err != nil {
				return err
			}
		case "OK":
			_, err := c.socket.WriteString("BEGIN\r\n")
			return err
		default:
			return errors.New("the bus does not let this user in")
		}
	}
	return errors.New("the bus asks for more than credentials")
}

// Close ends the connection.
func (c *Conn) Close() error { return c.socket.Close() }

// Call calls a method with arguments of a signature and returns what it answers. A failure is an *Error.
func (c *Conn) Call(destination, path, iface, member, signature string, args ...any) ([]any, error) {
	c.serial++
	text, err := Message{
		Kind: Call, Serial: c.serial, Destination: destination, Path: path, Interface: iface, Member: member,
		Signature: signature, Body: args,
	}.Encode()
	if err != nil {
		return nil, fmt.Errorf("cannot call %s: %w", member, err)
	}
	if _, err := c.socket.Write(text); err != nil {
		return nil, fmt.Errorf("cannot call %s: %w", member, err)
	}
	for {
		m, err := c.read()
		switch {
		case err != nil:
			return nil, fmt.Errorf("cannot call %s: %w", member, err)
		case m.Kind == Signal && len(c.signals) < maxSignals:
			c.signals = append(c.signals, m)
		case m.ReplySerial != c.serial:
		case m.Kind == Return:
			return m.Body, nil
		case m.Kind == Failure:
			e := &Error{Name: m.ErrorName}
			if len(m.Body) > 0 {
				e.Message, _ = m.Body[0].(string)
			}
			return nil, e
		}
	}
}

// Match asks the bus for the signals that a rule describes.
func (c *Conn) Match(rule string) error {
	_, err := c.Call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s", rule)
	return err
}

// Wait returns the first signal that is wanted, and forgets those before it.
func (c *Conn) Wait(wanted func(Message) bool) (Message, error) {
	for {
		for len(c.signals) > 0 {
			m := c.signals[0]
			c.signals = c.signals[1:]
			if wanted(m) {
				return m, nil
			}
		}
		m, err := c.read()
		if err != nil {
			return Message{}, err
		}
		if m.Kind == Signal {
			c.signals = append(c.signals, m)
		}
	}
}

func (c *Conn) read() (Message, error) {
	head, err := c.in.Peek(headSize)
	if err != nil {
		return Message{}, err
	}
	_, whole, err := lengths(head)
	if err != nil {
		return Message{}, err
	}
	text := make([]byte, whole)
	if _, err := io.ReadFull(c.in, text); err != nil {
		return Message{}, err
	}
	return decode(text)
}
