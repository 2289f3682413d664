// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"fmt"
	"hash"
	"strings"
	"sync"

	"github.com/emmansun/gmsm/sm3"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/ripemd160"
)

// An Algorithm is a hash by the name the kernel's crypto API has for it.
type Algorithm struct {
	Name string
	Size int // of a digest, in bytes

	create func() hash.Hash
	empty  func() Digest
}

// AlgorithmByName finds an algorithm. The error, one line, lists all names. A
// kernel must never be given another name: one that is no plain hash can crash
// it.
func AlgorithmByName(name string) (*Algorithm, error) {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		if a.Name == name {
			return a, nil
		}
		names[i] = a.Name
	}
	return nil, fmt.Errorf("unknown digest %q (known are %s)", name, strings.Join(names, ", "))
}

// New returns a new hash.
func (a *Algorithm) New() hash.Hash { return a.create() }

// Z returns the digest of no bytes, which stands for content that does not
// count. It must not be changed.
func (a *Algorithm) Z() Digest { return a.empty() }

// Zero returns a new digest of zero bytes, the identity of a task before the
// first exec.
func (a *Algorithm) Zero() Digest { return make(Digest, a.Size) }

var algorithms = [...]*Algorithm{
	algorithm("md5", md5.Size, md5.New),
	algorithm("sha1", sha1.Size, sha1.New),
	algorithm("sha224", sha256.Size224, sha256.New224),
	algorithm("sha256", sha256.Size, sha256.New),
	algorithm("sha384", sha512.Size384, sha512.New384),
	algorithm("sha512", sha512.Size, sha512.New),
	algorithm("sha3-224", 28, func() hash.Hash { return sha3.New224() }),
	algorithm("sha3-256", 32, func() hash.Hash { return sha3.New256() }),
	algorithm("sha3-384", 48, func() hash.Hash { return sha3.New384() }),
	algorithm("sha3-512", 64, func() hash.Hash { return sha3.New512() }),
	algorithm("sm3", sm3.Size, sm3.New),
	algorithm("rmd160", ripemd160.Size, ripemd160.New),
	algorithm("blake2b-160", 20, unkeyedBlake2b(20)),
	algorithm("blake2b-256", 32, unkeyedBlake2b(32)),
	algorithm("blake2b-384", 48, unkeyedBlake2b(48)),
	algorithm("blake2b-512", 64, unkeyedBlake2b(64)),
	algorithm("blake2s-256", 32, unkeyedBlake2s),
}

func algorithm(name string, size int, create func() hash.Hash) *Algorithm {
	empty := sync.OnceValue(func() Digest { return create().Sum(nil) })
	return &Algorithm{Name: name, Size: size, create: create, empty: empty}
}

func unkeyedBlake2b(size int) func() hash.Hash {
	return func() hash.Hash {
		h, err := blake2b.New(size, nil)
		if err != nil {
			panic(err) // it refuses only sizes and keys
		}
		return h
	}
}

func unkeyedBlake2s() hash.Hash {
	h, err := blake2s.New256(nil)
	if err != nil {
		panic(err) // it refuses only keys
	}
	return h
}
