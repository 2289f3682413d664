// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"encoding/hex"
	"strings"
	"testing"
)

// The digests of "abc", as the standards give them: RFC 1321, FIPS 180-4,
// FIPS 202, GB/T 32905 (SM3), the RIPEMD-160 paper, and RFC 7693 (BLAKE2b-512
// and BLAKE2s-256). The shorter forms of BLAKE2b, for which that RFC has no
// vector, were computed with an implementation of other origin.
func TestAlgorithms(t *testing.T) {
	tests := map[string]string{
		"md5":         "900150983cd24fb0d6963f7d28e17f72",
		"sha1":        "a9993e364706816aba3e25717850c26c9cd0d89d",
		"sha224":      "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
		"sha256":      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"sha384":      "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
		"sha512":      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
		"sha3-224":    "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf",
		"sha3-256":    "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
		"sha3-384":    "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25",
		"sha3-512":    "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
		"sm3":         "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
		"rmd160":      "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc",
		"blake2b-160": "384264f676f39536840523f284921cdc68b6846b",
		"blake2b-256": "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319",
		"blake2b-384": "6f56a82c8e7ef526dfe182eb5212f7db9df1317e57815dbda46083fc30f54ee6c66ba83be64b302d7cba6ce15bb556f4",
		"blake2b-512": "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
		"blake2s-256": "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982",
	}
	if len(tests) != len(algorithms) {
		t.Errorf("%d tests for %d algorithms", len(tests), len(algorithms))
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := AlgorithmByName(name)
			if err != nil {
				t.Fatal(err)
			}
			h := a.New()
			h.Write([]byte("abc"))
			if got := hex.EncodeToString(h.Sum(nil)); got != want {
				t.Errorf("digest of abc: got %s, want %s", got, want)
			}
			h.Reset()
			if got := string(h.Sum(nil)); got != string(a.Z()) {
				t.Errorf("Z: got %x, want %x", a.Z(), got)
			}
			if a.Name != name || h.Size() != a.Size || len(a.Zero()) != a.Size || strings.Trim(string(a.Zero()), "\x00") != "" {
				t.Errorf("got name %s, size %d of %d, zero %x", a.Name, a.Size, h.Size(), a.Zero())
			}
		})
	}
}

// Keyed and other non-hash names must never reach a kernel.
func TestUnknownAlgorithms(t *testing.T) {
	for _, name := range []string{"", "SHA256", "sha-256", "hmac(sha256)", "crc32", "sha256\n"} {
		a, err := AlgorithmByName(name)
		if err == nil {
			t.Errorf("%q: got %s", name, a.Name)
			continue
		}
		if s := err.Error(); strings.Contains(s, "\n") || !strings.Contains(s, "md5") || !strings.Contains(s, "blake2s-256") {
			t.Errorf("%q: %s", name, s)
		}
	}
}
