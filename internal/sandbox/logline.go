package sandbox

import (
	"bytes"
	"errors"
	"time"
)

// Line is one line of a container's log, in the format of the CRI (kubelet: pkg/kubelet/kuberuntime/logs):
//
//	2026-11-23T15:04:05.000000000Z stdout F text
//
// A long line comes in parts: all but the last are Partial, and only the last has a newline of its own.
type Line struct {
	Time    time.Time
	Stream  string // stdout or stderr
	Partial bool
	Text    []byte // without the newline
}

// ErrLogLine says that a line of a log is not one.
var ErrLogLine = errors.New("not a line of a container's log")

// ParseLine reads a line of a log file, with or without its newline. Text is a part of raw.
func ParseLine(raw []byte) (Line, error) {
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	stamp, rest, ok := bytes.Cut(raw, []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	tags, text, ok3 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || !ok3 && len(tags) == 0 {
		return Line{}, ErrLogLine
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, ErrLogLine
	}
	line := Line{Time: at, Text: text}
	switch string(stream) {
	case "stdout", "stderr":
		line.Stream = string(stream)
	default:
		return Line{}, ErrLogLine
	}
	tag, _, _ := bytes.Cut(tags, []byte(":"))
	switch string(tag) {
	case "P":
		line.Partial = true
	case "F":
	default:
		return Line{}, ErrLogLine
	}
	return line, nil
}
