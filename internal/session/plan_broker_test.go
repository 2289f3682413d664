// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"strings"
	"testing"
)

func TestWhereTheBrokerIs(t *testing.T) {
	for _, row := range []struct {
		change func(*Plan)
		want   string
	}{
		{func(p *Plan) { p.Broker = "h" }, "mqtt://h:1883"},
		{func(p *Plan) { p.Broker, p.Port = "h", 10902 }, "mqtt://h:10902"},
		{func(p *Plan) { p.Broker, p.Port = "h", 8883 }, "mqtts://h:8883"},
		{func(p *Plan) { p.Broker, p.MQTT.CA = "h", "ca.pem" }, "mqtts://h:8883"},
		{func(p *Plan) { p.Broker, p.MQTT.Cert, p.MQTT.Key = "h", "c", "k" }, "mqtts://h:8883"},
		{func(p *Plan) { p.Broker, p.Port = "mqtts://h", 99 }, "mqtts://h:99"},
		{func(p *Plan) { p.Broker, p.Port = "::1", 99 }, "mqtt://[::1]:99"},
	} {
		p := plan(t, row.change)
		p.Topic = "t"
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", row.want, err)
		}
		if got := p.broker().String(); got != row.want {
			t.Errorf("got %s, want %s", got, row.want)
		}
	}
}

func TestWhatCannotBeSaidOfABroker(t *testing.T) {
	for _, row := range []struct {
		want   string
		change func(*Plan)
	}{
		{"--qos is about an MQTT broker", func(p *Plan) { p.Broker, p.Topic, p.MQTT.Given = "", "", []string{"--qos", "--user"} }},
		{"-t: the topic has an empty level", func(p *Plan) { p.Topic = "a//b" }},
		{"--status-topic: the topic has an empty level", func(p *Plan) { p.MQTT.StatusTopic = "/" }},
		{"--status-topic: {type}", func(p *Plan) { p.MQTT.StatusTopic = "a/{type}" }},
	} {
		p := plan(t, func(p *Plan) { p.Broker, p.Topic = "h", "t" })
		row.change(p)
		if err := p.Check(); err == nil || !strings.HasPrefix(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v", row.want, err)
		}
	}
	index := plan(t, func(p *Plan) { p.Endpoint, p.Topic = "h", "an-index//" })
	if err := index.Check(); err != nil {
		t.Errorf("the name of an index: %v", err)
	}
}

func TestFollowingStartsOffline(t *testing.T) {
	p := plan(t, func(p *Plan) {
		p.Mode, p.ModeFlag, p.Command, p.Follow = Root, "-R", nil, true
		p.Broker, p.Topic = "h", "t"
	})
	if err := p.Check(); err != nil || !p.MQTT.OfflineStart {
		t.Errorf("offline start %v, %v", p.MQTT.OfflineStart, err)
	}
}
