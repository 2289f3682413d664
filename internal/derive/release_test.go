// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import "testing"

func TestRelease(t *testing.T) {
	for text, want := range map[string]release{"6.1.0-56-cloud-amd64": {6, 1}, "5.10": {5, 10}, "6.12.117+deb12": {6, 12}} {
		if r, ok := parseRelease(text); !ok || r != want {
			t.Errorf("%s is %v", text, r)
		}
	}
	if _, ok := parseRelease("six"); ok {
		t.Error("six is a release")
	}
	if (release{6, 10}).before(release{6, 9}) || !(release{5, 19}).before(release{6, 0}) || (release{6, 1}).before(release{}) {
		t.Error("the order of releases is wrong")
	}
	if running() == (release{}) || !atLeast(release{}) {
		t.Errorf("this is %v", running())
	}
}
