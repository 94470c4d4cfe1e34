package gqlidem_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
)

const (
	repository = "../.."
	generator  = "github.com/99designs/gqlgen"
)

// TestReadme_StepsWorkInAnEmptyProject takes the steps of the README, as they are
// written, in a gqlgen project that has no mutation yet.
func TestReadme_StepsWorkInAnEmptyProject(t *testing.T) {
	t.Parallel()
	shop := newProject(t)
	steps := readmeSteps(t)

	shop.append("graph/schema.graphqls", steps["graph/schema.graphqls"])
	shop.replace("graph/resolver.go", `(?m)^type Resolver struct\{\}$`, steps["graph/resolver.go"])
	shop.replace("server.go", `(?m)^\tsrv := handler.New\(.*$`, steps["server.go"])
	shop.imports("graph/resolver.go", "server.go")

	// One who forgets what gqlgen must know is told before the first mutation fails.
	shop.run("go", "run", generator, "generate")
	shop.run("go", "build", "-o", "shop", ".")
	if output, err := shop.command("./shop").CombinedOutput(); err == nil || !strings.Contains(string(output), strings.TrimSpace(steps["gqlgen.yml"])) {
		t.Errorf("the server does not stop over a directive that nothing implements: %v\n%s", err, output)
	}

	shop.append("gqlgen.yml", steps["gqlgen.yml"])
	shop.run("go", "run", generator, "generate")
	// What gqlgen wrote for the resolver panics.
	shop.replace("graph/schema.resolvers.go", `(?ms)^func \(r \*mutationResolver\) CreateOrder\(.*?^\}$`, steps["graph/schema.resolvers.go"])
	shop.imports("graph/schema.resolvers.go")
	shop.run("go", "vet", "./...")
	shop.run("go", "build", "-o", "shop", ".")

	database := emptyDatabase(t)
	for _, migration := range []string{
		idempotency.Schema,
		`create table orders (id uuid primary key default gen_random_uuid(), sku text not null)`,
	} {
		if _, err := database.Exec(t.Context(), migration); err != nil {
			t.Fatal(err)
		}
	}
	server := shop.serve(database.Config().ConnString())
	var data json.RawMessage
	for _, status := range []string{"EXECUTED", "REPLAYED"} {
		r := post(t, server, `mutation { createOrder(sku: "a", idempotencyKey: "k") { id sku } }`)
		if diff := cmp.Diff(statuses{"createOrder": status}, r.statuses()); diff != "" {
			t.Fatalf("status (-want +got):\n%s\n%s", diff, r.body)
		}
		if data == nil {
			data = r.Data["createOrder"]
		}
		if diff := cmp.Diff(string(data), string(r.Data["createOrder"])); diff != "" {
			t.Errorf("%s: payload (-first +this):\n%s", status, diff)
		}
	}
	var orders int
	if err := database.QueryRow(t.Context(), `select count(*) from orders where sku = 'a'`).Scan(&orders); err != nil || orders != 1 {
		t.Errorf("%d orders, %v", orders, err)
	}
	if r := post(t, server, `mutation { createOrder(sku: "b", idempotencyKey: "k") { id } }`); len(r.Errors) != 1 || r.Errors[0].Extensions["code"] != gqlidem.CodeKeyReused {
		t.Errorf("the key with another payload: %s", r.body)
	}
}

// readmeSteps returns what the README's section for importers says of each file:
// its blocks of code, which name their files in comments, and a line in its text.
func readmeSteps(t testing.TB) map[string]string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "\n## Use it in your own gqlgen server\n")
	if !found {
		t.Fatal("the README has no section for importers")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	steps := map[string]string{}
	file := regexp.MustCompile(`^(?:#|//) ([a-z/.]+\.[a-z]+)\b`)
	for i, block := range strings.Split(section, "\n```") {
		if i%2 == 0 {
			continue // Between blocks.
		}
		name := ""
		_, code, _ := strings.Cut(block, "\n") // Without the language.
		for line := range strings.Lines(code + "\n") {
			if named := file.FindStringSubmatch(line); named != nil {
				name = named[1]
			} else {
				steps[name] += line
			}
		}
	}
	if inline := regexp.MustCompile("write `([^`]+)` into\\s+gqlgen\\.yml").FindStringSubmatch(section); inline != nil {
		steps["gqlgen.yml"] = inline[1] + "\n"
	}
	for _, name := range []string{"graph/schema.graphqls", "gqlgen.yml", "graph/resolver.go", "graph/schema.resolvers.go", "server.go"} {
		if strings.TrimSpace(steps[name]) == "" {
			t.Errorf("the README does not say what belongs into %s", name)
		}
	}
	return steps
}

// A project is a module that imports this one, in a directory of its own.
type project struct {
	t   testing.TB
	dir string
}

// newProject returns a project with a gqlgen server that has no mutations, and the
// versions that this module uses.
func newProject(t testing.TB) *project {
	t.Helper()
	p := &project{t, t.TempDir()}
	if err := os.CopyFS(p.dir, os.DirFS("testdata/empty")); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	module := regexp.MustCompile(`(?m)^module .*$`).ReplaceAllString(p.read(filepath.Join(root, "go.mod")), "module shop")
	module += "require github.com/onceql/onceql v0.0.0\nreplace github.com/onceql/onceql => " + root + "\n"
	versions := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}require {{.Path}} {{.Version}}{{end}}", generator)
	versions.Dir = filepath.Join(root, "tools")
	used, err := versions.Output()
	if err != nil {
		t.Fatal(err)
	}
	p.write("go.mod", module+string(used))
	p.write("go.sum", p.read(filepath.Join(root, "go.sum"))+p.read(filepath.Join(root, "tools", "go.sum")))
	return p
}

func (p *project) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(p.dir, name)
}

func (p *project) read(name string) string {
	p.t.Helper()
	text, err := os.ReadFile(p.path(name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

func (p *project) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) append(name, text string) { p.t.Helper(); p.write(name, p.read(name)+"\n"+text) }

// replace puts text in the place of what the pattern finds.
func (p *project) replace(name, pattern, text string) {
	p.t.Helper()
	before := p.read(name)
	place := regexp.MustCompile(pattern).FindStringIndex(before)
	if place == nil {
		p.t.Fatalf("%s has no place for:\n%s", name, text)
	}
	p.write(name, before[:place[0]]+text+before[place[1]:])
}

// imports does what an editor does: it imports the packages that the files use.
func (p *project) imports(names ...string) {
	p.t.Helper()
	for _, name := range names {
		text := p.read(name)
		for _, path := range []string{
			"context", "log", "os", "github.com/jackc/pgx/v5", "github.com/jackc/pgx/v5/pgxpool",
			"github.com/onceql/onceql/idempotency", "github.com/onceql/onceql/idempotency/gqlidem",
		} {
			uses := regexp.MustCompile(`\b` + filepath.Base(strings.TrimSuffix(path, "/v5")) + `\.[A-Z]`)
			if uses.MatchString(text) && !strings.Contains(text, `"`+path+`"`) {
				text = regexp.MustCompile(`(?m)^package .*$`).ReplaceAllString(text, "$0\n\nimport \""+path+"\"")
			}
		}
		p.write(name, text)
	}
}

func (p *project) command(name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(p.t.Context(), name, args...)
	command.Dir = p.dir
	command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	return command
}

func (p *project) run(name string, args ...string) {
	p.t.Helper()
	if output, err := p.command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
	}
}

// serve runs the server as long as the test, and returns its address.
func (p *project) serve(database string) string {
	p.t.Helper()
	server := p.command("./shop")
	server.Env = append(server.Env, "DATABASE_URL="+database)
	var complaints bytes.Buffer
	server.Stderr = &complaints
	output, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		_ = server.Wait()
		p.t.Fatalf("the server did not start: %s", &complaints)
	}
	return strings.TrimSpace(line)
}

// emptyDatabase returns a connection to a database without any table.
func emptyDatabase(t testing.TB) *pgx.Conn {
	t.Helper()
	address, err := url.Parse(pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), address.String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	maker := connect()
	name := strings.TrimPrefix(address.Path, "/") + "_shop"
	if _, err := maker.Exec(t.Context(), `create database `+pgx.Identifier{name}.Sanitize()); err != nil {
		t.Fatal(err)
	}
	_ = maker.Close(t.Context())
	address.Path = "/" + name
	return connect()
}

func post(t testing.TB, address, document string) response {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": document})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(address, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil {
		t.Fatal(err)
	}
	r := response{header: answer.Header, body: text.String()}
	if err := json.Unmarshal(text.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	return r
}
