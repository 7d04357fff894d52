package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"tripod/internal/sandbox"
)

func newCp(a *app) *cobra.Command {
	var namespace, container string
	var o sandbox.CopyOptions
	cmd := &cobra.Command{
		Use:   "cp SOURCE TARGET",
		Short: "Copy files into and out of containers",
		Long: `Copy a file or folder between this host and a running container, or between two. A path
in a container is POD:PATH. The image needs no tar: the files are read and written from outside,
and every link of the container is followed inside the container.

As with docker cp a target that is a folder receives the source under its own name; SOURCE/. copies
what is in it.

With - as SOURCE a tar is read from standard input and put into the folder TARGET of a container;
with - as TARGET a tar of SOURCE is written to standard output.`,
		Example: `  tripod cp web:/etc/nginx/nginx.conf .
  tripod cp -c nginx site/. web:/usr/share/nginx/html
  tripod cp shop/web:/tmp/core web:/tmp/
  tripod cp web:/var/log - | tar t
  tar c site | tripod cp - web:/usr/share/nginx/html`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := a.copyable(args); err != nil {
				return err
			}
			o.Skipped = func(name string) { _ = a.say("note: left out %s: neither file, folder nor link", name) }
			if args[0] == "-" || args[1] == "-" {
				return a.stream(namespace, container, args[0], args[1], o)
			}
			from, source, err := a.tree(namespace, container, args[0])
			if err != nil {
				return err
			}
			defer from.Close()
			to, target, err := a.tree(namespace, container, args[1])
			if err != nil {
				return err
			}
			defer to.Close()
			return sandbox.Copy(from, source, to, target, o)
		},
	}
	a.namespaceFlag(cmd, &namespace)
	cmd.Flags().StringVarP(&container, "container", "c", "", "of this container")
	cmd.Flags().BoolVarP(&o.Archive, "archive", "a", false, "keep owner and group")
	cmd.Flags().BoolVarP(&o.Follow, "follow-link", "L", false, "copy what a link given as SOURCE leads to")
	return cmd
}

// stream copies a tar from standard input into a container, or one of what is in a container to standard output.
func (a *app) stream(namespace, container, source, target string, o sandbox.CopyOptions) error {
	word, send := source, target == "-"
	if !send {
		word = target
	}
	if _, _, inPod := podPath(word); !inPod {
		return misuse("the other one is POD:PATH; on this host tar does it", "cannot copy %s to %s: no container", source, target)
	}
	stream, doing := any(a.in), "cannot read a tar from a terminal"
	if send {
		stream, doing = a.out, "cannot write a tar to a terminal"
	}
	if isTerminal(stream) {
		return misuse("lead it elsewhere with < or >", "%s", doing)
	}
	tree, path, err := a.tree(namespace, container, word)
	if err != nil {
		return err
	}
	defer tree.Close()
	if send {
		return sandbox.Send(tree, path, a.out, o)
	}
	return sandbox.Receive(a.in, tree, path, o)
}

// copyable refuses a word that is no path, and a folder of this host that holds the containers' own files: its copy would
// never end.
func (a *app) copyable(words []string) error {
	for _, word := range words {
		if word == "" || strings.HasSuffix(word, ":") {
			return misuse("write a path of this host, or POD:PATH", "cannot copy %q: no path", word)
		}
	}
	if _, _, inPod := podPath(words[0]); inPod {
		return nil
	}
	source, err := os.Stat(words[0])
	if err != nil || !source.IsDir() {
		return nil // Copy says what is wrong with it
	}
	for dir := a.root; ; dir = filepath.Dir(dir) {
		if above, err := os.Stat(dir); err == nil && os.SameFile(above, source) {
			return fmt.Errorf("cannot copy %s: the containers' own files are in it (%s)", words[0], a.root)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// tree is what a word of cp means: a place in a container, or on this host.
func (a *app) tree(namespace, container, word string) (*sandbox.Tree, string, error) {
	pod, path, inPod := podPath(word)
	if !inPod {
		dir, err := os.Getwd()
		if err != nil {
			return nil, "", fmt.Errorf("cannot find the working folder: %w", err)
		}
		if !strings.HasPrefix(word, "/") {
			word = dir + "/" + word // not filepath.Join: an end of / or /. has a meaning
		}
		t, err := sandbox.HostTree()
		return t, word, err
	}
	box, err := a.host().Find(namespace, pod)
	if err != nil {
		return nil, "", err
	}
	c, err := a.container(box, container)
	if err != nil {
		return nil, "", err
	}
	t, err := box.Inside(c.Name)
	return t, path, err
}

// podPath splits POD:PATH. A word that begins as a path does is one, whatever colons it has.
func podPath(word string) (pod, path string, ok bool) {
	if strings.HasPrefix(word, "/") || strings.HasPrefix(word, ".") {
		return "", word, false
	}
	if pod, path, ok = strings.Cut(word, ":"); !ok {
		return "", word, false
	}
	return pod, path, true
}
