// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package magazine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// object is a JSON object whose members are kept as they were written, in
// their order. Runtimes do not mind the case of names, and merge members of
// one name; the latter is refused here.
type object []member

type member struct {
	name  string
	value json.RawMessage
}

// parseObject reads an object; null is an empty one.
func parseObject(text []byte) (object, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("its config.json is not valid: an object is missing")
	}
	var o object
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("its config.json is not valid JSON: %w", err)
		}
		m := member{name: t.(string)}
		if err := d.Decode(&m.value); err != nil {
			return nil, fmt.Errorf("its config.json is not valid JSON: %w", err)
		}
		if o.find(m.name) >= 0 {
			return nil, fmt.Errorf("its config.json has %q twice in one place", m.name)
		}
		o = append(o, m)
	}
	return o, nil
}

func (o object) find(name string) int {
	for i := range o {
		if strings.EqualFold(o[i].name, name) {
			return i
		}
	}
	return -1
}

// get is nil where there is no such member, or where it is null.
func (o object) get(name string) json.RawMessage {
	if i := o.find(name); i >= 0 && string(o[i].value) != "null" {
		return o[i].value
	}
	return nil
}

// set returns the object with one member changed or added. Values are what
// json can always write.
func (o object) set(name string, value any) object {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	changed := append(object(nil), o...)
	if i := changed.find(name); i >= 0 {
		changed[i].value = raw
		return changed
	}
	return append(changed, member{name, raw})
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), m.value...)
	}
	return append(out, '}'), nil
}
