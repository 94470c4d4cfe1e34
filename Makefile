# `make run` starts OnceQL with a PostgreSQL of its own; `make test` passes the
# tests. Both install what they need on Debian as root, and else name it.

.PHONY: run test lint generate bench bench-full fuzz storm clean

# A clone that belongs to another user must build too; git refuses to read it.
export GOFLAGS += -buildvcs=false

# exec, so that a signal to make reaches the server, which drains.
run:
	@.ci/install server
	@go build -o bin/onceql .
	@exec ./bin/onceql

test:
	@.ci/install server tests
	go test -race -shuffle=on ./...

lint:
	cd tools && go build -o ../bin/ mvdan.cc/gofumpt github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@unformatted=$$(bin/gofumpt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofumpt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	GOOS=darwin go vet ./...
	bin/golangci-lint run

generate:
	go generate ./...

# OnceQL beside its floor and its peers, on one PostgreSQL: under 4 minutes.
bench:
	@.ci/install server tests
	cd bench/express && npm ci --silent
	cd bench && go run . -out ../bin/bench

# The same for longer, with up to 10^7 stored keys and during a purge, for docs/:
# about 30 minutes and 20 GB of disk.
bench-full:
	@.ci/install server tests
	cd bench/express && npm ci --silent
	cd bench && go run . -rounds 5 -duration 4s -growth 10000000 -out ../docs/bench

# The fuzz targets, two minutes each.
fuzz:
	@.ci/install server tests
	go test -run '^$$' -fuzz FuzzCanonical -fuzztime 2m ./idempotency/gqlidem
	go test -run '^$$' -fuzz FuzzDecode -fuzztime 2m ./graph/transport

# The tests of concurrency, a hundred times.
storm:
	@.ci/install server tests
	go test -race -count=100 -timeout 60m -run 'Concurrent|Waiters|Engines|Engine_' ./idempotency

clean:
	rm -rf bin graph/transport/audit/node_modules
