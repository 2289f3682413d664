// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"quixote-export/internal/session"
	"quixote-export/tsem"
)

// flags is the table of all flags, in the order of the help page.
var flags = []flag{
	{'P', "process", "", mode(session.Shell, "-P")},
	{'X', "execute", "", mode(session.Command, "-X")},
	{'C', "container", "", mode(session.Container, "-C")},
	{'R', "root", "", mode(session.Root, "-R")},
	{'S', "show", "", mode(session.Show, "-S")},
	{0, "drain-spool", "", mode(session.Drain, "--drain-spool")},
	{0, "install-collector", "", mode(session.InstallCollector, "--install-collector")},
	{0, "remove-collector", "", mode(session.RemoveCollector, "--remove-collector")},
	{0, "collector-status", "", mode(session.CollectorStatus, "--collector-status")},
	{'w', "workload", "a name", setWorkload},
	{'f', "follow", "", on(func(p *session.Plan) *bool { return &p.Follow })},
	{0, "no-shell", "", on(func(p *session.Plan) *bool { return &p.NoShell })},
	{0, "no-collector", "", on(func(p *session.Plan) *bool { return &p.NoCollector })},
	{0, "include-self", "", on(func(p *session.Plan) *bool { return &p.IncludeSelf })},
	{0, "exclude", "rules, such as type:file_fcntl,uid:backup", filter(func(p *session.Plan) *[]string { return &p.Exclude })},
	{0, "only", "rules, such as exe:/usr/sbin/sshd", filter(func(p *session.Plan) *[]string { return &p.Only })},
	{0, "no-wait", "", on(func(p *session.Plan) *bool { return &p.NoWait })},
	{0, "magazine", "a folder", text(func(p *session.Plan) *string { return &p.Magazine })},

	{'u', "current-namespace", "", on(func(p *session.Plan) *bool { return &p.NSRefCurrent })},
	{'M', "model", "a name", text(func(p *session.Plan) *string { return &p.Model })},
	{'a', "timestamp", "", on(func(p *session.Plan) *bool { return &p.Timestamp })},
	{0, "abspath", "", on(func(p *session.Plan) *bool { return &p.Abspath })},
	{'h', "digest", "the kernel's name of a hash, such as sha256", setDigest},
	{0, "digest-limit", "a size, such as 64M", setDigestLimit},

	{'o', "output", "a path, or - for standard output", text(func(p *session.Plan) *string { return &p.Output })},
	{0, "append", "", on(func(p *session.Plan) *bool { return &p.Append })},
	{0, "sync-interval", "a duration, such as 500ms", setSyncInterval},
	{0, "on-output-error", "stop or continue", setOnOutputError},
	{0, "no-markers", "", func(s *settings, _ string) error { s.plan.Markers = false; return nil }},
	{'b', "broker", "a host or URL", setBroker},
	{'e', "endpoint", "a host or URL", setEndpoint},
	{'p', "port", "a port number", number(session.MinPort, session.MaxPort, func(p *session.Plan) *int { return &p.Port })},
	{'t', "topic", "a name", text(func(p *session.Plan) *string { return &p.Topic })},
	{'q', "queue", "a number of events", number(1, session.MaxQueue, func(p *session.Plan) *int { return &p.Queue })},

	{0, "qos", "0, 1 or 2", number(0, 2, func(p *session.Plan) *int { return &p.MQTT.QoS })},
	{0, "mqtt-version", "one of " + strings.Join(session.MQTTVersions(), ", "), setMQTTVersion},
	{0, "user", "a name", setUser},
	{0, "password-file", "a path", text(func(p *session.Plan) *string { return &p.MQTT.PasswordFile })},
	{0, "ca", "a path", text(func(p *session.Plan) *string { return &p.MQTT.CA })},
	{0, "cert", "a path", text(func(p *session.Plan) *string { return &p.MQTT.Cert })},
	{0, "key", "a path", text(func(p *session.Plan) *string { return &p.MQTT.Key })},
	{0, "client-id", "a name", setClientID},
	{0, "status-topic", "a name", text(func(p *session.Plan) *string { return &p.MQTT.StatusTopic })},
	{0, "offline-start", "", on(func(p *session.Plan) *bool { return &p.MQTT.OfflineStart })},
	{0, "spool", "a folder", text(func(p *session.Plan) *string { return &p.MQTT.Spool })},
	{0, "spool-limit", "a size, such as 4G", setSpoolLimit},
	{0, "on-full", "block or drop", setOnFull},
	{0, "drain", "a duration, such as 2m", setDrain},

	{0, "source", "one of " + strings.Join(session.SourceNames(), ", "), setSource},
	{0, "sources", "", act(actionSources)},
	{'n', "cache", "a number of structures", number(1, session.MaxCache, func(p *session.Plan) *int { return &p.Cache })},
	{0, "io", "", on(func(p *session.Plan) *bool { return &p.IO })},
	{0, "allow-io-uring", "", on(func(p *session.Plan) *bool { return &p.AllowURing })},
	{0, "include-runtime", "", on(func(p *session.Plan) *bool { return &p.IncludeRuntime })},
	{0, "ring", "a size, such as 64M", setRing},

	{'d', "debug", "a path", text(func(p *session.Plan) *string { return &p.Debug })},
	{0, "stats", "", on(func(p *session.Plan) *bool { return &p.Stats })},
	{0, "help", "", act(actionHelp)},
	{0, "version", "", act(actionVersion)},
}

// hiddenFlags are for tests, and in no help: CONTRIBUTING.md has them.
var hiddenFlags = []flag{
	{0, "pins", "a folder", text(func(p *session.Plan) *string { return &p.Pins })},
	{0, "securityfs", "a folder", text(func(p *session.Plan) *string { return &p.SecurityFS })},
}

type setter = func(*settings, string) error

func mode(m session.Mode, name string) setter {
	return func(s *settings, _ string) error {
		if s.plan.ModeFlag != "" && s.plan.ModeFlag != name {
			return fmt.Errorf("%s and %s are two modes: choose one", s.plan.ModeFlag, name)
		}
		s.plan.Mode, s.plan.ModeFlag = m, name
		return nil
	}
}

func act(a action) setter {
	return func(s *settings, _ string) error {
		s.action = a
		return nil
	}
}

func on(field func(*session.Plan) *bool) setter {
	return func(s *settings, _ string) error {
		*field(s.plan) = true
		return nil
	}
}

func text(field func(*session.Plan) *string) setter {
	return func(s *settings, value string) error {
		*field(s.plan) = value
		return nil
	}
}

func number(low, high int, field func(*session.Plan) *int) setter {
	return func(s *settings, value string) error {
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || int(n) < low || int(n) > high {
			return fmt.Errorf("it must be a number from %d to %d", low, high)
		}
		*field(s.plan) = int(n)
		return nil
	}
}

func setWorkload(s *settings, value string) error {
	switch {
	case len(value) > 255:
		return errors.New("the name must not be longer than 255 bytes")
	case value == "." || value == ".." || strings.Contains(value, "/"):
		return errors.New("it must be a name and not a path")
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return errors.New("the name must be UTF-8 text without control characters")
	}
	s.plan.Workload = value
	return nil
}

func setDigest(s *settings, value string) error {
	algorithm, err := tsem.AlgorithmByName(value)
	if err != nil {
		return err
	}
	s.plan.Digest = algorithm
	return nil
}

func setSource(s *settings, value string) error {
	if names := session.SourceNames(); !slices.Contains(names, value) {
		return fmt.Errorf("it must be one of %s", strings.Join(names, ", "))
	}
	s.plan.Source = value
	return nil
}

func setEndpoint(s *settings, value string) error {
	s.plan.Endpoint = value
	return session.CheckServer(value, "http", "https")
}

func setSyncInterval(s *settings, value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < session.MinSyncInterval || d > session.MaxSyncInterval {
		return fmt.Errorf("it must be a duration from %v to %v", session.MinSyncInterval, "1h")
	}
	s.plan.SyncInterval = d
	return nil
}

func setOnOutputError(s *settings, value string) error {
	if value != "stop" && value != "continue" {
		return errors.New("it must be stop or continue")
	}
	s.plan.GoOn = value == "continue"
	return nil
}

func setDigestLimit(s *settings, value string) error {
	size, err := parseSize(value)
	if err != nil {
		return errors.New("it must be a number of bytes, or of K, M, G or T")
	}
	s.plan.DigestLimit = size
	return nil
}

func setRing(s *settings, value string) error {
	size, err := parseSize(value)
	if err != nil || bits.OnesCount64(size) != 1 || size < session.MinRing || size > session.MaxRing {
		return errors.New("it must be a power of two from 4K to 1G")
	}
	s.plan.Ring = int64(size)
	return nil
}

// parseSize reads a number of bytes, perhaps with a binary unit.
func parseSize(value string) (uint64, error) {
	digits, shift := value, 0
	for i, unit := range []string{"K", "M", "G", "T"} {
		if head, found := strings.CutSuffix(value, unit); found {
			digits, shift = head, 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 62-shift)
	return n << shift, err
}
