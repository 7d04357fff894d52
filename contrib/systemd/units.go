// Package systemd holds the units by which systemd starts tripodd: at boot, or when somebody dials its socket.
package systemd

import _ "embed"

// Names of the units.
const (
	ServiceName = "tripod.service"
	SocketName  = "tripod.socket"
)

// Program is where the service unit finds tripodd.
const Program = "/usr/local/bin/tripodd"

// Service and Socket are the units' texts.
var (
	//go:embed tripod.service
	Service string
	//go:embed tripod.socket
	Socket string
)
