package bundle

import (
	"fmt"
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

// defaultPath is where programs are looked for when the image says nothing.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (b *builder) process(spec *specs.Spec) error {
	own, err := b.ownEnv()
	if err != nil {
		return err
	}
	args, err := commandOf(b.Container.Command, b.Container.Args, b.Image.Config, own)
	if err != nil {
		return err
	}
	who, err := b.user()
	if err != nil {
		return err
	}
	env := b.env(own, who.home)
	for _, s := range slices.Concat(args, env, []string{b.Container.WorkingDir, b.Image.Config.WorkingDir}) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("%q has a NUL byte in it", s)
		}
	}
	spec.Process = &specs.Process{
		Terminal:    b.Container.TTY,
		User:        who.spec(),
		Args:        args,
		Env:         env,
		Cwd:         workingDir(b.Container.WorkingDir, b.Image.Config.WorkingDir),
		OOMScoreAdj: oomScoreAdj(b.Pod, b.Container, b.Node.Memory),
	}
	return nil
}

// commandOf gives the words of the program to run. A command alone is run without the image's cmd; $(VAR) stands for
// variables of the container's own env (Kubernetes, "Define a Command and Arguments for a Container").
func commandOf(command, args []string, image ocispec.ImageConfig, env []variable) ([]string, error) {
	var words []string
	switch {
	case len(command) == 0 && len(args) == 0:
		words = slices.Concat(image.Entrypoint, image.Cmd)
	case len(command) == 0:
		words = slices.Concat(image.Entrypoint, expand(args, env))
	default:
		words = slices.Concat(expand(command, env), expand(args, env))
	}
	if len(words) == 0 || words[0] == "" {
		return nil, ErrNoCommand
	}
	return words, nil
}

func expand(words []string, env []variable) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = expansion.Expand(w, expansion.MappingFuncFor(asMap(env)))
	}
	return out
}

// workingDir is absolute whatever the image says; the runtime makes it inside the root.
func workingDir(container, image string) string {
	dir := container
	if dir == "" {
		dir = image
	}
	return path.Join("/", dir)
}
