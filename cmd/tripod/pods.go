package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"tripod/internal/sandbox"
)

// namespaceFlag makes -n, which each verb over Pods has for itself: nsenter and lsns have their own -n.
func (a *app) namespaceFlag(cmd *cobra.Command, namespace *string) {
	cmd.Flags().StringVarP(namespace, "namespace", "n", "default", "namespace of the Pod")
}

// boxes are the named Pods, in the order of the words, or all of a namespace, or of all.
func (a *app) boxes(host sandbox.Host, namespace string, all bool, words []string) ([]*sandbox.Sandbox, error) {
	if len(words) > 0 {
		var boxes []*sandbox.Sandbox
		for _, word := range words {
			box, err := host.Find(namespace, word)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(boxes, func(b *sandbox.Sandbox) bool { return b.Pod.UID == box.Pod.UID }) {
				boxes = append(boxes, box)
			}
		}
		return boxes, nil
	}
	boxes, err := host.List()
	if err != nil || all {
		return boxes, err
	}
	return slices.DeleteFunc(boxes, func(b *sandbox.Sandbox) bool { return b.Pod.Namespace != namespace }), nil
}

// selector chooses Pods by their labels, in kubectl's words.
type selector struct{ labels.Selector }

func parseSelector(word string) (selector, error) {
	s, err := labels.Parse(word)
	if err != nil {
		return selector{}, misuse("write a=b,c!=d,e,!f", "cannot read selector %q: %w", word, err)
	}
	return selector{s}, nil
}

func (s selector) matches(p *corev1.Pod) bool { return s.Matches(labels.Set(p.Labels)) }

func (s selector) choose(pods []*corev1.Pod) []*corev1.Pod {
	return slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return !s.matches(p) })
}

// where ends "No Pods found".
func where(namespace string, all bool) string {
	if all {
		return ""
	}
	return " in namespace " + namespace
}

// say tells the user something that is no output.
func (a *app) say(format string, args ...any) error {
	_, err := fmt.Fprintf(a.err, format+"\n", args...)
	return err
}

// completePods completes the names of Pods.
func (a *app) completePods(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	if a.prepare() != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	namespace := "default"
	if f := cmd.Flags().Lookup("namespace"); f != nil {
		namespace = f.Value.String()
	}
	boxes, err := a.host().List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, box := range boxes {
		if box.Pod.Namespace == namespace {
			names = append(names, box.Pod.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeContainers completes the names of the containers of the Pod that was typed.
func (a *app) completeContainers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 || a.prepare() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	box, err := a.host().Find(cmd.Flags().Lookup("namespace").Value.String(), args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, c := range slices.Concat(box.Pod.Spec.Containers, box.Pod.Spec.InitContainers) {
		names = append(names, c.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// isNotFound reports whether there is no such Pod.
func isNotFound(err error) bool { return errors.Is(err, sandbox.ErrNotFound) }

// podExitCode is the exit code of the first container that failed, 0 if none did.
func podExitCode(pod *corev1.Pod) int {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		for _, e := range []*corev1.ContainerStateTerminated{s.State.Terminated, s.LastTerminationState.Terminated} {
			if e != nil && e.ExitCode != 0 {
				return int(e.ExitCode)
			}
			if e != nil {
				break
			}
		}
	}
	return 0
}

// container is the container that a word means; without one it is the Pod's first, which is said when there are others.
func (a *app) container(box *sandbox.Sandbox, word string) (corev1.Container, error) {
	c, err := box.Container(word)
	if err == nil && word == "" && len(box.Pod.Spec.Containers) > 1 {
		err = a.say("container %s of Pod %s; -c chooses another", c.Name, box)
	}
	return c, err
}
