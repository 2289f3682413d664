// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	paho "github.com/eclipse/paho.mqtt.golang"

	"quixote-export/internal/mqtt"
	"quixote-export/internal/mqtt/mqtttest"
)

const patience = time.Minute

// count is a feed of n messages whose payloads are all different, and all
// bytes of which matter.
type count struct {
	topic   string
	n       int
	limit   int // of those that are given
	mu      sync.Mutex
	given   int
	settled int
	refused []error
	changed chan struct{}
}

func newCount(topic string, n int) *count {
	return &count{topic: topic, n: n, limit: n, changed: make(chan struct{}, 1)}
}

// payload is that of message i.
func payload(i int) []byte {
	return append(fmt.Appendf(nil, "%d ", i), bytes.Repeat([]byte{byte(i)}, i%300)...)
}

func (c *count) Next(int) (mqtt.Message, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.given == min(c.n, c.limit) {
		return mqtt.Message{}, false
	}
	c.given++
	c.change()
	return mqtt.Message{Topic: c.topic, Payload: payload(c.given - 1)}, true
}

func (c *count) Settled(n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.refused = append(c.refused, err)
	}
	c.settled += n
	c.change()
}

func (c *count) change() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *count) raise(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit += n
}

// until waits for something that is true of the feed.
func (c *count) until(t *testing.T, is func() bool) {
	t.Helper()
	for late := time.After(patience); ; {
		c.mu.Lock()
		ok := is()
		text := fmt.Sprintf("%d given, %d settled, %d refused, of %d", c.given, c.settled, len(c.refused), c.n)
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-c.changed:
		case <-late:
			t.Fatal(text)
		}
	}
}

func (c *count) wait(t *testing.T) {
	t.Helper()
	c.until(t, func() bool { return c.settled == c.n })
}

// A subscriber checks that what comes is the payloads from 0 on, in order but
// for repeats.
type subscriber struct {
	t    *testing.T
	mu   sync.Mutex
	next int
	more chan struct{}
}

// subscribe has paho receive a topic.
func subscribe(t *testing.T, address, topic string) *subscriber {
	t.Helper()
	s := &subscriber{t: t, more: make(chan struct{}, 1)}
	o := paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID("peer").SetCleanSession(false).
		SetMaxReconnectInterval(50 * time.Millisecond)
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		s.take(m.Payload())
	})
	c := paho.NewClient(o)
	for _, act := range []func() paho.Token{c.Connect, func() paho.Token { return c.Subscribe(topic, 1, nil) }} {
		if token := act(); !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("the subscriber: %v", token.Error())
		}
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return s
}

func (s *subscriber) take(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case bytes.Equal(b, payload(s.next)):
		s.next++
	case !repeats(b, s.next):
		s.t.Errorf("%.20q comes instead of message %d", b, s.next)
	}
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (s *subscriber) have() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// wait waits until n different messages have come.
func (s *subscriber) wait(n int) {
	s.t.Helper()
	for late := time.After(patience); s.have() < n; {
		select {
		case <-s.more:
		case <-late:
			s.t.Fatalf("%d of %d messages came", s.have(), n)
		}
	}
}

// repeats reports whether a message is one that had come before.
func repeats(b []byte, next int) bool {
	var i int
	_, err := fmt.Sscanf(string(b), "%d ", &i)
	return err == nil && i < next && bytes.Equal(b, payload(i))
}

func options(address string) mqtt.Options {
	return mqtt.Options{Address: address, ClientID: "ours", QoS: 1, MinDelay: 10 * time.Millisecond, MaxDelay: 100 * time.Millisecond}
}

func publish(t *testing.T, o mqtt.Options, feed mqtt.Feed) {
	t.Helper()
	p := mqtt.New(o, feed)
	if err := p.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(context.Background(), nil) })
}

// delivers publishes to a broker under both versions. inFlight is what it allows
// unless it is told otherwise.
func delivers(t *testing.T, inFlight int, broker func(*testing.T) (address string), qos ...byte) {
	const n = 5000
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		for _, qos := range qos {
			t.Run(fmt.Sprintf("%s QoS %d", v, qos), func(t *testing.T) {
				address := broker(t)
				sub := subscribe(t, address, "test")
				o := options(address)
				o.Version, o.QoS = v, qos
				o.Up = func(l mqtt.Limits) {
					if v == mqtt.V5 && l.InFlight != inFlight {
						t.Errorf("%d in flight", l.InFlight)
					}
				}
				o.Down = func(err error) { t.Error(err) }
				feed := newCount("test", n)
				publish(t, o, feed)
				feed.wait(t)
				sub.wait(n)
			})
		}
	}
}

func TestMosquitto(t *testing.T) {
	delivers(t, 20, func(t *testing.T) string { return mqtttest.New(t, "allow_anonymous true").Address }, 1, 2)
}

// The broker is killed with messages in its sockets that it has not read. What
// it has acknowledged must have been delivered by then: it keeps that in its own
// memory, which dies with it.
func TestMosquittoIsKilledAndRestarted(t *testing.T) {
	m := mqtttest.New(t, "allow_anonymous true", "persistence true", "persistence_location DIR/", "max_inflight_messages 0")
	const n, kills = 20_000, 5
	sub := subscribe(t, m.Address, "test")
	m.Stop() // it saves the subscription
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	feed := newCount("test", n)
	feed.limit = n / (kills + 1)
	p := mqtt.New(options(m.Address), feed)
	if err := p.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(context.Background(), nil) })
	for i := 1; i <= kills; i++ {
		sub.wait(feed.limit)
		unix.Kill(m.PID(), unix.SIGSTOP)
		feed.raise(n / (kills + 1))
		p.Wake()
		feed.until(t, func() bool { return feed.given > feed.settled+100 })
		m.Kill()
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
	}
	feed.raise(n)
	p.Wake()
	sub.wait(n)
	feed.until(t, func() bool { return feed.settled == n })
	if len(feed.refused) != 0 {
		t.Errorf("refused: %v", feed.refused)
	}
}

func TestMosquittoWithAPassword(t *testing.T) {
	m := mqtttest.New(t, "allow_anonymous false", "password_file "+mqtttest.Passwords(t, "tsem", "secret"))
	for _, v := range []mqtt.Version{mqtt.Auto, mqtt.V311, mqtt.V5} {
		for _, row := range []struct {
			user, password string
			kind           mqtt.Kind
			want           string
		}{
			{"tsem", "secret", 0, ""},
			{"tsem", "wrong", mqtt.BadPassword, "it refuses the user tsem or its password"},
			{"stranger", "secret", mqtt.BadPassword, "it refuses the user stranger or its password"},
			{"", "", mqtt.NotAuthorised, "no connection without user and password"},
		} {
			t.Run(v.String()+" "+row.user+" "+row.password, func(t *testing.T) {
				o := options(m.Address)
				o.Version, o.User = v, row.user
				if row.user != "" {
					o.Password = []byte(row.password)
				}
				p := mqtt.New(o, newCount("test", 1))
				err := p.Connect(t.Context())
				p.Close(t.Context(), nil)
				if mqtt.KindOf(err) != row.kind || row.kind != 0 && !strings.Contains(err.Error(), row.want) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// Under version 5 what an access list denies is known; under 3.1.1 the broker
// says that it has it.
func TestMosquittoDenies(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "acl"), []byte("topic write allowed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := mqtttest.New(t, "allow_anonymous true", "acl_file "+dir+"/acl")
	t.Run("3.1.1", func(t *testing.T) {
		o := options(m.Address)
		o.Version = mqtt.V311
		feed := newCount("denied", 10)
		publish(t, o, feed)
		feed.wait(t)
	})
	t.Run("5", func(t *testing.T) {
		o := options(m.Address)
		o.Version = mqtt.V5
		down := make(chan error, 1)
		o.Down = func(err error) {
			select {
			case down <- err:
			default:
			}
		}
		feed := newCount("denied", 10)
		publish(t, o, feed)
		select {
		case err := <-down:
			if mqtt.KindOf(err) != mqtt.NotAuthorised || !strings.Contains(err.Error(), "it refuses messages to the topic denied") {
				t.Errorf("got %v", err)
			}
		case <-time.After(patience):
			t.Fatal("nobody says that messages are denied")
		}
		feed.mu.Lock()
		defer feed.mu.Unlock()
		if feed.settled != 0 {
			t.Errorf("%d denied messages count as delivered", feed.settled)
		}
	})
}

func roots(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no certificate")
	}
	return pool
}

func TestMosquittoOverTLS(t *testing.T) {
	dir := t.TempDir()
	ca := mqtttest.NewAuthority(t, dir)
	cert, key := ca.Server()
	trusted := &tls.Config{RootCAs: roots(t, ca.File)}
	var foreign *tls.Config
	{
		other := t.TempDir()
		foreign = &tls.Config{RootCAs: roots(t, mqtttest.NewAuthority(t, other).File)}
	}
	clientCert, clientKey := ca.Client()
	pair, err := tls.LoadX509KeyPair(clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	known := &tls.Config{RootCAs: trusted.RootCAs, Certificates: []tls.Certificate{pair}}
	misnamed := &tls.Config{RootCAs: trusted.RootCAs, ServerName: "elsewhere.example"}

	lines := []string{"allow_anonymous true", "certfile " + cert, "keyfile " + key, "cafile " + ca.File}
	secure := mqtttest.New(t, lines...)
	strict := mqtttest.New(t, append(lines, "require_certificate true")...)
	plain := mqtttest.New(t, "allow_anonymous true")
	for _, row := range []struct {
		name   string
		broker *mqtttest.Mosquitto
		config *tls.Config
		kind   mqtt.Kind
		want   string
	}{
		{"private authority", secure, trusted, 0, ""},
		{"client certificate", strict, known, 0, ""},
		{"no client certificate", strict, trusted, mqtt.TLS, "it refuses the TLS connection: certificate required"},
		{"unknown authority", secure, foreign, mqtt.TLS, "an authority that is not known here"},
		{"another name", secure, misnamed, mqtt.TLS, "its certificate is for another name"},
		{"TLS to a plain port", plain, trusted, mqtt.TLS, "TLS"},
		{"plain to a TLS port", secure, nil, mqtt.Closed, "is it a port for TLS?"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := options(row.broker.Address)
			o.TLS = row.config
			feed := newCount("test", 200)
			p := mqtt.New(o, feed)
			err := p.Connect(t.Context())
			if mqtt.KindOf(err) != row.kind || row.kind != 0 && (!strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got kind %d, %v", mqtt.KindOf(err), err)
			}
			if err == nil {
				feed.wait(t)
			}
			p.Close(t.Context(), nil)
		})
	}
}
