package main

import (
	"strconv"

	"tripod/internal/owner"
)

// psHost is ps --host: a row a process of the named containers, or of all processes of the host with -A.
func (a *app) psHost(words []string, all, bare bool, o output) error {
	var members []owner.Member
	var err error
	if all && len(words) == 0 {
		var partial bool
		members, partial, err = a.owners().Members(nil)
		if partial {
			a.hidden()
		}
	} else {
		members, err = a.members(words)
	}
	if err != nil {
		return err
	}
	if done, err := a.plainMembers(members, o); done {
		return err
	}
	return memberTable(members, o == "wide").print(a.out, !bare)
}

// memberTable has a row a process, by PID.
func memberTable(all []owner.Member, wide bool) table {
	t := table{header: []string{"PID", "INNER", "USER", "INNER-USER", "CONTAINER", "STATE", "COMMAND"}}
	if wide {
		t.header = append(t.header, "PPID", "RUNTIME", "ID", "IMAGE")
	}
	names := userNames{}
	for _, m := range all {
		c := m.Container
		row := []string{strconv.Itoa(m.PID), innerPIDs(m), names.of(m.UID), uidWord(m.InnerUID), orDash(c.String()), owner.Sanitise(m.State), cut(m.What(), wide)}
		if wide {
			row = append(row, strconv.Itoa(m.PPID), orDash(c.Runtime), orDash(owner.Sanitise(c.ShortID())), orDash(owner.Sanitise(c.Image)))
		}
		t.rows = append(t.rows, row)
	}
	return t
}
