// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// forms says what the record of each type of event has behind its header, for
// the repair of records whose names have broken them. A word is a member whose
// value the kernel has made; with $ it is text, which can hold anything; with {
// an object follows, up to its brace; with ? before it, it may be missing. A
// word in capitals stands for a row of parts.
var forms = map[string]string{
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
	"socket_connect":        `sock{ SOCK } ?addr{ ?af_inet{ port address } ?af_inet6{ port flow scope address } ?af_unix{ address$ } ?af_other{ address } }`,
	"socket_bind":           `sock{ SOCK } ?addr{ ?af_inet{ port address } ?af_inet6{ port flow scope address } ?af_unix{ address$ } ?af_other{ address } }`,
	"socket_accept":         `sock{ SOCK } ?addr{ ?af_inet{ port address } ?af_inet6{ port address } ?af_unix{ address$ } ?af_other{ address } }`,
	"socket_listen":         `sock{ SOCK } backlog`,
	"socket_socketpair":     `socka{ SOCK } sockb{ SOCK }`,
	"socket_sendmsg":        `sock{ SOCK } ?addr{ ?af_inet{ port address } ?af_inet6{ port address } }`,
	"socket_recvmsg":        `sock{ SOCK } ?addr{ ?af_inet{ port address } ?af_inet6{ port address } }`,
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

// formLog is the record of a refused or noted act, of kernels up to April 2025.
const formLog = `export{ type } log{ process$ event action }`

// formOf is the whole record of an event of a type.
func formOf(name string) (form string, known bool) {
	cell, known := forms[name]
	return `export{ type } event{ EVENT } COE{ IDS } ` + name + `{ ` + cell + ` }`, known
}
