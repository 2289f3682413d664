// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package standin is a TSEM kernel's control plane for tests: a FUSE file system
// that answers by the calling thread, as such a kernel does, and is fed by hand.
// It needs root and fusermount3.
//
// A thread that forks is taken to be the first of its process: the kernel's rule
// is by thread, but only that can be told from outside.
package standin

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// A Rule is how a kernel answers who reads the file id.
type Rule int

const (
	// ByManager names the context of a child, and has none otherwise.
	ByManager Rule = iota
	// ByManagerOrRoot names the context of a child, or else the root context.
	ByManagerOrRoot
	// ByOwn names the context of the task itself.
	ByOwn
)

// Options of a kernel.
type Options struct {
	Newer      bool // the streams are one file, export
	Rule       Rule
	RootExport bool
	Models     []string // that can be had
	NoDigests  []string // that cannot, of all that are known
	// Created is called with each new context, before the one who makes it goes
	// on, and may feed it.
	Created func(*Context)
	// Opened is called with each file of the plane that somebody opens: its name,
	// "stream" for each stream, and the thread. Its error is the answer, unless it
	// is 0.
	Opened func(name string, tid int) syscall.Errno
	// LSM is what the file of that name holds, "" for one with tsem.
	LSM string
	// Wrote is called with each command before it is looked at; its error is the
	// answer, unless it is 0.
	Wrote func(command string) syscall.Errno
	// Takes is what a write to the control file says that it has taken, where it
	// is not all.
	Takes int
	// Room is what a record must fit into at first: 0 for a page.
	Room int
}

// Kernel is the kernel's part.
type Kernel struct {
	options Options

	mu       sync.Mutex
	last     uint64
	all      map[uint64]*Context
	managed  map[int]*Context // by thread
	own      map[int]*Context // by task
	root     *Context
	commands []string
}

// Context is a context of the kernel.
type Context struct {
	Number  uint64
	Task    int // that has made it
	Manager int // whose child that is

	k       *Kernel
	queue   []item
	wakeups []func()
	taken   int
}

// item is what one read gives.
type item struct {
	record []byte
	errno  syscall.Errno
	stays  bool // for every later read
	// left records, the next of which make gives, stand in its place.
	left int
	make func() []byte
}

func newKernel(o Options) *Kernel {
	k := &Kernel{options: o, all: make(map[uint64]*Context), managed: make(map[int]*Context), own: make(map[int]*Context)}
	k.root = &Context{k: k}
	return k
}

// Root is the root context.
func (k *Kernel) Root() *Context { return k.root }

// Commands are those that were written so far.
func (k *Kernel) Commands() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.commands)
}

// Push queues records, each with its line feed.
func (c *Context) Push(records ...[]byte) {
	items := make([]item, len(records))
	for i, r := range records {
		items[i].record = r
	}
	c.push(items)
}

// Fail queues a read that fails. Errno 0: one that gives nothing.
func (c *Context) Fail(errno syscall.Errno) { c.push([]item{{errno: errno}}) }

// Feed queues n records that are made when they are read.
func (c *Context) Feed(n int, make func() []byte) { c.push([]item{{left: n, make: make}}) }

// next takes what the next read gives off the queue.
func (c *Context) next() item {
	next := &c.queue[0]
	if next.make != nil {
		made := item{record: next.make()}
		if next.left--; next.left == 0 {
			c.queue = c.queue[1:]
		}
		c.taken++
		return made
	}
	if !next.stays {
		c.queue = c.queue[1:]
		c.taken++
	}
	return *next
}

// FailForEver is Fail for every read from there on.
func (c *Context) FailForEver(errno syscall.Errno) { c.push([]item{{errno: errno, stays: true}}) }

func (c *Context) push(items []item) {
	c.k.mu.Lock()
	c.queue = append(c.queue, items...)
	wake := c.wakeups
	c.wakeups = nil
	c.k.mu.Unlock()
	for _, w := range wake {
		w()
	}
}

// Queued is how many reads there are to be had.
func (c *Context) Queued() int {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	n := 0
	for _, i := range c.queue {
		n += max(i.left, 1)
	}
	return n
}

// Taken is how many reads have been had.
func (c *Context) Taken() int {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	return c.taken
}

// digests that the kernel takes for ones, and what it dies of.
var digests = []string{
	"md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3-224", "sha3-256", "sha3-384", "sha3-512",
	"sm3", "rmd160", "blake2b-160", "blake2b-256", "blake2b-384", "blake2b-512", "blake2s-256",
}

// write is a write to the control file by a thread.
func (k *Kernel) write(tid int, data []byte) syscall.Errno {
	line, _, found := bytes.Cut(data, []byte{'\n'})
	if !found || len(data) > 127 {
		return syscall.EINVAL
	}
	command := string(line)
	k.mu.Lock()
	k.commands = append(k.commands, command)
	k.mu.Unlock()
	if k.options.Wrote != nil {
		if errno := k.options.Wrote(command); errno != 0 {
			return errno
		}
	}
	words := strings.Fields(command)
	if len(words) == 0 || words[0] != "export" || strings.HasSuffix(command, "export ") {
		return syscall.EINVAL
	}
	for _, word := range words[1:] {
		if errno := k.argument(word); errno != 0 {
			return errno
		}
	}
	c := k.create(tid)
	if k.options.Created != nil {
		k.options.Created(c)
	}
	return 0
}

func (k *Kernel) argument(word string) syscall.Errno {
	key, value, found := strings.Cut(word, "=")
	n, err := strconv.ParseUint(value, 0, 32)
	switch {
	case !found:
	case key == "nsref" && (value == "initial" || value == "current"):
		return 0
	case key == "digest" && slices.Contains(digests, value) && !slices.Contains(k.options.NoDigests, value):
		return 0
	case key == "digest" && strings.Contains(value, "("):
		panic("the kernel is dead: digest " + value)
	case key == "cache" && err == nil && n > 50000:
		panic("the kernel is dead: cache " + value)
	case key == "cache" && err == nil && n > 0:
		return 0
	case key == "model" && slices.Contains(k.options.Models, value):
		return 0
	}
	return syscall.EINVAL
}

func (k *Kernel) create(tid int) *Context {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last++
	c := &Context{k: k, Number: k.last, Task: tid, Manager: parent(tid)}
	k.all[c.Number], k.managed[c.Manager], k.own[tid] = c, c, c
	return c
}

// id is what the file of that name holds for a thread.
func (k *Kernel) id(tid int) (string, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	number := uint64(0)
	switch c := k.managed[tid]; {
	case k.options.Rule == ByOwn:
		if own := k.own[tid]; own != nil {
			number = own.Number
		}
	case c != nil:
		number = c.Number
	case k.options.Rule == ByManager || k.own[tid] != nil:
		return "", syscall.ENOENT
	}
	return fmt.Sprintf("%d\n", number), 0
}

// context is the one that a thread reads, nil for none.
func (k *Kernel) context(tid int) *Context {
	if c := k.managed[tid]; c != nil {
		return c
	}
	if k.options.RootExport && k.own[tid] == nil {
		return k.root
	}
	return nil
}

// informs tells whether a thread may look at what is to be told of a context.
func (k *Kernel) informs(tid int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return mayAdmin(tid) && (k.own[tid] == nil || k.managed[tid] != nil)
}

// exists tells whether there is a stream of that number, where streams have one.
func (k *Kernel) exists(number uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if number == 0 {
		return k.options.RootExport
	}
	c := k.all[number]
	return c != nil && alive(c.Manager)
}

func alive(tid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", tid))
	return err == nil
}

// parent is the process that a thread's process is a child of.
func parent(tid int) int {
	n, _ := strconv.Atoi(status(tid, "PPid:"))
	return n
}

// mayAdmin tells whether a thread has CAP_MAC_ADMIN.
func mayAdmin(tid int) bool {
	const capMacAdmin = 33
	caps, _ := strconv.ParseUint(status(tid, "CapEff:"), 16, 64)
	return caps&(1<<capMacAdmin) != 0
}

func status(tid int, key string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, key); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
