package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"

	"github.com/spf13/cobra"

	"tripod/internal/owner"
)

func newDockerPs(a *app) *cobra.Command {
	var all, quiet, long bool
	var format string
	var filters []string
	var last int
	cmd := &cobra.Command{
		Use:     "ps",
		Aliases: []string{"list", "ls"},
		Short:   "List containers",
		Example: "  docker ps -a\n  docker ps --format '{{.ID}} {{.Names}}' --filter name=web",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			match, err := dockerFilter(filters)
			if err != nil {
				return err
			}
			found, err := a.dockerContainers(cmd.Context())
			if err != nil {
				return err
			}
			shown := slices.DeleteFunc(found, func(c dockerContainer) bool { return !match(c, all || last > 0) })
			if last > 0 && len(shown) > last {
				shown = shown[:last]
			}
			for i := range shown {
				shown[i].shorten(long)
			}
			return printDockerPs(a.out, shown, quiet, format)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "a", false, "those that have ended too")
	f.BoolVarP(&quiet, "quiet", "q", false, "IDs only")
	f.BoolVar(&long, "no-trunc", false, "do not shorten")
	f.StringVar(&format, "format", "", "a Go template, table TEMPLATE, or json")
	f.StringArrayVarP(&filters, "filter", "f", nil, "name=, id=, status=, ancestor= or label=")
	f.IntVarP(&last, "last", "n", 0, "the newest N, those that have ended too")
	return cmd
}

// shorten cuts the ID and quotes the command, as docker does.
func (c *dockerContainer) shorten(long bool) {
	c.Command = owner.Sanitise(c.Command)
	if !long {
		c.ID = c.ID[:12]
		if r := []rune(c.Command); len(r) > 20 {
			c.Command = string(r[:19]) + "…"
		}
	}
	c.Command = `"` + c.Command + `"`
}

// dockerFilter reads --filter KEY=VALUE: values of one key are alternatives, keys must all fit.
func dockerFilter(words []string) (func(c dockerContainer, all bool) bool, error) {
	want := map[string][]string{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok || !slices.Contains([]string{"name", "id", "status", "ancestor", "label"}, key) {
			return nil, misuse("use name=, id=, status=, ancestor= or label=", "cannot filter by %q", owner.Sanitise(word))
		}
		want[key] = append(want[key], value)
	}
	return func(c dockerContainer, all bool) bool {
		fits := func(key string, has func(value string) bool) bool {
			return len(want[key]) == 0 || slices.ContainsFunc(want[key], has)
		}
		return (all || len(want["status"]) > 0 || c.running) &&
			fits("name", func(v string) bool {
				v = strings.TrimPrefix(v, "^")
				v = strings.TrimPrefix(v, "/")
				whole, ok := strings.CutSuffix(v, "$")
				return ok && c.Names == whole || !ok && strings.Contains(c.Names, v)
			}) &&
			fits("id", func(v string) bool { return strings.HasPrefix(c.ID, v) }) &&
			fits("status", func(v string) bool { return c.State == v }) &&
			fits("ancestor", func(v string) bool { return c.Image == v || strings.HasPrefix(c.Image, v+":") }) &&
			fits("label", func(v string) bool {
				return slices.ContainsFunc(strings.Split(c.Labels, ","), func(l string) bool { return l == v || strings.HasPrefix(l, v+"=") })
			})
	}, nil
}

func printDockerPs(w io.Writer, all []dockerContainer, quiet bool, format string) error {
	const columns = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
	switch {
	case format == "" && quiet:
		format = "{{.ID}}"
	case format == "" || format == "table":
		format = columns
	case format == "json":
		format = "{{json .}}"
	}
	text, isTable := strings.CutPrefix(format, "table ")
	t, err := dockerTemplate(text)
	if err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
	var out io.Writer = w
	if isTable {
		out = tw
		if err := t.Execute(out, dockerHeader()); err != nil {
			return fmt.Errorf("cannot print with --format %q: %w", format, err)
		}
		fmt.Fprintln(out)
	}
	for _, c := range all {
		if err := t.Execute(out, c); err != nil {
			return fmt.Errorf("cannot print with --format %q: %w", format, err)
		}
		fmt.Fprintln(out)
	}
	return tw.Flush()
}

// dockerHeader has the headers of the columns in the place of their values.
func dockerHeader() dockerContainer {
	return dockerContainer{
		ID: "CONTAINER ID", Image: "IMAGE", Command: "COMMAND", CreatedAt: "CREATED AT", RunningFor: "CREATED", Status: "STATUS", State: "STATE",
		Ports: "PORTS", Names: "NAMES", Labels: "LABELS", Mounts: "MOUNTS", Networks: "NETWORKS", Size: "SIZE", LocalVolumes: "LOCAL VOLUMES",
	}
}

// dockerTemplate reads a Go template with docker's functions. \t and \n may be written in it.
func dockerTemplate(text string) (*template.Template, error) {
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	t, err := template.New("format").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		"join": strings.Join, "split": strings.Split, "lower": strings.ToLower, "upper": strings.ToUpper,
		"title": func(s string) string {
			if s == "" {
				return s
			}
			return strings.ToUpper(s[:1]) + s[1:]
		},
		"truncate": func(s string, n int) string {
			r := []rune(s)
			return string(r[:max(0, min(n, len(r)))])
		},
		"println": fmt.Sprintln,
	}).Parse(text)
	if err != nil {
		return nil, misuse("see pkg.go.dev/text/template", "cannot read --format %q: %w", text, err)
	}
	return t, nil
}
