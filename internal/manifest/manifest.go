// Package manifest reads Kubernetes manifests strictly and gives the Pods they ask for.
//
// A manifest is YAML or JSON, of one or many documents. Its objects are
// defaulted, converted and validated by Kubernetes' own code, so what is
// accepted here is accepted by an API server, and for the same reasons.
// Beyond that, each field has a row in a coverage table: honoured, without
// effect on a single host (said once), or refused by name. Nothing is ignored
// silently.
//
// Words: a Workload is one object of the manifest (a Pod or what holds a Pod
// template); it is expanded to the Pods a controller would make of it. An
// Error is one mistake, with its file, line and field; all mistakes of an
// input are told at once.
package manifest

import (
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
)

// MaxBytes is the size above which a manifest is refused unread.
// An API server stops at 3 MiB a request.
const MaxBytes = 4 << 20

// MaxPods is the number of Pods that one manifest may ask for.
const MaxPods = 1024

// AnnotationLint names rules of `tripod lint`, comma-separated, that a workload is not held to. It changes nothing of
// how a Pod runs.
const AnnotationLint = "tripod/lint-ignore"

// Annotations with which a Pod asks for what the Pod API has no field for.
const (
	AnnotationUser    = "tripod/user"       // USER[:GROUP] by name, of every container that sets no runAsUser
	AnnotationUserNS  = "tripod/userns"     // "container": a user namespace for each container
	AnnotationNetwork = "tripod/network"    // "none": a network namespace with nothing but loopback
	AnnotationPids    = "tripod/pids-limit" // most tasks of each container; -1 is no limit
	// AnnotationRestarts bounds how often each container is started again by restartPolicy OnFailure.
	AnnotationRestarts = "tripod/max-restarts"
)

// Workload is one object of a manifest and the Pods it stands for.
type Workload struct {
	Kind, Namespace, Name string
	File                  string
	Line                  int
	// Pods are defaulted and valid. Their names are stable: a Deployment of
	// one replica gives a Pod of its own name, of several NAME-0, NAME-1 and on.
	Pods []*corev1.Pod
	// Notes are sentences the user should read once: what has no effect here.
	Notes []string
}

// Read reads every object of a manifest. The name is used in messages only.
// The error is an Errors with all mistakes found, in the order of their lines;
// no Workload is returned beside it.
func Read(name string, r io.Reader) ([]Workload, error) {
	data, err := readText(name, r)
	if err != nil {
		return nil, err
	}
	documents, faults := parse(name, data)
	var workloads []Workload
	budget := maxValues
	for _, d := range documents {
		w, errs := readDocument(name, d, &budget)
		workloads = append(workloads, w...)
		faults = append(faults, errs...)
	}
	pods := 0
	for _, w := range workloads {
		pods += len(w.Pods)
	}
	if pods > MaxPods {
		faults = append(faults, &Error{File: name, Msg: fmt.Sprintf("%d Pods; a manifest may ask for %d", pods, MaxPods)})
	}
	if len(faults) == 0 && len(workloads) == 0 {
		faults = Errors{{File: name, Msg: "no object in the manifest"}}
	}
	if len(faults) == 0 {
		faults = collisions(workloads)
	}
	if len(faults) > 0 {
		return nil, faults.sorted()
	}
	return workloads, nil
}

// readText reads the bytes of a manifest, of no more than MaxBytes.
func readText(name string, r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read manifest %s: %w", name, err)
	}
	if len(data) > MaxBytes {
		return nil, Errors{{File: name, Msg: fmt.Sprintf("manifest is larger than %d MiB", MaxBytes>>20)}}
	}
	return data, nil
}

// Unique tells whether the workloads of several manifests can run together:
// no two Pods of one name, no host port taken twice. The error is an Errors.
func Unique(workloads []Workload) error {
	if faults := collisions(workloads); len(faults) > 0 {
		return faults
	}
	return nil
}
