package operator

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
)

// A Verdict is what the server would make of a field now, as `key verify --json` prints it.
type Verdict struct {
	// Field is what it is called in the response.
	Field     string `json:"field"`
	Operation string `json:"operation"`
	Key       string `json:"key"`
	KeyHash   string `json:"keyHash"`
	// Would is replay, execute, or the code of the error.
	Would string `json:"would"`
	// Canonical is the form whose SHA-256 the fingerprint is, in the version.
	Canonical          string `json:"canonical"`
	Fingerprint        string `json:"fingerprint"`
	FingerprintVersion int16  `json:"fingerprintVersion"`
	// Call is what the key did; nil when that is not known.
	Call *Call `json:"call,omitempty"`
}

// The verdicts that are no code of an error.
const (
	wouldReplay  = "replay"
	wouldExecute = "execute"
)

// Verify prints what the server would make of each keyed field of the request, whose body it
// is, for the tenant. It executes nothing.
func (s *Session) Verify(ctx context.Context, config graph.Config, tenant string, body []byte, to Output) error {
	if err := s.See(&tenant); err != nil {
		return err
	}
	fields, err := graph.KeyedFields(ctx, config, tenant, body)
	if errors.Is(err, graph.ErrRefused) {
		fmt.Fprintln(to.Err, Line(err.Error()))
		return Refused
	}
	if err != nil {
		return err
	}
	verdicts := make([]Verdict, len(fields))
	for i, field := range fields {
		if verdicts[i], err = s.verdict(ctx, field); err != nil {
			return err
		}
	}
	if to.JSON {
		err = printJSON(to.Out, struct {
			Tenant string    `json:"tenant"`
			Fields []Verdict `json:"fields"`
		}{tenant, verdicts})
	} else {
		err = printVerdicts(to, verdicts)
	}
	if err != nil {
		return err
	}
	return statusOf(verdicts)
}

// statusOf is the worst of them.
func statusOf(verdicts []Verdict) error {
	var worst Status
	for _, verdict := range verdicts {
		switch verdict.Would {
		case wouldReplay:
		case wouldExecute:
			worst = max(worst, Absent)
		default:
			worst = max(worst, Refused)
		}
	}
	if worst == 0 {
		return nil
	}
	return worst
}

func (s *Session) verdict(ctx context.Context, field graph.KeyedField) (Verdict, error) {
	hash, _ := field.Call.Fingerprint(gqlidem.FingerprintVersion)
	v := Verdict{
		Field: field.Name, Operation: field.Call.Operation, Key: field.Call.Key,
		KeyHash:   idempotency.KeyHash(field.Call.Scope, field.Call.Key),
		Canonical: string(field.Canonical), Fingerprint: hex.EncodeToString(hash[:]), FingerprintVersion: gqlidem.FingerprintVersion,
	}
	record, there, err := s.Keys.Check(ctx, field.Call)
	if there {
		v.Call = new(callOf(record))
	}
	switch {
	case err == nil && there:
		v.Would = wouldReplay
	case err == nil:
		v.Would = wouldExecute
		return v, s.absent()
	case errors.Is(err, idempotency.ErrUnavailable) && !there:
		return v, err // The database's, and not the call's.
	default:
		v.Would = codeOf(err)
	}
	return v, nil
}

// codeOf is what the client would be told.
func codeOf(err error) string {
	for _, known := range []struct {
		err  error
		code string
	}{
		{idempotency.ErrKeyReused, gqlidem.CodeKeyReused},
		{idempotency.ErrKeyExpired, gqlidem.CodeKeyExpired},
		{idempotency.ErrInProgress, gqlidem.CodeInProgress},
		{idempotency.ErrKeyRequired, gqlidem.CodeKeyRequired},
		{idempotency.ErrKeyInvalid, gqlidem.CodeKeyInvalid},
		{idempotency.ErrUnavailable, gqlidem.CodeUnavailable},
	} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return gqlidem.CodeInternal
}

func printVerdicts(to Output, verdicts []Verdict) error {
	for i, v := range verdicts {
		if i > 0 {
			fmt.Fprintln(to.Out)
		}
		d := newDetails(to.Out)
		d.line("field", Text(v.Field))
		d.line("operation", v.Operation)
		d.line("key", Text(v.Key))
		d.line("key hash", v.KeyHash)
		d.line("would", v.says())
		d.line("canonical form", JSONText([]byte(v.Canonical)))
		d.line("its fingerprint", fmt.Sprintf("v%d %s", v.FingerprintVersion, v.Fingerprint))
		if v.Call != nil {
			d.line("the key's", fmt.Sprintf("v%d %s", v.Call.FingerprintVersion, v.Call.Fingerprint))
			d.line("the key did", fmt.Sprintf("%s, executed %s", Text(v.Call.Operation), moment(v.Call.ExecutedAt)))
			d.line("by request", optional(v.Call.RequestID))
			d.line("in trace", optional(v.Call.TraceID))
		}
		if err := d.end(); err != nil {
			return err
		}
	}
	return nil
}

// says tells of the verdict in words.
func (v Verdict) says() string {
	switch {
	case v.Would == wouldReplay:
		return "replay what the key did"
	case v.Would == wouldExecute:
		return "execute: the key is new here"
	case v.Call != nil && v.Would == gqlidem.CodeKeyReused && v.Call.Operation != v.Operation:
		return v.Would + ": the key was used for another operation"
	case v.Would == gqlidem.CodeKeyReused:
		return v.Would + ": the key was used with other arguments"
	}
	return "be refused with " + v.Would
}
