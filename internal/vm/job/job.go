// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package job is what a virtual machine and its host say to one another. The
// host gives an archive, whose first member is a Job as JSON and whose others
// are files for the root; the machine answers on four serial ports.
package job

// A Job is the one command a machine runs.
type Job struct {
	Args, Env []string
	Dir       string
	Systemd   bool     // the first process becomes systemd before
	Before    []string // a command that is run before that, if it is there
	Get       []string // files and folders to hand back at the end
}

// Name is that of the member that holds the Job.
const Name = ".job"

// The ports: on the first come the line Alive before the command is run and an
// Ending as JSON after it; on the next two what the command writes, on the last
// an archive of what was asked for.
const (
	PortControl = "control"
	PortStdout  = "stdout"
	PortStderr  = "stderr"
	PortFiles   = "files"

	Ports = 4
	Alive = "alive"
)

// An Ending says how the command ended: its status, 128+n for a signal; or why
// it could not be run, or its files not be had.
type Ending struct {
	Status int
	Error  string
}
