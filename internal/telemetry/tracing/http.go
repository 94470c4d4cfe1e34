package tracing

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/onceql/onceql/internal/requestid"
)

// Handler records a span for each request of the route that is sampled. Baggage is not
// read, and nothing of the trace is answered.
func (t *Tracing) Handler(route string, next http.Handler) http.Handler {
	if !t.On() {
		return next
	}
	name := func(method string) string { return method + " " + route }
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method, ctx := known(r.Method), r.Context()
		if t.trust && t.settings.parents {
			ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
		}
		ctx, span := t.requests.Start(ctx, name(method), trace.WithSpanKind(trace.SpanKindServer))
		if !span.IsRecording() {
			next.ServeHTTP(w, r.WithContext(ctx))
			return
		}
		if !t.trust && t.settings.parents {
			linkToSender(span, r)
		}
		status := &statusWriter{ResponseWriter: w, code: http.StatusOK}
		panicked := true
		defer func() {
			if panicked {
				status.code = http.StatusInternalServerError // Go closes the connection.
			}
			span.SetAttributes(
				attribute.String("http.request.method", method),
				attribute.String("http.route", route),
				attribute.String("url.path", route),
				attribute.String("network.protocol.version", version(r)),
				attribute.Int("http.response.status_code", status.code),
				attribute.String("onceql.request_id", requestid.From(ctx)),
			)
			if status.code >= http.StatusInternalServerError {
				span.SetStatus(codes.Error, "")
			}
			span.End()
		}()
		next.ServeHTTP(status, r.WithContext(ctx))
		panicked = false
	})
}

// linkToSender links the span to the one that the request names as its parent, without
// what vendors say of it.
func linkToSender(span trace.Span, r *http.Request) {
	const header = "traceparent"
	carrier := propagation.MapCarrier{header: r.Header.Get(header)}
	parent := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(r.Context(), carrier))
	if parent.IsValid() && parent.IsRemote() {
		span.AddLink(trace.Link{SpanContext: parent, Attributes: []attribute.KeyValue{attribute.String("onceql.link", "sender")}})
	}
}

// known returns the method, or what the conventions say for one that nobody knows.
// https://opentelemetry.io/docs/specs/semconv/http/http-spans/
func known(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch,
		http.MethodConnect, http.MethodTrace:
		return method
	}
	return "_OTHER"
}

func version(r *http.Request) string {
	if r.ProtoMajor == 1 && r.ProtoMinor == 0 {
		return "1.0"
	}
	if r.ProtoMajor == 1 {
		return "1.1"
	}
	return "2"
}

// A statusWriter knows the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	code    int
	written bool
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(code int) {
	if !w.written && code >= http.StatusOK { // Those below announce another.
		w.code, w.written = code, true
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *statusWriter) Write(p []byte) (int, error) {
	w.written = true
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
