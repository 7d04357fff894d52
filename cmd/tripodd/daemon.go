package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"tripod/internal/api"
	"tripod/internal/controllers"
	"tripod/internal/node"
	"tripod/internal/objects"
	"tripod/internal/pki"
	"tripod/internal/registry"
	"tripod/internal/static"
)

const (
	// collectAt is how much garbage, in percent of what lives, is made before it is collected: a daemon of a few hundred
	// objects has time, and its memory is the Pods' loss.
	collectAt = 50
	// finishWithin is how long requests that end by themselves may take to, once the daemon is to stop.
	finishWithin = 10 * time.Second
)

// daemon is one tripodd.
type daemon struct {
	options
	log         *slog.Logger
	store       *objects.Store
	api         *api.Server
	node        *node.Node
	controllers *controllers.Controllers
	meter       *meter

	begun    atomic.Bool     // all doors are open
	draining context.Context // done when no new request is taken, and those that last are to end
	drain    context.CancelFunc
}

// run is the daemon's life: it listens first, so that who dials waits instead of being refused, answers as soon as the
// objects are read, and starts the rest behind that.
func run(ctx context.Context, o options, log *slog.Logger) error {
	slog.SetDefault(log)
	controllers.RouteLog(log)
	registry.RouteLog()
	held, err := claim(o.root, o.runRoot)
	if err != nil {
		return err
	}
	defer held.Close()
	for _, dir := range []*string{&o.root, &o.runRoot} {
		if *dir, err = filepath.EvalSymlinks(*dir); err != nil { // the kernel tells paths so
			return fmt.Errorf("cannot use folder: %w", err)
		}
	}
	socket, err := inherited()
	if err == nil && socket == nil {
		socket, err = listenUnix(o.socket)
	}
	if err != nil {
		return err
	}
	defer socket.Close()
	d, err := open(o, log)
	if err != nil {
		return err
	}
	defer d.close()
	return d.live(ctx, socket)
}

// open reads the objects and makes what answers for them.
func open(o options, log *slog.Logger) (*daemon, error) {
	d := &daemon{options: o, log: log}
	var err error
	if d.store, err = objects.Open(filepath.Join(o.root, "objects"), api.Codec(), objects.Options{Log: log}); err != nil {
		return nil, err
	}
	if d.api, err = api.New(api.Config{Store: d.store, Log: log, PKI: d.pki()}); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	if d.controllers, err = controllers.New(controllers.Config{Client: d.api.ClientConfig, Store: d.store, Log: log}); err != nil {
		d.close()
		return nil, err
	}
	d.draining, d.drain = context.WithCancel(context.Background())
	d.meter = newMeter(d)
	return d, nil
}

// newNode is this host as the node. Its programs lie beside this one.
func (d *daemon) newNode() (*node.Node, error) {
	client, err := kubernetes.NewForConfig(d.api.ClientConfig("kubelet"))
	if err != nil {
		return nil, fmt.Errorf("cannot connect node: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find tripod-oci: %w", err)
	}
	dir := filepath.Dir(self)
	return node.New(node.Config{
		Client: client, Name: d.name, Root: d.root, RunRoot: d.runRoot, Version: version, Log: d.log,
		Keeper: filepath.Join(dir, "tripod-oci"), Program: filepath.Join(dir, "tripod"), AllowHostImages: d.hostImages,
	})
}

func (d *daemon) pki() string { return filepath.Join(d.root, "pki") }

func (d *daemon) close() {
	d.api.Close()
	if err := d.store.Close(); err != nil {
		d.log.Error("cannot close store", "error", err)
	}
}

// live serves until ctx is done or a part of the daemon ends with an error.
func (d *daemon) live(ctx context.Context, socket net.Listener) error {
	parts, failed := errgroup.WithContext(ctx)
	work, rest := context.WithCancel(context.WithoutCancel(ctx))
	defer rest()
	server := d.server()
	serve := func(l net.Listener) {
		parts.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("cannot serve on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	serve(socket)
	d.log.Info("serving", "socket", socket.Addr().String(), "version", version, "objects", d.store.Version())
	if err := d.behind(serve); err != nil {
		server.Close()
		return errors.Join(err, parts.Wait())
	}
	d.begun.Store(true)
	notify("READY=1")
	for name, part := range d.parts() {
		parts.Go(func() error {
			if err := part(work); err != nil && work.Err() == nil {
				return fmt.Errorf("cannot run %s: %w", name, err)
			}
			return nil
		})
	}
	<-failed.Done()
	notify("STOPPING=1")
	d.log.Info("stopping; Pods run on")
	d.drain()
	finish, over := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer over()
	if err := server.Shutdown(finish); err != nil {
		d.log.Warn("requests were cut off", "error", err)
		server.Close()
	}
	rest()
	return parts.Wait()
}

// behind makes what the first answer need not wait for: the door for kubectl, and the node.
func (d *daemon) behind(serve func(net.Listener)) error {
	if d.listen != "" {
		l, err := d.listenTLS()
		if err != nil {
			return err
		}
		serve(l)
		d.log.Info("serving", "address", l.Addr().String())
	}
	var err error
	if d.node, err = d.newNode(); err != nil {
		return err
	}
	d.api.SetNode(d.node)
	return nil
}

// parts are what runs beside the API.
func (d *daemon) parts() map[string]func(context.Context) error {
	parts := map[string]func(context.Context) error{
		"node":        d.node.Run,
		"controllers": d.controllers.Run,
		"watchdog":    func(ctx context.Context) error { watchdog(ctx, d.answers); return nil },
		"settling":    func(ctx context.Context) error { settle(ctx, d.store.Version); return nil },
	}
	if len(d.manifests) > 0 {
		parts["manifests"] = func(ctx context.Context) error {
			return static.Run(ctx, static.Config{Dirs: d.manifests, Node: d.name, Client: d.api.ClientConfig, Log: d.log})
		}
	}
	return parts
}

// listenTLS is the door for kubectl.
func (d *daemon) listenTLS() (net.Listener, error) {
	host, err := loopback(d.listen)
	if err != nil {
		return nil, err
	}
	config, err := pki.Server(d.pki(), []string{host, "127.0.0.1", "::1", "localhost"}, time.Now())
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", d.listen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", d.listen, err)
	}
	if err := pki.PutAddress(d.pki(), "https://"+l.Addr().String()); err != nil {
		l.Close()
		return nil, err
	}
	return tlsListener(l, config), nil
}
