package main

import (
	"context"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/duration"

	"tripod/internal/image"
)

// newImageCommand is the noun image and its verbs.
func newImageCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:        "image",
		Aliases:    []string{"images"},
		SuggestFor: []string{"pull", "rmi", "load", "save", "import"},
		Short:      "Pull, list, remove, save and load images",
		Long: `Pull, list, remove, save and load images.

An image is named as in docker (nginx, nginx:1.25, quay.io/org/app@sha256:…), or by a
transport: host:/ (this host's own programs), dir:PATH (a root filesystem),
oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME].`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newImagePull(a), newImageLs(a), newImageInspect(a), newImageRm(a), newImagePrune(a),
		newImageLoad(a), newImageSave(a), newImageImport(a),
	)
	return cmd
}

// images opens the store of images.
func (a *app) images() (*image.Store, error) { return image.Open(real(a.root)) }

// interruptible ends its context at Ctrl-C, so that what is unfinished is tidied or kept for the next time.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
}

// completeImages completes the names of images that are here.
func (a *app) completeImages(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	if a.prepare() != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	store, err := a.images()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	all, err := store.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, img := range all {
		for _, name := range img.Names {
			names = append(names, familiar(name))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newImageLs(a *app) *cobra.Command {
	var (
		quiet, bare, full bool
		o                 output
	)
	words := []string{"json", "yaml", "name", "jsonpath=TEMPLATE"}
	cmd := &cobra.Command{
		Use:               "ls [NAME...]",
		Aliases:           []string{"list"},
		Short:             "List images",
		Long:              "List the images that are here. SIZE is that of the unpacked files; layers that images share are counted for each.",
		Example:           "  tripod image ls\n  tripod image ls nginx -q",
		ValidArgsFunction: a.completeImages,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.check(words); err != nil {
				return err
			}
			store, err := a.images()
			if err != nil {
				return err
			}
			all, err := store.List()
			all = chooseImages(all, args)
			switch {
			case quiet:
				return joined(err, eachLine(a.out, all, func(i *image.Image) string { return shortID(i, full) }))
			case o == "name":
				return joined(err, eachLine(a.out, all, func(i *image.Image) string { return strings.Join(i.Names, "\n") }))
			case o != "":
				return joined(err, o.object(a.out, listOf(all)))
			}
			return joined(err, imageTable(all, full, time.Now()).print(a.out, !bare))
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&quiet, "quiet", "q", false, "print IDs only")
	f.BoolVar(&bare, "no-headers", false, "print no header")
	f.BoolVar(&full, "no-trunc", false, "print whole IDs")
	bindOutput(cmd, &o, words...)
	return cmd
}

// imageTable has a row a name, in docker's columns.
func imageTable(all []*image.Image, full bool, now time.Time) table {
	t := table{header: []string{"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"}}
	for _, img := range all {
		created := "<unknown>"
		if img.Created.Unix() > 0 {
			created = duration.HumanDuration(now.Sub(img.Created)) + " ago"
		}
		names := img.Names
		if len(names) == 0 {
			names = []string{"<none>:<none>"}
		}
		for _, name := range names {
			repository, tag := splitName(name)
			t.rows = append(t.rows, []string{repository, tag, shortID(img, full), created, units.HumanSize(float64(img.Disk))})
		}
	}
	return t
}

// splitName is the repository and the tag, or digest, of a full name; a transport's name stays whole.
func splitName(name string) (repository, tag string) {
	if strings.Contains(name, ":/") {
		return name, "<none>"
	}
	if repository, digest, ok := strings.Cut(familiar(name), "@"); ok {
		return repository, digest
	}
	i := strings.LastIndexByte(name, ':')
	if i < 0 {
		return familiar(name), "<none>"
	}
	return strings.TrimSuffix(familiar(name), name[i:]), name[i+1:]
}

// familiar is the short form of a name that people type: nginx:1.25 for docker.io/library/nginx:1.25.
func familiar(name string) string {
	return strings.TrimPrefix(strings.TrimPrefix(name, "docker.io/library/"), "docker.io/")
}

// shortID is docker's: twelve digits of the config's digest.
func shortID(img *image.Image, full bool) string {
	if full {
		return img.ID.String()
	}
	return img.ID.Encoded()[:12]
}

// chooseImages keeps the images one of whose names begins with one of the words, all without words.
func chooseImages(all []*image.Image, words []string) []*image.Image {
	if len(words) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(img *image.Image) bool {
		return !slices.ContainsFunc(img.Names, func(name string) bool {
			repository, _ := splitName(name)
			return slices.Contains(words, repository) || slices.Contains(words, name) || slices.Contains(words, familiar(name))
		})
	})
}

func newImageInspect(a *app) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:               "inspect IMAGE...",
		Short:             "Print all that is known of images",
		Example:           "  tripod image inspect nginx -o jsonpath='{.config.config.Env}'",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeImages,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.check(objectOutputs); err != nil {
				return err
			}
			store, err := a.images()
			if err != nil {
				return err
			}
			var found []*image.Image
			for _, ref := range args {
				img, err := store.Resolve(ref, image.PullOptions{})
				if err != nil {
					return err
				}
				found = append(found, img)
			}
			if o == "name" {
				return eachLine(a.out, found, func(i *image.Image) string { return strings.Join(i.Names, "\n") })
			}
			if len(found) == 1 {
				return o.object(a.out, found[0])
			}
			return o.object(a.out, listOf(found))
		},
	}
	bindOutput(cmd, &o, objectOutputs...)
	return cmd
}
