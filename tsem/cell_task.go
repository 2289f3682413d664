// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// KillCell is the cell of task_kill.
type KillCell struct {
	Target  Digest // TASK_ID of the signalled task
	Sig     uint32
	CrossNS uint32 // 1 if it is of another context
}

func (c *KillCell) appendTo(b []byte, _ Type) []byte {
	b = appendHex(append(b, `{"target": "`...), c.Target)
	b = appendUint(append(b, `", "sig": "`...), uint64(c.Sig))
	b = appendUint(append(b, `", "cross_ns": "`...), uint64(c.CrossNS))
	return append(b, `"}`...)
}

func (c *KillCell) read(p *Parser, _ Type) {
	*c = KillCell{}
	for at := p.begin(); p.more(&at); {
		p.digest("target", &c.Target)
		p.u32("sig", &c.Sig)
		p.u32("cross_ns", &c.CrossNS)
	}
}

// SetpgidCell is the cell of task_setpgid.
type SetpgidCell struct {
	Task   Digest // TASK_ID
	Source Digest // TASK_ID of the leader of the group; zero bytes if there is none
}

func (c *SetpgidCell) appendTo(b []byte, _ Type) []byte {
	b = appendHex(append(b, `{"task": "`...), c.Task)
	b = appendHex(append(b, `", "source": "`...), c.Source)
	return append(b, `"}`...)
}

func (c *SetpgidCell) read(p *Parser, _ Type) {
	*c = SetpgidCell{}
	for at := p.begin(); p.more(&at); {
		p.digest("task", &c.Task)
		p.digest("source", &c.Source)
	}
}

// TaskCell is the cell of task_getpgid, task_getsid, task_getioprio, task_setscheduler and task_getscheduler.
type TaskCell struct {
	Task Digest // TASK_ID
}

func (c *TaskCell) appendTo(b []byte, _ Type) []byte {
	b = appendHex(append(b, `{"task": "`...), c.Task)
	return append(b, `"}`...)
}

func (c *TaskCell) read(p *Parser, _ Type) {
	*c = TaskCell{}
	for at := p.begin(); p.more(&at); {
		p.digest("task", &c.Task)
	}
}

// TaskValueCell is the cell of task_setnice (nice) and task_setioprio (ioprio).
type TaskValueCell struct {
	Task  Digest // TASK_ID
	Value int32
}

func (c *TaskValueCell) appendTo(b []byte, t Type) []byte {
	b = appendHex(append(b, `{"task": "`...), c.Task)
	b = append(b, '"')
	b = append(append(b, `, "`...), t.Info().names[0]...)
	b = appendInt(append(b, `": "`...), int64(c.Value))
	return append(b, `"}`...)
}

func (c *TaskValueCell) read(p *Parser, t Type) {
	*c = TaskValueCell{}
	for at := p.begin(); p.more(&at); {
		p.digest("task", &c.Task)
		p.i32(t.Info().names[0], &c.Value)
	}
}

// PrlimitCell is the cell of task_prlimit.
type PrlimitCell struct {
	Cred  Creds // of the caller
	TCred Creds // of the target
	Flags int32 // LSM_PRLIMIT_ bits
}

func (c *PrlimitCell) appendTo(b []byte, _ Type) []byte {
	b = c.Cred.appendTo(append(b, `{"cred": `...))
	b = c.TCred.appendTo(append(b, `, "tcred": `...))
	b = appendInt(append(b, `, "flags": "`...), int64(c.Flags))
	return append(b, `"}`...)
}

func (c *PrlimitCell) read(p *Parser, _ Type) {
	*c = PrlimitCell{}
	for at := p.begin(); p.more(&at); {
		p.creds("cred", &c.Cred)
		p.creds("tcred", &c.TCred)
		p.i32("flags", &c.Flags)
	}
}

// SetrlimitCell is the cell of task_setrlimit.
type SetrlimitCell struct {
	Task     Digest // TASK_ID
	Resource uint32 // RLIMIT_ number
	Current  uint64
	Max      uint64
}

func (c *SetrlimitCell) appendTo(b []byte, _ Type) []byte {
	b = appendHex(append(b, `{"task": "`...), c.Task)
	b = appendUint(append(b, `", "new_rlim": {"resource": "`...), uint64(c.Resource))
	b = appendUint(append(b, `", "current": "`...), c.Current)
	b = appendUint(append(b, `", "max": "`...), c.Max)
	return append(b, `"}}`...)
}

func (c *SetrlimitCell) read(p *Parser, _ Type) {
	*c = SetrlimitCell{}
	for at := p.begin(); p.more(&at); {
		p.digest("task", &c.Task)
		if p.is("new_rlim") {
			for at := p.begin(); p.more(&at); {
				p.u32("resource", &c.Resource)
				p.u64("current", &c.Current)
				p.u64("max", &c.Max)
			}
			p.advance()
		}
	}
}

// PrctlCell is the cell of task_prctl.
type PrctlCell struct {
	Option int32
	Arg2   uint64 // 0 for PR_SET_NAME and PR_GET_NAME
	Arg3   uint64
	Arg4   uint64
	Arg5   uint64
}

func (c *PrctlCell) appendTo(b []byte, _ Type) []byte {
	b = appendInt(append(b, `{"option": "`...), int64(c.Option))
	b = appendUint(append(b, `", "arg2": "`...), c.Arg2)
	b = appendUint(append(b, `", "arg3": "`...), c.Arg3)
	b = appendUint(append(b, `", "arg4": "`...), c.Arg4)
	b = appendUint(append(b, `", "arg5": "`...), c.Arg5)
	return append(b, `"}`...)
}

func (c *PrctlCell) read(p *Parser, _ Type) {
	*c = PrctlCell{}
	for at := p.begin(); p.more(&at); {
		p.i32("option", &c.Option)
		p.u64("arg2", &c.Arg2)
		p.u64("arg3", &c.Arg3)
		p.u64("arg4", &c.Arg4)
		p.u64("arg5", &c.Arg5)
	}
}

// AccessCheckCell is the cell of ptrace_access_check. As a TSEM kernel does, it is written
// with two spaces behind the comma.
type AccessCheckCell struct {
	Child Digest // TASK_ID of the task to be looked at
	Mode  uint32 // PTRACE_MODE_ bits
}

func (c *AccessCheckCell) appendTo(b []byte, _ Type) []byte {
	b = appendHex(append(b, `{"child": "`...), c.Child)
	b = appendUint(append(b, `",  "mode": "`...), uint64(c.Mode))
	return append(b, `"}`...)
}

func (c *AccessCheckCell) read(p *Parser, _ Type) {
	*c = AccessCheckCell{}
	for at := p.begin(); p.more(&at); {
		p.digest("child", &c.Child)
		p.u32("mode", &c.Mode)
	}
}

// TracemeCell is the cell of ptrace_traceme.
type TracemeCell struct {
	Source Digest // TASK_ID of the parent, which would trace
}

func (c *TracemeCell) appendTo(b []byte, _ Type) []byte {
	b = appendHex(append(b, `{"source": "`...), c.Source)
	return append(b, `"}`...)
}

func (c *TracemeCell) read(p *Parser, _ Type) {
	*c = TracemeCell{}
	for at := p.begin(); p.more(&at); {
		p.digest("source", &c.Source)
	}
}

// CapableCell is the cell of capable.
type CapableCell struct {
	Cap  int32
	Opts uint32 // CAP_OPT_ bits
}

func (c *CapableCell) appendTo(b []byte, _ Type) []byte {
	b = appendInt(append(b, `{"cap": "`...), int64(c.Cap))
	b = appendUint(append(b, `", "opts": "`...), uint64(c.Opts))
	return append(b, `"}`...)
}

func (c *CapableCell) read(p *Parser, _ Type) {
	*c = CapableCell{}
	for at := p.begin(); p.more(&at); {
		p.i32("cap", &c.Cap)
		p.u32("opts", &c.Opts)
	}
}

// CapgetCell is the cell of capget.
type CapgetCell struct {
	Target      Digest // TASK_ID
	Effective   uint64
	Inheritable uint64
	Permitted   uint64
}

func (c *CapgetCell) appendTo(b []byte, _ Type) []byte {
	b = appendHex(append(b, `{"target": "`...), c.Target)
	b = appendHexNumber(append(b, `", "effective": "`...), c.Effective)
	b = appendHexNumber(append(b, `", "inheritable": "`...), c.Inheritable)
	b = appendHexNumber(append(b, `", "permitted": "`...), c.Permitted)
	return append(b, `"}`...)
}

func (c *CapgetCell) read(p *Parser, _ Type) {
	*c = CapgetCell{}
	for at := p.begin(); p.more(&at); {
		p.digest("target", &c.Target)
		p.u64("effective", &c.Effective)
		p.u64("inheritable", &c.Inheritable)
		p.u64("permitted", &c.Permitted)
	}
}

// CapsetCell is the cell of capset.
type CapsetCell struct {
	Effective   uint64
	Inheritable uint64
	Permitted   uint64
}

func (c *CapsetCell) appendTo(b []byte, _ Type) []byte {
	b = appendHexNumber(append(b, `{"effective": "`...), c.Effective)
	b = appendHexNumber(append(b, `", "inheritable": "`...), c.Inheritable)
	b = appendHexNumber(append(b, `", "permitted": "`...), c.Permitted)
	return append(b, `"}`...)
}

func (c *CapsetCell) read(p *Parser, _ Type) {
	*c = CapsetCell{}
	for at := p.begin(); p.more(&at); {
		p.u64("effective", &c.Effective)
		p.u64("inheritable", &c.Inheritable)
		p.u64("permitted", &c.Permitted)
	}
}
