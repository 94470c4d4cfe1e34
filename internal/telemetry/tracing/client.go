package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	pb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A client sends spans by OTLP over HTTP. The client that OpenTelemetry has brings gRPC,
// five times as much code.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
type client struct {
	settings settings
	http     *http.Client
	log      *slog.Logger
	// failing says that the last export failed, and that the log says so.
	failing atomic.Bool
}

func newClient(settings settings, log *slog.Logger) (*client, error) {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the program's HTTP transport is another than Go's")
	}
	transport := base.Clone()
	if settings.tls != nil {
		transport.TLSClientConfig = settings.tls
	}
	return &client{settings: settings, log: log, http: &http.Client{
		Transport: transport,
		// The headers are for the one that the operator named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Start implements otlptrace.Client.
func (c *client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. What can't be sent in time is dropped. The log
// says so once, until it can be again.
func (c *client) UploadTraces(ctx context.Context, spans []*pb.ResourceSpans) error {
	// An ExportTraceServiceRequest has the same form.
	body, err := proto.Marshal(&pb.TracesData{ResourceSpans: spans})
	if err == nil {
		err = c.send(ctx, body)
	}
	c.tell(ctx, err)
	return nil // The SDK would say each time what is told.
}

// tell logs what became of an export, where it is another thing than before.
func (c *client) tell(ctx context.Context, err error) {
	switch {
	case err != nil && !c.failing.Swap(true):
		c.log.WarnContext(ctx, "traces can't be exported and are dropped", "err", err)
	case err == nil && c.failing.Swap(false):
		c.log.InfoContext(ctx, "traces are exported again")
	}
}

// The pauses before an export is tried again.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 5 * time.Second
)

// send sends the body, and again what may succeed then, until the time is over.
func (c *client) send(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, c.settings.timeout)
	defer cancel()
	if c.settings.compress {
		body = compressed(body)
	}
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		again, after, err := c.try(ctx, body)
		if err == nil || !again {
			return err
		}
		timer := time.NewTimer(max(after, pause/2+rand.N(pause/2)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

func compressed(body []byte) []byte {
	var buffer bytes.Buffer
	w := gzip.NewWriter(&buffer)
	_, _ = w.Write(body) // Into memory.
	_ = w.Close()
	return buffer.Bytes()
}

// retryable are the answers after which the same may succeed.
// https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
var retryable = []int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// try sends the body once. It says whether that may succeed another time, and what the
// server says of when.
func (c *client) try(ctx context.Context, body []byte) (again bool, after time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.settings.endpoint, bytes.NewReader(body))
	if err != nil {
		return false, 0, errors.New("the endpoint is no URL")
	}
	for name, values := range c.settings.headers {
		request.Header[name] = slices.Clone(values)
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	if c.settings.compress {
		request.Header.Set("Content-Encoding", "gzip")
	}
	response, err := c.http.Do(request)
	if err != nil {
		var about *url.Error
		if errors.As(err, &about) { // Its text has the URL, which may have a secret.
			err = about.Err
		}
		return ctx.Err() == nil, 0, fmt.Errorf("sending them: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // So that the connection is used again.
	if response.StatusCode/100 == 2 {
		return false, 0, nil
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	after = time.Duration(min(max(seconds, 0), 3600)) * time.Second
	return slices.Contains(retryable, response.StatusCode), after, fmt.Errorf("they were answered HTTP %d", response.StatusCode)
}
