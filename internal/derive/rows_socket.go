// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import "quixote-export/tsem"

// socketRows is the calls about sockets.
func socketRows() []Row {
	send := types(tsem.SocketSendmsg, tsem.UnixMaySend, tsem.NetlinkSend)
	receive := types(tsem.SocketRecvmsg)
	return []Row{
		at(Row{Name: "socket", Events: types(tsem.SocketCreate), derive: socket}),
		at(Row{Name: "socketpair", Events: types(tsem.SocketSocketpair, tsem.SocketCreate), derive: socketpair}),
		at(Row{Name: "connect", Events: types(tsem.SocketConnect, tsem.UnixStreamConnect, tsem.UnixMaySend), derive: connect}),
		at(Row{Name: "bind", Events: types(tsem.SocketBind, tsem.InodeMknod), derive: bind}),
		at(Row{Name: "listen", Events: types(tsem.SocketListen), derive: listen}),
		at(Row{Name: "accept", Events: types(tsem.SocketAccept), derive: accept}),
		at(Row{Name: "accept4", Events: types(tsem.SocketAccept), derive: accept}, none, none, none, none, none, 3),
		at(Row{Name: "getsockname", Events: types(tsem.SocketGetsockname), derive: getsockname}),
		at(Row{Name: "getpeername", Events: types(tsem.SocketGetpeername), derive: getpeername}),
		at(Row{Name: "setsockopt", Events: types(tsem.SocketSetsockopt), derive: setsockopt}),
		at(Row{Name: "shutdown", Events: types(tsem.SocketShutdown), derive: shutdown}),

		// Messages.
		at(Row{Name: "sendto", Events: send, derive: sendto}),
		at(Row{Name: "sendmsg", Events: send, derive: sendmsg}),
		at(Row{Name: "sendmmsg", Events: send, derive: sendmmsg}),
		at(Row{Name: "recvfrom", Events: receive, derive: recvfrom}),
		at(Row{Name: "recvmsg", Events: receive, derive: recvmsg}),
		at(Row{Name: "recvmmsg", Events: receive, derive: recvmmsg}),
		at(Row{Name: "recvmmsg_time64", on: compat, split: true, Events: receive, derive: recvmmsg}),
	}
}
