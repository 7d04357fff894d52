package lsns

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tripod/internal/ns/alone"
)

// asCommand is the variable of the environment that makes the test's program the command; its value is the terminal's width.
const asCommand = "TRIPOD_TEST_LSNS"

func TestMain(m *testing.M) {
	if width, ok := os.LookupEnv(asCommand); ok {
		c := Command{Out: os.Stdout, Err: os.Stderr, UTF8: os.Getenv("LC_ALL") == "C.UTF-8"}
		c.Terminal.Width, _ = strconv.Atoi(width)
		c.Terminal.Is = c.Terminal.Width > 0
		os.Exit(c.Run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// upstream is util-linux's lsns, of the version that output is compared with.
func upstream(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"/usr/bin/lsns", "/bin/lsns"} {
		if out, err := exec.Command(path, "--version").Output(); err == nil && strings.Contains(string(out), "util-linux 2.38") {
			return path
		}
	}
	t.Skip("no lsns of util-linux 2.38")
	return ""
}

// hasUTF8 says whether the C library has the locale that output is compared in.
func hasUTF8() bool {
	out, err := exec.Command("locale", "-a").Output()
	return err == nil && strings.Contains(strings.ToLower(string(out)), "c.utf8")
}

// answer is what a command printed.
type answer struct {
	out, err string
	code     int
}

// ask runs a program with a locale, on a terminal of a width or, with 0, on a pipe.
func ask(t *testing.T, program string, locale string, width int, args []string) answer {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Args[0] = "lsns"
	cmd.Env = []string{"LC_ALL=" + locale, "PATH=/usr/bin:/bin"}
	if program == "/proc/self/exe" {
		cmd.Env = append(cmd.Env, asCommand+"="+strconv.Itoa(width), "GORACE="+os.Getenv("GORACE"))
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if width > 0 && program != "/proc/self/exe" {
		return onTerminal(t, cmd, width)
	}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return answer{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// onTerminal runs a program on a terminal of its own.
func onTerminal(t *testing.T, cmd *exec.Cmd, width int) answer {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(width), Row: 24}); err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var out bytes.Buffer
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			break // EIO: nobody has the other end any more
		}
	}
	cmd.Wait()
	return answer{strings.ReplaceAll(out.String(), "\r\n", "\n"), cmd.Stderr.(*bytes.Buffer).String(), cmd.ProcessState.ExitCode()}
}

// TestAgainstUtilLinux asks both programs the same of the same processes, and compares every byte: all forms with all selections
// in two locales, terminals of several widths, and mistakes.
func TestAgainstUtilLinux(t *testing.T) {
	theirs := upstream(t)
	if !alone.Inside(t) {
		return
	}
	net := field(t)
	forms := []string{"", "-l", "-J", "-r", "-T", "-Tparent", "--tree=process", "-J -l", "-r -T", "-J -Tparent", "-n", "-u", "-W -T", "-r -l -n"}
	selections := []string{
		"", "-t net", "-t user", "-t mnt -t pid", "-p 1", "-p " + net.pid, "-p " + net.pid + " -t net", "-p 999999", "-p 0", "--output-all", "-o COMMAND,NS", "-o COMMAND,NS,COMMAND",
		"-o +PATH,PPID", "-o NS,TYPE,PNS,ONS,UID", "-o +NSFS,NETNSID -t net", "-t user -t pid -o ns,Type,nprocs,PNS", net.id, net.id + " --output-all", net.id + " -o +NS",
	}
	compared := 0
	compare := func(locale string, width int, args []string) {
		t.Helper()
		compared++
		want, got := ask(t, theirs, locale, width, args), ask(t, "/proc/self/exe", locale, width, args)
		if want != got {
			t.Errorf("LC_ALL=%s COLUMNS=%d lsns %q: exit code %d, want %d\n%s", locale, width, args, got.code, want.code, cmp.Diff(want.out+want.err, got.out+got.err))
		}
	}
	locales := []string{"C"}
	if hasUTF8() {
		locales = append(locales, "C.UTF-8")
	}
	for _, locale := range locales {
		for _, form := range forms {
			for _, selection := range selections {
				compare(locale, 0, strings.Fields(form+" "+selection))
			}
		}
	}
	for _, width := range []int{1, 30, 40, 41, 60, 80, 200} {
		for _, args := range []string{"", "-T", "-l", "-u", "-r", "-J", "-n", "-o COMMAND,NS", "--output-all", "-t net", net.id} {
			compare(locales[len(locales)-1], width, strings.Fields(args))
		}
		compare("C", width, nil)
	}
	for _, args := range []string{
		"-o foo", "-t foo", "-Tfoo", "-J -r", "-r --json", "-x", "--foo", "--no", "--json=x", "12345", "--out NS", "-p x", "-p", "-o", "--task=1x", net.id + " -p 1",
		"-t net,ipc", "-t NET", "-T=owner", "-o NS --output-all", "-nt net -l", "-- 12345", "-J -t foo",
	} {
		compare("C", 0, strings.Fields(args))
	}
	t.Logf("%d command lines compared", compared)
}

// one is a process in a network namespace.
type one struct{ pid, id string }

// field starts processes in namespaces of all kinds, among them some with names that want care. They all sleep.
func field(t *testing.T) one {
	t.Helper()
	run := t.TempDir()
	for name, data := range map[string]string{"a": "", "b c": "", "d": ""} {
		if err := os.WriteFile(filepath.Join(run, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	alone.Script(t, 0, alone.Sleeper)
	alone.Script(t, unix.CLONE_NEWUTS, `unshare -i sh -c "echo ready; sleep 1000; :"; :`)
	alone.Script(t, 0, "exec unshare -Urn sh -ec 'echo ready; exec sleep 1000'")
	alone.Script(t, 0, `exec unshare -Urpf sh -c "unshare -Urpf sh -c \"unshare -n sh -c \\\"echo ready; exec sleep 1000\\\"; :\"; :"`)
	alone.Script(t, unix.CLONE_NEWUTS, "echo ready; exec setpriv --reuid 65533 --clear-groups sleep 1000")
	alone.Script(t, unix.CLONE_NEWIPC, "echo ready; exec setpriv --reuid 65534 --clear-groups sleep 1000")
	alone.Script(t, unix.CLONE_NEWUTS, alone.Sleeper+"; : "+strings.Repeat("x", 20000))
	// PIDs of four digits, and a child whose PID is lower than its parent's.
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte("1998"), 0); err != nil {
		t.Fatal(err)
	}
	alone.Script(t, unix.CLONE_NEWUTS, "echo 100 >/proc/sys/kernel/ns_last_pid; unshare -i sh -c 'echo ready; sleep 1000; :'; :")
	for i, title := range []string{
		"we\tird \x1b[31mred\x1b[m\nline\x01", "back\\x41\\ \"quoted\" '", "", " spaces  ", "é日本語 wide " + strings.Repeat("日本", 40), strings.Repeat("é", 100),
		"e\u0301combining", "smile 😀 there", "invalid \xff\xc3( bytes",
	} {
		// JSON of bytes that are no UTF-8 is no JSON: docs/lsns.md.
		if strings.Contains(title, "\xff") {
			title = strings.ToValidUTF8(title, "?")
		}
		cmd := exec.Command("/bin/sleep", "1000")
		cmd.Args[0] = title
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: []uintptr{unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWNS}[i%3], Pdeathsig: unix.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
	// A network namespace with four processes that is mounted three times, and has a number in ours.
	cmd := alone.Script(t, unix.CLONE_NEWNET, "sleep 1000 & sh -c 'sleep 1002 & echo ready; wait' & exec sleep 1001")
	pid := strconv.Itoa(cmd.Process.Pid)
	for _, name := range []string{"a", "b c", "d"} {
		path := filepath.Join(run, name)
		if err := unix.Mount("/proc/"+pid+"/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	}
	if out, err := exec.Command("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", pid).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat("/proc/" + pid + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return one{pid, strconv.FormatUint(info.Sys().(*syscall.Stat_t).Ino, 10)}
}
