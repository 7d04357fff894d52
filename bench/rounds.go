package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Benchmark is one question, put to several contenders in turn.
type Benchmark struct {
	Name       string
	Unit       string // ms, MB, starts/s
	More       bool   // a larger figure is the better one
	Rounds     int
	Contenders []Contender // ours first
	Targets    []Target
	Before     func() error    // once, before the first round
	After      func() error    // once, after the last
	Notes      func() []string // what else the rounds showed; nil is nothing
}

// Contender is one program under test.
type Contender struct {
	Name string
	// Measure does the thing once and returns the figure.
	Measure func() (float64, error)
	// Reset takes away what Measure made; its time does not count.
	Reset func() error
}

// Target is what is promised of ours against a peer. Medians are compared.
type Target struct {
	Peer   string
	Form   string // one of the forms below
	Factor float64
}

// Result is what the contenders' rounds gave, in the contenders' order.
type Result struct {
	Name    string
	Unit    string
	More    bool
	Rounds  int
	Samples []Samples
	Targets []Verdict
	Notes   []string `json:",omitempty"`
}

// Samples are one contender's figures.
type Samples struct {
	Name   string
	Values []float64
	Min    float64
	Median float64
}

// Verdict is a target with what was measured.
type Verdict struct {
	Text     string
	Measured float64
	Kept     bool
}

// Run does a round that does not count, then the rounds, contenders in turn and the order turned each round.
func (b Benchmark) Run() (Result, error) {
	r := Result{Name: b.Name, Unit: b.Unit, More: b.More, Rounds: b.Rounds}
	if b.Before != nil {
		if err := b.Before(); err != nil {
			return r, err
		}
	}
	values := make([][]float64, len(b.Contenders))
	err := b.rounds(values)
	if b.After != nil {
		if aerr := b.After(); err == nil {
			err = aerr
		}
	}
	if err != nil {
		return r, err
	}
	for i, c := range b.Contenders {
		r.Samples = append(r.Samples, summary(c.Name, values[i]))
	}
	for _, t := range b.Targets {
		r.Targets = append(r.Targets, t.judge(r.Samples))
	}
	if b.Notes != nil {
		r.Notes = b.Notes()
	}
	return r, nil
}

func (b Benchmark) rounds(values [][]float64) error {
	warm := 1
	if b.Rounds == 1 {
		warm = 0
	}
	for round := range b.Rounds + warm {
		for i := range b.Contenders {
			at := (i + round) % len(b.Contenders)
			c := b.Contenders[at]
			v, err := c.Measure()
			if c.Reset != nil {
				if rerr := c.Reset(); err == nil {
					err = rerr
				}
			}
			if err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
			if round >= warm {
				values[at] = append(values[at], v)
			}
		}
	}
	return nil
}

func summary(name string, values []float64) Samples {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Samples{Name: name, Values: values, Min: sorted[0], Median: (sorted[(n-1)/2] + sorted[n/2]) / 2}
}

// judge compares medians.
func (t Target) judge(samples []Samples) Verdict {
	ours := samples[0].Median
	peer := math.NaN()
	for _, s := range samples {
		if s.Name == t.Peer {
			peer = s.Median
		}
	}
	v := Verdict{Text: fmt.Sprintf("%s %g", strings.ReplaceAll(t.Form, "peer", t.Peer), t.Factor)}
	switch t.Form {
	case atMost:
		v.Measured = ours / peer
		v.Kept = v.Measured <= t.Factor
	case timesFaster:
		v.Measured = peer / ours
		v.Kept = v.Measured >= t.Factor
	case timesMore:
		v.Measured = ours / peer
		v.Kept = v.Measured >= t.Factor
	case atMostPlus:
		v.Measured = ours
		v.Kept = ours <= t.Factor*peer+0.1
	case below:
		v.Measured = ours
		v.Kept = ours <= t.Factor
	}
	return v
}

// The forms of a target.
const (
	atMost      = "ours / peer ≤"
	timesFaster = "peer / ours ≥"
	timesMore   = "ours / peer ≥"
	below       = "ours ≤" // no peer: an absolute bound
	atMostPlus  = "ours ≤ 0.1 + peer ×"
)

// Print writes a few lines for a person.
func (r Result) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%s (%s, %d rounds)\n", r.Name, r.Unit, r.Rounds)
	for _, s := range r.Samples {
		fmt.Fprintf(w, "  %-14s min %8.2f   median %8.2f\n", s.Name, s.Min, s.Median)
	}
	for _, t := range r.Targets {
		kept := "kept"
		if !t.Kept {
			kept = "MISSED"
		}
		fmt.Fprintf(w, "  %-34s %6.2f   %s\n", t.Text, t.Measured, kept)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "  %s\n", note)
	}
}

// timed is a Measure that counts the milliseconds of f.
func timed(f func() error) func() (float64, error) {
	return func() (float64, error) {
		began := time.Now()
		err := f()
		return float64(time.Since(began).Microseconds()) / 1000, err
	}
}

// command runs a program with no input and keeps what it says for the error.
func command(name string, args ...string) error {
	_, err := output(nil, name, args...)
	return err
}

// output runs a program with an environment (nil: ours) and returns what it prints.
func output(env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = env
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("cannot run %s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}
