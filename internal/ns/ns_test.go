package ns

import (
	"os"
	"testing"
)

func TestOfSelf(t *testing.T) {
	ids, err := Of("", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range Types() {
		var want string
		if want, err = os.Readlink("/proc/self/ns/" + typ.String()); err != nil {
			t.Fatal(err)
		}
		if got, id, ok := ParseLink(want); !ok || got != typ || id != ids[typ] {
			t.Errorf("%s: Of says %d, the link %s", typ, ids[typ], want)
		}
	}
}

func TestScanFindsUs(t *testing.T) {
	s, err := Scan(Options{})
	if err != nil {
		t.Fatal(err)
	}
	ids, _ := Of("", os.Getpid())
	for _, n := range s.Namespaces {
		if n.ID != ids[Net] {
			continue
		}
		for _, m := range n.Members {
			if s.Processes[m].PID == os.Getpid() {
				return
			}
		}
	}
	t.Errorf("no network namespace has process %d", os.Getpid())
}
