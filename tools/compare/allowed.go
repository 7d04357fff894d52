package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// allowed is a row of the table of differences: | `STREAM/REQUEST AT` | what | why |, where * stands for anything.
type allowed struct {
	where string
	match *regexp.Regexp
	used  bool
}

// heading stands above the table.
const heading = "\n## Compared\n"

// readAllowed reads the rows below the heading whose first cell is code.
func readAllowed(path string) ([]*allowed, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	above, table, ok := strings.Cut(string(text), heading)
	if !ok {
		return nil, fmt.Errorf("cannot read %s: it has no heading %q", path, strings.TrimSpace(heading))
	}
	var all []*allowed
	for n, line := range strings.Split(table, "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 3 || strings.TrimSpace(cells[2]) == "" {
			return nil, fmt.Errorf("cannot read %s:%d: a row has three cells: where, what, why", path, strings.Count(above, "\n")+n+3)
		}
		for _, where := range strings.Split(cells[0], ", ") {
			where = strings.Trim(where, "` ")
			re := "^" + strings.ReplaceAll(regexp.QuoteMeta(where), `\*`, ".*") + "$"
			match, err := regexp.Compile(re)
			if err != nil {
				return nil, err
			}
			all = append(all, &allowed{where: where, match: match})
		}
	}
	return all, nil
}

// find is the row that allows a difference, or nil.
func find(table []*allowed, d difference) *allowed {
	for _, a := range table {
		if a.match.MatchString(d.where + " " + d.at) {
			a.used = true
			return a
		}
	}
	return nil
}
