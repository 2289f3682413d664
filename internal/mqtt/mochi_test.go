// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt_test

import (
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"

	"quixote-export/internal/mqtt"
	"quixote-export/internal/mqtt/mqtttest"
)

func TestMochi(t *testing.T) {
	delivers(t, 1024, func(t *testing.T) string { return mqtttest.NewMemory(t, nil).Address }, 0, 1, 2)
}

// This broker limits packets and does not say so until one is too large.
func TestMochiLimitsPackets(t *testing.T) {
	m := mqtttest.NewMemory(t, func(c *mochi.Capabilities) { c.MaximumPacketSize = 200 })
	o := options(m.Address)
	o.Version = mqtt.V5
	feed := newCount("test", 600)
	publish(t, o, feed)
	feed.wait(t)
	// payload(i) has its number and i%300 bytes.
	if n := len(feed.refused); n < 2*100 || n > 2*120 {
		t.Errorf("%d messages were refused", n)
	}
}
