package image

import "testing"

func BenchmarkPlanHost(b *testing.B) {
	for b.Loop() {
		plan, err := planHost("/")
		if err != nil {
			b.Fatal(err)
		}
		plan.digest()
	}
}
