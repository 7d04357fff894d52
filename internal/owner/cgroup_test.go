package owner

import "testing"

func TestSanitise(t *testing.T) {
	for in, want := range map[string]string{
		"web":                "web",
		"\x1b]0;x\a\x1b[31m": `\x1b]0;x\x07\x1b[31m`,
		"a\nb\tc":            `a\x0ab\x09c`,
		"日本":                 "日本",
		"\u202egnp.exe":      `\u202egnp.exe`,
		"\xff\x9b31m":        `\xff\x9b31m`,
		"\u009b31m":          `\x9b31m`,
	} {
		if got := Sanitise(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
