package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestDetachKeys(t *testing.T) {
	for word, want := range map[string][]byte{
		"ctrl-p,ctrl-q":   {16, 17},
		"a,ctrl-@,ctrl-_": {'a', 0, 31},
		"":                nil,
	} {
		if got, err := detachKeys(word); err != nil || !slices.Equal(got, want) {
			t.Errorf("detachKeys(%q) = %v, %v, want %v", word, got, err, want)
		}
	}
	for _, word := range []string{"ctrl-", "ctrl-1", "ab", "a,,b"} {
		if _, err := detachKeys(word); err == nil {
			t.Errorf("detachKeys(%q) is no error", word)
		}
	}
}

func TestDetachReader(t *testing.T) {
	for _, c := range []struct {
		typed, want string
		detached    bool
	}{
		{"hello", "hello", false},
		{"hePQllo", "he", true},
		{"PQ", "", true},
		{"PxPPQ", "PxP", true},
		{"PPP", "PPP", false},
		{"P", "P", false},
		{"", "", false},
	} {
		for _, slow := range []bool{false, true} {
			var in io.Reader = strings.NewReader(c.typed)
			if slow {
				in = iotest.OneByteReader(in)
			}
			detached := 0
			d := &detachReader{in: in, keys: []byte("PQ"), detached: func() { detached++ }}
			got, err := io.ReadAll(d)
			if err != nil || string(got) != c.want || (detached == 1) != c.detached {
				t.Errorf("typing %q: %q, detached %d, %v, want %q, %v", c.typed, got, detached, err, c.want, c.detached)
			}
		}
	}
}

func TestPodPath(t *testing.T) {
	for word, want := range map[string][2]string{
		"web:/etc/passwd": {"web", "/etc/passwd"},
		"shop/web:/x":     {"shop/web", "/x"},
		"web:a:b":         {"web", "a:b"},
		"/tmp/a:b":        {"", "/tmp/a:b"},
		"./a:b":           {"", "./a:b"},
		"file":            {"", "file"},
	} {
		pod, path, _ := podPath(word)
		if got := [2]string{pod, path}; got != want {
			t.Errorf("podPath(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestPassOn(t *testing.T) {
	got := passOn([]string{"A=b", "HOME", "NONE"}, []string{"HOME=/root", "HOMER=no"})
	if want := []string{"A=b", "HOME=/root"}; !slices.Equal(got, want) {
		t.Errorf("passOn = %q, want %q", got, want)
	}
}
