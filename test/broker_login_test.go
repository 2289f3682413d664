// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"

	"quixote-export/internal/mqtt/mqtttest"
)

// The password comes from the environment or from a file, the workload does
// not see it, and nobody reads it anywhere.
func TestBrokerPassword(t *testing.T) {
	needSeccomp(t)
	const secret = "not for others"
	m := mqtttest.New(t, "allow_anonymous false", "password_file "+mqtttest.Passwords(t, "tsem", secret))
	s := subscribe(t, m, "-u", "tsem", "-P", secret)
	dir := openDir(t)
	for name, mode := range map[string]os.FileMode{"password": 0o600, "open": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret+"\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	args := func(more ...string) []string {
		all := []string{"-X", "-w", "demo", "-b", m.Address, "-t", "test", "--spool", "spool", "-o", "a.exp", "-d", "a.log"}
		return append(append(all, more...), "--", "sh", "-c", ": > ran; cat /proc/$$/environ > environ")
	}
	check := func(said string) {
		t.Helper()
		if file := contents(t, dir, "a.exp"); !bytes.Equal(s.take(bytes.Count(file, []byte{'\n'})), file) {
			t.Error("what came is not what the file has")
		}
		for name, text := range map[string][]byte{"standard error": []byte(said), "log": contents(t, dir, "a.log"), "workload": contents(t, dir, "environ")} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("the password is shown to %s: %q", name, text)
			}
		}
		os.Remove(filepath.Join(dir, "ran"))
	}
	check(publishWith(t, secret, dir, 0, args()...))
	// But for the password the environment is ours.
	want := publisher(t, dir).Environ()
	got := strings.Split(strings.TrimSuffix(string(contents(t, dir, "environ")), "\x00"), "\x00")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the environment is\n%q, of ours\n%q", got, want)
	}
	check(publish(t, dir, 0, args("--password-file", "password")...))
	check(publishWith(t, "wrong", dir, 0, args("--password-file", "password")...)) // the flag comes first
	for _, row := range []struct {
		password string
		flags    []string
		want     string
	}{
		{"", nil, "it takes no connection without user and password"},
		{"wrong", nil, "it refuses the user tsem or its password"},
		{secret, []string{"--user", "stranger"}, "it refuses the user stranger or its password"},
		{secret, []string{"--password-file", "open"}, "others can read or change it, its mode is 644 (chmod 600 open)"},
		{secret, []string{"--password-file", "gone"}, "cannot open the MQTT password file gone: no such file or directory"},
	} {
		versions := []string{"auto"}
		if strings.HasPrefix(row.want, "it ") { // the broker says so
			versions = []string{"auto", "3.1.1", "5"}
		}
		for _, version := range versions {
			oneLine(t, publishWith(t, row.password, dir, 125, args(append(row.flags, "--mqtt-version", version)...)...), row.want)
			if exists(dir, "ran") {
				t.Fatalf("%s: it has run", row.want)
			}
		}
	}
	if exists(dir, "spool") && len(entries(t, dir, "spool")) != 0 {
		t.Error("something is left in the spool")
	}
}

func entries(t *testing.T, dir, name string) []os.DirEntry {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Under version 5 the broker says what its access rules deny. Under 3.1.1 it
// says that it has it; that this cannot be seen is told, once.
func TestBrokerDenies(t *testing.T) {
	needSeccomp(t)
	dir := openDir(t)
	if err := os.WriteFile(filepath.Join(dir, "acl"), []byte("topic read #\ntopic write test/allowed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := mqtttest.New(t, "allow_anonymous true", "acl_file "+dir+"/acl")
	s := subscribe(t, m)
	run := func(status int, topic, version string) string {
		return publish(t, dir, status, "-X", "-w", "demo", "-b", m.Address, "-t", topic, "--mqtt-version", version,
			"--spool", "spool", "-o", "a.exp", "--", "true")
	}
	for _, version := range []string{"5", "3.1.1"} {
		said := run(0, "test/allowed", version)
		if file := contents(t, dir, "a.exp"); !bytes.Equal(s.take(bytes.Count(file, []byte{'\n'})), file) {
			t.Error("what came is not what the file has")
		}
		if version == "5" && said != "" {
			t.Errorf("said %q", said)
		}
	}
	oneLine(t, run(0, "test/denied", "3.1.1"), "speaks MQTT 3.1.1: it does not say when its access rules refuse a message")
	said := run(123, "test/denied", "5")
	if !strings.Contains(said, "it refuses messages to the topic test/denied (not authorised)") || !strings.Contains(said, "not delivered to") {
		t.Errorf("said %q", said)
	}
	// What was refused is kept, until the rules are other ones.
	if err := os.WriteFile(filepath.Join(dir, "acl"), []byte("topic read #\ntopic write test/#\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.Stop()
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	s = subscribe(t, m)
	publish(t, dir, 0, "--drain-spool", "--spool", "spool")
	if file := contents(t, dir, "a.exp"); !bytes.Equal(s.take(bytes.Count(file, []byte{'\n'})), file) {
		t.Error("what came is not what the file has")
	}
}

func TestBrokerOverTLS(t *testing.T) {
	needSeccomp(t)
	dir := openDir(t)
	ca := mqtttest.NewAuthority(t, dir)
	other := mqtttest.NewAuthority(t, t.TempDir())
	issue := func(name string, change func(*x509.Certificate)) []string {
		template := &x509.Certificate{
			Subject:     pkix.Name{CommonName: name},
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if change != nil {
			change(template)
		}
		cert, key := ca.Issue(name, template)
		return []string{cert, key}
	}
	expire := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	}
	broker := func(files []string, more ...string) *mqtttest.Mosquitto {
		return mqtttest.New(t, append([]string{"allow_anonymous true", "cafile " + ca.File, "certfile " + files[0], "keyfile " + files[1]}, more...)...)
	}
	good := broker(issue("good", nil))
	strict := broker(issue("strict", nil), "require_certificate true")
	expired := broker(issue("expired", expire))
	misnamed := broker(issue("misnamed", func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"elsewhere.example"} }))
	plain := mqtttest.New(t, "allow_anonymous true")
	ours, old := issue("ours", nil), issue("old", expire)
	foreignCert, foreignKey := other.Client()
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		m      *mqtttest.Mosquitto
		flags  []string
		status int
		want   string
	}{
		{"private authority", good, []string{"--ca", ca.File}, 0, ""},
		{"certificate of ours", strict, []string{"--ca", ca.File, "--cert", ours[0], "--key", ours[1]}, 0, ""},
		{"authorities of the system", good, nil, 125, "its certificate is signed by an authority that is not known here"},
		{"another authority", good, []string{"--ca", other.File}, 125, "its certificate is signed by an authority that is not known here"},
		{"another name", misnamed, []string{"--ca", ca.File}, 125, "its certificate is for another name"},
		{"expired", expired, []string{"--ca", ca.File}, 125, "its certificate is not valid: x509: certificate has expired"},
		{"no certificate of ours", strict, []string{"--ca", ca.File}, 125, "it refuses the TLS connection: certificate required"},
		{"a foreign certificate", strict, []string{"--ca", ca.File, "--cert", foreignCert, "--key", foreignKey}, 125, "it refuses the TLS connection"},
		{"expired, of ours", strict, []string{"--ca", ca.File, "--cert", old[0], "--key", old[1]}, 125, "the certificate has expired on"},
		{"the key of another", strict, []string{"--ca", ca.File, "--cert", ours[0], "--key", old[1]}, 125, "do not fit together"},
		{"no key", strict, []string{"--ca", ca.File, "--cert", ours[0]}, 125, "--cert and --key belong together"},
		{"no authority in the file", good, []string{"--ca", "empty"}, 125, "--ca empty: it holds no certificate in PEM form"},
		{"no file", good, []string{"--ca", "gone"}, 125, "--ca gone: cannot read it: no such file or directory"},
		{"TLS to a plain port", plain, []string{"--ca", ca.File}, 125, "TLS"},
	} {
		t.Run(row.name, func(t *testing.T) {
			args := append([]string{"-X", "-w", "demo", "-b", "mqtts://" + row.m.Address, "-t", "test", "--spool", "spool", "-o", "a.exp"}, row.flags...)
			args = append(args, "--", "touch", "ran")
			os.Remove(filepath.Join(dir, "ran"))
			if row.status != 0 {
				oneLine(t, publish(t, dir, row.status, args...), row.want)
				if exists(dir, "ran") {
					t.Error("it has run")
				}
				return
			}
			// A subscriber of that protocol that is not ours.
			args = append([]string{"--mqtt-version", "3.1.1"}, args...)
			s := subscribe(t, row.m, "--cafile", ca.File, "--cert", ours[0], "--key", ours[1])
			publish(t, dir, 0, args...)
			if file := contents(t, dir, "a.exp"); !bytes.Equal(s.take(bytes.Count(file, []byte{'\n'})), file) {
				t.Error("what came is not what the file has")
			}
		})
	}
	t.Run("plain to a TLS port", func(t *testing.T) {
		oneLine(t, publish(t, dir, 125, "-X", "-b", "mqtt://"+good.Address, "-t", "test", "--spool", "spool", "--", "true"), "is it a port for TLS?")
	})
}

// What is wrong at the start is one line and status 125, and nothing runs.
func TestBrokerRefusals(t *testing.T) {
	needSeccomp(t)
	t.Parallel() // some take as long as a broker may
	m := mqtttest.New(t, "allow_anonymous true")
	_, port, _ := net.SplitHostPort(m.Address)
	humble := mqtttest.NewMemory(t, func(c *mochi.Capabilities) { c.MaximumQos, c.RetainAvailable = 0, 0 })
	web := listenTCP(t, func(c net.Conn) {
		c.Read(make([]byte, 1000)) // or the answer is thrown away with what was not read
		c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	})
	silent := listenTCP(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	nobody := listenTCP(t, nil)
	for _, row := range []struct {
		name  string
		flags []string
		want  string
	}{
		{"nobody listens", []string{"-b", nobody, "-t", "test"}, "nothing listens on port"},
		{"no such host", []string{"-b", "nosuch.invalid", "-t", "test"}, "nosuch.invalid"},
		{"no MQTT", []string{"-b", web, "-t", "test"}, "it does not answer in MQTT"},
		{"no answer", []string{"-b", silent, "-t", "test"}, "it takes connections, but does not answer within 10s"},
		{"no answer in TLS", []string{"-b", "mqtts://" + silent, "-t", "test"}, "no answer in TLS within 10s"},
		{"no answer, though it may be away", []string{"-b", web, "-t", "test", "--offline-start"}, "it does not answer in MQTT"},
		{"no QoS", []string{"-b", humble.Address, "-t", "test", "--mqtt-version", "5"}, "it takes messages of QoS 0 at most, not of QoS 1"},
		{"no retained messages", []string{"-b", humble.Address, "-t", "test", "--mqtt-version", "5", "--qos", "0", "--status-topic", "s"}, "retain not supported"},
		{"no topic", []string{"-b", m.Address}, "-b needs the topic to publish to"},
		{"wildcard", []string{"-b", m.Address, "-t", "test/+"}, "-t: "},
		{"wildcard for all", []string{"-b", m.Address, "-t", "test/#"}, "-t: "},
		{"empty level", []string{"-b", m.Address, "-t", "test//a"}, "-t: the topic has an empty level"},
		{"topic of the broker", []string{"-b", m.Address, "-t", "$SYS/a"}, "-t: "},
		{"unknown name in the topic", []string{"-b", m.Address, "-t", "test/{name}"}, "-t: "},
		{"two ports", []string{"-b", m.Address, "-p", port, "-t", "test"}, "-p is given beside a server that has a port"},
		{"URL of something else", []string{"-b", "http://" + m.Address, "-t", "test"}, "mqtt://"},
		{"password in the URL", []string{"-b", "mqtt://tsem:secret@" + m.Address, "-t", "test"}, "others see the command line"},
		{"spool that cannot be", []string{"-b", m.Address, "-t", "test", "--spool", "/dev/null/spool"}, "--spool"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			dir := openDir(t)
			said := publish(t, dir, 125, slices.Concat([]string{"-X", "--spool", "spool"}, row.flags, []string{"-o", "a.exp", "--", "touch", "ran"})...)
			oneLine(t, said, row.want)
			if strings.Contains(said, "secret") {
				t.Errorf("the password is shown: %s", said)
			}
			for _, e := range entries(t, dir, ".") {
				if e.Name() != "spool" || len(entries(t, dir, "spool")) > 0 {
					t.Errorf("%s is there", e.Name())
				}
			}
		})
	}
}

// listenTCP serves connections in turn with serve, on a port of the loopback;
// nil: nobody listens there.
func listenTCP(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if serve == nil {
		l.Close()
		return l.Addr().String()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(outagePatience))
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

// The address of a broker is written in many ways.
func TestBrokerAddresses(t *testing.T) {
	needSeccomp(t)
	for _, version := range []struct{ listen, host string }{{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}} {
		l, err := net.Listen("tcp", net.JoinHostPort(version.listen, "0"))
		if err != nil {
			t.Skipf("needs the address %s: %v", version.listen, err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		l.Close()
		m := mqtttest.New(t, "allow_anonymous true", "listener "+port+" "+version.listen, "allow_anonymous true")
		s := subscribe(t, m)
		hostPort := net.JoinHostPort(version.host, port)
		ways := [][]string{{"-b", version.host, "-p", port}, {"-b", hostPort}, {"-b", "mqtt://" + hostPort}, {"-b", "MQTT://" + hostPort + "/"}}
		if version.host == "127.0.0.1" {
			ways = append(ways, []string{"-b", "localhost", "-p", port})
		}
		for _, way := range ways {
			dir := openDir(t)
			publish(t, dir, 0, slices.Concat([]string{"-X", "--spool", "spool", "-t", "test"}, way, []string{"-o", "a.exp", "--", "true"})...)
			if file := contents(t, dir, "a.exp"); !bytes.Equal(s.take(bytes.Count(file, []byte{'\n'})), file) {
				t.Errorf("%q: what came is not what the file has", way)
			}
		}
	}
}
