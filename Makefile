# make help says what there is. Everything made here lies in bin/, bench/out and Go's own caches.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

export CGO_ENABLED ?= 0
# grpcnotrace leaves out a package whose templates keep the linker from dropping what nobody calls. What is built, tested and
# looked at has the same flags, so that Kubernetes' packages are compiled once: ten minutes on two cores.
export GOFLAGS     ?= -buildvcs=false -trimpath -tags=grpcnotrace

GO       ?= go
PREFIX   ?= /usr/local
DESTDIR  ?=
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
BINARIES := tripod tripod-oci tripod-api tripodd
TOOLS    := bin/tools
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
PACKAGES := ./...
# go test -run of the end-to-end scripts: make e2e RUN=TestScripts/lesson
RUN      ?= .

# What the tests drive beside tripod. The images of the end-to-end tests are made from these packages' files.
NEED_TEST := busybox-static nginx-light docker-registry skopeo nftables iproute2 net-tools procps psmisc util-linux curl zstd \
	jq runc crun podman conmon catatonit buildah containerd docker.io patch dbus-daemon gcc libc6-dev libseccomp-dev strace iptables \
	containernetworking-plugins tcpdump tshark uidmap libcap2-bin openssl
NEED_VM   := $(NEED_TEST) qemu-system-x86 kmod apparmor systemd dbus dbus-user-session
NEED_PEERS := crun runc podman conmon containernetworking-plugins skopeo docker-registry busybox-static nginx-light tcpdump

.PHONY: help first-light build install test lint check unit e2e test-vm conformance compare race arm64 bench notices notices-check golden ldflags clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

first-light: ## build, run the example Pod on this host's own files, show what its containers share, clean up
	@examples/first-light

build: ## the binaries, into bin/
	@mkdir -p bin
	@for b in $(BINARIES); do \
		if [ -d "cmd/$$b" ]; then $(GO) build -ldflags '$(LDFLAGS)' -o "bin/$$b" "./cmd/$$b"; fi; \
	done

install: build ## the binaries, man pages, completions and systemd's units, below $(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(addprefix bin/,$(BINARIES)) $(DESTDIR)$(PREFIX)/bin/
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	bin/tripod man $(DESTDIR)$(PREFIX)/share/man/man1
	bin/tripodd man $(DESTDIR)$(PREFIX)/share/man/man8
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 644 contrib/systemd/tripod.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' contrib/systemd/tripod.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/tripod.service
	bin/tripod completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/tripod

# Debian's kubectl is old, which is what it is here for. It is unpacked beside whatever kubectl is installed.
OLD_KUBECTL := e2e/.cache/kubernetes-client/usr/bin/kubectl

$(OLD_KUBECTL):
	@mkdir -p e2e/.cache/kubernetes-client
	@cd e2e/.cache/kubernetes-client && apt-get update -qq && apt-get download -qq kubernetes-client && \
		dpkg-deb --fsys-tarfile kubernetes-client_*.deb | tar x ./usr/bin/kubectl && rm kubernetes-client_*.deb && touch usr/bin/kubectl

test: lint $(OLD_KUBECTL) ## everything that a change must pass: vet, lint, house, unit and end-to-end tests (root)
	@.ci/need $(NEED_TEST)
	@$(MAKE) --no-print-directory build
	@PATH="$(CURDIR)/bin:$$PATH" $(GO) test -timeout 15m $$($(GO) list $(PACKAGES) | grep -v /e2e)
	@# The scripts look for what is left on the host, so nothing else may make containers meanwhile.
	@PATH="$(CURDIR)/bin:$$PATH" $(GO) test -timeout 15m ./e2e/...

lint: $(TOOLS)/staticcheck $(TOOLS)/gofumpt ## go vet, gofumpt, staticcheck
	@$(GO) vet $(PACKAGES)
	@ugly="$$($(TOOLS)/gofumpt -l $$(git ls-files -co --exclude-standard '*.go'))"; \
		if [ -n "$$ugly" ]; then echo "not gofumpt's form (run $(TOOLS)/gofumpt -w):" $$ugly >&2; exit 1; fi
	@$(TOOLS)/staticcheck $(PACKAGES)

check: lint ## what needs no root: lint, house and the tests of the pure packages
	@$(GO) test . ./internal/plan/... ./internal/bundle/... ./internal/life/... ./internal/seccomp/... ./internal/manifest/...

e2e: build $(OLD_KUBECTL) ## the end-to-end scripts only (root)
	@.ci/need $(NEED_TEST)
	@$(GO) test -count 1 -timeout 15m -run '$(RUN)' ./e2e/...

test-vm: build ## the tests that touch the kernel, on Debian's kernel with pure cgroup v2, and with systemd, in emulated machines
	@.ci/need $(NEED_VM)
	@$(GO) run ./tools/vm
	@$(GO) run ./tools/vm -systemd
	@$(GO) run ./tools/vm -systemd -v1

conformance: build ## run the OCI runtime-tools validation programs against tripod-oci, runc and crun (root)
	@.ci/need runc crun
	@$(GO) run ./tools/conformance -least 30 bin/tripod-oci runc crun

# The real API server is built from its module, which takes minutes where nothing of it is in Go's cache.
compare: ## send the same requests to a real kube-apiserver and to our API; each difference is in docs/api.md, or an error
	@$(GO) run -tags grpcnotrace ./tools/compare

# The detector needs C; linked statically its programs still run in containers that have no C library, and look users up
# without it, since glibc's own lookup loads libraries and dies of that. Left out are the tests of how little memory a
# process takes, or that hold one to little: the detector's own would be what they see. A program that ends waits a second for
# races to be told unless it is told not to, and some tests start hundreds. The packages that link an API server whole stay out:
# under the detector that is another quarter of an hour of compiling Kubernetes.
RACE = $$($(GO) list ./internal/... | grep -vE '/internal/(api|controllers|node)(/|$$)')
race: ## unit tests under the race detector
	@.ci/need gcc libc6-dev $(NEED_TEST)
	@CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 $(GO) test -race -tags grpcnotrace,osusergo,netgo -ldflags='-linkmode=external -extldflags=-static' -timeout 20m \
		-skip 'TestQuietKeeperIsSmall|TestMemoryIsBounded|TestCVE_2022_31030|TestCVE_2025_64329|TestStatsAgainstLibrary|TestUpdate$$' \
		$(RACE)

arm64: ## build and vet for arm64
	@GOARCH=arm64 $(GO) build ./... && GOARCH=arm64 $(GO) vet ./...

bench: build ## compare with crun, runc and podman; bench/out holds figures and plot
	@.ci/need $(NEED_PEERS) $(NEED_VM)
	@$(GO) run ./bench -out bench/out

ldflags: # for examples/first-light
	@echo "$(LDFLAGS)"

golden: ## write the golden files anew and show what changed
	@$(GO) test $$($(GO) list -f '{{range .TestImports}}{{if eq . "tripod/internal/golden"}}{{$$.ImportPath}}{{end}}{{end}}' ./...) -update
	@git diff --stat -- '*/testdata/*' docs

notices: ## write THIRD_PARTY.md anew
	@$(GO) run ./tools/notices

notices-check: ## see that THIRD_PARTY.md is true
	@$(GO) run ./tools/notices -check

clean: ## take away what make made here
	rm -rf bin bench/out e2e/.cache

$(TOOLS)/staticcheck:
	@echo "building staticcheck" >&2
	@GOBIN="$(CURDIR)/$(TOOLS)" $(GO) install $(STATICCHECK)

$(TOOLS)/gofumpt:
	@echo "building gofumpt" >&2
	@GOBIN="$(CURDIR)/$(TOOLS)" $(GO) install $(GOFUMPT)
