// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"quixote-export/internal/export"
	"quixote-export/internal/ledger"
	"quixote-export/internal/model"
	"quixote-export/internal/source/bpf"
	"quixote-export/internal/workload"
)

// defaultPins is where a collector has its names in the kernel.
const defaultPins = "/sys/fs/bpf/quixote-export"

// place is where the collector of this host is.
func (p *Plan) place() *bpf.Place {
	if p.Pins == "" {
		return &bpf.Place{Pins: defaultPins, State: filepath.Join(runtimeDir(), "collector")}
	}
	return &bpf.Place{Pins: p.Pins, State: filepath.Join(runtimeDir(), "collector-"+filepath.Base(p.Pins))}
}

func (p *Plan) filter() bpf.Filter { return bpf.Filter{Exclude: p.Exclude, Only: p.Only} }

func (p *Plan) collector(source string) (bpf.CollectorOptions, error) {
	m, err := model.Find(p.Model)
	return bpf.CollectorOptions{Trace: source == SourceTrace, Ring: uint32(p.Ring), Users: p.NSRefCurrent, Model: m, Filter: p.filter()}, err
}

// CheckRule tells whether a word is a rule of --exclude and --only.
func CheckRule(word string) error { return bpf.CheckRule(word) }

// enlist gives the tasks of the workload, in an export of the whole host that
// others make, the number of our context.
func (s *session) enlist() {
	if s.plan.Mode == Root || s.path == "" || os.Geteuid() != 0 {
		return
	}
	if err := s.plan.place().Enlist(s.work.PID, s.will.Context); err != nil {
		s.notice("in exports of the whole host the workload has not the number of its context: " + err.Error())
	}
}

// hosting tells whether the whole host is exported by programs of ours.
func (s *session) hosting() bool { return s.plan.Mode == Root && s.source != SourceTSEM }

// collected tells whether what is recorded stays for the next export.
func (s *session) collected() bool { return s.hosting() && !s.plan.NoCollector }

// keeps tells whether what an output does not take stays for the next export.
func (s *session) keeps() bool {
	return s.collected() && !s.plan.GoOn && !s.drops()
}

// waits is for behind an error of an output that came too late to end the export.
func waits(summary export.Summary) string {
	if !summary.Kept() {
		return ""
	}
	return "; what was not delivered waits for the next export"
}

// again tells of the beginning of a line whether it is that of a record that the
// last export could not deliver. Nil: nothing is delivered again.
func (s *session) again() func(fragment []byte) bool {
	if !s.collected() {
		return nil
	}
	waiting := bytes.Clone(s.ledger.Between(s.ledger.Tail(), s.ledger.Head()))
	return func(fragment []byte) bool {
		return len(fragment) > 0 && (bytes.HasPrefix(waiting, fragment) || bytes.Contains(waiting, append([]byte{'\n'}, fragment...)))
	}
}

// prepareHost opens the memory for records; where a collector keeps them, that is
// locked, and installed if there is none yet. The result gives it back.
func (s *session) prepareHost() (leave func(), err error) {
	if s.plan.NoCollector {
		s.ledger, err = ledger.New(ledger.DefaultSize)
		return func() {}, err
	}
	place := s.plan.place()
	if err := ownDir(runtimeDir()); err != nil {
		return nil, err
	}
	lock, err := place.Lock()
	if err != nil {
		return nil, err
	}
	if err = s.installed(place); err == nil {
		s.ledger, err = place.Ledger()
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return func() { lock.Close() }, nil
}

// installed makes sure that there is a collector, and one that collects what is
// asked for.
func (s *session) installed(place *bpf.Place) error {
	about, err := place.About()
	if errors.Is(err, bpf.ErrNoCollector) {
		o, err := s.plan.collector(s.source)
		if err != nil {
			return err
		}
		s.model = o.Filter.Narrow(o.Model)
		if err := place.Install(o); err != nil {
			return err
		}
		if about, err := place.About(); err == nil {
			s.log.Info("the collector is installed", "source", s.source, "not seen", about.Unseen())
		}
		s.notice("the collector is started: events of this host are kept from now on, until a reboot or --remove-collector")
		return nil
	}
	if err != nil {
		return err
	}
	s.source = SourceBPF
	if about.Trace {
		s.source = SourceTrace
	}
	s.log.Info("the collector is there", "source", s.source, "since", about.Since, "not seen", about.Unseen())
	s.model, err = s.plan.ofCollector(about)
	return err
}

// ofCollector is the model of a collector that is installed. What else the plan
// asks for has to be what it was installed with.
func (p *Plan) ofCollector(about *bpf.About) (*model.Model, error) {
	if err := about.Ours(); err != nil {
		return nil, err
	}
	differs := ""
	switch {
	case p.Source == SourceTrace != about.Trace && p.Source != SourceAuto:
		differs = "--source"
	case p.NSRefCurrent && !about.Users:
		differs = "-u"
	case p.Model != "" && p.Model != about.Model:
		differs = "-M"
	case p.Ring != 0 && uint32(p.Ring) != about.Ring:
		differs = "--ring"
	case !p.filter().None() && !p.filter().Equal(about.Filter):
		differs = "--exclude or --only"
	}
	if differs != "" {
		return nil, fmt.Errorf("the collector was installed with another %s: leave it out, or take the collector away (--remove-collector) and begin anew", differs)
	}
	m, err := model.Find(about.Model)
	if err != nil {
		return nil, err
	}
	return about.Filter.Narrow(m), nil
}

// startHost begins to export the host, and makes the shell if there is to be one.
func (s *session) startHost() error {
	work, err := workload.Start(s.spec(wayRoot))
	if err != nil {
		return err
	}
	s.work = work
	group := s.plan.Queue
	if group == 0 {
		group = DefaultQueue
	}
	o := bpf.HostOptions{
		Ledger: s.ledger, Algorithm: s.plan.Digest, DigestLimit: s.plan.DigestLimit,
		Current: s.plan.NSRefCurrent, Timestamp: s.plan.Timestamp,
		Group: group, Follow: s.plan.Follow, IncludeSelf: s.plan.IncludeSelf, Log: s.log,
	}
	src, err := s.openHost(o)
	if err != nil {
		if s.path != "" {
			s.giveUp()
		} else {
			s.work.Finish()
		}
		return err
	}
	s.src = src
	return nil
}

func (s *session) openHost(o bpf.HostOptions) (*bpf.Host, error) {
	if !s.plan.NoCollector {
		o.Model = s.model
		return s.plan.place().Open(o)
	}
	c, err := s.plan.collector(s.source)
	if err != nil {
		return nil, err
	}
	o.Model = c.Filter.Narrow(c.Model)
	return bpf.OpenAlone(c, o)
}

// collect installs or removes the collector, or tells how it fares.
func collect(p *Plan, w io.Writer, notice func(string), log *slog.Logger) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s is for root", p.ModeFlag)
	}
	if err := ownDir(runtimeDir()); err != nil {
		return err
	}
	place := p.place()
	if p.Mode == CollectorStatus {
		return p.tellCollector(w, place)
	}
	lock, err := place.Lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	if p.Mode == RemoveCollector {
		err := place.Remove()
		if errors.Is(err, bpf.ErrNoCollector) {
			notice("no collector is installed")
			return nil
		}
		return err
	}
	name, err := p.pick(log)
	if err != nil {
		return err
	}
	if name == SourceTSEM {
		notice("nothing is to be installed: the kernel keeps the events of the root context itself")
		return nil
	}
	if about, err := place.About(); err == nil {
		if _, err := p.ofCollector(about); err != nil {
			return err
		}
		notice("the collector is installed already")
		return nil
	}
	o, err := p.collector(name)
	if err != nil {
		return err
	}
	return place.Install(o)
}

// tellCollector writes how the collector fares.
func (p *Plan) tellCollector(w io.Writer, place *bpf.Place) error {
	st, err := place.Status()
	if err != nil {
		return err
	}
	var b strings.Builder
	line := func(name, format string, a ...any) {
		fmt.Fprintf(&b, "%-12s "+format+"\n", append([]any{name}, a...)...)
	}
	line("installed", "%s", st.Since.UTC().Format(time.RFC3339))
	if st.Trace {
		line("programs", "%s, on %d tracepoints of system calls and tasks", SourceTrace, len(st.Hooks))
	} else {
		line("programs", "%s, on %d hooks", SourceBPF, len(st.Hooks))
	}
	line("model", "%s", st.Model)
	for _, word := range st.Filter.Exclude {
		line("excluded", "%s", word)
	}
	for _, word := range st.Filter.Only {
		line("only", "%s", word)
	}
	line("ring", "%d of %d bytes wait to be exported", st.Used, st.Ring)
	line("notes", "%d of %d bytes", st.Notes, st.NotesRing)
	var causes []string
	for cause := range st.Lost {
		causes = append(causes, cause)
	}
	slices.Sort(causes)
	for _, cause := range causes {
		line("lost", "%d (%s)", st.Lost[cause], cause)
	}
	if len(causes) == 0 {
		line("lost", "none")
	}
	exported := "nobody just now"
	if st.Busy {
		exported = "a quixote-export that is running"
	}
	line("exported by", "%s", exported)
	line("hooks", "%s", strings.Join(st.Hooks, " "))
	if unseen := st.Unseen(); len(unseen) > 0 {
		line("not seen", "%s", strings.Join(unseen, ", "))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("cannot write to standard output: %w", err)
	}
	return nil
}
