// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"encoding/binary"
	"hash"
)

// tmpfsMagic is the file system whose UUID is made up at each mount: TSEM
// hashes zero bytes in its place.
const tmpfsMagic = 0x01021994

// sidSize is the room for s_id in the kernel.
const sidSize = 32

// coeSize is the size of a COE: eight ids of 32 bits and 64 capabilities.
const coeSize = 8*4 + 8

// A Hasher computes identities. Reuse it, by one goroutine at a time: it
// keeps its storage.
type Hasher struct {
	hash  hash.Hash
	empty []byte // digest of an empty COE
	zero  Digest
	block []byte
	cell  Digest
}

// NewHasher makes a Hasher with a.
func NewHasher(a *Algorithm) *Hasher {
	h := &Hasher{hash: a.New(), zero: a.Zero()}
	h.hash.Write(make([]byte, coeSize))
	h.empty = h.hash.Sum(nil)
	return h
}

// TaskID appends to dst the TASK_ID of a task that executes program:
//
//	H("bprm_committed_creds" ‖ pTaskID ‖ zero bytes ‖ H(COE) ‖ H(FILE))
//
// where FILE is what the event file_open tells of the program, with the flags
// that it tells there. TSEM computes this before it fills in the COE, which is
// zero bytes therefore, whatever the credentials; so recorded by TSEM kernels
// of 2025, and the rule here. pTaskID is the TASK_ID of the parent when it
// forked. Without the digest of the program the result is not TSEM's.
func (h *Hasher) TaskID(dst, pTaskID Digest, program *File) Digest {
	h.block = appendFileBlock(h.block[:0], program)
	h.hash.Reset()
	h.hash.Write(h.block)
	h.cell = h.hash.Sum(h.cell[:0])

	h.block = append(h.block[:0], BprmCommittedCreds.String()...)
	h.block = append(h.block, pTaskID...)
	h.block = append(h.block, h.zero...)
	h.block = append(h.block, h.empty...)
	h.block = append(h.block, h.cell...)
	h.hash.Reset()
	h.hash.Write(h.block)
	return h.hash.Sum(dst)
}

// The blocks are what TSEM hashes of a part of an event. It takes numbers in
// the order of the host, which is little-endian wherever these programs run;
// so can identities be computed again on any machine.

func appendFileBlock(b []byte, f *File) []byte {
	b = binary.LittleEndian.AppendUint32(b, f.Flags)
	b = appendInodeBlock(b, &f.Inode)
	b = appendPathBlock(b, &f.Path)
	return append(b, f.Digest...)
}

func appendInodeBlock(b []byte, i *Inode) []byte {
	b = binary.LittleEndian.AppendUint32(b, i.UID)
	b = binary.LittleEndian.AppendUint32(b, i.GID)
	b = binary.LittleEndian.AppendUint32(b, i.Mode)
	b = binary.LittleEndian.AppendUint32(b, i.Magic)
	var sid [sidSize]byte
	copy(sid[:], i.SID)
	b = append(b, sid[:]...)
	uuid := i.UUID
	if i.Magic == tmpfsMagic {
		uuid = [16]byte{}
	}
	return append(b, uuid[:]...)
}

// appendPathBlock has the whole path name of a created file, too, before its
// instance and owner: so recorded.
func appendPathBlock(b []byte, p *Path) []byte {
	if p.HasDev {
		b = binary.LittleEndian.AppendUint32(b, p.Dev.Major)
		b = binary.LittleEndian.AppendUint32(b, p.Dev.Minor)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Pathname)))
	b = append(b, p.Pathname...)
	if p.Created {
		b = binary.LittleEndian.AppendUint64(b, p.Instance)
		b = append(b, p.Owner...)
	}
	return b
}
