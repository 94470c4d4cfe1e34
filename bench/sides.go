package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A side is this build with settings, among what is compared.
type side struct {
	name     string
	settings []string
}

// sides are those that a repeated flag names.
type sides []side

// String implements flag.Value.
func (s *sides) String() string { return "" }

// Set implements flag.Value.
func (s *sides) Set(text string) error {
	name, settings, named := strings.Cut(text, ":")
	if !named || name == "" || name == previous || name == "onceql" {
		return errors.New("it is not \"name: VARIABLE=value …\"")
	}
	*s = append(*s, side{name, strings.Fields(settings)})
	return nil
}

// env are the side's settings. What is said of OpenTelemetry needs somebody who takes the
// traces.
func (s side) env(collector string) []string {
	if slices.ContainsFunc(s.settings, func(setting string) bool { return strings.HasPrefix(setting, "OTEL_") }) {
		return append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector}, s.settings...)
	}
	return s.settings
}

// startCollector starts what takes traces and keeps none, and returns its URL. It lasts
// as long as this program.
func startCollector(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	})}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), nil
}
