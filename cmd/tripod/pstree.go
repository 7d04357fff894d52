package main

import (
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tripod/internal/owner"
)

func newPstree(a *app) *cobra.Command {
	var o output
	var bare, wide bool
	words := []string{"wide", "json", "yaml", "name", "jsonpath=TEMPLATE"}
	cmd := &cobra.Command{
		Use:   "pstree [POD|POD/CONTAINER|RUNTIME://NAME|PID]",
		Short: "Show the processes of containers as trees",
		Long: `Show the processes of a Pod or container as the host sees them: each with its PID on the host
and in its container, its user on the host and in the container. Without a word, those of all
containers on this host, whatever runtime made them.`,
		Example: `  tripod pstree web
  tripod pstree web/nginx -o wide
  tripod pstree docker://shop
  tripod pstree`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.check(words); err != nil {
				return err
			}
			all, err := a.members(args)
			if err != nil {
				return err
			}
			if done, err := a.plainMembers(all, o); done {
				return err
			}
			return treeTable(all, o == "wide" || wide).print(a.out, !bare)
		},
	}
	cmd.Flags().BoolVar(&bare, "no-headers", false, "no header line")
	cmd.Flags().BoolVarP(&wide, "long", "l", false, "do not cut command lines")
	bindOutput(cmd, &o, words...)
	return cmd
}

// members are the processes of the containers that the words mean, or of all containers, monitors left out.
func (a *app) members(words []string) ([]owner.Member, error) {
	h := a.owners()
	keep := func(_ int, c owner.Container) bool { return c.Known() && !c.Monitor }
	if len(words) > 0 {
		chosen, err := a.containersOf(h, words)
		if err != nil {
			return nil, err
		}
		keep = func(_ int, c owner.Container) bool {
			return slices.ContainsFunc(chosen, func(w owner.Container) bool {
				return w.Cgroup == c.Cgroup && w.Runtime == c.Runtime && !c.Monitor
			})
		}
	}
	all, partial, err := h.Members(keep)
	if err == nil && partial {
		a.hidden()
	}
	return all, err
}

// containersOf are the containers that words mean: names, or the PID of one of their processes.
func (a *app) containersOf(h *owner.Host, words []string) ([]owner.Container, error) {
	var all []owner.Container
	for _, word := range words {
		if pid, err := strconv.Atoi(word); err == nil {
			c, ok, err := h.OfProcess(pid)
			if err != nil {
				return nil, err
			}
			if !ok {
				return nil, fmt.Errorf("cannot find container of process %d: it is in none", pid)
			}
			all = append(all, c)
			continue
		}
		found, err := h.Containers(word)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// plainMembers prints processes in the forms of -o that are no table.
func (a *app) plainMembers(all []owner.Member, o output) (done bool, err error) {
	switch o {
	case "", "wide":
		return false, nil
	case "name":
		for _, m := range all {
			if _, err := fmt.Fprintln(a.out, m.PID); err != nil {
				return true, err
			}
		}
		return true, nil
	}
	return true, o.object(a.out, listOf(all))
}

// treeTable has a row a process, each below its parent, containers by the order of their first process.
func treeTable(all []owner.Member, wide bool) table {
	t := table{header: []string{"CONTAINER", "PID", "INNER", "USER", "INNER-USER", "COMMAND"}}
	if wide {
		t.header = append(t.header, "RUNTIME", "ID", "CGROUP")
	}
	known := map[int]bool{}
	for _, m := range all {
		known[m.PID] = true
	}
	children := map[int][]owner.Member{}
	for _, m := range all {
		parent := m.PPID
		if !known[parent] || parent == m.PID {
			parent = 0
		}
		children[parent] = append(children[parent], m)
	}
	names := userNames{}
	var walk func(parent int, indent string, depth int)
	walk = func(parent int, indent string, depth int) {
		for i, m := range children[parent] {
			mark, below := "├─ ", "│  "
			if i == len(children[parent])-1 {
				mark, below = "└─ ", "   "
			}
			if parent == 0 {
				mark, below = "", ""
			}
			row := []string{m.Container.String(), strconv.Itoa(m.PID), innerPIDs(m), names.of(m.UID), uidWord(m.InnerUID), indent + mark + cut(m.What(), wide)}
			if wide {
				row = append(row, m.Container.Runtime, orDash(owner.Sanitise(m.Container.ShortID())), owner.Sanitise(m.Container.Cgroup))
			}
			t.rows = append(t.rows, row)
			if depth < maxTree {
				walk(m.PID, indent+below, depth+1)
			}
		}
	}
	walk(0, "", 0)
	return t
}

// maxTree is how deep a tree is drawn.
const maxTree = 200

// innerPIDs are the numbers of a process in its container: one, or one for each PID namespace that it is in.
func innerPIDs(m owner.Member) string {
	var words []string
	for _, pid := range m.Inner {
		words = append(words, strconv.Itoa(pid))
	}
	return orDash(strings.Join(words, "/"))
}

// uidWord is a user's number, - when there is none.
func uidWord(uid int) string {
	if uid < 0 {
		return "-"
	}
	return strconv.Itoa(uid)
}

// userNames remembers the names of the host's users.
type userNames map[int]string

func (n userNames) of(uid int) string {
	if uid < 0 {
		return "-"
	}
	if name, ok := n[uid]; ok {
		return name
	}
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil && u.Username != "" {
		name = owner.Sanitise(u.Username)
	}
	n[uid] = name
	return name
}
