// Command tripod-oci runs OCI bundles, and is the keeper of a Pod's containers.
//
// It is small on purpose: it stays in memory beside every Pod, and it starts for every container.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tripod/internal/container"
)

// version is set by the linker.
var version = "0.1.0"

const usage = `tripod-oci runs OCI bundles.

Usage:
  tripod-oci [--root DIR] run [--bundle DIR] [--pid-file FILE] [--trace] ID
  tripod-oci keep DIR
  tripod-oci version

  --root DIR       state of containers (default /run/tripod-oci)
  --bundle DIR     directory with config.json (default .)
  --trace          print how long each step of the birth took

Exit codes of run: the container's own; 125 when it cannot be made, 126 when its command cannot be executed,
127 when there is no such command.
`

// verbs are what the first argument can be.
var verbs = map[string]func(root string, args []string) (int, error){
	"run":  run,
	"keep": keep,
}

func main() {
	if f := face(filepath.Base(os.Args[0])); f != nil {
		os.Exit(f(os.Args[1:]))
	}
	root, args, err := globals(os.Args[1:])
	if err != nil {
		fail(err)
	}
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		fmt.Print(usage)
		return
	}
	if args[0] == "version" || args[0] == "--version" {
		fmt.Println("tripod-oci version", version)
		return
	}
	if f := face(args[0]); f != nil {
		os.Exit(f(args[1:]))
	}
	verb, ok := verbs[args[0]]
	if !ok {
		fail(fmt.Errorf("no command %q; see tripod-oci help", args[0]))
	}
	code, err := verb(root, args[1:])
	if err != nil {
		fail(err)
	}
	os.Exit(code)
}

// globals reads the flags before the verb.
func globals(args []string) (root string, rest []string, err error) {
	root = "/run/tripod-oci"
	for len(args) > 0 && args[0] == "--root" {
		if len(args) < 2 {
			return "", nil, errors.New("--root needs a directory")
		}
		root, args = args[1], args[2:]
	}
	return root, args, nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "tripod-oci:", err)
	os.Exit(container.ExitCode(err))
}
