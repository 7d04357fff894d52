package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tripod/contrib/systemd"
	"tripod/internal/record"
)

// unitMark begins the unit files that are ours to replace and to remove.
const unitMark = "# Written by tripod service install; tripod service uninstall removes it.\n"

// service is tripodd as systemd's service.
type service struct {
	a      *app
	dir    string                // of the unit files
	booted bool                  // systemd is this host's init
	call   func(...string) error // systemctl
}

func newService(a *app) *cobra.Command {
	s := &service{a: a, call: systemctl}
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Make tripodd a service of this host's systemd",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&s.dir, "unit-dir", "/etc/systemd/system", "where the unit files are")
	cmd.AddCommand(s.install(), s.uninstall(), s.status())
	return cmd
}

func (s *service) install() *cobra.Command {
	var verify bool
	cmd := &cobra.Command{
		Use:   "install [-- FLAG...]",
		Short: "Write the units, and start tripodd now and at boot",
		Long: `Write tripod.service and tripod.socket, and where systemd runs, enable and start them. What stands
behind -- is given to tripodd. With --verify, how the host is now is written down, for
tripod service uninstall --verify to compare with.`,
		Example: "  tripod service install\n  tripod service install --verify -- --listen 127.0.0.1:7443",
		RunE: func(_ *cobra.Command, flags []string) error {
			s.look()
			if verify {
				if err := s.remember(); err != nil {
					return err
				}
			}
			return s.doInstall(flags)
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "write down how the host is before")
	return cmd
}

func (s *service) uninstall() *cobra.Command {
	var verify bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Stop tripodd and remove its units",
		Long: `Stop tripodd and remove its units. Pods run on, and objects and images stay. With --verify, mounts,
firewall rules, links, cgroups and files are compared with how they were at
tripod service install --verify; the exit code is 1 when something is left or gone.`,
		Example: "  tripod service uninstall --verify",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s.look()
			var before host
			if verify {
				if err := record.Get(s.memory(), &before); err != nil {
					return &usageError{err: err, hint: "it is written by tripod service install --verify"}
				}
			}
			if err := s.doUninstall(); err != nil {
				return err
			}
			if !verify {
				return nil
			}
			return s.compare(before)
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "compare the host with how it was before")
	return cmd
}

func (s *service) status() *cobra.Command {
	var verify bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Tell whether tripodd is installed, runs and answers",
		Example: "  tripod service status\n  tripod service status --verify",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.look()
			for _, name := range []string{systemd.ServiceName, systemd.SocketName} {
				word := "installed"
				if _, err := os.Stat(filepath.Join(s.dir, name)); err != nil {
					word = "not installed"
				}
				fmt.Fprintf(s.a.out, "%-15s %s\n", name, word)
			}
			if err := ready(cmd.Context(), s.socket()); err != nil {
				fmt.Fprintf(s.a.out, "%-15s does not answer: %v\n", "tripodd", err)
				return &exitError{code: 1}
			}
			fmt.Fprintf(s.a.out, "%-15s ready at %s\n", "tripodd", s.socket())
			if !verify {
				return nil
			}
			var before host
			if err := record.Get(s.memory(), &before); err != nil {
				return &usageError{err: err, hint: "it is written by tripod service install --verify"}
			}
			return s.compare(before)
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "compare the host with how it was before the installation")
	return cmd
}

func (s *service) look() {
	_, err := os.Stat("/run/systemd/system")
	s.booted = err == nil
}

func (s *service) socket() string { return filepath.Join(s.a.runRoot, "tripod.sock") }

// units are the texts of both unit files, for our folders and with flags for tripodd.
func (s *service) units(flags []string) map[string]string {
	args := []string{beside("tripodd")}
	if s.a.root != "/var/lib/tripod" {
		args = append(args, "--root", s.a.root)
	}
	if s.a.runRoot != "/run/tripod" {
		args = append(args, "--run-root", s.a.runRoot)
	}
	for i, arg := range append(args, flags...) {
		if i == 0 {
			args = nil
		}
		args = append(args, unitWord(arg))
	}
	return map[string]string{
		systemd.ServiceName: unitMark + strings.Replace(systemd.Service, "ExecStart="+systemd.Program, "ExecStart="+strings.Join(args, " "), 1),
		systemd.SocketName:  unitMark + strings.Replace(systemd.Socket, "/run/tripod/tripod.sock", strings.ReplaceAll(s.socket(), "%", "%%"), 1),
	}
}

// unitWord is a word of a command line as systemd reads it.
func unitWord(arg string) string {
	arg = strings.NewReplacer("%", "%%", "$", "$$", `\`, `\\`).Replace(arg)
	if strings.ContainsAny(arg, " \t\"';") || arg == "" {
		arg = `"` + strings.ReplaceAll(arg, `"`, `\"`) + `"`
	}
	return arg
}

func (s *service) doInstall(flags []string) error {
	units := s.units(flags)
	for _, name := range []string{systemd.ServiceName, systemd.SocketName} {
		if err := s.ours(name); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("cannot write units: %w", err)
	}
	for _, name := range []string{systemd.ServiceName, systemd.SocketName} {
		path := filepath.Join(s.dir, name)
		if err := record.PutBytes(path, []byte(units[name])); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o644); err != nil {
			return fmt.Errorf("cannot write unit %s: %w", path, err)
		}
		fmt.Fprintf(s.a.out, "wrote %s\n", path)
	}
	if !s.booted {
		fmt.Fprintf(s.a.out, "systemd does not run on this host: start tripodd by hand, or let systemd take the units at boot with\n  systemctl enable %s\n", systemd.ServiceName)
		return nil
	}
	for _, words := range [][]string{
		{"daemon-reload"},
		{"enable", systemd.ServiceName, systemd.SocketName},
		{"restart", systemd.SocketName, systemd.ServiceName}, // also when an older one ran
	} {
		if err := s.call(words...); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.a.out, "tripodd runs, now and from each boot on, at %s\n", s.socket())
	return nil
}

func (s *service) doUninstall() error {
	var there []string
	for _, name := range []string{systemd.ServiceName, systemd.SocketName} {
		if err := s.ours(name); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(s.dir, name)); err == nil {
			there = append(there, name)
		}
	}
	if s.booted && len(there) > 0 {
		if err := s.call(append([]string{"disable", "--now"}, there...)...); err != nil {
			return err
		}
	}
	for _, name := range there {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
			return fmt.Errorf("cannot remove unit: %w", err)
		}
		fmt.Fprintf(s.a.out, "removed %s\n", filepath.Join(s.dir, name))
	}
	if s.booted {
		if err := s.call("daemon-reload"); err != nil {
			return err
		}
	}
	return s.sweep()
}

// sweep removes what a daemon that is gone leaves in the folder of what runs.
func (s *service) sweep() error {
	lock, err := record.Try(filepath.Join(s.a.runRoot, "tripodd.lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot clean up: %w", err)
	}
	for _, name := range []string{"tripod.sock", "tripodd.log", "tripodd.start"} {
		if err := os.Remove(filepath.Join(s.a.runRoot, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, lock.Release())
		}
	}
	if err := lock.Remove(); err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(s.a.runRoot, "pods")) // both only when they are empty
	_ = os.Remove(s.a.runRoot)
	return nil
}

// ours refuses a unit file that somebody else wrote.
func (s *service) ours(name string) error {
	path := filepath.Join(s.dir, name)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read unit: %w", err)
	}
	if err == nil && !bytes.HasPrefix(text, []byte(unitMark)) {
		return misuse("move it away", "cannot replace unit %s: tripod did not write it", path)
	}
	return nil
}

// memory is where the host of before is written down.
func (s *service) memory() string { return filepath.Join(s.a.root, "service-before.json") }

func (s *service) remember() error {
	now := s.host()
	if err := os.MkdirAll(s.a.root, 0o755); err != nil {
		return fmt.Errorf("cannot write down the host: %w", err)
	}
	return record.Put(s.memory(), now)
}

// compare tells what is not as it was.
func (s *service) compare(before host) error {
	left := differences(before, s.host())
	for _, line := range left {
		fmt.Fprintln(s.a.out, line)
	}
	if len(left) > 0 {
		return &exitError{code: 1, err: fmt.Errorf("cannot say that the host is as it was: %d differences", len(left))}
	}
	fmt.Fprintln(s.a.out, "the host is as it was")
	return nil
}

// ready asks tripodd whether it is.
func ready(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://tripod/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

func systemctl(words ...string) error {
	out, err := exec.Command("systemctl", words...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run systemctl %s: %w: %s", strings.Join(words, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
