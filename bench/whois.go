package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// whoisScript gives one process of the crowd, in a network namespace of its own, an address and a port to listen on, and writes
// what whois is then asked for into $2, a line each, after it has seen that whois $1 answers all of it.
const whoisScript = `#!/bin/sh
mine=$(readlink /proc/self/ns/net)
for p in /proc/[0-9]*; do
	net=$(readlink $p/ns/net)
	[ "$net" = "$mine" ] || { pid=${p#/proc/}; break; }
done
nsenter -t $pid -n sh -c 'ip link set lo up; ip addr add 192.0.2.42/32 dev lo; exec busybox nc -l -p 4242 </dev/null >/dev/null 2>&1' &
until "$1" whois tcp/4242 >/dev/null 2>&1; do sleep 0.1; done
ino=${net#net:?}
for word in $pid tcp/4242 192.0.2.42 ${ino%]}; do
	"$1" whois $word >/dev/null && echo $word >>"$2"
done
`

// whois asks who has a process, a port, an address and a namespace among many processes. Nothing else answers such questions.
func whois(f *Field) ([]Benchmark, error) {
	script, words := filepath.Join(f.dir, "whois.sh"), filepath.Join(f.dir, "whois.words")
	if err := os.WriteFile(script, []byte(whoisScript), 0o755); err != nil {
		return nil, err
	}
	host := &crowd{processes: 2000, namespaces: 200}
	var asked []string
	before := func() error {
		if err := host.start(); err != nil {
			return err
		}
		os.Remove(words)
		if _, err := host.run(script + " " + f.tripod + " " + words)(); err != nil {
			return err
		}
		text, err := os.ReadFile(words)
		if asked = strings.Fields(string(text)); err == nil && len(asked) != 4 {
			err = fmt.Errorf("whois answers for %v alone", asked)
		}
		return err
	}
	var list []Benchmark
	for i, what := range []string{"process", "port", "address", "namespace"} {
		list = append(list, Benchmark{
			Name: "whois of one " + what + " among 2,000 processes in 200 namespaces", Unit: "ms", Rounds: 15,
			Targets: []Target{{Form: below, Factor: 50}}, Before: before, After: host.stop,
			Contenders: []Contender{{Name: "tripod", Measure: func() (float64, error) { return host.run(f.tripod + " whois " + asked[i])() }}},
		})
	}
	return list, nil
}
