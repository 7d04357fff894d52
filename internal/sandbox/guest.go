package sandbox

import (
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/bundle"
	"tripod/internal/record"
	"tripod/internal/volume"
)

// Guests are a Pod's ephemeral containers, as containers: they came when it was running already.
func Guests(pod *corev1.Pod) []corev1.Container {
	var all []corev1.Container
	for _, c := range pod.Spec.EphemeralContainers {
		all = append(all, corev1.Container(c.EphemeralContainerCommon))
	}
	return all
}

// Invite records a guest of a Pod that runs, and finds what its bundle is to be made of: namespaces and volumes. The caller
// holds the engine lock.
func (s *Sandbox) Invite(guest corev1.EphemeralContainer) error {
	client, err := s.Keeper()
	if err != nil {
		return err
	}
	s.pause, s.keeper = client.Hello().Pause, client.Hello().Process
	ground, err := bundle.SandboxOf(s.Pod)
	if err != nil {
		return err
	}
	var owner volume.Owner
	if ids := s.ranges(); ground.User == bundle.OfPod && len(ids) > 0 {
		owner = volume.Owner{UID: int(ids[0].First), GID: int(ids[0].First)}
	}
	if s.Volumes, err = volume.Make(s.Host.Root, s.Host.RunRoot, s.Pod, owner); err != nil { // they are there
		return err
	}
	for _, c := range s.Pod.Spec.EphemeralContainers {
		if c.Name == guest.Name {
			return nil
		}
	}
	s.Pod = s.Pod.DeepCopy()
	s.Pod.Spec.EphemeralContainers = append(s.Pod.Spec.EphemeralContainers, guest)
	return record.PutFast(s.file(podFile), s.Pod)
}
