package operator

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/onceql/onceql/idempotency"
)

// A Call is what a key did, as `--json` prints it.
type Call struct {
	Tenant             string          `json:"tenant"`
	Key                string          `json:"key"`
	KeyHash            string          `json:"keyHash"`
	Operation          string          `json:"operation"`
	ExecutedAt         time.Time       `json:"executedAt"`
	ExpiresAt          time.Time       `json:"expiresAt"`
	Expired            bool            `json:"expired"`
	RetainedUntil      time.Time       `json:"retainedUntil"`
	RequestID          string          `json:"requestId,omitempty"`
	TraceID            string          `json:"traceId,omitempty"`
	SpanID             string          `json:"spanId,omitempty"`
	Fingerprint        string          `json:"fingerprint"`
	FingerprintVersion int16           `json:"fingerprintVersion"`
	StoredBytes        int64           `json:"storedBytes"`
	Payload            json.RawMessage `json:"payload,omitempty"`
}

func callOf(r idempotency.Record) Call {
	return Call{
		Tenant: r.Scope, Key: r.Key, KeyHash: idempotency.KeyHash(r.Scope, r.Key), Operation: r.Operation,
		ExecutedAt: r.ExecutedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(), Expired: r.Expired, RetainedUntil: r.RetainedUntil.UTC(),
		RequestID: r.RequestID, TraceID: r.TraceID, SpanID: r.SpanID,
		Fingerprint: hex.EncodeToString(r.Fingerprint[:]), FingerprintVersion: r.FingerprintVersion, StoredBytes: r.Bytes,
	}
}

// state is what the server says to the call when it comes again.
func (c Call) state() string {
	if c.Expired {
		return "refused"
	}
	return "replays"
}

func (c Call) describe(d details) {
	d.line("tenant", Text(c.Tenant))
	d.line("key", Text(c.Key))
	d.line("key hash", c.KeyHash)
	d.line("operation", Text(c.Operation))
	d.line("executed", moment(c.ExecutedAt))
	d.line("by request", optional(c.RequestID))
	d.line("in trace", optional(c.TraceID))
	d.line("fingerprint", fmt.Sprintf("v%d %s", c.FingerprintVersion, c.Fingerprint))
	until := "replayed until"
	if c.Expired {
		until = "expired"
	}
	d.line(until, moment(c.ExpiresAt))
	d.line("kept until", moment(c.RetainedUntil))
	d.line("payload", fmt.Sprintf("%d bytes stored", c.StoredBytes))
}
