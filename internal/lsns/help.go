package lsns

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

const usage = `
Usage:
 lsns [options] [<namespace>]
 lsns [options] POD[/CONTAINER]

List system namespaces.

Options:
 -J, --json             use JSON output format
 -l, --list             use list format output
 -n, --noheadings       don't print headings
 -o, --output <list>    define which output columns to use
     --output-all       output all columns
 -P, --persistent       namespaces without processes
 -p, --task <pid>       print process namespaces
 -Q, --filter <expr>    apply display filter
 -r, --raw              use the raw output format
 -u, --notruncate       don't truncate text in columns
 -W, --nowrap           don't use multi-line representation
 -t, --type <name>      namespace type (mnt, net, ipc, user, pid, uts, cgroup, time)
 -T, --tree[=<rel>]     use tree format (parent, owner, or process)

     --pods             show Pods and containers, of any runtime
     --threads          look at threads too
     --strict           exit with 3 when something may not be read
     --watch[=<secs>]   look again and again

 -H, --list-columns     list the available columns
 -h, --help             display this help
 -V, --version          display version

Available output columns:
`

// printHelp prints how the command is used.
func printHelp(c *Command) error {
	var b strings.Builder
	b.WriteString(usage)
	for i, col := range columns {
		if i == numUpstream {
			b.WriteString("\nof containers, and what else is known:\n")
		}
		fmt.Fprintf(&b, " %11s  %s\n", col.name, col.help)
	}
	b.WriteString("\nFilters: COLUMN == 'text', != < <= > >=, =~ \"expression\", !~, && || ! and parentheses.\n")
	_, err := io.WriteString(c.Out, b.String())
	return err
}

func printVersion(c *Command) error {
	_, err := fmt.Fprintf(c.Out, "lsns from tripod %s\n", c.Version)
	return err
}

// listColumns prints the columns that there are as a table, as words, or as JSON.
func listColumns(c *Command, asJSON, asRaw bool) error {
	v := &view{columns: []column{{name: "NAME"}, {name: "TYPE"}, {name: "DESCRIPTION"}}}
	for _, col := range columns {
		kind := "<string>"
		if col.number {
			kind = "<number>"
		}
		v.roots = append(v.roots, &line{cells: []string{col.name, kind, col.help}})
	}
	var b bytes.Buffer
	f := form{raw: asRaw, utf8: c.UTF8, noHeadings: !asRaw}
	switch {
	case asJSON:
		v.json(&b, "lsns-columns")
	case asRaw:
		v.raw(&b, f)
	default:
		v.table(&b, f)
	}
	_, err := c.Out.Write(b.Bytes())
	return err
}
