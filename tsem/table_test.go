// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	var all []Type
	for typ := range All() {
		all = append(all, typ)
		if got, ok := TypeByName(typ.String()); !ok || got != typ {
			t.Errorf("TypeByName(%q) is %d, %v", typ, got, ok)
		}
		if typ.String() == "" || typ.Info().Family == "" || typ.Info().cell == nil {
			t.Errorf("row %d is not complete: %+v", typ, typ.Info())
		}
	}
	if len(all) != NumTypes || all[NumTypes-1] != TaskFree || TaskFree != NumTypes {
		t.Errorf("%d types, the last is %v", len(all), all[len(all)-1])
	}
	for _, typ := range []Type{0, NumTypes + 1, 255} {
		if typ.String() != "" {
			t.Errorf("Type(%d) is called %q", typ, typ)
		}
	}
	for range All() {
		break // must not go on
	}
	for _, name := range []string{"", "file_opened", "File_open", "event"} {
		if typ, ok := TypeByName(name); ok {
			t.Errorf("%q is %v", name, typ)
		}
	}
}

func TestTypeByNameDoesNotAllocate(t *testing.T) {
	name := []byte("msg_queue_msgsnd")
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := TypeByName(string(name)); !ok {
			t.Fail()
		}
	}); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

// TestTableAgainstTheFormat compares the table, and what is written for each
// type, with the machine-readable description of the format.
func TestTableAgainstTheFormat(t *testing.T) {
	type member struct{ Path, Format string }
	var events []struct {
		Name, Family, Hook, JSON string
		Async                    bool
		Cell                     []member
	}
	if err := json.NewDecoder(shared(t, "abi", "events.json")).Decode(&events); err != nil {
		t.Fatal(err)
	}
	if len(events) != NumTypes {
		t.Fatalf("%d types there, %d here", len(events), NumTypes)
	}
	export := map[string]Export{"ok": Exported, "malformed": Malformed, "not_exported": NotExported}
	for i, e := range events {
		typ := Type(i + 1)
		info := typ.Info()
		if info.Name != e.Name || e.Hook != e.Name || info.Family != e.Family || info.Async != e.Async || info.Export != export[e.JSON] {
			t.Errorf("row %d is %+v, want %+v", typ, info, e)
		}
		want := make([]string, len(e.Cell))
		for i, m := range e.Cell {
			want[i] = m.Path
		}
		// One address at a time can be written; each in its turn, they make
		// up the members of the description.
		var got []string
		values := make(map[string]string)
		for family := AddrInet; family <= AddrOther; family++ {
			cell := NewCell(typ)
			fill(reflect.ValueOf(cell).Elem())
			if c, ok := cell.(*SockAddrCell); ok {
				c.Addr.Family = family
				if skipped(want, family) {
					continue
				}
			}
			for _, leaf := range leaves(t, cell.appendTo(nil, typ)) {
				if !slices.Contains(got, leaf[0]) {
					got = append(got, leaf[0])
				}
				values[leaf[0]] = leaf[1]
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v:\ngot  %v\nwant %v", typ, got, want)
			continue
		}
		for _, m := range e.Cell {
			if f := formats[m.Format]; f == nil || !f.MatchString(values[m.Path]) {
				t.Errorf("%v: %s is %q, want %s", typ, m.Path, values[m.Path], m.Format)
			}
		}
	}
}

// skipped tells whether a type with members does not have that form of address.
func skipped(members []string, family AddrFamily) bool {
	flow := slices.Contains(members, "addr.af_inet6.flow")
	switch family {
	case AddrInet6:
		return !flow
	case AddrInet6Short:
		return flow
	case AddrUnix:
		return !slices.Contains(members, "addr.af_unix.address")
	case AddrOther:
		return !slices.Contains(members, "addr.af_other.address")
	}
	return false
}

// formats has the greatest and, if signed, negative values of each format, as
// fill makes them.
var formats = map[string]*regexp.Regexp{
	"dec_u16":    regexp.MustCompile(`^65535$`),
	"dec_u32":    regexp.MustCompile(`^4294967295$`),
	"dec_u64":    regexp.MustCompile(`^18446744073709551615$`),
	"dec_s32":    regexp.MustCompile(`^-2147483648$`),
	"dec_s64":    regexp.MustCompile(`^-9223372036854775808$`),
	"oct":        regexp.MustCompile(`^037777777777$`),
	"hex_u32":    regexp.MustCompile(`^0xffffffff$`),
	"hex_u64":    regexp.MustCompile(`^0xffffffffffffffff$`),
	"digest":     regexp.MustCompile(`^abab$`),
	"hexbytes16": regexp.MustCompile(`^(ff){16}$`),
	"text":       regexp.MustCompile(`^<<\?>>$|^root$`),
	"base64":     regexp.MustCompile(`^PDw/Pj4=$`),
}

// fill gives every member of a struct a value, so that none is left out.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if name != "Abspath" && name != "Missing" && name != "DigestMissing" {
				fill(v.Field(i))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("root")
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[Digest]() {
			v.SetBytes([]byte{0xab, 0xab})
		} else {
			v.SetBytes([]byte("<<?>>"))
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1<<v.Type().Bits() - 1)
	case reflect.Int32, reflect.Int64:
		v.SetInt(-1 << (v.Type().Bits() - 1))
	default:
		panic(v.Kind())
	}
}

// leaves returns the path and the value of each member of an object that is no
// object itself, in order.
func leaves(t *testing.T, object []byte) (all [][2]string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(object))
	var path []string
	key := true
	for {
		token, err := d.Token()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("%v: %s", err, object)
		}
		switch token := token.(type) {
		case json.Delim:
			if token == '}' && len(path) > 0 {
				path = path[:len(path)-1]
			}
			key = true
		case string:
			if key {
				path = append(path, token)
			} else {
				all = append(all, [2]string{strings.Join(path, "."), token})
				path = path[:len(path)-1]
			}
			key = !key
		default:
			t.Fatalf("%v is no string: %s", token, object)
		}
	}
}

// Every cell at its extremes is read back as it was.
func TestCellsAtTheirExtremes(t *testing.T) {
	var p Parser
	for typ := range All() {
		for _, extreme := range []bool{false, true} {
			e := fileOpen()
			e.SetCell(typ, NewCell(typ))
			if extreme {
				fill(reflect.ValueOf(e.Cell).Elem())
			}
			if c, ok := e.Cell.(*SockAddrCell); ok {
				c.Addr = Addr{Family: AddrInet6, Port: 1, Flow: 2, Scope: 3}
			}
			r, err := p.Parse(e.AppendJSON(nil))
			if err != nil {
				t.Errorf("%v: %v", typ, err)
				continue
			}
			want := e.AppendJSON(nil)
			if got := r.AppendJSON(nil); !bytes.Equal(got, want) {
				t.Errorf("%v:\ngot  %s\nwant %s", typ, got, want)
			}
			if extreme && !reflect.DeepEqual(r.Event.Cell, e.Cell) {
				t.Errorf("%v: got %+v, want %+v", typ, r.Event.Cell, e.Cell)
			}
		}
	}
}
