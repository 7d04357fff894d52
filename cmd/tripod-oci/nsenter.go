package main

import "tripod/internal/nsenter"

// enter is nsenter(1).
func enter(args []string) int {
	return nsenter.Command(args, nsenter.Config{Version: version})
}
