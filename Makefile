.DEFAULT_GOAL := help
.PHONY: help run test test-quick fuzz bench smoke bench-peers lint build clean setup

BIN := .cache/scanlogin
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Build and serve the demo: no Redis, no account, nothing to set
	@exec $(BIN) demo

build: ## Build the one static binary into .cache/
	@command -v go >/dev/null || { echo "Go 1.26 or newer is needed: https://go.dev/dl/"; exit 1; }
	@[ -x $(BIN) ] && echo "building $(BIN)" || echo "building $(BIN) (the first time takes a minute)"
	@CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN) ./cmd/scanlogin

setup: ## Install what the tests need and this machine lacks (Debian packages)
	@bash .ci/setup

test: setup ## Run every test, with the race detector; real Redis, HAProxy and Chromium
	go test -race -timeout 14m ./...

test-quick: ## Run the tests that need nothing but Go
	go test ./auth ./auth/demo ./auth/oidc ./auth/outbound ./hub/... ./qrlogin ./web/...

FUZZTIME ?= 10m

fuzz: ## Run every fuzz target for FUZZTIME (10m), one after the other
	@set -e; for dir in auth auth/oidc web hub qrlogin qrlogin/backend; do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' $$dir/*_test.go); do \
	    echo "== $$dir $$target for $(FUZZTIME)"; \
	    go test ./$$dir -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10s -parallel 1; \
	  done; done

bench: ## Run the Go benchmarks of all rooms, for benchstat
	go test -run '^$$' -bench . -benchmem -count 5 ./auth ./hub ./qrlogin ./qrlogin/backend ./web

smoke: build ## Drive whole logins for 20 seconds: is every one right?
	$(BIN) bench --redis --instances 2 --browsers 500 --rate 20 --duration 20s

bench-peers: ## Measure beside other kinds of servers, about 45 minutes on a quiet machine
	@go -C cmd/bench-peers run . $(ARGS)

lint: ## gofmt, go vet, staticcheck
	@bash .ci/lint

clean: ## Remove what was built here
	rm -rf .cache
