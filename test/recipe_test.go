// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// makeImage makes an image of busybox that says hello and ends with 3, as an OCI
// layout in dir, with the tools of the recipe.
func makeImage(t *testing.T, dir string) {
	t.Helper()
	const script = `umoci init --layout image
umoci new --image image:latest
umoci unpack --image image:latest work
mkdir -p work/rootfs/bin
cp "$(command -v busybox)" work/rootfs/bin/busybox
ln -s busybox work/rootfs/bin/sh
umoci repack --image image:latest work
umoci config --image image:latest --config.cmd sh --config.cmd -c --config.cmd 'echo hel""lo; exit 3'`
	cmd := exec.Command("sh", "-e", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot make an image: %v: %s", err, out)
	}
}

// The recipe of the README makes a bundle of an image, which runs. The image is
// one of this machine instead of a registry's, and the magazine another.
func TestRecipe(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "") // for its name, and what it needs
	need(t, "skopeo", "umoci")
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "\n```\nskopeo copy ")
	recipe, _, closed := strings.Cut("skopeo copy "+rest, "\n```\n")
	lines := strings.Split(recipe, "\n")
	if !found || !closed || len(lines) != 3 {
		t.Fatalf("the README has no recipe of three lines: %q", recipe)
	}
	dir := t.TempDir()
	makeImage(t, dir)
	name := b.name + "-image"
	magazine := filepath.Join(dir, "no", "magazine", "yet")
	for i, line := range lines {
		changed := strings.NewReplacer(
			"docker://docker.io/library/alpine:latest", "oci:image:latest",
			"/var/lib/Quixote/Magazine", magazine,
			"quixote-export", exportProgram(t)+" --magazine "+magazine,
			"alpine", name,
		).Replace(line)
		cmd := exec.Command("sh", "-c", changed)
		cmd.Dir = dir
		if i < 2 {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", changed, err, out)
			}
			continue
		}
		term := onTerminal(t, cmd)
		term.await("hello")
		term.await("nothing lost")
		if status := term.status(); status != 3 {
			t.Errorf("%s: status %d", changed, status)
		}
	}
	if err := b.runc("state", name).Run(); err == nil {
		t.Error("the container is left over")
	}
	stream, err := os.ReadFile(filepath.Join(dir, name+".exp"))
	if err != nil || !strings.Contains(string(stream), `/bin/busybox"`) {
		t.Errorf("the stream does not tell of the program (%v)", err)
	}
}
