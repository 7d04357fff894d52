package objects

import (
	"fmt"
	"sync/atomic"
	"testing"
)

func BenchmarkWrite(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			value := string(make([]byte, 2500))
			var n atomic.Int64
			b.SetParallelism(writers / 2)
			if writers == 1 {
				for b.Loop() {
					set(b, s, fmt.Sprint(n.Add(1)%1000), value)
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				me := n.Add(1)
				for pb.Next() {
					set(b, s, fmt.Sprint(me), value)
				}
			})
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir, Options{})
	fill(b, s, 10_000, 2500)
	s.Close()
	for b.Loop() {
		s, err := Open(dir, plain{}, Options{})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
