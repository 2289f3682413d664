// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// Export says how a TSEM kernel exports an event type.
type Export uint8

const (
	// Exported types are written as they should be.
	Exported Export = iota
	// Malformed types are exported, but a TSEM kernel writes them as text
	// that is not JSON. This package writes them as valid records.
	Malformed
	// NotExported types are known to TSEM, which ends them before the
	// export: they maintain identities, or belong to other models.
	NotExported
)

// Info is a row of the event table.
type Info struct {
	Name   string // of the event and of the LSM hook
	Family string // what it is about, such as "file" or "socket"
	Async  bool   // the hook runs in atomic context: exported as async_event
	Export Export

	cell func() Cell
	// names of the members in which types with the same cell differ
	names [2]string
}

// table has a row for each Type; row 0 is no type.
var table = [NumTypes + 1]Info{
	TaskKill:            {"task_kill", "task", async, Exported, cell[KillCell], none},
	TaskSetpgid:         {"task_setpgid", "task", async, Exported, cell[SetpgidCell], none},
	TaskGetpgid:         {"task_getpgid", "task", async, Exported, cell[TaskCell], none},
	TaskGetsid:          {"task_getsid", "task", async, Exported, cell[TaskCell], none},
	TaskSetnice:         {"task_setnice", "task", async, Exported, cell[TaskValueCell], [2]string{"nice"}},
	TaskSetioprio:       {"task_setioprio", "task", waits, Exported, cell[TaskValueCell], [2]string{"ioprio"}},
	TaskGetioprio:       {"task_getioprio", "task", waits, Exported, cell[TaskCell], none},
	TaskPrlimit:         {"task_prlimit", "task", async, Exported, cell[PrlimitCell], none},
	TaskSetrlimit:       {"task_setrlimit", "task", async, Exported, cell[SetrlimitCell], none},
	TaskSetscheduler:    {"task_setscheduler", "task", async, Exported, cell[TaskCell], none},
	TaskGetscheduler:    {"task_getscheduler", "task", async, Exported, cell[TaskCell], none},
	TaskPrctl:           {"task_prctl", "task", async, Exported, cell[PrctlCell], none},
	FileOpen:            {"file_open", "file", waits, Exported, cell[FileCell], none},
	FileReceive:         {"file_receive", "file", waits, Exported, cell[FileCell], none},
	FileIoctl:           {"file_ioctl", "file", waits, Exported, cell[FileCmdCell], none},
	FileIoctlCompat:     {"file_ioctl_compat", "file", waits, Exported, cell[FileCmdCell], none},
	FileLock:            {"file_lock", "file", waits, Exported, cell[FileCmdCell], none},
	FileFcntl:           {"file_fcntl", "file", waits, Exported, cell[FileCmdCell], none},
	MmapFile:            {"mmap_file", "mmap", waits, Exported, cell[MmapCell], none},
	UnixStreamConnect:   {"unix_stream_connect", "unix", async, Exported, cell[SockPairCell], [2]string{"sock", "other"}},
	UnixMaySend:         {"unix_may_send", "unix", async, Exported, cell[SockPairCell], [2]string{"sock", "other"}},
	SocketCreate:        {"socket_create", "socket", waits, Exported, cell[SocketCreateCell], none},
	SocketConnect:       {"socket_connect", "socket", waits, Exported, cell[SockAddrCell], none},
	SocketBind:          {"socket_bind", "socket", waits, Exported, cell[SockAddrCell], none},
	SocketAccept:        {"socket_accept", "socket", waits, Exported, cell[SockAddrCell], none},
	SocketListen:        {"socket_listen", "socket", waits, Exported, cell[ListenCell], none},
	SocketSocketpair:    {"socket_socketpair", "socket", waits, Exported, cell[SockPairCell], [2]string{"socka", "sockb"}},
	SocketSendmsg:       {"socket_sendmsg", "socket", waits, Exported, cell[SockAddrCell], none},
	SocketRecvmsg:       {"socket_recvmsg", "socket", waits, Exported, cell[SockAddrCell], none},
	SocketGetsockname:   {"socket_getsockname", "socket", waits, Exported, cell[SockCell], none},
	SocketGetpeername:   {"socket_getpeername", "socket", waits, Exported, cell[SockCell], none},
	SocketSetsockopt:    {"socket_setsockopt", "socket", waits, Exported, cell[SetsockoptCell], none},
	SocketShutdown:      {"socket_shutdown", "socket", waits, Exported, cell[ShutdownCell], none},
	PtraceAccessCheck:   {"ptrace_access_check", "ptrace", async, Exported, cell[AccessCheckCell], none},
	PtraceTraceme:       {"ptrace_traceme", "ptrace", async, Exported, cell[TracemeCell], none},
	Capable:             {"capable", "caps", async, Exported, cell[CapableCell], none},
	Capget:              {"capget", "caps", async, Exported, cell[CapgetCell], none},
	Capset:              {"capset", "caps", async, Exported, cell[CapsetCell], none},
	KernelModuleRequest: {"kernel_module_request", "kernel", waits, Exported, cell[ModuleRequestCell], none},
	KernelLoadData:      {"kernel_load_data", "kernel", waits, Exported, cell[LoadDataCell], none},
	KernelReadFile:      {"kernel_read_file", "kernel", waits, Exported, cell[ReadFileCell], none},
	SBMount:             {"sb_mount", "mount", waits, Exported, cell[MountCell], none},
	SBUmount:            {"sb_umount", "mount", waits, Exported, cell[UmountCell], none},
	SBRemount:           {"sb_remount", "mount", waits, Exported, cell[RemountCell], none},
	SBPivotroot:         {"sb_pivotroot", "mount", waits, Exported, cell[PathPairCell], [2]string{"old_path", "new_path"}},
	SBStatfs:            {"sb_statfs", "mount", waits, Exported, cell[DentryCell], none},
	MoveMount:           {"move_mount", "mount", waits, Exported, cell[PathPairCell], [2]string{"from_path", "to_path"}},
	ShmAssociate:        {"shm_associate", "ipc", async, Exported, cell[IPCCell], [2]string{"shmflg"}},
	ShmShmctl:           {"shm_shmctl", "ipc", async, Exported, cell[IPCCell], [2]string{"cmd"}},
	ShmShmat:            {"shm_shmat", "ipc", async, Exported, cell[IPCCell], [2]string{"shmflg"}},
	SemAssociate:        {"sem_associate", "ipc", async, Exported, cell[IPCCell], [2]string{"semflg"}},
	SemSemctl:           {"sem_semctl", "ipc", async, Exported, cell[IPCCell], [2]string{"cmd"}},
	MsgQueueAssociate:   {"msg_queue_associate", "ipc", async, Exported, cell[IPCCell], [2]string{"msqflg"}},
	MsgQueueMsgctl:      {"msg_queue_msgctl", "ipc", async, Exported, cell[IPCCell], [2]string{"cmd"}},
	MsgQueueMsgsnd:      {"msg_queue_msgsnd", "ipc", async, Exported, cell[IPCCell], [2]string{"msqflg"}},
	SemSemop:            {"sem_semop", "ipc", async, Exported, cell[SemopCell], none},
	MsgQueueMsgrcv:      {"msg_queue_msgrcv", "ipc", async, Exported, cell[MsgrcvCell], none},
	IPCPermission:       {"ipc_permission", "ipc", async, Exported, cell[IPCPermissionCell], none},
	Syslog:              {"syslog", "syslog", waits, Exported, cell[SyslogCell], none},
	Settime:             {"settime", "time", waits, Exported, cell[SettimeCell], none},
	Quotactl:            {"quotactl", "quota", waits, Exported, cell[QuotactlCell], none},
	QuotaOn:             {"quota_on", "quota", waits, Exported, cell[DentryCell], none},
	KeyAlloc:            {"key_alloc", "key", waits, Exported, cell[KeyAllocCell], none},
	KeyPermission:       {"key_permission", "key", async, Exported, cell[KeyPermissionCell], none},
	NetlinkSend:         {"netlink_send", "netlink", waits, Exported, cell[NetlinkCell], none},
	InodeCreate:         {"inode_create", "inode", waits, Exported, cell[CreateCell], none},
	InodeMkdir:          {"inode_mkdir", "inode", waits, Exported, cell[CreateCell], none},
	InodeUnlink:         {"inode_unlink", "inode", waits, Exported, cell[RemoveCell], none},
	InodeRmdir:          {"inode_rmdir", "inode", waits, Exported, cell[RemoveCell], none},
	InodeLink:           {"inode_link", "inode", waits, Exported, cell[LinkCell], none},
	InodeSymlink:        {"inode_symlink", "inode", waits, Exported, cell[SymlinkCell], none},
	InodeMknod:          {"inode_mknod", "inode", waits, Exported, cell[MknodCell], none},
	InodeRename:         {"inode_rename", "inode", waits, Exported, cell[RenameCell], none},
	InodeSetattr:        {"inode_setattr", "inode", waits, Exported, cell[SetattrCell], none},
	InodeGetattr:        {"inode_getattr", "inode", waits, Exported, cell[GetattrCell], none},
	InodeSetxattr:       {"inode_setxattr", "inode", waits, Exported, cell[SetxattrCell], none},
	InodeGetxattr:       {"inode_getxattr", "inode", waits, Exported, cell[XattrCell], none},
	InodeListxattr:      {"inode_listxattr", "inode", waits, Exported, cell[DentryCell], none},
	InodeRemovexattr:    {"inode_removexattr", "inode", waits, Exported, cell[XattrCell], none},
	InodeKillpriv:       {"inode_killpriv", "inode", waits, Exported, cell[DentryCell], none},
	TunDevCreate:        {"tun_dev_create", "tun", waits, Exported, cell[EmptyCell], none},
	TunDevOpen:          {"tun_dev_open", "tun", waits, Exported, cell[EmptyCell], none},
	TunDevAttachQueue:   {"tun_dev_attach_queue", "tun", waits, Malformed, cell[SockCell], none},
	TunDevAttach:        {"tun_dev_attach", "tun", waits, Malformed, cell[EmptyCell], none},
	BPF:                 {"bpf", "bpf", waits, Exported, cell[BPFCell], none},
	BPFMap:              {"bpf_map", "bpf", waits, Exported, cell[BPFMapCell], none},
	BPFProg:             {"bpf_prog", "bpf", waits, Exported, cell[BPFProgCell], none},
	FileTruncate:        {"file_truncate", "file", waits, NotExported, cell[EmptyCell], none},
	BprmCheckSecurity:   {"bprm_check_security", "task", waits, NotExported, cell[EmptyCell], none},
	CredPrepare:         {"cred_prepare", "task", waits, NotExported, cell[EmptyCell], none},
	PathTruncate:        {"path_truncate", "path", waits, NotExported, cell[EmptyCell], none},
	PathUnlink:          {"path_unlink", "path", waits, NotExported, cell[EmptyCell], none},
	PathMkdir:           {"path_mkdir", "path", waits, NotExported, cell[EmptyCell], none},
	PathRmdir:           {"path_rmdir", "path", waits, NotExported, cell[EmptyCell], none},
	PathSymlink:         {"path_symlink", "path", waits, NotExported, cell[EmptyCell], none},
	PathMknod:           {"path_mknod", "path", waits, NotExported, cell[EmptyCell], none},
	PathLink:            {"path_link", "path", waits, NotExported, cell[EmptyCell], none},
	PathRename:          {"path_rename", "path", waits, NotExported, cell[EmptyCell], none},
	PathChmod:           {"path_chmod", "path", waits, NotExported, cell[EmptyCell], none},
	PathChrootHook:      {"path_chroot", "path", waits, NotExported, cell[EmptyCell], none},
	PathChown:           {"path_chown", "path", waits, NotExported, cell[EmptyCell], none},
	BprmCommittedCreds:  {"bprm_committed_creds", "task", waits, NotExported, cell[EmptyCell], none},
	TaskAlloc:           {"task_alloc", "task", waits, NotExported, cell[EmptyCell], none},
	TaskFree:            {"task_free", "task", waits, NotExported, cell[EmptyCell], none},
}

const (
	async = true
	waits = false // may sleep: exported as event
)

var none [2]string

// cell makes an empty cell.
func cell[T any, P interface {
	*T
	Cell
}]() Cell {
	return P(new(T))
}
