package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
)

// halves are requests that begin and never go on.
var halves = []string{
	"GET /api/v1/pods HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
	"POST /api/v1/namespaces/default/pods HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"kind\"",
	"POST /api/v1/namespaces/default/pods HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"ki",
	// Answers that nobody reads.
	"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
	"GET /api/v1/namespaces/default/pods/nosuch/exec?command=sh&stdin=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n" +
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"\x16\x03\x01\x02\x00\x01",
	"",
}

// crowd is the program "crowd SOCKET COUNT PROGRAM [ARG...]": it opens so many of each of halves, holds them while the program runs,
// and ends as that does.
func crowd() {
	if len(os.Args) < 4 {
		fail("usage: crowd SOCKET COUNT PROGRAM [ARG...]")
	}
	count, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fail("%v", err)
	}
	var held []net.Conn
	for range count {
		for _, half := range halves {
			conn, err := net.Dial("unix", os.Args[1])
			if err != nil {
				fail("cannot open connection %d: %v", len(held), err)
			}
			if _, err := conn.Write([]byte(half)); err != nil {
				fail("cannot write to connection %d: %v", len(held), err)
			}
			held = append(held, conn)
		}
	}
	fmt.Printf("%d connections\n", len(held))
	cmd := exec.Command(os.Args[3], os.Args[4:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	for _, conn := range held {
		conn.Close()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fail("%v", err)
	}
}
