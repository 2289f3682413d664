// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// The debug log tells of each source that auto passes over, and which it takes.
func TestAutoTellsWhatItPassesOver(t *testing.T) {
	p := plan(t, func(p *Plan) { p.Abspath = true })
	var text bytes.Buffer
	name, err := p.pick(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Skip(err)
	}
	if name == SourceBPF {
		t.Error("bpf was taken, which has no absolute paths")
	}
	if !strings.Contains(text.String(), "msg=\"source taken\" source="+name+"\n") {
		t.Errorf("the log does not tell that it is %s:\n%s", name, &text)
	}
	for _, s := range sources(p.securityfs()) {
		if s.name == name {
			break
		}
		if !strings.Contains(text.String(), "msg=\"source passed over\" source="+s.name+" reason=") {
			t.Errorf("the log does not tell why it is not %s:\n%s", s.name, &text)
		}
	}
}
