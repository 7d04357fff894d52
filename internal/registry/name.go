package registry

import (
	"fmt"

	"github.com/distribution/reference"
	"go.podman.io/image/v5/pkg/shortnames"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
)

// Normalize is the full reference that docker means by name: nginx is docker.io/library/nginx:latest.
func Normalize(name string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("bad image name %q: %w", name, err)
	}
	return reference.TagNameOnly(named), nil
}

// Candidates are the full references that name may mean, in the order in which they are tried. A short name such as
// nginx is looked up in the aliases and unqualified-search-registries of registries.conf, and means docker.io where
// these say nothing, as for docker and kubelet.
func (o Options) Candidates(name string) ([]reference.Named, error) {
	normal, err := Normalize(name)
	if err != nil {
		return nil, err
	}
	if !shortnames.IsShortName(name) {
		return []reference.Named{normal}, nil
	}
	sys := o.system()
	alias, _, err := sysregistriesv2.ResolveShortNameAlias(sys, bare(name))
	if err != nil {
		return nil, fmt.Errorf("cannot resolve image name %s: %w", name, explain(err))
	}
	search, err := sysregistriesv2.UnqualifiedSearchRegistries(sys)
	if err != nil {
		return nil, fmt.Errorf("cannot resolve image name %s: %w", name, explain(err))
	}
	if alias == nil && len(search) == 0 {
		return []reference.Named{normal}, nil
	}
	resolved, err := shortnames.Resolve(sys, name)
	if err != nil {
		return nil, fmt.Errorf("cannot resolve image name %s: %w", name, explain(err))
	}
	var out []reference.Named
	for _, c := range resolved.PullCandidates {
		named, err := reference.ParseNormalizedNamed(c.Value.String())
		if err != nil {
			return nil, fmt.Errorf("cannot resolve image name %s: %w", name, err)
		}
		out = append(out, reference.TagNameOnly(named))
	}
	return out, nil
}

// bare is name without tag and digest, and without the docker.io that normalizing adds.
func bare(name string) string {
	ref, err := reference.Parse(name)
	if err != nil {
		return name
	}
	if named, ok := ref.(reference.Named); ok {
		return named.Name()
	}
	return name
}
