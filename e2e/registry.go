package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"
)

// Fill pushes images into a registry's storage folder, through a registry server that runs as long as that takes.
func Fill(storage string, images []Tagged) error {
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	server, err := Serve(storage, addr)
	if err != nil {
		return err
	}
	for _, img := range images {
		ref, perr := name.NewTag(addr+"/"+img.Name, name.Insecure)
		switch {
		case perr != nil:
			err = perr
		case img.Index != nil:
			err = remote.WriteIndex(ref, img.Index)
		default:
			err = remote.Write(ref, img.Image)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("cannot push %s: %w", img.Name, err), server.Stop())
		}
	}
	return server.Stop()
}

// Server is a running registry.
type Server struct {
	cmd    *exec.Cmd
	config string
}

// Serve starts Debian's docker-registry over a storage folder and waits until it answers. It runs in the network namespace
// of the calling thread and ends with that thread's process.
func Serve(storage, addr string) (*Server, error) {
	config, err := os.CreateTemp("", "registry-*.yml")
	if err != nil {
		return nil, err
	}
	s := &Server{config: config.Name()}
	_, err = fmt.Fprintf(config, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}, cache: {blobdescriptor: inmemory}}
http: {addr: %q}
`, storage, addr)
	if err = errors.Join(err, config.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(s.config))
	}
	s.cmd = exec.Command("docker-registry", "serve", s.config)
	s.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	log, err := os.Create(s.config + ".log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the registry: %w (Debian: docker-registry)", err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return s, conn.Close()
		}
		if time.Now().After(deadline) || s.cmd.Process.Signal(unix.Signal(0)) != nil {
			said, _ := os.ReadFile(log.Name())
			return nil, errors.Join(fmt.Errorf("cannot reach the registry at %s: %w: %s", addr, err, said), s.Stop())
		}
	}
}

// Stop ends the server and takes its files away.
func (s *Server) Stop() error {
	err := s.cmd.Process.Signal(unix.SIGKILL)
	if werr := s.cmd.Wait(); werr != nil && s.cmd.ProcessState == nil {
		err = errors.Join(err, werr)
	}
	return errors.Join(err, os.Remove(s.config), os.Remove(s.config+".log"))
}

// freeAddress is a port of loopback that nobody listened on a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
