package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"tripod/internal/image"
)

// progress shows how layers are fetched: a bar each on a terminal, a line for each layer's beginning and end elsewhere, nothing when quiet.
type progress struct {
	out    io.Writer
	quiet  bool
	bars   *mpb.Progress // nil where there is no terminal
	mu     sync.Mutex
	layers map[digest.Digest]*layerBar
}

type layerBar struct {
	bar   *mpb.Bar
	state atomic.Int32
}

// newProgress writes to out. It must be closed.
func newProgress(out io.Writer, quiet bool) *progress {
	p := &progress{out: out, quiet: quiet, layers: map[digest.Digest]*layerBar{}}
	if !quiet && isTerminal(out) && os.Getenv("TERM") != "dumb" {
		p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
	}
	return p
}

// Layer is of image.Progress.
func (p *progress) Layer(d digest.Digest, state image.State, done, total int64) {
	if p.quiet {
		return
	}
	p.mu.Lock()
	layer := p.layers[d]
	if layer == nil {
		layer = &layerBar{}
		layer.state.Store(-1)
		p.layers[d] = layer
		if p.bars != nil {
			layer.bar = p.add(d, layer, total)
		}
	}
	p.mu.Unlock()
	changed := layer.state.Swap(int32(state)) != int32(state)
	if layer.bar == nil {
		if changed && state != image.Waiting && state != image.Present {
			p.line(d, state)
		}
		return
	}
	switch state {
	case image.Present, image.Done:
		layer.bar.SetTotal(max(done, 1), false)
		layer.bar.SetCurrent(max(done, 1))
		layer.bar.SetTotal(-1, true)
	case image.Waiting, image.Downloading, image.Unpacking:
		layer.bar.SetCurrent(done)
	}
}

func (p *progress) line(d digest.Digest, state image.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%s: %v\n", d.Encoded()[:12], state)
}

// add makes the bar of one layer: its short digest, what is being done, and how far it is.
func (p *progress) add(d digest.Digest, layer *layerBar, total int64) *mpb.Bar {
	return p.bars.New(total, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.PrependDecorators(
			decor.Name(d.Encoded()[:12]+" "),
			decor.Any(func(decor.Statistics) string { return image.State(layer.state.Load()).String() + " " }, decor.WCSyncSpaceR),
		),
		mpb.AppendDecorators(decor.Counters(decor.SizeB1000(0), "% .1f / % .1f")),
	)
}

// close ends the bars; those of layers that did not get here stay as they are.
func (p *progress) close() {
	if p.bars == nil {
		return
	}
	p.mu.Lock()
	for _, layer := range p.layers {
		layer.bar.Abort(false)
	}
	p.mu.Unlock()
	p.bars.Wait()
}
