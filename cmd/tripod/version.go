package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=…).
var version = "dev"

// versionInfo is what tripod version prints.
type versionInfo struct {
	Version    string `json:"version"`
	Commit     string `json:"commit,omitempty"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
	Kubernetes string `json:"kubernetes,omitempty"`
	Keeper     string `json:"keeper"`
}

func newVersion(a *app) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  tripod version -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := o.check([]string{"json", "yaml", "jsonpath=TEMPLATE"}); err != nil {
				return err
			}
			v := a.version()
			if o != "" {
				return o.object(a.out, v)
			}
			_, err := fmt.Fprintf(a.out, "tripod %s (%s, %s, Kubernetes %s)\n", v.Version, v.Go, v.Platform, v.Kubernetes)
			return err
		},
	}
	bindOutput(cmd, &o, "json", "yaml", "jsonpath=TEMPLATE")
	return cmd
}

func (a *app) version() versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Keeper: a.host().Keeper}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
		for _, m := range info.Deps {
			if m.Path == "k8s.io/kubernetes" {
				v.Kubernetes = m.Version
			}
		}
	}
	return v
}
