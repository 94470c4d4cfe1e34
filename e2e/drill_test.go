package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/operator"
	"github.com/onceql/onceql/internal/pgtest"
)

// A told is what the caller of one key was answered, and the ids of its requests.
type told struct {
	key      string
	requests []string
	status   fieldStatus
	project  string
}

// Two servers stand behind nginx, a client loses answers, and one server is killed amid its
// calls. Afterwards the rows, both servers' logs, the traces and what the client was told are
// one story of each key, and the commands of the docs tell it.
func TestDrill_RowsLogsTracesAndAnswersAgree(t *testing.T) {
	t.Parallel()
	const calls, callers = 120, 8
	url, i, c := pgtest.URL(t), issuer.New(t), newCollector(t)
	env := c.env("LOG_FORMAT=json", "IDEMPOTENCY_WAIT=5s")
	first, second := serveTo(t, i, url+"&application_name=first", env...), serveTo(t, i, url, env...)
	d, edge := connect(t, url), newEdge(t, first, second)
	token := bearer(i.Token("acme"))

	var done atomic.Int64
	stories, next := make([]told, calls), make(chan int)
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for n := range next {
				stories[n] = edge.callUntilTold(fmt.Sprint("order-", n), n, token)
				done.Add(1)
			}
		})
	}
	go func() {
		defer close(next)
		for n := range calls {
			next <- n
		}
	}()
	eventually(t, "half of the calls", func() bool { return done.Load() >= calls/2 })
	release := d.holdProjects()
	eventually(t, "a call of the first server to be under way", func() bool {
		return d.count(`select count(*) from pg_stat_activity
			where datname = current_database() and application_name = 'first' and wait_event_type = 'Lock'`) > 0
	})
	first.kill()
	release()
	group.Wait()
	second.stop() // What it has to tell is told.

	d.wantStored(calls, calls)
	lines := append(callLines(t, first), callLines(t, second)...)
	fields := slices.DeleteFunc(c.all(), func(s span) bool { return s.name != field })
	o := operate(t, "OPERATOR_DATABASE_URL="+pgtest.AsOperator(t, url))
	var replays, unlogged int
	rows := o.listed("acme", calls)
	for n, story := range stories {
		row := rows[story.key]
		if n%20 == 0 { // A process for each of them would take long.
			if diff := cmp.Diff(row, o.shown(story.key)); diff != "" {
				t.Errorf("key list (-) and key show (+):\n%s", diff)
			}
		}
		if row.Tenant != "acme" || row.Operation != field || row.RequestID != story.status.RequestID || !row.ExecutedAt.Truncate(time.Millisecond).Equal(story.status.ExecutedAt) {
			t.Errorf("the row is %+v, and the caller was told %+v", row, story)
		}
		if !slices.Contains(story.requests, row.RequestID) {
			t.Errorf("%s was executed by the request %s, and its client sent %v", story.key, row.RequestID, story.requests)
		}
		executed, left := 0, false
		for _, line := range lines {
			switch {
			case line.KeyHash != row.KeyHash:
			case line.Outcome == "executed":
				if executed++; line.RequestID != row.RequestID || line.TraceID != row.TraceID {
					t.Errorf("the log says %+v, and the row %+v", line, row)
				}
			case line.Outcome == "cancelled" && line.RequestID == row.RequestID:
				left = true // Its caller had left when it committed.
			case line.Outcome == "replayed":
				if replays++; line.ExecutedBy != row.RequestID || line.ExecutedByTrace != row.TraceID {
					t.Errorf("the log says %+v, and the row %+v", line, row)
				}
			}
		}
		if executed == 0 && !left {
			unlogged++ // Its server was killed before it could tell.
		}
		if executed > 1 {
			t.Errorf("the logs say that %s was executed %d times", story.key, executed)
		}
		for _, s := range fields {
			switch {
			case s.attributes["onceql.key_hash"] != row.KeyHash:
			case s.attributes["onceql.outcome"] == "executed" && (s.trace != row.TraceID || s.id != row.SpanID):
				t.Errorf("the trace %+v executed, and the row says %+v", s, row)
			case s.attributes["onceql.outcome"] == "replayed" && !slices.ContainsFunc(s.links, func(l link) bool { return l.trace == row.TraceID && l.id == row.SpanID }):
				t.Errorf("the trace %+v replayed, and the row says %+v", s, row)
			}
		}
	}
	t.Logf("%d calls, %d requests that nginx sent again, %d replays, %d executions that no log tells of, %d spans of calls",
		calls, edge.sentAgain(), replays, unlogged, len(fields))
	if edge.sentAgain() == 0 || replays == 0 || len(fields) == 0 {
		t.Error("the drill tried nothing")
	}
	if unlogged > callers {
		t.Errorf("the logs do not tell of %d executions, and %d calls were under way at most when a server was killed", unlogged, callers)
	}
	last := stories[calls-1]
	o.answersQuestions(last, create(last.key, last.project))
}

// callUntilTold sends the call until it is told what became of it. Of three calls one leaves
// before its answer, and one loses it.
func (e *nginx) callUntilTold(key string, n int, header []string) told {
	e.t.Helper()
	story := told{key: key, project: "Apollo " + key}
	r := create(key, story.project)
	for try := range 100 {
		id := fmt.Sprint(key, ".", try)
		story.requests = append(story.requests, id)
		named := append([]string{"X-Request-Id", id}, header...)
		if try == 0 && n%3 == 0 {
			e.leave(r, named)
			continue
		}
		a, err := e.try(context.Background(), r, named...)
		if err == nil && a.status == 200 && a.fieldStatus() != "" && (try > 0 || n%3 != 1) {
			story.status = a.Extensions.Idempotency[field]
			return story
		}
		if err == nil && a.status == 200 && a.fieldStatus() == "" && !a.failure().Retryable {
			e.t.Errorf("%s: %d %s", key, a.status, a.raw)
			return story
		}
		time.Sleep(20 * time.Millisecond)
	}
	e.t.Errorf("nobody tells what became of %s", key)
	return story
}

// leave sends the request and closes the connection.
func (e *nginx) leave(r request, header []string) {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.address())
	if err != nil {
		e.t.Error(err)
		return
	}
	defer conn.Close()
	body, err := json.Marshal(r)
	if err != nil {
		e.t.Error(err)
	}
	head := "POST /graphql HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: application/json\r\n"
	for i := 0; i+1 < len(header); i += 2 {
		head += header[i] + ": " + header[i+1] + "\r\n"
	}
	_, err = fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
	if err != nil {
		e.t.Error(err)
	}
}

// listed are the tenant's rows, which are so many, by key.
func (o operators) listed(tenant string, n int) map[string]operator.Call {
	o.t.Helper()
	out, _ := o.ends(0, "list", "--tenant", tenant, "--limit", fmt.Sprint(n+1), "--json")
	rows := make(map[string]operator.Call, n)
	for line := range strings.Lines(out) {
		var row operator.Call
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			o.t.Fatalf("onceql key list: %v\n%s", err, line)
		}
		rows[row.Key] = row
	}
	if len(rows) != n {
		o.t.Fatalf("onceql key list lists %d keys, want %d", len(rows), n)
	}
	return rows
}

// shown is the one row of the key.
func (o operators) shown(key string) operator.Call {
	o.t.Helper()
	out, _ := o.ends(0, "show", key, "--json")
	var shown struct{ Calls []operator.Call }
	if err := json.Unmarshal([]byte(out), &shown); err != nil || len(shown.Calls) != 1 {
		o.t.Fatalf("onceql key show %s: %v\n%s", key, err, out)
	}
	return shown.Calls[0]
}

// answersQuestions runs each command by which docs/operations/incidents.md answers a
// question, about the key.
func (o operators) answersQuestions(about told, r request) {
	o.t.Helper()
	text, err := os.ReadFile(incidents)
	if err != nil {
		o.t.Fatal(err)
	}
	body, err := json.Marshal(r)
	if err != nil {
		o.t.Fatal(err)
	}
	file := filepath.Join(o.t.TempDir(), "request.json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		o.t.Fatal(err)
	}
	row := o.shown(about.key)
	commands := regexp.MustCompile("(?m)^\\| [^|]+\\? \\| `onceql key ([^`]+)`").FindAllStringSubmatch(string(text), -1)
	if len(commands) < 8 {
		o.t.Fatalf("the docs answer %d questions", len(commands))
	}
	for _, command := range commands {
		asked := strings.NewReplacer(
			"--request ID", "--request "+row.RequestID, "--trace ID", "--trace "+row.TraceID, "KEY", about.key, "TENANT", "acme", "request.json", file,
			"--from …", "--from "+row.ExecutedAt.Add(-time.Minute).Format(time.RFC3339), "--to …", "--to "+row.ExecutedAt.Add(time.Minute).Format(time.RFC3339),
		).Replace(command[1])
		if strings.HasPrefix(asked, "audit") {
			o.ends(0, "forget", about.key, "--tenant", "acme", "--reason", about.key, "--yes")
		}
		out, _ := o.ends(0, strings.Fields(asked)...)
		if !strings.HasPrefix(asked, "purge") && !strings.Contains(out, about.key) {
			o.t.Errorf("onceql key %s says nothing of %s:\n%s", command[1], about.key, out)
		}
	}
}
