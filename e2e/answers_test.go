package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// fillLargest stores so many projects of the tenant with the largest descriptions.
func (d *database) fillLargest(tenant string, n int) {
	d.t.Helper()
	d.exec(`insert into projects (tenant, id, name, description, created_at, updated_at)
		select $1, gen_random_uuid(), 'Apollo', repeat(chr(1), 10000), now(), now() from generate_series(1, $2)`, tenant, n)
}

// page is a full page of descriptions.
const page = `projects(first: 100) { nodes { description } }`

// neglect asks for the field and reads nothing of the answer.
func (s *server) neglect(field string, header ...string) net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	// The kernel could take a whole answer for the reader.
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetReadBuffer(16 << 10); err != nil {
			s.t.Fatal(err)
		}
	}
	body := `{"query":"{ ` + field + ` }"}`
	head := fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	for i := 0; i+1 < len(header); i += 2 {
		head += header[i] + ": " + header[i+1] + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"+body); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// isBusy says whether the answer asks its client to send the request again.
func (a answer) isBusy() bool {
	return a.status == 503 && a.header.Get("Retry-After") != "" && strings.HasPrefix(a.header.Get("Content-Type"), "text/plain")
}

func TestAnswers_AreNoLargerThanTheLimit(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url), connect(t, url)
	header := bearer(i.Token("acme"))
	d.fillLargest("acme", 100)
	if a := s.send(request{Query: "{" + page + "}"}, header...); a.status != 200 || len(a.Errors) > 0 || strings.Count(a.raw, `\u0001`) != 100*10_000 {
		t.Errorf("a full page: %d, %d bytes, %.300s", a.status, len(a.raw), a.raw)
	}
	a := s.send(twenty(page), header...)
	if a.status != 200 || len(a.Errors) == 0 || len(a.raw) > 20_000 {
		t.Errorf("20 full pages: %d, %d bytes, %.300s", a.status, len(a.raw), a.raw)
	}
	for _, failure := range a.Errors {
		if e := failure.Extensions; e.Code != "LIMIT_EXCEEDED" || e.Limit != "answer" || e.Retryable {
			t.Errorf("20 full pages: %+v", e)
		}
	}
}

// One tenant reads none of its answers. Of another tenant nothing is refused, however large
// it is.
func TestSlowReaders_HoldUpNobodyElse(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url, "ANSWER_TIMEOUT=5m", "METRICS_ADDR=127.0.0.1:0"), connect(t, url)
	slow, other := bearer(i.Token("slow")), bearer(i.Token("other"))
	d.fillLargest("slow", 100)
	d.fillLargest("other", 100)
	for range 64 {
		s.neglect(page, slow...)
	}
	eventually(t, "the slow tenant's share to be used up", func() bool { return s.metric("onceql_refused_total", "share_full") > 0 })
	const rounds, callers = 5, 6
	for round := range rounds {
		answers := make(chan answer)
		for range callers {
			go func() {
				a, err := s.try(t.Context(), request{Query: "{" + page + "}"}, other...)
				if err != nil {
					t.Error(err)
				}
				answers <- a
			}()
		}
		for range callers {
			if a := <-answers; a.status != 200 || len(a.Errors) > 0 {
				t.Errorf("another tenant's page: %d %.300s", a.status, a.raw)
			}
		}
		wantStatus(t, s.send(create(fmt.Sprint(round), "Apollo"), other...), "EXECUTED")
		if a := s.get("/readyz"); a.status != 200 {
			t.Errorf("/readyz says %d %s", a.status, a.raw)
		}
	}
	d.wantStored(200+rounds, rounds)
}

// A mutation's answer may be lost, and is replayed.
func TestSlowReaders_LoseNoOutcome(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url, "ANSWER_TIMEOUT=5m", "LIMIT_ANSWER_BYTES=6050000", "ANSWER_MEMORY_BYTES=6050000"), connect(t, url)
	slow := bearer(i.Token("slow"))
	d.fillLargest("slow", 100)
	s.neglect(page, slow...)
	call := createWith("lost", map[string]any{"name": "Apollo", "description": strings.Repeat("\x01", 10_000)})
	small := call
	call.Query = strings.ReplaceAll(call.Query, "description", "a: description b: description")
	small.Query = strings.ReplaceAll(small.Query, "description", "")
	var lost answer
	eventually(t, "the mutation's large answer to be lost", func() bool {
		lost = s.send(call, slow...)
		return lost.isBusy()
	})
	if lost.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("a lost answer says that it is a replay: %v", lost.header)
	}
	// A small answer takes no memory.
	wantStatus(t, s.send(small, slow...), "REPLAYED")
	d.wantStored(101, 1)
}

func TestSlowReaders_AreEnded(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url, "ANSWER_TIMEOUT=1s", "ANSWER_MEMORY_BYTES=8388608"), connect(t, url)
	slow := bearer(i.Token("slow"))
	d.fillLargest("slow", 100)
	reader := s.neglect(page, slow...)
	if _, err := reader.Read(make([]byte, 1)); err != nil { // Its answer is being written.
		t.Fatal(err)
	}
	// The memory is the reader's until that is ended.
	eventually(t, "the slow tenant to be answered again", func() bool {
		a, err := s.try(t.Context(), request{Query: "{" + page + "}"}, slow...)
		return err == nil && a.status == 200 && len(a.Errors) == 0
	})
	if err := reader.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, reader)
	if errors.Is(err, os.ErrDeadlineExceeded) || n > 6_000_000 {
		t.Errorf("a slow reader got %d bytes, and %v; want to be ended before", n, err)
	}
}
