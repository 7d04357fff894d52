// Package lint holds Pod templates to the practices that keep a Pod well-behaved: limits, probes, a user that is not
// root, a clean end. It decides only: templates and images in, findings out.
//
// Words: a Rule is one practice, with its reason. A Finding is one place where a manifest does not follow it; it names
// the field to write, and has a Change where the field can be written without knowing the program. Levels: an error
// will hurt (a root shell on the host, a program that is not started), a warning hurts sooner or later, a note is
// advice.
//
// The measure are the checks of kube-score and kube-linter that look at Pod templates; docs/lint.md compares them.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/manifest"
)

// Level is how bad a finding is.
type Level string

// The levels, the worst first.
const (
	Error   Level = "error"
	Warning Level = "warning"
	Note    Level = "note"
)

// Levels are all levels, the worst first.
var Levels = []Level{Error, Warning, Note}

// AtLeast says whether a level is as bad as another, or worse.
func (l Level) AtLeast(other Level) bool {
	return slices.Index(Levels, l) <= slices.Index(Levels, other)
}

// Rule is one practice.
type Rule struct {
	ID     string `json:"id"`
	Level  Level  `json:"level"`
	Reason string `json:"reason"` // why it matters, a sentence

	// One of these looks: at a template, or at each of its containers.
	template  func(*subject)
	container func(*subject, *container)
}

// Finding is one place that does not follow a rule.
type Finding struct {
	Rule      string `json:"rule"`
	Level     Level  `json:"level"`
	File      string `json:"file"`
	Line      int    `json:"line"`
	Object    string `json:"object"` // Deployment web
	Container string `json:"container,omitempty"`
	Field     string `json:"field"`
	Message   string `json:"message"` // what is there
	Reason    string `json:"reason"`
	Advice    string `json:"advice"` // what to write

	changes []manifest.Change
}

// Changes are the fields that would settle the finding, when that is known.
func (f *Finding) Changes() []manifest.Change { return f.changes }

// Image is the configuration of an image that is here, or nil.
type Image func(ref string) *ocispec.Image

// Options chooses rules. Its zero value is all of them.
type Options struct {
	Only   []string // these rules alone
	Ignore []string // all but these
}

// Unknown gives the first ID that is no rule's, or "".
func (o Options) Unknown() string {
	for _, id := range slices.Concat(o.Only, o.Ignore) {
		if !slices.ContainsFunc(rules, func(r Rule) bool { return r.ID == id }) {
			return id
		}
	}
	return ""
}

// Rules are all rules, by their IDs.
func Rules() []Rule { return slices.Clone(rules) }

// subject is one template while a rule looks at it.
type subject struct {
	*manifest.Template
	image      Image
	containers []container
	rule       *Rule
	found      []Finding
}

// container is one container of it.
type container struct {
	*corev1.Container
	path  string // "spec.template.spec.containers[0]"
	init  bool   // it runs to its end before others begin
	image *ocispec.Image
}

// Check holds templates to the rules. The findings are in the order of files and lines.
func Check(templates []manifest.Template, image Image, o Options) []Finding {
	var all []Finding
	for i := range templates {
		all = append(all, check(&templates[i], image, o)...)
	}
	return all
}

func check(t *manifest.Template, image Image, o Options) []Finding {
	s := &subject{Template: t, image: image}
	ignored := append(slices.Clone(o.Ignore), ignoredBy(t)...)
	s.containers = s.look()
	for i := range rules {
		s.rule = &rules[i]
		if len(o.Only) > 0 && !slices.Contains(o.Only, s.rule.ID) || slices.Contains(ignored, s.rule.ID) {
			continue
		}
		if s.rule.template != nil {
			s.rule.template(s)
			continue
		}
		for j := range s.containers {
			s.rule.container(s, &s.containers[j])
		}
	}
	slices.SortStableFunc(s.found, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	return s.found
}

// ignoredBy are the rules that the object or its template names in its annotation.
func ignoredBy(t *manifest.Template) []string {
	var ids []string
	for _, annotations := range []map[string]string{t.Annotations, t.Pod.Annotations} {
		for id := range strings.SplitSeq(annotations[manifest.AnnotationLint], ",") {
			ids = append(ids, strings.TrimSpace(id))
		}
	}
	return ids
}

// look finds the template's containers and what is known of their images.
func (s *subject) look() []container {
	var all []container
	lists := []struct {
		name string
		list []corev1.Container
	}{{"initContainers", s.Pod.Spec.InitContainers}, {"containers", s.Pod.Spec.Containers}}
	for _, l := range lists {
		for i := range l.list {
			c := container{Container: &l.list[i], path: fmt.Sprintf("%sspec.%s[%d]", s.At, l.name, i)}
			always := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
			c.init = l.name == "initContainers" && !always
			if s.image != nil {
				c.image = s.image(c.Image)
			}
			all = append(all, c)
		}
	}
	return all
}

// ends says that the Pod's containers are to come to an end.
func (s *subject) ends() bool {
	return s.Kind == "Job" || s.Pod.Spec.RestartPolicy != corev1.RestartPolicyAlways
}

// field is the path of a field of the Pod's spec.
func (s *subject) field(name string) string { return s.At + "spec." + name }

// report adds a finding at a field of the template.
func (s *subject) report(field, advice, format string, args ...any) *Finding {
	s.found = append(s.found, Finding{
		Rule: s.rule.ID, Level: s.rule.Level, Reason: s.rule.Reason,
		File: s.File, Line: s.LineOf(field), Object: s.Kind + " " + s.Namespaced(),
		Field: field, Message: fmt.Sprintf(format, args...), Advice: advice,
	})
	return &s.found[len(s.found)-1]
}

// reportIn adds a finding at a field of a container.
func (s *subject) reportIn(c *container, field, advice, format string, args ...any) *Finding {
	f := s.report(c.path+"."+field, advice, format, args...)
	f.Container = c.Name
	return f
}

// fix adds a field that settles the finding.
func (f *Finding) fix(s *subject, path, value, comment string) {
	f.changes = append(f.changes, s.Change(path, value, comment))
}
