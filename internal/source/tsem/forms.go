// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"strings"
	"sync"
)

// cells says what the record of each type of event has behind its header: by
// that a record is told from one that a name has broken or forged, and repaired.
// A word is a member whose value the kernel has made; with $ it is text, which
// can hold anything; with { an object follows, up to its brace; with ? before
// it, it may be missing, and with | so may it, and is there in the place of the
// others with |. A word in capitals stands for a row of parts.
var cells = map[string]string{
	"task_kill":             `target sig cross_ns`,
	"task_setpgid":          `task source`,
	"task_getpgid":          `task`,
	"task_getsid":           `task`,
	"task_setnice":          `task nice`,
	"task_setioprio":        `task ioprio`,
	"task_getioprio":        `task`,
	"task_prlimit":          `cred{ CREDS } tcred{ CREDS } flags`,
	"task_setrlimit":        `task new_rlim{ resource current max }`,
	"task_setscheduler":     `task`,
	"task_getscheduler":     `task`,
	"task_prctl":            `option arg2 arg3 arg4 arg5`,
	"file_open":             `file{ FILE }`,
	"file_receive":          `file{ FILE }`,
	"file_ioctl":            `file{ FILE } cmd`,
	"file_ioctl_compat":     `file{ FILE } cmd`,
	"file_lock":             `file{ FILE } cmd`,
	"file_fcntl":            `file{ FILE } cmd`,
	"mmap_file":             `?file{ FILE } prot flags`,
	"unix_stream_connect":   `sock{ SOCK } other{ SOCK }`,
	"unix_may_send":         `sock{ SOCK } other{ SOCK }`,
	"socket_create":         `family type protocol kern`,
	"socket_connect":        `sock{ SOCK } ?addr{ |af_inet{ port address } |af_inet6{ port flow scope address } |af_unix{ address$ } |af_other{ address } }`,
	"socket_bind":           `sock{ SOCK } ?addr{ |af_inet{ port address } |af_inet6{ port flow scope address } |af_unix{ address$ } |af_other{ address } }`,
	"socket_accept":         `sock{ SOCK } ?addr{ |af_inet{ port address } |af_inet6{ port address } |af_unix{ address$ } |af_other{ address } }`,
	"socket_listen":         `sock{ SOCK } backlog`,
	"socket_socketpair":     `socka{ SOCK } sockb{ SOCK }`,
	"socket_sendmsg":        `sock{ SOCK } ?addr{ |af_inet{ port address } |af_inet6{ port address } }`,
	"socket_recvmsg":        `sock{ SOCK } ?addr{ |af_inet{ port address } |af_inet6{ port address } }`,
	"socket_getsockname":    `sock{ SOCK }`,
	"socket_getpeername":    `sock{ SOCK }`,
	"socket_setsockopt":     `sock{ SOCK } level optname`,
	"socket_shutdown":       `sock{ SOCK } how`,
	"ptrace_access_check":   `child mode`,
	"ptrace_traceme":        `source`,
	"capable":               `cap opts`,
	"capget":                `target effective inheritable permitted`,
	"capset":                `effective inheritable permitted`,
	"kernel_module_request": `kmod_name$`,
	"kernel_load_data":      `id contents`,
	"kernel_read_file":      `file{ FILE } id contents`,
	"sb_mount":              `?dev_name$ path{ PATH } ?type$ flags`,
	"sb_umount":             `mnt{ DENTRY } flags`,
	"sb_remount":            `sb{ dentry{ DENTRY } fstype$ s_flags }`,
	"sb_pivotroot":          `old_path{ PATH } new_path{ PATH }`,
	"sb_statfs":             `dentry{ DENTRY }`,
	"move_mount":            `from_path{ PATH } to_path{ PATH }`,
	"shm_associate":         `perm{ PERM } shmflg`,
	"shm_shmctl":            `perm{ PERM } cmd`,
	"shm_shmat":             `perm{ PERM } shmflg`,
	"sem_associate":         `perm{ PERM } semflg`,
	"sem_semctl":            `perm{ PERM } cmd`,
	"msg_queue_associate":   `perm{ PERM } msqflg`,
	"msg_queue_msgctl":      `perm{ PERM } cmd`,
	"msg_queue_msgsnd":      `perm{ PERM } msqflg`,
	"sem_semop":             `perm{ PERM } nsops alter`,
	"msg_queue_msgrcv":      `perm{ PERM } target type mode`,
	"ipc_permission":        `ipcp{ PERM } flag`,
	"syslog":                `type`,
	"settime":               `?ts{ seconds nsecs } ?tz{ minuteswest dsttime }`,
	"quotactl":              `cmds type id sb{ dentry{ DENTRY } fstype$ s_flags }`,
	"quota_on":              `dentry{ DENTRY }`,
	"key_alloc":             `cred{ CREDS } flags`,
	"key_permission":        `key_ref{ possessed uid gid flags } cred{ CREDS } perm`,
	"netlink_send":          `sock{ SOCK } uid gid portid dst_group flags nsid_set nsid`,
	"inode_create":          `dir{ INODE } dentry{ DENTRY } mode`,
	"inode_mkdir":           `dir{ INODE } dentry{ DENTRY } mode`,
	"inode_unlink":          `dir{ INODE } dentry{ DENTRY }`,
	"inode_rmdir":           `dir{ INODE } dentry{ DENTRY }`,
	"inode_link":            `old_dentry{ DENTRY } dir{ INODE } new_dentry{ DENTRY }`,
	"inode_symlink":         `dir{ INODE } dentry{ DENTRY } old_name$`,
	"inode_mknod":           `dir{ INODE } dentry{ DENTRY } mode dev{ major minor }`,
	"inode_rename":          `old_dir{ INODE } old_dentry{ DENTRY } new_dir{ INODE } new_dentry{ DENTRY }`,
	"inode_setattr":         `dentry{ DENTRY } attr{ valid mode uid gid size }`,
	"inode_getattr":         `path{ DENTRY }`,
	"inode_setxattr":        `dentry{ DENTRY } name$ value flags`,
	"inode_getxattr":        `dentry{ DENTRY } name$`,
	"inode_listxattr":       `dentry{ DENTRY }`,
	"inode_removexattr":     `dentry{ DENTRY } name$`,
	"inode_killpriv":        `dentry{ DENTRY }`,
	"tun_dev_create":        ``,
	"tun_dev_open":          ``,
	"tun_dev_attach_queue":  `sock{ SOCK }`,
	"tun_dev_attach":        ``,
	"bpf":                   `cmd attr{ size }`,
	"bpf_map":               `map{ map_type } fmode`,
	"bpf_prog":              `prog{ type attach_type }`,
}

// parts are runs of members that several events have.
var parts = map[string]string{
	"PATH":   `?dev{ major minor } ?owner ?instance type pathname$`,
	"INODE":  `uid gid mode s_magic s_id$ s_uuid`,
	"DENTRY": `?inode{ INODE } path{ PATH }`,
	"FILE":   `flags inode{ INODE } path{ PATH } digest`,
	"SOCK":   `family type protocol owner`,
	"IDS":    `uid euid suid gid egid sgid fsuid fsgid capeff`,
	"CREDS":  `IDS securebits`,
	"PERM":   `uid gid cuid cgid mode owner`,
	"EVENT":  `?pid ?tnum ?context ?number process$ type ttd p_ttd task_id p_task_id ts`,
}

// A form is the whole of a record, taken to pieces.
type form struct{ steps []step }

// Steps of every form of an event.
var (
	behindType = stepAfter("type") // of the event
	stepTime   = stepAfter("p_task_id")
	stepCell   = len(newForm(eventForm).steps) - 1
)

const eventForm = `export{ type } event{ EVENT } COE{ IDS } `

// stepAfter is the step behind the last one of that name.
func stepAfter(name string) int {
	steps := newForm(eventForm).steps
	for i := len(steps) - 1; ; i-- {
		if steps[i].name == name {
			return i + 1
		}
	}
}

// A step is one part of a form.
type step struct {
	kind        byte // value, text, object or its end
	name        string
	label       string // the name and what is around it, up to the value
	optional    bool   // it may be missing
	alternative bool   // so it may, and stands for the others beside it
	skip        int    // the step behind it and all that is in it
	next        int    // of an end: the step that follows
}

const (
	stepValue  = ' '
	stepText   = '$'
	stepObject = '{'
	stepEnd    = '}'
)

// forms are those of the events.
var forms = sync.OnceValue(func() map[string]*form {
	all := make(map[string]*form, len(cells))
	for name, cell := range cells {
		all[name] = newForm(eventForm + name + `{ ` + cell + ` }`)
	}
	return all
})

// formLog is that of a refused or noted act, of kernels up to April 2025.
var formLog = sync.OnceValue(func() *form { return newForm(`export{ type } log{ process$ event action }`) })

// formOf is the form of a record, nil where it is not known.
func formOf(line []byte, h *header) *form {
	switch {
	case h.typ != nil:
		return forms()[string(h.typ)]
	case bytes.HasPrefix(line, wordLog):
		return formLog()
	}
	return nil
}

func newForm(text string) *form {
	f := &form{}
	f.read(text, new([]int))
	end := len(f.steps)
	f.steps = append(f.steps, step{kind: stepEnd, skip: end + 1, next: end + 1})
	// The last of some alternatives first: what follows it follows them all.
	for i := end; i >= 0; i-- {
		if s := f.steps[i]; s.alternative && f.steps[s.skip].alternative {
			other := f.steps[s.skip]
			f.steps[s.skip-1].next = f.steps[other.skip-1].next
		}
	}
	return f
}

// read takes a text to pieces. open are the objects around, innermost last.
func (f *form) read(text string, open *[]int) {
	for word := range strings.FieldsSeq(text) {
		if part, ok := parts[word]; ok {
			f.read(part, open)
			continue
		}
		here := len(f.steps)
		s := step{kind: stepValue, skip: here + 1}
		word, s.optional = strings.CutPrefix(word, "?")
		word, s.alternative = strings.CutPrefix(word, "|")
		switch last := word[len(word)-1]; last {
		case stepText, stepObject, stepEnd:
			s.kind, word = last, word[:len(word)-1]
		}
		s.name = word
		switch s.kind {
		case stepObject:
			s.label = `"` + word + `": {`
			*open = append(*open, here)
		case stepEnd:
			s.next = here + 1
			f.steps[(*open)[len(*open)-1]].skip = here + 1
			*open = (*open)[:len(*open)-1]
		default:
			s.label = `"` + word + `": "`
		}
		f.steps = append(f.steps, s)
	}
}
