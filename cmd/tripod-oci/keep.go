package main

import (
	"errors"

	"tripod/internal/keeper"
)

// keep is the parent of one Pod's containers until the Pod has finished. Others start it; its arguments are theirs.
func keep(_ *globals, args []string) (int, error) {
	if len(args) != 1 {
		return 0, errors.New("usage: tripod-oci keep DIR")
	}
	return 0, keeper.Keep(args[0])
}
