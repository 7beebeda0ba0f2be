# Each target does its own set-up, and does nothing twice. `make help` says what there is.
.DEFAULT_GOAL := help
.PHONY: help build demo serve test bench bench-compare bench-peers bench-plots bench-serving load hostile image format lint fresh

help: ## Say what the targets do
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

build: ## Build the server, the client and the benchmarks into build/release/bin
	@scripts/setup build
	@scripts/build release

demo: build ## Start a server, classify the MNIST test set, explain one image, show the metrics
	@scripts/setup demo
	@scripts/demo

serve: build ## Run the server in the foreground; ARGS holds its options
	@build/release/bin/vit-server $(ARGS)

test: build ## Run the unit and integration tests
	@scripts/setup test
	@scripts/test

bench: build ## Measure the engine; ARGS holds options for vit-bench
	@scripts/bench $(ARGS)

bench-compare: ## Measure the engine against that of the commit BASE
	@scripts/setup build peers
	@scripts/bench-compare "$(BASE)" $(ARGS)

bench-peers: build ## Measure the engine against OpenVINO, ONNX Runtime and PyTorch on one core
	@scripts/setup peers
	@scripts/bench-peers $(ARGS)

load: build ## Load a server with ghz, closed and open loop, and print one table
	@scripts/setup test
	@scripts/load $(ARGS)

hostile: build ## Let peers that misbehave loose on the server and print one table; ARGS may name families
	@scripts/hostile $(ARGS)

bench-serving: build ## Measure the server against gRPC alone and other servers; ARGS holds options
	@scripts/setup serving
	@scripts/bench-serving $(ARGS)

bench-plots: ## Draw what the benchmarks measured into docs/performance-*.png
	@scripts/setup plots
	@scripts/bench-plots

image: ## Build the container image
	@scripts/setup image
	@scripts/image

format: ## Format the sources in place
	@scripts/setup lint
	@scripts/format

lint: ## Check formatting, clang-tidy, thread-safety, the scripts and the Prometheus rules
	@scripts/setup build lint
	@scripts/lint

fresh: ## Run the demo and the tests in bare Debian 12 and 13; ARGS may name one release
	@scripts/fresh $(ARGS)
