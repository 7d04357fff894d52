package keeper

import (
	"bytes"
	"time"
)

// The form of a log line is the CRI's (k8s.io/cri-client/pkg/logs reads it):
//
//	2026-11-23T15:04:05.000000000Z stdout F content
//
// The tag is F for the end of a line and P for a part of one that goes on in the next entry of the same stream.
const (
	logTime    = "2006-01-02T15:04:05.000000000Z07:00"
	maxContent = 16 << 10 // bytes of content in one entry; what is longer is split
	maxScratch = 32 << 10 // bytes of entries that are gathered before they are written
)

// stream is one of a container's outputs.
type stream string

const (
	stdout stream = "stdout"
	stderr stream = "stderr"
)

// lines cuts one stream of bytes into log entries. It holds at most maxContent bytes: the beginning of a line whose end
// has not come.
type lines struct {
	stream stream
	tail   []byte
}

// add takes the next bytes of the stream, read at time now, and hands whole entries to write, several at once.
// Scratch is memory for them; add returns it, perhaps larger, to be given again.
func (l *lines) add(data []byte, now time.Time, scratch []byte, write func([]byte)) []byte {
	var stamp [len(logTime)]byte
	when := now.UTC().AppendFormat(stamp[:0], logTime)
	scratch = scratch[:0]
	for len(data) > 0 {
		room := maxContent - len(l.tail)
		part := data[:min(room, len(data))]
		end := bytes.IndexByte(part, '\n')
		switch {
		case end >= 0:
			scratch = l.entry(scratch, when, 'F', part[:end])
			data = data[end+1:]
		case len(part) == room && len(data) > room && data[room] == '\n':
			// The line is exactly as long as an entry: its end needs none of its own.
			scratch = l.entry(scratch, when, 'F', part)
			data = data[room+1:]
		case len(part) == room && len(data) > room:
			scratch = l.entry(scratch, when, 'P', part)
			data = data[room:]
		default:
			l.tail = append(l.tail, part...)
			data = nil
		}
		if len(scratch) >= maxScratch {
			write(scratch)
			scratch = scratch[:0]
		}
	}
	if len(scratch) > 0 {
		write(scratch)
	}
	return scratch[:0]
}

// flush writes what is held of an unfinished line as a part.
func (l *lines) flush(now time.Time, scratch []byte, write func([]byte)) []byte {
	if len(l.tail) == 0 {
		return scratch
	}
	var stamp [len(logTime)]byte
	scratch = l.entry(scratch[:0], now.UTC().AppendFormat(stamp[:0], logTime), 'P', nil)
	write(scratch)
	l.tail = nil
	return scratch[:0]
}

// entry appends one entry of the held bytes and more, and holds nothing then.
func (l *lines) entry(dst, when []byte, tag byte, more []byte) []byte {
	dst = append(dst, when...)
	dst = append(dst, ' ')
	dst = append(dst, l.stream...)
	dst = append(dst, ' ', tag, ' ')
	dst = append(dst, l.tail...)
	dst = append(dst, more...)
	l.tail = l.tail[:0]
	return append(dst, '\n')
}
