package nsenter

import (
	"strings"

	"golang.org/x/sys/unix"

	"tripod/internal/plan"
)

// maxDirs is how many directories of PATH are tried: a step can leave out 255 others at most.
const maxDirs = 100

// execute becomes the program as execvp(3) does: PATH is searched, one that is found and may not be executed is told
// when no other is there, and a file without a #! is given to the shell.
//
// A plan has no variables, so the directories are tried twice: once whatever comes of it, and again to find out why.
func (p *program) execute(j *Joining) {
	p.origin = ""
	file := j.Args[0]
	argv := append([]string{j.Argv0}, j.Args[1:]...)
	paths := candidates(file, j.Env)
	run := func(at string) *plan.Step {
		s := p.do("execute "+at, "failed to execute "+file+": ", plan.Execve, plan.Text(at), plan.Strings(argv), plan.Strings(j.Env))
		s.Exit = 126
		return s
	}
	n := len(paths)
	for i, at := range paths {
		s := run(at)
		s.Any = true
		// Behind this are the rest of this round, the second round, two steps of "not found", and i scripts.
		s.On = append(s.On, plan.Branch{Errno: unix.ENOEXEC, Skip: uint8(n - 1 - i + n + 2 + i)})
	}
	for _, at := range paths {
		s := run(at)
		s.On = append(s.On, plan.Branch{Errno: unix.ENOENT})
		if !strings.Contains(file, "/") {
			s.On = append(s.On, plan.Branch{Errno: unix.ENOTDIR})
		}
	}
	if p.alone {
		p.sayAndEnd("failed to execute "+file+": No such file or directory", 127)
	} else {
		// Twice, so that both kinds of plan have one length here.
		run(paths[n-1]).Exit = 127
		run(paths[n-1]).Exit = 127
	}
	for _, at := range paths {
		s := p.do("execute it as a script", "failed to execute "+file+": ", plan.Execve, plan.Text("/bin/sh"),
			plan.Strings(append([]string{j.Argv0, at}, argv[1:]...)), plan.Strings(j.Env))
		s.Exit = 126
	}
}

// candidates are the files that a program's name may mean (execvp(3)).
func candidates(file string, env []string) []string {
	if strings.Contains(file, "/") || file == "" {
		return []string{file}
	}
	list := "/bin:/usr/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			list = v
			break
		}
	}
	var paths []string
	for _, dir := range strings.Split(list, ":") {
		if dir != "" {
			dir += "/"
		}
		if paths = append(paths, dir+file); len(paths) == maxDirs {
			break
		}
	}
	return paths
}

// hint keeps, for a caller without privilege, why a namespace may not be joined and what would help. Where nobody else
// can say it, the plan does.
func (p *program) hint(s *plan.Step, j *Joining, n Join) {
	text := reason(j, n)
	if text == "" || s.Any {
		return
	}
	p.hints[len(p.steps)-1] = text
	if !p.alone {
		return
	}
	what := strings.TrimPrefix(s.Fails, name) + "Operation not permitted\nhint: " + text
	// Success and EBADF pass over both lines; EPERM goes into them.
	s.Skip = 2
	for i := range s.On {
		s.On[i].Skip = 2
	}
	s.On = append(s.On, plan.Branch{Errno: unix.EPERM})
	p.sayAndEnd(what, 1)
}
