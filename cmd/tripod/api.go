package main

import (
	"bytes"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// apiVerb is a verb over the API's objects, which tripod-api has: kubectl's, words, output and exit codes.
type apiVerb struct{ use, short, example string }

var apiVerbs = []apiVerb{
	{"apply -f FILE", "Make objects as manifests say", "  tripod apply -f deployment.yaml\n  tripod apply --server-side -f folder/"},
	{"get KIND [NAME]", "Print objects", "  tripod get pods -o wide\n  tripod get deploy,rs,pods -l app=web\n  tripod get pods -w"},
	{"describe KIND [NAME]", "Tell all about objects, with their events", "  tripod describe pod web\n  tripod describe node"},
	{"create KIND NAME", "Make an object", "  tripod create deployment web --image nginx --replicas 3\n  tripod create configmap settings --from-file settings.ini"},
	{"delete KIND NAME", "Delete objects", "  tripod delete deployment web\n  tripod delete -f deployment.yaml"},
	{"edit KIND NAME", "Change an object in an editor", "  tripod edit deployment web"},
	{"patch KIND NAME -p PATCH", "Change fields of an object", `  tripod patch deployment web -p '{"spec":{"paused":true}}'`},
	{"replace -f FILE", "Put objects in the place of those that are there", "  tripod replace -f deployment.yaml"},
	{"diff -f FILE", "Show what apply would change", "  tripod diff -f deployment.yaml"},
	{"label KIND NAME LABEL=VALUE", "Change labels of objects", "  tripod label pod web tier=front\n  tripod label pod web tier-"},
	{"annotate KIND NAME KEY=VALUE", "Change annotations of objects", "  tripod annotate deployment web kubernetes.io/change-cause='new image'"},
	{"set WHAT KIND NAME VALUE", "Set image, env, resources and others", "  tripod set image deployment/web nginx=nginx:1.27"},
	{"expose KIND NAME --port PORT", "Make a Service of a workload", "  tripod expose deployment web --port 80"},
	{"rollout WHAT KIND NAME", "Follow, undo, restart and pause rollouts", "  tripod rollout status deployment/web\n  tripod rollout undo deployment/web"},
	{"scale KIND NAME --replicas N", "Set the number of a workload's Pods", "  tripod scale deployment web --replicas 5"},
	{"autoscale KIND NAME --max N", "Let the number of Pods follow their load", "  tripod autoscale deployment web --min 2 --max 10 --cpu 80%"},
	{"port-forward POD PORT", "Forward ports of this host to a Pod", "  tripod port-forward deploy/web 8080:80"},
	{"debug POD", "Start a container for debugging in a Pod", "  tripod debug -it web --image busybox --target nginx"},
	{"events", "Print what happened to objects", "  tripod events --for pod/web\n  tripod events --watch"},
	{"top pods | nodes", "Print what Pods and the node use", "  tripod top pods --containers\n  tripod top node"},
	{"cordon NODE", "Let no new Pods onto the node", "  tripod cordon $(hostname)"},
	{"uncordon NODE", "Let Pods onto the node again", "  tripod uncordon $(hostname)"},
	{"drain NODE", "Evict the node's Pods", "  tripod drain $(hostname) --ignore-daemonsets"},
	{"taint NODE TAINT", "Change the node's taints", "  tripod taint node $(hostname) maintenance=yes:NoSchedule"},
	{"auth WHAT", "Ask what one may do", "  tripod auth whoami\n  tripod auth can-i create pods"},
	{"api-resources", "Print the kinds that the API has", "  tripod api-resources --namespaced=false"},
	{"api-versions", "Print the versions that the API has", "  tripod api-versions"},
	{"explain-kind KIND[.FIELD...]", "Tell about a kind and its fields, as kubectl explain", "  tripod explain-kind deployment.spec.strategy"},
	{"options", "Print the words that all verbs over the API take", "  tripod options"},
}

// newAPIVerbs makes the verbs that are tripod-api's.
func newAPIVerbs(a *app) []*cobra.Command {
	var all []*cobra.Command
	for _, v := range apiVerbs {
		all = append(all, &cobra.Command{
			Use: v.use, Short: v.short, Example: v.example,
			DisableFlagParsing: true,
			RunE:               a.becomeAPI,
			ValidArgsFunction:  a.completeAPI,
		})
	}
	return all
}

// becomeAPI executes tripod-api, which is tripod too for the verbs that it has.
func (a *app) becomeAPI(cmd *cobra.Command, args []string) error {
	return a.become("tripod-api", cmd, args, "tripod", cmd.Name())
}

// completeAPI asks tripod-api, which asks tripodd if that runs.
func (a *app) completeAPI(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if a.prepare() != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	words := slices.Concat([]string{cobra.ShellCompRequestCmd, cmd.Name(), "--root", a.root, "--run-root", a.runRoot}, args, []string{word})
	out, err := exec.Command(beside("tripod-api"), words...).Output()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return completions(out)
}

// completions reads what cobra's __complete prints: a line each, and in the last the directive.
func completions(out []byte) ([]string, cobra.ShellCompDirective) {
	lines := strings.Split(string(bytes.TrimRight(out, "\n")), "\n")
	last := len(lines) - 1
	directive, err := strconv.Atoi(strings.TrimPrefix(lines[last], ":"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return lines[:last], cobra.ShellCompDirective(directive)
}

// workloads are the kinds by which kubectl's users name Pods: logs deploy/web.
var workloads = []string{
	"pod", "pods", "po", "deployment", "deployments", "deploy", "replicaset", "replicasets", "rs", "statefulset", "statefulsets", "sts",
	"daemonset", "daemonsets", "ds", "job", "jobs", "cronjob", "cronjobs", "cj", "service", "services", "svc",
	"replicationcontroller", "replicationcontrollers", "rc", "node", "nodes", "no", "namespace", "namespaces", "ns",
	"persistentvolumeclaim", "persistentvolumeclaims", "pvc", "horizontalpodautoscaler", "horizontalpodautoscalers", "hpa",
}

// many says that what follows a kind's word chooses objects of that kind: without it, the word is the name of a Pod.
func many(rest []string) bool {
	return len(rest) > 0 && !strings.HasPrefix(rest[0], "-") || slices.ContainsFunc(rest, func(word string) bool {
		flag, _, _ := strings.Cut(word, "=")
		return flag == "-l" || flag == "--selector" || flag == "--all"
	})
}

// handsOver says that words of a verb of ours mean objects that only the API has: KIND/NAME, and for wait kinds and
// conditions that no Pod of the engine has, and for logs a selector.
func handsOver(verb string, words []string) bool {
	for i, word := range words {
		if word == "--" {
			return false
		}
		kind, _, slash := strings.Cut(word, "/")
		kind, _, _ = strings.Cut(kind, ".") // deployments.apps
		named := slices.Contains(workloads, strings.ToLower(kind))
		switch verb {
		case "exec", "attach":
			if slash && named {
				return true
			}
		case "logs":
			flag, _, _ := strings.Cut(word, "=")
			if slash && named || flag == "-l" || flag == "--selector" {
				return true
			}
		case "wait":
			goal, is := strings.CutPrefix(word, "--for=")
			if word == "--for" && i+1 < len(words) {
				goal, is = words[i+1], true
			}
			_, err := parseGoal(goal)
			if named && (slash || many(words[i+1:])) || is && err != nil && strings.Contains(goal, "=") {
				return true
			}
		}
	}
	return false
}
