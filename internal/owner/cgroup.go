package owner

import (
	"strconv"
	"strings"
)

// maxDepth is how many components of a cgroup's path are looked at. The kernel allows more; no runtime makes them.
const maxDepth = 64

// line is one line of /proc/PID/cgroup: hierarchy-ID:controllers:path (cgroups(7)).
type line struct {
	controllers string // "" for cgroup v2
	path        string
}

// parseLines reads /proc/PID/cgroup. A line that is not one is passed over: a path may hold a newline, and what stands after it
// is not believed to be a line unless it looks like one in full, in which case it comes later than the true ones.
func parseLines(text string) []line {
	var lines []line
	for l := range strings.SplitSeq(text, "\n") {
		id, rest, ok := strings.Cut(l, ":")
		if _, err := strconv.ParseUint(id, 10, 32); !ok || err != nil {
			continue
		}
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok || !strings.HasPrefix(path, "/") {
			continue
		}
		lines = append(lines, line{controllers, strings.TrimSuffix(path, " (deleted)")})
		if len(lines) == maxLines {
			break
		}
	}
	return lines
}

// maxLines is how many hierarchies are looked at; a kernel has at most a dozen or two.
const maxLines = 32

// rank is the order in which hierarchies are asked: the unified one, systemd's, those that every runtime uses, the rest.
func rank(controllers string) int {
	switch controllers {
	case "":
		return 0
	case "name=systemd":
		return 1
	case "pids":
		return 2
	case "memory":
		return 3
	case "devices":
		return 4
	}
	return 5
}

// walker goes down a cgroup's path and notes what its components say.
type walker struct {
	parts []string
	c     Container
	at    int // components of the container's own cgroup, 0: none yet
}

// identify tells from a cgroup's path alone whose it is. Known is false for what is no container; the unit is then the host's.
func identify(path string) Container {
	if len(path) > 1<<16 {
		path = path[:1<<16]
	}
	w := walker{parts: split(path)}
	if w.tripod() {
		return w.c
	}
	for i := range w.parts {
		w.unit(i)
		w.kubepod(w.parts[i])
		if w.container(i) {
			w.at = i + 1
			break
		}
	}
	if w.at > 0 {
		w.c.Cgroup = "/" + strings.Join(w.parts[:w.at], "/")
		w.inside()
		return w.c
	}
	if w.c.PodUID != "" {
		// In a Pod's own cgroup and in none of its containers': a runtime's process that serves them all.
		w.c.Runtime = Podman
		if w.c.Engine == Kubelet {
			w.c.Runtime = CRI
		}
		w.c.Monitor = true
		w.c.Cgroup = path
		return w.c
	}
	if w.c.Unit == "" {
		w.c.Cgroup = path
	}
	w.c.Engine = ""
	return w.c
}

func split(path string) []string {
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", maxDepth+1)
	if len(parts) > maxDepth {
		parts = parts[:maxDepth]
	}
	if len(parts) == 1 && parts[0] == "" {
		return nil
	}
	return parts
}

// tripod knows our own: tripod/UID/CONTAINER, tripod/UID/pause, tripod/keepers/UID.
func (w *walker) tripod() bool {
	p := w.parts
	switch {
	case len(p) < 3 || p[0] != "tripod":
		return false
	case p[1] == "keepers" && isUID(p[2]):
		w.c = Container{Runtime: Tripod, PodUID: p[2], Monitor: true}
	case isUID(p[1]) && p[2] == "pause":
		w.c = Container{Runtime: Tripod, PodUID: p[1], Sandbox: true}
	case isUID(p[1]):
		w.c = Container{Runtime: Tripod, PodUID: p[1], Name: p[2]}
	default:
		return false
	}
	w.c.Cgroup = "/" + strings.Join(p[:3], "/")
	w.at = 3
	w.inside()
	return true
}

// unit notes the systemd unit and the user it is run for.
func (w *walker) unit(i int) {
	part := w.parts[i]
	if uid, ok := strings.CutPrefix(part, "user@"); ok {
		if uid, ok = strings.CutSuffix(uid, ".service"); ok && isNumber(uid) {
			w.c.User = uid
		}
	}
	if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") || strings.HasSuffix(part, ".slice") && !strings.HasSuffix(w.c.Unit, ".service") {
		w.c.Unit = part
		w.c.Cgroup = "/" + strings.Join(w.parts[:i+1], "/")
	}
}

// kubepod notes the Pod of a kubelet: kubepods/burstable/podUID, and kubepods-burstable-podUID.slice with _ for -.
func (w *walker) kubepod(part string) {
	switch name, slice := strings.CutSuffix(part, ".slice"); {
	case slice && (strings.HasPrefix(name, "kubepods-") || strings.Contains(name, "-kubepods-")):
		if i := strings.LastIndex(name, "-pod"); i >= 0 {
			w.pod(strings.ReplaceAll(name[i+len("-pod"):], "_", "-"))
		}
	case w.c.Engine == Kubelet && !slice && strings.HasPrefix(part, "pod"):
		w.pod(part[len("pod"):])
	case part == "kubepods":
		w.c.Engine = Kubelet
	}
}

func (w *walker) pod(uid string) {
	if isUID(uid) || isHex(uid, 32) {
		w.c.Engine, w.c.PodUID = Kubelet, uid
	}
}

// container says whether component i is a container's, and notes which.
func (w *walker) container(i int) bool {
	part := w.parts[i]
	above := ""
	if i > 0 {
		above = w.parts[i-1]
	}
	name, scope := strings.CutSuffix(part, ".scope")
	switch {
	case w.prefixed(name, "docker-", Docker),
		w.prefixed(name, "cri-containerd-", Containerd),
		w.prefixed(name, "nerdctl-", Containerd),
		w.prefixed(name, "crio-conmon-", CRIO),
		w.prefixed(name, "crio-", CRIO),
		w.prefixed(name, "libpod-conmon-", Podman),
		w.prefixed(name, "libpod-payload-", Podman),
		w.prefixed(name, "libpod-", Podman):
		return true
	case scope && w.scope(name), scope && w.nspawn(name, above, i):
		w.supervisor(i)
		return true
	case w.lxc(part, above):
		return true
	case w.service(part):
		w.supervisor(i)
		return true
	case above == "libpod_parent" && isHex(part, 64):
		w.c.PodUID = part
		return false
	case isHex(part, 64) || above == "buildkit" && len(part) >= 20:
		w.bare(part, above, i)
		return true
	}
	return w.podman(part, above)
}

// podman notes its Pods, machine-libpod_pod_ID.slice and libpod_parent/ID, and knows where its conmons are.
func (w *walker) podman(part, above string) bool {
	if _, id, ok := strings.Cut(part, "libpod_pod_"); ok {
		if id = strings.TrimSuffix(id, ".slice"); isHex(id, 64) {
			w.c.PodUID = id
		}
	}
	if part == "conmon" && (above == "libpod_parent" || w.c.PodUID != "" && w.c.Engine == "") {
		w.c.Runtime, w.c.Monitor = Podman, true
		return true
	}
	return false
}

// prefixed knows the scopes and cgroups that are a runtime's prefix and a long ID.
func (w *walker) prefixed(name, prefix, runtime string) bool {
	id, ok := strings.CutPrefix(name, prefix)
	if !ok || !isHex(id, 64) {
		return false
	}
	w.c.Runtime, w.c.ID = runtime, id
	w.c.Monitor = strings.HasSuffix(prefix, "-conmon-")
	return true
}

// scope knows what systemd runs in a scope: machines, flatpak's and snap's applications, containers of runc and crun with the
// systemd driver.
func (w *walker) scope(name string) bool {
	switch {
	case strings.HasPrefix(name, "machine-"):
		w.c.Runtime, w.c.Name = Machined, unescapeUnit(name[len("machine-"):])
	case strings.HasPrefix(name, "app-flatpak-"):
		app, number, ok := cutLast(name[len("app-flatpak-"):], "-")
		if !ok {
			app = number
		}
		w.c.Runtime, w.c.Name = Flatpak, unescapeUnit(app)
	case strings.HasPrefix(name, "snap."):
		w.snap(name)
	case strings.HasPrefix(name, "runc-"):
		w.c.Runtime, w.c.ID = Runc, unescapeUnit(name[len("runc-"):])
	case strings.HasPrefix(name, "crun-"):
		w.c.Runtime, w.c.ID = Crun, unescapeUnit(name[len("crun-"):])
	default:
		return false
	}
	return true
}

// nspawn knows a container that systemd-nspawn was told to run from a shell, without systemd-machined: machine.slice/NAME.scope, with
// payload and supervisor below it.
func (w *walker) nspawn(name, above string, i int) bool {
	if above != "machine.slice" || i+1 >= len(w.parts) || w.parts[i+1] != "payload" && w.parts[i+1] != "supervisor" {
		return false
	}
	w.c.Runtime, w.c.Name = Nspawn, unescapeUnit(name)
	return true
}

// supervisor notes that a process of a machine is systemd-nspawn itself.
func (w *walker) supervisor(i int) {
	if (w.c.Runtime == Nspawn || w.c.Runtime == Machined) && i+1 < len(w.parts) && w.parts[i+1] == "supervisor" {
		w.c.Monitor = true
	}
}

// service knows the services that are containers.
func (w *walker) service(part string) bool {
	name, ok := strings.CutSuffix(part, ".service")
	if !ok {
		return false
	}
	switch {
	case strings.HasPrefix(name, "systemd-nspawn@"):
		w.c.Runtime, w.c.Name = Nspawn, unescapeUnit(name[len("systemd-nspawn@"):])
	case strings.HasPrefix(name, "snap."):
		w.snap(name)
	default:
		return false
	}
	return true
}

// snap knows snap.NAME.APP, for a service, and snap.NAME.APP-UUID or snap.NAME.APP.UUID, for a command.
func (w *walker) snap(name string) {
	rest := strings.TrimPrefix(name, "snap.")
	pkg, app, _ := strings.Cut(rest, ".")
	if n := len(app) - 36; n > 0 && isUID(app[n:]) {
		app = app[:n-1]
	}
	w.c.Runtime, w.c.Name = Snap, pkg
	if app != "" && app != pkg {
		w.c.Name += "." + app
	}
}

// lxc knows lxc.payload.NAME and lxc.monitor.NAME (LXC 4 and later), and lxc.payload/NAME, lxc.monitor/NAME, lxc/NAME before.
func (w *walker) lxc(part, above string) bool {
	name := ""
	switch {
	case strings.HasPrefix(part, "lxc.payload."):
		name = part[len("lxc.payload."):]
	case strings.HasPrefix(part, "lxc.monitor."):
		name, w.c.Monitor = part[len("lxc.monitor."):], true
	case above == "lxc" || above == "lxc.payload":
		name = part
	case above == "lxc.monitor":
		name, w.c.Monitor = part, true
	}
	if name == "" {
		w.c.Monitor = false
		return false
	}
	w.c.Runtime, w.c.Name = LXC, name
	return true
}

// bare knows the containers of which the path has nothing but an ID.
func (w *walker) bare(id, above string, i int) {
	w.c.ID = id
	switch {
	case above == "docker":
		w.c.Runtime = Docker
	case above == "buildkit":
		w.c.Runtime = BuildKit
	case w.c.Engine == Kubelet:
		w.c.Runtime = CRI
	case i == 1 && (above == "default" || above == "k8s.io"):
		w.c.Runtime, w.c.Engine = Containerd, above
	default:
		w.c.Runtime = OCI
	}
}

// inside notes what the rest of the path calls itself.
func (w *walker) inside() {
	rest := w.parts[w.at:]
	if len(rest) > 0 {
		w.c.Inside = "/" + strings.Join(rest, "/")
	}
}

// cutLast cuts s around the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// unescapeUnit undoes systemd's escaping of unit names: \x2d is -, and - is / (systemd.unit(5)). Names of machines and IDs of
// containers have no /, and not everybody escapes their -, so a bare - stays.
func unescapeUnit(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// isHex says whether s is n lower-case hexadecimal digits.
func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// isUID says whether s has the form of a Pod's UID: 8-4-4-4-12 hexadecimal digits.
func isUID(s string) bool {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	return isHex(s[:8], 8) && isHex(s[9:13], 4) && isHex(s[14:18], 4) && isHex(s[19:23], 4) && isHex(s[24:], 12)
}

func isNumber(s string) bool { return number(s) >= 0 }

// number is a UID or another number of 31 bits, -1 when s is none.
func number(s string) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
}
