// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"

	"quixote-export/internal/model"
	"quixote-export/tsem"
)

// hook is a program on a hook of the kernel.
type hook struct {
	name string // of the hook
	// args are the arguments that the program looks at, by position: the name
	// of the struct that a pointer leads to, * for any pointer, n for a number,
	// _ for what it leaves alone. Loaded where they are others, it would take
	// one object for another without an error.
	args    string
	program string // if it has not the name of the hook
	needed  bool   // nothing can be told without it
}

// hooks are the programs, those that others rely on first. Of several for one
// hook the first that fits is loaded.
var hooks = []hook{
	{name: "task_alloc", args: "task_struct n", needed: true},
	{name: "task_free", args: "task_struct", needed: true},
	{name: "bprm_committed_creds", args: "linux_binprm", needed: true},
	{name: "d_instantiate", args: "dentry inode"},
	{name: "socket_post_create", args: "socket n n n n"},
	{name: "shm_alloc_security", args: "kern_ipc_perm"},
	{name: "shm_free_security", args: "kern_ipc_perm"},
	{name: "sem_alloc_security", args: "kern_ipc_perm"},
	{name: "sem_free_security", args: "kern_ipc_perm"},
	{name: "msg_queue_alloc_security", args: "kern_ipc_perm"},
	{name: "msg_queue_free_security", args: "kern_ipc_perm"},

	{name: "file_open", args: "file", needed: true},
	{name: "file_receive", args: "file"},
	{name: "file_ioctl", args: "file n"},
	{name: "file_ioctl_compat", args: "file n"},
	{name: "file_lock", args: "file n"},
	{name: "file_fcntl", args: "file n"},
	{name: "mmap_file", args: "file n n n"},

	{name: "inode_create", args: "inode dentry n"},
	{name: "inode_mkdir", args: "inode dentry n"},
	{name: "inode_unlink", args: "inode dentry"},
	{name: "inode_rmdir", args: "inode dentry"},
	{name: "inode_link", args: "dentry inode dentry"},
	{name: "inode_symlink", args: "inode dentry *"},
	{name: "inode_mknod", args: "inode dentry n n"},
	{name: "inode_rename", args: "inode dentry inode dentry"},
	{name: "inode_setattr", args: "_ dentry iattr"},
	{name: "inode_setattr", args: "dentry iattr", program: "inode_setattr_1"}, // before Linux 6.3
	{name: "inode_getattr", args: "path"},
	{name: "inode_setxattr", args: "_ dentry * * n n"},
	{name: "inode_getxattr", args: "dentry *"},
	{name: "inode_listxattr", args: "dentry"},
	{name: "inode_removexattr", args: "_ dentry *"},
	{name: "inode_killpriv", args: "_ dentry"},

	{name: "sb_mount", args: "* path * n"},
	{name: "sb_umount", args: "vfsmount n"},
	{name: "sb_remount", args: "super_block"},
	{name: "sb_pivotroot", args: "path path"},
	{name: "sb_statfs", args: "dentry"},
	{name: "move_mount", args: "path path"},
	{name: "quotactl", args: "n n n super_block"},
	{name: "quota_on", args: "dentry"},

	{name: "socket_create", args: "n n n n"},
	{name: "socket_connect", args: "socket * n"},
	{name: "socket_bind", args: "socket * n"},
	{name: "socket_accept", args: "socket"},
	{name: "socket_listen", args: "socket n"},
	{name: "socket_shutdown", args: "socket n"},
	{name: "socket_setsockopt", args: "socket n n"},
	{name: "socket_getsockname", args: "socket"},
	{name: "socket_getpeername", args: "socket"},
	{name: "socket_sendmsg", args: "socket msghdr"},
	{name: "socket_recvmsg", args: "socket msghdr"},
	{name: "socket_socketpair", args: "socket socket"},
	{name: "unix_stream_connect", args: "sock sock"},
	{name: "unix_may_send", args: "socket socket"},
	{name: "netlink_send", args: "sock sk_buff"},

	{name: "task_kill", args: "task_struct _ n cred"},
	{name: "task_setpgid", args: "task_struct n"},
	{name: "task_getpgid", args: "task_struct"},
	{name: "task_getsid", args: "task_struct"},
	{name: "task_getioprio", args: "task_struct"},
	{name: "task_setioprio", args: "task_struct n"},
	{name: "task_setnice", args: "task_struct n"},
	{name: "task_setscheduler", args: "task_struct"},
	{name: "task_getscheduler", args: "task_struct"},
	{name: "task_prlimit", args: "cred cred n"},
	{name: "task_setrlimit", args: "task_struct n rlimit"},
	{name: "task_prctl", args: "n n n n n"},
	{name: "ptrace_access_check", args: "task_struct n"},
	{name: "ptrace_traceme", args: "task_struct"},
	{name: "capable", args: "cred user_namespace n n"},
	{name: "capget", args: "task_struct * * *"},
	{name: "capset", args: "cred cred * * *"},

	{name: "kernel_module_request", args: "*"},
	{name: "kernel_load_data", args: "n n"},
	{name: "kernel_read_file", args: "file n n"},

	{name: "shm_associate", args: "kern_ipc_perm n"},
	{name: "shm_shmctl", args: "kern_ipc_perm n"},
	{name: "shm_shmat", args: "kern_ipc_perm * n"},
	{name: "sem_associate", args: "kern_ipc_perm n"},
	{name: "sem_semctl", args: "kern_ipc_perm n"},
	{name: "sem_semop", args: "kern_ipc_perm _ n n"},
	{name: "msg_queue_associate", args: "kern_ipc_perm n"},
	{name: "msg_queue_msgctl", args: "kern_ipc_perm n"},
	{name: "msg_queue_msgsnd", args: "kern_ipc_perm _ n"},
	{name: "msg_queue_msgrcv", args: "kern_ipc_perm _ task_struct n n"},
	{name: "ipc_permission", args: "kern_ipc_perm n"},

	{name: "syslog", args: "n"},
	{name: "settime", args: "timespec64 timezone"},
	{name: "key_alloc", args: "key cred n"},
	{name: "key_permission", args: "_ cred"},
	{name: "bpf", args: "n _ n"},
	{name: "bpf_map", args: "bpf_map n"},
	{name: "bpf_prog", args: "bpf_prog"},
	{name: "tun_dev_create"},
	{name: "tun_dev_open"},
	{name: "tun_dev_attach_queue"},
	{name: "tun_dev_attach"},
}

// hashers are the programs that have the kernel make digests. They are attached
// last, which has them called first.
var hashers = []*hook{
	{name: "bprm_committed_creds", program: "hash_executed"},
	{name: "mmap_file", program: "hash_mapped"},
}

// hashNumbers are the numbers that kernels have for digest algorithms
// (include/uapi/linux/hash_info.h).
var hashNumbers = map[string]uint32{"md5": 1, "sha1": 2, "sha256": 4, "sha384": 5, "sha512": 6, "sha224": 7}

// hashing is the hashers that are wanted. For the whole host they are not: it
// would wait for the digests.
func (o *loadOptions) hashing() []*hook {
	if o.hash == 0 || o.host {
		return nil
	}
	return hashers
}

func (h *hook) programName() string {
	if h.program != "" {
		return h.program
	}
	return h.name
}

// isEvent tells whether the hook is that of an event, and not one that others
// rely on.
func (h *hook) isEvent() bool {
	t, ok := tsem.TypeByName(h.name)
	return ok && t.Info().Export != tsem.NotExported
}

// of leaves of the hooks those that a model keeps the events of, and those that
// others rely on.
func of(hooks []*hook, m *model.Model) (wanted []*hook) {
	for _, h := range hooks {
		t, _ := tsem.TypeByName(h.name)
		if _, kept := m.Of(t); kept || h.needed || !h.isEvent() {
			wanted = append(wanted, h)
		}
	}
	return wanted
}

// fit finds, for the types of the running kernel, the hooks that can be used,
// and for the others says why not.
func fit(types *btf.Spec) (usable []*hook, missing map[string]error) {
	missing = make(map[string]error)
	found := make(map[string]bool)
	for i := range hooks {
		h := &hooks[i]
		if found[h.name] {
			continue
		}
		if err := h.fits(types); err != nil {
			missing[h.name] = err
			continue
		}
		delete(missing, h.name)
		found[h.name] = true
		usable = append(usable, h)
	}
	return usable, missing
}

// fits compares the arguments of the hook with what the program takes them for.
func (h *hook) fits(types *btf.Spec) error {
	var f *btf.Func
	err := types.TypeByName("bpf_lsm_"+h.name, &f)
	if errors.Is(err, btf.ErrNotFound) {
		return errors.New("the kernel has no such hook")
	}
	if err != nil {
		return err
	}
	proto, ok := f.Type.(*btf.FuncProto)
	if !ok {
		return errors.New("its type is unknown")
	}
	return h.takes(proto)
}

// takes compares the parameters of a hook with what the program looks at.
func (h *hook) takes(proto *btf.FuncProto) error {
	want := strings.Fields(h.args)
	if len(proto.Params) < len(want) {
		return errors.New("the kernel calls it with fewer arguments")
	}
	for i, w := range want {
		if is := argument(proto.Params[i].Type); w != "_" && w != is && !(w == "*" && is != "n") {
			return fmt.Errorf("the kernel calls it with other arguments (%s where %s was expected)", is, w)
		}
	}
	return nil
}

// argument is the word for an argument of that type.
func argument(t btf.Type) string {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Pointer:
		if s, ok := btf.UnderlyingType(t.Target).(*btf.Struct); ok && s.Name != "" {
			return s.Name
		}
		if f, ok := btf.UnderlyingType(t.Target).(*btf.Fwd); ok {
			return f.Name
		}
		return "*"
	case *btf.Int, *btf.Enum:
		return "n"
	}
	return "_"
}
