// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"quixote-export/internal/model"
)

// suits refuses what the source that was picked cannot do.
func (p *Plan) suits(source string) error {
	if source == SourceTSEM {
		return p.tsemRequest().Check()
	}
	return nil
}

// events is the model under which a source exports; the tsem source has the
// kernel find one by its name.
func (p *Plan) events(source string) (*model.Model, error) {
	if source == SourceTSEM {
		return nil, nil
	}
	return model.Find(p.Model)
}

// exports tells whether the mode exports events.
func (p *Plan) exports() bool {
	switch p.Mode {
	case Show, Drain, InstallCollector, RemoveCollector, CollectorStatus:
		return false
	}
	return true
}

// A rule is one contradiction between flags, and the line that says so.
type rule struct {
	broken func(*Plan) bool
	text   string
}

// rules are tried in order; the first that is broken is told. What a mode is
// made of comes before where its records go.
var rules = []rule{
	{
		func(p *Plan) bool { return p.Mode == Command && len(p.Command) == 0 },
		"-X needs a command: put it behind -- (quixote-export -X -o FILE -- ls -l)",
	},
	{
		func(p *Plan) bool { return p.Mode == Command && p.Command[0] == "" },
		"the command behind -- is an empty word",
	},
	{
		func(p *Plan) bool { return p.Mode != Command && len(p.Command) > 0 },
		"the words behind -- are a command, and only -X runs one: add -X, or leave them out",
	},
	{
		func(p *Plan) bool { return p.Magazine != "" && p.Mode != Container && p.Mode != Show },
		"--magazine is the folder of the containers: add -C or -S, or leave it out",
	},
	{
		func(p *Plan) bool { return p.IncludeRuntime && p.Mode != Container },
		"--include-runtime is about containers: add -C, or leave it out",
	},
	{
		func(p *Plan) bool { return p.Follow && p.Mode != Root },
		"-f follows the root context: add -R, or leave it out",
	},
	{
		func(p *Plan) bool { return p.Queue != 0 && p.Mode != Root },
		"-q groups records of the root context: add -R, or leave it out",
	},
	{
		func(p *Plan) bool { return p.NoShell && !p.Follow },
		"--no-shell says how -f goes on: add -R -f, or leave it out",
	},
	{
		func(p *Plan) bool { return p.NoWait && (p.Mode == Root || p.Mode == Show) },
		"--no-wait is about tasks that a workload leaves behind, and -R and -S have no workload: leave it out",
	},
	{
		func(p *Plan) bool { return p.Source == SourceSeccomp && p.Mode == Root },
		"--source seccomp cannot see the root context: choose tsem, bpf or trace, or leave out -R",
	},
	{
		func(p *Plan) bool { return p.Source == SourceTrace && p.Mode == Container },
		"--source trace cannot follow a container: choose tsem, bpf or seccomp, or leave out -C",
	},
	{
		func(p *Plan) bool {
			return (p.NoCollector || p.IncludeSelf) && p.Mode != Root
		},
		"--no-collector and --include-self are about the export of the whole host: add -R, or leave them out",
	},
	{
		func(p *Plan) bool {
			return len(p.Exclude)+len(p.Only) > 0 && p.Mode != Root && p.Mode != InstallCollector
		},
		"--exclude and --only are about the whole host: add -R or --install-collector, or leave them out",
	},
	{
		func(p *Plan) bool { return p.NoCollector && !p.Follow },
		"--no-collector watches for this run only: add -f, or nothing will be seen",
	},
	{
		func(p *Plan) bool { return p.Cache != 0 && p.Mode == Show },
		"-n is about events, and -S exports none: leave it out",
	},
	{
		func(p *Plan) bool { return p.Mode == Container && p.Workload == "" && p.ModeFlag == "" },
		"nothing says what to run: -X -- COMMAND, -P for a shell, -w NAME for a container (see --help)",
	},
	{
		func(p *Plan) bool { return p.Mode == Container && p.Workload == "" },
		"-C needs the name of a bundle: add -w NAME",
	},
	{
		func(p *Plan) bool {
			return p.exports() && p.Output == "" && p.Broker == "" && p.Endpoint == ""
		},
		"nothing says where the events go: add -o FILE (or -o - for standard output), -b HOST or -e HOST",
	},
	{
		func(p *Plan) bool { return p.Append && p.Output == "" },
		"--append says how the file of -o is opened: add -o FILE, or leave it out",
	},
	{
		func(p *Plan) bool { return p.GoOn && p.Mode == Show },
		"--on-output-error is about what is exported, and -S exports nothing: leave it out",
	},
	{
		func(p *Plan) bool { return p.Output != "" && p.Output == p.Debug },
		"-o and -d name the same file: choose two",
	},
	{
		func(p *Plan) bool { return p.Debug == "-" },
		"-d needs the name of a file: for standard error write -d /dev/stderr",
	},
	{
		func(p *Plan) bool { return p.Port != 0 && p.Broker != "" && p.Endpoint != "" },
		"-p cannot be the port of both -b and -e: write the ports into URLs (mqtt://HOST:PORT)",
	},
	{
		func(p *Plan) bool { return p.Port != 0 && p.Broker == "" && p.Endpoint == "" },
		"-p is the port of a broker or endpoint: add -b HOST or -e HOST, or leave it out",
	},
	{
		func(p *Plan) bool { return p.Port != 0 && (p.namesPort() || hasPort(p.Endpoint)) },
		"-p is given beside a server that has a port: leave one of them out",
	},
	{
		func(p *Plan) bool { return p.Topic != "" && p.Broker == "" && p.Endpoint == "" },
		"-t is the topic of a broker or the index of an endpoint: add -b HOST or -e HOST, or leave it out",
	},
	{
		func(p *Plan) bool { return p.Broker != "" && p.Topic == "" && p.exports() },
		"-b needs the topic to publish to: add -t NAME",
	},
	{
		func(p *Plan) bool {
			return (p.Broker != "" || p.Mode == Drain) && (p.MQTT.Cert != "") != (p.MQTT.Key != "")
		},
		"--cert and --key belong together: add the other one, or leave it out",
	},
	{
		func(p *Plan) bool { return (p.MQTT.CA != "" || p.MQTT.Cert != "") && p.insecure() },
		"--ca and --cert need a secure connection, and -b mqtt:// is none: write mqtts://, or leave them out",
	},
	{
		func(p *Plan) bool { return p.MQTT.StatusTopic != "" && p.MQTT.StatusTopic == p.Topic },
		"--status-topic and -t name the same topic: choose two",
	},
}
