// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package standin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"bazil.org/fuse"
	"bazil.org/fuse/fs"
)

// Plane is a mounted control plane.
type Plane struct {
	*Kernel
	Dir string // where securityfs would be

	conn   *fuse.Conn
	server *fs.Server
	served chan error
}

// Mount mounts the control plane of a new kernel on a folder.
func Mount(dir string, o Options) (*Plane, error) {
	conn, err := fuse.Mount(dir, fuse.FSName("standin"), fuse.Subtype("tsem"))
	if err != nil {
		return nil, fmt.Errorf("cannot mount the stand-in: %w", err)
	}
	p := &Plane{Kernel: newKernel(o), Dir: dir, conn: conn, server: fs.New(conn, nil), served: make(chan error, 1)}
	go func() { p.served <- p.server.Serve(p) }()
	return p, nil
}

// Close unmounts it.
func (p *Plane) Close() error {
	err := fuse.Unmount(p.Dir)
	for n := 0; err != nil && n < 100; n++ { // somebody may have it open for a moment
		time.Sleep(20 * time.Millisecond)
		err = fuse.Unmount(p.Dir)
	}
	if err != nil {
		return err
	}
	return errors.Join(<-p.served, p.conn.Close())
}

// Root implements fs.FS.
func (p *Plane) Root() (fs.Node, error) {
	tsem := map[string]fs.Node{
		"control":   &file{mode: 0o200, open: p.openControl},
		"id":        &file{mode: 0o400, open: p.openID},
		"aggregate": &file{mode: 0o400, open: p.openAggregate},
	}
	for name, node := range tsem {
		node.(*file).opened = p.opened(name)
	}
	if p.options.Newer {
		tsem["export"] = p.streamFile()
	} else {
		tsem["external_tma"] = numbered{p}
	}
	lsm := p.options.LSM
	if lsm == "" {
		lsm = "lockdown,capability,tsem"
	}
	return &folder{map[string]fs.Node{"lsm": &file{mode: 0o444, open: text(lsm)}, "tsem": &folder{tsem}}}, nil
}

// opened is what a test wants to do when a file is opened.
func (p *Plane) opened(name string) func(tid int) syscall.Errno {
	return func(tid int) syscall.Errno {
		if p.options.Opened == nil {
			return 0
		}
		return p.options.Opened(name, tid)
	}
}

// folder is one whose entries are known.
type folder struct{ entries map[string]fs.Node }

func (f *folder) Attr(_ context.Context, a *fuse.Attr) error {
	*a = fuse.Attr{Mode: os.ModeDir | 0o755}
	return nil
}

func (f *folder) Lookup(_ context.Context, req *fuse.LookupRequest, resp *fuse.LookupResponse) (fs.Node, error) {
	resp.EntryValid = 0
	if n, ok := f.entries[req.Name]; ok {
		return n, nil
	}
	return nil, syscall.ENOENT
}

// numbered is the folder of the older generation, with a file for each context.
type numbered struct{ p *Plane }

func (n numbered) Attr(_ context.Context, a *fuse.Attr) error {
	*a = fuse.Attr{Mode: os.ModeDir | 0o755}
	return nil
}

func (n numbered) Lookup(_ context.Context, req *fuse.LookupRequest, resp *fuse.LookupResponse) (fs.Node, error) {
	resp.EntryValid = 0
	number, err := strconv.ParseUint(req.Name, 10, 64)
	if err != nil || !n.p.exists(number) {
		return nil, syscall.ENOENT
	}
	return n.p.streamFile(), nil
}

// streamFile is that of a stream, whatever its name.
func (p *Plane) streamFile() *file {
	return &file{mode: 0o400, open: p.openStream, opened: p.opened("stream")}
}

// file is one that is opened by somebody with certain flags.
type file struct {
	mode   os.FileMode
	open   func(tid int, flags fuse.OpenFlags) (fs.Handle, error)
	opened func(tid int) syscall.Errno
}

func (f *file) Attr(_ context.Context, a *fuse.Attr) error {
	*a = fuse.Attr{Mode: f.mode}
	return nil
}

func (f *file) Open(_ context.Context, req *fuse.OpenRequest, resp *fuse.OpenResponse) (fs.Handle, error) {
	resp.Flags |= fuse.OpenDirectIO
	if f.opened != nil {
		if errno := f.opened(int(req.Pid)); errno != 0 {
			return nil, errno
		}
	}
	return f.open(int(req.Pid), req.Flags)
}

// content is a handle of what does not change.
type content string

func text(s string) func(int, fuse.OpenFlags) (fs.Handle, error) {
	return func(int, fuse.OpenFlags) (fs.Handle, error) { return content(s), nil }
}

func (c content) Read(_ context.Context, req *fuse.ReadRequest, resp *fuse.ReadResponse) error {
	from := min(req.Offset, int64(len(c)))
	resp.Data = []byte(c[from:min(from+int64(req.Size), int64(len(c)))])
	return nil
}

func (p *Plane) openID(tid int, _ fuse.OpenFlags) (fs.Handle, error) {
	if !mayAdmin(tid) {
		return nil, syscall.EPERM
	}
	line, errno := p.id(tid)
	if errno != 0 {
		return nil, errno
	}
	return content(line), nil
}

func (p *Plane) openAggregate(tid int, _ fuse.OpenFlags) (fs.Handle, error) {
	if !p.informs(tid) {
		return nil, syscall.EACCES
	}
	return content("0000000000000000000000000000000000000000000000000000000000000000\n"), nil
}

func (p *Plane) openControl(tid int, flags fuse.OpenFlags) (fs.Handle, error) {
	if !mayAdmin(tid) || !flags.IsWriteOnly() {
		return nil, syscall.EACCES
	}
	return control{p}, nil
}

// control is a handle of the file control.
type control struct{ p *Plane }

func (c control) Write(_ context.Context, req *fuse.WriteRequest, resp *fuse.WriteResponse) error {
	if errno := c.p.write(int(req.Pid), req.Data); errno != 0 {
		return errno
	}
	if resp.Size = len(req.Data); c.p.options.Takes != 0 {
		resp.Size = c.p.options.Takes
	}
	return nil
}

func (p *Plane) openStream(tid int, _ fuse.OpenFlags) (fs.Handle, error) {
	if !mayAdmin(tid) {
		return nil, syscall.EACCES
	}
	return &stream{p: p, room: cmp.Or(p.options.Room, 4096)}, nil
}

// stream is a handle of a stream. What it gives depends on who reads.
type stream struct {
	p    *Plane
	room int    // what a record must fit into
	rest []byte // of the record that is being read
	at   int64  // where that goes on
}

func (s *stream) Read(_ context.Context, req *fuse.ReadRequest, resp *fuse.ReadResponse) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if req.Offset != 0 {
		// Within a record, or behind it.
		if req.Offset == s.at {
			s.give(req.Size, resp)
		}
		return nil
	}
	c := s.p.context(int(req.Pid))
	if c == nil {
		return syscall.ENODATA
	}
	for len(c.queue) > 0 {
		next := c.next()
		switch {
		case next.record == nil && next.errno != 0:
			return next.errno
		case len(next.record) >= s.room:
			// It is lost. The next one finds a larger room.
			s.room *= 2
			continue
		}
		s.rest, s.at = next.record, 0
		s.give(req.Size, resp)
		return nil
	}
	return syscall.ENODATA
}

func (s *stream) give(size int, resp *fuse.ReadResponse) {
	n := min(size, len(s.rest))
	resp.Data = append(resp.Data[:0], s.rest[:n]...)
	s.rest, s.at = s.rest[n:], s.at+int64(n)
}

// What poll says to who has nothing to read here: an error and a hang-up.
const pollForeign = 0x18

func (s *stream) Poll(_ context.Context, req *fuse.PollRequest, resp *fuse.PollResponse) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	c := s.p.context(int(req.Pid))
	switch {
	case c == nil:
		resp.REvents = pollForeign
	case len(c.queue) > 0:
		resp.REvents = fuse.PollIn
	}
	if w, ok := req.Wakeup(); ok && c != nil && len(c.queue) == 0 {
		c.wakeups = append(c.wakeups, func() { s.p.server.NotifyPollWakeup(w) })
	}
	return nil
}
