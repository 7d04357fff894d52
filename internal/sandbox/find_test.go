package sandbox

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func pod(namespace, name, uid string, containers ...string) *Sandbox {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid)}}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c})
	}
	return &Sandbox{Pod: p}
}

func TestChoose(t *testing.T) {
	all := []*Sandbox{
		pod("default", "web", "aaaa1111"),
		pod("shop", "web", "aaaa2222"),
		pod("default", "aaaa1", "bbbb3333"),
	}
	for _, c := range []struct{ namespace, word, uid, wrong, hint string }{
		{"default", "web", "aaaa1111", "", ""},
		{"shop", "web", "aaaa2222", "", ""},
		{"default", "shop/web", "aaaa2222", "", ""},
		{"default", "pod/web", "aaaa1111", "", ""},
		{"default", "pods/web", "aaaa1111", "", ""},
		{"default", "aaaa2", "aaaa2222", "", ""},
		{"default", "aaaa1", "bbbb3333", "", ""}, // a name wins over a beginning of a UID
		{"default", "bbb", "", "cannot find Pod bbb in namespace default: no such Pod", "tripod ps -A shows all Pods"},
		{"default", "aaaa", "", "cannot find Pod aaaa: it means 2 Pods", "give more of one of web (aaaa1111), shop/web (aaaa2222)"},
		{"other", "web", "", "cannot find Pod web in namespace other: no such Pod", "there is web, shop/web"},
		{"default", "", "", "cannot find Pod  in namespace default: no such Pod", "tripod ps -A shows all Pods"},
	} {
		s, err := choose(all, c.namespace, c.word)
		if c.wrong == "" {
			if err != nil || string(s.Pod.UID) != c.uid {
				t.Errorf("choose(%s, %s) = %v, %v, want %s", c.namespace, c.word, s, err, c.uid)
			}
			continue
		}
		if err == nil || err.Error() != c.wrong {
			t.Errorf("choose(%s, %s) error %v, want %s", c.namespace, c.word, err, c.wrong)
			continue
		}
		var h interface{ Hint() string }
		if !errors.As(err, &h) || h.Hint() != c.hint {
			t.Errorf("choose(%s, %s) hint %v, want %s", c.namespace, c.word, h, c.hint)
		}
		if strings.Contains(c.wrong, "no such") != errors.Is(err, ErrNotFound) {
			t.Errorf("choose(%s, %s): errors.Is ErrNotFound is wrong", c.namespace, c.word)
		}
	}
}

func TestContainer(t *testing.T) {
	one, two := pod("default", "one", "1", "a"), pod("default", "two", "2", "a", "b")
	two.Pod.Spec.InitContainers = []corev1.Container{{Name: "first"}}
	chosen := pod("default", "chosen", "3", "a", "b")
	chosen.Pod.Annotations = map[string]string{"kubectl.kubernetes.io/default-container": "b"}
	for _, c := range []struct {
		s                 *Sandbox
		word, name, wrong string
	}{
		{one, "", "a", ""},
		{two, "b", "b", ""},
		{two, "first", "first", ""},
		{chosen, "", "b", ""},
		{two, "", "a", ""},
		{one, "z", "", "cannot find container z in Pod one"},
	} {
		got, err := c.s.Container(c.word)
		if got.Name != c.name || (err == nil) != (c.wrong == "") || err != nil && err.Error() != c.wrong {
			t.Errorf("%s.Container(%q) = %q, %v, want %q, %q", c.s, c.word, got.Name, err, c.name, c.wrong)
		}
	}
}
