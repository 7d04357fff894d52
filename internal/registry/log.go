package registry

import (
	"io"
	"log/slog"

	"github.com/sirupsen/logrus"
)

// RouteLog leads what the image library logs by logrus into slog, where the program says what is told.
func RouteLog() {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.DebugLevel)
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(slogHook{})
}

type slogHook struct{}

func (slogHook) Levels() []logrus.Level { return logrus.AllLevels }

func (slogHook) Fire(e *logrus.Entry) error {
	switch {
	case e.Level <= logrus.ErrorLevel:
		slog.Error(e.Message)
	case e.Level == logrus.WarnLevel:
		slog.Warn(e.Message)
	default: // its "info" is what a person need not know
		slog.Debug(e.Message)
	}
	return nil
}
