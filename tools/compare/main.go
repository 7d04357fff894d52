// Command compare sends the same requests to a real kube-apiserver and to tripod's API, and tells every difference of their answers.
//
//	go run -tags grpcnotrace ./tools/compare [-run RE] [-v] [-built DIR]
//
// The API server and the etcd that it keeps its objects in come by version from the Go module proxy (real/go.mod); tripod's API runs in this
// process, over a store of its own. Neither has a node or controllers. A stream is a list of requests that build on each other; both
// servers get it in a namespace of its own. Status codes, headers that mean something and bodies are compared after what must differ is
// masked: uids and versions become numbers in the order in which they were first seen, so that one which should have stayed and did not is
// told. Differences are allowed by rows of the table in docs/api.md alone, and a row that allows nothing is an error, too.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"k8s.io/klog/v2"
)

// document holds the table of allowed differences, from the top of the repository.
const document = "docs/api.md"

func main() {
	run := flag.String("run", "", "run the streams whose name matches `RE`; rows of the table that allow nothing are no error then")
	verbose := flag.Bool("v", false, "print each request, and the differences that are allowed")
	built := flag.String("built", "", "a `folder` with kube-apiserver and etcd that were built before")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := compare(ctx, *run, *built, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		stop()
		os.Exit(1)
	}
}

func compare(ctx context.Context, run, built string, verbose bool) error {
	which, err := regexp.Compile(run)
	if err != nil {
		return err
	}
	table, err := readAllowed(document)
	if err != nil {
		return err
	}
	all, err := streams()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // what Kubernetes' code says in our process is answered, too
	ours, err := startOurs(dir)
	if err != nil {
		return err
	}
	defer ours.stop()
	real, err := startReal(ctx, dir, built)
	if err != nil {
		return err
	}
	defer real.stop()

	asked, told := 0, 0
	for _, s := range all {
		if !which.MatchString(s.name) {
			continue
		}
		differences, err := s.run(ctx, real, ours, verbose)
		if err != nil {
			return fmt.Errorf("cannot run stream %s: %w", s.name, err)
		}
		asked += len(s.asks)
		told += tell(table, differences, verbose)
	}
	if run == "" {
		for _, a := range table {
			if !a.used {
				fmt.Printf("%s: row %q allows nothing\n", document, a.where)
				told++
			}
		}
	}
	fmt.Printf("%d requests to each, %d differences that no row of %s allows\n", asked, told, document)
	if told > 0 || asked == 0 {
		return fmt.Errorf("%d differences in %d requests", told, asked)
	}
	return nil
}

// tell prints what is not allowed and returns how much that is.
func tell(table []*allowed, differences []difference, verbose bool) int {
	n := 0
	for _, d := range differences {
		a := find(table, d)
		if a == nil {
			n++
			fmt.Println(d)
		} else if verbose {
			fmt.Println("allowed:", d)
		}
	}
	return n
}
