// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/rogpeppe/go-internal/testscript"

	"quixote-export/internal/record"
	"quixote-export/internal/session"
	"quixote-export/tsem"
)

// TestMain lets the test binary be quixote-export when it is called so.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"quixote-export": main})
}

// TestScripts runs every script of testdata, each a terminal session. The
// command "refuse TEXT ARG..." in them is the function refuse below.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TWO_LINES", "two\nlines")
			// The race detector otherwise waits a second before each exit.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"refuse": refuse},
	})
}

// condition knows [seccomp]: this host offers the source of that name.
func condition(name string) (bool, error) {
	if name != session.SourceSeccomp {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	var sources strings.Builder
	plan, err := session.NewPlan()
	if err != nil {
		return false, err
	}
	if err := session.Sources(&sources, plan); err != nil {
		return false, err
	}
	for line := range strings.Lines(sources.String()) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			return strings.HasPrefix(words[1], "available"), nil
		}
	}
	return false, nil
}

// refuse runs quixote-export with arguments that it must refuse: with status
// 125, one line on standard error that contains the text, nothing on standard
// output, and no file made.
func refuse(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: refuse TEXT [ARG...]")
	}
	before := files(ts)
	err := ts.Exec("sh", append([]string{"-c", `quixote-export "$@"; echo "status $?"`, "sh"}, args[1:]...)...)
	ts.Check(err)
	if got := ts.ReadFile("stdout"); got != "status 125\n" {
		ts.Fatalf("got on standard output %q, want status 125 alone", got)
	}
	line := ts.ReadFile("stderr")
	if !strings.HasPrefix(line, "quixote-export: ") || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		ts.Fatalf("not one line: %q", line)
	}
	if !strings.Contains(line, args[0]) {
		ts.Fatalf("got  %swant %s", line, args[0])
	}
	if after := files(ts); after != before {
		ts.Fatalf("files before: %s, and after: %s", before, after)
	}
}

func files(ts *testscript.TestScript) string {
	entries, err := os.ReadDir(ts.Getenv("WORK"))
	ts.Check(err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return strings.Join(names, " ")
}

func TestHelpFitsATerminal(t *testing.T) {
	for line := range strings.Lines(help) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 || strings.Contains(line, "\t") {
			t.Errorf("%d columns, or a tab: %q", n, line)
		}
	}
}

func TestEveryFlagIsInTheHelpAndTheManual(t *testing.T) {
	manual := readFile(t, "../../doc/quixote-export.1.md")
	rows := map[string]int{}
	for line := range strings.Lines(help) {
		if word := strings.TrimSpace(line); strings.HasPrefix(line, "  ") && strings.HasPrefix(word, "-") {
			rows[strings.Fields(word)[0]]++
		}
	}
	for _, f := range flags {
		long := "--" + f.long
		inHelp, inManual := "      "+long, "\n**"+long+"**"
		if f.short != 0 {
			short := "-" + string(f.short)
			inHelp, inManual = "  "+short+", "+long, "\n**"+short+"**, **"+long+"**"
			rows[short+","]--
		} else {
			rows[long]--
		}
		// A flag with a value shows it, in capitals.
		_, rest, found := strings.Cut(help, "\n"+inHelp+" ")
		shows := found && rest[0] >= 'A' && rest[0] <= 'Z' && strings.ToUpper(strings.Fields(rest)[0]) == strings.Fields(rest)[0]
		if !found || shows != (f.arg != "") {
			t.Errorf("help has no right row that begins with %q", inHelp)
		}
		_, rest, found = strings.Cut(manual, inManual)
		if !found || strings.HasPrefix(rest, " *") != (f.arg != "") {
			t.Errorf("the manual has no right entry that begins with %q", inManual)
		}
	}
	for name, n := range rows {
		if n != 0 {
			t.Errorf("help has %d rows too many for %s", n, name)
		}
	}
}

func TestFlagNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range flags {
		for _, name := range []string{f.long, string(f.short)} {
			if seen[name] && name != "\x00" {
				t.Errorf("two flags are called %s", name)
			}
			seen[name] = true
		}
	}
}

func TestHelpAndManualTellWhatIsMissing(t *testing.T) {
	manual := strings.Join(strings.Fields(readFile(t, "../../doc/quixote-export.1.md")), " ")
	_, manual, _ = strings.Cut(manual, "# LIMITS OF THIS VERSION")
	manual, _, _ = strings.Cut(manual, "# ")
	_, page, _ := strings.Cut(strings.Join(strings.Fields(help), " "), "Not available in this version: ")
	page, _, _ = strings.Cut(page, " Exit status")
	listed := map[string]bool{}
	for _, name := range strings.Split(page, ", ") {
		listed[name] = true
	}
	for _, name := range session.NotAvailable() {
		if !listed[name] {
			t.Errorf("the help page does not say that %s is not available", name)
		}
		delete(listed, name)
		if !strings.Contains(manual, "**"+name+"**") {
			t.Errorf("the manual does not say that %s is not available", name)
		}
	}
	for name := range listed {
		t.Errorf("the help page says that %s is not available", name)
	}
}

func TestTheManualExplainsEveryCause(t *testing.T) {
	manual := readFile(t, "../../doc/quixote-export.1.md")
	for c := range record.Causes() {
		_, meaning, found := strings.Cut(manual, "\n**"+c.String()+"**\n: ")
		meaning, _, _ = strings.Cut(meaning, "\n\n")
		meaning = strings.ToLower(strings.Join(strings.Fields(meaning), " "))
		if want := strings.ToLower(c.Meaning()) + "."; !found || meaning != want {
			t.Errorf("%s: the manual says %q, want %q", c, meaning, want)
		}
	}
}

func TestTheManualListsEveryDigest(t *testing.T) {
	manual := strings.Join(strings.Fields(readFile(t, "../../doc/quixote-export.1.md")), " ")
	_, listed, _ := strings.Cut(manual, "by its name in the kernel: ")
	listed, _, _ = strings.Cut(listed, ". Default")
	listed = strings.ReplaceAll(listed, " or ", ", ")
	_, err := tsem.AlgorithmByName("")
	if err == nil || !strings.Contains(err.Error(), listed) {
		t.Errorf("the manual lists %s\nand a wrong name is answered with %v", listed, err)
	}
}

func TestTheManualPageIsCurrent(t *testing.T) {
	page := md2man.Render([]byte(readFile(t, "../../doc/quixote-export.1.md")))
	if string(page) != readFile(t, "../../doc/quixote-export.1") {
		t.Error("doc/quixote-export.1 is not what its source gives: run go generate ./cmd/...")
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRunReturnsAStatus(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, row := range []struct {
		args []string
		want int
	}{
		{[]string{"--version"}, 0},
		{[]string{"--help"}, 0},
		{nil, statusFailed},
		{[]string{"--unknown"}, statusFailed},
	} {
		if got := run(context.Background(), row.args, null, null, null); got != row.want {
			t.Errorf("%q: status %d, want %d", row.args, got, row.want)
		}
	}
}
