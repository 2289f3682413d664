// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import "testing"

func TestParseKey(t *testing.T) {
	for line, want := range map[string]Key{
		"24334335 I--Q---     1 perm 1f3f0000     0 65534 keyring   _uid_ses.0: 1": {
			Serial: 0x24334335, Perm: 0x1f3f0000, GID: noID, Flags: 1<<2 | 1<<9, Type: "keyring", Desc: "_uid_ses.0",
		},
		"0939a28e I--Q---     1 expd 3f010000  1000   100 user      a: b: 6": {
			Serial: 0x0939a28e, Perm: 0x3f010000, UID: 1000, GID: 100, Flags: 1 << 2, Type: "user", Desc: "a: b",
		},
		"17432cb2 IRD---i     1 2w 0f0b0000     0     0 keyring   .blacklist: empty": {
			Serial: 0x17432cb2, Perm: 0x0f0b0000, Flags: 1<<0 | 1<<1 | 1<<5, Type: "keyring", Desc: ".blacklist",
		},
		"00000001 I--Q---     1 perm 3f010000     0     0 keyring   _uid.0: empty": {
			Serial: 1, Perm: 0x3f010000, Flags: 1 << 2, Type: "keyring", Desc: "_uid.0",
		},
	} {
		if got, ok := parseKey(line); !ok || got != want {
			t.Errorf("%s: got %+v, want %+v", line, got, want)
		}
	}
	for _, line := range []string{"", "x", "1 I--Q--- 1 perm zz 0 0 user a: 1", "1 I--Q 1 perm 0 0 0 user a: 1"} {
		if _, ok := parseKey(line); ok {
			t.Errorf("%q was taken for a key", line)
		}
	}
}
