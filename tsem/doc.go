// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package tsem is the vocabulary of security events as TSEM, the Trusted
// Security Event Modeling of Linux, exports them: the event types as one table
// (Type, Info), the parts of an event (COE, File, Dentry, …), an Event with one
// of the Cell structs, the other kinds of record, and identities (Hasher).
//
// A record is one line of JSON. AppendJSON writes it, without its line feed,
// in the order of members of a TSEM kernel and with every value a string; it
// does not allocate when the buffer has room. A Parser reads it back.
//
// A record is always valid JSON, whatever the names in it: only the quote, the
// backslash and U+0000 to U+001F are escaped, and valid UTF-8 is not changed.
// A text that is not valid UTF-8 has U+FFFD for each bad byte and is followed
// at once by a member with the suffix _b64 that holds its exact bytes in
// standard base64. The Parser prefers that one.
//
// The package does no input or output and knows no kernel. Values may be used
// by one goroutine at a time; the table and the algorithms by any number.
package tsem
