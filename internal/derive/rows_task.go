// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import "quixote-export/tsem"

// taskRows is the calls about tasks.
func taskRows() []Row {
	killTypes, accessTypes := types(tsem.TaskKill), types(tsem.PtraceAccessCheck)
	setTypes, getTypes := types(tsem.TaskSetscheduler), types(tsem.TaskGetscheduler)
	rows := []Row{
		// Signals.
		at(Row{Name: "kill", plain: true, Events: killTypes, derive: kill}),
		at(Row{Name: "tkill", plain: true, Events: killTypes, derive: tkill}),
		at(Row{Name: "tgkill", plain: true, Events: killTypes, derive: tgkill}),
		at(Row{Name: "rt_sigqueueinfo", Events: killTypes, derive: sigqueue}),
		at(Row{Name: "rt_tgsigqueueinfo", Events: killTypes, derive: sigqueue, fixed: 1}),
		at(Row{Name: "pidfd_send_signal", Events: killTypes, derive: pidfdSignal}),

		// Who is who.
		at(Row{Name: "prctl", Events: types(tsem.TaskPrctl), derive: prctl}),
		at(Row{Name: "capget", Events: types(tsem.Capget), derive: capget}),
		at(Row{Name: "capset", Events: types(tsem.Capset), derive: capset}),

		// Groups, priorities, the scheduler, limits.
		at(Row{Name: "setpgid", plain: true, Events: types(tsem.TaskSetpgid), derive: setpgid}),
		at(Row{Name: "getpgid", plain: true, Events: types(tsem.TaskGetpgid), derive: getpgid}),
		at(Row{Name: "getsid", plain: true, Events: types(tsem.TaskGetsid), derive: getsid}),
		at(Row{Name: "nice", plain: true, Events: types(tsem.TaskSetnice), derive: nice}),
		at(Row{Name: "setpriority", plain: true, Events: types(tsem.TaskSetnice), derive: setpriority}),
		at(Row{Name: "ioprio_set", plain: true, Events: types(tsem.TaskSetioprio), derive: ioprioSet}),
		at(Row{Name: "ioprio_get", plain: true, Events: types(tsem.TaskGetioprio), derive: ioprioGet}),
		at(Row{Name: "sched_setscheduler", Events: setTypes, derive: schedSetscheduler}),
		at(Row{Name: "sched_setparam", Events: setTypes, derive: schedSetparam}),
		at(Row{Name: "sched_setattr", Events: setTypes, derive: schedSetattr}),
		at(Row{Name: "sched_setaffinity", Events: setTypes, derive: schedSetaffinity}),
		at(Row{Name: "sched_getscheduler", Events: getTypes, derive: getScheduler}),
		at(Row{Name: "sched_getparam", Events: getTypes, derive: schedGetparam}),
		at(Row{Name: "sched_getattr", Events: getTypes, derive: schedGetattr}),
		at(Row{Name: "sched_getaffinity", Events: getTypes, derive: schedGetaffinity}),
		at(Row{Name: "sched_rr_get_interval", Events: getTypes, derive: getScheduler}),
		at(Row{Name: "sched_rr_get_interval_time64", on: compat, Events: getTypes, derive: getScheduler}),
		at(Row{Name: "setrlimit", Events: types(tsem.TaskSetrlimit), derive: setrlimit}),
		at(Row{Name: "prlimit64", Events: types(tsem.TaskPrlimit, tsem.TaskSetrlimit), derive: prlimit}),

		// Looking into other tasks.
		at(Row{Name: "ptrace", plain: true, Events: types(tsem.PtraceAccessCheck, tsem.PtraceTraceme), derive: ptrace}),
		at(Row{Name: "process_vm_readv", Events: accessTypes, derive: processMemory}),
		at(Row{Name: "process_vm_writev", Events: accessTypes, derive: processMemory}),
		at(Row{Name: "process_madvise", Events: accessTypes, derive: processMadvise}),
		at(Row{Name: "kcmp", Events: accessTypes, derive: kcmp}),
		at(Row{Name: "get_robust_list", Events: accessTypes, derive: lookInto}),
		at(Row{Name: "move_pages", Events: accessTypes, derive: lookInto}),
		at(Row{Name: "migrate_pages", Events: accessTypes, derive: lookInto}),
		at(Row{Name: "perf_event_open", Events: accessTypes, derive: perfEventOpen}),
		at(Row{Name: "readlink", Events: accessTypes, derive: readlink}, none, 0, none, none, none, none, 2),
		at(Row{Name: "readlinkat", Events: accessTypes, derive: readlink}, 0, 1, none, none, none, none, 3),
	}
	for _, name := range []string{
		"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid",
		"setfsuid", "setfsgid", "setgroups",
	} {
		rows = append(rows, at(Row{Name: name, plain: true, derive: credentials}))
	}
	return rows
}
