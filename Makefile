# `make run` starts OnceQL with a PostgreSQL of its own; `make test` passes the
# tests. Both install what they need on Debian as root, and else name it.

.PHONY: run build image test-deploy playground screenshots client-package client-matrix test lint licences vulnerabilities generate bench bench-full bench-neighbours sizing bench-against bench-cost dashboard flood starts fuzz storm faults two-builds model sim sim-long fidelity chaos chaos-long edge upgrade seeded soak clean

# A clone that belongs to another user must build too; git refuses to read it.
export GOFLAGS += -buildvcs=false

# exec, so that a signal to make reaches the server, which drains.
run:
	@.ci/install server
	@$(MAKE) --no-print-directory build
	@exec ./bin/onceql

# The same bytes from the same sources, wherever they are built.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
PROGRAM ?= bin/onceql
build: playground
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -buildid= -X main.stamp=$(VERSION)' -o $(PROGRAM) .

# The container image, in bin/image, without Docker: see docs/operations/deployment.md.
ARCHITECTURES ?= amd64 arm64
IMAGES ?= $(CURDIR)/bin/image
image:
	@for arch in $(ARCHITECTURES); do \
	GOOS=linux GOARCH=$$arch $(MAKE) --no-print-directory build VERSION='$(VERSION)' PROGRAM='$(IMAGES)'/$$arch/onceql || exit; done
	cd deploy && go run . -version '$(VERSION)' -out '$(IMAGES)' $(foreach arch,$(ARCHITECTURES),$(arch)='$(IMAGES)'/$(arch)/onceql)

# What is in deploy/: the image is run from its layers, and every file is run or checked.
# About 20 seconds, as root on Linux.
test-deploy:
	@.ci/install server deploy
	cd deploy && go test -count=1 ./...

# Whether a directory's packages are those of its lock file. A shell may take a file that
# is not there for one that is not older.
INSTALLED = { [ -e node_modules/.package-lock.json ] && [ ! node_modules/.package-lock.json -ot package-lock.json ]; }

# The page at /. Without Node.js the server is built all the same, with a plain one.
playground: playground/dist/app/index.html.gz
playground/dist/app/index.html.gz: $(addprefix playground/,index.html keys.html package-lock.json tsconfig.json vite.config.ts) $(wildcard playground/src/* playground/src/calls/*) $(wildcard clients/typescript/src/*)
	@if ! command -v npm >/dev/null; then echo "no npm, no playground: install Node.js 20 or newer"; exit 0; fi; \
	echo "building the playground"; cd playground && \
	{ $(INSTALLED) || npm ci --silent --no-audit --no-fund --fetch-retries=1 --fetch-timeout=30000; } && \
	npm run build --silent || \
	echo "the playground could not be built; the server has a plain page in its place"

# The picture of the page of keys in docs/, as the playground's tests see it.
screenshots: playground
	@.ci/install server tests
	PLAYGROUND_TESTS=calls go test -count=1 -run 'TestPlayground$$' ./e2e
	cp bin/screenshots/keys-page.png docs/keys-page.png

# The npm package @onceql/client, in bin/. Prints the line that installs it, to be run in
# an app's directory.
client-package:
	@command -v npm >/dev/null || { echo "this needs Node.js 20 or newer, with npm" >&2; exit 1; }
	@mkdir -p bin && rm -f bin/onceql-client-*.tgz
	@cd clients && { $(INSTALLED) || npm ci --silent --no-audit --no-fund >&2; } && \
	npm pack --silent -w typescript --pack-destination ../bin >/dev/null
	@printf 'npm install "%s"\n' "$(CURDIR)"/bin/onceql-client-*.tgz

# The package in projects of every kind: Node.js, TypeScript, Jest, Vitest, Vite, Metro.
# About 3 minutes, and 1 GB of packages. A part of `make test`, with one of each kind.
client-matrix:
	@.ci/install server tests
	CLIENT_MATRIX=all go test -count=1 -timeout 30m -v -run TestClients_Matrix ./e2e

test:
	@.ci/install server tests versions
	@$(MAKE) --no-print-directory playground
	go test -race -shuffle=on -timeout 30m ./...

lint:
	cd tools && go build -o ../bin/ mvdan.cc/gofumpt github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@unformatted=$$(bin/gofumpt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofumpt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	GOOS=darwin go vet ./...
	bin/golangci-lint run
	for module in bench chaos deploy; do (cd $$module && ../bin/golangci-lint run) || exit; done
	cd clients && { $(INSTALLED) || npm ci --silent --no-audit --no-fund; }
	clients/node_modules/.bin/prettier --check --ignore-path .gitignore 'clients/**/*.{ts,tsx}' 'playground/**/*.{ts,tsx,css,html,mjs}'

# The licences of what the program is made of; fails over one that is unknown or asks
# for more than a notice.
licences:
	cd tools && go build -o ../bin/ github.com/google/go-licenses/v2
	@bin/go-licenses report . --ignore github.com/onceql/onceql 2>/dev/null | awk -F, '{ printf "%-14s %s\n", $$3, $$1 }' | sort
	@bin/go-licenses check . --ignore github.com/onceql/onceql --disallowed_types forbidden,restricted 2>/dev/null
	@node playground/licences.mjs

# Known vulnerabilities that the program can meet. Without a way to their database it
# says so and passes.
vulnerabilities:
	cd tools && go build -o ../bin/ golang.org/x/vuln/cmd/govulncheck
	@bin/govulncheck . >bin/vulnerabilities.txt 2>&1 && cat bin/vulnerabilities.txt || { cat bin/vulnerabilities.txt; \
	grep -q 'fetching vulnerabilities' bin/vulnerabilities.txt && echo "the vulnerability database can't be reached: nothing was checked"; }

generate:
	go generate ./...
	cd clients/examples/genqlient && go generate ./...

# OnceQL beside its floor and its peers, on one PostgreSQL, and what bad neighbours
# do: about 5 minutes.
bench:
	@.ci/install server tests
	cd bench/express && npm ci --silent
	cd bench && go run . -out ../bin/bench
	cd bench && go run ./neighbours -rounds 1 -duration 1s -out ../bin/bench

# The same for longer, with up to 10^7 stored keys and during a purge, for docs/:
# about 20 minutes and 10 GB of disk.
bench-full:
	@.ci/install server tests
	cd bench/express && npm ci --silent
	cd bench && go run . -rounds 3 -duration 3s -growth 10000000 -out ../docs/bench
	cd bench && go run ./neighbours -out ../docs/bench

# What a call, a key and a connection take, for the table of docs/operations/database.md:
# about 2 minutes.
sizing:
	@.ci/install server tests
	cd bench && go run ./sizing

# What callers do to others, who do one bad thing over and over: about 8 minutes.
bench-neighbours:
	@.ci/install server tests
	cd bench && go run ./neighbours -out ../bin/bench

# What one tenant takes from another when it floods the server, attack by attack, and
# whether any request of the other is refused: about 7 minutes. ONLY chooses attacks by
# their names.
ONLY ?=
flood:
	@.ci/install server tests
	cd bench && go test ./flood && go run ./flood -only '$(ONLY)' -out ../bin/bench

# Three servers at once, 200 times, on empty databases and on current ones: none may end.
# About 4 minutes.
starts:
	@.ci/install server tests
	cd bench && go run ./starts

# This build of the server beside another revision's, load by load in turn: about 7
# minutes.
PREVIOUS ?= $(shell cat previous-build)
bench-against:
	@.ci/install server tests
	cd bench && go run . -against $(PREVIOUS) -rounds 9 -duration 1s -out ../bin/bench

# What a call costs more than in another revision's build, in processor time: about 8
# minutes.
bench-cost:
	@.ci/install server tests
	cd bench && go run . -against $(PREVIOUS) -only '^(distinct keys, (16|64)|replays of distinct keys)$$' -rounds 40 -duration 500ms

# Every query of the dashboard on a real Prometheus that scrapes a server under load, and
# what it says: half a minute. A part of `make test`, without the table.
dashboard:
	@.ci/install server tests
	@mkdir -p bin
	DASHBOARD=$(CURDIR)/bin/dashboard.txt go test -count=1 -run TestMonitoring_Dashboard ./e2e
	@cat bin/dashboard.txt

# The build before (see previous-build) and this one, side by side on one database. A
# part of `make test`.
two-builds:
	@.ci/install server tests
	go test -race -count=1 -run TestBuilds_ ./e2e

# The simulated PostgreSQL beside real ones of five versions, the same histories on each,
# from the seed FIRST on: about 3 minutes. A part of `make test`, with fewer.
FIRST ?= 0
fidelity:
	@.ci/install server tests versions
	@mkdir -p bin
	@go test -count=1 -parallel 4 -timeout 1h ./idempotency/internal/sim/fidelity -args -first $(FIRST) -histories 400 -others 200 -figures $(CURDIR)/bin/fidelity.txt
	@cat bin/fidelity.txt

# The fuzz targets, two minutes each or FUZZ_FOR. Coverage varies from run to run where
# goroutines and a database are at work, so little time goes into making inputs smaller.
FUZZ_FOR ?= 2m
fuzz:
	@.ci/install server tests
	go test -run '^$$' -fuzz FuzzCanonical -fuzztime $(FUZZ_FOR) ./idempotency/gqlidem
	go test -run '^$$' -fuzz FuzzDecode -fuzztime $(FUZZ_FOR) ./graph/transport
	go test -run '^$$' -fuzz FuzzIdentify -fuzztime $(FUZZ_FOR) -fuzzminimizetime 10x ./internal/identity
	go test -run '^$$' -fuzz FuzzOperations -fuzztime $(FUZZ_FOR) -fuzzminimizetime 10x ./graph
	go test -run '^$$' -fuzz FuzzDocuments -fuzztime $(FUZZ_FOR) -fuzzminimizetime 10x ./graph

# The tests of concurrency, a hundred times, with one of two cores kept busy.
storm:
	@.ci/install server tests
	.ci/busy go test -race -count=100 -timeout 2h -run 'Concurrent|Followers|Engines|Races' ./idempotency
	.ci/busy go test -race -count=100 -timeout 2h -run 'Burst|Loser|Caller' ./e2e

# The tests of faults and crashes, twenty times, with one of two cores kept busy.
faults:
	@.ci/install server tests
	.ci/busy go test -race -count=20 -timeout 2h -run 'Budget|Commit|Trip|Server|Failure|Neighbours|Settings|Standby|Lost' ./idempotency
	.ci/busy go test -race -count=20 -timeout 2h -run 'Crash|Database|Interruption|Admission|Readiness|Drain' ./e2e

# The model of the protocol: spin tries every order of its steps. About a minute.
model:
	@.ci/install model
	@docs/model/run

# The engine in simulated worlds, where everything goes wrong: 10,000 of them, under 3
# minutes. Each seed is a world, and the same seed is the same one. SEEDS says how many.
SEEDS ?= 10000
sim:
	@.ci/install
	@idempotency/internal/sim/world/run $(SEEDS)

# As many more as SEEDS says, behind those that the record names.
sim-long:
	@.ci/install
	@idempotency/internal/sim/world/run $(SEEDS) idempotency/internal/sim/world/record.tsv

# Faults on real servers, a PostgreSQL with a standby, and the network between them, under
# load, and whether every promise held: 8 minutes, in CI 2 with a seed that stays.
chaos:
	@.ci/install server chaos
	cd chaos && go test ./... && go build -o ../bin/chaos .
	cd chaos && ../bin/chaos -logs ../bin/chaos-logs $(if $(CI),-for 110s -epoch 110s -seed 14,-for 8m)

# The same for an hour, or for CHAOS_FOR. The figures of all runs add up in a file.
CHAOS_FOR ?= 1h
chaos-long:
	@.ci/install server chaos
	cd chaos && go build -o ../bin/chaos .
	cd chaos && ../bin/chaos -logs ../bin/chaos-logs -for $(CHAOS_FOR) -record ../bin/chaos.json

# Two servers behind Debian's nginx and then HAProxy, as deploy/ has them, killed, drained,
# restarted and frozen under load: 100 faults each, about 10 minutes; in CI 8 each with a
# seed that stays.
edge:
	@.ci/install server edge
	cd chaos && go test ./edge && go build -o ../bin/edge ./edge
	cd chaos && ../bin/edge -logs ../bin/edge-logs $(if $(CI),-faults 8 -healed 0.85 -seed 17,-faults 100 -calls 50000)

# From the build before (see previous-build) to this one and back, a server at a time behind
# nginx, under load: a minute, in CI shorter.
upgrade:
	@.ci/install server edge
	cd chaos && go build -o ../bin/edge ./edge
	cd chaos && ../bin/edge -upgrade -edges nginx -logs ../bin/edge-logs -calls $(if $(CI),300 -seed 17,5000)

# Whether the layers of the proof find bugs that are put in: about half an hour. BUG is a
# pattern of their names, see seeded/README.md.
seeded:
	@.ci/install server chaos model
	go run ./seeded -run '$(BUG)' -logs bin/seeded-logs

# Whether a server grows that works for 20 minutes, or for SOAK_FOR, at half of the load
# that it can take. The samples are in bin/soak.csv.
SOAK_FOR ?= 20m
soak:
	@.ci/install server tests
	@mkdir -p bin
	cd bench && go run ./soak -for $(SOAK_FOR) -out ../bin/soak.csv

clean:
	rm -rf bin internal/pgtest/versions/node_modules playground/dist/app clients/typescript/dist clients/typescript/*.js clients/typescript/*.d.ts graph/transport/audit/node_modules clients/node_modules clients/apps/node_modules clients/matrix/node_modules clients/matrix/newer/node_modules clients/matrix/installed clients/matrix/newer/installed playground/node_modules
