package plan

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// sound says what is wrong with a Plan that Compile let through: it ends in one program, whatever its calls answer.
func sound(p *Plan) error {
	if err := p.Verify(append(slices.Clone(given), Latch)...); err != nil {
		return err
	}
	first := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Call == Execve })
	for i, s := range p.Steps {
		switch {
		case s.Call == Execve && (s.Skip > 0 || slices.ContainsFunc(s.On, func(b Branch) bool { return b.Skip > 0 })):
			return fmt.Errorf("step %d skips after an execve", i)
		case s.Call != Execve && i > first:
			return fmt.Errorf("step %d, %s, comes after an execve", i, s.Name)
		}
		// Nobody comes to the program around its identity: no skip passes over a step that gives rights up.
		for _, over := range skipped(s, i) {
			switch p.Steps[over].Call {
			case Setresuid, Setresgid, Setgroups, Capset, Seccomp, PivotRoot, Umount2, Execve, CloseRange:
				return fmt.Errorf("step %d, %s, may pass over step %d, %s", i, s.Name, over, p.Steps[over].Name)
			}
		}
	}
	return nil
}

func skipped(s Step, at int) (list []int) {
	most := int(s.Skip)
	for _, b := range s.On {
		most = max(most, int(b.Skip))
	}
	for n := 1; n <= most; n++ {
		list = append(list, at+n)
	}
	return list
}

// field is how an error begins that names what is wrong.
var field = regexp.MustCompile(`^(process|root|linux|mounts|hooks|hostname|domainname)[\w.\[\]-]*(, [\w.]+)?: `)

// tried compiles a spec in each way there is, and says what is wrong with the errors and the Plans.
func tried(spec *specs.Spec) error {
	fx := facts(spec)
	for _, m := range spec.Mounts {
		fx.Kinds[Source(m, "/bundle")] = Dir
	}
	root := &specs.Spec{Root: &specs.Root{}}
	if spec.Root != nil {
		root = spec
	}
	for _, in := range []Input{
		{Root: rootOf(root), Facts: fx, Gated: true},
		{Root: rootOf(root), Facts: fx, Gated: true, Latched: true, Bundle: "/bundle"},
		{Root: rootOf(root), Facts: fx, Unprivileged: true, Bundle: "/bundle"},
	} {
		p, err := Compile(spec, in)
		if err != nil {
			if s := err.Error(); !field.MatchString(s) || strings.Contains(s, "\n") || len(s) > 500 {
				return fmt.Errorf("the error names no field, or is not one short line: %.600s", s)
			}
			continue
		}
		if err := sound(p); err != nil {
			return err
		}
		_, _ = p.String(), p.Script()
	}
	if spec.Process == nil {
		return nil
	}
	p, err := CompileExec(ExecInput{Process: spec.Process, Namespaces: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUSER, Facts: fx})
	if err != nil {
		return nil
	}
	return sound(p)
}

// TestHostileFields takes each value of each spec of testdata away, and puts each thing in its place that somebody may
// write there. Whatever it is, Compile refuses it by its name, or makes a Plan that is sound.
func TestHostileFields(t *testing.T) {
	names, _ := filepath.Glob("testdata/*.json")
	long := strings.Repeat("A", 64<<10)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var tree any
		if err := json.Unmarshal(data, &tree); err != nil {
			t.Fatal(err)
		}
		n := 0
		vary(tree, "", func(v any) { tree = v }, func(at string) {
			text, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			var spec specs.Spec
			if json.Unmarshal(text, &spec) != nil {
				return
			}
			n++
			if err := tried(&spec); err != nil {
				t.Errorf("%s: %s: %v", name, at, err)
			}
		}, []any{
			nil, "", "\x00", "a\x00b", "/a\x00b", "/", ".", "..", "/../../..", "//", "/proc", "/proc/self/fd/7", "/dev/null", "x,y=z\n", "'$(reboot)'", long, "/" + long,
			-1, 0, 1, 65536, 4294967295, 4294967296, -9223372036854775808, uint64(1<<64 - 1), true,
			[]any{},
			map[string]any{},
			[]any{""},
			[]any{"\x00"},
			[]any{map[string]any{}},
		})
		if n < 500 {
			t.Errorf("%s: %d specs were tried", name, n)
		}
	}
}

// vary calls try once for each value in the place of each node of a tree.
func vary(node any, at string, set func(any), try func(at string), values []any) {
	for _, v := range values {
		set(v)
		try(fmt.Sprintf("%s = %.40v", at, v))
	}
	set(node)
	switch n := node.(type) {
	case map[string]any:
		for k, v := range n {
			vary(v, at+"."+k, func(v any) { n[k] = v }, try, values)
			delete(n, k)
			try(at + "." + k + " is missing")
			n[k] = v
		}
	case []any:
		if len(n) > 0 {
			set(slices.Repeat(n[:1], 3000))
			try(at + " is very long")
			set(node)
		}
		for i, v := range n {
			vary(v, fmt.Sprintf("%s[%d]", at, i), func(v any) { n[i] = v }, try, values)
		}
	}
}

// FuzzCompile: whatever a config.json says, it is refused by the name of a field, or its Plan is sound.
func FuzzCompile(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.json")
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var spec specs.Spec
		if json.Unmarshal(data, &spec) != nil {
			return
		}
		if err := tried(&spec); err != nil {
			t.Error(err)
		}
	})
}
