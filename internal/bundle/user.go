package bundle

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"tripod/internal/manifest"
)

// identity is who a container runs as.
type identity struct {
	uid, gid uint32
	groups   []uint32 // sorted, the primary one among them
	home     string
}

func (i identity) spec() specs.User {
	return specs.User{UID: i.uid, GID: i.gid, AdditionalGids: i.groups}
}

// user resolves the container's user: its securityContext over the Pod's over the annotation over the image's.
func (b *builder) user() (identity, error) {
	own, pod := securityOf(b.Container), podSecurityOf(b.Pod)
	asked := firstOf(own.RunAsUser, pod.RunAsUser)
	word, source := b.Image.Config.User, "the image's user"
	if name := b.Pod.Annotations[manifest.AnnotationUser]; name != "" {
		word, source = name, "annotation "+manifest.AnnotationUser
	}
	if asked != nil {
		word, source = strconv.FormatInt(*asked, 10), "runAsUser"
	}
	nonRoot := firstOf(own.RunAsNonRoot, pod.RunAsNonRoot)
	if err := checkNonRoot(isTrue(nonRoot), asked, word); err != nil {
		return identity{}, err
	}
	who, err := resolveUser(word, b.Passwd, b.Group)
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w", source, err)
	}
	if g := firstOf(own.RunAsGroup, pod.RunAsGroup); g != nil {
		if who.gid, err = id(*g); err != nil {
			return identity{}, fmt.Errorf("runAsGroup: %w", err)
		}
	}
	if p := pod.SupplementalGroupsPolicy; p != nil && *p == corev1.SupplementalGroupsPolicyStrict {
		who.groups = nil
	}
	more := slices.Clone(pod.SupplementalGroups)
	if pod.FSGroup != nil {
		more = append(more, *pod.FSGroup)
	}
	for _, g := range more {
		gid, err := id(g)
		if err != nil {
			return identity{}, fmt.Errorf("supplementalGroups: %w", err)
		}
		who.groups = append(who.groups, gid)
	}
	// Without the primary group among them, a file that denies it to a group would be open (CVE-2023-25173).
	who.groups = append(who.groups, who.gid)
	slices.Sort(who.groups)
	who.groups = slices.Compact(who.groups)
	return who, nil
}

func firstOf[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// checkNonRoot refuses root, and names of the image, which may come to mean root, as kubelet does.
func checkNonRoot(nonRoot bool, asked *int64, word string) error {
	if !nonRoot {
		return nil
	}
	name, _, _ := strings.Cut(word, ":")
	switch {
	case asked != nil && *asked == 0:
		return fmt.Errorf("runAsNonRoot is set and runAsUser is 0")
	case name == "":
		return fmt.Errorf("runAsNonRoot is set and the image runs as root")
	case !isNumber(name):
		return fmt.Errorf("runAsNonRoot is set and the image's user %q is a name: it cannot be known not to be root", name)
	}
	if n, err := parseID(name); err != nil || n == 0 {
		return fmt.Errorf("runAsNonRoot is set and the image runs as user %s", name)
	}
	return nil
}

// resolveUser gives who "", USER or USER:GROUP is, each a name or a number, by an image's passwd and group. A number is
// never looked up as a name, and one too large for an id is an error (CVE-2024-40635, CVE-2026-46680).
func resolveUser(word string, passwd, group []byte) (identity, error) {
	name, groupName, hasGroup := strings.Cut(word, ":")
	if name == "" {
		name = "0"
	}
	who := identity{home: "/"}
	entry, found, err := findUser(name, passwd)
	switch {
	case err != nil:
		return who, err
	case found:
		who.uid, who.gid, who.home = entry.uid, entry.gid, entry.home
	default:
		if who.uid, err = parseID(name); err != nil {
			return who, err
		}
	}
	if found {
		who.groups = groupsOf(entry.name, group)
	}
	if hasGroup {
		if who.gid, err = findGroup(groupName, group); err != nil {
			return who, err
		}
	}
	return who, nil
}

// isNumber tells what is meant as a number, with or without a sign, however large.
func isNumber(s string) bool {
	digits := strings.TrimLeft(s, "+-")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || s[0] == '+' {
		return 0, fmt.Errorf("%q is not an id between 0 and %d", s, math.MaxInt32)
	}
	return id(n)
}

func id(n int64) (uint32, error) {
	if n < 0 || n > math.MaxInt32 {
		return 0, fmt.Errorf("%d is not an id between 0 and %d", n, math.MaxInt32)
	}
	return uint32(n), nil
}

type account struct {
	name     string
	uid, gid uint32
	home     string
}

// findUser looks a user up in a passwd(5) text, by name or by number. A name that is not there is an error; a number
// need not be.
func findUser(word string, passwd []byte) (account, bool, error) {
	numeric := isNumber(word)
	var want uint32
	if numeric {
		var err error
		if want, err = parseID(word); err != nil {
			return account{}, false, err
		}
	}
	for line := range bytes.Lines(passwd) {
		f := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
		if len(f) < 6 || (!numeric && f[0] != word) {
			continue
		}
		uid, errU := parseID(orNone(f[2]))
		gid, errG := parseID(orNone(f[3]))
		switch {
		case numeric && (errU != nil || uid != want):
			continue
		case errU != nil || errG != nil:
			return account{}, false, fmt.Errorf("the image's passwd entry of %q has ids %q and %q", word, f[2], f[3])
		}
		home := f[5]
		if home == "" || home[0] != '/' {
			home = "/"
		}
		return account{f[0], uid, gid, home}, true, nil
	}
	if !numeric {
		return account{}, false, fmt.Errorf("user %q is not in the image's /etc/passwd", word)
	}
	return account{}, false, nil
}

// orNone keeps an empty field from being indexed.
func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func findGroup(word string, group []byte) (uint32, error) {
	if isNumber(word) {
		return parseID(word)
	}
	for line := range bytes.Lines(group) {
		f := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
		if len(f) >= 3 && f[0] == word && word != "" {
			return parseID(orNone(f[2]))
		}
	}
	return 0, fmt.Errorf("group %q is not in the image's /etc/group", word)
}

// groupsOf gives the groups of a group(5) text that have a user as member.
func groupsOf(user string, group []byte) []uint32 {
	var gids []uint32
	for line := range bytes.Lines(group) {
		f := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
		if len(f) < 4 || !slices.Contains(strings.Split(f[3], ","), user) {
			continue
		}
		if gid, err := parseID(orNone(f[2])); err == nil {
			gids = append(gids, gid)
		}
	}
	return gids
}
