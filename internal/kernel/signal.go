// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sender is who a signal is said to come from, in the sender's own numbers.
type Sender struct{ PID, UID uint32 }

// SendAs sends a signal to the process of a pidfd in the name of another
// sender. The kernel lets nobody claim that it was a kill: the signal counts as
// queued.
func SendAs(pidfd int, sig unix.Signal, from Sender) error {
	const queued = -1 // SI_QUEUE
	info := struct {
		signo, errno, code, pad int32
		from                    Sender
		rest                    [128 - 24]byte
	}{signo: int32(sig), code: queued, from: from}
	_, _, errno := unix.Syscall6(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(pidfd), uintptr(sig),
		uintptr(unsafe.Pointer(&info)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
