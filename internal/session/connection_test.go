// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quixote-export/internal/broker"
)

func TestConnection(t *testing.T) {
	dir := t.TempDir()
	connected := func(change func(*Plan)) (*connection, error) {
		p := plan(t, func(p *Plan) {
			p.Broker, p.Topic, p.Workload, p.MQTT.Spool = "h", "{host}/{workload}/{type}", "c++", dir
		})
		change(p)
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		return p.connect("node", "pass")
	}
	c, err := connected(func(p *Plan) { p.MQTT.StatusTopic = "s/{workload}" })
	if err != nil {
		t.Fatal(err)
	}
	if c.label.Topic.String() != "node/c__/{type}" || c.status != "s/c__" || c.clientID != "quixote-export-node-c__" ||
		c.credentials.User != "tsem" || string(c.credentials.Password) != "pass" || c.tls != nil || c.spool != dir {
		t.Errorf("got %+v", c)
	}
	if lines := c.notices(); len(lines) != 1 || !strings.Contains(lines[0], "unencrypted") || strings.Contains(lines[0], "pass ") {
		t.Errorf("notices %q", lines)
	}
	secure, err := connected(func(p *Plan) { p.Broker, p.MQTT.ClientID = "mqtts://h", "me" })
	if err != nil || secure.tls == nil || secure.clientID != "me" || len(secure.notices()) != 0 {
		t.Errorf("got %+v, %v", secure, err)
	}
	if _, err := connected(func(p *Plan) { p.MQTT.CA = filepath.Join(dir, "gone") }); err == nil {
		t.Error("a file that is not there is taken")
	}
	if _, err := connected(func(p *Plan) { p.MQTT.PasswordFile = dir }); err == nil {
		t.Error("a folder is a password")
	}

	// Two at once.
	first, err := c.claim("run1", 0)
	if err != nil || c.clientID != "quixote-export-node-c__" {
		t.Fatalf("%s, %v", c.clientID, err)
	}
	again, err := connected(func(p *Plan) {})
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.claim("run2", 0)
	if err != nil || again.clientID != "quixote-export-node-c__-run2" {
		t.Errorf("%s, %v", again.clientID, err)
	}
	if len(again.notices()) != 1 {
		t.Errorf("said %q of a name that nobody chose", again.notices())
	}
	// The broker knows no topics of clients.
	other, err := connected(func(p *Plan) { p.Topic = "other" })
	if err != nil {
		t.Fatal(err)
	}
	third, err := other.claim("run3", 0)
	if err != nil || other.clientID != "quixote-export-node-c__-run3" || !third.First {
		t.Errorf("%s, %v", other.clientID, err)
	}
	// A name that somebody chose is missed.
	chosen, err := connected(func(p *Plan) { p.Topic, p.MQTT.ClientID = "chosen", "quixote-export-node-c__" })
	if err != nil {
		t.Fatal(err)
	}
	fourth, err := chosen.claim("run4", 0)
	if err != nil || chosen.clientID != "quixote-export-node-c__-run4" {
		t.Errorf("%s, %v", chosen.clientID, err)
	}
	if lines := chosen.notices(); len(lines) != 2 || !strings.Contains(lines[1], `this run is "quixote-export-node-c__-run4"`) {
		t.Errorf("said %q", lines)
	}
	// One that was given back is free.
	c.id.Release()
	if err := c.identify("run5"); err != nil || c.clientID != "quixote-export-node-c__" {
		t.Errorf("%s, %v", c.clientID, err)
	}
	for _, q := range []*broker.Claim{first, second, third, fourth} {
		q.Queue.Close()
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestClientID(t *testing.T) {
	for _, row := range []struct{ host, workload, want string }{
		{"node.example", "web", "quixote-export-node.example-web"},
		{"", "a b/é\x00", "quixote-export--a_b___"},
	} {
		if got := clientID(row.host, row.workload); got != row.want {
			t.Errorf("got %q, want %q", got, row.want)
		}
	}
	if n := len(clientID("h", strings.Repeat("é", 500))); n != 200 {
		t.Errorf("%d bytes", n)
	}
}
