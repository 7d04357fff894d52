// Command tripod-api is tripod's verbs over the API's objects: kubectl's own commands, spoken to tripodd's socket.
// tripod executes it for apply, get, describe and the others, so that tripod itself stays free of their weight.
package main

import (
	"flag"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

var version = "unknown" // set by the linker

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	if err := newRoot(streams).Execute(); err != nil {
		cmdutil.CheckErr(err)
	}
}

func newRoot(streams genericiooptions.IOStreams) *cobra.Command {
	c := &client{daemon: beside("tripodd"), say: streams.ErrOut}
	root := &cobra.Command{
		Use:               "tripod",
		Short:             "Speak to the API of this host",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			rest.SetDefaultWarningHandler(rest.NewWarningWriter(streams.ErrOut,
				rest.WarningWriterOptions{Deduplicate: true, Color: printers.AllowsColorOutput(streams.ErrOut)}))
			c.quiet = cmd.Name() == cobra.ShellCompRequestCmd
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.root, "root", env("TRIPOD_ROOT", "/var/lib/tripod"), "where images, volumes and logs are kept (TRIPOD_ROOT)")
	flags.StringVar(&c.runRoot, "run-root", env("TRIPOD_RUN_ROOT", "/run/tripod"), "where running Pods are kept (TRIPOD_RUN_ROOT)")
	flags.StringVar(&c.socket, "socket", "", "where tripodd listens; tripod.sock in --run-root if empty")
	flags.StringVarP(&c.namespace, "namespace", "n", "", "namespace of the objects; default if empty")
	flags.StringVar(&c.timeout, "request-timeout", "0", "give one request up after this time: 1s, 2m; 0 is never")
	logging := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(logging)
	flags.AddGoFlag(logging.Lookup("v"))
	addVerbs(root, c, streams)
	root.AddCommand(newMan())
	return root
}

// newMan writes the manual pages of the verbs that tripod does not have itself, as tripod man does its own.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			root.DisableAutoGenTag = true
			for _, verb := range root.Commands() {
				if verb.Hidden {
					root.RemoveCommand(verb)
				}
			}
			for _, verb := range root.Commands() {
				header := &doc.GenManHeader{Section: "1", Source: "tripod " + version, Manual: "Tripod"}
				if err := doc.GenManTree(verb, header, args[0]); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// env is the value of a variable of the environment, or what holds without it.
func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// beside is the path of a program of ours: it lies beside this one.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}
