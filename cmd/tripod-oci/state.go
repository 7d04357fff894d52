package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"text/tabwriter"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/container"
)

// containerState is a container's state as runtime.md, "State", has it, with the fields that runc adds.
type containerState struct {
	Version     string               `json:"ociVersion"`
	ID          string               `json:"id"`
	Pid         int                  `json:"pid"`
	Status      specs.ContainerState `json:"status"`
	Bundle      string               `json:"bundle"`
	Rootfs      string               `json:"rootfs"`
	Created     time.Time            `json:"created"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	Owner       string               `json:"owner"`
}

func stateOf(d *container.Dir, r *container.Record) containerState {
	s := containerState{
		Version: r.Version, ID: r.ID, Pid: r.Pid, Status: d.Status(r), Bundle: r.Bundle, Rootfs: r.Rootfs,
		Created: r.Created, Annotations: r.Annotations,
	}
	if s.Status == specs.StateStopped {
		s.Pid = 0
	}
	return s
}

const stateHelp = `Usage: tripod-oci state ID

Prints what a container is doing, as JSON. Its status is creating, created, running, paused or stopped.

Example:
  tripod-oci state web | jq -r .status
`

func state(g *globals, args []string) (int, error) {
	operands, err := words(stateHelp, nil, args, 1, 1)
	if err != nil {
		return 0, err
	}
	d, r, err := g.find(operands[0])
	if err != nil {
		return 0, err
	}
	return 0, printJSON(stateOf(d, &r))
}

func printJSON(v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(data, '\n'))
	return err
}

const listHelp = `Usage: tripod-oci list [OPTIONS]

Lists containers.

Options:
  -f, --format table|json  (default table)
  -q, --quiet              IDs only

Examples:
  tripod-oci list
  tripod-oci list -q | xargs -n1 tripod-oci delete -f
`

func list(g *globals, args []string) (int, error) {
	format, quiet := "table", false
	if _, err := words(listHelp, []option{choice(&format, 'f', "format", "table", "json"), flag(&quiet, 'q', "quiet")}, args, 0, 0); err != nil {
		return 0, err
	}
	ids, err := container.List(g.root)
	if err != nil {
		return 0, err
	}
	states := []containerState{}
	for _, id := range ids {
		if quiet {
			fmt.Println(id)
			continue
		}
		d, r, err := g.find(id)
		if err != nil {
			g.warn(err)
			continue
		}
		s := stateOf(d, &r)
		s.Owner = userName(r.Owner)
		states = append(states, s)
	}
	switch {
	case quiet:
		return 0, nil
	case format == "json":
		data, err := json.Marshal(states)
		if err == nil {
			_, err = os.Stdout.Write(append(data, '\n'))
		}
		return 0, err
	}
	w := tabwriter.NewWriter(os.Stdout, 12, 1, 3, ' ', 0)
	fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, s := range states {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
	}
	return 0, w.Flush()
}

// userName is a user's name, or #UID of one who has none, as runc prints it.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "#" + id
}
