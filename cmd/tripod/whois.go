package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"tripod/internal/owner"
	"tripod/internal/whois"
)

func newWhois(a *app) *cobra.Command {
	var o output
	var bare bool
	cmd := &cobra.Command{
		Use:   "whois WORD...",
		Short: "Say which container has a process, port, address …",
		Long: `Say which Pod and container has a process, a namespace, a socket, a port, an address, an
interface or a cgroup, whatever runtime made it: tripod, docker, containerd, CRI-O, podman,
kubelet, LXC, systemd-nspawn, runc, crun.

WORD is a PID or PID:INODE, net:[N] (or pid, mnt … :[N]), socket:[N], a port (8080, tcp/8080,
ADDRESS:8080), an IP address, the name of a veth interface of the host, or a cgroup's path. A
number is read in every way that it can be. POD, POD/CONTAINER, docker://NAME and the like are the
other way round: which process a container is.

The exit code is 1 when nobody has it.`,
		Example: `  tripod whois 4711
  tripod whois tcp/8080 10.88.0.5 veth3f2a
  tripod whois web/nginx docker://shop
  tripod whois /sys/fs/cgroup/system.slice/ssh.service
  tripod whois 8080 -o jsonpath='{.items[*].container.pod}'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, words []string) error {
			if err := o.check(tableOutputs); err != nil {
				return err
			}
			return a.whois(words, o, bare)
		},
	}
	cmd.Flags().BoolVar(&bare, "no-headers", false, "no header line")
	bindOutput(cmd, &o, tableOutputs...)
	return cmd
}

// owners is where containers of any runtime are looked for.
func (a *app) owners() *owner.Host { return &owner.Host{RunRoot: real(a.runRoot)} }

func (a *app) whois(words []string, o output, bare bool) error {
	var all []whois.Answer
	var missing []string
	unsure := false
	for _, word := range words {
		found, partial, err := whois.Ask(a.owners(), word)
		var several *owner.AmbiguousError
		switch {
		case errors.As(err, &several):
			return err
		case err != nil:
			return misuse("write "+whois.Words, "%w", err)
		}
		nobody := func(w whois.Answer) bool { return w.PID == 0 }
		if len(found) == 0 {
			missing = append(missing, word)
		}
		unsure = unsure || partial && (len(found) == 0 || slices.ContainsFunc(found, nobody))
		all = append(all, found...)
	}
	if err := a.answers(all, o, bare); err != nil {
		return err
	}
	if unsure {
		a.hidden()
	}
	if len(missing) > 0 {
		return fmt.Errorf("cannot find who has %s: nobody has it", owner.Sanitise(missing[0]))
	}
	return nil
}

// hidden tells that what was printed may not be all.
func (a *app) hidden() {
	hint := ""
	if os.Geteuid() != 0 {
		hint = "; root sees all"
	}
	_ = a.say("tripod: some processes may not be looked at, so something may be missing here%s", hint)
}

// answers prints who has what.
func (a *app) answers(all []whois.Answer, o output, bare bool) error {
	switch o {
	case "", "wide":
	case "name":
		for _, w := range all {
			fmt.Fprintln(a.out, w.Where())
		}
		return nil
	default:
		return o.object(a.out, listOf(all))
	}
	if len(all) == 0 {
		return nil
	}
	t := table{header: []string{"WHAT", "RUNTIME", "CONTAINER", "PID", "COMMAND"}}
	if o == "wide" {
		t.header = append(t.header, "ID", "IMAGE", "UNIT", "CGROUP")
	}
	for _, w := range all {
		c := w.Container
		row := []string{w.What, orDash(c.Runtime), w.Where(), w.Process(), cut(orDash(w.Command), o == "wide")}
		if o == "wide" {
			row = append(row, orDash(c.ShortID()), orDash(c.Image), orDash(c.Unit), orDash(c.Cgroup))
		}
		for i := range row {
			row[i] = owner.Sanitise(row[i])
		}
		t.rows = append(t.rows, row)
	}
	return t.print(a.out, !bare)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// maxWords is how many bytes of a command line a table shows that is not wide.
const maxWords = 60

// cut shortens a command line for a table.
func cut(s string, wide bool) string {
	if wide || len(s) <= maxWords {
		return s
	}
	for n := maxWords; n > 0; n-- {
		if s[n]&0xc0 != 0x80 { // not within a rune
			return s[:n] + "…"
		}
	}
	return s
}
