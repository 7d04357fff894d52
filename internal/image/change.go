package image

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Change applies one line of a Dockerfile to an image's config, as docker import --change does. It knows CMD, ENTRYPOINT,
// ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR.
func Change(config *ocispec.ImageConfig, line string) error {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return fmt.Errorf("bad change %q: want an instruction and its value, such as CMD /bin/sh", line)
	}
	switch strings.ToUpper(word) {
	case "CMD":
		config.Cmd = command(rest)
	case "ENTRYPOINT":
		config.Entrypoint = command(rest)
	case "ENV":
		key, value, ok := pair(rest)
		if !ok {
			return fmt.Errorf("bad change %q: want ENV NAME=VALUE", line)
		}
		config.Env = append(config.Env, key+"="+value)
	case "LABEL":
		key, value, ok := pair(rest)
		if !ok {
			return fmt.Errorf("bad change %q: want LABEL NAME=VALUE", line)
		}
		config.Labels = with(config.Labels, key, value)
	case "EXPOSE":
		for port := range strings.FieldsSeq(rest) {
			if !strings.Contains(port, "/") {
				port += "/tcp"
			}
			config.ExposedPorts = with(config.ExposedPorts, port, struct{}{})
		}
	case "VOLUME":
		for _, path := range list(rest) {
			config.Volumes = with(config.Volumes, path, struct{}{})
		}
	case "USER":
		config.User = rest
	case "WORKDIR":
		config.WorkingDir = rest
	case "STOPSIGNAL":
		config.StopSignal = rest
	default:
		return fmt.Errorf("bad change %q: %s is no instruction that changes a config", line, word)
	}
	return nil
}

// command is the exec form (a JSON list) or the shell form of a Dockerfile.
func command(s string) []string {
	var words []string
	if json.Unmarshal([]byte(s), &words) == nil {
		return words
	}
	return []string{"/bin/sh", "-c", s}
}

func list(s string) []string {
	var words []string
	if json.Unmarshal([]byte(s), &words) == nil {
		return words
	}
	return strings.Fields(s)
}

// pair splits NAME=VALUE, or the older NAME VALUE.
func pair(s string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(s, "=")
	if !ok || strings.Contains(key, " ") {
		key, value, ok = strings.Cut(s, " ")
	}
	if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1 : n-1]
	}
	return key, value, ok && key != ""
}

func with[V any](m map[string]V, key string, value V) map[string]V {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]V{}
	}
	out[key] = value
	return out
}
