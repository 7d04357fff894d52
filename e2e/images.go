// Package e2e holds what the end-to-end scripts stand on: images made from the files of Debian packages and a registry server
// that serves them. The scripts themselves are in testdata/script; each one is a session that can be typed by hand.
package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"tripod/tools/debian"
)

// made is the time all files of the images bear, so that equal content has equal digests.
var made = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	path   = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nworker:x:1000:1000:worker:/home/worker:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
	group  = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nworker:x:1000:\nstaff:x:50:worker\nnogroup:x:65534:\n"
)

// nginxConf is a server in the foreground's manner of the official image: one page on port 80.
const nginxConf = `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events { worker_connections 64; }
http {
	access_log /dev/stdout;
	include /etc/nginx/mime.types;
	server { listen 80; root /usr/share/nginx/html; }
}
`

// Tagged is an image or an index and the name it has in a registry.
type Tagged struct {
	Name  string // repository:tag, without a host
	Image v1.Image
	Index v1.ImageIndex // instead of Image
}

// Images makes the images of the scripts:
//
//	library/nginx:1.7.9      nginx with bash and the tools of the lesson, three layers, Docker's media types
//	library/busybox:latest   busybox alone, hard links as in the official image, an index for two architectures
//	e2e/worker:1             busybox with an entrypoint, a command, a user, a folder and variables of its own
func Images() ([]Tagged, error) {
	system, err := packagesLayer(types.DockerLayer, "base-files", "bash", "dash", "coreutils", "hostname", "net-tools", "procps", "psmisc", "iproute2", "util-linux", "findutils", "grep", "sed", "mawk", "curl")
	if err != nil {
		return nil, err
	}
	server, err := packagesLayer(types.DockerLayer, "nginx", "nginx-common")
	if err != nil {
		return nil, err
	}
	settings, err := Layer(types.DockerLayer, func(t *Tree) {
		t.File("etc/nginx/nginx.conf", 0o644, []byte(nginxConf))
		t.File("usr/share/nginx/html/index.html", 0o644, []byte("<title>Welcome to nginx!</title>\n"))
		t.File("etc/passwd", 0o644, []byte(passwd))
		t.File("etc/group", 0o644, []byte(group))
		for _, dir := range []string{"proc", "sys", "dev", "run", "root", "home", "var/lib/nginx", "var/log/nginx", "var/cache/nginx"} {
			t.Dir(dir, 0o755)
		}
		t.Dir("tmp", 0o1777)
		t.Link("usr/bin/awk", "mawk")
	})
	if err != nil {
		return nil, err
	}
	nginx, err := Image(v1.Config{
		Env: []string{path, "NGINX_VERSION=1.7.9-1~wheezy"}, Cmd: []string{"nginx", "-g", "daemon off;"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}, "443/tcp": {}},
	}, types.DockerManifestSchema2, system, server, settings)
	if err != nil {
		return nil, err
	}
	tools, err := busyboxLayer()
	if err != nil {
		return nil, err
	}
	busybox, err := Image(v1.Config{Env: []string{path}, Cmd: []string{"sh"}}, types.OCIManifestSchema1, tools)
	if err != nil {
		return nil, err
	}
	other, err := mutate.ConfigFile(busybox, &v1.ConfigFile{Architecture: "riscv64", OS: "linux"})
	if err != nil {
		return nil, err
	}
	both := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "riscv64"}}},
		mutate.IndexAddendum{Add: busybox, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	home, err := Layer(types.OCILayer, func(t *Tree) {
		t.Dir("home", 0o755)
		t.DirOwned("home/worker", 0o750, 1000)
		t.File("entry", 0o755, []byte("#!/bin/sh\necho \"entry $* as $(id -u):$(id -g) in $(pwd) with $GREETING\"\n"))
	})
	if err != nil {
		return nil, err
	}
	worker, err := Image(v1.Config{
		Env: []string{path, "GREETING=hello"}, Entrypoint: []string{"/entry"}, Cmd: []string{"one", "two"},
		User: "worker", WorkingDir: "/home/worker",
	}, types.OCIManifestSchema1, tools, home)
	if err != nil {
		return nil, err
	}
	return []Tagged{
		{Name: "library/nginx:1.7.9", Image: nginx},
		{Name: "library/busybox:latest", Index: both},
		{Name: "e2e/worker:1", Image: worker},
	}, nil
}

// Image makes an image of layers, lowest first.
func Image(config v1.Config, manifest types.MediaType, layers ...v1.Layer) (v1.Image, error) {
	configType := types.OCIConfigJSON
	if manifest == types.DockerManifestSchema2 {
		configType = types.DockerConfigJSON
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, manifest), configType)
	img, err := mutate.ConfigFile(base, &v1.ConfigFile{Architecture: "amd64", OS: "linux", Created: v1.Time{Time: made}, Config: config})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layers...)
}

// Tree is a layer in the making. The first error stays and is told at the end.
type Tree struct {
	w   *tar.Writer
	err error
}

// Dir adds a folder of root's.
func (t *Tree) Dir(name string, mode int64) { t.DirOwned(name, mode, 0) }

// DirOwned adds a folder of a user whose group has the same number.
func (t *Tree) DirOwned(name string, mode int64, id int) {
	t.entry(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: id, Gid: id}, nil)
}

// File adds a file of root's.
func (t *Tree) File(name string, mode int64, data []byte) {
	t.entry(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}, data)
}

// Link adds a symbolic link.
func (t *Tree) Link(name, to string) {
	t.entry(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, nil)
}

// Hard adds a second name of a file that was added before.
func (t *Tree) Hard(name, of string) {
	t.entry(tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: of, Mode: 0o755}, nil)
}

func (t *Tree) entry(h tar.Header, data []byte) {
	if t.err != nil {
		return
	}
	h.ModTime, h.Format = made, tar.FormatPAX
	if t.err = t.w.WriteHeader(&h); t.err == nil {
		_, t.err = t.w.Write(data)
	}
}

// copy adds a file of this host under its own path.
func (t *Tree) copy(path string) {
	info, err := os.Lstat(path)
	if err != nil {
		t.err = errors.Join(t.err, err)
		return
	}
	name, mode := strings.TrimPrefix(path, "/"), int64(info.Mode().Perm())
	if info.Mode()&fs.ModeSetuid != 0 {
		mode |= 0o4000
	}
	switch {
	case info.IsDir():
		t.Dir(name, mode)
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		t.err = errors.Join(t.err, err)
		t.Link(name, to)
	case info.Mode().IsRegular():
		data, err := os.ReadFile(path)
		t.err = errors.Join(t.err, err)
		t.File(name, mode, data)
	}
}

// Layer makes one gzip layer of what fill puts into it.
func Layer(kind types.MediaType, fill func(*Tree)) (v1.Layer, error) {
	raw, err := archive(fill)
	if err != nil {
		return nil, fmt.Errorf("cannot make a layer: %w", err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
		tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching, tarball.WithMediaType(kind))
}

// archive is what fill puts into it. It is here as far as it came also with an error.
func archive(fill func(*Tree)) ([]byte, error) {
	var raw bytes.Buffer
	t := &Tree{w: tar.NewWriter(&raw)}
	fill(t)
	err := errors.Join(t.err, t.w.Close())
	return raw.Bytes(), err
}

func packagesLayer(kind types.MediaType, packages ...string) (v1.Layer, error) {
	files, err := debian.Files(packages...)
	if err != nil {
		return nil, err
	}
	return Layer(kind, func(t *Tree) {
		for _, f := range files {
			t.copy(f)
		}
	})
}

// busyboxLayer is Debian's static busybox under each of its names. They are hard links: a symbolic link would let a path that
// is masked in a container mask busybox itself.
func busyboxLayer() (v1.Layer, error) {
	binary, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, err
	}
	names, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot ask busybox for its names: %w", err)
	}
	return Layer(types.OCILayer, func(t *Tree) {
		for _, dir := range []string{"bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr", "usr/bin", "usr/sbin", "sbin", "var", "var/log"} {
			t.Dir(dir, 0o755)
		}
		t.Dir("tmp", 0o1777)
		t.File("bin/busybox", 0o755, binary)
		for name := range strings.FieldsSeq(string(names)) {
			if name != "busybox" {
				t.Hard(filepath.Join("bin", name), "bin/busybox")
			}
		}
		t.File("etc/passwd", 0o644, []byte(passwd))
		t.File("etc/group", 0o644, []byte(group))
	})
}
