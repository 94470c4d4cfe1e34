package transport_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/onceql/onceql/graph/transport"
)

// Bodies whose length is not what their header says, as only a broken or a
// hostile client sends them.
func TestDo_ReadsBodiesAsTheyAreFramed(t *testing.T) {
	t.Parallel()
	const (
		query = `{"query":"{ project(id: \"secret\") { name } }"}`
		head  = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	)
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	chunks := func(parts ...string) string {
		var body strings.Builder
		for _, part := range append(parts, "") {
			fmt.Fprintf(&body, "%x\r\n%s\r\n", len(part), part)
		}
		return "Transfer-Encoding: chunked\r\n\r\n" + body.String()
	}
	for name, test := range map[string]struct {
		request string
		status  int
		runs    int64
		cut     bool // Whether nothing more can come.
	}{
		"its length":                 {head + length(len(query)) + "\r\n" + query, 200, 1, false},
		"chunks":                     {head + chunks(query[:7], query[7:]), 200, 1, false},
		"chunks of one byte":         {head + chunks(strings.Split(query, "")...), 200, 1, false},
		"shorter than its length":    {head + length(len(query)+1) + "\r\n" + query, 400, 0, true},
		"longer than its length":     {head + length(len(query)-1) + "\r\n" + query, 400, 0, false},
		"no length":                  {head + "\r\n" + query, 400, 0, false},
		"a length of zero":           {head + length(0) + "\r\n", 400, 0, false},
		"a negative length":          {head + length(-1) + "\r\n" + query, 400, 0, false},
		"two lengths":                {head + length(len(query)) + length(len(query)-1) + "\r\n" + query, 400, 0, false},
		"a chunk cut short":          {head + "Transfer-Encoding: chunked\r\n\r\nff\r\n" + query, 400, 0, true},
		"chunks without an end":      {head + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n", len(query), query), 400, 0, true},
		"a chunk of no size":         {head + "Transfer-Encoding: chunked\r\n\r\nsecret\r\n" + query, 400, 0, false},
		"over the limit":             {head + length(1001) + "\r\n" + query + strings.Repeat(" ", 1001-len(query)), 413, 0, false},
		"over the limit, as it says": {head + length(1<<62) + "\r\n" + query, 413, 0, false},
		"over the limit, in chunks":  {head + chunks(query, strings.Repeat(" ", 1000)), 413, 0, false},
		"compressed":                 {head + "Content-Encoding: gzip\r\n" + length(len(query)) + "\r\n" + query, 415, 0, false},
		"compressed on its way":      {head + "Transfer-Encoding: gzip, chunked\r\n\r\n" + query, 501, 0, false},
		"two types":                  {head + "Content-Type: text/plain\r\n" + length(len(query)) + "\r\n" + query, 415, 0, false},
		"HTTP/1.0":                   {strings.Replace(head, "1.1", "1.0", 1) + length(len(query)) + "\r\n" + query, 200, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(transport.Transport{MaxBody: 1000})
			server := httptest.NewServer(s)
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, test.request); err != nil {
				t.Fatal(err)
			}
			if test.cut {
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != test.status || s.runs.Load() != test.runs {
				t.Errorf("%s after %d runs, want %d: %s", response.Status, s.runs.Load(), test.status, body)
			}
			if test.runs == 0 && strings.Contains(string(body), "secret") {
				t.Errorf("the request is quoted: %s", body)
			}
		})
	}
}
