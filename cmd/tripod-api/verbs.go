package main

import (
	"regexp"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd/annotate"
	"k8s.io/kubectl/pkg/cmd/apiresources"
	"k8s.io/kubectl/pkg/cmd/apply"
	"k8s.io/kubectl/pkg/cmd/attach"
	"k8s.io/kubectl/pkg/cmd/auth"
	"k8s.io/kubectl/pkg/cmd/autoscale"
	"k8s.io/kubectl/pkg/cmd/create"
	"k8s.io/kubectl/pkg/cmd/debug"
	"k8s.io/kubectl/pkg/cmd/delete"
	"k8s.io/kubectl/pkg/cmd/describe"
	"k8s.io/kubectl/pkg/cmd/diff"
	"k8s.io/kubectl/pkg/cmd/drain"
	"k8s.io/kubectl/pkg/cmd/edit"
	"k8s.io/kubectl/pkg/cmd/events"
	"k8s.io/kubectl/pkg/cmd/exec"
	"k8s.io/kubectl/pkg/cmd/explain"
	"k8s.io/kubectl/pkg/cmd/expose"
	"k8s.io/kubectl/pkg/cmd/get"
	"k8s.io/kubectl/pkg/cmd/label"
	"k8s.io/kubectl/pkg/cmd/logs"
	"k8s.io/kubectl/pkg/cmd/options"
	"k8s.io/kubectl/pkg/cmd/patch"
	"k8s.io/kubectl/pkg/cmd/portforward"
	"k8s.io/kubectl/pkg/cmd/replace"
	"k8s.io/kubectl/pkg/cmd/rollout"
	"k8s.io/kubectl/pkg/cmd/scale"
	"k8s.io/kubectl/pkg/cmd/set"
	"k8s.io/kubectl/pkg/cmd/taint"
	"k8s.io/kubectl/pkg/cmd/top"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/cmd/wait"
	"k8s.io/kubectl/pkg/util/completion"
	"k8s.io/kubectl/pkg/util/templates"
)

// native are the verbs that tripod has itself; it hands a command line of these over when only the API can answer it. Its
// own explain tells of Pods, so kubectl's is called explain-kind.
var native = []string{"attach", "exec", "logs", "wait"}

// addVerbs gives root kubectl's commands.
func addVerbs(root *cobra.Command, c *client, s genericiooptions.IOStreams) {
	f := cmdutil.NewFactory(cmdutil.NewMatchVersionFlags(c)) // which gives configs the version that some commands count on
	completion.SetFactoryForCompletion(f)
	completesNames := func(cmd *cobra.Command) *cobra.Command {
		cmd.ValidArgsFunction = completion.ResourceTypeAndNameCompletionFunc(f)
		return cmd
	}
	kinds := explain.NewCmdExplain("tripod", f, s)
	kinds.Use = "explain-kind TYPE [--recursive=FALSE|TRUE] [--api-version=api-version-group]"
	groups := templates.CommandGroups{
		{Message: "Objects:", Commands: []*cobra.Command{
			apply.NewCmdApply("tripod", f, s), completesNames(get.NewCmdGet("tripod", f, s)), describe.NewCmdDescribe("tripod", f, s),
			create.NewCmdCreate(f, s), delete.NewCmdDelete(f, s), edit.NewCmdEdit(f, s), patch.NewCmdPatch(f, s),
			replace.NewCmdReplace(f, s), diff.NewCmdDiff(f, s), label.NewCmdLabel(f, s), annotate.NewCmdAnnotate("tripod", f, s),
			set.NewCmdSet(f, s), expose.NewCmdExposeService(f, s),
		}},
		{Message: "Workloads:", Commands: []*cobra.Command{
			rollout.NewCmdRollout("tripod", f, s), scale.NewCmdScale(f, s), autoscale.NewCmdAutoscale(f, s), wait.NewCmdWait(f, s),
		}},
		{Message: "Pods:", Commands: []*cobra.Command{
			logs.NewCmdLogs(f, s), exec.NewCmdExec(f, s), attach.NewCmdAttach(f, s), portforward.NewCmdPortForward(f, s),
			completesNames(debug.NewCmdDebug(f, s)), events.NewCmdEvents(f, s), top.NewCmdTop(f, s),
		}},
		{Message: "The node and the API:", Commands: []*cobra.Command{
			drain.NewCmdCordon(f, s), drain.NewCmdUncordon(f, s), drain.NewCmdDrain(f, s), taint.NewCmdTaint(f, s), auth.NewCmdAuth(f, s),
			apiresources.NewCmdAPIResources(f, s), apiresources.NewCmdAPIVersions(f, s), kinds,
		}},
	}
	groups.Add(root)
	templates.ActsAsRootCommand(root, []string{"options"}, groups...)
	root.AddCommand(options.NewCmdOptions(s.Out))
	for _, cmd := range root.Commands() {
		cmd.Hidden = cmd.Hidden || slices.Contains(native, cmd.Name())
		rename(cmd)
	}
}

// kubectl is the name in texts that are told to type it, not a part of another name (kubectl.kubernetes.io, kubectl-create).
var kubectl = regexp.MustCompile(`\bkubectl( |$|")`)

// rename makes the texts of a command and of those below it say tripod where they say what to type.
func rename(cmd *cobra.Command) {
	for _, text := range []*string{&cmd.Short, &cmd.Long, &cmd.Example} {
		*text = kubectl.ReplaceAllString(*text, "tripod$1")
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { f.Usage = kubectl.ReplaceAllString(f.Usage, "tripod$1") })
	for _, sub := range cmd.Commands() {
		rename(sub)
	}
}
