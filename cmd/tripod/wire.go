package main

import (
	"os"
	"path/filepath"

	"tripod/internal/engine"
	"tripod/internal/image"
	"tripod/internal/sandbox"
)

// host is where this tripod keeps its Pods.
func (a *app) host() sandbox.Host {
	return sandbox.Host{Root: real(a.root), RunRoot: real(a.runRoot), Keeper: beside("tripod-oci"), Program: beside("tripod")}
}

// engine is what runs Pods there.
func (a *app) engine() (*engine.Engine, error) {
	store, err := image.Open(real(a.root))
	if err != nil {
		return nil, err
	}
	return &engine.Engine{Host: a.host(), Store: store}, nil
}

// real is a path without symbolic links, as far as it exists: the kernel tells paths so.
func real(path string) string {
	if found, err := filepath.EvalSymlinks(path); err == nil {
		return found
	}
	dir, name := filepath.Split(filepath.Clean(path))
	if dir == "" || dir == path {
		return path
	}
	return filepath.Join(real(filepath.Clean(dir)), name)
}

// beside is the path of a program of ours: it lies beside this one.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}
