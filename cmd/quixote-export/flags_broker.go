// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"quixote-export/internal/session"
)

// brokerFlags are those that say nothing where there is no broker.
var brokerFlags = []string{
	"qos", "mqtt-version", "user", "password-file", "ca", "cert", "key", "client-id", "status-topic",
	"offline-start", "spool", "spool-limit", "on-full", "drain",
}

// drainFlags are those that --drain-spool has a use for.
var drainFlags = []string{
	"drain-spool", "workload", "broker", "port", "topic", "debug",
	"qos", "mqtt-version", "user", "password-file", "ca", "cert", "key", "client-id", "spool", "drain",
}

func setBroker(s *settings, value string) error {
	s.plan.Broker = value
	err := session.CheckBroker(value)
	if err != nil && strings.Contains(value, "@") {
		return hidden{err}
	}
	return err
}

// hidden is an error about a value that must not be shown.
type hidden struct{ error }

func setMQTTVersion(s *settings, value string) error {
	if names := session.MQTTVersions(); !slices.Contains(names, value) {
		return fmt.Errorf("it must be one of %s", strings.Join(names, ", "))
	}
	s.plan.MQTT.Version = value
	return nil
}

func setUser(s *settings, value string) error {
	s.plan.MQTT.User = value
	return checkName(value)
}

func setClientID(s *settings, value string) error {
	s.plan.MQTT.ClientID = value
	return checkName(value)
}

// checkName takes what MQTT can carry as a string.
func checkName(value string) error {
	const most = 65535
	switch {
	case len(value) > most:
		return fmt.Errorf("it must not be longer than %d bytes", most)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return errors.New("it must be UTF-8 text without control characters")
	}
	return nil
}

func setSpoolLimit(s *settings, value string) error {
	size, err := parseSize(value)
	if err != nil || size < session.MinSpoolLimit || size > session.MaxSpoolLimit {
		return errors.New("it must be a size from 16M to 1T")
	}
	s.plan.MQTT.SpoolLimit = int64(size)
	return nil
}

func setOnFull(s *settings, value string) error {
	if value != session.OnFullBlock && value != session.OnFullDrop {
		return fmt.Errorf("it must be %s or %s", session.OnFullBlock, session.OnFullDrop)
	}
	s.plan.MQTT.OnFull = value
	return nil
}

func setDrain(s *settings, value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 || d > session.MaxDrain {
		return errors.New("it must be a duration from 0s to 24h")
	}
	s.plan.MQTT.Drain = d
	return nil
}

// checkDrain refuses flags that --drain-spool has no use for.
func checkDrain(s *settings) error {
	if s.plan.Mode != session.Drain {
		return nil
	}
	for _, g := range s.given {
		if !slices.Contains(drainFlags, g.long) {
			return fmt.Errorf("--drain-spool runs nothing and exports nothing new: leave out %s", g.written)
		}
	}
	return nil
}
