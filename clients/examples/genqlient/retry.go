package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// The server is heeded so far: a date far off is no reason to wait.
const longest = time.Minute

// newRetryingClient returns a client whose RoundTripper tries a request again after
// no answer, an HTTP status that says so, or a GraphQL error with `retryable: true`.
// Every mutation sent through it needs an idempotency key.
func newRetryingClient() *http.Client {
	client := retryablehttp.NewClient()
	client.Logger = nil
	client.RetryMax = 5
	client.HTTPClient.Timeout = 15 * time.Second // Of one try.
	client.RetryWaitMin, client.RetryWaitMax = 300*time.Millisecond, 10*time.Second
	client.CheckRetry = checkRetry
	client.Backoff = backoff
	// The last answer is the caller's to read.
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return client.StandardClient()
}

func checkRetry(ctx context.Context, response *http.Response, err error) (bool, error) {
	if again, giveUp := retryablehttp.DefaultRetryPolicy(ctx, response, err); again || giveUp != nil || err != nil {
		return again, giveUp
	}
	_, retryable, err := retryAfter(response)
	return retryable || err != nil || response.StatusCode == http.StatusRequestTimeout, nil
}

// backoff waits as long as the server asks for: in the body, or in Retry-After.
func backoff(least, most time.Duration, attempt int, response *http.Response) time.Duration {
	if response != nil {
		if after, retryable, err := retryAfter(response); err == nil && retryable {
			return min(max(after, 0), longest)
		}
	}
	return min(retryablehttp.DefaultBackoff(least, most, attempt, response), longest)
}

// retryAfter tells whether one of the answer's errors is retryable, and after what
// time. The body can still be read.
func retryAfter(response *http.Response) (after time.Duration, retryable bool, err error) {
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, false, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	var answer struct {
		Errors []struct {
			Extensions struct {
				Retryable    bool `json:"retryable"`
				RetryAfterMS int  `json:"retryAfterMs"`
			} `json:"extensions"`
		} `json:"errors"`
	}
	// What is no JSON has no retryable error.
	_ = json.Unmarshal(body, &answer)
	for _, failure := range answer.Errors {
		if failure.Extensions.Retryable {
			retryable = true
			after = max(after, time.Duration(failure.Extensions.RetryAfterMS)*time.Millisecond)
		}
	}
	return after, retryable, nil
}
