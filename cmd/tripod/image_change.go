package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"tripod/internal/image"
	"tripod/internal/registry"
)

// pullFlags are the words that say how an image is fetched.
type pullFlags struct {
	o         image.PullOptions
	tlsVerify bool
	quiet     bool
}

func (p *pullFlags) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.o.Platform, "platform", "", "fetch the image for OS/ARCH[/VARIANT] instead of this host's")
	f.BoolVarP(&p.quiet, "quiet", "q", false, "show no progress")
}

func (p *pullFlags) bindRegistry(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.o.Registry.AuthFile, "authfile", "", "credentials, instead of auth.json and Docker's config.json")
	f.StringVar(&p.o.Registry.CertDir, "cert-dir", "", "certificates for the registry, instead of certs.d")
	f.BoolVar(&p.tlsVerify, "tls-verify", true, "ask for HTTPS and a valid certificate")
	f.DurationVar(&p.o.Registry.Idle, "idle-timeout", registry.DefaultIdle, "how long the registry may send nothing before the pull is given up")
}

// options are the words as the store takes them, with a progress that must be closed.
func (p *pullFlags) options(a *app) (image.PullOptions, *progress) {
	bars := newProgress(a.err, p.quiet)
	o := p.o
	o.Registry.Insecure = !p.tlsVerify
	o.Progress = bars
	return o, bars
}

func newImagePull(a *app) *cobra.Command {
	flags := pullFlags{}
	cmd := &cobra.Command{
		Use:   "pull IMAGE...",
		Short: "Fetch images",
		Long: `Fetch images, several layers at a time. What is here is not fetched again, and a pull
that broke off goes on where it ended. Prints the images' IDs.`,
		Example: "  tripod image pull nginx:1.25\n  tripod image pull oci-archive:app.tar:v1",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := a.images()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			for _, ref := range args {
				o, bars := flags.options(a)
				img, err := store.Pull(ctx, ref, o)
				bars.close()
				if err != nil {
					return err
				}
				fmt.Fprintln(a.out, img.ID)
			}
			return nil
		},
	}
	flags.bind(cmd)
	flags.bindRegistry(cmd)
	return cmd
}

func newImageRm(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "rm IMAGE...",
		Short: "Remove images",
		Long: `Remove names of images, and with an image's last name what no other image needs. One that
a container stands on is refused; --force takes its name, and its files go when the
container is gone.`,
		Example:           "  tripod image rm busybox nginx:1.25\n  tripod image rm --force app:dev",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeImages,
		RunE: func(_ *cobra.Command, args []string) error {
			store, err := a.images()
			if err != nil {
				return err
			}
			var errs []error
			for _, ref := range args {
				removed, err := store.Remove(ref, force, image.PullOptions{})
				if force && errors.Is(err, image.ErrNotFound) {
					continue
				}
				errs = append(errs, err)
				a.printRemoved(removed)
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also an image in use or with several names; no complaint about one that is not here")
	return cmd
}

func (a *app) printRemoved(removed *image.Removed) {
	if removed == nil {
		return
	}
	for _, name := range removed.Names {
		fmt.Fprintf(a.out, "Untagged: %s\n", familiar(name))
	}
	for _, d := range removed.Blobs {
		fmt.Fprintf(a.out, "Deleted: %s\n", d)
	}
}

func newImagePrune(a *app) *cobra.Command {
	var all, force bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove what no image and no container uses",
		Long: `Remove what no image and no container uses, and what killed commands left: unfinished
downloads and half-made layers. With --all also images that no container stands on.`,
		Example: "  tripod image prune\n  tripod image prune --all --force",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			store, err := a.images()
			if err != nil {
				return err
			}
			if all && !force && isTerminal(a.in) && !a.confirm("Remove all images that no container uses?") {
				return nil
			}
			removed, err := store.Prune(image.PruneOptions{All: all})
			a.printRemoved(removed)
			if removed != nil {
				fmt.Fprintf(a.out, "Total reclaimed space: %s\n", units.HumanSize(float64(removed.Bytes)))
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also images with a name")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	return cmd
}

// confirm asks a question that only y or yes affirms.
func (a *app) confirm(question string) bool {
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(io.LimitReader(a.in, 64)).ReadString('\n')
	if err != nil {
		return false
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true
	}
	return false
}

func newImageLoad(a *app) *cobra.Command {
	var input, name string
	flags := pullFlags{}
	cmd := &cobra.Command{
		Use:     "load",
		Short:   "Load images from an archive",
		Long:    "Load the images of a tar archive, compressed or not, that docker save, podman save or tripod image save wrote, or that holds an OCI layout.",
		Example: "  tripod image load -i images.tar\n  docker save nginx | tripod image load",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := a.input(input)
			if err != nil {
				return err
			}
			defer in.Close()
			store, err := a.images()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			o, bars := flags.options(a)
			loaded, err := store.Load(ctx, in, name, o)
			bars.close()
			return joined(err, eachLine(a.out, loaded, func(i *image.Image) string {
				return "Loaded image: " + strings.Join(i.Names, ", ")
			}))
		},
	}
	cmd.Flags().StringVarP(&input, "input", "i", "-", "the archive; - is standard input")
	cmd.Flags().StringVar(&name, "name", "", "name of the one image in the archive, instead of its own")
	flags.bind(cmd)
	return cmd
}

// input opens a file to read; "-" is standard input, which must not be a terminal.
func (a *app) input(name string) (*os.File, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read archive: %w", err)
		}
		return f, nil
	}
	if isTerminal(a.in) {
		return nil, misuse("name a file, or lead one in with <", "cannot read an archive from a terminal")
	}
	return a.in, nil
}

func newImageSave(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "save IMAGE...",
		Short: "Save images to an archive",
		Long: `Save images to a tar archive that is an OCI layout and that docker load, podman load and
skopeo read too.`,
		Example:           "  tripod image save -o app.tar app:v1\n  tripod image save app:v1 | ssh host tripod image load",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeImages,
		RunE: func(_ *cobra.Command, args []string) (err error) {
			store, err := a.images()
			if err != nil {
				return err
			}
			if file == "-" {
				if isTerminal(a.out) {
					return misuse("name a file with -o, or lead the archive away with >", "cannot write an archive to a terminal")
				}
				return store.Save(a.out, args, image.PullOptions{})
			}
			return writeWhole(file, 0o644, func(w io.Writer) error { return store.Save(w, args, image.PullOptions{}) })
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "-", "the archive; - is standard output")
	return cmd
}

// writeWhole makes a file that is there whole or not at all, also after a power cut.
func writeWhole(name string, mode os.FileMode, write func(io.Writer) error) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0) // such as /dev/null or a fifo
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	tmp := fmt.Sprintf("%s.%d.tmp", name, os.Getpid())
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	var wrong *fs.PathError
	if errors.As(err, &wrong) {
		return fmt.Errorf("cannot write archive %s: %w", name, wrong.Err)
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = joined(err, f.Close()); err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

func newImageImport(a *app) *cobra.Command {
	var o image.ImportOptions
	var changes []string
	flags := pullFlags{}
	cmd := &cobra.Command{
		Use:     "import FILE|- NAME",
		Short:   "Make an image from a tar of a root filesystem",
		Example: `  tar -C rootfs -c . | tripod image import -c 'CMD ["/bin/sh"]' - app:v1`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, line := range changes {
				if err := image.Change(&o.Config, line); err != nil {
					return misuse("write it as in a Dockerfile", "%w", err)
				}
			}
			in, err := a.input(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			store, err := a.images()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			var bars *progress
			o.Pull, bars = flags.options(a)
			o.Name = args[1]
			img, err := store.Import(ctx, in, o)
			bars.close()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, img.ID)
			return err
		},
	}
	cmd.Flags().StringArrayVarP(&changes, "change", "c", nil, "set CMD, ENTRYPOINT, ENV, USER, WORKDIR … as in a Dockerfile")
	cmd.Flags().StringVarP(&o.Message, "message", "m", "", "comment in the image's history")
	flags.bind(cmd)
	return cmd
}

// eachLine prints a line for each value.
func eachLine[T any](w io.Writer, values []T, line func(T) string) error {
	for _, v := range values {
		if _, err := fmt.Fprintln(w, line(v)); err != nil {
			return err
		}
	}
	return nil
}

// joined is the first of two errors that is one.
func joined(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
