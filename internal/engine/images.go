package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/image"
)

// Images are the images of some Pods, by reference.
type Images map[string]*image.Image

// maxPulls is how many images are pulled at once; each pulls several layers at once.
const maxPulls = 3

// Ensure brings the images of all these Pods here, several at once. An image that two containers want is asked for once,
// by the stricter of their policies.
func (e *Engine) Ensure(ctx context.Context, pods []*corev1.Pod) (Images, error) {
	wanted := wants(pods)
	found := make([]*image.Image, len(wanted))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxPulls)
	for i, w := range wanted {
		group.Go(func() (err error) {
			o := e.Pull
			if e.Progress != nil {
				o.Progress = e.Progress(w.ref)
			}
			found[i], err = e.Store.Ensure(ctx, w.ref, w.policy, o)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	images := Images{}
	for i, w := range wanted {
		images[w.ref] = found[i]
	}
	return images, nil
}

// want is an image that is to be here.
type want struct {
	ref    string
	policy image.Policy
}

// wants are the images of the Pods, in the order of their first mention.
func wants(pods []*corev1.Pod) []want {
	strict := map[image.Policy]int{image.Never: 0, image.IfNotPresent: 1, image.Always: 2}
	var all []want
	at := map[string]int{}
	for _, pod := range pods {
		for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for _, c := range containers {
				policy := image.Policy(c.ImagePullPolicy)
				if policy == "" {
					policy = image.IfNotPresent
				}
				i, known := at[c.Image]
				if !known {
					at[c.Image] = len(all)
					all = append(all, want{c.Image, policy})
				} else if strict[policy] > strict[all[i].policy] {
					all[i].policy = policy
				}
			}
		}
	}
	return all
}

// maxAccounts bounds an image's /etc/passwd and /etc/group, in bytes.
const maxAccounts = 4 << 20

// accounts reads /etc/passwd and /etc/group of an image; one that it does not have is nil.
func (e *Engine) accounts(img *image.Image) (passwd, group []byte, err error) {
	for _, file := range []struct {
		name string
		into *[]byte
	}{{"/etc/passwd", &passwd}, {"/etc/group", &group}} {
		data, err := e.Store.ReadFile(img, file.name, maxAccounts)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("cannot find users: %w", err)
		}
		*file.into = data
	}
	return passwd, group, nil
}
