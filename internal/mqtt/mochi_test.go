// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt_test

import (
	"io"
	"log/slog"
	"net"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"quixote-export/internal/mqtt"
)

// serveMochi runs a mochi-mqtt broker in this process.
func serveMochi(t *testing.T, change func(*mochi.Capabilities)) (address string) {
	t.Helper()
	o := &mochi.Options{
		Capabilities: mochi.NewDefaultServerCapabilities(),
		Logger:       slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	// It drops what a subscriber is too slow for.
	o.Capabilities.MaximumClientWritesPending = 1 << 16
	if change != nil {
		change(o.Capabilities)
	}
	s := mochi.New(o)
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddListener(listeners.NewNet("t", l)); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

func TestMochi(t *testing.T) {
	delivers(t, 1024, func(t *testing.T) string { return serveMochi(t, nil) }, 0, 1, 2)
}

// This broker limits packets and does not say so until one is too large.
func TestMochiLimitsPackets(t *testing.T) {
	address := serveMochi(t, func(c *mochi.Capabilities) { c.MaximumPacketSize = 200 })
	o := options(address)
	o.Version = mqtt.V5
	feed := newCount("test", 600)
	publish(t, o, feed)
	feed.wait(t)
	// payload(i) has its number and i%300 bytes.
	if n := len(feed.refused); n < 2*100 || n > 2*120 {
		t.Errorf("%d messages were refused", n)
	}
}
