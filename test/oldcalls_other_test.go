// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

//go:build !amd64

package test

// oldTables is empty: newer machines have only the newer calls.
var oldTables map[string][]act
