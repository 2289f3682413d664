// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package spool is a queue of records on disk, for a sink that can be away.
//
// What it promises:
//   - Records come out in the order in which they went in. They stay until
//     they are acknowledged, also through an end of the program at any moment.
//   - A batch that Append took survives kill -9 of the program. After Sync it
//     survives a power failure; what was appended since the last Sync can be
//     lost in one, from any record on.
//   - A batch that Append refused leaves nothing behind, but for one case: if
//     the disk fails and what was half written cannot be cut off either, whole
//     records of that batch can come out after the next Open.
//   - Nothing damaged is handed out: every frame carries checksums. What is
//     damaged is skipped, and counted in Damage, before the records behind it
//     are handed out.
//   - An acknowledged record does not come out again after kill -9. After a
//     power failure those that were acknowledged since the last Sync can.
//   - A folder has one owner at a time, and a queue that is empty at Close
//     leaves no files and no folder.
//   - Memory does not grow with the queue, and neither writing nor reading
//     allocates anything for a record.
//
// A call of Append or Ack costs a system call or two, a record in it almost
// nothing: give many at a time.
//
// A Queue may be used by several goroutines, one of which reads.
//
// On disk, the records are in segments: files named after the number of their
// first record, deleted when all of them are acknowledged. A segment is a row
// of frames, one or more for each batch. The file "head" tells the number of
// the first record that is not acknowledged.
package spool
