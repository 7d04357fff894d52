package bundle

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// User gives who USER or USER:GROUP is, names or numbers, by a container's passwd and group: who an exec runs as.
func User(word string, passwd, group []byte) (specs.User, error) {
	who, err := resolveUser(word, passwd, group)
	if err != nil {
		return specs.User{}, err
	}
	// As in user: without the primary group among them a file that denies it would be open (CVE-2023-25173).
	who.groups = append(who.groups, who.gid)
	slices.Sort(who.groups)
	who.groups = slices.Compact(who.groups)
	return who.spec(), nil
}
