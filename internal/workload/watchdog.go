// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// markWatch is the first argument of a watchdog. No flag looks like it.
const markWatch = "\x01watch"

// IsWatchdog tells whether args, those of the process, are those of a
// watchdog.
func IsWatchdog(args []string) bool { return len(args) > 1 && args[1] == markWatch }

// A Legacy is what a supervisor that was killed has left.
type Legacy struct {
	Will    []byte           // as in Spec
	Ledger  *os.File         // as in Spec
	Outputs map[int]*os.File // as told with Output, by number
	Left    int              // processes that could not be killed
}

// Read reads the records of a context into the ledger of that file, on the
// thread that has made the child which entered the context: for a kernel that
// answers by the task that asks. The source attaches at the other end of line.
// over becomes readable when the context has no task left, or is not to be
// watched any more; then Read reads what there is, and returns. Until then it
// goes on also when the supervisor is gone: what the workload did in its last
// moments is read, too.
type Read func(line int, ledger *os.File, over int)

// watchdog is the process between the supervisor and the command.
type watchdog struct {
	socket  int
	over    int   // an event descriptor for Read
	command int   // pid
	kept    []int // descriptors that must stay open
	legacy  Legacy

	mu    sync.Mutex // held to collect children
	ended bool       // the command
	alone bool       // wait must not collect any more
}

// Watch is the whole life of the watchdog: it starts the command, tells the
// supervisor how it fares, and collects the orphans of the workload. When the
// supervisor dies it kills everything that descends from it, and hands over to
// after what was left. Its caller must have locked the main goroutine to the
// main thread: the command dies with that, and reads, by the name of the way,
// run on it.
func Watch(args []string, reads map[string]Read, after func(Legacy)) int {
	if len(args) < 10 {
		return failed
	}
	var numbers [5]int
	for i := range numbers {
		n, err := strconv.Atoi(args[2+i])
		if err != nil {
			return failed
		}
		numbers[i] = n
	}
	socket, control, line, records, group := numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
	unix.CloseOnExec(socket)
	unix.CloseOnExec(records)
	over, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		say(socket, sayFailed, []byte(err.Error()), -1)
		return failed
	}
	w := &watchdog{socket: socket, over: over, legacy: Legacy{
		Ledger: os.NewFile(uintptr(records), "records"), Outputs: make(map[int]*os.File),
	}}
	// What is caught is not inherited, as ignoring would be.
	signals := make(chan os.Signal, 1)
	if !Unhung() {
		signal.Notify(signals, unix.SIGHUP)
	}
	signal.Notify(signals, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGTSTP, unix.SIGTTOU,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE, unix.SIGXFSZ, unix.SIGALRM, unix.SIGVTALRM, unix.SIGPROF)
	terminal := saveTerminal(group)
	if line >= 0 {
		unix.CloseOnExec(line)
	}
	if err := errors.Join(Subreaper(), Undumpable()); err != nil {
		say(socket, sayFailed, []byte(err.Error()), -1)
		return failed
	}
	if err := w.start(control, group, args[7:]); err != nil {
		say(socket, sayFailed, []byte(err.Error()), -1)
		return failed
	}
	if err := say(socket, sayStarted, []byte(strconv.Itoa(w.command)), -1); err != nil {
		unix.Kill(w.command, unix.SIGKILL)
	}
	alone := make(chan bool)
	go func() {
		finished := w.listen()
		if !finished {
			w.mu.Lock()
			w.alone = true
			w.mu.Unlock()
			w.legacy.Left = KillDescendants(killPatience)
		}
		w.tellOver()
		alone <- finished
	}()
	if w.command != 0 {
		go w.wait()
	}
	if read := reads[args[7]]; read != nil && line >= 0 {
		read(line, w.legacy.Ledger, over)
	}
	if finished := <-alone; finished {
		return 0
	}
	signal.Ignore(unix.SIGTTOU) // or using the terminal would stop us
	if terminal.fd >= 0 && !terminal.taken() {
		terminal.restore()
	}
	after(w.legacy)
	return 0
}

// killPatience is how long processes may take to die. One that is stuck in the
// kernel may take for ever.
const killPatience = 10 * time.Second

// start makes the child that becomes the command. words are way, options, path
// and arguments of its Spec. Without a path there is none.
func (w *watchdog) start(control, group int, words []string) error {
	if path := words[2]; path == "" {
		unix.Close(control)
		return nil
	}
	attr := &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true, Pgid: group},
	}
	args := append([]string{name, mark, strconv.Itoa(control)}, words...)
	pid, err := syscall.ForkExec("/proc/self/exe", args, attr)
	unix.Close(control)
	if err != nil {
		return fmt.Errorf("cannot start a child: %w", err)
	}
	w.command = pid
	return nil
}

// listen does what the supervisor asks for. It is false when that has died.
func (w *watchdog) listen() (finished bool) {
	for {
		m, err := hear(w.socket)
		if err != nil {
			return false
		}
		switch m.word {
		case sayWill:
			w.legacy.Will = m.text
		case sayKeep:
			w.keep(m.fd)
		case sayOutput:
			w.keepOutput(m)
		case sayContinue:
			unix.Kill(w.command, unix.SIGCONT)
		case sayFinish:
			return true
		case 0:
			return false
		}
	}
}

// keep keeps a descriptor open, and gives up listeners that have lost their
// last task.
func (w *watchdog) keep(fd int) {
	open := w.kept[:0]
	for _, l := range append(w.kept, fd) {
		fds := []unix.PollFd{{Fd: int32(l)}}
		if _, err := unix.Poll(fds, 0); err == nil && fds[0].Revents&unix.POLLHUP != 0 {
			unix.Close(l)
			continue
		}
		open = append(open, l)
	}
	w.kept = open
}

// keepOutput takes over an output in the place of that which had its number.
func (w *watchdog) keepOutput(m message) {
	if len(m.text) != 1 || m.fd < 0 {
		return
	}
	i := int(m.text[0])
	if old := w.legacy.Outputs[i]; old != nil {
		old.Close()
	}
	w.legacy.Outputs[i] = os.NewFile(uintptr(m.fd), fmt.Sprintf("output %d", i))
}

// tellOver tells Read that nothing more will come.
func (w *watchdog) tellOver() { unix.Write(w.over, []byte{0: 1, 7: 0}) }

// wait collects children, and tells how the command fares.
func (w *watchdog) wait() {
	for w.collect() {
		// Nothing is collected here: from when we are alone on, others collect
		// the children that they make.
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WSTOPPED|unix.WCONTINUED|unix.WNOWAIT|unix.WALL, nil)
		if err != nil && err != unix.EINTR {
			w.tellOver() // there is nobody left
			return
		}
	}
}

// collect collects what there is to collect, and is false when it must not.
func (w *watchdog) collect() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.alone {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WUNTRACED|unix.WCONTINUED|unix.WNOHANG|unix.WALL, nil)
		switch {
		case err == unix.EINTR:
		case err != nil || pid == 0:
			return true
		case pid != w.command || w.ended: // the number may be used again
		case status.Continued():
			unix.Kill(os.Getppid(), unix.SIGCONT) // who may have stopped with it
		case status.Stopped():
			say(w.socket, sayStopped, nil, -1)
		default:
			code := status.ExitStatus()
			if status.Signaled() {
				code = 128 + int(status.Signal())
			}
			w.ended = true
			say(w.socket, sayExited, []byte(strconv.Itoa(code)), -1)
		}
	}
	return false
}
