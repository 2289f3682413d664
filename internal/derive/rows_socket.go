// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import "quixote-export/tsem"

// socketRows is the calls about sockets.
func socketRows() []Row {
	return []Row{
		at(Row{Name: "socket", Events: types(tsem.SocketCreate), derive: socket}),
		at(Row{Name: "connect", Events: types(tsem.SocketConnect), derive: connect}),
		at(Row{Name: "bind", Events: types(tsem.SocketBind, tsem.InodeMknod), derive: bind}),
		at(Row{Name: "listen", Events: types(tsem.SocketListen), derive: listen}),
		at(Row{Name: "accept", Events: types(tsem.SocketAccept), derive: accept}),
		at(Row{Name: "accept4", Events: types(tsem.SocketAccept), derive: accept}, none, none, none, none, none, 3),
	}
}
