package e2e_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestHosts_OfStrangersAreRefusedWhileNobodyIsAuthenticated(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, "LISTEN_ADDR=localhost:0", "ALLOWED_HOSTS=api.example.com,Other.Example.:8443,web.example:443"), connect(t, url)
	_, port, err := net.SplitHostPort(s.address())
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"Host: localhost":                    200,
		"Host: localhost:" + port:            200,
		"Host: LocalHost.:1":                 200,
		"Host: 127.0.0.1:" + port:            200,
		"Host: 192.0.2.1":                    200,
		"Host: [::1]":                        200,
		"Host: [2001:DB8::1]:" + port:        200,
		"Host: [fe80::1%25eth0]":             200,
		"Host: api.example.com":              200,
		"Host: API.Example.Com.:" + port:     200,
		"Host: other.example:8443":           200,
		"Host: other.example":                421,
		"Host: other.example:" + port:        421,
		"Host: web.example":                  200,
		"Host: web.example:444":              421,
		"Host: ":                             200,
		"Host: evil.example":                 421,
		"Host: evil.example:" + port:         421,
		"Host: localhost.evil.example":       421,
		"Host: evil.localhost":               421,
		"Host: localhost..":                  421,
		"Host: 127.0.0.1.evil.example":       421,
		"Host: 127.1":                        421,
		"Host: ::1":                          421,
		"Host: [::1].evil.example":           421,
		"Host: [evil.example]":               421,
		"Host: [127.0.0.1]":                  421,
		"Host: [::1":                         421,
		"Host: localhost:evil":               421,
		"Host: localhost@evil.example":       400,
		"Host: localhost, evil.example":      400,
		"Host: localhost\r\nHost: localhost": 400,
		"Host: evil.example\r\nX-Forwarded-Host: localhost\r\nForwarded: host=localhost": 421,
		"X-Forwarded-Host: localhost": 400,
	} {
		for _, path := range []string{"/", "/graphql?query=%7B__typename%7D", "/schema.graphql", "/healthz", "/readyz", "/playground/assets/none.js"} {
			want := want
			if want == 200 && strings.HasPrefix(path, "/playground") {
				want = 404
			}
			status, answer := s.exchange(t, fmt.Sprintf("GET %s HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n", path, host))
			if status != want || status == 421 && (!strings.Contains(answer, "FORBIDDEN") || !strings.Contains(answer, "ALLOWED_HOSTS") || strings.Contains(answer, "evil")) {
				t.Errorf("%q %s: %d %.100s, want %d", host, path, status, answer, want)
			}
		}
	}
	// A browser sends a Host always; a probe in HTTP/1.0 perhaps none.
	for request, want := range map[string]int{
		"GET /readyz HTTP/1.0\r\n\r\n":                                                                         200,
		"GET /readyz HTTP/1.0\r\nHost: evil.example\r\n\r\n":                                                   421,
		"GET http://evil.example/readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n":              421,
		"GET http://localhost/readyz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n":              200,
		"OPTIONS /graphql HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n":                         421,
		"POST /graphql HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: 1048576\r\n\r\n": 421,
	} {
		if status, answer := s.exchange(t, request); status != want {
			t.Errorf("%q: %d %s, want %d", request, status, answer, want)
		}
	}
	mutation := `{"query":"mutation { createProject(input: {name: \"x\"}, idempotencyKey: \"k\") { project { id } } }"}`
	post := fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: evil.example:%s\r\nOrigin: http://evil.example:%[1]s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", port, len(mutation), mutation)
	if status, answer := s.exchange(t, post); status != 421 {
		t.Errorf("a mutation for another host: %d %s, want 421", status, answer)
	}
	d.wantStored(0, 0)
}

func TestHosts_AreTheOperatorsWhereTokensAreNeeded(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	const request = "GET /healthz HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n"
	anonymous := serve(t, url, withMetrics)
	for range 3 {
		if status, answer := anonymous.exchange(t, request); status != 421 {
			t.Errorf("without tokens: %d %s", status, answer)
		}
	}
	wantRefused(t, anonymous, "host", 3, `operation=unread tenant=""`)
	if status, answer := serveTo(t, i, url).exchange(t, request); status != 200 {
		t.Errorf("with tokens: %d %s", status, answer)
	}
	if status, answer := serveTo(t, i, url, "ALLOWED_HOSTS=api.example.com").exchange(t, request); status != 421 {
		t.Errorf("with tokens and ALLOWED_HOSTS: %d %s", status, answer)
	}
}
