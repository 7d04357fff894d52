package e2e

import (
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write what was seen into the scripts")

// TestMain sees that this program has no loader: scripts copy it, as msg and listen, into images that have no C library. Where
// go test has linked one, it is built again without and takes over.
func TestMain(m *testing.M) {
	if linked() {
		fmt.Fprintln(os.Stderr, takeOver())
		os.Exit(1)
	}
	testscript.Main(m, map[string]func(){"msg": message, "listen": listen, "hostile": hostile, "deny": deny, "typist": typist, "crowd": crowd})
}

func linked() bool {
	self, err := elf.Open("/proc/self/exe")
	if err != nil {
		return false
	}
	defer self.Close()
	libs, err := self.ImportedLibraries()
	return err == nil && len(libs) > 0
}

// takeOver puts the static program in this one's place, and returns only when it cannot.
func takeOver() error {
	static := filepath.Join(filepath.Dir(os.Args[0]), "e2e-static.test")
	build := exec.Command("go", "test", "-c", "-o", static, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the tests without C: %w: %s", err, out)
	}
	return fmt.Errorf("cannot run %s: %w", static, unix.Exec(static, os.Args, os.Environ()))
}

// registryAddr is where the scripts' registry listens: in the network namespace of a script nothing else does.
const registryAddr = "127.0.0.1:5000"

// registriesConf sends docker.io to the script's registry, as an administrator with a mirror would.
const registriesConf = `unqualified-search-registries = ["docker.io"]
short-name-mode = "permissive"

[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "` + registryAddr + `"
insecure = true

[[registry]]
location = "` + registryAddr + `"
insecure = true
`

// TestScripts runs testdata/script/*.txtar one after another, each as root in a network namespace of its own with folders of
// its own. Beside testscript's commands a script has:
//
//	registry               start the registry with the images of Images
//	let NAME PROGRAM ...   run and keep what it prints in $NAME
//	await SECONDS PROGRAM  run again and again until it succeeds
//	[vm] ...               only in the emulated machine, which has no engines above the runtime
//	clients                kubectl, kubectl-1.20 and informer in PATH, with $KUBECONFIG for the daemon that "daemon start" starts
//	noleaks                see that nothing is left of what was not there when the script began
func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

// runScripts runs the scripts of a folder.
func runScripts(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers are made by root")
	}
	bin := binaries(t)
	storage := images(t)
	work, err := os.MkdirTemp("/tmp", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(work); err != nil {
			t.Error(err)
		}
	})
	tools, err := filepath.Abs("testdata/bin")
	if err != nil {
		t.Fatal(err)
	}
	testscript.RunT(serial{t}, testscript.Params{
		Dir:                 dir,
		WorkdirRoot:         work,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", tools+":"+filepath.Join(env.WorkDir, "bin")+":"+bin+":"+os.Getenv("PATH"))
			return setup(env, bin)
		},
		Condition: func(name string) (bool, error) {
			if name == "vm" {
				return os.Getenv("TRIPOD_VM") != "", nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"registry": func(ts *testscript.TestScript, neg bool, args []string) {
				server, err := Serve(storage, registryAddr)
				ts.Check(err)
				ts.Defer(func() { ts.Check(server.Stop()) })
			},
			"let": let, "await": await, "clients": clients, "noleaks": noLeaks,
		},
	})
}

// binaries is the folder of the tripod that is tested: the one make build wrote, unless PATH has another first.
func binaries(t *testing.T) string {
	if found, err := exec.LookPath("tripod"); err == nil {
		return filepath.Dir(found)
	}
	bin, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "tripod")); err != nil {
		t.Fatalf("%v: run make build", err)
	}
	return bin
}

// images is the storage of the scripts' registry: TRIPOD_E2E_REGISTRY if that is set, or one made now.
func images(t *testing.T) string {
	if dir := os.Getenv("TRIPOD_E2E_REGISTRY"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	all, err := Images()
	if err != nil {
		t.Fatal(err)
	}
	if err := Fill(dir, all); err != nil {
		t.Fatal(err)
	}
	return dir
}

// setup gives a script its folders, its registries.conf and its network namespace. The goroutine keeps its thread, and with it
// the namespace, for every program the script starts; both end together.
func setup(env *testscript.Env, bin string) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("cannot make a network namespace: %w", err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot set lo up: %w: %s", err, out)
	}
	root, run := filepath.Join(env.WorkDir, "root"), filepath.Join(env.WorkDir, "run")
	for name, text := range map[string]string{"registries.conf": registriesConf, "auth.json": "{}"} {
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, value := range map[string]string{
		"OCI": filepath.Join(bin, "tripod-oci"), "ROOT": root, "RUN": run, "TRIPOD_ROOT": root, "TRIPOD_RUN_ROOT": run,
		"CONTAINERS_REGISTRIES_CONF": filepath.Join(env.WorkDir, "registries.conf"),
		"REGISTRY_AUTH_FILE":         filepath.Join(env.WorkDir, "auth.json"),
		"HOME":                       env.WorkDir, "TERM": "dumb", "LANG": "C.UTF-8",
	} {
		env.Setenv(name, value)
	}
	before, err := look(env.WorkDir)
	if err != nil {
		return err
	}
	env.Values[inventoryKey{}] = before
	env.Defer(func() { sweep(env.WorkDir) })
	return nil
}

// let NAME PROGRAM ARGS...
func let(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: let NAME PROGRAM [ARG...]")
	}
	out, err := output(ts, args[1:])
	if err != nil {
		ts.Fatalf("%v: %v", args[1:], err)
	}
	ts.Logf("%s=%s", args[0], out)
	ts.Setenv(args[0], out)
}

// await SECONDS PROGRAM ARGS... With ! it waits until the program fails.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: await SECONDS PROGRAM [ARG...]")
	}
	seconds, err := strconv.Atoi(args[0])
	ts.Check(err)
	deadline := time.Now().Add(time.Duration(seconds*patience()) * time.Second)
	for {
		out, err := output(ts, args[1:])
		if (err == nil) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within %d s: %v: %s %v", seconds, args[1:], out, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// patience multiplies time limits: an emulated machine is slow, and no test is about that.
func patience() int {
	if os.Getenv("TRIPOD_VM") != "" {
		return 10
	}
	return 1
}

// output runs a program in the script's environment and returns what it printed, without the last newline.
func output(ts *testscript.TestScript, args []string) (string, error) {
	program, err := lookPath(ts, args[0])
	if err != nil {
		return "", err
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{
		"PATH", "HOME", "OCI", "ROOT", "RUN", "WORK", "TRIPOD_ROOT", "TRIPOD_RUN_ROOT", "TRIPOD_VM", "CONTAINERS_REGISTRIES_CONF", "REGISTRY_AUTH_FILE", "TERM", "LANG", "KUBECONFIG",
	} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return strings.TrimRight(string(out), "\n"), err
}

func lookPath(ts *testscript.TestScript, name string) (string, error) {
	if strings.Contains(name, "/") {
		return ts.MkAbs(name), nil
	}
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), ":") {
		if p := filepath.Join(dir, name); unix.Access(p, unix.X_OK) == nil {
			return p, nil
		}
	}
	return "", exec.ErrNotFound
}

// serial runs scripts one after another: what they leave behind is told by looking at the whole host.
type serial struct{ *testing.T }

func (s serial) Parallel()     {}
func (s serial) Verbose() bool { return testing.Verbose() }
func (s serial) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(serial{t}) })
}
