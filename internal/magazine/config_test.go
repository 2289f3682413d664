// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package magazine

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var someTraps = []Trap{
	{Call: "openat"},
	{Call: "write"},
	{Call: "mmap", When: []specs.LinuxSeccompArg{{Index: 4, Op: specs.OpNotEqual, Value: 0xffffffff}}},
	{Call: "mmap", When: []specs.LinuxSeccompArg{{Index: 2, Op: specs.OpMaskedEqual, Value: 4, ValueTwo: 4}}},
	{Call: "prctl", When: []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpEqualTo, Value: 15}}},
}

// derive gives the derived configuration of a bundle with that one.
func derive(t *testing.T, config string) (b *Bundle, derived []byte, notices []string) {
	t.Helper()
	magazine := t.TempDir()
	bundle(t, magazine, "a", config)
	b, err := Open(magazine, "a")
	if err != nil {
		t.Fatal(err)
	}
	derived, notices, err = b.Derive(Listener{"/run/l", "m", someTraps})
	if err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(filepath.Join(b.Dir, configName)); err != nil || string(now) != config {
		t.Errorf("the bundle has changed: %s (%v)", now, err)
	}
	return b, derived, notices
}

func TestWhatIsNotKnownSurvives(t *testing.T) {
	b, derived, notices := derive(t, `{
		"newer": {"than": ["us", 12345678901234567890, 1e-7, "<&>"]},
		"process": {"args": ["sh"], "newer": null},
		"Root": {"path": "rootfs", "newer": true},
		"mounts": [
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/d", "type": "bind", "source": "data/d", "newer": 1},
			{"destination": "/e", "source": "e", "options": ["rbind", "ro"]},
			{"destination": "/f", "type": "bind", "source": "/abs"}
		],
		"linux": {"newer": {}, "seccomp": {
			"defaultAction": "SCMP_ACT_ERRNO", "newer": 1,
			"syscalls": [{"names": ["read", "openat"], "action": "SCMP_ACT_ALLOW", "comment": "c"}]}}
	}`)
	if len(notices) != 1 {
		t.Errorf("notices: %q", notices)
	}
	want := map[string]any{}
	text := `{
		"newer": {"than": ["us", 12345678901234567890, 1e-7, "<&>"]},
		"process": {"args": ["sh"], "newer": null},
		"Root": {"path": "` + b.Dir + `/rootfs", "newer": true},
		"mounts": [
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/d", "type": "bind", "source": "` + b.Dir + `/data/d", "newer": 1},
			{"destination": "/e", "source": "` + b.Dir + `/e", "options": ["rbind", "ro"]},
			{"destination": "/f", "type": "bind", "source": "/abs"}
		],
		"linux": {"newer": {}, "seccomp": {
			"defaultAction": "SCMP_ACT_ERRNO", "newer": 1, "listenerPath": "/run/l", "listenerMetadata": "m",
			"syscalls": [
				{"names": ["read"], "action": "SCMP_ACT_ALLOW", "comment": "c"},
				{"names": ["openat"], "action": "SCMP_ACT_NOTIFY"}]}}
	}`
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	if err := json.Unmarshal(derived, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s", derived)
	}
}

func TestWithoutAProfileEverythingElseIsAllowed(t *testing.T) {
	_, derived, _ := derive(t, plain)
	spec, err := decode(derived)
	if err != nil {
		t.Fatal(err)
	}
	s := spec.Linux.Seccomp
	if s.DefaultAction != specs.ActAllow || len(s.Architectures) != 2 || s.ListenerPath != "/run/l" || len(s.Syscalls) != 4 {
		t.Errorf("got %+v", s)
	}
	for _, call := range s.Syscalls {
		if call.Action != specs.ActNotify {
			t.Errorf("%v", call)
		}
	}
}

// FuzzConfig looks for configurations that crash, that are told in more than
// one line, or whose derived one is none.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(plain))
	f.Add([]byte(`{"process":{"args":["a"]},"root":{"path":"r"},"mounts":[{"type":"bind","source":"x"},null],"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mmap","openat"],"action":"SCMP_ACT_ERRNO","errnoRet":0,"args":[{"index":0,"value":7,"valueTwo":3,"op":"SCMP_CMP_MASKED_EQ"},{"index":0,"value":9,"op":"SCMP_CMP_LT"}]},null]}}}`))
	f.Add([]byte(`{"LINUX":{"linux":1},"linux":{}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		b := &Bundle{Name: "a", Dir: "/m/a", config: config}
		if _, err := decode(config); err != nil {
			oneLine(t, err)
			return
		}
		derived, _, err := b.Derive(Listener{"/run/l", "m", someTraps})
		if err != nil {
			oneLine(t, err)
			return
		}
		spec, err := decode(derived)
		if err != nil {
			t.Fatalf("%v: %s", err, derived)
		}
		if !filepath.IsAbs(spec.Root.Path) || spec.Linux.Seccomp.ListenerPath != "/run/l" {
			t.Errorf("derived %s", derived)
		}
	})
}

func oneLine(t *testing.T, err error) {
	t.Helper()
	for _, r := range err.Error() {
		if r == '\n' {
			t.Errorf("more than one line: %q", err)
		}
	}
}
