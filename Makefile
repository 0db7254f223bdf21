# Everything a person runs on this project. `make` alone lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

## build: target/release/millstream
.PHONY: build
build:
	cargo build --release --locked --bin millstream

## serve: the server, on its default ports and ./millstream-data
.PHONY: serve
serve: build
	target/release/millstream serve

## demo: a month of real flights in; out as stream, work queue and live feed; a kill -9 in between
.PHONY: demo
demo: build
	cargo run --release --locked --quiet --package millstream-demo

## test: every fast test; installs what is missing below .cache/
.PHONY: test
test: build
	cargo test --workspace --locked
	tests/run-clients fast
	tests/librdkafka/run fast

## test-all: the fast tests and the whole third-party suites, long crash runs (up to an hour)
.PHONY: test-all
test-all: build
	MILLSTREAM_SEEDS=20000 MILLSTREAM_KILLS=100 cargo test --workspace --locked
	tests/run-clients all
	tests/librdkafka/run all
	tests/kafka-python/run
	tests/rust-rdkafka/run

## lint: formatting, clippy with the workspace's lints, dependencies' licences and sources
.PHONY: lint
lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	tests/lib/cargo-deny --locked --log-level error check licenses bans sources

## docs: rewrite the pages that are generated from the code
.PHONY: docs
docs:
	MILLSTREAM_UPDATE_DOCS=1 cargo test --locked -p millstream-catalog -p millstream-server -p millstream-kafka -p millstream-http --tests

## bench: Millstream beside Apache Kafka and ElasticMQ, and its live feeds and queues; see docs/benchmarks.md
.PHONY: bench
bench: build
	bench/run
	bench/queues
	bench/live
	cargo run --release --locked --quiet --package millstream-broker --example queue_throughput

## clean: what was built and fetched
.PHONY: clean
clean:
	cargo clean
	rm -rf .cache

.PHONY: help
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST) | awk -F': ' '{ printf "  make %-9s %s\n", $$1, $$2 }'
