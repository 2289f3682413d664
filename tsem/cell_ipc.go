// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// IPCCell is the cell of the events of shared memory (shmflg, cmd), semaphores
// (semflg, cmd) and message queues (msqflg, cmd) with one argument.
type IPCCell struct {
	Perm  Perm
	Value int32
}

func (c *IPCCell) appendTo(b []byte, t Type) []byte {
	b = c.Perm.appendTo(append(b, `{"perm": `...))
	b = append(append(b, `, "`...), t.Info().names[0]...)
	b = appendInt(append(b, `": "`...), int64(c.Value))
	return append(b, `"}`...)
}

func (c *IPCCell) read(p *Parser, t Type) {
	*c = IPCCell{}
	for at := p.begin(); p.more(&at); {
		p.perm("perm", &c.Perm)
		p.i32(t.Info().names[0], &c.Value)
	}
}

// SemopCell is the cell of sem_semop.
type SemopCell struct {
	Perm  Perm
	NSops uint32
	Alter int32
}

func (c *SemopCell) appendTo(b []byte, _ Type) []byte {
	b = c.Perm.appendTo(append(b, `{"perm": `...))
	b = appendUint(append(b, `, "nsops": "`...), uint64(c.NSops))
	b = appendInt(append(b, `", "alter": "`...), int64(c.Alter))
	return append(b, `"}`...)
}

func (c *SemopCell) read(p *Parser, _ Type) {
	*c = SemopCell{}
	for at := p.begin(); p.more(&at); {
		p.perm("perm", &c.Perm)
		p.u32("nsops", &c.NSops)
		p.i32("alter", &c.Alter)
	}
}

// MsgrcvCell is the cell of msg_queue_msgrcv.
type MsgrcvCell struct {
	Perm   Perm
	Target Digest // TASK_ID of the receiving task
	Type   int64
	Mode   int32
}

func (c *MsgrcvCell) appendTo(b []byte, _ Type) []byte {
	b = c.Perm.appendTo(append(b, `{"perm": `...))
	b = appendHex(append(b, `, "target": "`...), c.Target)
	b = appendInt(append(b, `", "type": "`...), c.Type)
	b = appendInt(append(b, `", "mode": "`...), int64(c.Mode))
	return append(b, `"}`...)
}

func (c *MsgrcvCell) read(p *Parser, _ Type) {
	*c = MsgrcvCell{}
	for at := p.begin(); p.more(&at); {
		p.perm("perm", &c.Perm)
		p.digest("target", &c.Target)
		p.i64("type", &c.Type)
		p.i32("mode", &c.Mode)
	}
}

// IPCPermissionCell is the cell of ipc_permission.
type IPCPermissionCell struct {
	Perm Perm
	Flag uint32 // the permission bits asked for
}

func (c *IPCPermissionCell) appendTo(b []byte, _ Type) []byte {
	b = c.Perm.appendTo(append(b, `{"ipcp": `...))
	b = appendUint(append(b, `, "flag": "`...), uint64(c.Flag))
	return append(b, `"}`...)
}

func (c *IPCPermissionCell) read(p *Parser, _ Type) {
	*c = IPCPermissionCell{}
	for at := p.begin(); p.more(&at); {
		p.perm("ipcp", &c.Perm)
		p.u32("flag", &c.Flag)
	}
}
