package main

import (
	"cmp"
	"context"
	"io"
	"net"
	"path/filepath"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// host is what stands in the URLs of requests; the connection is always the socket's.
const host = "http://localhost"

// client is the way to tripodd that kubectl's commands take. It reads no kubeconfig: a context that leads to a cluster must
// not lend its namespace to this host. What the server has is asked for by each command anew, which over a socket takes
// milliseconds, and nothing of it can be out of date.
type client struct {
	root, runRoot, socket string
	namespace, timeout    string
	daemon                string // the program that is started when nobody listens
	quiet                 bool   // a shell asks for completions: nothing is started
	say                   io.Writer

	reached    bool
	discovered discovery.CachedDiscoveryInterface
}

// address is the path of the socket, and whether the daemon behind it is ours to start.
func (c *client) address() (path string, ours bool) {
	own := filepath.Join(c.runRoot, "tripod.sock")
	path = filepath.Clean(cmp.Or(c.socket, own))
	return path, path == own
}

func (c *client) dial(ctx context.Context) (net.Conn, error) {
	path, _ := c.address()
	return (&net.Dialer{}).DialContext(ctx, "unix", path)
}

// ToRESTConfig is how requests are made. A daemon that does not run is started before the first.
func (c *client) ToRESTConfig() (*rest.Config, error) {
	timeout, err := clientcmd.ParseTimeout(c.timeout)
	if err != nil {
		return nil, err
	}
	if !c.reached {
		if err := c.reach(); err != nil {
			return nil, err
		}
		c.reached = true
	}
	config := &rest.Config{
		Host: host, Timeout: timeout, QPS: -1, UserAgent: rest.DefaultKubernetesUserAgent(),
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
	}
	config.Wrap(c.upgrades)
	return config, nil
}

// ToDiscoveryClient is what the server has, asked for once.
func (c *client) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	if c.discovered == nil {
		config, err := c.ToRESTConfig()
		if err != nil {
			return nil, err
		}
		asked, err := discovery.NewDiscoveryClientForConfig(config)
		if err != nil {
			return nil, err
		}
		c.discovered = memory.NewMemCacheClient(asked)
	}
	return c.discovered, nil
}

// ToRESTMapper knows kinds by their short names and singulars too.
func (c *client) ToRESTMapper() (meta.RESTMapper, error) {
	discovered, err := c.ToDiscoveryClient()
	if err != nil {
		return nil, err
	}
	warn := func(text string) { _, _ = io.WriteString(c.say, text+"\n") }
	return restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(discovered), discovered, warn), nil
}

// ToRawKubeConfigLoader has the namespace, and whether it was chosen.
func (c *client) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	const name = "tripod"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: host}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name}
	config.CurrentContext = name
	return clientcmd.NewDefaultClientConfig(*config, &clientcmd.ConfigOverrides{Context: clientcmdapi.Context{Namespace: c.namespace}})
}
