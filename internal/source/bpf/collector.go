// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
)

// A collector is the programs on the hooks of the whole host, with their rings,
// kept in the kernel by the names that they have in a BPF file system: events
// are collected with no process alive.

// DefaultHostRing is the size in bytes of the ring of a collector.
const DefaultHostRing = 64 << 20

// Place is where a collector is.
type Place struct {
	Pins  string // a folder in a BPF file system: what is in the kernel
	State string // a folder of this boot: how far it was read
}

// ErrNoCollector means that none is installed.
var ErrNoCollector = errors.New("no collector is installed (-R or --install-collector starts one)")

// ErrBusy means that somebody else reads, installs or removes the collector.
var ErrBusy = errors.New("another quixote-export exports the root context: only one can")

// CollectorOptions are what a collector is installed with.
type CollectorOptions struct {
	Trace bool   // from the tracepoints of system calls, not the hooks
	Ring  uint32 // bytes, 0 for DefaultHostRing
	Users bool   // ids as in the user namespaces of the tasks can be told
	Model *model.Model
	// Filter says what is left out.
	Filter Filter
}

// About is what is known of a collector that is installed.
type About struct {
	Programs string    // hash of the programs
	Trace    bool      `json:",omitempty"` // from the tracepoints of system calls
	Since    time.Time // when it was installed
	Ring     uint32    // bytes
	Users    bool
	Model    string
	Filter   Filter
	Hooks    []string          // that programs are on
	Missing  map[string]string // the others, and why
}

// Ours tells whether this program can read what the collector writes.
func (a *About) Ours() error {
	if a.Programs != programsHash() {
		return errors.New("the collector was installed by another version of quixote-export: export with that, or take it away (--remove-collector) and begin anew")
	}
	return nil
}

// Unseen lists what the collector cannot see on this host, with the reasons.
func (a *About) Unseen() []string {
	var unseen []string
	for name, why := range a.Missing {
		unseen = append(unseen, name+" ("+why+")")
	}
	slices.Sort(unseen)
	if a.Trace {
		unseen = append(unseen, traceUnseen()...)
	}
	return unseen
}

func (p *Place) file(name string) string { return filepath.Join(p.State, name) }

// programsHash tells the programs of one version from those of another.
func programsHash() string {
	sum := sha256.Sum256(slices.Concat(hooksObject, traceObject, oldHooksObject, oldTraceObject))
	return hex.EncodeToString(sum[:])
}

// Lock keeps all others from the collector, until the file is closed.
func (p *Place) Lock() (*os.File, error) {
	if err := os.MkdirAll(p.State, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder of the collector: %w", err)
	}
	f, err := os.OpenFile(p.file(fileLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the collector: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, ErrBusy
	}
	return nil, fmt.Errorf("cannot lock the collector: %w", err)
}

// bpffsMagic is the type of a BPF file system (include/uapi/linux/magic.h).
const bpffsMagic = 0xcafe4a11

// mountPins makes sure that the folder above the pins is in a BPF file system.
func (p *Place) mountPins() error {
	dir := filepath.Dir(p.Pins)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("cannot look at %s: %w", dir, err)
	}
	if uint32(st.Type) == bpffsMagic {
		return nil
	}
	if err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("%s is no BPF file system, and none can be mounted there: %w", dir, err)
	}
	return nil
}

// Install loads and attaches the programs of the whole host, and leaves them in
// the kernel. The place is locked.
func (p *Place) Install(o CollectorOptions) error {
	if _, err := os.Stat(p.Pins); err == nil {
		return errors.New("the collector is installed already (--collector-status tells more, --remove-collector takes it away)")
	}
	if err := p.mountPins(); err != nil {
		return err
	}
	k, err := o.load()
	if err != nil {
		return err
	}
	defer k.close()
	about := About{
		Programs: programsHash(), Trace: o.Trace, Since: time.Now().Round(0), Ring: o.Ring, Users: o.Users,
		Model: o.Model.Name, Filter: o.Filter, Hooks: k.hooks, Missing: make(map[string]string),
	}
	for name, why := range k.missing {
		about.Missing[name] = why.Error()
	}
	text, err := json.MarshalIndent(about, "", "\t")
	if err != nil {
		return err
	}
	for _, name := range []string{fileLedger, fileCheckpoint, fileIdentities, fileDigest} {
		if err := os.Remove(p.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove what is left of the last collector: %w", err)
		}
	}
	if err := os.WriteFile(p.file(fileAbout), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write about the collector: %w", err)
	}
	// It gets its name when it is whole.
	fresh := p.Pins + "-new"
	os.RemoveAll(fresh)
	err = k.pin(fresh)
	if err == nil {
		if err = os.Rename(fresh, p.Pins); err == nil {
			k.leave()
			return nil
		}
	}
	os.RemoveAll(fresh)
	return fmt.Errorf("cannot keep the collector in the kernel: %w", err)
}

// load loads and attaches the programs.
func (o *CollectorOptions) load() (*loaded, error) {
	if o.Ring == 0 {
		o.Ring = DefaultHostRing
	}
	rules, err := o.Filter.rules()
	if err != nil {
		return nil, err
	}
	return load(loadOptions{ring: o.Ring, users: o.Users, model: o.Filter.Narrow(o.Model), host: true, trace: o.Trace, rules: rules})
}

// pinned are the maps that a reader needs, by the names of their files: a BPF
// file system wants no dots.
var pinned = map[string]string{"ring": "ring", "notes": "notes", "states": "states", ".bss": "variables", "exporter": "exporter"}

// pin gives everything a name.
func (l *loaded) pin(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, file := range pinned {
		if err := l.maps[name].Pin(filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	for i, at := range l.links {
		if err := at.Pin(filepath.Join(dir, "link_"+l.hooks[i])); err != nil {
			return err
		}
	}
	for name, it := range map[string]opener{"look": l.looking, "alive": l.alive} {
		// A link of an iterator is pinned as any other.
		if err := it.(interface{ Pin(string) error }).Pin(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// leave gives up the links, which have names and stay.
func (l *loaded) leave() {
	for _, at := range l.links {
		at.Close()
	}
	l.links = nil
}

// Remove takes the collector away, and with it what was not exported. The place
// is locked.
func (p *Place) Remove() error {
	_, err := os.Stat(p.Pins)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNoCollector
	} else if err == nil {
		err = os.RemoveAll(p.Pins)
	}
	os.RemoveAll(p.Pins + "-new")
	for _, name := range []string{fileAbout, fileLedger, fileCheckpoint, fileIdentities, fileDigest} {
		os.Remove(p.file(name))
	}
	if err != nil && !errors.Is(err, ErrNoCollector) {
		return fmt.Errorf("cannot take the collector away: %w", err)
	}
	return err
}

// About tells of the collector that is installed.
func (p *Place) About() (*About, error) {
	if _, err := os.Stat(p.Pins); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, ErrNoCollector
		}
		return nil, fmt.Errorf("cannot look at the collector: %w", err)
	}
	text, err := os.ReadFile(p.file(fileAbout))
	if err != nil {
		return nil, fmt.Errorf("nothing is known about the collector in %s (--remove-collector takes it away): %w", p.Pins, err)
	}
	a := new(About)
	if err := json.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("cannot read %s (--remove-collector takes the collector away): %w", p.file(fileAbout), err)
	}
	return a, nil
}

// open gives a reader what it needs of the programs that are installed.
func (p *Place) open(about *About) (*loaded, error) {
	object := hooksObject // its variables are where those of any other are
	if about.Trace {
		object = traceObject
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("cannot read the BPF programs: %w", err)
	}
	l := &loaded{maps: make(map[string]*ebpf.Map)}
	for name, file := range pinned {
		m, err := ebpf.LoadPinnedMap(filepath.Join(p.Pins, file), nil)
		if err != nil {
			l.close()
			return nil, fmt.Errorf("cannot open the collector: %w", err)
		}
		l.maps[name] = m
	}
	l.looking, l.alive = pinnedIterator(filepath.Join(p.Pins, "look")), pinnedIterator(filepath.Join(p.Pins, "alive"))
	value := make([]byte, l.maps[".bss"].ValueSize())
	l.variable = func(name string, to any) error {
		v := spec.Variables[name]
		if err := l.maps[".bss"].Lookup(uint32(0), value); err != nil {
			return err
		}
		v.Value = slices.Clone(value[v.Offset : v.Offset+v.Size()])
		return v.Get(to)
	}
	return l, nil
}

// pinnedIterator is the file of one.
type pinnedIterator string

func (p pinnedIterator) Open() (io.ReadCloser, error) { return os.Open(string(p)) }
func (p pinnedIterator) Close() error                 { return nil }

// CollectorStatus is how a collector fares.
type CollectorStatus struct {
	*About
	Used, Notes uint64            // bytes in its rings that were not exported
	NotesRing   uint64            // bytes of the second one
	Lost        map[string]uint64 // events that were lost since it was installed, by cause
	Busy        bool              // somebody exports
}

// Status tells how the collector fares.
func (p *Place) Status() (*CollectorStatus, error) {
	about, err := p.About()
	if err != nil {
		return nil, err
	}
	l, err := p.open(about)
	if err != nil {
		return nil, err
	}
	defer l.close()
	s := &CollectorStatus{About: about, Lost: make(map[string]uint64), NotesRing: uint64(l.maps["notes"].MaxEntries())}
	for name, n := range map[string]*uint64{"ring": &s.Used, "notes": &s.Notes} {
		r, err := newRing(l.maps[name])
		if err != nil {
			return nil, err
		}
		*n = r.held()
		r.close()
	}
	for i, n := range l.lost() {
		if n > 0 {
			s.Lost[losses[i].cause.String()] += n
		}
	}
	s.Busy = p.locked()
	return s, nil
}

// locked tells whether somebody has locked the place. To try would keep out who
// wants to export just then.
func (p *Place) locked() bool {
	var st unix.Stat_t
	text, err := os.ReadFile("/proc/locks")
	if err != nil || unix.Stat(p.file(fileLock), &st) != nil {
		return false
	}
	inode := fmt.Sprintf(" %02x:%02x:%d ", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	return strings.Contains(string(text), inode)
}
