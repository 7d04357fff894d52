package e2e

import (
	"os"
	"testing"
)

// TestSystemd runs the scripts that need systemd as the host's init. make test-vm has a machine for that.
func TestSystemd(t *testing.T) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("systemd is not the init of this host")
	}
	runScripts(t, "testdata/systemd")
}
