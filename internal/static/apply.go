package static

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
)

// errLeaving says that a Pod's predecessor has not ended yet.
var errLeaving = errors.New("the Pod of before is still there")

// apply makes what a file says, then takes away what it said before.
func (k *keeper) apply(ctx context.Context, path string, objects []object) error {
	wanted := map[string]bool{}
	for _, o := range objects {
		wanted[key(o.resource, o.GetNamespace(), o.GetName())] = true
		if err := k.put(ctx, o); err != nil {
			return fmt.Errorf("cannot apply %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return k.prune(ctx, path, wanted)
}

// put brings one object to the API.
func (k *keeper) put(ctx context.Context, o object) error {
	door := k.objects.Resource(o.resource).Namespace(o.GetNamespace())
	have, err := door.Get(ctx, o.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		have = nil
	case err != nil:
		return err
	}
	if o.pod() {
		k.mind(ctx)
		return putPod(ctx, door, o, have)
	}
	// What somebody else made is taken over only as far as nobody says otherwise.
	ours := have != nil && have.GetLabels()[Label] == o.GetLabels()[Label]
	text, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = door.Patch(ctx, o.GetName(), "application/apply-patch+yaml", text,
		metav1.PatchOptions{FieldManager: manager, FieldValidation: metav1.FieldValidationStrict, Force: &ours})
	return err
}

// putPod makes a Pod, in the place of its predecessor when the file says another thing than then: a Pod's spec cannot change.
func putPod(ctx context.Context, door dynamic.ResourceInterface, o object, have *unstructured.Unstructured) error {
	if have != nil {
		switch {
		case have.GetLabels()[Label] != o.GetLabels()[Label]:
			return errors.New("there is a Pod of this name that is not of this file")
		case have.GetDeletionTimestamp() != nil:
			return errLeaving
		case have.GetAnnotations()[hashKey] == o.GetAnnotations()[hashKey]:
			return nil
		}
		if err := remove(ctx, door, have); err != nil {
			return err
		}
		return errLeaving
	}
	_, err := door.Create(ctx, o.Unstructured, metav1.CreateOptions{FieldManager: manager, FieldValidation: metav1.FieldValidationStrict})
	if apierrors.IsAlreadyExists(err) {
		return errLeaving
	}
	return err
}

// prune deletes what carries the file's mark and is not wanted any more.
func (k *keeper) prune(ctx context.Context, path string, wanted map[string]bool) error {
	return k.each(ctx, Label+"="+hash([]byte(path)), func(o object) error {
		if wanted[key(o.resource, o.GetNamespace(), o.GetName())] || o.GetDeletionTimestamp() != nil {
			return nil
		}
		if err := remove(ctx, k.objects.Resource(o.resource).Namespace(o.GetNamespace()), o.Unstructured); err != nil {
			return fmt.Errorf("cannot delete %s %s: %w", o.GetKind(), o.GetName(), err)
		}
		return nil
	})
}

// owners are the paths that objects carry.
func (k *keeper) owners(ctx context.Context) (map[string]bool, error) {
	paths := map[string]bool{}
	err := k.each(ctx, Label, func(o object) error {
		// Who sets the label by hand, or copies it with a Pod's template, owns nothing here.
		if path := o.GetAnnotations()[Annotation]; path != "" && hash([]byte(path)) == o.GetLabels()[Label] {
			paths[path] = true
			if o.pod() {
				k.mind(ctx)
			}
		}
		return nil
	})
	return paths, err
}

// each calls f for all objects with a label.
func (k *keeper) each(ctx context.Context, selector string, f func(object) error) error {
	var errs []error
	for _, resource := range taken {
		list, err := k.objects.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for i := range list.Items {
			errs = append(errs, f(object{resource, &list.Items[i]}))
		}
	}
	return errors.Join(errs...)
}

func remove(ctx context.Context, door dynamic.ResourceInterface, o *unstructured.Unstructured) error {
	uid, how := o.GetUID(), metav1.DeletePropagationBackground
	err := door.Delete(ctx, o.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &how})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
