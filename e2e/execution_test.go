package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestWait_EndsBeforeALongExecution(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, "IDEMPOTENCY_WAIT=300ms"), connect(t, url)
	release := d.holdProjects()
	for range 2 {
		a := s.send(create("k", "Apollo"))
		wantCode(t, a, "IDEMPOTENCY_IN_PROGRESS")
		if e := a.failure(); !e.Retryable || e.RetryAfterMs <= 0 || e.RequestID != a.header.Get("X-Request-Id") {
			t.Errorf("the error's extensions: %+v", e)
		}
	}
	release()
	eventually(t, "the key to replay", func() bool {
		a := s.send(create("k", "Apollo"))
		return a.fieldStatus() == "REPLAYED"
	})
	d.wantStored(1, 1)
}

func TestCaller_HangsUpAndTheWorkFinishes(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	// A call that runs singly: a batch waits for a lock for no longer than a moment, and
	// what nobody waits for any more does not begin again.
	work := rename("k", s.send(create("subject", "Mercury")).project().ID, "Apollo")
	release := d.holdProjects()
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := s.try(ctx, work)
		gone <- err
	}()
	eventually(t, "the effect to wait", func() bool { return d.held() == 1 })
	hangUp()
	if err := <-gone; err == nil {
		t.Fatal("the caller was answered")
	}
	release()
	eventually(t, "the work to finish", func() bool { return d.count(`select count(*) from projects where name = 'Apollo'`) == 1 })
	wantStatus(t, s.send(work), "REPLAYED")
	d.wantStored(1, 2)
}

func TestErrors_ConsumeNoKey(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	wantCode(t, s.send(create("k", "")), "BAD_USER_INPUT")
	wantCode(t, s.send(request{Query: `mutation { archiveProject(input: {id: "018f0000-0000-7000-8000-000000000000"}, idempotencyKey: "k") {
		project { id } } }`}), "NOT_FOUND")
	wantCode(t, s.send(request{Query: `mutation { createProject(input: {nom: "Apollo"}, idempotencyKey: "k") { project { id } } }`}),
		"GRAPHQL_VALIDATION_FAILED")
	d.wantStored(0, 0)
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	d.wantStored(1, 1)
}

func TestDocument_WithThreeMutationsIsThreeCalls(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	three := request{Query: `mutation {
		one: createProject(input: {name: "One"}, idempotencyKey: "1") { project { id name } }
		two: createProject(input: {name: ""}, idempotencyKey: "2") { project { id name } }
		three: createProject(input: {name: "Three"}, idempotencyKey: "3") { project { id name } }
	}`}
	for round, status := range []string{"EXECUTED", "REPLAYED"} {
		a := s.send(three)
		if a.Data["one"] == nil || a.Data["two"] != nil || a.Data["three"] == nil {
			t.Fatalf("round %d: data %s", round, a.raw)
		}
		if len(a.Errors) != 1 || a.code() != "BAD_USER_INPUT" || fmt.Sprint(a.Errors[0].Path) != "[two]" {
			t.Errorf("round %d: errors %+v", round, a.Errors)
		}
		statuses := a.Extensions.Idempotency
		if len(statuses) != 2 || statuses["one"].Status != status || statuses["three"].Status != status {
			t.Errorf("round %d: statuses %+v", round, statuses)
		}
		if a.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("round %d: the header calls a failed field a replay", round)
		}
	}
	d.wantStored(2, 2)

	document := request{Query: `mutation {
		first: createProject(input: {name: "Four"}, idempotencyKey: "4") { project { id name } }
		second: createProject(input: {name: "Four"}, idempotencyKey: "4") { project { id name } }
	}`}
	twice := s.send(document)
	if f := twice.Extensions.Idempotency; f["first"].Status != "EXECUTED" || f["second"].Status != "REPLAYED" ||
		twice.Data["first"].Project.ID != twice.Data["second"].Project.ID || twice.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("the same key twice in a document: %s", twice.raw)
	}
	if again := s.send(document); again.header.Get("Idempotency-Replayed") != "true" || len(again.Extensions.Idempotency) != 2 {
		t.Errorf("a document of replays alone: header %q, %s", again.header.Get("Idempotency-Replayed"), again.raw)
	}
	d.wantStored(3, 3)
}

func TestExpiry_IsByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, "IDEMPOTENCY_TTL=1h"), connect(t, url)
	first := s.send(create("k", "Apollo"))
	wantStatus(t, first, "EXECUTED")
	f := first.Extensions.Idempotency["createProject"]
	if got := f.ExpiresAt.Sub(f.ExecutedAt); got != time.Hour {
		t.Errorf("the result is replayed for %s, want 1h", got)
	}
	// As if the database's clock had gone on: the server's own has not.
	age := func(by string) {
		d.exec(`update idempotency_keys set created_at = created_at - $1::text::interval, expires_at = expires_at - $1::text::interval`, by)
	}
	age("61 minutes")
	a := s.send(create("k", "Apollo"))
	wantCode(t, a, "IDEMPOTENCY_KEY_EXPIRED")
	if a.failure().Retryable {
		t.Error("an expired key is called retryable")
	}
	wantCode(t, s.send(create("k", "Gemini")), "IDEMPOTENCY_KEY_REUSED")
	d.wantStored(1, 1)
	// As the purge does, whose tests are the engine's.
	d.exec(`delete from idempotency_keys`)
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	d.wantStored(2, 1)
}
