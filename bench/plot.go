package main

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"strings"
)

// The plot's measures, in pixels.
const (
	plotWidth  = 760
	labelWidth = 96
	barsWidth  = 470
	barHeight  = 18
	groupGap   = 44
)

// plot draws each benchmark as a group of bars, one a contender: the median, with the minimum as a line in it. Each group has a
// scale of its own. Colours are chosen to be seen on white and on black.
func (r Report) plot() []byte {
	var b bytes.Buffer
	height := 30
	for _, result := range r.Results {
		height += groupGap + len(result.Samples)*(barHeight+4)
	}
	height += 24 + 16*(len(r.Machine)+len(r.Versions))
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", plotWidth, height)
	fmt.Fprint(&b, "<style>text{fill:#24292f}.dim{fill:#57606a;font-size:11px}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.dim{fill:#8b949e}}</style>\n")
	y := 24
	for _, result := range r.Results {
		better := "less is better"
		if result.More {
			better = "more is better"
		}
		fmt.Fprintf(&b, `<text x="10" y="%d" font-weight="bold">%s</text><text x="%d" y="%d" text-anchor="end" class="dim">%s, %s</text>`+"\n",
			y, html.EscapeString(result.Name), plotWidth-10, y, html.EscapeString(result.Unit), better)
		y += 8
		top := slices.MaxFunc(result.Samples, func(a, b Samples) int { return int(1e6 * (a.Median - b.Median)) }).Median
		for i, s := range result.Samples {
			colour := "#8c959f"
			if i == 0 {
				colour = "#2da44e"
			}
			width := s.Median / top * barsWidth
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`,
				labelWidth-8, y+14, html.EscapeString(s.Name), labelWidth, y, width, barHeight, colour)
			if least := s.Min / top * barsWidth; len(s.Values) > 1 {
				fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#fff"/>`, labelWidth+least, labelWidth+least, y, y+barHeight)
			}
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s</text>`+"\n", labelWidth+width+6, y+14, figure(s.Median))
			y += barHeight + 4
		}
		y += groupGap - 8
	}
	for _, line := range append(slices.Clone(r.Machine), r.Versions...) {
		fmt.Fprintf(&b, `<text x="10" y="%d" class="dim">%s</text>`+"\n", y, html.EscapeString(line))
		y += 16
	}
	fmt.Fprintln(&b, "</svg>")
	return b.Bytes()
}

// figure rounds to what a reader can use.
func figure(v float64) string {
	s := fmt.Sprintf("%.1f", v)
	if v < 10 {
		s = fmt.Sprintf("%.2f", v)
	}
	return strings.TrimSuffix(s, ".0")
}
