package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// wantRefused checks how many were refused for the reason, and how many lines of the log
// say so, each with the operation and the tenant of one of these.
func wantRefused(t testing.TB, s *server, reason string, n int, logged ...string) {
	t.Helper()
	wantMetric(t, s, "onceql_refused_total", reason, float64(n))
	var found []string
	for _, line := range s.stderr.lines() {
		if strings.Contains(line, `msg="a request is refused" reason=`+reason+" ") {
			found = append(found, line)
		}
	}
	if len(found) != len(logged) {
		t.Fatalf("%d lines say that requests are refused for %s, want %d:\n%s", len(found), reason, len(logged), strings.Join(found, "\n"))
	}
	for i, line := range found {
		if !strings.Contains(line, "level=INFO") || !strings.Contains(line, " "+logged[i]+" requestId=") {
			t.Errorf("want %s in: %s", logged[i], line)
		}
	}
}

func TestRefusals_AreCountedAndLoggedOnceForEachTenant(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	s := serveTo(t, i, pgtest.URL(t), withMetrics)
	limited := documents()
	for range 3 {
		if a := s.send(create("k", "Apollo")); a.status != 401 {
			t.Errorf("no token: %d %s", a.status, a.raw)
		}
		expired := i.Claims("acme", "projects:write")
		expired["exp"] = 1
		for _, token := range []string{i.Sign(expired), i.SignWith(jose.ES256, i.NewKey("first"), i.Claims("acme", ""), nil)} {
			if a := s.send(create("k", "Apollo"), bearer(token)...); a.status != 401 {
				t.Errorf("a bad token: %d %s", a.status, a.raw)
			}
		}
		if a := s.send(create("k", "Apollo"), append(bearer(i.Token("acme")), "Sec-Fetch-Site", "cross-site")...); a.status != 403 {
			t.Errorf("a page of another site: %d %s", a.status, a.raw)
		}
		for _, tenant := range []string{"acme", "globex"} {
			none := bearer(i.Sign(i.Claims(tenant, "")))
			wantCode(t, s.send(create("k", "Apollo"), none...), "FORBIDDEN")
			wantCode(t, s.send(request{Query: "{ projects { nodes { id } } }"}, none...), "FORBIDDEN")
		}
		for _, document := range []string{"40 aliases", "11 keyed mutations", "10,000 aliases"} {
			wantCode(t, s.sendRaw(limited[document].body, bearer(i.Token("acme"))...), "LIMIT_EXCEEDED")
		}
		wantCode(t, s.sendRaw(`{"query":"`+strings.Repeat("a", 2<<20)+`"}`, bearer(i.Token("acme"))...), "LIMIT_EXCEEDED")
	}
	const none = `operation=unread tenant=""`
	wantRefused(t, s, "token_missing", 3, none)
	wantRefused(t, s, "token_expired", 3, none)
	wantRefused(t, s, "token_signature", 3, none)
	wantRefused(t, s, "cross_site", 3, none)
	wantRefused(t, s, "scope", 12, "operation=createProject tenant=acme", "operation=createProject tenant=globex")
	wantRefused(t, s, "limit_aliases", 3, "operation=query tenant=acme")
	wantRefused(t, s, "limit_keyedMutations", 3, "operation=mutation tenant=acme")
	wantRefused(t, s, "limit_tokens", 3, "operation=unread tenant=acme")
	wantRefused(t, s, "limit_body", 3, "operation=unread tenant=acme")
	wantRefused(t, s, "other", 0)
	wantRefused(t, s, "limit_other", 0)
}

func TestDatabase_ThatGoesAndComesBackIsToldOnceEach(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	s := serve(t, postgres.URL(), withMetrics, "IDEMPOTENCY_WAIT=1s")
	wantStatus(t, s.send(create("before", "Apollo")), "EXECUTED")
	for range 2 {
		postgres.Stop(t)
		wantUnready(t, s, "the database can't be reached")
		wantMetric(t, s, "onceql_database_up", "", 0)
		wantMetric(t, s, "onceql_database_away", "unreachable", 1)
		wantMetric(t, s, "onceql_database_away", "read_only", 0)
		eventually(t, "requests to be refused", func() bool { return s.send(create("during", "Gemini")).status == 503 })
		for range 20 {
			if a := s.send(create("during", "Gemini")); a.status != 503 {
				t.Errorf("%d %s", a.status, a.raw)
			}
		}
		postgres.Start(t)
		wantReadyAgain(t, s)
		wantMetric(t, s, "onceql_database_up", "", 1)
		wantMetric(t, s, "onceql_database_away", "unreachable", 0)
	}
	wantLogged(t, s, 2, "the database can't be reached")
	wantLogged(t, s, 2, "the database takes writes again")
	if n := s.metric("onceql_refused_total", "database_away"); n < 42 {
		t.Errorf("%v requests were refused, want at least 42", n)
	}
	wantRefused(t, s, "database_away", int(s.metric("onceql_refused_total", "database_away")), `operation=unread tenant=""`)
}

func TestOutcomes_ThatAreNotKnownAreLoggedOnceForEachTenant(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, withMetrics, "IDEMPOTENCY_WAIT=1s"), connect(t, url)
	release := d.holdProjects()
	calls := sendBurst(t, 20, []*server{s}, func(int) request { return create("k", "Apollo") })
	for _, a := range calls {
		wantCode(t, a, "IDEMPOTENCY_IN_PROGRESS")
	}
	wantRefused(t, s, "in_progress", len(calls), `operation=createProject tenant=""`)
	release()
	eventually(t, "the call to be done", func() bool { return s.send(create("k", "Apollo")).fieldStatus() != "" })
	// A query that the database cuts off.
	d.exec(`create function gone() returns boolean language plpgsql as
		$$ begin raise exception 'secret of a payload' using errcode = '57P01'; end $$`)
	d.exec(`create policy gone on projects as restrictive for select using (gone())`)
	for range 5 {
		wantCode(t, s.send(request{Query: "{ projects { nodes { name } } }"}), "UNAVAILABLE")
	}
	wantRefused(t, s, "unavailable", 5, `operation=query tenant=""`)
	warnings := 0
	for _, line := range s.stderr.lines() {
		if strings.Contains(line, `level=WARN msg="a field is unavailable"`) {
			warnings++
		}
	}
	if warnings != 1 {
		t.Errorf("%d warnings that a field is unavailable, want 1", warnings)
	}
	wantSoundLog(t, s, "secret of a payload", "Apollo")
}

func TestIssuer_ThatGoesAndComesBackIsToldOnceEach(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	i.Down.Store(true)
	s := serveTo(t, i, pgtest.URL(t), withMetrics)
	const fetches = "onceql_issuer_fetches_total"
	unavailable := 0
	accepted := func() bool {
		status := s.send(create("k", "Apollo"), bearer(i.Token("acme"))...).status
		if status == 503 {
			unavailable++
		}
		return status == 200
	}
	for round := range 2 {
		for range 5 {
			if accepted() {
				t.Error("a token is accepted whose key can't be known")
			}
		}
		eventually(t, "fetches that fail", func() bool { return s.metric(fetches, "failed") >= float64(2*round+2) })
		wantRefused(t, s, "issuer_away", unavailable, `operation=unread tenant=""`)
		wantLogged(t, s, round, "the keys of AUTH_ISSUER can be fetched again")
		i.Down.Store(false)
		eventually(t, "the token to be accepted", accepted)
		wantMetric(t, s, fetches, "ok", float64(round+1))
		wantLogged(t, s, 1, "no key of AUTH_ISSUER is known: no token can be checked")
		wantLogged(t, s, round, "the keys of AUTH_ISSUER can't be fetched; those known are good for an hour")
		wantLogged(t, s, round+1, "the keys of AUTH_ISSUER can be fetched again")
		i.Down.Store(true)
		i.Rotate("next")
	}
}

// The queue of a server has so many places.
const places = 4096

func TestQueue_ThatIsFullIsToldOnceAndSoIsItsRoom(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, withMetrics), connect(t, url)
	release := d.holdProjects()
	const running = 400 // More than the workers take at a time.
	held := startBurst(t, places+running, []*server{s}, func(n int) request { return create(fmt.Sprint(n), "Gemini") })
	eventually(t, "the queue to be full", func() bool { return s.metric("onceql_queue_full", "") == 1 })
	wantQueued(t, s, places)
	for range 20 {
		if a := s.send(create("k", "Apollo")); a.status != 503 {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
	wantLogged(t, s, 1, "the queue is full")
	wantLogged(t, s, 0, "the queue has room again")
	release()
	refusals := 20
	for _, a := range held.wait() {
		if a.status == 503 || a.code() == "UNAVAILABLE" {
			refusals++
		}
	}
	eventually(t, "the queue to have room", func() bool { return s.metric("onceql_queue_full", "") == 0 })
	wantQueued(t, s, 0)
	wantMetric(t, s, "onceql_refused_total", "queue_full", float64(refusals))
	wantLogged(t, s, 1, "the queue is full")
	wantLogged(t, s, 1, "the queue has room again")
	if text := fmt.Sprintf(`msg="the queue has room again" refused=%d `, refusals); !strings.Contains(s.stderr.String(), text) {
		t.Errorf("want %s in the log", text)
	}
}

// Whatever of a request has the mark, neither the log nor a metric has it.
func TestTelemetry_HoldsNothingThatClientsSent(t *testing.T) {
	t.Parallel()
	const mark = "hunter2"
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url, withMetrics, "IDEMPOTENCY_WAIT=1s"), connect(t, url)
	good := bearer(i.Token("acme"))
	claims := func(name string, value any) []string {
		c := i.Claims("acme", "projects:read projects:write")
		c[name] = value
		return bearer(i.Sign(c))
	}
	accepted := [][]string{
		good,
		append([]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://" + mark}, good...),
		append([]string{"X-Request-Id", mark + " ", "Accept", mark, "Cookie", mark, "User-Agent", mark}, good...),
		append([]string{"X-Request-Id", mark + `"`, "Content-Encoding", mark}, good...),
		append([]string{"Content-Type", "application/" + mark}, good...),
		claims("scope", mark), claims(mark, mark),
	}
	refused := [][]string{
		nil, bearer(mark), bearer(mark + "." + mark + "." + mark),
		{"Authorization", mark},
		{"Authorization", "Basic " + mark},
		bearer(i.Token("acme") + mark), bearer(i.SignWith(jose.ES256, i.NewKey(mark), i.Claims("acme", mark), nil)),
		bearer(i.SignWith(jose.ES256, i.NewKey("first"), i.Claims("acme", ""), map[jose.HeaderKey]any{"typ": mark, "jku": mark})),
		claims("iss", mark), claims("aud", mark), claims("exp", mark), claims("nbf", mark), claims("sub", []string{mark}),
		claims("sub", mark+"\x00"), claims("sub", strings.Repeat(mark, 100)),
	}
	bodies := []string{
		mark, `{"` + mark + `":1}`, `{"query":"` + mark + `"}`, `{"query":"{ ` + mark + ` }"}`, `{"query":"{ __typename }","operationName":"` + mark + `"}`,
		`{"query":"{ __typename }","extensions":{"persistedQuery":{"sha256Hash":"` + mark + `"}}}`,
	}
	marked := func(r request) {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(text))
	}
	marked(create(mark, mark))
	marked(create(mark, mark+mark))
	marked(create(mark+"\n", mark))
	marked(create("k", strings.Repeat(mark, 1000)))
	marked(rename(mark, mark, mark))
	marked(rename(mark+"3", "018f0000-0000-7000-8000-000000000000", mark))
	marked(request{Query: "query " + mark + " { " + mark + ": projects { nodes { id } } }"})
	marked(request{Query: "query ($" + mark + ": Int) { projects(first: $" + mark + ") { nodes { id } } }", Variables: map[string]any{mark: mark}})
	marked(request{Query: "{ " + strings.Repeat(mark+": __typename ", 40) + "}"})
	marked(request{Query: "{ " + strings.Repeat(mark+": __typename ", 2000) + "}"})
	marked(request{Query: "mutation { " + mark + `: createProject(input: {name: "` + mark + `"}, idempotencyKey: "` + mark + `4") { project { id } } }`})
	d.exec(`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no %', new.name; end $$`)
	d.exec(`create trigger refuse before insert on projects for each row when (new.name like 'hunter2hunter2%') execute function refuse()`)

	sent := 0
	send := func(headers [][]string, bodies []string) {
		for _, header := range headers {
			for _, body := range bodies {
				if a, err := s.tryRaw(t.Context(), []byte(body), header...); err != nil && a.status == 0 {
					t.Errorf("%.100s: %v", body, err)
				}
				sent++
			}
		}
	}
	send(accepted, bodies)
	send(refused, bodies[5:15])
	for _, head := range []string{"GET /graphql?query=" + mark, "GET /" + mark, mark + " /graphql", "POST /graphql?" + mark, "GET /graphql?variables=" + mark} {
		s.exchange(t, head+" HTTP/1.1\r\nHost: "+mark+"\r\nAuthorization: Bearer "+i.Token("acme")+"\r\nConnection: close\r\n\r\n")
		sent++
	}
	t.Logf("%d requests", sent)
	wantSoundLog(t, s, mark, strings.TrimPrefix(good[1], "Bearer "))
	_, text := s.scrape()
	for _, secret := range []string{mark, "acme"} {
		if strings.Contains(text, secret) {
			t.Errorf("the metrics tell %q", secret)
		}
	}
	wantMetric(t, s, "onceql_refused_total", "other", 0)
	if s.metric("onceql_refused_total", "token_malformed") == 0 || s.metric("onceql_refused_total", "scope") == 0 {
		t.Error("nothing was refused")
	}
}
