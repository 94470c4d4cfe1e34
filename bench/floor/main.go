// Floor is what createProject costs without idempotency and without a database:
// OnceQL's transport, middleware, limits, GraphQL execution and fingerprint, and a
// payload that is encoded and decoded as one that is stored. It answers every call as
// executed, keeps nothing, and is here to be compared with.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/google/uuid"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/graph/generated"
	"github.com/onceql/onceql/graph/model"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/requestid"
	"github.com/onceql/onceql/internal/server"
	"github.com/onceql/onceql/internal/telemetry"
)

func main() {
	debug.SetGCPercent(300) // As OnceQL does.
	if err := serve(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// The server's defaults.
const (
	ttl            = 24 * time.Hour
	headerTimeout  = 10 * time.Second
	bodyTimeout    = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	requestTimeout = time.Minute
)

func serve(ctx context.Context) error {
	identify, err := server.NewIdentifier(ctx, identity.Config{}, slog.Default())
	if err != nil {
		return err
	}
	// The extension checks the schema; no call gets as far as its engine.
	once := gqlidem.New(nil, identity.Tenant)
	resolvers := root{generated.NewExecutableSchema(generated.Config{}).Schema()}
	api := graph.NewHandler(resolvers, once, graph.Config{May: server.May, Log: slog.Default()})
	mux := http.NewServeMux()
	refusals := telemetry.New("", slog.Default()).Refusals
	mux.Handle("/graphql", server.CORS(nil, refusals, server.Authenticate(identify, refusals, server.RequestTimeout(requestTimeout, api))))

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("  API         http://%s/graphql\n", listener.Addr())
	web := &http.Server{
		Handler:           requestid.Handler(server.SecurityHeaders(mux)),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      bodyTimeout + requestTimeout,
		IdleTimeout:       idleTimeout,
	}
	return web.Serve(listener)
}

// root resolves createProject and nothing else.
type root struct{ schema *ast.Schema }

func (root) Query() generated.QueryResolver         { return nil }
func (r root) Mutation() generated.MutationResolver { return mutations{root: r} }

type mutations struct {
	generated.MutationResolver
	root
}

// CreateProject resolves Mutation.createProject.
func (m mutations) CreateProject(ctx context.Context, input model.CreateProjectInput, key string) (*model.CreateProjectPayload, error) {
	if err := idempotency.ValidateKey(key); err != nil {
		return nil, err
	}
	field := graphql.GetFieldContext(ctx).Field
	if _, err := gqlidem.Fingerprint(m.schema, field.Field, graphql.GetOperationContext(ctx).Variables,
		gqlidem.KeyArgument, gqlidem.FingerprintVersion); err != nil {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	payload, err := stored(&model.CreateProjectPayload{Project: &model.Project{
		ID: id.String(), Name: input.Name, Description: input.Description, CreatedAt: now, UpdatedAt: now,
	}})
	if err != nil {
		return nil, err
	}
	const milliseconds = "2006-01-02T15:04:05.000Z07:00"
	graphql.RegisterExtension(ctx, "idempotency", map[string]any{field.Alias: map[string]any{
		"status":     "EXECUTED",
		"executedAt": now.Format(milliseconds),
		"expiresAt":  now.Add(ttl).Format(milliseconds),
		"requestId":  requestid.From(ctx),
	}})
	return payload, nil
}

var errChanged = errors.New("the payload does not read back as it is")

// stored returns the payload as it is read back from what would be stored of it,
// checked as the engine checks it.
func stored(payload *model.CreateProjectPayload) (*model.CreateProjectPayload, error) {
	data, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	read := &model.CreateProjectPayload{}
	if err := json.Unmarshal(data, read); err != nil {
		return nil, err
	}
	again, err := json.Marshal(read)
	if err == nil && !bytes.Equal(again, data) {
		err = errChanged
	}
	return read, err
}
