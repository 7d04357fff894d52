package e2e

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is the program "msg": it sends and receives System V messages (msgop(2)), which live in an IPC namespace.
//
//	msg send KEY TEXT    make the queue KEY and put TEXT into it
//	msg receive KEY      print the next message of queue KEY; no queue or no message is an error
//
// It is static and needs nothing: scripts copy it into containers.
func message() {
	if len(os.Args) < 3 {
		fail("usage: msg send KEY TEXT | msg receive KEY")
	}
	key, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fail("%v", err)
	}
	var buf struct {
		kind int64
		text [256]byte
	}
	switch {
	case os.Args[1] == "send" && len(os.Args) == 4:
		id, _, errno := unix.Syscall(unix.SYS_MSGGET, uintptr(key), unix.IPC_CREAT|0o600, 0)
		if errno != 0 {
			fail("cannot make queue %d: %v", key, errno)
		}
		buf.kind = 1
		n := copy(buf.text[:], os.Args[3])
		if _, _, errno = unix.Syscall6(unix.SYS_MSGSND, id, uintptr(unsafe.Pointer(&buf)), uintptr(n), ipcNoWait, 0, 0); errno != 0 {
			fail("cannot send to queue %d: %v", key, errno)
		}
	case os.Args[1] == "receive":
		id, _, errno := unix.Syscall(unix.SYS_MSGGET, uintptr(key), 0, 0)
		if errno != 0 {
			fail("cannot open queue %d: %v", key, errno)
		}
		n, _, errno := unix.Syscall6(unix.SYS_MSGRCV, id, uintptr(unsafe.Pointer(&buf)), uintptr(len(buf.text)), 0, ipcNoWait, 0)
		if errno != 0 {
			fail("cannot receive from queue %d: %v", key, errno)
		}
		fmt.Println(string(buf.text[:n]))
	default:
		fail("cannot %s", os.Args[1])
	}
}

// ipcNoWait is IPC_NOWAIT of <linux/ipc.h>.
const ipcNoWait = 0o4000

// listen is the program "listen ADDR TEXT": it answers every connection with "TEXT for ADDRESS", the address it came from, and
// hangs up.
func listen() {
	if len(os.Args) != 3 {
		fail("usage: listen ADDR TEXT")
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fail("%v", err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			fail("%v", err)
		}
		from, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		fmt.Fprintf(conn, "%s for %s\n", os.Args[2], from)
		conn.Close()
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}
