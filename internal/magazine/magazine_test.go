// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package magazine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const plain = `{"ociVersion": "1.0.2", "process": {"args": ["sh"], "cwd": "/"}, "root": {"path": "rootfs"}}`

// bundle makes a bundle with that configuration, none for "", and a rootfs.
func bundle(t *testing.T, magazine, name, config string) string {
	t.Helper()
	dir := filepath.Join(magazine, name)
	if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if config != "" {
		if err := os.WriteFile(filepath.Join(dir, configName), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestProblems(t *testing.T) {
	dir := t.TempDir()
	for _, row := range []struct {
		name, config, want string
		change             func(dir string) error
	}{
		{"good", plain, "", nil},
		{"bare", "", "it has no config.json", nil},
		{"torn", "{\n\"process\": {\n", "its config.json is not valid JSON: line 3: unexpected end", nil},
		{"empty-file", " ", "its config.json is not valid JSON: line 1", nil},
		{"typed", "{\n\"process\": {\"args\": \"sh\"}}", "its config.json is not valid: line 2: process.args cannot be of type string", nil},
		{"list", "[]", "its config.json is not valid: line 1: the whole cannot be of type array", nil},
		{"null", "null", "its config.json names no program", nil},
		{"no-program", `{"process": {"args": []}, "root": {"path": "rootfs"}}`, "its config.json names no program", nil},
		{"no-root", `{"process": {"args": ["sh"]}}`, "its config.json names no root file system", nil},
		{"twice", strings.Replace(plain, "{", `{"Root": {"path": "/"}, `, 1), `has "root" twice`, nil},
		{"no-rootfs", plain, `its root file system "rootfs" does not exist`, func(d string) error { return os.Remove(d + "/rootfs") }},
		{"file-rootfs", plain, `its root file system "rootfs" is not a folder`, func(d string) error {
			return errors.Join(os.Remove(d+"/rootfs"), os.WriteFile(d+"/rootfs", nil, 0o644))
		}},
		{"link-rootfs", plain, `its root file system "rootfs" is a link`, func(d string) error {
			return errors.Join(os.Remove(d+"/rootfs"), os.Symlink("/", d+"/rootfs"))
		}},
		{"fifo", "", "its config.json is not a file", func(d string) error { return unix.Mkfifo(d+"/config.json", 0o644) }},
		{"dir", "", "its config.json is not a file", func(d string) error { return os.Mkdir(d+"/config.json", 0o755) }},
		{"large", strings.Repeat(" ", maxConfig+1), "is larger than", nil},
		{"space in it", plain, "its name is none for a container", nil},
		{"notify", strings.Replace(plain, "{", `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}}, `, 1), "its seccomp profile hands calls to a program of its own", nil},
		{"action", strings.Replace(plain, "{", `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_MAYBE\n"}}, `, 1), `has the unknown action "SCMP_ACT_MAYBE\n"`, nil},
		{"operator", strings.Replace(plain, "{", `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"op": "SCMP_CMP_ABOUT"}]}]}}, `, 1), `has the unknown operator "SCMP_CMP_ABOUT"`, nil},
		{"argument", strings.Replace(plain, "{", `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]}}, `, 1), "has a condition on argument 6", nil},
		{"-dash", plain, "its name is none for a container", nil},
		{"com,ma", plain, "its name is none for a container", nil},
		{"no-default", strings.Replace(plain, "{", `{"linux": {"seccomp": {"syscalls": []}}, `, 1), "its seccomp profile has no default action", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := bundle(t, dir, row.name, row.config)
			if row.change != nil {
				if err := row.change(d); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Open(dir, row.name)
			if row.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), "cannot run the bundle \""+row.name+"\" of "+dir+": ") ||
				!strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
	os.WriteFile(filepath.Join(dir, "README"), nil, 0o644)
	os.Mkdir(filepath.Join(dir, ".git"), 0o755)
	os.Symlink("nowhere", filepath.Join(dir, "dangling"))
	entries, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]error{}
	for _, e := range entries {
		found[e.Name] = e.Problem
	}
	if found["good"] != nil || found["torn"] == nil || found["README"] == nil || len(found) != 26 {
		t.Errorf("listed: %v", found)
	}
	for name, want := range map[string]string{
		"absent": "there is no such bundle", "..": "its name is none", "a/b": "its name is none", "": "its name is none",
		"README": "it is not a folder", "dangling": "it is a link to something that does not exist",
	} {
		if _, err := Open(dir, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNoMagazine(t *testing.T) {
	if _, err := List(filepath.Join(t.TempDir(), "none")); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none"), "a"); err == nil || !strings.HasPrefix(err.Error(), "there is no magazine ") {
		t.Error(err)
	}
	entries, err := List(t.TempDir())
	if err != nil || len(entries) != 0 {
		t.Errorf("an empty one: %v, %v", entries, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o644)
	if _, err := List(file); err == nil || !strings.HasSuffix(err.Error(), ": not a directory") {
		t.Error(err)
	}
	if os.Geteuid() == 0 {
		t.Skip("an unreadable magazine needs a user other than root")
	}
	closed := t.TempDir()
	os.Chmod(closed, 0)
	if _, err := List(closed); err == nil || !strings.HasSuffix(err.Error(), ": permission denied") {
		t.Error(err)
	}
}
