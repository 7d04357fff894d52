// Package getopt reads command lines as getopt_long(3) of the GNU C library does, with its words when they are wrong.
//
// It is for the commands that take the place of others, whose command lines people and scripts know by heart: -abc, -oVALUE,
// -o VALUE, --long, --long=VALUE, --lon where that can be nothing else, -- as the end of options, operands between options.
package getopt

import (
	"fmt"
	"slices"
	"strings"
)

// Takes says whether an option takes a value.
type Takes uint8

// What options take.
const (
	Nothing Takes = iota
	Value
	Perhaps // only in the same word: -TVALUE, --tree=VALUE
)

// Option is an option that a command has.
type Option struct {
	Short byte   // 0: has no short form
	Long  string // without the dashes; "" has no long form
	Takes Takes
}

// Found is an option that was given.
type Found struct {
	Option
	Value    string
	HasValue bool
}

// Parse reads the arguments. With inOrder the first operand ends the options, as for a command that starts another; without,
// options may stand after operands. When there is an error, found holds what came before it: a command that was asked for its
// help before that gives it. The error is in the words of the GNU C library, without the command's name.
func Parse(options []Option, args []string, inOrder bool) (found []Found, operands []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return found, append(operands, args...), nil
		case strings.HasPrefix(arg, "--"):
			var f Found
			if f, args, err = long(options, arg[2:], args); err != nil {
				return found, operands, err
			}
			found = append(found, f)
		case len(arg) > 1 && arg[0] == '-':
			var fs []Found
			fs, args, err = short(options, arg[1:], args)
			found = append(found, fs...)
			if err != nil {
				return found, operands, err
			}
		case inOrder:
			return found, append([]string{arg}, args...), nil
		default:
			operands = append(operands, arg)
		}
	}
	return found, operands, nil
}

// long reads one word that began with two dashes, and the next when the option needs a value.
func long(options []Option, word string, rest []string) (Found, []string, error) {
	name, value, has := strings.Cut(word, "=")
	o, err := named(options, name, word)
	if err != nil {
		return Found{}, rest, err
	}
	f := Found{o, value, has}
	switch {
	case has && o.Takes == Nothing:
		return f, rest, fmt.Errorf("option '--%s' doesn't allow an argument", o.Long)
	case !has && o.Takes == Value:
		if len(rest) == 0 {
			return f, rest, fmt.Errorf("option '--%s' requires an argument", o.Long)
		}
		f.Value, f.HasValue, rest = rest[0], true, rest[1:]
	}
	return f, rest, nil
}

// named finds an option by its long name or by a beginning that no other has.
func named(options []Option, name, word string) (Option, error) {
	var like []Option
	for _, o := range options {
		switch {
		case o.Long == "":
		case o.Long == name:
			return o, nil
		case strings.HasPrefix(o.Long, name):
			like = append(like, o)
		}
	}
	switch {
	case len(like) == 0:
		return Option{}, fmt.Errorf("unrecognized option '--%s'", word)
	case slices.ContainsFunc(like, func(o Option) bool { return o.Short == 0 || o.Short != like[0].Short }) && len(like) > 1:
		text := fmt.Sprintf("option '--%s' is ambiguous; possibilities:", word)
		for _, o := range like {
			text += " '--" + o.Long + "'"
		}
		return Option{}, fmt.Errorf("%s", text)
	}
	return like[0], nil
}

// short reads the letters of one word, and the next word when the last letter needs a value.
func short(options []Option, letters string, rest []string) ([]Found, []string, error) {
	var found []Found
	for len(letters) > 0 {
		letter := letters[0]
		letters = letters[1:]
		at := slices.IndexFunc(options, func(o Option) bool { return o.Short == letter && letter != 0 })
		if at < 0 {
			return found, rest, fmt.Errorf("invalid option -- '%c'", letter)
		}
		f := Found{Option: options[at]}
		switch {
		case f.Takes == Nothing:
			found = append(found, f)
			continue
		case letters != "":
			f.Value, f.HasValue = letters, true
		case f.Takes == Value && len(rest) == 0:
			return found, rest, fmt.Errorf("option requires an argument -- '%c'", letter)
		case f.Takes == Value:
			f.Value, f.HasValue, rest = rest[0], true, rest[1:]
		}
		return append(found, f), rest, nil
	}
	return found, rest, nil
}
