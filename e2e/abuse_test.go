package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/pgtest"
)

// documents are those that ask for too much, or for what is not there.
func documents() map[string]struct{ body, code, limit string } {
	body := func(document string) string {
		text, _ := json.Marshal(request{Query: document})
		return string(text)
	}
	const one = `createProject(input: {name: "x"}, idempotencyKey: "k%d") { project { id } } `
	keyed := func(n int) string {
		var document strings.Builder
		document.WriteString("mutation { ")
		for i := range n {
			fmt.Fprintf(&document, "m%d: "+one, i, i)
		}
		return body(document.String() + "}")
	}
	var exponential strings.Builder
	exponential.WriteString("{ projects(first: 2) { ...f0 } } ")
	for i := range 30 {
		fmt.Fprintf(&exponential, "fragment f%d on ProjectConnection { ...f%d ...f%d } ", i, i+1, i+1)
	}
	exponential.WriteString("fragment f30 on ProjectConnection { nodes { id } }")
	var aliased strings.Builder
	for i := range 40 {
		fmt.Fprintf(&aliased, " a%d: __typename", i)
	}
	variables := func(text string) string {
		return `{"query":"mutation ($i: CreateProjectInput!, $k: String!) { createProject(input: $i, idempotencyKey: $k) { project { id } } }","variables":` + text + `}`
	}
	tooMany := func(limit string) struct{ body, code, limit string } {
		return struct{ body, code, limit string }{"", "LIMIT_EXCEEDED", limit}
	}
	documents := map[string]struct{ body, code, limit string }{
		"fragment cycle":          {body("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }"), "GRAPHQL_VALIDATION_FAILED", ""},
		"unknown fragment":        {body("{ ...nowhere }"), "GRAPHQL_VALIDATION_FAILED", ""},
		"@defer":                  {body("{ ... @defer { projects { nodes { id } } } }"), "GRAPHQL_VALIDATION_FAILED", ""},
		"unknown operation":       {`{"query":"query a { __typename } query b { __typename }","operationName":"c"}`, "GRAPHQL_VALIDATION_FAILED", ""},
		"wrong enum":              {body(`{ __type(name: "Query") { fields(includeDeprecated: MAYBE) { name } } }`), "GRAPHQL_VALIDATION_FAILED", ""},
		"__typename in an input":  {variables(`{"i":{"name":"a","__typename":"CreateProjectInput"},"k":"k"}`), "BAD_USER_INPUT", ""},
		"null for non-null":       {variables(`{"i":null,"k":"k"}`), "BAD_USER_INPUT", ""},
		"a variable bomb":         {variables(`{"i":` + strings.Repeat(`{"name":`, 5000) + `1` + strings.Repeat(`}`, 5000) + `,"k":"k"}`), "BAD_USER_INPUT", ""},
		"many values":             {variables(`{"i":{"name":"a"},"k":"k","a":[` + strings.Repeat("{},", 10_000) + `{}]}`), "LIMIT_EXCEEDED", "values"},
		"lists for a key":         {variables(`{"i":{"name":"a"},"k":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`), "BAD_USER_INPUT", ""},
		"huge numbers":            {variables(`{"i":{"name":` + strings.Repeat("9", 100_000) + `},"k":"k"}`), "BAD_USER_INPUT", ""},
		"a number with an e":      {variables(`{"i":{"name":1e999999999},"k":"k"}`), "BAD_USER_INPUT", ""},
		"JSON of 100,000 levels":  {strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), "BAD_USER_INPUT", ""},
		"JSON array":              {"[" + body("{ __typename }") + "]", "BAD_USER_INPUT", ""},
		"trailing JSON":           {body("{ __typename }") + "{}", "BAD_USER_INPUT", ""},
		"cut JSON":                {`{"query":"{ __typename }"`, "BAD_USER_INPUT", ""},
		"NaN":                     {`{"query":"{ __typename }","variables":{"a":NaN}}`, "BAD_USER_INPUT", ""},
		"10,000 aliases":          {body("{" + strings.Repeat(" a: __typename", 10_000) + "}"), "LIMIT_EXCEEDED", "tokens"},
		"100,000 fields":          {body("{" + strings.Repeat(" __typename", 70_000) + "}"), "LIMIT_EXCEEDED", "tokens"},
		"1,000 levels":            {body(strings.Repeat("{ a ", 1000) + strings.Repeat("}", 1000)), "LIMIT_EXCEEDED", "tokens"},
		"1,000 directives":        {body("{ __typename" + strings.Repeat(" @include(if: true)", 1000) + "}"), "LIMIT_EXCEEDED", "tokens"},
		"60 directives":           {body("{ " + strings.Repeat(" __typename @skip(if: false)", 60) + "}"), "LIMIT_EXCEEDED", "directives"},
		"1,000 keyed mutations":   {keyed(1000), "LIMIT_EXCEEDED", "tokens"},
		"50 keyed mutations":      {keyed(50), "LIMIT_EXCEEDED", "tokens"},
		"11 keyed mutations":      {keyed(11), "LIMIT_EXCEEDED", "keyedMutations"},
		"exponential fragments":   {body(exponential.String()), "LIMIT_EXCEEDED", "complexity"},
		"pages of fields":         {body("{ projects(first: 100) { nodes { id" + strings.Repeat(" name", 60) + " } } }"), "LIMIT_EXCEEDED", "complexity"},
		"introspection in depths": {body("{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"), "LIMIT_EXCEEDED", "introspectionDepth"},
	}
	long := strings.Repeat("n", 500_000)
	for name, c := range map[string]string{
		"40 aliases": "{" + aliased.String() + "}", "21 root fields": "{" + strings.Repeat(" __typename", 21) + "}",
		"a long name": "query " + long + " { projects { nodes { id @skip(if: $a) name @skip(if: $b) } } }", "a long alias": "{ projects { nodes { " + long + ": id } } }",
	} {
		d := tooMany(map[string]string{"40 aliases": "aliases", "21 root fields": "rootFields", "a long name": "name", "a long alias": "name"}[name])
		d.body = body(c)
		documents[name] = d
	}
	return documents
}

func TestAbuse_OfDocumentsIsRefusedAndNothingIsExecuted(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	for name, c := range documents() {
		begin := time.Now()
		a := s.sendRaw(c.body)
		if a.code() != c.code || a.failure().Limit != c.limit || a.failure().Retryable || a.failure().RequestID == "" {
			t.Errorf("%s: %d %.300s, want %s %s", name, a.status, a.raw, c.code, c.limit)
		}
		t.Logf("%s: %s", name, time.Since(begin).Round(time.Millisecond))
	}
	d.wantStored(0, 0)
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
}

// Limits are the operator's to set.
func TestLimits_AreFlags(t *testing.T) {
	t.Parallel()
	s := serve(t, pgtest.URL(t), "LIMIT_TOKENS=40", "LIMIT_DEPTH=2", "LIMIT_ALIASES=1", "LIMIT_DIRECTIVES=1", "LIMIT_ROOT_FIELDS=2",
		"LIMIT_KEYED_MUTATIONS=1", "LIMIT_COMPLEXITY=10", "INTROSPECTION=false")
	const one = `createProject(input: {name: "x"}, idempotencyKey: "k") { project { id } } `
	for document, limit := range map[string]string{
		"{" + strings.Repeat(" __typename", 50) + "}":        "tokens",
		"{ projects { nodes { id } } }":                      "depth",
		"{ a: __typename b: __typename }":                    "aliases",
		"{ __typename @skip(if: false) @include(if: true) }": "directives",
		"{ __typename __typename __typename }":               "rootFields",
		"mutation { " + strings.Replace(one, "{ project { id } } ", "{ __typename } ", 1) + "b: createProject(input: {name: \"x\"}, idempotencyKey: \"l\") { __typename } }": "keyedMutations",
		"{ projects(first: 20) { __typename } }": "complexity",
		"{ __schema { queryType { name } } }":    "introspection",
		`{ __type(name: "Query") { name } }`:     "introspection",
	} {
		a := s.send(request{Query: document})
		if a.code() != "LIMIT_EXCEEDED" || a.failure().Limit != limit {
			t.Errorf("%s: %s, want the limit %s", document, a.raw, limit)
		}
	}
	if a := s.send(request{Query: "{ projcts { nodes { id } } }"}); strings.Contains(a.raw, "Did you mean") || a.code() != "GRAPHQL_VALIDATION_FAILED" {
		t.Errorf("a name is suggested: %s", a.raw)
	}
	if a := s.send(request{Query: `{ idempotentCall(key: "k") { __typename } }`}); len(a.Errors) > 0 {
		t.Errorf("__typename: %s", a.raw)
	}
}

func TestAbuse_OfHTTPIsRefusedAndNothingIsExecuted(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	const body = `{"query":"mutation { createProject(input: {name: \"x\"}, idempotencyKey: \"k\") { project { id } } }"}`
	post := func(header, body string) string {
		return fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s", len(body), header, body)
	}
	const jsonType = "Content-Type: application/json\r\n"
	for name, c := range map[string]struct {
		text   string
		status int
		says   string
	}{
		"PUT":              {strings.Replace(post(jsonType, body), "POST", "PUT", 1), 405, "BAD_USER_INPUT"},
		"GET of mutation":  {"GET /graphql?query=mutation%7BcreateProject(input%3A%7Bname%3A%22x%22%7D%2CidempotencyKey%3A%22k%22)%7Bproject%7Bid%7D%7D%7D HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405, "BAD_USER_INPUT"},
		"form":             {post("Content-Type: application/x-www-form-urlencoded\r\n", "query=mutation"), 415, "BAD_USER_INPUT"},
		"text":             {post("Content-Type: text/plain\r\n", body), 415, "BAD_USER_INPUT"},
		"no media type":    {post("", body), 415, "BAD_USER_INPUT"},
		"multipart":        {post("Content-Type: multipart/form-data; boundary=x\r\n", "--x--"), 415, "BAD_USER_INPUT"},
		"charset":          {post("Content-Type: application/json; charset=utf-16\r\n", body), 415, "BAD_USER_INPUT"},
		"encoding":         {post(jsonType+"Content-Encoding: gzip\r\n", body), 415, "BAD_USER_INPUT"},
		"Accept":           {post(jsonType+"Accept: image/png\r\n", body), 406, "BAD_USER_INPUT"},
		"WebSocket":        {"GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n", 400, "BAD_USER_INPUT"},
		"10 MB":            {post(jsonType, strings.Repeat(" ", 10<<20)), 413, "LIMIT_EXCEEDED"},
		"duplicate member": {post(jsonType, `{"query":"{__typename}",`+body[1:]), 400, "BAD_USER_INPUT"},
		"cross-site":       {post(jsonType+"Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.example\r\n", body), 403, "FORBIDDEN"},
		"another origin":   {post(jsonType+"Origin: https://evil.example\r\n", body), 403, "FORBIDDEN"},
		"head of 100 kB":   {post(jsonType+"X-Long: "+strings.Repeat("a", 100<<10)+"\r\n", body), 431, ""},
		"no HTTP":          {"mutation\r\n\r\n", 400, ""},
	} {
		if status, answer := s.exchange(t, c.text); status != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %s, want %d %s", name, status, answer, c.status, c.says)
		}
	}
	d.wantStored(0, 0)
}

// Clients that dawdle lose their connection, and meanwhile the others are served.
func TestTimeouts_EndSlowClients(t *testing.T) {
	t.Parallel()
	s := serve(t, pgtest.URL(t), "HEADER_TIMEOUT=300ms", "BODY_TIMEOUT=600ms", "IDLE_TIMEOUT=300ms")
	var slow []net.Conn
	for i := range 60 {
		conn, err := net.Dial("tcp", s.address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		text := "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
		switch i % 3 {
		case 1:
			text += "Content-Length: 100\r\n\r\n{"
		case 2:
			text = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	for i, conn := range slow {
		_ = conn.SetReadDeadline(time.Now().Add(testTimeout))
		if _, err := io.Copy(io.Discard, conn); err != nil { // To its end.
			t.Errorf("connection %d: %v", i, err)
		}
	}
	wantStatus(t, s.send(create("k", "Apollo")), "REPLAYED")
}

func TestRequests_AreGivenUpAtTheirDeadline(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, "REQUEST_TIMEOUT=300ms", "IDEMPOTENCY_WAIT=300ms"), connect(t, url)
	there, release := d.holdCommits(1)
	wantCode(t, s.send(create("k", "Apollo")), "IDEMPOTENCY_IN_PROGRESS")
	eventually(t, "the call to come to its commit", there)
	release()
	eventually(t, "the call to be committed", func() bool { return s.send(create("k", "Apollo")).fieldStatus() == "REPLAYED" })
	d.wantStored(1, 1)
}
