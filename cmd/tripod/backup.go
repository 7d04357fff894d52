package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"tripod/internal/objects"
	"tripod/internal/record"
)

// objectsDir is where tripodd keeps the API's objects.
func (a *app) objectsDir() string { return filepath.Join(a.root, "objects") }

func newBackup(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE|-",
		Short: "Save the API's objects",
		Long: `Save the objects that tripodd keeps, as they are at one moment, to a file that only its
owner may read: Secrets are in it. tripodd may run meanwhile. Images, volumes and logs are
not objects.`,
		Example: "  tripod backup objects.bak\n  tripod backup - | ssh host 'cat >objects.bak'",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			save := func(w io.Writer) error { return objects.Backup(a.objectsDir(), w) }
			var err error
			switch {
			case args[0] != "-":
				err = writeWhole(args[0], 0o600, save)
			case isTerminal(a.out):
				return misuse("name a file, or lead the backup away with >", "cannot write a backup to a terminal")
			default:
				err = save(a.out)
			}
			if _, none := os.Stat(a.objectsDir()); err != nil && errors.Is(none, fs.ErrNotExist) {
				return &usageError{err: err, hint: "tripodd has kept nothing below " + a.root + "; --root names another folder"}
			}
			return err
		},
	}
}

func newRestore(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE|-",
		Short: "Bring the API's objects back from a backup",
		Long: `Bring back the objects of a backup, before tripodd is started. They never go over those
that are here: move the folder objects below --root away first. What clients remember of
versions from before does not hold, and they are told so.`,
		Example: "  tripod restore objects.bak\n  ssh host tripod backup - | tripod restore -",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			in, err := a.input(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			dir := a.objectsDir()
			switch err := objects.Restore(dir, in); {
			case errors.Is(err, record.ErrLocked):
				return &usageError{err: err, hint: "stop tripodd first"}
			case errors.Is(err, objects.ErrNotEmpty):
				return &usageError{err: err, hint: "move it away first: mv " + dir + " " + dir + ".old"}
			default:
				return err
			}
		},
	}
}
