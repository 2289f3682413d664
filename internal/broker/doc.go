// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package broker holds what a user says of an MQTT broker: where it is, the
// topic, who we are there, and where records wait while it is away. It checks
// all that before anything runs, and connects to nothing.
//
// An error is one line: what is wrong, and what to do. None has a password in
// it.
package broker
