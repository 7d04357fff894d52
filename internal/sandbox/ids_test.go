package sandbox

import (
	"errors"
	"slices"
	"testing"
)

func TestFreeIDs(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		used []idRange
		want []idRange
	}{
		{"none used", 1, nil, []idRange{{524288, 65536}}},
		{"two at once", 2, nil, []idRange{{524288, 65536}, {589824, 65536}}},
		{"first taken", 1, []idRange{{524288, 65536}}, []idRange{{589824, 65536}}},
		{"one id of it taken", 1, []idRange{{589823, 1}}, []idRange{{589824, 65536}}},
		{"a gap that is too small", 1, []idRange{{524288, 1}, {600000, 1000}}, []idRange{{655360, 65536}}},
		{"a user's range on both sides", 1, []idRange{{100000, 65536}, {500000, 165536}}, []idRange{{720896, 65536}}},
	} {
		got, err := freeIDs(c.n, c.used)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: freeIDs = %v, %v, want %v", c.name, got, err, c.want)
		}
	}
	if _, err := freeIDs(1, []idRange{{0, 1 << 31}}); !errors.Is(err, ErrNoIDs) {
		t.Errorf("freeIDs on a full host: %v", err)
	}
}

func TestReadRanges(t *testing.T) {
	got := subordinate([]byte("alice:100000:65536\n# no\nbob:x:1\n231072:165536:65536\n"))
	if want := []idRange{{100000, 65536}, {165536, 65536}}; !slices.Equal(got, want) {
		t.Errorf("subordinate = %v, want %v", got, want)
	}
	got = mapped([]byte("         0     524288      65536\n         0          0 4294967295\n 0 5 0\n"))
	if want := []idRange{{524288, 65536}}; !slices.Equal(got, want) {
		t.Errorf("mapped = %v, want %v", got, want)
	}
}
