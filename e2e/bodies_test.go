package e2e_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// dawdle begins a request of so many bytes, and sends no more than the first of them.
func (s *server) dawdle(size int, header ...string) net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	head := fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", size)
	for i := 0; i+1 < len(header); i += 2 {
		head += header[i] + ": " + header[i+1] + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n{"); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// large is a mutation of so many bytes.
func large(key string, size int) []byte {
	return padded(fmt.Sprintf(`{"query":"mutation { createProject(input: {name: \"Apollo\"}, idempotencyKey: \"%s\") { project { id } } }"}`, key), size)
}

func padded(body string, size int) []byte {
	return []byte(body + strings.Repeat(" ", size-len(body)))
}

// One tenant has bodies under way, as many and as large as it likes, that do not come. Of
// another tenant nothing is refused, however large it is.
func TestSlowBodies_HoldUpNobodyElse(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url, "BODY_TIMEOUT=5m"), connect(t, url)
	slow, other := bearer(i.Token("slow")), bearer(i.Token("other"))
	for n := range 200 {
		s.dawdle([]int{1 << 20, 100 << 10, 30 << 10, 100}[n%4], slow...)
	}
	// The share of the slow tenant is used up. A small body takes none.
	eventually(t, "the slow tenant's large bodies to be refused", func() bool {
		a, err := s.tryRaw(t.Context(), padded(`{"query":"{ __typename }"}`, 1<<20), slow...)
		return err == nil && a.status == 503 && a.header.Get("Retry-After") != "" && strings.HasPrefix(a.header.Get("Content-Type"), "text/plain")
	})
	wantStatus(t, s.send(create("small", "Apollo"), slow...), "EXECUTED")
	const rounds, callers = 5, 6
	for round := range rounds {
		answers := make(chan answer)
		for n := range callers {
			go func() {
				a, err := s.tryRaw(t.Context(), large(fmt.Sprint("large ", round, n), 1<<20), other...)
				if err != nil {
					t.Error(err)
				}
				answers <- a
			}()
		}
		for range callers {
			wantStatus(t, <-answers, "EXECUTED")
		}
		wantStatus(t, s.send(create(fmt.Sprint("small ", round), "Apollo"), other...), "EXECUTED")
		if a := s.get("/readyz"); a.status != 200 {
			t.Errorf("/readyz says %d %s", a.status, a.raw)
		}
	}
	d.wantStored(1+rounds*(callers+1), 1+rounds*(callers+1))
}

// One tenant sends documents that take long to validate, each another one. Of another
// tenant nothing is refused.
func TestHeavyDocuments_HoldUpNobodyElse(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url), connect(t, url)
	heavy, other := bearer(i.Token("heavy")), bearer(i.Token("other"))
	const documents = 64
	held := startBurst(t, documents, []*server{s}, func(n int) request {
		return request{Query: fmt.Sprintf("query q%d {", n) + strings.Repeat(" __typename", 300) + strings.Repeat(" a: __typename b: __typename", 20) + "}"}
	}, heavy...)
	sent := 0
	for done := false; !done; sent++ {
		select {
		case <-held.done:
			done = true
		default:
		}
		wantStatus(t, s.send(create(fmt.Sprint(sent), "Apollo"), other...), "EXECUTED")
		if a := s.get("/readyz"); a.status != 200 {
			t.Errorf("/readyz says %d %s", a.status, a.raw)
		}
	}
	for _, a := range held.wait() {
		if a.failure().Limit != "aliases" {
			t.Errorf("%d %.300s, want the limit aliases", a.status, a.raw)
		}
	}
	d.wantStored(sent, sent)
}
