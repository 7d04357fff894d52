package image

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"tripod/internal/record"
)

// hostMemo is the record host.json: what host:/ was made of, and when each part changed last. Reading all parts again
// takes milliseconds, which a container start has better use for.
type hostMemo struct {
	Inputs []input       `json:"inputs"`
	Key    digest.Digest `json:"key"`
}

// input is the state of one file or directory that was read. A directory's change time tells what came, went or was
// renamed in it; all zero is one that is not there.
type input struct {
	Path  string `json:"path"`
	Inode uint64 `json:"inode,omitempty"`
	Size  int64  `json:"size,omitempty"`
	Mtime int64  `json:"mtime,omitempty"` // ns since 1970
	Ctime int64  `json:"ctime,omitempty"`
}

func inputAt(path string) input {
	in := input{Path: path}
	var st unix.Stat_t
	if unix.Stat(path, &st) == nil {
		in.Inode, in.Size, in.Mtime, in.Ctime = st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()
	}
	return in
}

// rememberedHost returns the snapshot of host:/ if nothing that it was made of has changed since.
func (s *Store) rememberedHost() (digest.Digest, bool) {
	var memo hostMemo
	if record.Get(s.hostMemoPath(), &memo) != nil || memo.Key.Validate() != nil {
		return "", false
	}
	if slices.ContainsFunc(memo.Inputs, func(in input) bool { return inputAt(in.Path) != in }) {
		return "", false
	}
	_, err := os.Lstat(s.snapshotPath(memo.Key))
	return memo.Key, err == nil
}

// rememberHost writes the memo. inputs were taken before the files were read. One that changed only just could change
// again within the same tick of the file system's clock, so then nothing is remembered yet.
func (s *Store) rememberHost(inputs []input, key digest.Digest, now time.Time) error {
	young := now.Add(-2 * time.Second).UnixNano()
	if slices.ContainsFunc(inputs, func(in input) bool { return in.Ctime > young || in.Mtime > young }) {
		return nil
	}
	guard, err := s.share()
	if err != nil {
		return err
	}
	defer guard.Release()
	if err := record.PutFast(s.hostMemoPath(), hostMemo{inputs, key}); err != nil {
		return fmt.Errorf("cannot remember host:/: %w", err)
	}
	return nil
}

func (s *Store) hostMemoPath() string { return filepath.Join(s.images, "host.json") }
