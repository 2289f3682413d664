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
	if c.credentials, err = broker.LoadCredentials(p.MQTT.User, p.MQTT.PasswordFile, password, broker.DefaultPasswordFile); err != nil {
		return nil, err
	}
	if label.Server.Secure() {
		if c.tls, err = broker.LoadTLS(p.MQTT.CA, p.MQTT.Cert, p.MQTT.Key); err != nil {
			return nil, err
		}
	}
	if c.spool, err = p.spoolFolder(); err != nil {
		return nil, err
	}
	if c.clientID = p.MQTT.ClientID; c.clientID == "" {
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
func (c *connection) notices() []string {
	if c.credentials.Password != nil && c.tls == nil && !c.label.Server.Local() {
		return []string{fmt.Sprintf("the MQTT password goes to %s unencrypted: use mqtts:// where the broker can", c.label.Server.Host)}
	}
	return nil
}

// claim takes the spool, and gives a second run at once a name of its own.
func (c *connection) claim(run string, limit int64) (*broker.Claim, error) {
	claim, err := broker.TakeSpool(c.spool, c.label, run, limit)
	if err == nil && !claim.First {
		c.clientID += "-" + run
	}
	return claim, err
}
