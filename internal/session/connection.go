// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"crypto/tls"
	"fmt"
	"strings"

	"quixote-export/internal/broker"
)

// A connection is all that is needed to publish to the broker of a plan: its
// flags, with what they refer to.
type connection struct {
	label       broker.Label // server, topic and workload
	status      string       // topic of states, "" for none
	credentials broker.Credentials
	tls         *tls.Config // nil for a plain connection
	spool       string      // folder
	clientID    string      // of the first of several runs at once
	named       bool        // the user chose it
	id          *broker.ClientID
}

// connect reads what the flags refer to and connects to nothing. password is
// the value of broker.PasswordVariable.
func (p *Plan) connect(host, password string) (*connection, error) {
	topic, err := fill("-t", p.Topic, host, p.Workload)
	if err != nil {
		return nil, err
	}
	return p.connectTo(broker.NewLabel(p.broker(), topic, p.Workload), host, password)
}

// connectTo is connect where it is known what is sent.
func (p *Plan) connectTo(label broker.Label, host, password string) (c *connection, err error) {
	c = &connection{label: label}
	if p.MQTT.StatusTopic != "" {
		status, err := fill("--status-topic", p.MQTT.StatusTopic, host, p.Workload)
		if err != nil {
			return nil, err
		}
		c.status = status.String()
	}
	secrets, err := p.loadSecrets(password)
	if err != nil {
		return nil, err
	}
	c.credentials = secrets.credentials
	if label.Server.Secure() {
		c.tls = secrets.tls
	}
	if c.spool, err = p.spoolFolder(); err != nil {
		return nil, err
	}
	c.clientID, c.named = p.MQTT.ClientID, p.MQTT.ClientID != ""
	if !c.named {
		c.clientID = clientID(host, label.Workload)
	}
	return c, nil
}

func fill(flag, text, host, workload string) (broker.Topic, error) {
	topic, err := broker.ParseTopic(text)
	if err == nil {
		topic, err = topic.For(host, workload)
	}
	if err != nil {
		return broker.Topic{}, fmt.Errorf("%s: %w", flag, err)
	}
	return topic, nil
}

// clientID is who we are where nobody says otherwise. Brokers take letters and
// digits, and these few besides; what else a name has becomes an underscore.
func clientID(host, workload string) string {
	const most = 200
	id := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, "quixote-export-"+host+"-"+workload)
	return id[:min(len(id), most)]
}

// notices are what the user should know of a connection.
func (c *connection) notices() (lines []string) {
	if c.credentials.Password != nil && c.tls == nil && !c.label.Server.Local() {
		lines = append(lines, fmt.Sprintf("the MQTT password goes to %s unencrypted: use mqtts:// where the broker can", c.label.Server.Host))
	}
	if c.named && c.id != nil && c.id.Other != "" {
		lines = append(lines, fmt.Sprintf("another run uses the client identifier %q with %s, and the broker knows one of a name only: this run is %q", c.id.Other, c.label.Server, c.id.Name))
	}
	return lines
}

// claim takes the spool and the client identifier. A second run at once gets
// ones of its own, with its name behind.
func (c *connection) claim(run string, limit int64) (*broker.Claim, error) {
	claim, err := broker.TakeSpool(c.spool, c.label, run, limit)
	if err != nil {
		return nil, err
	}
	if err := c.identify(run); err != nil {
		claim.Queue.Close()
		return nil, err
	}
	return claim, nil
}

// identify takes the client identifier.
func (c *connection) identify(run string) (err error) {
	if c.id, err = broker.TakeClientID(c.label.Server, c.clientID, run); err != nil {
		return err
	}
	c.clientID = c.id.Name
	return nil
}
