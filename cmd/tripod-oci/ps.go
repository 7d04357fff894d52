package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const psHelp = `Usage: tripod-oci ps [OPTIONS] ID [OPTIONS OF PS]

Lists the processes of a container, by the host's PIDs.

Options:
  -f, --format table|json  (default table)

Examples:
  tripod-oci ps web
  tripod-oci ps -f json web
  tripod-oci ps web -o pid,rss,args
`

func ps(g *globals, args []string) (int, error) {
	format := "table"
	operands, err := words(psHelp, []option{choice(&format, 'f', "format", "table", "json")}, args, 1, -1)
	if err != nil {
		return 0, err
	}
	c, r, d, err := g.load(operands[0])
	if err != nil {
		return 0, err
	}
	if status := d.Status(&r); status == specs.StateStopped {
		return 0, wrongState("list processes of", d.ID, status)
	}
	pids := []int{r.Pid}
	if c.Group != nil {
		if pids, err = c.Group.Procs(); err != nil {
			return 0, err
		}
	}
	rest := operands[1:]
	if format == "json" {
		data, err := json.Marshal(pids)
		if err == nil {
			_, err = os.Stdout.Write(append(data, '\n'))
		}
		return 0, err
	}
	if len(rest) == 0 {
		rest = []string{"-ef"}
	}
	out, err := osexec.Command("ps", rest...).Output()
	if err != nil {
		var exit *osexec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%s", bytes.TrimSpace(exit.Stderr))
		}
		return 0, fmt.Errorf("cannot list processes with ps %s: %w", strings.Join(rest, " "), err)
	}
	text, err := choose(string(out), pids)
	if err != nil {
		return 0, err
	}
	_, err = os.Stdout.WriteString(text)
	return 0, err
}

// choose keeps the title of a table of ps and the lines of these processes.
func choose(table string, pids []int) (string, error) {
	lines := strings.Split(strings.TrimSuffix(table, "\n"), "\n")
	column := slices.Index(strings.Fields(lines[0]), "PID")
	if column < 0 {
		return "", errors.New("cannot list processes: what ps was asked for has no column PID")
	}
	kept := lines[:1]
	for _, l := range lines[1:] {
		if f := strings.Fields(l); len(f) > column {
			if pid, err := strconv.Atoi(f[column]); err == nil && slices.Contains(pids, pid) {
				kept = append(kept, l)
			}
		}
	}
	return strings.Join(kept, "\n") + "\n", nil
}
