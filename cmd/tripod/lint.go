package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/pmezard/go-difflib/difflib"
	"github.com/spf13/cobra"

	"tripod/internal/image"
	"tripod/internal/lint"
	"tripod/internal/manifest"
)

// exitCannotLint is the exit code when there is no judgement: 1 is a bad one.
const exitCannotLint = 2

// lintFlags are the words of lint.
type lintFlags struct {
	options       lint.Options
	level, failOn string
	fix, list     bool
	out           output
}

func newLint(a *app) *cobra.Command {
	var f lintFlags
	cmd := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Hold manifests to the practices that keep Pods well-behaved",
		Long: `Hold manifests to the practices that keep Pods well-behaved: limits and requests, probes, a
user that is not root, a root file system that cannot be written, no secret in the open, a clean
end. Each finding names its reason and the field to write. An image that is here is looked at too:
its user and its command.

A workload with the annotation tripod/lint-ignore: RULE,RULE is not held to these rules.

--fix prints a patch of what can be written without knowing the program; its numbers are guesses.

Exit codes: 0 when nothing is as bad as --fail-on, 1 when something is, 2 when a manifest cannot be read.`,
		Example: `  tripod lint pod.yaml
  tripod lint --fail-on error deploy/
  tripod lint -o json pod.yaml
  tripod lint --fix pod.yaml | patch
  tripod lint --list`,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := a.lint(cmd.Context(), f, args)
			if _, judged := err.(*exitError); err != nil && !judged {
				return &exitError{code: exitCannotLint, err: err}
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.options.Only, "only", nil, "these rules alone")
	flags.StringSliceVar(&f.options.Ignore, "ignore", nil, "all rules but these")
	flags.StringVar(&f.level, "level", string(lint.Note), "leave out what is less: error, warning or note")
	flags.StringVar(&f.failOn, "fail-on", string(lint.Warning), "the exit code is 1 from here on: error, warning, note or never")
	flags.BoolVar(&f.fix, "fix", false, "print a patch instead")
	flags.BoolVar(&f.list, "list", false, "print the rules")
	bindOutput(cmd, &f.out, dataOutputs...)
	for _, name := range []string{"only", "ignore"} {
		_ = cmd.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var ids []string
			for _, r := range lint.Rules() {
				ids = append(ids, r.ID+"\t"+r.Reason)
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		})
	}
	return cmd
}

func (a *app) lint(ctx context.Context, f lintFlags, names []string) error {
	if err := f.check(names); err != nil {
		return err
	}
	if f.list {
		return a.printRules(f)
	}
	var findings []lint.Finding
	for _, name := range names {
		files, err := a.files(name)
		if err != nil {
			return err
		}
		for _, file := range files {
			found, err := a.lintFile(ctx, f, file)
			if err != nil {
				return err
			}
			findings = append(findings, found...)
		}
	}
	bad := slices.ContainsFunc(findings, func(x lint.Finding) bool { return f.failOn != "never" && x.Level.AtLeast(lint.Level(f.failOn)) })
	if !f.fix {
		if err := a.printFindings(f, findings); err != nil {
			return err
		}
	}
	if bad {
		return &exitError{code: 1}
	}
	return nil
}

func (f lintFlags) check(names []string) error {
	if err := f.out.check(dataOutputs); err != nil {
		return err
	}
	if id := f.options.Unknown(); id != "" {
		return misuse("tripod lint --list shows all", "cannot use rule %q: no such rule", id)
	}
	if !slices.Contains(lint.Levels, lint.Level(f.level)) {
		return misuse("use error, warning or note", "cannot use --level %q: no such level", f.level)
	}
	if f.failOn != "never" && !slices.Contains(lint.Levels, lint.Level(f.failOn)) {
		return misuse("use error, warning, note or never", "cannot use --fail-on %q: no such level", f.failOn)
	}
	if len(names) == 0 && !f.list {
		return misuse("tripod lint FILE, or - for standard input", "there is no manifest to look at")
	}
	return nil
}

// lintFile looks at one file. With --fix it prints the patch.
func (a *app) lintFile(ctx context.Context, f lintFlags, file string) ([]lint.Finding, error) {
	body, title, err := a.openManifest(ctx, file)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, manifest.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read manifest %s: %w", title, err)
	}
	templates, skipped, err := manifest.ReadTemplates(title, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for _, s := range skipped {
		if err := a.say("note: %s:%d: %s %s is not looked at", title, s.Line, s.Kind, s.Name); err != nil {
			return nil, err
		}
	}
	findings := lint.Check(templates, a.imageHere(ctx), f.options)
	findings = slices.DeleteFunc(findings, func(x lint.Finding) bool { return !x.Level.AtLeast(lint.Level(f.level)) })
	if f.fix {
		return findings, a.printPatch(title, data, findings)
	}
	return findings, nil
}

// imageHere looks images up that are in the store. Nothing is pulled.
func (a *app) imageHere(ctx context.Context) lint.Image {
	store, err := a.images()
	if err != nil {
		return nil
	}
	return func(ref string) *ocispec.Image {
		img, err := store.Ensure(ctx, ref, image.Never, image.PullOptions{})
		if err != nil {
			return nil
		}
		return &img.Config
	}
}

// printPatch prints what would settle findings, as a unified diff.
func (a *app) printPatch(title string, data []byte, findings []lint.Finding) error {
	var changes []manifest.Change
	for _, f := range findings {
		changes = append(changes, f.Changes()...)
	}
	patched, left := manifest.Patch(data, changes)
	for _, c := range left {
		if err := a.say("note: %s: write %s: %s by hand; the patch has no place for it", title, c.Path, c.Value); err != nil {
			return err
		}
	}
	if _, _, err := manifest.ReadTemplates(title, bytes.NewReader(patched)); err != nil {
		return fmt.Errorf("cannot patch %s: the result is no manifest: %w", title, err)
	}
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(string(data)), B: difflib.SplitLines(string(patched)),
		FromFile: title, ToFile: title, Context: 3,
	})
	if err != nil {
		return fmt.Errorf("cannot patch %s: %w", title, err)
	}
	return a.print("%s", text)
}

// linted is what -o prints.
type linted struct {
	Findings []lint.Finding     `json:"findings"`
	Count    map[lint.Level]int `json:"count"`
}

func (a *app) printFindings(f lintFlags, findings []lint.Finding) error {
	result := linted{Findings: findings, Count: map[lint.Level]int{}}
	for _, level := range lint.Levels {
		result.Count[level] = 0
	}
	for _, x := range findings {
		result.Count[x.Level]++
	}
	if f.out != "" {
		if findings == nil {
			result.Findings = []lint.Finding{}
		}
		return f.out.object(a.out, result)
	}
	for _, x := range findings {
		who := x.Object
		if x.Container != "" {
			who += ", container " + x.Container
		}
		if err := a.print("%s:%d: %s: %s: %s (%s)\n    %s; %s\n", x.File, x.Line, x.Level, who, x.Message, x.Rule, x.Reason, x.Advice); err != nil {
			return err
		}
	}
	var counts []string
	for _, level := range lint.Levels {
		if n := result.Count[level]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, plural(n, string(level))))
		}
	}
	if len(counts) == 0 {
		return a.say("nothing to say")
	}
	return a.say("%s", strings.Join(counts, ", "))
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

func (a *app) printRules(f lintFlags) error {
	if f.out != "" {
		return f.out.object(a.out, lint.Rules())
	}
	t := table{header: []string{"RULE", "LEVEL", "REASON"}}
	for _, r := range lint.Rules() {
		t.rows = append(t.rows, []string{r.ID, string(r.Level), r.Reason})
	}
	return t.print(a.out, true)
}
