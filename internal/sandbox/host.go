// Package sandbox has the verbs that one Pod obeys: make it, start it, look at it, stop it, remove it, and find it again.
//
// A Sandbox is the kernel side of a Pod: namespaces held by its pause process, its network, its cgroup, its volumes, and
// the folder under RunRoot where all of that is written down. Its keeper is the parent of its containers and outlives
// everyone else. Each Pod has one will at a time: the holder of its engine lock. What has lost both its keeper and its
// engine is dead, and Sweep removes it.
//
// Nothing is decided here: package engine says what a Pod is to become.
package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NetworkNone is the value of manifest.AnnotationNetwork that asks for a network namespace with nothing but loopback.
const NetworkNone = "none"

// Host says where tripod keeps its things on this machine, and which program keeps its Pods.
type Host struct {
	Root    string // images, snapshots, volumes, logs: outlives a reboot
	RunRoot string // one folder a Pod: gone after a reboot
	Keeper  string // path of tripod-oci
	Program string // path of the program whose "settle UID" gives back a finished Pod's network; "" is none
}

// The files of a Pod's folder that are not its keeper's.
const (
	podFile        = "pod.json"
	engineLockFile = "engine.lock"
	filesDir       = "files"
	bundlesDir     = "containers"
)

// Pods is the folder of all Pods.
func (h Host) Pods() string { return filepath.Join(h.RunRoot, "pods") }

// Dir is the folder of a Pod.
func (h Host) Dir(uid types.UID) string { return filepath.Join(h.Pods(), string(uid)) }

// Logs is the folder of a Pod's logs: one folder a container, in it one file an attempt.
func (h Host) Logs(pod *corev1.Pod) string {
	return filepath.Join(h.Root, "logs", pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

// LogFolder is the folder of a container's logs.
func (h Host) LogFolder(pod *corev1.Pod, container string) string {
	return filepath.Join(h.Logs(pod), container)
}

// Log is the file of one attempt at a container.
func (h Host) Log(pod *corev1.Pod, container string, attempt int) string {
	return filepath.Join(h.LogFolder(pod, container), strconv.Itoa(attempt)+".log")
}

// Writable is the folder of what a Pod's containers write to their root file systems.
func (h Host) Writable(uid types.UID) string { return filepath.Join(h.Root, "containers", string(uid)) }

// prepare makes the folders that every Pod needs.
func (h Host) prepare() error {
	for _, dir := range []string{h.Root, h.RunRoot, h.Pods()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot make folder: %w", err)
		}
	}
	return nil
}
