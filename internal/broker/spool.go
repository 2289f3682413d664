// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"quixote-export/internal/spool"
)

// rootSpool is where records of root wait.
const rootSpool = "/var/lib/Quixote/spool"

// DefaultSpool returns the folder where records wait when nobody says
// otherwise: for users it is in their folder of states.
func DefaultSpool(euid int, getenv func(string) string) (string, error) {
	if euid == 0 {
		return rootSpool, nil
	}
	state := getenv("XDG_STATE_HOME")
	if home := getenv("HOME"); !filepath.IsAbs(state) && filepath.IsAbs(home) {
		state = filepath.Join(home, ".local", "state")
	}
	if !filepath.IsAbs(state) {
		return "", errors.New("there is no place for records that wait for the broker: set HOME, or name one with --spool")
	}
	return filepath.Join(state, "quixote-export", "spool"), nil
}

// A Label says what the records of a queue are: it is the key of the queue.
// Make it with NewLabel.
type Label struct {
	Server   Server
	Topic    Topic
	Workload string
}

// NewLabel makes the label of a workload's records; host and workload are
// filled in already in the topic.
func NewLabel(server Server, topic Topic, workload string) Label {
	return Label{server, topic, strings.ToValidUTF8(workload, "\uFFFD")} // as JSON will have it
}

// name is that of the queue's folder. People can read what it begins with.
func (l Label) name() string {
	sum := sha256.Sum256([]byte(l.Server.String() + "\x00" + l.Topic.String() + "\x00" + l.Workload))
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, l.Server.Host+"-"+l.Workload)
	const most = 100
	plain = strings.TrimLeft(plain[:min(len(plain), most)], ".")
	return plain + "-" + hex.EncodeToString(sum[:8])
}

// labelText is how a label is kept beside the records.
type labelText struct {
	Broker   string `json:"broker"`
	Topic    string `json:"topic"`
	Workload string `json:"workload"`
}

func (l Label) text() []byte {
	text, err := json.Marshal(labelText{l.Server.String(), l.Topic.String(), l.Workload})
	if err != nil {
		panic(err) // it is three strings
	}
	return append(text, '\n')
}

func parseLabel(text []byte) (Label, error) {
	var t labelText
	if err := json.Unmarshal(text, &t); err != nil {
		return Label{}, err
	}
	server, err := ParseServer(t.Broker)
	if err != nil {
		return Label{}, fmt.Errorf("the broker %q: %w", t.Broker, err)
	}
	topic, err := ParseTopic(t.Topic)
	if err != nil {
		return Label{}, fmt.Errorf("the topic %q: %w", t.Topic, err)
	}
	return Label{server.Complete(0, false), topic, t.Workload}, nil
}

// A Claim is a queue that is ours.
type Claim struct {
	Queue *spool.Queue
	Path  string
	Label []byte // what is written beside the records
	// First tells that no other run has the key. The queue of another run has
	// a folder of its own, with its name behind ours.
	First bool
	// Found is how many records of earlier runs wait in it, Damage what of
	// them is lost.
	Found  int
	Damage spool.Damage
}

// TakeSpool claims the queue of a label in the folder base, which is made if
// there is none. When a run has it already, we get one of our own, named after
// our run. What dead runs have left behind in such ones is moved into the
// first.
func TakeSpool(base string, l Label, run string, limit int64) (*Claim, error) {
	if err := makeBase(base); err != nil {
		return nil, err
	}
	options := spool.Options{Limit: limit, Label: l.text()}
	path := filepath.Join(base, l.name())
	q, err := spool.Open(path, options)
	if errors.Is(err, spool.ErrLocked) && run != "" {
		path += "." + run
		if q, err = spool.Open(path, options); err != nil {
			return nil, err
		}
		return &Claim{Queue: q, Path: path, Label: options.Label}, nil
	}
	if err != nil {
		return nil, err
	}
	c := &Claim{Queue: q, Path: path, Label: options.Label, First: true}
	if err := c.adopt(options); err != nil {
		q.Close()
		return nil, err
	}
	c.Found = q.Len()
	c.Damage.Add(q.Damage())
	return c, nil
}

// adopt moves what dead runs with the same key have left.
func (c *Claim) adopt(options spool.Options) error {
	left, err := filepath.Glob(globPattern(c.Path) + ".*")
	if err != nil {
		return fmt.Errorf("cannot look for spools beside %s: %w", c.Path, err)
	}
	for _, path := range left {
		from, err := spool.Open(path, options)
		if errors.Is(err, spool.ErrLocked) {
			continue // it is alive
		}
		if err != nil {
			return err
		}
		_, err = c.Queue.Move(from)
		c.Damage.Add(from.Damage())
		if cerr := from.Close(); err == nil {
			err = cerr
		}
		if errors.Is(err, spool.ErrFull) || errors.Is(err, spool.ErrDiskFull) {
			return nil // the rest waits where it is
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func globPattern(path string) string {
	return strings.NewReplacer("\\", "\\\\", "*", "\\*", "?", "\\?", "[", "\\[").Replace(path)
}

func makeBase(base string) error {
	err := os.MkdirAll(filepath.Dir(base), 0o755)
	if err == nil {
		err = os.Mkdir(base, 0o700)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot make the folder of the spool: %w (name another with --spool)", err)
	}
	return nil
}

// Waiting lists the labels of the queues in base that hold records, each once.
// What it cannot read it tells of in errs, a line each.
func Waiting(base string) (labels []Label, errs []error) {
	entries, err := os.ReadDir(base)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, []error{fmt.Errorf("cannot list the folder of the spool: %w", err)}
	}
	seen := make(map[string]bool)
	for _, e := range entries {
		path := filepath.Join(base, e.Name())
		text, err := spool.Label(path)
		if err == nil && text == nil {
			continue
		}
		var l Label
		if err == nil {
			l, err = parseLabel(text)
		}
		// The name holds a checksum of the label.
		if name := l.name(); err == nil && e.Name() != name && !strings.HasPrefix(e.Name(), name+".") {
			err = errors.New("its name is that of another")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot tell what the spool %s is for: %w", path, err))
			continue
		}
		if !seen[l.name()] {
			seen[l.name()] = true
			labels = append(labels, l)
		}
	}
	return labels, errs
}
