// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package session turns the flags of the command into a plan, checks it
// without privileges or side effects, and carries it out: pick a source,
// start the workload, export until it ends, report.
package session

import (
	"path/filepath"
	"time"

	tsemsource "quixote-export/internal/source/tsem"
	"quixote-export/tsem"
)

// A Mode is what is exported: whose events.
type Mode uint8

// The modes. Container is what a plan without a mode flag means.
const (
	Container Mode = iota // a container of the magazine
	Shell                 // an interactive shell
	Command               // one command
	Root                  // the root context: the whole host
	Show                  // nothing: list the magazine
	Drain                 // nothing: deliver what waits for a broker

	InstallCollector // nothing: have the events of the host kept
	RemoveCollector  // nothing: have them kept no longer
	CollectorStatus  // nothing: tell how that fares
)

// Limits of what flags may ask for.
const (
	MinPort = 1
	MaxPort = 65535

	// MaxCache bounds the structures of the kernel's atomic cache: a much
	// larger number makes TSEM kernels crash.
	MaxCache = 4096
	// LowCache is where calls of a workload begin to fail for want of a
	// structure.
	LowCache = 16

	MaxQueue     = 100_000
	DefaultQueue = 100

	// MinRing and MaxRing bound a BPF ring in bytes; it is a power of two.
	MinRing = 4 << 10
	MaxRing = 1 << 30

	MinSyncInterval     = 10 * time.Millisecond
	MaxSyncInterval     = time.Hour
	DefaultSyncInterval = time.Second
)

// DefaultMagazine is the folder of OCI bundles.
const DefaultMagazine = "/var/lib/Quixote/Magazine"

// DefaultDigest is the digest algorithm unless a plan names another.
const DefaultDigest = "sha256"

// DefaultDigestLimit is the size in bytes of the largest file that is hashed.
const DefaultDigestLimit = 1 << 30

// Source names, as in the flag --source.
const (
	SourceAuto    = "auto"
	SourceTSEM    = "tsem"
	SourceBPF     = "bpf"
	SourceTrace   = "trace"
	SourceSeccomp = "seccomp"
)

// SourceNames returns every value of the flag --source.
func SourceNames() []string {
	return []string{SourceAuto, SourceTSEM, SourceBPF, SourceTrace, SourceSeccomp}
}

// A Plan is what the flags ask for. Its zero value is no useful plan: begin
// with NewPlan, set fields, then call Check.
type Plan struct {
	Mode     Mode
	ModeFlag string   // the flag that set the mode, "" for the default
	Command  []string // program and arguments, with Mode Command only
	Workload string   // name; Check fills in the default
	Magazine string   // folder of the bundles, "" for the default

	// What is written of each event.
	NSRefCurrent bool            // ids as in the task's user namespace, not the initial one
	Model        string          // "" for every event
	Digest       *tsem.Algorithm // never nil after NewPlan
	DigestLimit  uint64          // bytes; larger files have no digest
	Timestamp    bool            // add the wall-clock time
	Abspath      bool            // add absolute paths where they differ

	// Where from.
	Source string // one of SourceNames
	Cache  int    // structures of TSEM's atomic cache, 0 for the kernel's default
	IO     bool   // watch reads and writes on sockets too
	// AllowURing lets the workload use io_uring, whose work is not seen.
	AllowURing bool
	// IncludeRuntime begins the events of a container with those of the
	// container runtime inside it.
	IncludeRuntime bool
	Ring           int64 // bytes of the BPF ring, 0 for the source's default
	// NoCollector has the whole host watched by programs that end with us.
	NoCollector bool
	// IncludeSelf exports what the exporter of the whole host does as well.
	IncludeSelf bool
	// Exclude and Only say which of the host's events are left out: see
	// bpf.Filter.
	Exclude, Only []string
	// Pins is where the collector has its names in the kernel, "" for the usual
	// place. It is for tests.
	Pins string
	// SecurityFS is where the control plane of TSEM is looked for, "" for where
	// the kernel has it. It is for tests.
	SecurityFS string

	// Where to.
	Output       string // path, "-" for standard output, "" for none
	Append       bool   // keep what the file holds; Check sets it for Root
	SyncInterval time.Duration
	Markers      bool   // start and end markers
	GoOn         bool   // when an output fails, instead of stopping the workload
	Broker       string // MQTT: host or URL
	Endpoint     string // Elasticsearch: host or URL
	Port         int    // 0 for the protocol's default
	Topic        string
	Queue        int // records a flush and message, 0 for the default
	MQTT         MQTT
	secrets      *secrets // of MQTT, once they were read

	// How it goes on and ends.
	Follow  bool // with Root: go on after the accumulated events
	NoShell bool // with Follow: until a signal
	NoWait  bool // end tasks that the command left behind
	Stats   bool // table by event type at the end

	Debug string // path of the debug log, "" for none
}

// NewPlan returns a plan with the defaults of every flag.
func NewPlan() (*Plan, error) {
	digest, err := tsem.AlgorithmByName(DefaultDigest)
	if err != nil {
		return nil, err
	}
	return &Plan{
		Digest:       digest,
		DigestLimit:  DefaultDigestLimit,
		Source:       SourceAuto,
		SyncInterval: DefaultSyncInterval,
		Markers:      true,
		MQTT:         newMQTT(),
	}, nil
}

// Check refuses contradictions and fills in what follows from other fields.
// It looks at nothing but the plan. An error is one line that names the flags.
func (p *Plan) Check() error {
	for _, rule := range rules {
		if rule.broken(p) {
			return planError(rule.text)
		}
	}
	if err := p.checkBroker(); err != nil {
		return err
	}
	if p.Workload == "" {
		p.Workload = p.defaultWorkload()
	}
	p.Append = p.Append || p.Mode == Root
	p.MQTT.OfflineStart = p.MQTT.OfflineStart || p.Follow
	return nil
}

func (p *Plan) defaultWorkload() string {
	switch p.Mode {
	case Shell:
		return "bash"
	case Command:
		return filepath.Base(p.Command[0])
	case Root:
		return "root"
	}
	return ""
}

// words is the program that the workload begins as, and its arguments.
func (p *Plan) words() []string {
	if p.Mode == Shell {
		return []string{"bash", "-i"}
	}
	return p.Command
}

// securityfs is where the control plane of TSEM is.
func (p *Plan) securityfs() string {
	if p.SecurityFS == "" {
		return tsemsource.DefaultRoot
	}
	return p.SecurityFS
}

// magazine is the folder of the bundles.
func (p *Plan) magazine() string {
	if p.Magazine == "" {
		return DefaultMagazine
	}
	return p.Magazine
}

// Warnings returns a line for each thing the plan asks for that is risky or
// will be without effect, given the source that was picked for it.
func (p *Plan) Warnings(source string) []string {
	var lines []string
	if p.Cache != 0 && source != SourceTSEM {
		lines = append(lines, "-n has no effect: only the tsem source has such a cache, and the events come from "+source)
	}
	if p.Cache != 0 && source == SourceTSEM && p.Cache < LowCache {
		lines = append(lines, "-n is below 16: system calls of the workload can fail for want of an event structure")
	}
	if p.Ring != 0 && source != SourceBPF && source != SourceTrace {
		lines = append(lines, "--ring has no effect: only the sources bpf and trace have a ring, and the events come from "+source)
	}
	if p.DigestLimit != DefaultDigestLimit && source == SourceTSEM {
		lines = append(lines, "--digest-limit has no effect: with the tsem source the kernel hashes files, of any size")
	}
	if (p.Abspath || p.IncludeRuntime) && source == SourceTSEM {
		lines = append(lines, "--abspath and --include-runtime have no effect: the tsem source passes records on as the kernel writes them")
	}
	if p.Abspath && (source == SourceBPF || source == SourceTrace) {
		lines = append(lines, "--abspath has no effect: where a path is told relative to its file system, the source "+source+" does not tell the mount")
	}
	if (p.IO || p.AllowURing) && source != SourceSeccomp {
		lines = append(lines, "--io and --allow-io-uring have no effect: only the seccomp source needs them, and the events come from "+source)
	}
	return lines
}

type planError string

func (e planError) Error() string { return string(e) }
