package e2e_test

import (
	"context"
	"fmt"
	neturl "net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// What a server tells its operator: keys, payloads, tokens and passwords are no part of
// it, whatever goes wrong, and no client's text forges a line.
func TestTelemetry_TellsNoSecretAndNothingForged(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			i, c, url := issuer.New(t), newCollector(t), pgtest.URL(t)
			d := connect(t, url)
			role := "teller_" + format + "_" + strings.ReplaceAll(uuid.NewString(), "-", "")
			d.exec(`create role ` + role + ` login password 'secret-of-the-database'`)
			t.Cleanup(func() { // The test's context is over.
				owner, err := pgx.Connect(context.Background(), url)
				if err == nil {
					_, err = owner.Exec(context.Background(), `drop owned by `+role+`; drop role `+role)
				}
				if err != nil {
					t.Error(err)
				}
				_ = owner.Close(context.Background())
			})
			address, err := neturl.Parse(url)
			if err != nil {
				t.Fatal(err)
			}
			address.User = neturl.UserPassword(role, "secret-of-the-database")
			s := serve(t, url, append(c.env("LOG_FORMAT="+format, withMetrics, "DATABASE_URL="+address.String(),
				"OTEL_EXPORTER_OTLP_HEADERS=Authorization=secret-of-the-collector"),
				"AUTH_ISSUER="+i.URL, "AUTH_AUDIENCE="+issuer.Audience, "IDEMPOTENCY_BUDGET=1s", "IDEMPOTENCY_WAIT=2s")...)
			const forged = "\nlevel=ERROR msg=forged\r\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\x1b[2K\u2028"
			tokens := []string{"secret-token", "e30.e30.secret"}
			for _, tenant := range []string{"acme", "acme" + forged, strings.Repeat("ä", 127), strings.Repeat("t", 4000)} {
				token := i.Token(tenant)
				tokens = append(tokens, token)
				// Executed, replayed, reused, refused; each with a context of its own.
				for _, r := range []request{
					create("secret-key", "secret-name"), create("secret-key", "secret-name"), create("secret-key", "secret-other"),
					createWith("secret-key-2", map[string]any{"name": "secret\x00", "description": "secret-description"}),
					createWith("secret-key-3", map[string]any{"name": strings.Repeat("secret", 200)}),
					createWith("secret-key-4", map[string]any{"name": 7, "secret": "secret"}),
					create("secret-key"+forged, "secret"), create(strings.Repeat("secret", 1000), "secret"), create("", "secret"),
					rename("secret-key-5", "secret-id", "secret"), rename("secret-key-6", "018f0000-0000-7000-8000-000000000000", "secret"),
					{Query: `mutation { secretField(secret: "secret") }`}, {Query: `{ project(id: "secret") { id } }`},
					{Query: `query secret { projects(after: "secret") { nodes { id } } }`, OperationName: "secret" + forged},
				} {
					s.send(r, append(bearer(token), "traceparent", "00-secret", "tracestate", "secret=secret", "baggage", "secret=secret",
						"User-Agent", "secret", "Cookie", "secret=secret", "X-Forwarded-For", "secret")...)
				}
			}
			for _, token := range tokens[:2] {
				s.send(create("secret-key", "secret"), bearer(token)...)
			}
			s.sendRaw(`{"query": "secret`, bearer(tokens[2])...)
			s.get("/graphql?query={projects(after:%22secret%22){nodes{id}}}&secret=secret", bearer(tokens[2])...)
			// An error of Postgres quotes what it does not take.
			d.exec(`alter table projects add constraint secret_free check (name !~ 'secret-refused')`)
			wantCode(t, s.send(create("secret-key-7", "secret-refused"), bearer(tokens[2])...), "INTERNAL")
			d.exec(`create function quote() returns trigger language plpgsql as $$ begin raise exception 'secret %', new.name; end $$`)
			d.exec(`create trigger quote before insert on projects for each row execute function quote()`)
			wantCode(t, s.send(create("secret-key-8", "secret-quoted"), bearer(tokens[2])...), "INTERNAL")
			d.exec(`drop trigger quote on projects`)
			release := d.hold(`projects`, `exclusive`)
			wantCode(t, s.send(create("secret-key-9", "secret"), bearer(tokens[2])...), "UNAVAILABLE")
			release()
			_, metrics := s.scrape()
			s.terminate()
			s.wait()

			wantSoundLog(t, s)
			told := map[string]string{"the log": s.stderr.String(), "the metrics": metrics, "the traces": c.told()}
			for where, text := range told {
				// The constraint's name is the operator's own.
				text = strings.ReplaceAll(text, "secret_free", "")
				for _, secret := range append(tokens, "secret", "refresh", "Bearer") {
					if at := strings.Index(text, secret); at >= 0 {
						t.Errorf("%s has %q: …%s…", where, secret, text[max(0, at-200):min(len(text), at+200)])
					}
				}
				if len(text) == 0 {
					t.Errorf("%s is empty", where)
				}
			}
			if longest := regexp.MustCompile(`ttt+|(ä|\\u00e4|\\xc3\\xa4)+`).FindAllString(told["the log"]+told["the traces"], -1); len(longest) == 0 {
				t.Error("no long tenant is told of")
			} else {
				for _, tenant := range longest {
					if len(tenant) > 64*4 {
						t.Errorf("a tenant of %d bytes is told", len(tenant))
					}
				}
			}
			for _, outcome := range []string{"executed", "replayed", "reused", "refused", "internal", "unavailable"} {
				if spans := c.find(1, field, "onceql.outcome", outcome); spans[0].failed != (outcome == "internal" || outcome == "unavailable") {
					t.Errorf("%s: %+v", outcome, spans[0])
				}
				if n := strings.Count(told["the log"], fmt.Sprintf(map[string]string{"text": "outcome=%s ", "json": `"outcome":%q`}[format], outcome)); n == 0 {
					t.Errorf("the log has no call that is %s", outcome)
				}
			}
		})
	}
}
