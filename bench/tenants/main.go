// Tenants is OnceQL's engine and GraphQL layer for callers that say themselves
// which tenant they are: what it costs to have many, authentication aside.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/requestid"
)

// connections are as many as OnceQL's engine has.
const connections = 21

func main() {
	debug.SetGCPercent(300) // As OnceQL does.
	if err := serve(context.Background(), os.Getenv("DATABASE_URL")); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, database string) error {
	cluster, err := db.NewCluster(database, slog.Default())
	if err != nil {
		return err
	}
	pool, err := cluster.Open(ctx, connections)
	if err != nil {
		return err
	}
	engine := idempotency.New(pool, idempotency.Config{})
	once := gqlidem.New(engine, tenant)
	api := graph.NewHandler(graph.NewResolver(once, engine, db.NewQueries(pool, 5*time.Second, 4096), tenant), once, graph.Config{Log: slog.Default()})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("  API         http://%s/graphql\n", listener.Addr())
	return http.Serve(listener, requestid.Handler(named(api)))
}

type tenantKey struct{}

func tenant(ctx context.Context) (string, error) {
	name, _ := ctx.Value(tenantKey{}).(string)
	return name, nil
}

// named takes the tenant from the request's header.
func named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tenantKey{}, r.Header.Get("X-Tenant"))))
	})
}
