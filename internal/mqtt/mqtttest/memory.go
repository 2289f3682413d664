// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtttest

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// A Memory is a broker in this process, of mochi-mqtt, that keeps what it is
// given. It can be stopped and started again.
type Memory struct {
	Address string

	limits func(*mochi.Capabilities)
	server *mochi.Server
	door   *door

	mu      sync.Mutex
	got     []Got
	changed chan struct{}
	refuse  func(topic string) bool
}

// Got is a message that a broker was given.
type Got struct {
	Topic   string
	Payload []byte
	Retain  bool
}

// NewMemory starts a broker for a test, which stops it. limits may change what
// it is capable of.
func NewMemory(t testing.TB, limits func(*mochi.Capabilities)) *Memory {
	t.Helper()
	m := &Memory{Address: "127.0.0.1:0", limits: limits, changed: make(chan struct{})}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return m
}

// Start starts it, again if it was stopped.
func (m *Memory) Start() error {
	l, err := net.Listen("tcp", m.Address)
	if err != nil {
		return err
	}
	m.Address = l.Addr().String()
	o := &mochi.Options{
		Capabilities: mochi.NewDefaultServerCapabilities(),
		Logger:       slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	// It drops what a subscriber is too slow for.
	o.Capabilities.MaximumClientWritesPending = 1 << 16
	if m.limits != nil {
		m.limits(o.Capabilities)
	}
	m.server = mochi.New(o)
	if err := m.server.AddHook(&hook{m: m}, nil); err != nil {
		return err
	}
	m.door = &door{Listener: l}
	if err := m.server.AddListener(listeners.NewNet("t", m.door)); err != nil {
		return err
	}
	return m.server.Serve()
}

// patience is how long the server may take to part from those it knows.
const patience = time.Second

// Stop ends it, and all connections.
func (m *Memory) Stop() {
	if m.server == nil {
		return
	}
	m.door.shut()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		m.server.Close()
	}()
	// It waits for ever for who has come in and not been let in yet.
	for {
		select {
		case <-closed:
			m.server = nil
			return
		case <-time.After(patience):
			m.door.clear()
		}
	}
}

// A door is a listener that knows who has come through it.
type door struct {
	net.Listener

	mu       sync.Mutex
	closed   bool
	visitors []net.Conn
	coming   sync.WaitGroup // those that the server has not begun to read from
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	d.visitors = append(d.visitors, conn)
	d.coming.Add(1)
	return &visitor{conn, sync.OnceFunc(d.coming.Done)}, nil
}

// shut lets nobody in any more, and returns when the server counts all who are.
func (d *door) shut() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.Listener.Close()
	d.coming.Wait()
}

// A visitor tells when the server reads from it.
type visitor struct {
	net.Conn
	in func()
}

func (v *visitor) Read(b []byte) (int, error) {
	v.in()
	return v.Conn.Read(b)
}

func (v *visitor) Close() error {
	v.in()
	return v.Conn.Close()
}

// clear ends their connections.
func (d *door) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.visitors {
		conn.Close()
	}
}

// Refuse has it deny messages to some topics; nil: to none.
func (m *Memory) Refuse(refuse func(topic string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = refuse
}

// Got returns what it was given so far.
func (m *Memory) Got() []Got {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.got[:len(m.got):len(m.got)]
}

// Wait waits until something is true of what it was given, a minute at most.
func (m *Memory) Wait(t testing.TB, is func([]Got) bool) []Got {
	t.Helper()
	for late := time.After(time.Minute); ; {
		m.mu.Lock()
		got, changed := m.got[:len(m.got):len(m.got)], m.changed
		m.mu.Unlock()
		if is(got) {
			return got
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("the broker has got %d messages", len(got))
		}
	}
}

// A hook is what a broker asks.
type hook struct {
	mochi.HookBase
	m *Memory
}

func (h *hook) ID() string { return "memory" }

func (h *hook) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck || b == mochi.OnPublish
}

func (h *hook) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (h *hook) OnACLCheck(_ *mochi.Client, topic string, write bool) bool {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return !write || h.m.refuse == nil || !h.m.refuse(topic)
}

func (h *hook) OnPublish(_ *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	m := h.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, Got{pk.TopicName, bytes.Clone(pk.Payload), pk.FixedHeader.Retain})
	close(m.changed)
	m.changed = make(chan struct{})
	return pk, nil
}
