// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"encoding/binary"
	"hash/crc32"
)

// A frame is some records of one batch, in this order, little endian:
//
//	magic  [4]byte
//	check  uint32  CRC-32C of the four members that follow
//	first  uint64  number of the first record
//	count  uint32  of records
//	size   uint32  of the records, in bytes
//	sum    uint32  CRC-32C of all that follows
//	ends   [count]uint32, the end of each record
//	records
//
// The header has a checksum of its own, so that a damaged record does not hide
// where the next frame begins.
type frame struct {
	first       uint64
	count, size uint32
	sum         uint32
}

// magic begins a frame. Records are UTF-8, so they never contain its first
// byte: what a workload writes into a record cannot pass for a frame.
const magic = "\xffQS\x01"

const (
	headerSize = 4 + 4 + 8 + 4 + 4 + 4
	endSize    = 4

	// maxFrame bounds the records of a frame, unless one alone is longer. A
	// reader holds a frame in memory.
	maxFrame = 256 << 10
	// maxRecord bounds one record: far more than any source makes, far less
	// than would harm a reader.
	maxRecord = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// body is the length of what follows the header.
func (f frame) body() int { return endSize*int(f.count) + int(f.size) }

// length is that of the whole frame.
func (f frame) length() int64 { return headerSize + int64(f.body()) }

// after is the number behind the last record.
func (f frame) after() uint64 { return f.first + uint64(f.count) }

// appendFrame appends all of a frame but the records: those are buf, and ends
// are counted from base bytes before it.
func appendFrame(dst []byte, first uint64, buf []byte, ends []int, base int) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, first)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(ends)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(buf)))
	dst = append(dst, 0, 0, 0, 0)
	for _, end := range ends {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(end-base))
	}
	header, table := dst[start:start+headerSize], dst[start+headerSize:]
	sum := crc32.Update(crc32.Checksum(table, castagnoli), castagnoli, buf)
	binary.LittleEndian.PutUint32(header[24:], sum)
	binary.LittleEndian.PutUint32(header[4:], crc32.Checksum(header[8:], castagnoli))
	return dst
}

// parseHeader reads the header that b begins with, and tells whether there is
// one, undamaged.
func parseHeader(b []byte) (frame, bool) {
	if len(b) < headerSize || string(b[:4]) != magic {
		return frame{}, false
	}
	b = b[:headerSize]
	if binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli) {
		return frame{}, false
	}
	f := frame{
		first: binary.LittleEndian.Uint64(b[8:]),
		count: binary.LittleEndian.Uint32(b[16:]),
		size:  binary.LittleEndian.Uint32(b[20:]),
		sum:   binary.LittleEndian.Uint32(b[24:]),
	}
	// A record has at least its LF.
	ok := f.count > 0 && f.count <= f.size && f.size <= maxFrame+maxRecord && f.after() > f.first
	return f, ok
}

// parseBody checks body and appends the ends of its records to ends, counted
// from the beginning of the records, which it returns.
func (f frame) parseBody(body []byte, ends []int) (records []byte, _ []int, ok bool) {
	if len(body) != f.body() || crc32.Checksum(body, castagnoli) != f.sum {
		return nil, ends, false
	}
	table, records := body[:endSize*f.count], body[endSize*f.count:]
	last := uint32(0)
	for ; len(table) > 0; table = table[endSize:] {
		end := binary.LittleEndian.Uint32(table)
		if end <= last || end > f.size {
			return nil, ends, false
		}
		ends = append(ends, int(end))
		last = end
	}
	return records, ends, last == f.size
}
