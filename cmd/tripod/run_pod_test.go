package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"tripod/internal/golden"
)

// here are the surroundings of the tests.
var here = surroundings{
	dir:     "/home/user",
	environ: []string{"HOME=/home/user", "GREETING=hello"},
	files:   map[string]string{"vars": "# a comment\n\nA=1\nGREETING\nB=two words \r\n"},
	suffix:  "x7k2p",
	freePort: func(p corev1.ContainerPort) (int32, error) {
		return 40000 + p.ContainerPort, nil
	},
}

// parse reads docker run's words as the command does.
func parse(t *testing.T, line string) (runFlags, []string) {
	t.Helper()
	var f runFlags
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.bind(flags)
	if err := flags.Parse(strings.Split(line, " ")); err != nil {
		t.Fatal(err)
	}
	if flags.Changed("entrypoint") {
		f.entrypoint = &f.entrypointWord
	}
	return f, flags.Args()
}

// Each golden file is a Pod as Kubernetes would default it; its first line is the command line that asks for it.
func TestPodOf(t *testing.T) {
	for name, line := range map[string]string{
		"image":      "busybox",
		"command":    "-it --rm --name box busybox:1.36 sh -c $(date)",
		"registry":   "quay.io/org/my_app@sha256:" + strings.Repeat("a", 64),
		"archive":    "oci-archive:/tmp/app.tar:v1",
		"host":       "host:/ uname -a",
		"env":        "-e A=x -e GREETING -e MISSING --env-file vars busybox env",
		"limits":     "-m 64m --memory-reservation 32m --cpus 0.25 --pids-limit 100 busybox",
		"volumes":    "-v /srv:/data:ro,rslave -v ./site:/site -v /cache --tmpfs /t:size=1m --mount type=bind,source=/a,target=/b,readonly busybox",
		"ports":      "-p 8080:80 -p 127.0.0.1:53:53/udp -p [::1]:9000-9001:90-91 nginx",
		"free-ports": "-p 80 -p 90-91/udp -p 127.0.0.1::443 -p 0:81 nginx",
		"docker":     "--init --net none --shm-size 64m --stop-signal int --cpu-shares 512 --group-add 50,60 --restart on-failure:3 busybox",
		"security":   "--user 1000:50 --read-only --cap-drop ALL --cap-add CAP_NET_ADMIN,sys_time --security-opt no-new-privileges --security-opt seccomp=unconfined busybox",
		"names":      "--user www-data:games --hostname h1 --userns container --network none busybox",
		"shared":     "--network host --pid host --ipc host --privileged busybox",
		"entrypoint": "--entrypoint /bin/ls -w /tmp nginx -l",
		"no-entry":   "--entrypoint= nginx ls -l",
		"policies":   "--pull always --restart on-failure --stop-timeout 3 -n shop busybox",
		"dns":        "--dns 192.0.2.53 --dns-search example.org --dns-option ndots:2 --add-host db:192.0.2.7 --sysctl net.ipv4.ip_forward=1 -l app=web --annotation note=1 busybox",
	} {
		t.Run(name, func(t *testing.T) {
			f, args := parse(t, line)
			pod, err := podOf(f, args[0], args[1:], here)
			if err != nil {
				t.Fatal(err)
			}
			if pod, err = checked(pod); err != nil {
				t.Fatal(err)
			}
			text, err := yaml.Marshal(pod)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, filepath.Join("testdata", "run", name+".yaml"), "# tripod run "+line+"\n"+string(text))
		})
	}
}

func TestPodOfRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"-v data:/d busybox":                   `cannot use -v "data:/d": data is not a path`,
		"-v /a:b busybox":                      `cannot use -v /a:b: "b" is not an absolute path`,
		"-v /a:/b:shared,x busybox":            `cannot use -v "/a:/b:shared,x": no such option "x"`,
		"-v /a:/b -v /c:/b/ busybox":           `cannot use -v /c:/b/: something is mounted on /b already`,
		"--mount type=npipe,target=/b busybox": `cannot use --mount "type=npipe,target=/b": no such type "npipe"`,
		"--mount type=bind,target=/b busybox":  `cannot use --mount "type=bind,target=/b": no source`,
		"--tmpfs /t:size=x busybox":            `cannot use --tmpfs "/t:size=x": size "x": not a size`,
		"-p 0 busybox":                         `cannot use -p "0": "0" is not a port from 1 to 65535`,
		"-p 70000:80 busybox":                  `cannot use -p "70000:80": "70000" is not a port from 1 to 65535`,
		"-p x busybox":                         `cannot use -p "x": "x" is not a port from 1 to 65535`,
		"--stop-signal X busybox":              `cannot use --stop-signal "X": signal "X" is not known`,
		"--shm-size x busybox":                 `cannot use --shm-size "x": not a size`,
		"--cpu-shares -1 busybox":              `cannot use --cpu-shares -1: not from 2 to 262144`,
		"--group-add staff busybox":            `cannot use --group-add "staff": not a number`,
		"--restart always:3 busybox":           `cannot use --restart "always:3": no such policy`,
		"--restart on-failure:few busybox":     `cannot use --restart "on-failure:few": no such policy`,
		"-p 80:80/icmp busybox":                `cannot use -p "80:80/icmp": no such protocol "ICMP"`,
		"-p 1-2:1-3 busybox":                   `cannot use -p "1-2:1-3": the two ranges are not of one length`,
		"-p host:80:80 busybox":                `cannot use -p "host:80:80": "host" is not an IP address`,
		"-m lots busybox":                      `cannot use -m "lots": not a size`,
		"-m 9999999999g busybox":               `cannot use -m "9999999999g": too large`,
		"--cpus nan busybox":                   `cannot use --cpus "nan": not a number of CPUs`,
		"--user : busybox":                     `cannot use --user ":": not a user and group`,
		"--pull never-ever busybox":            `cannot use --pull "never-ever": no such policy`,
		"--rm --restart always busybox":        `cannot use --rm with --restart always`,
		"--network mynet busybox":              `cannot use --network "mynet": no such network`,
		"--security-opt label=x busybox":       `cannot use --security-opt "label=x": no such option`,
		"--sysctl a busybox":                   `cannot use --sysctl "a": no value`,
		"--add-host db busybox":                `cannot use --add-host "db": not a name and an address`,
		"-e =x busybox":                        `cannot use -e "=x": no variable name`,
		"--entrypoint= busybox":                `cannot run busybox: --entrypoint is empty and there is no command`,
	} {
		f, args := parse(t, line)
		_, err := podOf(f, args[0], args[1:], here)
		if err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", line, err, want)
			continue
		}
		if h, ok := err.(hinted); !ok || h.Hint() == "" {
			t.Errorf("%s: no hint", line)
		}
	}
}

// What Kubernetes refuses in a Pod is refused on the command line too, before anything is made.
func TestChecked(t *testing.T) {
	f, args := parse(t, "--name Not_A_Name --hostname UPPER busybox")
	pod, err := podOf(f, args[0], args[1:], here)
	if err != nil {
		t.Fatal(err)
	}
	_, err = checked(pod)
	for _, want := range []string{"the command line: metadata.name", "the command line: spec.hostname"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
}

func TestContainerName(t *testing.T) {
	for image, want := range map[string]string{
		"busybox":                     "busybox",
		"nginx:1.7.9":                 "nginx",
		"docker.io/library/nginx":     "nginx",
		"localhost:5000/a/b_c:x":      "b-c",
		"r/My.App@sha256:00":          "my-app",
		"host:/":                      "host",
		"dir:/srv/root/":              "root",
		"docker-archive:/x/image.tar": "image",
		"_":                           "container",
	} {
		if got := containerName(image); got != want {
			t.Errorf("containerName(%s) = %s, want %s", image, got, want)
		}
	}
}
