# Copyright The quixote-export authors
# SPDX-License-Identifier: Apache-2.0

# make        builds ./quixote-export
# make demo   builds, exports a small real workload and shows what came of it
# make test   installs what the tests need, and runs them all
# make deb    makes a Debian package
# make bench  measures what being watched costs, beside strace
# make bench-tsem  measures how the events of a TSEM kernel are read, beside a loop in C
# make bench-vm    measures in a virtual machine what BPF programs on the hooks cost
# make bench-host  measures what watching the whole host costs
# make bench-mqtt  measures the MQTT publisher beside libmosquitto
# make fuzz   fuzzes each target for FUZZTIME
# make man    makes the manual page from its Markdown
# make generate  makes everything that is generated

export GOTOOLCHAIN = local

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
FUZZTIME ?= 60s

.PHONY: all build deb demo test bench bench-tsem bench-vm bench-host bench-mqtt fuzz man generate install clean

all: build

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.revision=$(VERSION)' -o quixote-export ./cmd/quixote-export

deb: build
	scripts/deb ./quixote-export .

demo: build
	scripts/demo

test:
	scripts/test

bench: build
	go run ./scripts/bench -program ./quixote-export
	go run ./scripts/bench-tsem -program ./quixote-export

bench-tsem: build
	go run ./scripts/bench-tsem -program ./quixote-export

bench-vm: build
	go run ./scripts/bench-vm -program ./quixote-export

bench-host: build
	go run ./scripts/bench-host -program ./quixote-export

bench-mqtt:
	go run ./scripts/bench-mqtt

fuzz:
	scripts/fuzz $(FUZZTIME)

man generate:
	go generate ./...

PREFIX ?= /usr/local

install: build
	install -D -m 0755 quixote-export $(DESTDIR)$(PREFIX)/sbin/quixote-export
	install -D -m 0644 doc/quixote-export.1 $(DESTDIR)$(PREFIX)/share/man/man1/quixote-export.1

clean:
	rm -f quixote-export
