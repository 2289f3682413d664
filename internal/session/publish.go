// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/broker"
	"quixote-export/internal/mqtt"
	mqttsink "quixote-export/internal/sink/mqtt"
)

// A publication is the broker of a run.
type publication struct {
	*mqttsink.Sink
	connection *connection
	claim      *broker.Claim
}

// publish connects to the broker of the plan, before the workload runs.
func (s *session) publish(ctx context.Context, c *connection, run string) (*publication, error) {
	claim, err := c.claim(run[:8], s.plan.MQTT.SpoolLimit)
	if err != nil {
		return nil, err
	}
	for _, line := range c.notices() {
		s.notice(line)
	}
	options := s.plan.sinkOptions(c, claim, s.notice)
	options.Drop = s.drops()
	if c.status != "" {
		options.Status = &mqttsink.Status{
			Topic: c.status, Host: hostname(), Workload: s.plan.Workload, Run: run, Started: time.Now(),
		}
	}
	sink := mqttsink.New(options)
	err = sink.Connect(ctx)
	if err != nil && s.plan.MQTT.OfflineStart && mqttsink.MayComeBack(err) {
		s.notice(err.Error() + "; records wait in the spool")
		sink.Start()
		err = nil
	}
	if err != nil {
		sink.Close()
		return nil, err
	}
	return &publication{sink, c, claim}, nil
}

func (p *Plan) sinkOptions(c *connection, claim *broker.Claim, notice func(string)) mqttsink.Options {
	return mqttsink.Options{
		Name: c.label.Server.String(),
		Broker: mqtt.Options{
			Address:  c.label.Server.Address(),
			TLS:      c.tls,
			Version:  mqttVersions[p.MQTT.Version],
			ClientID: c.clientID,
			User:     c.credentials.User,
			Password: c.credentials.Password,
			QoS:      byte(p.MQTT.QoS),
		},
		Topic:  c.label.Topic,
		Batch:  p.messageRecords(),
		Spool:  claim.Queue,
		Damage: claim.Damage,
		Path:   claim.Path,
		Drain:  p.MQTT.Drain,
		Notice: notice,
	}
}

// drops tells whether records are dropped that a full spool has no room for. If
// nothing is said they are where nothing waits for the outputs: a workload does, or
// else what a collector keeps.
func (s *session) drops() bool {
	if s.plan.MQTT.OnFull != "" {
		return s.plan.MQTT.OnFull == OnFullDrop
	}
	return (s.source == SourceBPF || s.source == SourceTrace) && !s.collected()
}

var mqttVersions = map[string]mqtt.Version{MQTTAuto: mqtt.Auto, MQTT311: mqtt.V311, MQTT5: mqtt.V5}

// messageRecords is how many records make a message at most.
func (p *Plan) messageRecords() int {
	switch {
	case p.Mode != Root:
		return 1
	case p.Queue == 0:
		return DefaultQueue
	}
	return p.Queue
}

// attend is for when the workload has ended: from here on nothing waits for the
// broker longer than the plan says, and a signal to end ends the waiting, that
// for the reader of a pipe as well. The
// returned function is called when nothing waits any more.
func (s *session) attend(status int, signals <-chan os.Signal) (done func()) {
	if s.broker != nil {
		s.broker.End(strconv.Itoa(status))
	}
	finished, heard := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(heard)
		for {
			select {
			case sig := <-signals:
				if sig == unix.SIGINT || sig == unix.SIGTERM {
					s.hurry()
				}
			case <-finished:
				return
			}
		}
	}()
	return func() {
		close(finished)
		<-heard
	}
}

// hurry ends all waiting for the broker, and for readers of pipes.
func (s *session) hurry() {
	for _, f := range s.outputs {
		f.Hurry()
	}
	if s.broker != nil {
		s.broker.Hurry()
	}
}

// legatee is the spool in a will.
func (p *publication) legatee(plan *Plan) legatee {
	return legatee{
		Path:  p.Name(),
		Spool: &spoolLegatee{Name: p.Name(), Path: p.claim.Path, Label: p.claim.Label, Limit: plan.MQTT.SpoolLimit},
	}
}

// left tells what could not be delivered, and whether there is anything.
func (p *publication) left(notice func(string)) bool {
	n := p.Waiting()
	if n == 0 {
		return false
	}
	notice(fmt.Sprintf("%s not delivered to %s yet: they wait in %s (the next run with this broker, topic and workload sends them first, --drain-spool does so at once)",
		recordsAre(n), p.Name(), p.claim.Path))
	return true
}

func recordsAre(n int) string {
	if n == 1 {
		return "1 record is"
	}
	return fmt.Sprintf("%d records are", n)
}

func hostname() string {
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	return host
}
