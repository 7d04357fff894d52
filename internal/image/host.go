package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hostImage is the reference of the host's own operating system as an image.
const hostImage = "host:/"

// defaultPath is the search path of images that tell none (moby's default for Linux).
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// hostFileMax bounds one file that is copied from the host's /etc, in bytes.
const hostFileMax = 4 << 20

// node is one file of the small layer below a host:/ container.
type node struct {
	Path string      // relative to the root, no leading slash
	Mode fs.FileMode // type and permissions
	Link string      // target of a symbolic link
	Data []byte      // of a regular file
}

// hostRoot is what host:/ is made of: a few generated files, and binds of the host's programs and libraries.
type hostRoot struct {
	Nodes  []node
	Mounts []specs.Mount
	dirs   map[string]bool // directories in Nodes
	inputs []input         // what was read, as it was before
}

// host is the image host:/: the programs and libraries of this host, read-only, and nothing of its data.
func (s *Store) host(rest string) (*Image, error) {
	if "host:"+rest != hostImage {
		return nil, fmt.Errorf("cannot open image host:%s: the only host image is host:/ (for a directory use dir:PATH)", rest)
	}
	key, ok := s.rememberedHost()
	if !ok {
		plan, err := planHost("/")
		if err == nil {
			key = plan.digest()
			err = s.makeHost(plan, s.snapshotPath(key))
		}
		if err == nil {
			err = s.rememberHost(plan.inputs, key, time.Now())
		}
		if err != nil {
			return nil, fmt.Errorf("cannot open image host:/: %w", err)
		}
	}
	config := plainConfig()
	config.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{key}}
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("cannot open image host:/: %w", err)
	}
	return &Image{
		ID:     digest.FromBytes(raw),
		Names:  []string{hostImage},
		Config: config,
		Layers: []digest.Digest{key},
		Source: hostImage,
	}, nil
}

// plainConfig is the config of an image that brings none.
func plainConfig() ocispec.Image {
	return ocispec.Image{
		Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config:   ocispec.ImageConfig{Env: []string{defaultPath}, Cmd: []string{"/bin/sh"}},
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
}

// planHost reads what host:/ needs of the operating system at root ("/" but in tests).
//
// Nothing of /home, /root, /var, /run, /tmp and /srv is taken, and of /etc only what a dynamically linked program needs
// to start, to look up users and to trust certificates. What the host does not let everybody read stays out.
func planHost(root string) (*hostRoot, error) {
	plan := &hostRoot{dirs: map[string]bool{}}
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{
		{"dev", 0o755},
		{"etc", 0o755},
		{"home", 0o755},
		{"media", 0o755},
		{"mnt", 0o755},
		{"opt", 0o755},
		{"proc", 0o555},
		{"root", 0o700},
		{"run", 0o755},
		{"run/lock", 0o777 | fs.ModeSticky},
		{"srv", 0o755},
		{"sys", 0o555},
		{"tmp", 0o777 | fs.ModeSticky},
		{"usr", 0o755},
		{"var", 0o755},
		{"var/cache", 0o755},
		{"var/lib", 0o755},
		{"var/log", 0o755},
		{"var/spool", 0o755},
		{"var/tmp", 0o777 | fs.ModeSticky},
	} {
		plan.directory(d.path, d.mode)
	}
	plan.link("var/run", "/run")
	plan.link("var/lock", "/run/lock")
	if err := plan.programs(root); err != nil {
		return nil, err
	}
	if err := plan.etc(root); err != nil {
		return nil, err
	}
	slices.SortFunc(plan.inputs, func(a, b input) int { return strings.Compare(a.Path, b.Path) })
	plan.inputs = slices.Compact(plan.inputs)
	slices.SortStableFunc(plan.Nodes, func(a, b node) int { return strings.Compare(a.Path, b.Path) })
	return plan, nil
}

func (p *hostRoot) directory(path string, mode fs.FileMode) {
	p.dirs[path] = true
	p.Nodes = append(p.Nodes, node{Path: path, Mode: fs.ModeDir | mode})
}

func (p *hostRoot) link(path, target string) {
	p.Nodes = append(p.Nodes, node{Path: path, Mode: fs.ModeSymlink | 0o777, Link: target})
}

// bind mounts a directory of the host, and what the host mounts below it, read-only at the same place.
func (p *hostRoot) bind(root, name string) {
	p.Mounts = append(p.Mounts, specs.Mount{
		Destination: "/" + name,
		Source:      filepath.Join(root, name),
		Type:        "bind",
		Options:     []string{"rbind", "ro", "rro", "rprivate"},
	})
}

// programs takes /usr, and /bin, /sbin and /lib*: links where the host has them merged into /usr, binds where it has not.
func (p *hostRoot) programs(root string) error {
	p.inputs = append(p.inputs, inputAt(root))
	p.bind(root, "usr")
	for _, name := range []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"} {
		path := filepath.Join(root, name)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if strings.HasPrefix(strings.TrimPrefix(target, "/"), "usr/") {
				p.link(name, target)
				continue
			}
		}
		p.directory(name, 0o755)
		p.bind(root, name)
	}
	return nil
}

// etc takes the few files and directories of /etc that are no secret and no setting of this host's own services.
func (p *hostRoot) etc(root string) error {
	for _, name := range []string{"passwd", "group"} {
		data, err := p.read(filepath.Join(root, "etc", name))
		if err != nil {
			return err
		}
		p.file("etc/"+name, withoutPasswords(data))
	}
	for _, name := range []string{
		"ld.so.cache", "ld.so.conf", "localtime", "nsswitch.conf", "os-release", "protocols", "services", "ssl/openssl.cnf",
	} {
		if err := p.copy(root, "etc/"+name); err != nil {
			return err
		}
	}
	for _, dir := range []string{"alternatives", "ca-certificates", "ld.so.conf.d", "pki/ca-trust", "pki/tls/certs", "ssl/certs"} {
		if err := p.tree(root, "etc/"+dir); err != nil {
			return err
		}
	}
	return nil
}

func (p *hostRoot) file(path string, data []byte) {
	if data == nil {
		return
	}
	p.parents(path)
	p.Nodes = append(p.Nodes, node{Path: path, Mode: 0o644, Data: data})
}

// parents adds the directories above path that are not there yet.
func (p *hostRoot) parents(path string) {
	for dir := filepath.Dir(path); dir != "." && !p.dirs[dir]; dir = filepath.Dir(dir) {
		p.directory(dir, 0o755)
	}
}

// copy takes one file: as a link if it is one into what the container sees too, by its content if everybody may read it.
func (p *hostRoot) copy(root, path string) error {
	full := filepath.Join(root, path)
	p.inputs = append(p.inputs, inputAt(filepath.Dir(full))) // tells of a link that changes
	if target, err := os.Readlink(full); err == nil {
		resolved := target
		if !filepath.IsAbs(target) {
			resolved = filepath.Join("/", filepath.Dir(path), target)
		}
		for _, seen := range []string{"/usr/", "/etc/alternatives/", "/etc/ssl/certs/", "/etc/pki/ca-trust/", "/bin/", "/sbin/", "/lib"} {
			if strings.HasPrefix(resolved, seen) {
				p.parents(path)
				p.link(path, target)
				return nil
			}
		}
	}
	data, err := p.read(full)
	if err != nil {
		return err
	}
	p.file(path, data)
	return nil
}

// tree takes the files below a directory, by copy.
func (p *hostRoot) tree(root, dir string) error {
	return filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			p.inputs = append(p.inputs, inputAt(path))
			return nil
		}
		if err != nil || entry.IsDir() {
			p.inputs = append(p.inputs, inputAt(path))
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return p.copy(root, rel)
	})
}

// read is readHostFile, and notes what was read.
func (p *hostRoot) read(path string) ([]byte, error) {
	p.inputs = append(p.inputs, inputAt(path))
	return readHostFile(path)
}

// readHostFile reads a small regular file that everybody may read; anything else is nil and no error.
func readHostFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o004 == 0 || info.Size() > hostFileMax {
		return nil, err
	}
	data := make([]byte, info.Size())
	n, err := f.ReadAt(data, 0)
	if n < len(data) {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return data, nil
}

// withoutPasswords replaces the second field of each passwd(5) or group(5) line: hosts without a shadow file keep hashes there.
func withoutPasswords(data []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) == 3 {
			fields[1] = "x"
		}
		out.WriteString(strings.Join(fields, ":"))
	}
	return out.Bytes()
}

// digest names the plan's content: two hosts, or two days, with the same files share one snapshot.
func (p *hostRoot) digest() digest.Digest {
	h := sha256.New()
	fmt.Fprintln(h, "host 1")
	for _, n := range p.Nodes {
		fmt.Fprintf(h, "%q %o %q %d\n", n.Path, n.Mode, n.Link, len(n.Data))
		h.Write(n.Data)
	}
	return digest.NewDigest(digest.SHA256, h)
}

// makeHost writes the plan's files to a snapshot at path, unless they are there already.
func (s *Store) makeHost(plan *hostRoot, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	tmp, err := s.newScratch()
	if err != nil {
		return err
	}
	if err := writeNodes(filepath.Join(tmp.path, "fs"), plan.Nodes); err != nil {
		return errors.Join(err, tmp.discard())
	}
	return tmp.commit(path)
}

func writeNodes(root string, nodes []node) error {
	if err := mkdir(root, 0o755); err != nil {
		return err
	}
	for _, n := range nodes {
		path := filepath.Join(root, n.Path)
		var err error
		switch {
		case n.Mode.IsDir():
			err = mkdir(path, n.Mode)
		case n.Mode&fs.ModeSymlink != 0:
			err = os.Symlink(n.Link, path)
		default:
			if err = os.WriteFile(path, n.Data, 0o600); err == nil {
				err = os.Chmod(path, n.Mode)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mkdir makes a directory with exactly this mode, whatever the umask.
func mkdir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func checkDir(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	return err
}
