package node

import (
	"testing"

	"k8s.io/client-go/kubernetes"

	"tripod/internal/api"
	"tripod/internal/objects"
)

// newAPI is an API server of the test's own, asked in process.
func newAPI(t *testing.T) (*api.Server, kubernetes.Interface) {
	t.Helper()
	store, err := objects.Open(t.TempDir(), api.Codec(), objects.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.New(api.Config{Store: store, PKI: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := kubernetes.NewForConfig(server.ClientConfig("node-test"))
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}
