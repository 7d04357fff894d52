package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/yaml"
)

// output is the word after -o: "", wide, name, json, yaml or jsonpath=TEMPLATE.
type output string

// bindOutput makes -o for a verb that prints objects.
func bindOutput(cmd *cobra.Command, o *output, words ...string) {
	cmd.Flags().StringVarP((*string)(o), "output", "o", "", "print as "+strings.Join(words, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// The words of -o.
var (
	objectOutputs = []string{"json", "yaml", "name", "jsonpath=TEMPLATE"}
	dataOutputs   = []string{"json", "yaml", "jsonpath=TEMPLATE"}
	tableOutputs  = []string{"wide", "json", "yaml", "name", "jsonpath=TEMPLATE"}
)

// check refuses a word of -o that the verb does not have.
func (o output) check(words []string) error {
	for _, word := range words {
		name, _, _ := strings.Cut(word, "=")
		if string(o) == name && name != "jsonpath" || name == "jsonpath" && o.template() != "" {
			return nil
		}
	}
	if o == "" {
		return nil
	}
	return misuse("use "+strings.Join(words, ", "), "cannot print as %q: no such form", string(o))
}

func (o output) template() string {
	t, _ := strings.CutPrefix(string(o), "jsonpath=")
	if t == string(o) {
		return ""
	}
	return t
}

// object prints a value in the form of -o: JSON by default.
func (o output) object(w io.Writer, v any) error {
	switch {
	case o == "yaml":
		text, err := yaml.Marshal(v)
		if err != nil {
			return fmt.Errorf("cannot print as YAML: %w", err)
		}
		_, err = w.Write(text)
		return err
	case o.template() != "":
		return printJSONPath(w, o.template(), v)
	}
	text, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		return fmt.Errorf("cannot print as JSON: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}

// printJSONPath prints what kubectl's JSONPath template finds in the value's JSON form.
func printJSONPath(w io.Writer, template string, v any) error {
	if !strings.Contains(template, "{") {
		template = "{" + template + "}"
	}
	path := jsonpath.New("output").AllowMissingKeys(true)
	if err := path.Parse(template); err != nil {
		return misuse("see kubernetes.io/docs/reference/kubectl/jsonpath", "cannot read jsonpath %q: %w", template, err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot print as JSON: %w", err)
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		return fmt.Errorf("cannot print as JSON: %w", err)
	}
	if err := path.Execute(w, plain); err != nil {
		return fmt.Errorf("cannot print jsonpath %q: %w", template, err)
	}
	return nil
}

// table is what a person reads: a header and rows, columns three spaces apart as kubectl's.
type table struct {
	header []string
	rows   [][]string
}

func (t table) print(w io.Writer, headers bool) error {
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	if headers {
		fmt.Fprintln(tw, strings.Join(t.header, "\t"))
	}
	for _, row := range t.rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// list is a Kubernetes List of objects of any kind.
type list struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Items      []any  `json:"items"`
}

func listOf[T any](items []T) list {
	l := list{APIVersion: "v1", Kind: "List", Items: []any{}}
	for _, item := range items {
		l.Items = append(l.Items, item)
	}
	return l
}
