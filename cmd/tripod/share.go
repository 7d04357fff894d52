package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"tripod/internal/owner"
	"tripod/internal/share"
)

func newShare(a *app) *cobra.Command {
	var o output
	var only []string
	var bare, quiet bool
	words := []string{"wide", "json", "yaml", "jsonpath=TEMPLATE"}
	cmd := &cobra.Command{
		Use:   "share A [B]",
		Short: "Show what containers, Pods and the host share",
		Long: `Show what the containers of a Pod share with each other and with the host, a container a row:
namespaces, the cgroup, the host name, id maps, mounts and open sockets. With B, also what the
containers of A share with those of B; B may be the word host.

A cell is host (what tripod itself is in), pod (all containers of the Pod share it, and nobody else here), own, or =NAME of
the one it is shared with. Mounts and sockets are counted, and listed below.

With --only the exit code answers: 0 when each container of A shares all of these kinds with each
of B (without B: with each other), 1 when not.`,
		Example: `  tripod share web
  tripod share web host --only net,pid
  tripod share web/nginx docker://shop -o wide
  tripod share web shop --only mounts -q && echo they have a volume in common`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completePods,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.check(words); err != nil {
				return err
			}
			for _, kind := range only {
				if !slices.Contains(share.Kinds(), kind) {
					return misuse("use "+strings.Join(share.Kinds(), ", "), "cannot compare %q: no such kind", owner.Sanitise(kind))
				}
			}
			return a.share(args, only, o, bare, quiet)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&only, "only", nil, "these kinds, and the exit code says whether they are shared")
	f.BoolVarP(&quiet, "quiet", "q", false, "print nothing; for --only")
	f.BoolVar(&bare, "no-headers", false, "no header line")
	_ = cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(share.Kinds(), cobra.ShellCompDirectiveNoFileComp))
	bindOutput(cmd, &o, words...)
	return cmd
}

func (a *app) share(words, only []string, o output, bare, quiet bool) error {
	host := share.Host()
	var sides [2][]share.Facts
	for i, word := range words {
		if word == share.IsHost && i == 1 {
			sides[i] = []share.Facts{host}
			continue
		}
		h := a.owners()
		containers, err := a.containersOf(h, []string{word})
		if err != nil {
			return err
		}
		facts, partial, err := share.Look(h, containers)
		if err != nil {
			return err
		}
		if len(facts) == 0 {
			return fmt.Errorf("cannot look at %s: it has ended", owner.Sanitise(word))
		}
		if partial {
			a.hidden()
		}
		sides[i] = facts
	}
	all := slices.Clone(sides[0])
	for _, f := range sides[1] {
		if f.Name != share.IsHost && !slices.ContainsFunc(all, func(g share.Facts) bool { return g.PID == f.PID }) {
			all = append(all, f)
		}
	}
	m := share.Compare(all, host)
	if !quiet {
		if err := a.printShares(m, only, o, bare); err != nil {
			return err
		}
	}
	if len(only) > 0 && !sharesAll(sides[0], sides[1], only) {
		return &exitError{code: 1}
	}
	return nil
}

// sharesAll says whether each of a shares all kinds with each of b, or without b with each other.
func sharesAll(a, b []share.Facts, kinds []string) bool {
	if len(b) == 0 {
		b = a
	}
	for _, kind := range kinds {
		for _, x := range a {
			for _, y := range b {
				if x.PID != y.PID && !share.Shares(x, y, kind) {
					return false
				}
			}
		}
	}
	return true
}

func (a *app) printShares(m share.Matrix, only []string, o output, bare bool) error {
	if o != "" && o != "wide" {
		return o.object(a.out, m)
	}
	kinds := share.Kinds()
	if o != "wide" && len(only) == 0 {
		kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == share.Cgroup || k == share.IDMap })
	}
	if len(only) > 0 {
		kinds = only
	}
	t := table{header: []string{"POD/CONTAINER", "PID"}}
	for _, k := range kinds {
		t.header = append(t.header, strings.ToUpper(k))
	}
	for _, r := range m.Rows {
		row := []string{r.Name, strconv.Itoa(r.PID)}
		for _, k := range kinds {
			row = append(row, owner.Sanitise(r.Cells[k]))
		}
		t.rows = append(t.rows, row)
	}
	red := func(column int, cell string) bool { return column > 1 && cell == share.IsHost }
	if err := t.printRed(a.out, !bare, red, colours(a.out)); err != nil {
		return err
	}
	c := table{header: []string{"IN COMMON", "BY"}}
	for _, x := range m.Common {
		if !slices.Contains(kinds, x.Kind) {
			continue
		}
		var by []string
		for _, u := range x.By {
			by = append(by, strings.TrimSuffix(u.Name+":"+owner.Sanitise(u.Where), ":"))
		}
		c.rows = append(c.rows, []string{owner.Sanitise(x.What), strings.Join(by, " ")})
	}
	if len(c.rows) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	return c.print(a.out, !bare)
}

// printRed is print with some cells in red, if colour says so.
func (t table) printRed(w io.Writer, headers bool, red func(column int, cell string) bool, colour bool) error {
	if !colour {
		return t.print(w, headers)
	}
	rows := t.rows
	if headers {
		rows = append([][]string{t.header}, rows...)
	}
	widths := make([]int, len(t.header))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+3)
			if i == len(row)-1 {
				pad = ""
			}
			if (n > 0 || !headers) && red(i, cell) {
				cell = "\x1b[31m" + cell + "\x1b[0m"
			}
			b.WriteString(cell + pad)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
