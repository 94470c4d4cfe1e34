package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/onceql/onceql/internal/pgtest"
)

var logLine = regexp.MustCompile(`^time=\S+ level=[A-Z]+ msg=`)

// wantSoundLog checks that every line of the log is one that the server wrote, and
// that none has any of the texts.
func wantSoundLog(t testing.TB, s *server, secrets ...string) {
	t.Helper()
	for _, line := range s.stderr.lines() {
		if !logLine.MatchString(line) && !json.Valid([]byte(line)) {
			t.Errorf("a forged line in the log: %s", line)
		}
		for _, secret := range secrets {
			if strings.Contains(line, secret) {
				t.Errorf("the log tells %q: %s", secret, line)
			}
		}
	}
}

func TestRequestID_IsTakenWhenSaneAndNamesTheExecution(t *testing.T) {
	t.Parallel()
	s := serve(t, pgtest.URL(t))
	const sane = "req-1:a/b+c=d_e.f"
	first := s.send(create("secret-key", "Secret Name"), "X-Request-Id", sane)
	if got := first.header.Get("X-Request-Id"); got != sane {
		t.Errorf("the response's id is %q", got)
	}
	for _, insane := range []string{"", strings.Repeat("a", 129), "a b", `a"level=ERROR`, "ä", "a\tb"} {
		a := s.send(create("secret-key", "Secret Name"), "X-Request-Id", insane)
		wantUUIDv7(t, insane, a.header.Get("X-Request-Id"))
		if got := a.Extensions.Idempotency["createProject"].RequestID; got != sane {
			t.Errorf("the replay names the request %q", got)
		}
	}
	if longest := strings.Repeat("a", 128); s.send(create("k", ""), "X-Request-Id", longest).failure().RequestID != longest {
		t.Error("an error does not have the id of its request")
	}
	// The log tells a replay from an execution, by the requests' ids.
	eventually(t, "the log to tell of the replay", func() bool {
		return strings.Contains(s.stderr.String(), `msg="call ended" operation=createProject outcome=replayed`) &&
			strings.Contains(s.stderr.String(), `executedBy="`+sane+`"`)
	})
	wantSoundLog(t, s, "secret-key", "Secret Name")
}

func wantUUIDv7(t testing.TB, sent, got string) {
	t.Helper()
	if id, err := uuid.Parse(got); err != nil || id.Version() != 7 {
		t.Errorf("for %q the response's id is %q, want a UUIDv7", sent, got)
	}
}

// What clients of Go don't send, others may: the bytes are written as they are.
func TestLog_CanNotBeForged(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := serve(t, pgtest.URL(t), "LOG_FORMAT="+format)
			for _, forged := range []string{
				"POST /graphql HTTP/1.1\r\nX-Request-Id: a\r\n level=ERROR msg=forged\r\n",
				"POST /graphql HTTP/1.1\r\nX-Request-Id: a\nlevel: ERROR msg=forged\r\n",
				"POST /graphql HTTP/1.1\r\nX-Request-Id: a\rlevel=ERROR msg=forged\r\n",
				"POST /graphql HTTP/1.1\r\nX-Request-Id: a\x00\x1b[2Kforged\r\n",
				"POST /graphql HTTP/1.1\r\nlevel=ERROR msg=forged\r\n",
				"POST /graphql?a=%0Alevel=ERROR%20msg=forged HTTP/1.1\r\n",
				"GET /graphql?query=%0Alevel=ERROR+msg=forged HTTP/1.1\r\n",
				"GET /%0Alevel=ERROR%20msg=forged HTTP/1.1\r\n",
				"GET / HTTP/1.1\nlevel=ERROR msg=forged\r\n",
				"level=ERROR msg=forged\r\n",
			} {
				head := s.raw(forged + "Host: localhost\r\nConnection: close\r\n" +
					"Content-Type: application/json\r\nContent-Length: 24\r\n\r\n{\"query\":\"{__typename}\"}")
				if id := head.Get("X-Request-Id"); id != "" && id != "a" {
					wantUUIDv7(t, forged, id)
				}
			}
			for i, name := range []string{"a\nlevel=ERROR msg=forged", "\u2028forged", "forged\x1b[2K"} {
				r := create(fmt.Sprint("k", i), name)
				r.OperationName = name
				if a := s.send(r); len(a.Errors) == 0 {
					t.Errorf("%q is an operation's name: %s", name, a.raw)
				}
				r.OperationName = ""
				s.send(r)
				s.send(create(name, "Apollo"))
			}
			// What was to be forged is missing, and not the log.
			wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
			wantStatus(t, s.send(create("k", "Apollo")), "REPLAYED")
			eventually(t, "the log to tell of the replay", func() bool { return strings.Contains(s.stderr.String(), "replayed") })
			wantSoundLog(t, s, "forged", "Apollo")
		})
	}
}

// raw sends bytes and reads the response's head.
func (s *server) raw(text string) http.Header {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatalf("%q is not answered: %v", text, err)
	}
	_ = response.Body.Close()
	return response.Header
}
