// Package pki makes the certificates by which the daemon and kubectl know one another over TLS, and keeps them in a folder.
//
// There are three: an authority of this host's own, the server's, and that of one client who may do everything. Whoever can
// read the client's key is that client, so all files are their owner's alone (0600, in a folder of 0700). What is there is used
// again; what is missing or no longer fits is made anew, except the authority: one that was handed out is never replaced
// silently.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tripod/internal/record"
)

// Who the client of kubectl is to the API.
const (
	ClientUser  = "tripod-admin"
	ClientGroup = "system:masters"
)

// life is how long certificates are valid; renew is when one that may be replaced is.
const (
	life  = 10 * 365 * 24 * time.Hour
	renew = 90 * 24 * time.Hour
	slack = 24 * time.Hour // a host's clock may be behind
)

// Paths are the files of a folder of certificates.
type Paths struct{ CA, CAKey, Server, ServerKey, Client, ClientKey, Address string }

// In are the files below dir.
func In(dir string) Paths {
	at := func(name string) string { return filepath.Join(dir, name) }
	return Paths{at("ca.crt"), at("ca.key"), at("server.crt"), at("server.key"), at("client.crt"), at("client.key"), at("address")}
}

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Server makes what is missing in dir and returns how a server that is called by these hosts (names or addresses) speaks TLS:
// it wants a client's certificate, and trusts those of its own authority.
func Server(dir string, hosts []string, now time.Time) (*tls.Config, error) {
	config, err := server(In(dir), dir, hosts, now)
	if err != nil {
		return nil, fmt.Errorf("cannot make certificates in %s: %w", dir, err)
	}
	return config, nil
}

func server(p Paths, dir string, hosts []string, now time.Time) (*tls.Config, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ca, err := authority(p, now)
	if err != nil {
		return nil, err
	}
	serves := template("tripodd", now)
	serves.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			serves.IPAddresses = append(serves.IPAddresses, ip)
		} else {
			serves.DNSNames = append(serves.DNSNames, h)
		}
	}
	leaf, err := keep(p.Server, p.ServerKey, serves, ca, now)
	if err != nil {
		return nil, err
	}
	asks := template(ClientUser, now)
	asks.Subject.Organization = []string{ClientGroup}
	asks.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := keep(p.Client, p.ClientKey, asks, ca, now); err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(ca.cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.cert.Raw}, PrivateKey: leaf.key, Leaf: leaf.cert}},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    trusted,
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	}, nil
}

// authority reads the authority, or makes it where there is none. The certificate is written last: without it the key is of an
// authority that nobody was told of.
func authority(p Paths, now time.Time) (pair, error) {
	ca, err := read(p.CA, p.CAKey)
	if err == nil {
		if now.After(ca.cert.NotAfter) {
			return pair{}, fmt.Errorf("authority %s ended on %s: remove the folder, then write kubeconfigs anew", p.CA, ca.cert.NotAfter.Format(time.DateOnly))
		}
		return ca, nil
	}
	if _, missing := os.Lstat(p.CA); !errors.Is(missing, fs.ErrNotExist) {
		return pair{}, err
	}
	t := template("tripod", now)
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	return issue(p.CA, p.CAKey, t, pair{})
}

// keep reads a certificate that still says what want says, or makes it.
func keep(certPath, keyPath string, want *x509.Certificate, ca pair, now time.Time) (pair, error) {
	if have, err := read(certPath, keyPath); err == nil && fits(have.cert, want, ca, now) {
		return have, nil
	}
	return issue(certPath, keyPath, want, ca)
}

func fits(have, want *x509.Certificate, ca pair, now time.Time) bool {
	return have.CheckSignatureFrom(ca.cert) == nil &&
		have.Subject.CommonName == want.Subject.CommonName &&
		slices.Equal(have.Subject.Organization, want.Subject.Organization) &&
		slices.Equal(have.DNSNames, want.DNSNames) &&
		slices.EqualFunc(have.IPAddresses, want.IPAddresses, net.IP.Equal) &&
		slices.Equal(have.ExtKeyUsage, want.ExtKeyUsage) &&
		now.After(have.NotBefore) && now.Add(renew).Before(have.NotAfter)
}

func template(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-slack), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// issue makes a key and a certificate for it that ca signs, or itself when there is no ca, and writes both.
func issue(certPath, keyPath string, t *x509.Certificate, ca pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return pair{}, err
	}
	if ca.cert == nil {
		ca = pair{t, key}
	}
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return pair{}, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	if err := record.PutBytes(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})); err != nil {
		return pair{}, err
	}
	if err := record.PutBytes(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return pair{cert, key}, err
}

func read(certPath, keyPath string) (pair, error) {
	both, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		return pair{}, fmt.Errorf("cannot read certificate %s: %w", certPath, err)
	}
	key, ok := both.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return pair{}, fmt.Errorf("cannot read key %s: not of an elliptic curve", keyPath)
	}
	return pair{both.Leaf, key}, nil
}

// PutAddress writes down where the server listens, for those who write a kubeconfig.
func PutAddress(dir, url string) error { return record.PutBytes(In(dir).Address, []byte(url+"\n")) }

// Client is what a kubeconfig is made of.
type Client struct {
	Server        string // its URL, "" when the server never listened
	CA, Cert, Key []byte // PEM
}

// ReadClient reads what a client of the server needs.
func ReadClient(dir string) (Client, error) {
	p := In(dir)
	var c Client
	for path, to := range map[string]*[]byte{p.CA: &c.CA, p.Client: &c.Cert, p.ClientKey: &c.Key} {
		data, err := os.ReadFile(path)
		if err != nil {
			return Client{}, fmt.Errorf("cannot read certificate: %w", err)
		}
		*to = data
	}
	address, err := os.ReadFile(p.Address)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Client{}, fmt.Errorf("cannot read the server's address: %w", err)
	}
	c.Server = strings.TrimSpace(string(address))
	return c, nil
}
