package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// An answer is the server's to one request.
type answer struct {
	status int
	header http.Header
	raw    string
	Data   map[string]*payload
	Errors []struct {
		Path       []any
		Extensions failure
	}
	Extensions struct {
		Idempotency map[string]fieldStatus
	}
}

// A failure is what an error says for programs.
type failure struct {
	Code         string
	Retryable    bool
	RetryAfterMs int
	RequestID    string
	Limit        string
	// CurrentVersion is that of a CONFLICT.
	CurrentVersion int
}

type payload struct{ Project project }

type project struct {
	ID, Name             string
	Version              int
	Description          *string
	CreatedAt, UpdatedAt time.Time
	ArchivedAt           *time.Time
}

type fieldStatus struct {
	Status, RequestID     string
	ExecutedAt, ExpiresAt time.Time
}

// A request is a body as clients send it.
type request struct {
	Query         string         `json:"query"`
	OperationName string         `json:"operationName,omitempty"`
	Variables     map[string]any `json:"variables,omitempty"`
}

const createDocument = `mutation Create($input: CreateProjectInput!, $key: String!) {
	createProject(input: $input, idempotencyKey: $key) { project { id name description } }
}`

// create asks for a project of that name under the key.
func create(key, name string) request {
	return createWith(key, map[string]any{"name": name})
}

func createWith(key string, input map[string]any) request {
	return request{Query: createDocument, Variables: map[string]any{"key": key, "input": input}}
}

// rename asks for the project to be called so.
func rename(key, id, name string) request {
	return request{
		Query: `mutation ($input: UpdateProjectInput!, $key: String!) {
			updateProject(input: $input, idempotencyKey: $key) { project { id name } } }`,
		Variables: map[string]any{"key": key, "input": map[string]any{"id": id, "name": name}},
	}
}

// client keeps its connections alive, as browsers do.
var client = &http.Client{
	Transport: &http.Transport{MaxIdleConnsPerHost: 600, DisableCompression: true, ExpectContinueTimeout: testTimeout},
	Timeout:   testTimeout,
}

// prober opens a connection for each request, as load balancers' probes do. Once
// it is answered, the connections opened before have been accepted too.
var prober = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true},
	Timeout:   testTimeout,
}

// try sends the request, and returns an error where no answer came.
func (s *server) try(ctx context.Context, r request, header ...string) (answer, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return answer{}, err
	}
	return s.tryRaw(ctx, body, header...)
}

func (s *server) tryRaw(ctx context.Context, body []byte, header ...string) (answer, error) {
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/graphql", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	post.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		post.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(post)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: response.StatusCode, header: response.Header, raw: string(text)}
	if response.Header.Get("Content-Type") == "text/plain; charset=utf-8" {
		return a, nil
	}
	return a, json.Unmarshal(text, &a)
}

// send sends the request and takes the answer.
func (s *server) send(r request, header ...string) answer {
	s.t.Helper()
	a, err := s.try(s.t.Context(), r, header...)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// sendRaw sends a body as it is.
func (s *server) sendRaw(body string, header ...string) answer {
	s.t.Helper()
	a, err := s.tryRaw(s.t.Context(), []byte(body), header...)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// get fetches a path.
func (s *server) get(path string, header ...string) answer {
	s.t.Helper()
	get, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		get.Header.Set(header[i], header[i+1])
	}
	response, err := prober.Do(get)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{status: response.StatusCode, header: response.Header, raw: string(text)}
}

// project is that of the only field of the answer.
func (a answer) project() project {
	for _, p := range a.Data {
		if p != nil {
			return p.Project
		}
	}
	return project{}
}

// fieldStatus is that of the only field of the answer.
func (a answer) fieldStatus() string {
	for _, f := range a.Extensions.Idempotency {
		return f.Status
	}
	return ""
}

// failure is that of the first error, empty where there is none.
func (a answer) failure() failure {
	if len(a.Errors) == 0 {
		return failure{}
	}
	return a.Errors[0].Extensions
}

// code is that of the first error.
func (a answer) code() string { return a.failure().Code }

func wantStatus(t testing.TB, a answer, want string) {
	t.Helper()
	if got := a.fieldStatus(); got != want || len(a.Errors) > 0 {
		t.Errorf("status %q, want %q: %d %s", got, want, a.status, a.raw)
	}
}

func wantCode(t testing.TB, a answer, want string) {
	t.Helper()
	if a.code() != want {
		t.Errorf("code %q, want %q: %d %s", a.code(), want, a.status, a.raw)
	}
}

// A database is the tests' own connection to the database of a server.
type database struct {
	t    testing.TB
	url  string
	conn *pgx.Conn
}

func connect(t testing.TB, url string) *database {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return &database{t, url, conn}
}

func (d *database) exec(sql string, args ...any) {
	d.t.Helper()
	if _, err := d.conn.Exec(d.t.Context(), sql, args...); err != nil {
		d.t.Fatal(err)
	}
}

func (d *database) count(sql string, args ...any) int {
	d.t.Helper()
	var n int
	if err := d.conn.QueryRow(d.t.Context(), sql, args...).Scan(&n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// hold takes a lock of the table until the function that it returns is called. It
// does so over a connection of its own: within a transaction Postgres shows its
// activity as it was at the first look.
func (d *database) hold(table, mode string) (release func()) {
	d.t.Helper()
	holder := connect(d.t, d.url)
	holder.exec(`begin`)
	holder.exec(`lock table ` + table + ` in ` + mode + ` mode`)
	return func() {
		d.t.Helper()
		holder.exec(`commit`)
	}
}

// batches is how many batches of createProject occupy keeps busy.
const batches = 2

// occupy sends calls, under the keys "busy 0" and so on, until each batch has been in an
// effect that holdProjects holds. A batch waits for a lock for a moment, and its calls
// then do so singly.
func occupy(s *server, d *database, name string) []*burst {
	s.t.Helper()
	var busy []*burst
	for i := range batches {
		busy = append(busy, startBurst(s.t, 1, []*server{s}, func(int) request { return create(fmt.Sprint("busy ", i), name) }))
		eventually(s.t, "a batch to be busy", func() bool { return d.held() == i+1 })
	}
	return busy
}

// holdProjects keeps effects from writing until the function that it returns is
// called.
func (d *database) holdProjects() (release func()) {
	d.t.Helper()
	return d.hold(`projects`, `exclusive`)
}

// held is how many connections wait for the lock of holdProjects.
func (d *database) held() int {
	d.t.Helper()
	return d.waiting(`relation = 'projects'::regclass`)
}

// waiting is how many connections wait for locks of that kind.
func (d *database) waiting(lock string) int {
	d.t.Helper()
	return d.count(`select count(*) from pg_locks
		where database = (select oid from pg_database where datname = current_database()) and not granted and ` + lock)
}

// wantStored checks how many projects and how many keys there are.
func (d *database) wantStored(projects, keys int) {
	d.t.Helper()
	if n := d.count(`select count(*) from projects`); n != projects {
		d.t.Errorf("%d projects, want %d", n, projects)
	}
	if n := d.count(`select count(*) from idempotency_keys`); n != keys {
		d.t.Errorf("%d keys, want %d", n, keys)
	}
}

// exchange sends what a client of one's own might and returns the status and the
// text of what comes back.
func (s *server) exchange(t testing.TB, text string) (status int, answer string) {
	t.Helper()
	return exchange(t, s.address(), text)
}

func exchange(t testing.TB, address, text string) (status int, answer string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, text) }() // The server may not read all of it.
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
