package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"tripod/contrib/systemd"
)

// host is what a service may leave behind on one: each a list of names.
type host struct {
	Mounts  []string `json:"mounts"`
	Links   []string `json:"links"`
	Rules   []string `json:"rules"` // nil where there is no nft to ask
	Cgroups []string `json:"cgroups"`
	Files   []string `json:"files"`
}

// host looks at this one.
func (s *service) host() host {
	return host{
		Mounts:  mounts(),
		Links:   names("/sys/class/net"),
		Rules:   rules(),
		Cgroups: folders("/sys/fs/cgroup", 3),
		Files: slices.Concat(
			tree(s.a.runRoot), tree("/run/netns"), tree("/etc/tripod"), tree("/etc/cni"),
			unitFiles(s.dir), names("/usr/lib/systemd/system"),
		),
	}
}

// mounts are the mounts of our mount namespace, without their numbers.
func mounts() []string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) > 4 {
			_, kind, _ := strings.Cut(line, " - ")
			all = append(all, words[4]+" "+strings.TrimSpace(kind))
		}
	}
	return all
}

// rules are nft's, with what counts left out.
func rules() []string {
	out, err := exec.Command("nft", "--stateless", "list", "ruleset").Output()
	if err != nil {
		return nil
	}
	all, table := []string{}, ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "table ") {
			table = strings.TrimSuffix(line, " {")
		}
		all = append(all, table+": "+line)
	}
	return all
}

// names are what a folder holds.
func names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var all []string
	for _, e := range entries {
		all = append(all, filepath.Join(dir, e.Name()))
	}
	return all
}

// tree is all that is below a folder, and the folder.
func tree(dir string) []string {
	var all []string
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			all = append(all, path)
		}
		return nil
	})
	return all
}

// unitFiles are the unit files and links below a folder that name ours.
func unitFiles(dir string) []string {
	return slices.DeleteFunc(tree(dir), func(path string) bool {
		base := filepath.Base(path)
		return base != systemd.ServiceName && base != systemd.SocketName
	})
}

// folders are those below dir down to a depth.
func folders(dir string, depth int) []string {
	if depth == 0 {
		return nil
	}
	var all []string
	for _, path := range names(dir) {
		if st, err := os.Lstat(path); err == nil && st.IsDir() {
			all = append(append(all, path), folders(path, depth-1)...)
		}
	}
	return all
}

// differences are lines that tell what came and what went between two looks.
func differences(before, now host) []string {
	var all []string
	tell := func(kind string, was, is []string) {
		count := map[string]int{}
		for _, w := range was {
			count[w]--
		}
		for _, i := range is {
			count[i]++
		}
		for name, n := range count {
			if n > 0 {
				all = append(all, "left: "+kind+" "+name)
			} else if n < 0 {
				all = append(all, "gone: "+kind+" "+name)
			}
		}
	}
	tell("mount", before.Mounts, now.Mounts)
	tell("link", before.Links, now.Links)
	if before.Rules != nil && now.Rules != nil {
		tell("rule", before.Rules, now.Rules)
	}
	tell("cgroup", mineAlone(before.Cgroups), mineAlone(now.Cgroups))
	tell("file", before.Files, now.Files)
	sort.Strings(all)
	return all
}

// mineAlone leaves out the cgroups of others, which come and go.
func mineAlone(paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return !strings.Contains(p, "tripod") })
}
