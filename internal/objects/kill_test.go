package objects

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// killDir is the variable that makes TestKilled the process that is killed.
const killDir = "TRIPOD_TEST_OBJECTS"

// writeUntilKilled counts in several objects at once, makes and takes away others, and says each write when it is acknowledged. A log
// so small is compacted all the time.
func writeUntilKilled(dir string) error {
	s, err := Open(dir, plain{}, Options{CompactFrom: 4000, CompactFactor: 2})
	if err != nil {
		return err
	}
	from := numbers(s)
	fmt.Println("up", s.Version())
	failed := make(chan error)
	for i := range 4 {
		go func() {
			name := fmt.Sprint("c", i)
			for n := from[name] + 1; ; n++ {
				if err := countOnce(s, name, n); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

func countOnce(s *Store, name string, n int) error {
	obj := configMap(name, strconv.Itoa(n))
	old, ok := s.Get(named(name))
	if !ok {
		if err := s.Create(named(name), obj); err != nil {
			return err
		}
	} else if err := s.Update(named(name), old, obj); err != nil {
		return err
	}
	fmt.Println(name, n, obj.ResourceVersion) // one write(2), so one line of the pipe
	brief := configMap(name+"-brief", "")
	if err := s.Create(named(brief.Name), brief); err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	if old, ok = s.Get(named(brief.Name)); ok {
		_, err := s.Delete(named(brief.Name), old)
		return err
	}
	return nil
}

// TestKilled kills a process that writes, again and again: what it has acknowledged is there, and no version is given twice.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		t.Fatal(writeUntilKilled(dir))
	}
	dir := t.TempDir()
	acknowledged, versions, newest := map[string]int{}, map[uint64]bool{}, uint64(0)
	for round := range 25 {
		child := exec.Command("/proc/self/exe", "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), killDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		kill := sync.OnceFunc(func() { child.Process.Kill() })
		t.Cleanup(kill)
		after := 1 + rand.IntN(200)
		lines := 0
		for in := bufio.NewScanner(out); in.Scan(); lines++ {
			if lines == after {
				kill() // what is in the pipe was acknowledged, too
			}
			var name string
			var n int
			var version uint64
			if _, err := fmt.Sscan(in.Text(), &name, &version); err == nil && name == "up" {
				if version < newest {
					t.Fatalf("round %d: version %d after %d", round, version, newest)
				}
				continue
			}
			if _, err := fmt.Sscan(in.Text(), &name, &n, &version); err != nil {
				t.Fatalf("round %d: %q: %v", round, in.Text(), err)
			}
			if n != acknowledged[name]+1 {
				t.Fatalf("round %d: %s is %d after %d", round, name, n, acknowledged[name])
			}
			if versions[version] {
				t.Fatalf("round %d: version %d twice", round, version)
			}
			acknowledged[name], versions[version], newest = n, true, max(newest, version)
		}
		child.Wait()
		s := open(t, dir, Options{CompactFrom: 1 << 30})
		if s.Version() < newest {
			t.Fatalf("round %d: version %d, and %d was acknowledged", round, s.Version(), newest)
		}
		list, _ := s.List(configMaps, "")
		names := map[string]bool{}
		for _, obj := range list {
			if name := obj.(*corev1.ConfigMap).Name; names[name] {
				t.Fatalf("round %d: %s is there twice", round, name)
			} else {
				names[name] = true
			}
		}
		for name, n := range numbers(s) {
			if len(name) == 2 && n != acknowledged[name] && n != acknowledged[name]+1 {
				t.Fatalf("round %d: %s is %d, and %d was acknowledged", round, name, n, acknowledged[name])
			}
			if len(name) == 2 {
				acknowledged[name] = n // the last may have been written and not told; the next process goes on from it
			}
		}
		for name := range acknowledged {
			if !names[name] {
				t.Fatalf("round %d: %s is not there", round, name)
			}
		}
		s.Close()
	}
	if len(versions) < 100 {
		t.Errorf("only %d writes", len(versions))
	}
}
