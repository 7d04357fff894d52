package registry

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ParsePlatform reads OS/ARCH[/VARIANT], such as linux/arm64. "" is this host's.
func ParsePlatform(s string) (ocispec.Platform, error) {
	if s == "" {
		return ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return ocispec.Platform{}, fmt.Errorf("bad platform %q: want OS/ARCH or OS/ARCH/VARIANT", s)
	}
	p := ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// Choose picks the manifest of an index for a platform: the first that names the wanted variant, else the most capable
// variant that is not above it, else the first of the architecture. An index with one manifest and no platform means it.
func Choose(index *Document, want ocispec.Platform) (ocispec.Descriptor, error) {
	best, bestRank := -1, -1
	var have []string
	for i, m := range index.Manifests {
		if m.Platform == nil {
			if len(index.Manifests) == 1 {
				return m, nil
			}
			continue
		}
		if m.Platform.OS != "unknown" {
			have = append(have, platformString(*m.Platform))
		}
		if m.Platform.OS != want.OS || m.Platform.Architecture != want.Architecture {
			continue
		}
		if rank := variantRank(want, m.Platform.Variant); rank > bestRank {
			best, bestRank = i, rank
		}
	}
	if best < 0 {
		return ocispec.Descriptor{}, fmt.Errorf("no image for platform %s: there are %s", platformString(want), strings.Join(have, ", "))
	}
	return index.Manifests[best], nil
}

// variantRank orders the variants of one architecture; -1 does not run there.
func variantRank(want ocispec.Platform, variant string) int {
	wanted, has := variantNumber(want.Architecture, want.Variant), variantNumber(want.Architecture, variant)
	switch {
	case variant == want.Variant:
		return 100
	case want.Variant != "" && has > wanted:
		return -1
	case want.Variant == "" && want.Architecture != "arm":
		return 10 - has // the plainest runs everywhere
	}
	return has
}

// variantNumber is 7 of v7. arm64 alone means v8, arm alone v7 (OCI image-spec, image-index.md, "Platform Variants"), amd64 v1.
func variantNumber(arch, variant string) int {
	if len(variant) == 2 && variant[0] == 'v' && variant[1] >= '1' && variant[1] <= '9' {
		return int(variant[1] - '0')
	}
	switch arch {
	case "arm":
		return 7
	case "arm64":
		return 8
	}
	return 1
}

func platformString(p ocispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}
