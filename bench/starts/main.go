// Starts starts several servers at once, over and over, on an empty database and on one
// that has its schema, and counts those that end in place of serving.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/bench/postgres"
	"github.com/onceql/onceql/bench/program"
)

func main() {
	postgres.Supervise()
	times := flag.Int("times", 200, "how often they are started, by turns on an empty database and on a current one")
	servers := flag.Int("servers", 3, "how many at once")
	flag.Parse()
	ended, err := run(context.Background(), *times, *servers)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("starts: %d times %d servers at once, half of them on an empty database: %d ended\n", *times, *servers, ended)
	if ended > 0 {
		os.Exit(1)
	}
}

func run(ctx context.Context, times, servers int) (ended int, err error) {
	server, err := postgres.Start(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, server.Stop(ctx)) }()
	path := filepath.Join(server.Work, "onceql")
	if err := program.Build("..", path); err != nil {
		return 0, err
	}
	conn, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	var database string
	for n := range times {
		if n%2 == 0 { // The next time it is a current one.
			if database, err = postgres.NewDatabase(ctx, server.URL(), fmt.Sprint("starts", n)); err != nil {
				return ended, err
			}
		}
		for _, failure := range startAll(path, database, servers) {
			ended++
			fmt.Fprintln(os.Stderr, failure)
		}
		if n%2 == 1 {
			if _, err := conn.Exec(ctx, fmt.Sprintf("drop database starts%d", n-1)); err != nil {
				return ended, err
			}
		}
	}
	return ended, nil
}

// startAll starts so many servers at once on the database, stops them, and returns why some
// did not serve.
func startAll(path, database string, servers int) (failures []error) {
	var starting sync.WaitGroup
	var mu sync.Mutex
	for range servers {
		starting.Go(func() {
			s, err := program.Start(append(program.Env(database), "LOG_LEVEL=error"), path)
			if err == nil {
				err = ready(s)
				s.Stop()
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, err)
			}
		})
	}
	starting.Wait()
	return failures
}

// ready says why the server does not serve.
func ready(s *program.Server) error {
	got, err := http.Get("http://" + s.URL.Host + "/readyz")
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz says %s\n%s", got.Status, s.Log())
	}
	return nil
}
