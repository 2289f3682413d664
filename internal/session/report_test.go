// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quixote-export/internal/broker"
	"quixote-export/internal/export"
	"quixote-export/internal/record"
)

func summary(change func(*export.Summary)) export.Summary {
	s := export.Summary{
		Events: 1234, Bytes: 1_234_567, Duration: 3456 * time.Millisecond,
		Sinks:  []export.SinkSummary{{Name: "a.exp", Events: 1234}},
		ByType: []export.TypeCount{{Type: 2, Count: 1200}, {Type: 1, Count: 34}},
	}
	if change != nil {
		change(&s)
	}
	return s
}

func TestReport(t *testing.T) {
	lossy := func(s *export.Summary) {
		s.Source.Add(record.CauseRingFull, 17)
		s.Sinks[0].Losses.Add(record.CauseOutputFull, 5)
		s.Sinks[0].Losses.AddUnknown(record.CauseSyncError)
	}
	const closing = "quixote-export: demo: 1234 events, 1.2 MB in 3.46 s, nothing lost\n"
	table := "    events  type\n      1200  " + export.TypeCount{Type: 2}.Type.String() +
		"\n        34  " + export.TypeCount{Type: 1}.Type.String() + "\n      1234  all\n"
	for _, row := range []struct {
		name     string
		stats    bool
		terminal bool
		summary  export.Summary
		want     string
	}{
		{"nobody looks", false, false, summary(nil), ""},
		{"terminal", false, true, summary(nil), closing},
		{"stats", true, false, summary(nil), table + closing},
		{"losses", false, false, summary(lossy), "quixote-export: demo: 1234 events, 1.2 MB in 3.46 s; lost: 17 ring_full; " +
			"missing from a.exp: 5 output_full, an unknown number sync_error\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var b strings.Builder
			Report(&b, &Plan{Workload: "demo", Stats: row.stats}, row.summary, row.terminal)
			if b.String() != row.want {
				t.Errorf("got\n%swant\n%s", b.String(), row.want)
			}
		})
	}
}

func TestReportIsOneLineWhateverTheName(t *testing.T) {
	var b strings.Builder
	Report(&b, &Plan{Workload: "a\nb\x1b[2Jc\u009b"}, summary(func(s *export.Summary) { s.Events = 1 }), true)
	if got, want := b.String(), "quixote-export: a?b?[2Jc?: 1 event, 1.2 MB in 3.46 s, nothing lost\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSizesAndTimes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB",
		1_500_000_000: "1.5 GB", 1 << 60: "1152921.5 TB",
	} {
		if got := byteSize(n); got != want {
			t.Errorf("%d bytes: %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0.00 s", 1234 * time.Millisecond: "1.23 s", 75 * time.Second: "75 s",
		2*time.Hour + 3*time.Second: "2h0m3s",
	} {
		if got := seconds(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestIsTerminal(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if IsTerminal(f) {
		t.Error("the null device is a terminal")
	}
	f.Close()
	if IsTerminal(f) {
		t.Error("a closed file is a terminal")
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("needs pseudo-terminals: %v", err)
	}
	defer master.Close()
	if !IsTerminal(master) {
		t.Error("a pseudo-terminal is none")
	}
}

func TestDebugLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "debug.log")
	for range 2 {
		log, closer, err := OpenDebug(path)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("started", slog.Int("pid", 7))
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "level=DEBUG msg=started pid=7\n") != 2 {
		t.Errorf("the log holds %q (%v)", text, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", st.Mode(), err)
	}

	log, closer, err := OpenDebug("")
	if err != nil {
		t.Fatal(err)
	}
	log.Error("goes nowhere")
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := OpenDebug(t.TempDir()); err == nil || !strings.HasPrefix(err.Error(), "cannot open the debug log: ") {
		t.Errorf("a folder as log: %v", err)
	}
}

func TestCheckFilesAndSinks(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "a.exp"), filepath.Join(dir, "gone", "a")
	for _, row := range []struct {
		output, debug string
		ok            bool
	}{{good, "", true}, {good, good + ".log", true}, {bad, "", false}, {good, bad, false}, {"", "", true}} {
		p := &Plan{Output: row.output, Debug: row.debug}
		if err := p.CheckFiles(); (err == nil) != row.ok {
			t.Errorf("-o %q -d %q: %v", row.output, row.debug, err)
		}
	}
	// What a broker needs is read, once, since it may come from a pipe.
	t.Setenv(broker.PasswordVariable, "variable")
	password := filepath.Join(dir, "password")
	for _, change := range []func(*Plan){
		func(p *Plan) { p.Broker = "h" },
		func(p *Plan) { p.Mode = Drain },
	} {
		p := &Plan{MQTT: MQTT{PasswordFile: password}}
		change(p)
		if err := p.CheckFiles(); err == nil || !strings.Contains(err.Error(), password) {
			t.Errorf("a password file that is not there: %v", err)
		}
		p.MQTT.PasswordFile, p.MQTT.CA = "", bad
		if err := p.CheckFiles(); err == nil || !strings.Contains(err.Error(), "--ca "+bad) {
			t.Errorf("a certificate that is not there: %v", err)
		}
		p.MQTT.CA = ""
		if err := p.CheckFiles(); err != nil || string(p.secrets.credentials.Password) != "variable" {
			t.Errorf("got %+v, %v", p.secrets, err)
		}
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	write.WriteString("of a pipe\n")
	write.Close()
	piped := &Plan{Broker: "h", Topic: "t", MQTT: MQTT{PasswordFile: fmt.Sprintf("/dev/fd/%d", read.Fd())}}
	if err := piped.CheckFiles(); err != nil {
		t.Fatal(err)
	}
	if c, err := piped.connect("h", ""); err != nil || string(c.credentials.Password) != "of a pipe" {
		t.Errorf("got %+v, %v", c, err)
	}

	sinks, err := (&Plan{Output: good}).Sinks(os.Stdout, nil, nil)
	if err != nil || len(sinks) != 1 || sinks[0].Name() != good {
		t.Errorf("got %v, %v", sinks, err)
	}
	if sinks, err := (&Plan{}).Sinks(os.Stdout, nil, nil); err != nil || len(sinks) != 0 {
		t.Errorf("without outputs: %v, %v", sinks, err)
	}
	if _, err := (&Plan{Output: "/dev/fd/999"}).Sinks(os.Stdout, nil, nil); err == nil {
		t.Error("a descriptor that is not open is a sink")
	}
	if !(&Plan{Output: "-"}).ToStdout() || (&Plan{Output: good}).ToStdout() {
		t.Error("ToStdout is wrong")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("files were made: %v", entries)
	}
}
