package lsns

import (
	"strings"

	"tripod/internal/getopt"
	"tripod/internal/ns"
)

// Complete returns the words that can stand where one was begun, each with a tab and what it means.
func Complete(before []string, word string) []string {
	var all []string
	offer := func(prefix, text, help string) {
		if strings.HasPrefix(prefix+text, word) {
			all = append(all, strings.TrimSuffix(prefix+text+"\t"+help, "\t"))
		}
	}
	option := ""
	if len(before) > 0 {
		option = before[len(before)-1]
	}
	if name, _, ok := strings.Cut(word, "="); ok && strings.HasPrefix(name, "--") {
		option, word = name, word[len(name)+1:]
		defer func() {
			for i := range all {
				all[i] = name + "=" + all[i]
			}
		}()
	}
	switch option {
	case "-t", "--type":
		for _, t := range ns.Types() {
			offer("", t.String(), "")
		}
		return all
	case "-T", "--tree":
		if option == "--tree" && !strings.HasPrefix(word, "-") {
			for _, t := range []string{"parent", "owner", "process"} {
				offer("", t, "")
			}
		}
	case "-o", "--output":
		prefix := ""
		if i := strings.LastIndexAny(word, ",+"); i >= 0 {
			prefix = word[:i+1]
		}
		for _, c := range columns {
			offer(prefix, c.name, c.help)
		}
		return all
	}
	if strings.HasPrefix(word, "-") {
		for _, o := range words {
			form := "--" + o.Long
			if o.Takes == getopt.Value {
				form += "="
			}
			offer("", form, "")
		}
	}
	return all
}
