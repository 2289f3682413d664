// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"os"
	"time"

	"quixote-export/internal/broker"
	"quixote-export/internal/spool"
)

// Limits and defaults of what flags say of a broker.
const (
	DefaultQoS = 1

	// MinSpoolLimit leaves room for the largest batch of records.
	MinSpoolLimit = 16 << 20
	MaxSpoolLimit = 1 << 40

	DefaultDrain = 30 * time.Second
	MaxDrain     = 24 * time.Hour
)

// Versions of the protocol, as in the flag --mqtt-version.
const (
	MQTTAuto = "auto"
	MQTT311  = "3.1.1"
	MQTT5    = "5"
)

// MQTTVersions returns every value of the flag --mqtt-version.
func MQTTVersions() []string { return []string{MQTTAuto, MQTT311, MQTT5} }

// What happens when the spool is full, as in the flag --on-full.
const (
	OnFullBlock = "block" // the workload waits
	OnFullDrop  = "drop"  // records are lost, and counted
)

// MQTT is what a plan says of its broker, besides server, port and topic.
type MQTT struct {
	Given []string // the flags that set what follows, as they were written

	QoS          int
	Version      string // one of MQTTVersions
	User         string // "" for broker.DefaultUser when there is a password
	PasswordFile string
	CA           string // files in PEM form
	Cert, Key    string
	ClientID     string // "" for one made of host and workload
	StatusTopic  string // "" for none
	OfflineStart bool   // the broker may be away; Check sets it for Follow

	Spool      string // folder, "" for the default
	SpoolLimit int64  // bytes
	OnFull     string // OnFullBlock or OnFullDrop, "" for what fits the source
	Drain      time.Duration
}

func newMQTT() MQTT {
	return MQTT{QoS: DefaultQoS, Version: MQTTAuto, SpoolLimit: spool.DefaultLimit, Drain: DefaultDrain}
}

// CheckBroker checks the value of -b.
func CheckBroker(server string) error {
	_, err := broker.ParseServer(server)
	return err
}

// broker is where the broker is. The plan was checked.
func (p *Plan) broker() broker.Server {
	s, _ := broker.ParseServer(p.Broker)
	return s.Complete(p.Port, p.MQTT.CA != "" || p.MQTT.Cert != "")
}

// insecure tells that the URL of the broker asks for no encryption.
func (p *Plan) insecure() bool {
	s, err := broker.ParseServer(p.Broker)
	return err == nil && s.Scheme == broker.Plain
}

// namesPort tells that -b says the port.
func (p *Plan) namesPort() bool {
	s, err := broker.ParseServer(p.Broker)
	return err == nil && s.Port != 0
}

// checkBroker refuses what cannot be said of a broker, after the rules.
func (p *Plan) checkBroker() error {
	if p.Broker == "" {
		if len(p.MQTT.Given) > 0 && p.Mode != Drain {
			return planError(p.MQTT.Given[0] + " is about an MQTT broker: add -b HOST, or leave it out")
		}
		return nil
	}
	if p.Topic != "" {
		if _, err := broker.ParseTopic(p.Topic); err != nil {
			return planError("-t: " + err.Error())
		}
	}
	if p.MQTT.StatusTopic != "" {
		topic, err := broker.ParseTopic(p.MQTT.StatusTopic)
		if err != nil {
			return planError("--status-topic: " + err.Error())
		}
		if topic.Typed() {
			return planError("--status-topic: {type} means nothing there, since a state is no record")
		}
	}
	return nil
}

// spoolFolder is where records wait for the broker.
func (p *Plan) spoolFolder() (string, error) {
	if p.MQTT.Spool != "" {
		return p.MQTT.Spool, nil
	}
	return broker.DefaultSpool(os.Geteuid(), os.Getenv)
}
