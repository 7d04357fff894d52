package plan

import (
	"fmt"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// HookInput is what the Plan of a hook is compiled from that is a program of the host: all but startContainer.
type HookInput struct {
	Hook   specs.Hook
	Origin string // "hooks.createRuntime[0]"
	Dir    string // its working directory
	// Namespaces, if not 0, are joined by the Given file "init", the pidfd of the container's first process. That still
	// has the host's root then, so Hook.Path is one of the host.
	Namespaces uintptr
	Facts      Facts
}

// CompileHook makes the Plan of a hook with the caller's identity and nothing else of the caller: no descriptor, and
// only the environment that the hook names. What a container's image says must not reach a program that runs with the
// host's privileges (CVE-2025-23266).
func CompileHook(in HookInput) (*Plan, error) {
	if err := checkHook(in.Origin, in.Hook); err != nil {
		return nil, err
	}
	p := &program{}
	p.begin(Facts{}, &specs.Process{})
	p.origin = in.Origin
	if in.Namespaces != 0 {
		p.add("join the container's namespaces", Setns, File(InitFile), Int(in.Namespaces))
		if in.Namespaces&unix.CLONE_NEWUSER != 0 {
			p.becomeRoot()
		}
		if in.Namespaces&(unix.CLONE_NEWPID|unix.CLONE_NEWTIME) != 0 {
			p.inner(0)
		}
	}
	p.origin = in.Origin
	p.add("enter "+in.Dir, Chdir, Text(in.Dir))
	p.forget(0)
	if in.Facts.NoFile.Hard > 0 {
		p.rlimit("RLIMIT_NOFILE", unix.RLIMIT_NOFILE, in.Facts.NoFile)
	}
	p.origin = in.Origin
	p.add("umask 0022", Umask, Int(0o022))
	p.signals(in.Facts.Ignored)
	p.add("unblock signals", RtSigprocmask, Int(unix.SIG_SETMASK), Bytes(make([]byte, 8)), null, Int(8))
	p.add("execute "+in.Hook.Path, Execve, Text(in.Hook.Path), Strings(hookArgs(in.Hook)), Strings(in.Hook.Env))
	return p.plan(0, Facts{})
}

// hookArgs is the argv of a hook: as given, and never empty.
func hookArgs(h specs.Hook) []string {
	if len(h.Args) == 0 {
		return []string{h.Path}
	}
	return h.Args
}

// HookList is the hooks of one kind.
type HookList struct {
	Field string
	List  []specs.Hook
}

// HookLists are all hooks of a spec, in the order of the lifecycle (runtime.md, "Lifecycle").
func HookLists(h *specs.Hooks) []HookList {
	if h == nil {
		return nil
	}
	return []HookList{
		//lint:ignore SA1019 prestart is deprecated, and still to be run
		{"hooks.prestart", h.Prestart},
		{"hooks.createRuntime", h.CreateRuntime},
		{"hooks.createContainer", h.CreateContainer},
		{"hooks.startContainer", h.StartContainer},
		{"hooks.poststart", h.Poststart},
		{"hooks.poststop", h.Poststop},
	}
}

// early says that there are hooks to be run before the pivot.
func early(h *specs.Hooks) bool {
	if h == nil {
		return false
	}
	//lint:ignore SA1019 prestart is deprecated, and still to be run
	return len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer) > 0
}

// checkHooks says which hook makes no sense (config.md, "POSIX-platform Hooks").
func checkHooks(h *specs.Hooks) error {
	for _, l := range HookLists(h) {
		for i, h := range l.List {
			if err := checkHook(fmt.Sprintf("%s[%d]", l.Field, i), h); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkHook(origin string, h specs.Hook) error {
	switch {
	case !path.IsAbs(h.Path):
		return fmt.Errorf("%s.path: %q is not an absolute path", origin, h.Path)
	case h.Timeout != nil && *h.Timeout <= 0:
		return fmt.Errorf("%s.timeout: %d seconds: it must be above 0", origin, *h.Timeout)
	case strings.ContainsRune(h.Path+strings.Join(h.Args, "")+strings.Join(h.Env, ""), 0):
		return fmt.Errorf("%s: there is a NUL byte in it", origin)
	}
	return nil
}
