package main

import (
	"fmt"
	"os/exec"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newCompletion(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:       "completion bash|zsh|fish",
		Short:     "Print a shell's completion script",
		Example:   "  source <(tripod completion bash)\n  tripod completion fish > ~/.config/fish/completions/tripod.fish",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch root := cmd.Root(); args[0] {
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			default:
				return root.GenBashCompletionV2(a.out, true)
			}
		},
	}
}

// newMan writes the manual pages; packages are built with it.
func newMan(*app) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write manual pages into a folder",
		Example: "  tripod man /usr/local/share/man/man1",
		Hidden:  true,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := doc.GenManTree(root, &doc.GenManHeader{Title: "TRIPOD", Section: "1", Source: "tripod " + version, Manual: "Tripod"}, args[0]); err != nil {
				return err
			}
			// The pages of the verbs over the API tell more, and of verbs below them.
			if out, err := exec.Command(beside("tripod-api"), "man", args[0]).CombinedOutput(); err != nil {
				return fmt.Errorf("cannot write the pages of tripod-api: %w: %s", err, out)
			}
			return nil
		},
	}
}
