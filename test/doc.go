// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package test tests quixote-export from end to end: real programs run under
// it, and what it writes of them is compared with what they did.
//
// Most tests are rows of tables. A row prepares a folder, does one act with
// raw system calls in a process that is watched, and says which records must
// come of it, to the last member. See act.
package test
