// Package load calls OnceQL's servers as its clients do: they send the same request again
// after no answer or one that says so, each in its way.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/onceql/onceql/chaos/audit"
	"github.com/onceql/onceql/chaos/history"
)

// answerPatience is how long a client waits for an answer: longer than a server's
// IDEMPOTENCY_WAIT.
const answerPatience = 6 * time.Second

// An Operation is one of OnceQL's mutations, or what is wrong with a call of it.
type Operation string

// They begin the names of variants.
const (
	Create  Operation = "create"
	Update  Operation = "update"
	Invalid Operation = "invalid"
)

var documents = map[Operation]string{
	Create: `mutation ($input: CreateProjectInput!, $key: String!) {
		call: createProject(input: $input, idempotencyKey: $key) { project { id name } } }`,
	Update: `mutation ($input: UpdateProjectInput!, $key: String!) {
		call: updateProject(input: $input, idempotencyKey: $key) { project { id name } } }`,
}

// A Request is what is sent, as often as it takes.
type Request struct {
	Key, Variant string
	Operation    Operation
	// Project is the one that an Update is of.
	Project string
	// Size is how many bytes the body has at least.
	Size int
}

func (r Request) body() []byte {
	input := map[string]any{"name": audit.Name(r.Key, r.Variant)}
	document := documents[Create]
	switch r.Operation {
	case Update:
		document = documents[Update]
		input["id"] = r.Project
	case Invalid:
		input["name"] = " "
	}
	body, err := json.Marshal(map[string]any{"query": document, "variables": map[string]any{"key": r.Key, "input": input}})
	if err != nil {
		panic(err) // Strings can be encoded.
	}
	if blank := r.Size - len(body); blank > 0 {
		body = append([]byte("{"+strings.Repeat(" ", blank)), body[1:]...)
	}
	return body
}

// An answer is what one try heard.
type answer struct {
	outcome history.Outcome
	payload string
	// again says that the client is asked to come again, and after how long; zero leaves
	// it to the client.
	again bool
	after time.Duration
	why   string
}

// response is what a server answers in JSON.
type response struct {
	Data map[string]*struct {
		Project struct{ ID, Name string }
	}
	Errors []struct {
		Message    string
		Extensions struct {
			Code         string
			Retryable    bool
			RetryAfterMs int
		}
	}
	Extensions struct {
		Idempotency map[string]struct{ Status string }
	}
}

// errAnswer reports an answer that no server may give.
var errAnswer = errors.New("an answer that is none of the contract's")

// post sends the request once. An error is a violation of the contract.
func post(ctx context.Context, client *http.Client, to Target, body []byte) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL+"/graphql", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Host = to.Host
	request.Header.Set("Content-Type", "application/json")
	got, err := client.Do(request)
	if err != nil { // It is what the client heard.
		return answer{again: true, why: err.Error()}, nil
	}
	defer func() { _ = got.Body.Close() }()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		return answer{again: true, why: err.Error()}, nil
	}
	if got.StatusCode == http.StatusServiceUnavailable && got.Header.Get("Retry-After") != "" {
		if to.Edge {
			return answer{again: true, why: string(text)}, nil
		}
		return answer{outcome: history.Refused, again: true, why: string(text)}, nil
	}
	if got.StatusCode >= http.StatusInternalServerError {
		return answer{again: true, why: got.Status}, nil
	}
	var r response
	if err := json.Unmarshal(text, &r); err != nil {
		return answer{}, fmt.Errorf("%w: %s %q", errAnswer, got.Status, text)
	}
	a, known := r.read()
	if !known {
		return a, fmt.Errorf("%w: %s %q", errAnswer, got.Status, text)
	}
	return a, nil
}

// read says what the response means, and whether it means something.
func (r response) read() (a answer, known bool) {
	if len(r.Errors) > 0 {
		first := r.Errors[0]
		a := answer{why: first.Extensions.Code, again: first.Extensions.Retryable, after: time.Duration(first.Extensions.RetryAfterMs) * time.Millisecond}
		switch first.Extensions.Code {
		case "IDEMPOTENCY_KEY_REUSED":
			a.outcome = history.Reused
		case "IDEMPOTENCY_KEY_EXPIRED":
			a.outcome = history.Expired
		case "BAD_USER_INPUT":
			a.outcome = history.Invalid
		case "IDEMPOTENCY_IN_PROGRESS", "UNAVAILABLE":
			return a, a.again // Unknown.
		default:
			return a, false
		}
		return a, !a.again
	}
	payload, status := r.Data["call"], r.Extensions.Idempotency["call"].Status
	if payload == nil {
		return answer{}, false
	}
	a.payload = audit.Payload(payload.Project.ID, payload.Project.Name)
	switch status {
	case "EXECUTED":
		a.outcome = history.Executed
	case "REPLAYED":
		a.outcome = history.Replayed
	default:
		return a, false
	}
	return a, true
}
