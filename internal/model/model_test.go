// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

func TestFind(t *testing.T) {
	for _, m := range All() {
		if found, err := Find(m.Name); err != nil || found.Name != m.Name || len(found.Rules) == 0 {
			t.Errorf("%s: %v, %v", m.Name, found, err)
		}
	}
	if m, err := Find(""); err != nil || m.Name != DefaultName {
		t.Errorf("without a name: %v, %v", m, err)
	}
	if _, err := Find("network "); err == nil || !strings.HasSuffix(err.Error(), "default, exec, files, network, tsem-integrity") {
		t.Errorf("an unknown name: %v", err)
	}
}

// The default keeps what a TSEM kernel exports, whatever the facts.
func TestDefaultKeepsAll(t *testing.T) {
	m := Default()
	for kind := range tsem.All() {
		if got, want := m.Keeps(kind, Facts{}), kind.Info().Export != tsem.NotExported; got != want {
			t.Errorf("%v: %v", kind, got)
		}
	}
}

func TestKeeps(t *testing.T) {
	const program, text = unix.S_IFREG | 0o755, unix.S_IFREG | 0o644
	code, data := uint32(unix.PROT_READ|unix.PROT_EXEC), uint32(unix.PROT_READ)
	for _, test := range []struct {
		model string
		kind  tsem.Type
		facts Facts
		want  bool
	}{
		{"tsem-integrity", tsem.FileOpen, Facts{Root: true, Mode: program}, true},
		{"tsem-integrity", tsem.FileOpen, Facts{Root: true, Mode: unix.S_IFREG | 0o100}, true},
		{"tsem-integrity", tsem.FileOpen, Facts{Root: false, Mode: program}, false},
		{"tsem-integrity", tsem.FileOpen, Facts{Root: true, Mode: text}, false},
		{"tsem-integrity", tsem.FileOpen, Facts{Root: true, Mode: unix.S_IFDIR | 0o755}, false},
		{"tsem-integrity", tsem.MmapFile, Facts{Root: true, Mode: text, Prot: code}, true},
		{"tsem-integrity", tsem.MmapFile, Facts{Root: true, Mode: program, Prot: data}, false},
		{"tsem-integrity", tsem.MmapFile, Facts{Root: false, Mode: program, Prot: code}, false},
		{"tsem-integrity", tsem.InodeGetattr, Facts{Root: true, Mode: program}, false},
		{"exec", tsem.FileOpen, Facts{Mode: program, Flags: ForExec}, true},
		{"exec", tsem.FileOpen, Facts{Root: true, Mode: program}, false},
		{"exec", tsem.MmapFile, Facts{Mode: text, Prot: code}, true},
		{"exec", tsem.MmapFile, Facts{Mode: program, Prot: data}, false},
		{"exec", tsem.SocketCreate, Facts{}, false},
		{"network", tsem.SocketCreate, Facts{}, true},
		{"network", tsem.NetlinkSend, Facts{}, true},
		{"network", tsem.UnixStreamConnect, Facts{}, true},
		{"network", tsem.TunDevOpen, Facts{}, true},
		{"network", tsem.FileOpen, Facts{Root: true, Mode: program}, false},
		{"files", tsem.FileOpen, Facts{Mode: text}, true},
		{"files", tsem.InodeUnlink, Facts{}, true},
		{"files", tsem.MmapFile, Facts{Prot: data}, true},
		{"files", tsem.TaskKill, Facts{}, false},
	} {
		m, err := Find(test.model)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Keeps(test.kind, test.facts); got != test.want {
			t.Errorf("%s: %v %+v: %v", test.model, test.kind, test.facts, got)
		}
	}
}
