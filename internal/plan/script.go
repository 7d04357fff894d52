package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The words that begin a Step's Script which is an option of that command: they all stand at the head of the script, for a
// shell enters its namespaces by becoming another one.
const (
	byUnshare = "unshare "
	byNsenter = "nsenter "
	bySetarch = "setarch "
)

// Script is the Plan as a shell script to read or to run as root: `sh FILE`. It makes an equivalent container with unshare(1),
// nsenter(1), mount(8) and capsh(1), in the Plan's order. The root is moved onto / and entered by chroot(2), where the
// Plan pivots: behind a pivot none of the host's programs is in reach.
func (p *Plan) Script() string {
	var outside, inside strings.Builder
	var unshare, nsenter, setarch []string
	for _, s := range p.Steps {
		to := &inside
		switch line := s.Script; {
		case line == "":
			continue
		case strings.HasPrefix(line, byUnshare):
			unshare = append(unshare, strings.TrimPrefix(line, byUnshare))
			continue
		case strings.HasPrefix(line, byNsenter):
			nsenter = append(nsenter, strings.TrimPrefix(line, byNsenter))
			continue
		case strings.HasPrefix(line, bySetarch):
			setarch = append(setarch, strings.TrimPrefix(line, bySetarch))
			continue
		case len(unshare)+len(nsenter) == 0:
			to = &outside
		}
		to.WriteString(s.Script)
		if s.Origin != "" {
			to.WriteString("  # " + strings.ReplaceAll(s.Origin, "\n", " "))
		}
		to.WriteString("\n")
	}
	if p.Clone != 0 {
		unshare = append(unshare, "--pid")
	}
	var b strings.Builder
	b.WriteString("#!/bin/sh\nset -e\nif [ \"$1\" != inside ]; then\n")
	b.WriteString(indent(outside.String()))
	b.WriteString("exec")
	for _, c := range []struct {
		name  string
		words []string
	}{{"setarch", setarch}, {"nsenter", nsenter}, {"unshare", append(unshare, "--propagation unchanged --fork --kill-child")}} {
		if len(c.words) > 0 {
			b.WriteString(" " + c.name + " " + strings.Join(c.words, " "))
		}
	}
	b.WriteString(" setsid sh \"$0\" inside\nfi\n")
	return b.String() + inside.String()
}

// indent keeps the lines of the part that is outside of the namespaces apart.
func indent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString("  " + line)
	}
	return b.String()
}

// final is the last line of a script: what capsh(1) does of the identity and the capabilities, and the program. find has
// the line that looks for a program without a path, or is "".
func (p *program) final(proc *specs.Process, caps *capSets, last int) (find, line string) {
	words := []string{"exec env -i"}
	for _, e := range proc.Env {
		words = append(words, quote(e))
	}
	words = append(words, `"$(command -v capsh)" --chroot=.`)
	var groups []string
	for _, g := range proc.User.AdditionalGids {
		groups = append(groups, fmt.Sprint(g))
	}
	if caps != nil {
		if drop := capNames(^caps.bounding, last); drop != "" {
			words = append(words, "--drop="+drop)
		}
	}
	words = append(words, "--groups="+strings.Join(groups, ","), fmt.Sprint("--gid=", proc.User.GID), "--keep=1", fmt.Sprint("--uid=", proc.User.UID))
	if caps != nil {
		text := "="
		for _, s := range []struct {
			set  uint64
			sign string
		}{{caps.permitted, "+p"}, {caps.effective, "+e"}, {caps.inheritable, "+i"}} {
			if list := capNames(s.set, last); list != "" {
				text += " " + list + s.sign
			}
		}
		words = append(words, "--caps="+quote(text))
		if list := capNames(caps.ambient, last); list != "" {
			words = append(words, "--addamb="+list)
		}
	}
	if proc.NoNewPrivileges {
		words = append(words, "--no-new-privs")
	}
	args := make([]string, len(proc.Args)-1)
	for i, a := range proc.Args[1:] {
		args[i] = quote(a)
	}
	name := quote(proc.Args[0])
	if !strings.Contains(proc.Args[0], "/") {
		dirs := strings.Split(lookup(proc.Env), ":")
		for i, d := range dirs {
			dirs[i] = quote(d)
		}
		find = fmt.Sprintf("for d in %s; do if [ -e .$d/%s ] || [ -L .$d/%s ]; then break; fi; done\n", strings.Join(dirs, " "), name, name)
		name = `"$d"/` + name
	}
	if dir := path.Clean(proc.Cwd); dir != "/" {
		// capsh goes to / with its new root; the shell is the container's own.
		return find, strings.Join(append(append(words, "--shell=/bin/sh -- -c", quote("cd "+quote(dir)+` && unset OLDPWD && exec "$@"`), "sh", name), args...), " ")
	}
	return find, strings.Join(append(append(words, "--shell="+name, "--"), args...), " ")
}

// capNames lists the capabilities of a set as capsh wants them.
func capNames(set uint64, last int) string {
	var names []string
	for i, n := range Capabilities() {
		if i <= last && set&(1<<i) != 0 {
			names = append(names, strings.ToLower(n))
		}
	}
	return strings.Join(names, ",")
}

// shellLimit is a resource limit as prlimit(1) sets it.
func shellLimit(name string, r Rlimit) string {
	value := func(n uint64) string {
		if n == ^uint64(0) {
			return "unlimited"
		}
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("prlimit --pid $$ --%s=%s:%s", strings.ToLower(strings.TrimPrefix(name, "RLIMIT_")), value(r.Soft), value(r.Hard))
}

// shellCgroup makes a cgroup, without limits, and enters it.
func shellCgroup(h Hierarchy, group string) string {
	dir := path.Join(h.Mountpoint, group)
	line := "mkdir -p " + quote(dir)
	if strings.Contains(h.Data, "cpuset") {
		line += fmt.Sprintf("; for f in cpus mems; do cat %s/cpuset.$f > %s/cpuset.$f; done", quote(h.Mountpoint), quote(dir))
	}
	return line + "; echo $$ > " + quote(dir+"/tasks")
}

// shellFlags are the words of mount(8) for the options of a mount that are not data.
func shellFlags(o options) []string {
	var list []string
	for _, w := range words {
		if w.set != 0 && w.set&o.flags == w.set && w.name != "bind" && w.name != "rbind" && !slices.Contains(list, w.name) {
			list = append(list, w.name)
		}
	}
	return list
}
