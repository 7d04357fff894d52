package main

import (
	"os"

	"tripod/internal/nsenter"
	"tripod/internal/owner"
)

// enter is nsenter(1), which knows the containers of this host by name.
func enter(args []string) int {
	host := owner.Host{RunRoot: os.Getenv("TRIPOD_RUN_ROOT")}
	return nsenter.Command(args, nsenter.Config{Find: host.Find, Version: version})
}
