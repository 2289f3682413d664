// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"strings"
	"testing"
)

// plan makes a plan that is in order, and changes it.
func plan(t *testing.T, change func(*Plan)) *Plan {
	t.Helper()
	p, err := NewPlan()
	if err != nil {
		t.Fatal(err)
	}
	p.Mode, p.ModeFlag, p.Command, p.Output = Command, "-X", []string{"/bin/ls", "-l"}, "a.exp"
	if change != nil {
		change(p)
	}
	return p
}

func TestDefaults(t *testing.T) {
	p := plan(t, nil)
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	if p.Workload != "ls" || p.Append || !p.Markers || p.Source != SourceAuto || p.Digest == nil ||
		p.SyncInterval != DefaultSyncInterval || p.NSRefCurrent || p.Timestamp {
		t.Errorf("got %+v", p)
	}
}

func TestWorkloadAndAppendFollowFromTheMode(t *testing.T) {
	for _, row := range []struct {
		mode     Mode
		workload string
		append   bool
	}{{Shell, "bash", false}, {Root, "root", true}, {Show, "", false}} {
		p := plan(t, func(p *Plan) { p.Mode, p.Command = row.mode, nil })
		if row.mode == Show {
			p.Output = ""
		}
		if err := p.Check(); err != nil {
			t.Error(err)
		}
		if p.Workload != row.workload || p.Append != row.append {
			t.Errorf("mode %d: workload %q, append %v", row.mode, p.Workload, p.Append)
		}
	}
	named := plan(t, func(p *Plan) { p.Workload = "demo" })
	if err := named.Check(); err != nil || named.Workload != "demo" {
		t.Errorf("a given name: %q, %v", named.Workload, err)
	}
}

// Every rule is broken by one row, and told by the beginning of its line.
func TestContradictions(t *testing.T) {
	in := func(m Mode, flag string) func(*Plan) {
		return func(p *Plan) { p.Mode, p.ModeFlag, p.Command = m, flag, nil }
	}
	root := in(Root, "-R")
	told := map[string]bool{}
	for _, row := range []struct {
		want   string
		change func(*Plan)
	}{
		{"-X needs a command", func(p *Plan) { p.Command = nil }},
		{"the command behind -- is an empty word", func(p *Plan) { p.Command[0] = "" }},
		{"the words behind -- are a command", func(p *Plan) { p.Mode = Shell }},
		{"--magazine is", func(p *Plan) { p.Magazine = "/m" }},
		{"--include-runtime", func(p *Plan) { p.IncludeRuntime = true }},
		{"-f follows", func(p *Plan) { p.Follow = true }},
		{"-q groups", func(p *Plan) { p.Queue = 5 }},
		{"--no-shell", func(p *Plan) { root(p); p.NoShell = true }},
		{"--no-wait", func(p *Plan) { root(p); p.NoWait = true }},
		{"--source seccomp", func(p *Plan) { root(p); p.Source = SourceSeccomp }},
		{"--source trace", func(p *Plan) { in(Container, "-C")(p); p.Workload = "w"; p.Source = SourceTrace }},
		{"--no-collector and --include-self", func(p *Plan) { p.IncludeSelf = true }},
		{"--exclude and --only", func(p *Plan) { p.Only = []string{"uid:0"} }},
		{"--no-collector watches", func(p *Plan) { root(p); p.NoCollector = true }},
		{"-n is about", func(p *Plan) { in(Show, "-S")(p); p.Output = ""; p.Cache = 64 }},
		{"nothing says what to run", in(Container, "")},
		{"-C needs", in(Container, "-C")},
		{"nothing says where", func(p *Plan) { p.Output = "" }},
		{"--append", func(p *Plan) { p.Output = ""; p.Broker = "h"; p.Append = true }},
		{"--on-output-error", func(p *Plan) { in(Show, "-S")(p); p.GoOn = true }},
		{"-o and -d", func(p *Plan) { p.Debug = p.Output }},
		{"-d needs", func(p *Plan) { p.Debug = "-" }},
		{"-p cannot", func(p *Plan) { p.Broker, p.Endpoint, p.Port = "h", "h", 99 }},
		{"-p is the port", func(p *Plan) { p.Port = 99 }},
		{"-p is given beside", func(p *Plan) { p.Broker, p.Port = "mqtt://h:1", 99 }},
		{"-t is the topic", func(p *Plan) { p.Topic = "t" }},
		{"-b needs", func(p *Plan) { p.Broker = "h" }},
		{"--cert and --key", func(p *Plan) { p.Broker, p.Topic, p.MQTT.Cert = "h", "t", "c" }},
		{"--ca and --cert need", func(p *Plan) { p.Broker, p.Topic, p.MQTT.CA = "mqtt://h", "t", "c" }},
		{"--status-topic and -t", func(p *Plan) { p.Broker, p.Topic, p.MQTT.StatusTopic = "h", "t", "t" }},
	} {
		t.Run(row.want, func(t *testing.T) {
			err := plan(t, row.change).Check()
			if err == nil || !strings.HasPrefix(err.Error(), row.want) {
				t.Fatalf("got %v", err)
			}
			told[err.Error()] = true
		})
	}
	for _, rule := range rules {
		if !told[rule.text] {
			t.Errorf("no row breaks the rule %q", rule.text)
		}
		if strings.Contains(rule.text, "\n") {
			t.Errorf("not one line: %q", rule.text)
		}
	}
}

func TestWhatThisVersionLacks(t *testing.T) {
	if err := plan(t, nil).Available(); err != nil {
		t.Errorf("a command is refused: %v", err)
	}
	for _, row := range []struct {
		flag   string
		change func(*Plan)
	}{
		{"-e", func(p *Plan) { p.Endpoint = "h" }},
	} {
		t.Run(row.flag, func(t *testing.T) {
			err := plan(t, row.change).Available()
			if err == nil || !strings.HasPrefix(err.Error(), row.flag+" (") ||
				!strings.HasSuffix(err.Error(), " is not available in this version") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for _, row := range []struct {
		name   string
		cache  int
		ring   int64
		source string
		want   string // beginnings of the lines
	}{
		{"nothing asked", 0, 0, SourceSeccomp, ""},
		{"cache of another source", 64, 0, SourceSeccomp, "-n has no effect"},
		{"low cache of another source", 2, 0, SourceBPF, "-n has no effect"},
		{"cache", 16, 0, SourceTSEM, ""},
		{"low cache", 15, 0, SourceTSEM, "-n is below 16"},
		{"ring of another source", 0, 4096, SourceTSEM, "--ring has no effect"},
		{"ring", 0, 4096, SourceBPF, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			lines := plan(t, func(p *Plan) { p.Cache, p.Ring = row.cache, row.ring }).Warnings(row.source)
			got := strings.Join(lines, "\n")
			if row.want == "" && got != "" || !strings.HasPrefix(got, row.want) || len(lines) > 1 {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestCheckServer(t *testing.T) {
	for _, row := range []struct {
		server string
		want   string // part of the message, "" when it is one
		port   bool
	}{
		{"broker.example.org", "", false},
		{"broker.example.org:1883", "", true},
		{"10.0.0.1", "", false},
		{"::1", "", false},
		{"[::1]:1883", "", true},
		{"mqtt://broker", "", false},
		{"mqtts://broker:8883/", "", true},
		{"mqtts://[fe80::1]:8883", "", true},
		{"http://broker", "must begin with mqtt:// or mqtts://", false},
		{"mqtt://", "no URL of a host", false},
		{"mqtt://broker:x", "no URL of a host", false},
		{"mqtt://broker:0", "from 1 to 65535", true},
		{"broker:70000", "from 1 to 65535", true},
		{"two words", "neither a host name nor a URL", false},
		{"user@broker", "neither a host name nor a URL", false},
		{"broker/path", "neither a host name nor a URL", false},
		{":1883", "neither a host name nor a URL", false},
	} {
		t.Run(row.server, func(t *testing.T) {
			err := CheckServer(row.server, "mqtt", "mqtts")
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if got := hasPort(row.server); got != row.port {
				t.Errorf("port %v, want %v", got, row.port)
			}
		})
	}
}
