package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/kubernetes/pkg/serviceaccount"

	"tripod/internal/api/kinds"
)

// tokens makes what signs ServiceAccounts' tokens. Its key is made once, and is readable by us alone.
func tokens(pki string) (serviceaccount.TokenGenerator, error) {
	path := filepath.Join(pki, "sa.key")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = newKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read key %s: %w", path, err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("cannot read key %s: it is no PEM", path)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read key %s: %w", path, err)
	}
	generator, err := serviceaccount.JWTTokenGenerator(kinds.Audience, key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign with key %s: %w", path, err)
	}
	return generator, nil
}

// newKey writes a key: whole or not at all.
func newKey(path string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return nil, err
	}
	return data, os.Rename(path+".new", path)
}
