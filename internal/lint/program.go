package lint

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
)

// imageTag asks for a tag that stays, or a digest.
func imageTag(s *subject, c *container) {
	transport, _, _ := strings.Cut(c.Image, ":")
	if slices.Contains([]string{"host", "dir", "oci", "oci-archive", "docker-archive"}, transport) {
		return // these are files of this host
	}
	ref, err := reference.ParseNormalizedNamed(c.Image)
	if err != nil {
		return // which is told when it is run
	}
	if _, ok := ref.(reference.Digested); ok {
		return
	}
	tag := "no tag"
	if t, ok := ref.(reference.Tagged); ok {
		if t.Tag() != "latest" {
			return
		}
		tag = "the tag latest"
	}
	s.reportIn(c, "image", "write a version, or a digest (name@sha256:…)", "image %s has %s", c.Image, tag)
}

// argv is what a container executes, as Kubernetes resolves command and args against the image. known is false when
// only an image that is not here says it.
func argv(c *container) (args []string, known bool) {
	if len(c.Command) > 0 {
		return slices.Concat(c.Command, c.Args), true
	}
	if c.image == nil {
		return nil, false
	}
	args = slices.Clone(c.image.Config.Entrypoint)
	if len(c.Args) > 0 {
		return append(args, c.Args...), true
	}
	return append(args, c.image.Config.Cmd...), true
}

func commandMissing(s *subject, c *container) {
	if args, known := argv(c); known && len(args) == 0 {
		s.reportIn(c, "command", "add command", "the image %s has no command and the manifest names none", c.Image)
	}
}

var shells = []string{"sh", "ash", "bash", "dash", "ksh", "zsh", "busybox"}

// shellAsPID1 finds sh -c '…' whose last command is not exec'd. Of a Pod that shares its PID namespace pause is PID 1,
// which reaps, but signals still end at the shell.
func shellAsPID1(s *subject, c *container) {
	args, known := argv(c)
	if !known || len(args) == 0 || c.init || s.ends() {
		return
	}
	if slices.Contains([]string{"tini", "dumb-init", "catatonit", "s6-svscan", "docker-init"}, path.Base(args[0])) {
		return
	}
	script, ok := shellScript(args)
	if !ok || execs(script) {
		return
	}
	where := "command"
	if len(c.Command) == 0 {
		where = "image"
	}
	s.reportIn(c, where, "begin the last command with exec: sh -c 'exec program', or name the program itself", "PID 1 is the shell %s", args[0])
}

// shellScript gives the text after a shell's -c.
func shellScript(args []string) (string, bool) {
	if path.Base(args[0]) == "busybox" && len(args) > 1 {
		args = args[1:]
	}
	if !slices.Contains(shells, path.Base(args[0])) {
		return "", false
	}
	for i, a := range args[1:] {
		if strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.Contains(a, "c") && i+2 < len(args) {
			return args[i+2], true
		}
	}
	return "", false
}

// execs says that a script gives its process to another program, or minds signals itself. A script of one simple command
// is exec'd by the usual shells unasked.
func execs(script string) bool {
	words := strings.FieldsFunc(script, func(r rune) bool { return strings.ContainsRune(" \t\n;&|()", r) })
	if slices.Contains(words, "exec") || slices.Contains(words, "trap") {
		return true
	}
	return !strings.ContainsAny(strings.TrimSpace(script), ";&|\n(`") && !slices.ContainsFunc(words, func(w string) bool {
		return slices.Contains([]string{"while", "for", "until", "if", "case"}, w)
	})
}

// serves says that others send requests to a container.
func serves(s *subject, c *container) bool { return !c.init && !s.ends() && len(c.Ports) > 0 }

func readinessProbe(s *subject, c *container) {
	if !serves(s, c) || c.ReadinessProbe != nil {
		return
	}
	f := s.reportIn(c, "readinessProbe", "add readinessProbe: {httpGet: {path: /ready, port: …}}", "no readinessProbe")
	for _, p := range c.Ports {
		if p.Protocol == corev1.ProtocolTCP {
			f.fix(s, c.path+".readinessProbe.tcpSocket.port", fmt.Sprint(p.ContainerPort), "better an httpGet that says when it can work")
			return
		}
	}
}

func livenessProbe(s *subject, c *container) {
	if !c.init && !s.ends() && c.LivenessProbe == nil {
		s.reportIn(c, "livenessProbe", "add livenessProbe with a request that fails only when a restart helps", "no livenessProbe")
	}
}

func sameProbes(s *subject, c *container) {
	if c.LivenessProbe == nil || c.ReadinessProbe == nil {
		return
	}
	live, ready := *c.LivenessProbe, *c.ReadinessProbe
	if reflect.DeepEqual(live.ProbeHandler, ready.ProbeHandler) && live.FailureThreshold <= ready.FailureThreshold {
		s.reportIn(c, "livenessProbe", "ask for less, or raise failureThreshold", "livenessProbe and readinessProbe are the same")
	}
}

func preStopSleep(s *subject, c *container) {
	grace := s.Pod.Spec.TerminationGracePeriodSeconds
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil || grace == nil {
		return
	}
	if sleep := c.Lifecycle.PreStop.Sleep.Seconds; sleep+5 > *grace {
		s.reportIn(c, "lifecycle.preStop.sleep.seconds", fmt.Sprintf("write terminationGracePeriodSeconds: %d or more", sleep+15), "%d s of sleep leave %d s to shut down", sleep, max(0, *grace-sleep))
	}
}

func duplicateEnv(s *subject, c *container) {
	seen := map[string]bool{}
	for i, e := range c.Env {
		if seen[e.Name] {
			s.reportIn(c, fmt.Sprintf("env[%d].name", i), "take one out", "variable %s is there twice", e.Name)
		}
		seen[e.Name] = true
	}
}

// secretWords are parts of the names of variables and options that hold secrets.
var secretWords = []string{"PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "APIKEY", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY", "CREDENTIAL"}

// innocent are endings of names that point to a secret and hold none.
var innocent = []string{"_FILE", "_PATH", "_DIR", "_NAME", "_URL", "_TTL", "_TYPE", "_HEADER", "_EXPIRY", "_ENABLED"}

func isSecret(name string) bool {
	name = strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	for _, end := range innocent {
		if strings.HasSuffix(name, end) {
			return false
		}
	}
	return slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(name, w) })
}

func secretInEnv(s *subject, c *container) {
	for i, e := range c.Env {
		if isSecret(e.Name) && e.Value != "" && !strings.HasPrefix(e.Value, "$(") {
			s.reportIn(c, fmt.Sprintf("env[%d].value", i), "mount a Secret as a file, or use valueFrom.secretKeyRef", "variable %s has its secret in the manifest", e.Name)
		}
	}
}

func secretFromEnv(s *subject, c *container) {
	const advice = "mount the Secret as a volume"
	for i, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			s.reportIn(c, fmt.Sprintf("env[%d].valueFrom.secretKeyRef", i), advice, "variable %s is a Secret's", e.Name)
		}
	}
	for i, e := range c.EnvFrom {
		if e.SecretRef != nil {
			s.reportIn(c, fmt.Sprintf("envFrom[%d].secretRef", i), advice, "all of Secret %s are variables", e.SecretRef.Name)
		}
	}
}

func secretInArgs(s *subject, c *container) {
	for _, list := range []struct {
		field string
		words []string
	}{{"command", c.Command}, {"args", c.Args}} {
		for i, w := range list.words {
			name, value, found := strings.Cut(w, "=")
			if strings.HasPrefix(name, "-") && found && value != "" && !strings.HasPrefix(value, "$(") && isSecret(strings.TrimLeft(name, "-")) {
				s.reportIn(c, fmt.Sprintf("%s[%d]", list.field, i), "let the program read it from a file", "option %s has its secret in the manifest", name)
			}
		}
	}
}
