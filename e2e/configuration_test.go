package e2e_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestConfiguration_RefusesWhatCanNotWork(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  string
		says string
	}{
		"beyond loopback":          {"LISTEN_ADDR=0.0.0.0:0", "ALLOW_ANONYMOUS"},
		"every interface":          {"LISTEN_ADDR=:0", "ALLOW_ANONYMOUS"},
		"no port":                  {"LISTEN_ADDR=127.0.0.1", "LISTEN_ADDR"},
		"no such port":             {"LISTEN_ADDR=127.0.0.1:99999", "LISTEN_ADDR"},
		"no duration":              {"IDEMPOTENCY_TTL=forever", "IDEMPOTENCY_TTL"},
		"negative wait":            {"IDEMPOTENCY_WAIT=-1s", "IDEMPOTENCY_"},
		"no budget":                {"IDEMPOTENCY_BUDGET=0", "IDEMPOTENCY_"},
		"endless budget":           {"IDEMPOTENCY_BUDGET=30000h", "budget"},
		"short retention":          {"IDEMPOTENCY_RETENTION=1h", "retention"},
		"no such grouping":         {"IDEMPOTENCY_GROUP_BY=tenant", "idempotency-group-by"},
		"negative drain":           {"DRAIN_TIMEOUT=-1s", "DRAIN_TIMEOUT"},
		"negative delay":           {"DRAIN_DELAY=-1s", "DRAIN_DELAY"},
		"wait beyond the request":  {"REQUEST_TIMEOUT=4s", "IDEMPOTENCY_WAIT"},
		"empty tenant claim":       {"AUTH_TENANT_CLAIM=", "AUTH_TENANT_CLAIM"},
		"blank tenant claim":       {"AUTH_TENANT_CLAIM= ", "AUTH_TENANT_CLAIM"},
		"host, URL":                {"ALLOWED_HOSTS=https://api.example.com", "ALLOWED_HOSTS"},
		"host, pattern":            {"ALLOWED_HOSTS=*.example.com", "ALLOWED_HOSTS"},
		"host, all":                {"ALLOWED_HOSTS=*", "ALLOWED_HOSTS"},
		"host, none":               {"ALLOWED_HOSTS=a.example.com,,b.example.com", "ALLOWED_HOSTS"},
		"host, no port":            {"ALLOWED_HOSTS=api.example.com:", "ALLOWED_HOSTS"},
		"host, port":               {"ALLOWED_HOSTS=api.example.com:http", "ALLOWED_HOSTS"},
		"host, no such port":       {"ALLOWED_HOSTS=api.example.com:99999", "ALLOWED_HOSTS"},
		"origin, capitals":         {"CORS_ORIGINS=https://App.example.com", "CORS_ORIGINS"},
		"origin, port of https":    {"CORS_ORIGINS=https://app.example.com:443", "CORS_ORIGINS"},
		"origin, port of http":     {"CORS_ORIGINS=http://app.example.com:80", "CORS_ORIGINS"},
		"origin, no such port":     {"CORS_ORIGINS=https://app.example.com:99999", "CORS_ORIGINS"},
		"host, path":               {"ALLOWED_HOSTS=api.example.com/graphql", "ALLOWED_HOSTS"},
		"host, blank":              {"ALLOWED_HOSTS=api.example.com, b.example.com", "ALLOWED_HOSTS"},
		"authentication":           {"AUTH_ISSUER=https://issuer.example", "AUTH_ISSUER"},
		"no truth":                 {"ALLOW_ANONYMOUS=perhaps", "ALLOW_ANONYMOUS"},
		"no body":                  {"MAX_BODY_BYTES=0", "MAX_BODY_BYTES"},
		"no number":                {"MAX_BODY_BYTES=1M", "MAX_BODY_BYTES"},
		"no values":                {"LIMIT_VALUES=0", "LIMIT_"},
		"less than a project":      {"LIMIT_ANSWER_BYTES=1000", "LIMIT_ANSWER_BYTES"},
		"no queries":               {"QUERY_CONNECTIONS=0", "QUERY_CONNECTIONS"},
		"no query may wait":        {"QUERY_QUEUE=-1", "QUERY_QUEUE"},
		"no time for queries":      {"QUERY_TIMEOUT=1ns", "QUERY_TIMEOUT"},
		"endless queries":          {"QUERY_TIMEOUT=1000h", "QUERY_TIMEOUT"},
		"no cache":                 {"DOCUMENT_CACHE_BYTES=-1", "DOCUMENT_CACHE_BYTES"},
		"less than a body":         {"BODY_MEMORY_BYTES=1000", "MAX_BODY_BYTES"},
		"less than an answer":      {"ANSWER_MEMORY_BYTES=1000000", "LIMIT_ANSWER_BYTES"},
		"no time for answers":      {"ANSWER_TIMEOUT=0s", "ANSWER_TIMEOUT"},
		"no decoding":              {"DECODE_AT_ONCE=-1", "DECODE_AT_ONCE"},
		"no requests":              {"TENANT_REQUESTS=0", "TENANT_REQUESTS"},
		"negative rate":            {"TENANT_RATE=-1", "TENANT_RATE"},
		"no rate":                  {"TENANT_RATE=NaN", "TENANT_RATE"},
		"a burst of no rate":       {"TENANT_BURST=5", "TENANT_RATE"},
		"negative quota":           {"TENANT_KEYS=-1", "TENANT_KEYS"},
		"no log level":             {"LOG_LEVEL=loud", "LOG_LEVEL"},
		"no log format":            {"LOG_FORMAT=xml", "log-format"},
		"database URL, port":       {"DATABASE_URL=postgres://u:hunter2@host:port/db", "DATABASE_URL"},
		"database URL, escape":     {"DATABASE_URL=postgres://u:hunter2%zz@host/db", "DATABASE_URL"},
		"database URL, ?":          {"DATABASE_URL=postgres://u:hun?ter/hunter2@host/db", "DATABASE_URL"},
		"database URL, @":          {"DATABASE_URL=postgres://u:h@hunter2@127.0.0.1:1/db", "DATABASE_URL"},
		"database URL, /":          {"DATABASE_URL=postgres://127.0.0.1:1/hunter2@host:1/db", "DATABASE_URL"},
		"database URL, scheme":     {"DATABASE_URL=mysql://u:hunter2@127.0.0.1:1/db", "DATABASE_URL"},
		"database URL, pool":       {"DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/db?pool_max_conns=many", "DATABASE_URL"},
		"database keywords":        {"DATABASE_URL=host=127.0.0.1 port=1 password=a hunter2", "DATABASE_URL"},
		"migrations' database URL": {"MIGRATION_DATABASE_URL=postgres://u:hunter2@host:port/db", "MIGRATION_DATABASE_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output := refused(t, "DATABASE_URL=postgres://127.0.0.1:1/none", c.env)
			if strings.Count(output, "\n") != 1 || !strings.Contains(output, c.says) {
				t.Errorf("it says this, want one line with %s:\n%s", c.says, output)
			}
		})
	}
}

func TestConfiguration_OfAnIssuerThatCanNotBe(t *testing.T) {
	t.Parallel()
	for _, issuer := range []string{
		"foo", "ftp://issuer.example.com", "http://issuer.example.com", "https://", "https:issuer.example.com", "//issuer.example.com",
		"https://issuer.example.com?tenant=1", "https://issuer.example.com#", "https://u:hunter2@issuer.example.com", "https://issuer example.com",
	} {
		output := refused(t, "DATABASE_URL=postgres://127.0.0.1:1/none", "AUTH_AUDIENCE=onceql", "AUTH_ISSUER="+issuer)
		if strings.Count(output, "\n") != 1 || !strings.Contains(output, "AUTH_ISSUER") {
			t.Errorf("%s: it says this, want one line with AUTH_ISSUER:\n%s", issuer, output)
		}
	}
	output := refused(t, "AUTH_ISSUER=https://issuer.example.com", "AUTH_AUDIENCE=onceql", "DATA_DIR="+t.TempDir())
	if strings.Count(output, "\n") != 1 || !strings.Contains(output, "DATABASE_URL") {
		t.Errorf("without a database it says this, want one line with DATABASE_URL:\n%s", output)
	}
	output = refused(t, "DATABASE_URL=postgres://127.0.0.1:1/none", "AUTH_ISSUER=https://issuer.example.com", "AUTH_AUDIENCE= ")
	if strings.Count(output, "\n") != 1 || !strings.Contains(output, "AUTH_AUDIENCE") {
		t.Errorf("without an audience it says this, want one line with AUTH_AUDIENCE:\n%s", output)
	}
	output = refused(t, "DATA_DIR=none")
	if strings.Count(output, "\n") != 1 || !strings.Contains(output, "DATABASE_URL is not set") {
		t.Errorf("without a database of either kind it says this, want one line with DATABASE_URL:\n%s", output)
	}
	output = refused(t, "MIGRATION_DATABASE_URL=postgres://127.0.0.1:1/none", "DATA_DIR="+t.TempDir())
	if strings.Count(output, "\n") != 1 || !strings.Contains(output, "DATABASE_URL is not") {
		t.Errorf("without the server's database it says this, want one line with DATABASE_URL:\n%s", output)
	}
}

// refused runs the program, which ends with an error, and returns what it says.
func refused(t testing.TB, env ...string) string {
	t.Helper()
	output, err := command(t, env).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("the server ran, did not start, or exits with another code than 1: %v\n%s", err, output)
	}
	if strings.Contains(string(output), "hunter2") {
		t.Errorf("it tells the password:\n%s", output)
	}
	return string(output)
}

func TestConfiguration_OfADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://u:hunter2@127.0.0.1:1/db", "host=127.0.0.1 port=1 user=u password=hunter2"} {
		if output := refused(t, "DATABASE_URL="+url); !strings.Contains(output, "127.0.0.1:1") {
			t.Errorf("it does not say which database:\n%s", output)
		}
	}
}

func TestConfiguration_OfAnAddressInUse(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s := serve(t, url)
	if output := refused(t, "DATABASE_URL="+url, "LISTEN_ADDR="+s.address()); !strings.Contains(output, s.address()) {
		t.Errorf("it does not say which address:\n%s", output)
	}
}

func TestConfiguration_OfWhereToListen(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	wantStatus(t, serve(t, url, "LISTEN_ADDR=localhost:0").send(create("k", "Apollo")), "EXECUTED")
	// An address for documentation, which no machine has: it comes as far as that.
	output := refused(t, "DATABASE_URL="+url, "LISTEN_ADDR=192.0.2.1:0", "ALLOW_ANONYMOUS=true")
	if !strings.Contains(output, "192.0.2.1") || strings.Contains(output, "ALLOW_ANONYMOUS") {
		t.Errorf("beyond loopback, which is allowed, it says:\n%s", output)
	}
}

func TestHelp_NamesEveryVariable(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}} {
		output, err := command(t, nil, args...).CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		help := strings.Join(strings.Fields(string(output)), " ")
		for name, value := range map[string]string{
			"DATABASE_URL": "", "MIGRATION_DATABASE_URL": "", "DATA_DIR": "/onceql", "LISTEN_ADDR": "127.0.0.1:8080",
			"ALLOW_ANONYMOUS": "", "IDEMPOTENCY_TTL": "24h", "IDEMPOTENCY_RETENTION": "72h", "IDEMPOTENCY_WAIT": "5s",
			"IDEMPOTENCY_BUDGET": "10s", "IDEMPOTENCY_GROUP_BY": "all", "DRAIN_DELAY": "0s", "DRAIN_TIMEOUT": "15s", "ALLOWED_HOSTS": "", "MAX_BODY_BYTES": "1048576",
			"LOG_LEVEL": "info", "LOG_FORMAT": "text",
		} {
			want := "($" + name + ")"
			if value != "" {
				want = value + ") " + want
			}
			if !strings.Contains(help, want) {
				t.Errorf("%v does not say %s:\n%s", args, want, output)
			}
		}
	}
}
