// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// What the programs and their reader must agree on. ../wire.go has the same.

#pragma once

#define NOTHING (~0ull) // in the place of a number or size: there is none

enum place { PLACE_ROOT, PLACE_CHROOT, PLACE_NAMESPACE };

// What follows the head: the maps of the user namespace, the number of a context
// that is not ours.
enum head_flags { HEAD_USERS = 1, HEAD_CONTEXT = 2 };

enum path_flags {
	PATH_DETACHED = 1, // it does not come to a root
	PATH_UNLINKED = 2, // its last name has been removed
	PATH_TOO_LONG = 4,
	PATH_UNKNOWN = 8, // where it leads was not found
};

// Notes are no events; their numbers follow those of the events.
enum note { NOTE_EXEC = 200, NOTE_MADE, NOTE_END, NOTE_DIGEST };

enum lost_cause {
	LOST_RING,     // there was no room in the ring
	LOST_TOO_LONG, // the event does not fit in the scratch
	LOST_NESTED,   // it came while the task told of another
	LOST_MEMORY,   // there was no memory for the scratch
	LOST_TASK,     // there was none for a new task, which is not seen
	LOST_NOTE,     // an exec or a new file could not be noted
	LOST_OWNER,    // or who made a socket or System V object
	LOST_CAUSES,
};

// Sizes of parts in bytes, which the programs hold against their structs.
#define HEAD_SIZE 112
#define INODE_SIZE 120
#define PATH_SIZE 16
#define NOTE_SIZE 32
#define DIGEST_SIZE 64
#define DIGEST_NOTE_SIZE 120
#define STATE_SIZE 88
#define MUTE_AT 64 // in a state
#define CONTEXT_AT 72

// version is a file as it is between two changes.
struct version {
	unsigned long long ino, size;
	long long ctime, mtime;
	unsigned int dev, generation, nlink, magic;
};

struct digest_note {
	unsigned short type;
	unsigned short pad[3];
	struct version of;
	unsigned char digest[DIGEST_SIZE];
};

// A rule says which tasks of the host are told of: by the user, by the
// executable, by the control group or one above it.
#define RULES_MAX 64
enum rule_kind { RULE_UID, RULE_EXECUTABLE, RULE_CGROUP };
struct rule {
	unsigned int kind, only; // the tasks with it alone, else those without
	unsigned long long id;   // the user, the inode, the control group
	unsigned int at, pad;    // the device of the inode, the depth of the group
};

// own is the executable of who exports the host.
struct own {
	unsigned int dev, pad;
	unsigned long long ino;
};

struct made_note {
	unsigned short type;
	unsigned short pad[3];
	unsigned long long made;
	unsigned int dev, generation;
	unsigned long long ino;
};

// What a task that is not told of waits for: its next exec, or the first one
// in another mount namespace than ours, of itself or of what it makes.
enum mute { MUTE_NOT, MUTE_EXEC, MUTE_RUNTIME };

// Numbers of the kernel.
#define FMODE_EXEC 0x20
#define CTIME_NSEC 0x7fffffff // the bit above tells, since Linux 6.13, that somebody has asked for it
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFLNK 0120000
#define S_IFDIR 0040000
#define S_IFSOCK 0140000
#define S_IFCHR 0020000
#define PROT_EXEC 4
#define AT_FDCWD -100
#define SIGURG 23
#define ENOSYS 38
#define EOPNOTSUPP 95
#define AF_UNIX 1
#define ADDRESS_MAX 128
#define NSFS_MAGIC 0x6e736673
#define OVERLAYFS_MAGIC 0x794c7630

// What is told of a system call.
enum kind {
	CALL_NONE,
	CALL_EXEC, CALL_OPEN, CALL_OPENAT2, CALL_MMAP, CALL_MMAP_PACKED,
	CALL_LINK, CALL_UNLINK, CALL_RMDIR, CALL_SYMLINK, CALL_MKDIR, CALL_MKNOD, CALL_RENAME,
	CALL_CHMOD, CALL_CHOWN, CALL_TRUNCATE, CALL_UTIMES, CALL_GETATTR,
	CALL_SETXATTR, CALL_SETXATTRAT, CALL_GETXATTR, CALL_LISTXATTR, CALL_REMOVEXATTR,
	CALL_IOCTL, CALL_FCNTL, CALL_FLOCK, CALL_STATFS,
	CALL_SOCKET, CALL_SOCKETPAIR, CALL_CONNECT, CALL_BIND, CALL_LISTEN, CALL_ACCEPT,
	CALL_GETSOCKNAME, CALL_GETPEERNAME, CALL_SETSOCKOPT, CALL_SHUTDOWN,
	CALL_SENDTO, CALL_SENDMSG, CALL_SENDMMSG, CALL_RECVFROM, CALL_RECVMSG, CALL_RECVMMSG,
	CALL_KILL, CALL_TGKILL, CALL_PRCTL, CALL_CAPGET, CALL_CAPSET,
	CALL_SETPGID, CALL_GETPGID, CALL_GETSID, CALL_SETPRIORITY, CALL_IOPRIO_SET, CALL_IOPRIO_GET,
	CALL_SETSCHEDULER, CALL_GETSCHEDULER, CALL_SETRLIMIT, CALL_PRLIMIT, CALL_PTRACE,
	CALL_MOUNT, CALL_UMOUNT, CALL_PIVOT_ROOT, CALL_MOVE_MOUNT,
	CALL_BPF, CALL_SYSLOG, CALL_SETTIMEOFDAY, CALL_CLOCK_SETTIME,
	CALL_PIDFD_GETFD, CALL_SOCKETCALL,
	CALL_SHMGET, CALL_SHMAT, CALL_SHMCTL, CALL_SEMGET, CALL_SEMCTL, CALL_SEMOP,
	CALL_MSGGET, CALL_MSGCTL, CALL_MSGSND, CALL_MSGRCV, CALL_IPC,
	CALL_ADD_KEY, CALL_REQUEST_KEY, CALL_KEYCTL,
	CALL_QUOTACTL, CALL_QUOTACTL_FD, CALL_INIT_MODULE, CALL_FINIT_MODULE, CALL_KEXEC_LOAD, CALL_KEXEC_FILE_LOAD,
	CALL_PIDFD_SEND_SIGNAL, CALL_NICE, CALL_FSCONFIG,
	CALL_PROCESS_VM, CALL_PROCESS_MADVISE, CALL_KCMP, CALL_LOOK_INTO,
	CALL_KINDS,
};

// call says of a system call where its arguments are; -1 for none.
struct call {
	unsigned char kind;
	signed char dir, path, dir2, path2, fd, flags, mode;
	int fixed;           // flags, or the like, of a call that has none as an argument
	unsigned char how;   // call_flags
	unsigned char pad[3];
};

enum call_flags {
	CALL_EARLY = 1,  // it is looked at when it begins, too
	CALL_NARROW = 2, // ids are of 16 bits
	CALL_SPLIT = 4,  // 64-bit values come as two registers, or two words in memory
	CALL_COARSE = 8, // times know no UTIME_NOW
};

// Numbers of calls: those of the machine itself, and behind them those of 32-bit
// programs.
#define CALLS_MAX 512
