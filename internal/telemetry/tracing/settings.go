package tracing

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings are what the environment says of the exporter and of headers. The SDK reads for
// itself OTEL_TRACES_SAMPLER, OTEL_BSP_…, OTEL_SPAN_…, OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES.
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/
type settings struct {
	export   bool
	endpoint string
	headers  http.Header
	timeout  time.Duration
	compress bool
	tls      *tls.Config // Nil for the system's certificates.
	// parents says that the header traceparent is read.
	parents bool
}

// exporterTimeout is how long one export may take, unless the environment says.
const exporterTimeout = 10 * time.Second

// otlp returns the variable of the exporter's, the one for traces before that for all.
func otlp(name string) string {
	return strings.TrimSpace(cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_"+name), os.Getenv("OTEL_EXPORTER_OTLP_"+name)))
}

func fromEnvironment() (settings, error) {
	s := settings{timeout: exporterTimeout, compress: otlp("COMPRESSION") == "gzip", parents: true}
	exporters := strings.TrimSpace(os.Getenv("OTEL_TRACES_EXPORTER"))
	switch {
	case strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true"), exporters == "none":
		return s, nil
	case exporters == "" && otlp("ENDPOINT") == "":
		return s, nil
	case exporters != "" && exporters != "otlp":
		return s, fmt.Errorf("OTEL_TRACES_EXPORTER is %q, and can be otlp or none", exporters)
	}
	if protocol := otlp("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return s, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q, and can be http/protobuf, which collectors take on port 4318", protocol)
	}
	s.export = true
	if list := os.Getenv("OTEL_PROPAGATORS"); list != "" {
		s.parents = slices.ContainsFunc(strings.Split(list, ","), func(name string) bool { return strings.TrimSpace(name) == "tracecontext" })
	}
	if text := otlp("TIMEOUT"); text != "" {
		milliseconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil || milliseconds == 0 {
			return s, errors.New("OTEL_EXPORTER_OTLP_TIMEOUT is not a number of milliseconds")
		}
		s.timeout = time.Duration(milliseconds) * time.Millisecond
	}
	for _, read := range []func() error{s.readEndpoint, s.readHeaders, s.readCertificates} {
		if err := read(); err != nil {
			return s, err
		}
	}
	return s, nil
}

// readEndpoint reads where traces are sent: the address for traces as it is, or that for
// everything with the path of traces.
func (s *settings) readEndpoint() error {
	s.endpoint = os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if s.endpoint == "" {
		s.endpoint = strings.TrimSuffix(cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), "http://localhost:4318"), "/") + "/v1/traces"
	}
	address, err := url.Parse(s.endpoint)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		return errors.New("OTEL_EXPORTER_OTLP_ENDPOINT is not a URL like http://localhost:4318") // It may have a password.
	}
	return nil
}

// readHeaders reads name=value pairs, separated by commas, the values percent-encoded.
func (s *settings) readHeaders() error {
	s.headers = http.Header{}
	for pair := range strings.SplitSeq(otlp("HEADERS"), ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, value, found := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !found || err != nil || strings.ContainsAny(name+value, "\r\n\x00") {
			return errors.New("OTEL_EXPORTER_OTLP_HEADERS is not name=value, separated by commas") // They may be secret.
		}
		s.headers.Set(strings.TrimSpace(name), value)
	}
	return nil
}

// readCertificates reads whom the exporter trusts, and how it says who it is.
func (s *settings) readCertificates() error {
	if file := otlp("CERTIFICATE"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return errors.New("OTEL_EXPORTER_OTLP_CERTIFICATE has no certificate")
		}
		s.tls = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	if file := otlp("CLIENT_CERTIFICATE"); file != "" {
		pair, err := tls.LoadX509KeyPair(file, otlp("CLIENT_KEY"))
		if err != nil {
			return fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and its CLIENT_KEY: %w", err)
		}
		if s.tls == nil {
			s.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		s.tls.Certificates = []tls.Certificate{pair}
	}
	return nil
}
