// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	compiled "quixote-export/internal/source/bpf/object"
	"quixote-export/tsem"
)

func readObject(t *testing.T) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(hooksObject))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// sourcesHere skips where the test runs without the sources, as in a virtual
// machine.
func sourcesHere(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("c/hooks.bpf.c"); err != nil {
		t.Skip("the sources of the programs are not here")
	}
}

func TestObjectsAreThoseOfTheirSources(t *testing.T) {
	sourcesHere(t)
	for _, o := range compiled.All {
		if err := o.Current("."); err != nil {
			t.Error(err)
		}
	}
}

func TestObjectsCanBeMadeAgain(t *testing.T) {
	sourcesHere(t)
	for _, o := range compiled.All {
		if here, made := compiled.Compiler(), o.MadeBy("."); here != made {
			t.Skipf("the object was made by %q, and here is %q", made, here)
		}
		again := filepath.Join(t.TempDir(), o.File())
		if err := o.Compile(".", again); err != nil {
			t.Skip(err) // no header of libbpf, or no llvm-strip
		}
		fresh, err := os.ReadFile(again)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(o.File())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(fresh, kept) {
			t.Errorf("the same compiler makes another %s of the sources", o.File())
		}
	}
}

// A reader takes the variables of a collector to be where they are in the objects
// of newer kernels.
func TestObjectsAgreeInTheirVariables(t *testing.T) {
	for _, pair := range [][2][]byte{{hooksObject, oldHooksObject}, {traceObject, oldTraceObject}} {
		var at [2]map[string]string
		for i, object := range pair {
			spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
			if err != nil {
				t.Fatal(err)
			}
			at[i] = make(map[string]string)
			for name, v := range spec.Variables {
				at[i][name] = fmt.Sprint(v.SectionName, v.Offset, v.Size())
			}
		}
		if !maps.Equal(at[0], at[1]) {
			t.Errorf("variables are in different places:\n%v\n%v", at[0], at[1])
		}
	}
}

// Every event type that a TSEM kernel exports has a hook, a program and a
// reader.
func TestEveryEventHasAProgram(t *testing.T) {
	spec := readObject(t)
	at := make(map[string]*hook)
	for i := range hooks {
		h := &hooks[i]
		at[h.name] = h
		p := spec.Programs[h.programName()]
		if p == nil {
			t.Errorf("there is no program %s", h.programName())
		} else if p.AttachTo != h.name {
			t.Errorf("the program %s is on %s, want %s", p.Name, p.AttachTo, h.name)
		}
	}
	for typ := range tsem.All() {
		exported := typ.Info().Export != tsem.NotExported
		if exported && (at[typ.String()] == nil || readers[typ] == nil) {
			t.Errorf("%s: hook %v, reader %v", typ, at[typ.String()] != nil, readers[typ] != nil)
		}
		if !exported && readers[typ] != nil {
			t.Errorf("%s has a reader, and is not exported", typ)
		}
	}
}

// What both sides must agree on is written down on both.
func TestBothSidesAgree(t *testing.T) {
	sourcesHere(t)
	text, err := os.ReadFile("c/wire.h")
	if err != nil {
		t.Fatal(err)
	}
	c := make(map[string]int)
	for _, m := range regexp.MustCompile(`(?m)^#define (\w+) (\w+)`).FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.ParseInt(m[2], 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		c[m[1]] = int(n)
	}
	comments := regexp.MustCompile(`//[^\n]*`)
	for _, m := range regexp.MustCompile(`(?s)enum \w+ \{(.*?)\}`).FindAllStringSubmatch(string(text), -1) {
		next := 0
		for _, word := range strings.Split(comments.ReplaceAllString(m[1], ""), ",") {
			name, value, set := strings.Cut(strings.TrimSpace(word), " = ")
			if n, err := strconv.Atoi(value); err == nil && set {
				next = n
			}
			if name != "" {
				c[name] = next
				next++
			}
		}
	}
	for name, want := range map[string]int{
		"PLACE_ROOT": placeRoot, "PLACE_CHROOT": placeChroot, "PLACE_NAMESPACE": placeNamespace,
		"HEAD_USERS": headUsers, "PATH_DETACHED": pathDetached, "PATH_UNLINKED": pathUnlinked, "PATH_TOO_LONG": pathTooLong, "PATH_UNKNOWN": pathUnknown,
		"CALL_OPEN": int(callOpen), "CALL_RENAME": int(callRename), "CALL_REMOVEXATTR": int(callRemovexattr), "CALL_STATFS": int(callStatfs),
		"CALL_ACCEPT": int(callAccept), "CALL_RECVMMSG": int(callRecvmmsg), "CALL_CAPSET": int(callCapset), "CALL_PTRACE": int(callPtrace),
		"CALL_MOVE_MOUNT": int(callMoveMount), "CALL_KINDS": int(callKinds), "CALLS_MAX": callsMax,
		"CALL_EARLY": howEarly, "CALL_NARROW": howNarrow, "CALL_SPLIT": howSplit, "CALL_COARSE": howCoarse,
		"NOTE_EXEC": noteExec, "NOTE_MADE": noteMade, "NOTE_END": noteEnd,
		"LOST_RING": lostRing, "LOST_TOO_LONG": lostTooLong, "LOST_NESTED": lostNested, "LOST_MEMORY": lostMemory,
		"LOST_TASK": lostTask, "LOST_NOTE": lostNote, "LOST_OWNER": lostOwner, "LOST_CAUSES": lostCauses,
		"HEAD_SIZE": headSize, "INODE_SIZE": inodeSize, "PATH_SIZE": pathSize, "NOTE_SIZE": noteSize,
		"STATE_SIZE": stateSize, "MUTE_AT": muteAt, "ADDRESS_MAX": addrMax,
	} {
		if got, ok := c[name]; !ok || got != want {
			t.Errorf("%s is %d in C (%v), want %d", name, got, ok, want)
		}
	}
}

// A hook whose arguments have moved is left alone.
func TestOtherArgumentsDisableAHook(t *testing.T) {
	pointer := func(name string) btf.Type { return &btf.Pointer{Target: &btf.Struct{Name: name}} }
	number := &btf.Int{Size: 4}
	variant := func(program string) *hook {
		for i := range hooks {
			if hooks[i].programName() == program {
				return &hooks[i]
			}
		}
		t.Fatalf("no program %s", program)
		return nil
	}
	proto := func(types ...btf.Type) *btf.FuncProto {
		p := &btf.FuncProto{Return: number}
		for _, x := range types {
			p.Params = append(p.Params, btf.FuncParam{Type: x})
		}
		return p
	}
	before := proto(pointer("dentry"), pointer("iattr"))
	after := proto(pointer("mnt_idmap"), pointer("dentry"), pointer("iattr"))
	for _, row := range []struct {
		program string
		proto   *btf.FuncProto
		fits    bool
	}{
		{"inode_setattr", after, true},
		{"inode_setattr", before, false},
		{"inode_setattr_1", before, true},
		{"inode_setattr_1", after, false},
		{"bpf", proto(number, pointer("bpf_attr"), number, number), true},
		{"bpf", proto(number, pointer("bpf_attr")), false},
		{"file_open", proto(pointer("file")), true},
		{"file_open", proto(&btf.Pointer{Target: &btf.Const{Type: &btf.Struct{Name: "file"}}}), true},
		{"file_open", proto(pointer("inode")), false},
		{"file_open", proto(number), false},
		{"syslog", proto(&btf.Typedef{Name: "x", Type: number}), true},
		{"syslog", proto(pointer("x")), false},
		{"kernel_module_request", proto(&btf.Pointer{Target: &btf.Int{Size: 1}}), true},
		{"kernel_module_request", proto(number), false},
	} {
		if err := variant(row.program).takes(row.proto); (err == nil) != row.fits {
			t.Errorf("%s with %v: %v", row.program, row.proto.Params, err)
		}
	}
}
