package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRetryingClient_SendsTheSameBodyUntilItIsAnswered(t *testing.T) {
	t.Parallel()
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		switch len(bodies) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			_, _ = io.WriteString(w, `{"errors":[{"extensions":{"retryable":true,"retryAfterMs":1}}]}`)
		default:
			_, _ = io.WriteString(w, `{"errors":[{"extensions":{"retryable":false}}]}`)
		}
	}))
	defer server.Close()

	response, err := newRetryingClient().Post(server.URL, "application/json", strings.NewReader("the same"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(answer), "false") {
		t.Errorf("got %q, %v; want the answer that is not retryable", answer, err)
	}
	if got := strings.Join(bodies, ","); got != "the same,the same,the same,the same" {
		t.Errorf("the server got %q", got)
	}
}
