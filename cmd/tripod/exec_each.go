package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"tripod/internal/keeper"
	"tripod/internal/life"
	"tripod/internal/owner"
	"tripod/internal/sandbox"
)

// maxAnswer is how many bytes of what a command prints exec --each keeps, of one container and stream.
const maxAnswer = 1 << 20

// bounded keeps the first max bytes that are written to it, and counts the rest.
type bounded struct {
	text bytes.Buffer
	over int
}

func (b *bounded) Write(p []byte) (int, error) {
	room := min(maxAnswer-b.text.Len(), len(p))
	b.text.Write(p[:room])
	b.over += len(p) - room
	return len(p), nil
}

func (b *bounded) String() string {
	if b.over > 0 {
		return strings.TrimRight(b.text.String(), "\n") + fmt.Sprintf("\n… and %d bytes more\n", b.over)
	}
	return b.text.String()
}

// eachAnswer is what a command did in one container.
type eachAnswer struct {
	container string
	out, err  string
	code      int
	failure   error // it did not start
}

// same says whether two containers gave the same answer.
func (e eachAnswer) same(o eachAnswer) bool {
	return e.out == o.out && e.err == o.err && e.code == o.code && e.why() == o.why()
}

// why says why the command did not start, without the container's name: that stands before it.
func (e eachAnswer) why() string {
	if e.failure == nil {
		return ""
	}
	return owner.Sanitise(strings.ReplaceAll(e.failure.Error(), "container "+e.container+":", "the container:"))
}

// execEach runs a command in every running container of a Pod at once.
func (a *app) execEach(ctx context.Context, word string, args []string, f execFlags) error {
	if f.stdin || f.tty || f.container != "" {
		return misuse("leave out -i, -t and -c", "cannot run a command in each container of Pod %s: --each has no terminal, no stdin and all containers", word)
	}
	box, err := a.host().Find(f.namespace, word)
	if err != nil {
		return err
	}
	state, err := box.Observe(ctx)
	if err != nil {
		return err
	}
	client, err := box.Keeper()
	if err != nil {
		return fmt.Errorf("cannot run a command in Pod %s: %w", box, err)
	}
	var answers []eachAnswer
	for _, r := range state.Containers {
		if r.State == life.Running {
			answers = append(answers, eachAnswer{container: r.Name})
		}
	}
	if len(answers) == 0 {
		return fmt.Errorf("cannot run a command in Pod %s: none of its containers runs", box)
	}
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { execOne(ctx, client, box, &answers[i], args, f) })
	}
	all.Wait()
	if err := printEach(a.out, a.err, answers); err != nil {
		return err
	}
	return worst(answers)
}

func execOne(ctx context.Context, client *keeper.Client, box *sandbox.Sandbox, e *eachAnswer, args []string, f execFlags) {
	var out, stderr bounded
	r := keeper.ExecRequest{
		Container: e.container, Args: args, Env: passOn(f.env, os.Environ()), Cwd: f.cwd, Privileged: f.privileged, Kill: true,
		Streams: keeper.Streams{Stdout: &out, Stderr: &stderr},
	}
	if f.user != "" {
		if r.User, e.failure = box.User(e.container, f.user); e.failure != nil {
			e.code = exitTool
			return
		}
	}
	exit, err := client.Exec(ctx, r)
	e.out, e.err, e.code = out.String(), stderr.String(), exit.Code
	if err != nil {
		e.failure, e.code = err, exitTool
		var refused *keeper.RefusedError
		if errors.As(err, &refused) && refused.Code != 0 {
			e.code = refused.Code
		}
	}
}

// printEach prints equal answers once, behind the names of their containers: a line beside them, more below.
func printEach(out, stderr io.Writer, answers []eachAnswer) error {
	for i, e := range answers {
		if slices.ContainsFunc(answers[:i], e.same) {
			continue
		}
		var names []string
		for _, o := range answers {
			if e.same(o) {
				names = append(names, o.container)
			}
		}
		name := strings.Join(names, ", ")
		if e.failure != nil {
			if _, err := fmt.Fprintf(stderr, "%s: %s\n", name, e.why()); err != nil {
				return err
			}
			continue
		}
		if err := printAnswer(stderr, name, e.err); err != nil {
			return err
		}
		if e.out == "" && e.err == "" && e.code == 0 {
			e.out = "\n"
		}
		if err := printAnswer(out, name, e.out); err != nil {
			return err
		}
		if e.code != 0 {
			if _, err := fmt.Fprintf(stderr, "%s: exit code %d\n", name, e.code); err != nil {
				return err
			}
		}
	}
	return nil
}

func printAnswer(w io.Writer, name, text string) error {
	if text == "" {
		return nil
	}
	text = strings.TrimSuffix(text, "\n")
	form := "%s: %s\n"
	if strings.Contains(text, "\n") {
		form = "%s:\n%s\n"
	}
	if text == "" {
		form = "%s:%s\n"
	}
	_, err := fmt.Fprintf(w, form, name, text)
	return err
}

// worst is the highest exit code, as an error that has been told already.
func worst(answers []eachAnswer) error {
	return exitCode(slices.MaxFunc(answers, func(a, b eachAnswer) int { return a.code - b.code }).code)
}
