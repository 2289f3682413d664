// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"quixote-export/internal/broker"
	mqttsink "quixote-export/internal/sink/mqtt"
	"quixote-export/internal/spool"
	"quixote-export/internal/workload"
)

// drain delivers what waits in the spool, one broker, topic and workload after
// the other.
func drain(ctx context.Context, p *Plan, password string, notice func(string)) (status int, err error) {
	base, err := p.spoolFolder()
	if err != nil {
		return 0, err
	}
	labels, problems := broker.Waiting(base)
	found := false
	for _, l := range labels {
		if !p.drains(l) {
			continue
		}
		found = true
		if err := drainOne(ctx, p, l, base, password, notice); err != nil {
			problems = append(problems, err)
		}
	}
	if len(problems) > 0 {
		for _, err := range problems {
			notice(err.Error())
		}
		return statusLost, nil
	}
	if !found {
		notice("nothing waits in the spool " + base)
	}
	return 0, nil
}

// drains tells whether the plan means the records of a label.
func (p *Plan) drains(l broker.Label) bool {
	if p.Broker != "" && l.Server != p.broker() || p.Workload != "" && l.Workload != p.Workload {
		return false
	}
	if p.Topic == "" {
		return true
	}
	topic, err := fill("-t", p.Topic, hostname(), l.Workload)
	return err == nil && topic == l.Topic
}

func drainOne(ctx context.Context, p *Plan, l broker.Label, base, password string, notice func(string)) error {
	c, err := p.connectTo(l, hostname(), password)
	if err != nil {
		return err
	}
	claim, err := broker.TakeSpool(base, l, "", p.MQTT.SpoolLimit)
	if errors.Is(err, spool.ErrLocked) {
		return fmt.Errorf("what waits for %s, topic %s, workload %s is sent by a run that is alive", l.Server, l.Topic, oneLine(l.Workload))
	}
	if err != nil {
		return err
	}
	if err := c.identify(newUUID()[:8]); err != nil {
		return errors.Join(err, claim.Queue.Close())
	}
	defer c.id.Release()
	for _, line := range c.notices() {
		notice(line)
	}
	options := p.sinkOptions(c, claim, notice)
	options.Drain = MaxDrain
	sink := mqttsink.New(options)
	if err := sink.Connect(ctx); err != nil {
		return errors.Join(err, sink.Close())
	}
	sink.End("")
	signals, stop := workload.Signals()
	defer stop()
	done := make(chan error, 1)
	go func() { done <- sink.Close() }()
	// It goes on as long as the broker takes records.
	before, look := claim.Found, time.NewTicker(max(p.MQTT.Drain, time.Second))
	defer look.Stop()
	for {
		select {
		case <-signals:
			sink.Hurry()
		case <-look.C:
			if now := sink.Waiting(); now < before {
				before = now
			} else {
				sink.Hurry()
			}
		case err = <-done:
			left := sink.Waiting()
			notice(fmt.Sprintf("%d of %d records delivered to %s, topic %s", claim.Found-left, claim.Found, l.Server, l.Topic))
			if err == nil && left > 0 {
				err = fmt.Errorf("%s still waiting in %s", recordsAre(left), claim.Path)
			}
			return err
		}
	}
}
