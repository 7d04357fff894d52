package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// logger tells people on stderr, and callers in a file: containerd, conmon and Docker show the last error there to theirs.
type logger struct {
	file    string // "" for none
	format  string // text or json
	verbose bool
}

// line is one message as logrus writes it, which runc's callers read.
type line struct {
	Level string `json:"level"`
	Msg   string `json:"msg"`
	Time  string `json:"time"`
}

// fail tells of an error and returns the code.
func (l *logger) fail(err error, code int) int {
	if !errors.Is(err, errHelped) {
		fmt.Fprintln(os.Stderr, "tripod-oci:", err)
		l.log("error", err.Error())
	}
	return code
}

// warn tells what ends nothing.
func (l *logger) warn(err error) {
	fmt.Fprintln(os.Stderr, "tripod-oci: warning:", err)
	l.log("warning", err.Error())
}

func (l *logger) debug(format string, args ...any) {
	if l.verbose {
		l.log("debug", fmt.Sprintf(format, args...))
	}
}

// log appends a message to the file. A log that cannot be written is no reason to fail: the message is on stderr.
func (l *logger) log(level, msg string) {
	if l.file == "" {
		return
	}
	m := line{level, msg, time.Now().Format(time.RFC3339)}
	text := fmt.Sprintf("time=%q level=%s msg=%q\n", m.Time, m.Level, m.Msg)
	if l.format == "json" {
		data, err := json.Marshal(m)
		if err != nil {
			return
		}
		text = string(data) + "\n"
	}
	f, err := os.OpenFile(l.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = f.WriteString(text)
}
