// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import "quixote-export/tsem"

// taskRows is the calls about tasks: signals, and those that tell who is who.
func taskRows() []Row {
	killTypes := types(tsem.TaskKill)
	rows := []Row{
		// Signals.
		at(Row{Name: "kill", Events: killTypes, derive: kill}),
		at(Row{Name: "tkill", Events: killTypes, derive: tkill}),
		at(Row{Name: "tgkill", Events: killTypes, derive: tgkill}),
		at(Row{Name: "rt_sigqueueinfo", Events: killTypes, derive: sigqueue}),
		at(Row{Name: "rt_tgsigqueueinfo", Events: killTypes, derive: sigqueue, fixed: 1}),
		at(Row{Name: "pidfd_send_signal", Events: killTypes, derive: pidfdSignal}),

		// Who is who.
		at(Row{Name: "prctl", Trap: TrapName, derive: prctl}),
	}
	for _, name := range []string{
		"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid",
		"setfsuid", "setfsgid", "setgroups", "capset",
	} {
		rows = append(rows, at(Row{Name: name, derive: credentials}))
	}
	return rows
}
