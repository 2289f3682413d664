// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"quixote-export/internal/session"
)

func TestParse(t *testing.T) {
	for _, row := range []struct {
		line string // words, at single blanks
		want func(p *session.Plan) bool
	}{
		{"-X -w demo -o a", func(p *session.Plan) bool {
			return p.Mode == session.Command && p.Workload == "demo" && p.Output == "a" && p.Command == nil
		}},
		{"-Xwdemo -oa -- ls -l -- -x", func(p *session.Plan) bool {
			return p.Workload == "demo" && p.Output == "a" && slices.Equal(p.Command, []string{"ls", "-l", "--", "-x"})
		}},
		{"--execute --workload=demo --output - -- --help", func(p *session.Plan) bool {
			return p.Mode == session.Command && p.Workload == "demo" && p.Output == "-" && slices.Equal(p.Command, []string{"--help"})
		}},
		{"-Xauo - --", func(p *session.Plan) bool {
			return p.Timestamp && p.NSRefCurrent && p.Output == "-" && len(p.Command) == 0
		}},
		{"-X -X -a -a", func(p *session.Plan) bool { return p.Mode == session.Command && p.Timestamp }},
		{"--workload=-x --output=--", func(p *session.Plan) bool { return p.Workload == "-x" && p.Output == "--" }},
		{"--output=a=b", func(p *session.Plan) bool { return p.Output == "a=b" }},
		{"-w-x", func(p *session.Plan) bool { return p.Workload == "-x" }},
		{"-P", func(p *session.Plan) bool { return p.Mode == session.Shell && p.ModeFlag == "-P" }},
		{"-C", func(p *session.Plan) bool { return p.Mode == session.Container && p.ModeFlag == "-C" }},
		{"-S", func(p *session.Plan) bool { return p.Mode == session.Show }},
		{"-Rfq50", func(p *session.Plan) bool { return p.Mode == session.Root && p.Follow && p.Queue == 50 }},
		{"-R -f --no-shell", func(p *session.Plan) bool { return p.NoShell }},
		{"--append --stats --no-wait --abspath --no-markers", func(p *session.Plan) bool {
			return p.Append && p.Stats && p.NoWait && p.Abspath && !p.Markers
		}},
		{"-b mqtt://h -e h -t topic -p 1883", func(p *session.Plan) bool {
			return p.Broker == "mqtt://h" && p.Endpoint == "h" && p.Topic == "topic" && p.Port == 1883
		}},
		{"-p 65535 -n 4096 -q 1", func(p *session.Plan) bool { return p.Port == 65535 && p.Cache == 4096 && p.Queue == 1 }},
		{"-o x", func(p *session.Plan) bool { return p.DigestLimit == 1<<30 }},
		{"--digest-limit 0", func(p *session.Plan) bool { return p.DigestLimit == 0 }},
		{"--digest-limit 7", func(p *session.Plan) bool { return p.DigestLimit == 7 }},
		{"--digest-limit=3G", func(p *session.Plan) bool { return p.DigestLimit == 3<<30 }},
		{"--ring 64M", func(p *session.Plan) bool { return p.Ring == 64<<20 }},
		{"--ring 4096", func(p *session.Plan) bool { return p.Ring == 4096 }},
		{"--ring 1G", func(p *session.Plan) bool { return p.Ring == 1<<30 }},
		{"--magazine /m -M model0 -d log", func(p *session.Plan) bool {
			return p.Magazine == "/m" && p.Model == "model0" && p.Debug == "log"
		}},
		{"-h md5", func(p *session.Plan) bool { return p.Digest != nil }},
		{"--source bpf", func(p *session.Plan) bool { return p.Source == session.SourceBPF }},
		{"--drain-spool -b h", func(p *session.Plan) bool {
			return p.Mode == session.Drain && p.Broker == "h" && len(p.MQTT.Given) == 0
		}},
		{"-b h", func(p *session.Plan) bool {
			return p.MQTT.QoS == 1 && p.MQTT.Version == session.MQTTAuto && p.MQTT.SpoolLimit == 1<<30 && p.MQTT.Drain == 30*time.Second
		}},
		{"--qos 0 --mqtt-version 3.1.1 --user u --password-file f", func(p *session.Plan) bool {
			return p.MQTT.QoS == 0 && p.MQTT.Version == session.MQTT311 && p.MQTT.User == "u" && p.MQTT.PasswordFile == "f" &&
				slices.Equal(p.MQTT.Given, []string{"--qos", "--mqtt-version", "--user", "--password-file"})
		}},
		{"--ca a --cert c --key k --client-id i --status-topic s --offline-start", func(p *session.Plan) bool {
			m := p.MQTT
			return m.CA == "a" && m.Cert == "c" && m.Key == "k" && m.ClientID == "i" && m.StatusTopic == "s" && m.OfflineStart
		}},
		{"--spool d --spool-limit 1T --on-full drop --drain 0s", func(p *session.Plan) bool {
			m := p.MQTT
			return m.Spool == "d" && m.SpoolLimit == 1<<40 && m.OnFull == session.OnFullDrop && m.Drain == 0
		}},
		{"--sync-interval 250ms", func(p *session.Plan) bool { return p.SyncInterval == 250*time.Millisecond }},
	} {
		t.Run(row.line, func(t *testing.T) {
			s, err := parse(flags, strings.Fields(row.line))
			if err != nil {
				t.Fatal(err)
			}
			if !row.want(s.plan) || s.action != actionRun {
				t.Errorf("got %+v", s.plan)
			}
		})
	}
}

func TestHelpAndVersionWinOverWhatFollows(t *testing.T) {
	for line, want := range map[string]action{
		"--help --unknown":    actionHelp,
		"-X --help --version": actionHelp,
		"--version -w":        actionVersion,
		"--sources --help":    actionHelp,
		"--sources":           actionSources,
		"--sources --sources": actionSources,
	} {
		s, err := parse(flags, strings.Fields(line))
		if err != nil || s.action != want {
			t.Errorf("%s: action %d, %v, want %d", line, s.action, err, want)
		}
	}
}

// FuzzParse looks for command lines that crash the parser or are told in more
// than one line.
func FuzzParse(f *testing.F) {
	f.Add("-X\n-wdemo\n--\nls")
	f.Add("--ring=99999999999G\n-p\n-1")
	f.Add("-\xff\n--=\n-=")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse(flags, strings.Split(text, "\n"))
		if (s == nil) == (err == nil) {
			t.Errorf("settings %v, error %v", s, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %q", err)
		}
		if err == nil {
			s.plan.Check()
		}
	})
}

func TestFlagsOfABrokerNeedOne(t *testing.T) {
	for _, name := range slices.Concat(brokerFlags, drainFlags) {
		if !slices.ContainsFunc(flags, func(f flag) bool { return f.long == name }) {
			t.Errorf("there is no flag --%s", name)
		}
	}
	for _, f := range flags {
		if !slices.Contains(brokerFlags, f.long) {
			continue
		}
		word := "--" + f.long
		for _, value := range []string{"", "1", "auto", "16M", "drop", "1s"} {
			words := []string{"-X", "-o", "a", word}
			if f.arg != "" {
				words[3] += "=" + value
			}
			s, err := parse(flags, append(words, "--", "ls"))
			if err != nil {
				continue
			}
			if err := s.plan.Check(); err == nil || !strings.HasPrefix(err.Error(), word+" is about an MQTT broker") {
				t.Errorf("%q: %v", words, err)
			}
			word = ""
			break
		}
		if word != "" {
			t.Errorf("no value fits %s", word)
		}
	}
}
