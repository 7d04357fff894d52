package controllers

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

func TestRouteLog(t *testing.T) {
	var said bytes.Buffer
	RouteLog(slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelInfo})))
	defer RouteLog(slog.New(slog.DiscardHandler))
	klog.InfoS("news", "a", 1)
	klog.ErrorS(errors.New("Operation cannot be fulfilled: the object has been modified"), "lost a race")
	klog.ErrorS(errors.New("disk is full"), "cannot sync")
	if text := said.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "level=WARN") || !strings.Contains(text, "disk is full") {
		t.Errorf("said:\n%s", text)
	}
}
