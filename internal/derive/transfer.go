// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// transferRows is the calls that move data and are of interest only on sockets,
// which a filter cannot tell: so they are watched only when asked for.
func transferRows() []Row {
	send, receive := types(tsem.SocketSendmsg, tsem.UnixMaySend, tsem.NetlinkSend), types(tsem.SocketRecvmsg)
	return []Row{
		at(Row{Name: "write", io: true, Events: send, derive: writeSocket}, none, none, none, none, 0),
		at(Row{Name: "writev", io: true, Events: send, derive: writeSocket}, none, none, none, none, 0),
		at(Row{Name: "sendfile", io: true, Events: send, derive: writeSocket}, none, none, none, none, 0),
		at(Row{Name: "sendfile64", io: true, Events: send, derive: writeSocket, on: compat}, none, none, none, none, 0),
		at(Row{Name: "splice", io: true, Events: send, derive: splice}),
		at(Row{Name: "read", io: true, Events: receive, derive: readSocket}, none, none, none, none, 0),
		at(Row{Name: "readv", io: true, Events: receive, derive: readSocket}, none, none, none, none, 0),
	}
}

// writeSocket is a call that writes to a descriptor.
func writeSocket(d *Deriver, c *Call) error {
	return d.transfer(c, c.arg(c.Row.fd), tsem.SocketSendmsg)
}

// readSocket is a call that reads from a descriptor. To read nothing asks
// nobody.
func readSocket(d *Deriver, c *Call) error {
	size := c.Args[2]
	if c.Row.Name == "readv" {
		var err error
		if size, err = d.vectors(c, c.Args[1], size); err != nil {
			return err
		}
	}
	if size == 0 {
		return nil
	}
	return d.transfer(c, c.arg(c.Row.fd), tsem.SocketRecvmsg)
}

// splice moves data between two descriptors, one of them a pipe. What it takes
// out of a socket does not pass the hook.
func splice(d *Deriver, c *Call) error { return d.transfer(c, c.arg(2), tsem.SocketSendmsg) }

func (d *Deriver) transfer(c *Call, fd int32, kind tsem.Type) error {
	if _, err := socketInode(c.Task.TID, fd); err != nil {
		return err
	}
	info, err := d.lens.FDInfo(c.Task, fd)
	if err != nil || info.Flags&unix.O_PATH != 0 {
		return unix.EBADF
	}
	if kind == tsem.SocketSendmsg {
		return d.sendmsg(c, fd, nil)
	}
	return d.recvmsg(c, fd)
}
