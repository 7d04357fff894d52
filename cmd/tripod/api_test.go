package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestHandsOver(t *testing.T) {
	for line, want := range map[string]bool{
		"logs web": false,
		"wait pod": false,
		"wait --for=condition=Ready pod --timeout=1s": false,
		"wait pod -l app=web --for=delete":            true,
		"wait pod web":                                true,
		"logs -f web -c nginx":                        false,
		"logs deploy/web":                             true,
		"logs -f --tail 3 deployments.apps/web":       true,
		"logs -l app=web":                             true,
		"logs --selector=app=web":                     true,
		"exec -it web -c nginx -- bash":               false,
		"exec web -- ls deploy/web":                   false,
		"exec -it deploy/web -c nginx -- bash":        true,
		"exec Pod/web -- true":                        true,
		"exec web /bin/sh":                            false,
		"exec web bin/sh":                             false,
		"attach sts/db":                               true,
		"attach web":                                  false,
		"wait web":                                    false,
		"wait --for ready --timeout 30s web":          false,
		"wait --for=condition=Ready web":              false,
		"wait --for=delete web":                       false,
		"wait --for=delete pod/web":                   true,
		"wait --for=condition=Ready pod -l app=web":   true,
		"wait --for=condition=Available deploy/web":   true,
		"wait --for=jsonpath={.status.phase}=Running": true,
		"wait --for jsonpath={.a}=b certificates/x":   true,
		"wait --for rain web":                         false,
		"stop deploy/web":                             false,
		"run deploy/web":                              false,
	} {
		words := strings.Fields(line)
		if got := handsOver(words[0], words[1:]); got != want {
			t.Errorf("tripod %s: handed over %v, want %v", line, got, want)
		}
	}
}

func TestCompletions(t *testing.T) {
	for out, want := range map[string]struct {
		words     []string
		directive cobra.ShellCompDirective
	}{
		"pods\nnodes\n:4\n": {[]string{"pods", "nodes"}, cobra.ShellCompDirectiveNoFileComp},
		":0\n":              {nil, cobra.ShellCompDirectiveDefault},
		"":                  {nil, cobra.ShellCompDirectiveError},
		"pods\n":            {nil, cobra.ShellCompDirectiveError},
	} {
		if words, directive := completions([]byte(out)); !slices.Equal(words, want.words) || directive != want.directive {
			t.Errorf("%q: got %q, %d, want %q, %d", out, words, directive, want.words, want.directive)
		}
	}
}

// Each name and alias means one verb: cobra takes the first of two.
func TestVerbsHaveOneMeaning(t *testing.T) {
	seen := map[string]string{}
	for _, cmd := range newRoot(&app{}).Commands() {
		for _, name := range append([]string{cmd.Name()}, cmd.Aliases...) {
			if other, twice := seen[name]; twice {
				t.Errorf("%s means %s and %s", name, other, cmd.Name())
			}
			seen[name] = cmd.Name()
		}
	}
}
