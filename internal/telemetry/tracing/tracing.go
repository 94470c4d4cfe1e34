// Package tracing records traces and exports them by OTLP, see
// https://opentelemetry.io/docs/specs/otel/. It is set up by the standard's environment
// variables, and off unless they name where to.
//
//	t := tracing.New(ctx, tracing.Config{Version: version, Log: log})
//	mux.Handle("/graphql", t.Handler("/graphql", api))
//	…
//	t.Close(ctx)
//
// What is recorded has no key, payload, token or value of a statement. A request that is
// not sampled costs a few hundred nanoseconds, and one of a server without traces nothing.
// An exporter that is away or hangs delays nobody: what it does not take in time is
// dropped.
package tracing

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-logr/logr"
)

// Config tunes a Tracing.
type Config struct {
	// Version is the program's.
	Version string
	// TrustParent continues the trace that a request's header traceparent names, and
	// samples as it says, where OTEL_TRACES_SAMPLER heeds it. Otherwise each request
	// begins a trace, which links to that one: strangers decide about nothing.
	TrustParent bool
	// Log is told when traces can't be exported.
	Log *slog.Logger
}

// A Tracing records traces. It is safe for use by many goroutines.
type Tracing struct {
	settings settings
	trust    bool
	client   *client
	provider *sdk.TracerProvider // Nil while it is off.
	// requests begins traces, as the sampler says.
	requests trace.Tracer
	// parts goes on with traces that are recorded, and begins those that are linked with one.
	parts         trace.Tracer
	partsProvider *sdk.TracerProvider
}

// scope names what makes the spans.
const scope = "github.com/onceql/onceql"

// New returns a Tracing that is set up as the environment says. What the environment says
// wrongly is logged, and no reason not to serve.
func New(ctx context.Context, config Config) *Tracing {
	settings, err := fromEnvironment()
	if err != nil {
		config.Log.WarnContext(ctx, "traces are not exported", "err", err)
		return &Tracing{}
	}
	if !settings.export {
		return &Tracing{}
	}
	log := config.Log
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.WarnContext(ctx, "OpenTelemetry reports a fault", "err", err)
	}))
	what, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "onceql"), attribute.String("service.version", config.Version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		log.WarnContext(ctx, "OpenTelemetry reports a fault", "err", err)
	}
	client, err := newClient(settings, log)
	if err != nil {
		log.WarnContext(ctx, "traces are not exported", "err", err)
		return &Tracing{}
	}
	processor := sdk.NewBatchSpanProcessor(otlptrace.NewUnstarted(client))
	options := []sdk.TracerProviderOption{sdk.WithResource(what), sdk.WithSpanProcessor(processor)}
	t := &Tracing{settings: settings, trust: config.TrustParent, client: client}
	t.provider = sdk.NewTracerProvider(options...)
	t.partsProvider = sdk.NewTracerProvider(append(options, sdk.WithSampler(sdk.AlwaysSample()))...)
	version := trace.WithInstrumentationVersion(config.Version)
	t.requests, t.parts = t.provider.Tracer(scope, version), t.partsProvider.Tracer(scope, version)
	return t
}

// On says whether traces are recorded.
func (t *Tracing) On() bool { return t.provider != nil }

// closeTimeout bounds how long what is recorded may take to be exported at the end.
const closeTimeout = 3 * time.Second

// Close exports what is recorded, within 3 seconds, and records nothing more.
func (t *Tracing) Close(ctx context.Context) {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.client.tell(ctx, err)
	}
	_ = t.partsProvider.Shutdown(ctx) // They have one processor.
}

// IDs returns the ids of the trace and the span that ctx belongs to, in hexadecimal, where
// they are recorded: an id that leads to no trace is none. Otherwise both are "".
func IDs(ctx context.Context) (traceID, spanID string) {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsSampled() || !span.IsValid() {
		return "", ""
	}
	return span.TraceID().String(), span.SpanID().String()
}

// recording returns the span that ctx belongs to, and whether it is recorded.
func recording(ctx context.Context) (trace.Span, bool) {
	span := trace.SpanFromContext(ctx)
	return span, span.IsRecording()
}
