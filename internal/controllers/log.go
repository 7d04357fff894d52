package controllers

import (
	"context"
	"log/slog"
	"strings"

	"k8s.io/klog/v2"
)

// RouteLog leads what Kubernetes' code logs into l, a level lower than it says: its news are this program's details, and its
// errors, most of which it mends by trying again, are warnings here.
func RouteLog(l *slog.Logger) { klog.SetSlogLogger(slog.New(quiet{l.Handler()})) }

// quiet is a handler for the words of Kubernetes' code.
type quiet struct{ slog.Handler }

// lower is the level of a message here.
func lower(level slog.Level) slog.Level {
	switch {
	case level >= slog.LevelError:
		return slog.LevelWarn
	case level > slog.LevelDebug:
		return slog.LevelDebug
	}
	return level
}

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, lower(level))
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lower(r.Level)
	if retried(r) {
		r.Level = slog.LevelDebug
	}
	if !q.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }
func (q quiet) WithGroup(name string) slog.Handler       { return quiet{q.Handler.WithGroup(name)} }

// retried says that a message tells of a race that was lost, or of a cache that is behind: every controller tries again.
func retried(r slog.Record) bool {
	late := func(s string) bool {
		return strings.Contains(s, "the object has been modified") || strings.Contains(s, "is not as new as written version")
	}
	found := late(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		found = found || late(a.Value.String())
		return !found
	})
	return found
}
