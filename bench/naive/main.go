// Naive is the usual way to make createProject idempotent, behind the same GraphQL
// layer as OnceQL's: a transaction of five statements for each request. It lacks
// what OnceQL promises besides, and is here to be compared with.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/graph/generated"
	"github.com/onceql/onceql/graph/model"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/requestid"
)

func main() {
	database := flag.String("database", "", "the database's URL")
	connections := flag.Int("connections", 21, "connections to the database")
	flag.Parse()
	debug.SetGCPercent(300) // As OnceQL does.
	if err := serve(context.Background(), *database, *connections); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, database string, connections int) error {
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return err
	}
	config.MaxConns = int32(connections)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	engine := idempotency.New(pool, idempotency.Config{})
	once := gqlidem.New(engine, anonymous)
	resolvers := root{
		Resolver: graph.NewResolver(once, engine, db.NewQueries(pool, 5*time.Second, 4096), anonymous),
		pool:     pool,
		schema:   generated.NewExecutableSchema(generated.Config{}).Schema(),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("  API         http://%s/graphql\n", listener.Addr())
	api := graph.NewHandler(resolvers, once, graph.Config{Log: slog.Default()})
	return http.Serve(listener, requestid.Handler(api))
}

func anonymous(context.Context) (string, error) { return "", nil }

// root answers createProject in the naive way.
type root struct {
	*graph.Resolver
	pool   *pgxpool.Pool
	schema *ast.Schema
}

func (r root) Mutation() generated.MutationResolver { return mutations{r.Resolver.Mutation(), r} }

type mutations struct {
	generated.MutationResolver
	root
}

var errReused = errors.New("the key was used with another payload")

func (m mutations) CreateProject(ctx context.Context, input model.CreateProjectInput, key string) (*model.CreateProjectPayload, error) {
	field := graphql.GetFieldContext(ctx).Field
	hash, err := gqlidem.Fingerprint(m.schema, field.Field, graphql.GetOperationContext(ctx).Variables, gqlidem.KeyArgument, gqlidem.FingerprintVersion)
	if err != nil {
		return nil, err
	}
	payload := &model.CreateProjectPayload{}
	status := "EXECUTED"
	err = pgx.BeginFunc(ctx, m.pool, func(tx pgx.Tx) error {
		var stored, response []byte
		err := tx.QueryRow(ctx, `select request_hash, response_json from idempotency_keys where scope = '' and key = $1`, key).
			Scan(&stored, &response)
		switch {
		case err == nil && string(stored) != string(hash[:]):
			return errReused
		case err == nil:
			status = "REPLAYED"
			return json.Unmarshal(response, payload)
		case !errors.Is(err, pgx.ErrNoRows):
			return err
		}
		id := uuid.Must(uuid.NewV7())
		project := &model.Project{ID: id.String(), Name: input.Name, Description: input.Description}
		if err := tx.QueryRow(ctx, `
			insert into projects (tenant, id, name, description, created_at, updated_at)
			values ('', $1, $2, $3, now(), now()) returning created_at, updated_at`,
			id, input.Name, input.Description).Scan(&project.CreatedAt, &project.UpdatedAt); err != nil {
			return err
		}
		payload.Project = project
		if response, err = json.Marshal(payload); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, execution_id, created_at, expires_at)
			values ('', $1, 'createProject', $2, 1, $3, $4, now(), now() + interval '24 hours')`,
			key, hash[:], string(response), uuid.New())
		return err
	})
	if err != nil {
		return nil, err
	}
	graphql.RegisterExtension(ctx, "idempotency", map[string]any{field.Alias: map[string]any{
		"status": status, "executedAt": payload.Project.CreatedAt.Format(time.RFC3339Nano),
	}})
	return payload, nil
}
