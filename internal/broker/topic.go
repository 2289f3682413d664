// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxTopic is the longest topic in bytes that the protocol can express.
const maxTopic = 65535

// Places in a topic that are filled in.
const (
	placeHost     = "{host}"
	placeWorkload = "{workload}"
	placeType     = "{type}"
)

// A Topic is where records are published. It may have places for the host, the
// workload, and the type of a record.
type Topic struct{ text string }

// ParseTopic checks a topic, as the flags have it.
func ParseTopic(text string) (Topic, error) {
	if err := checkTopic(strings.NewReplacer(placeHost, "h", placeWorkload, "w", placeType, "t").Replace(text)); err != nil {
		return Topic{}, err
	}
	return Topic{text}, nil
}

// checkTopic checks a topic whose places are filled in.
func checkTopic(text string) error {
	switch {
	case text == "":
		return errors.New("the topic is empty")
	case len(text) > maxTopic:
		return fmt.Errorf("the topic is longer than %d bytes", maxTopic)
	case !utf8.ValidString(text):
		return errors.New("the topic must be UTF-8 text")
	case strings.ContainsAny(text, "+#"):
		return errors.New("a topic to publish to has no wildcards (+ and #): those are for subscribers")
	case strings.ContainsFunc(text, unprintable):
		return errors.New("the topic must not contain NUL or other control characters")
	case strings.HasPrefix(text, "$"):
		return errors.New("a topic that begins with $ belongs to the broker: choose another")
	case strings.HasPrefix(text, "/"), strings.HasSuffix(text, "/"), strings.Contains(text, "//"):
		return errors.New("the topic has an empty level: leave out / at its beginning and end, and write single ones between")
	}
	if i := strings.IndexAny(text, "{}"); i >= 0 {
		place := text[i:]
		if end := strings.IndexByte(place, '}'); end >= 0 {
			place = place[:end+1]
		}
		return fmt.Errorf("%s in a topic means nothing: there are %s, %s and %s", place, placeHost, placeWorkload, placeType)
	}
	return nil
}

func unprintable(r rune) bool {
	// The last two of each plane are no characters: brokers may end the
	// connection for them.
	return unicode.IsControl(r) || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef
}

// String is the topic as it was written, or as far as it was filled in.
func (t Topic) String() string { return t.text }

// For fills in host and workload. What would be a level or a wildcard in a
// name, or not allowed, becomes an underscore: / + # $ and control characters.
func (t Topic) For(host, workload string) (Topic, error) {
	filled := Topic{strings.NewReplacer(placeHost, level(host), placeWorkload, level(workload)).Replace(t.text)}
	const longestType = 64 // of any event type there is
	if n := len(filled.text) + strings.Count(filled.text, placeType)*longestType; n > maxTopic {
		return Topic{}, fmt.Errorf("the topic is longer than %d bytes", maxTopic)
	}
	return filled, nil
}

func level(name string) string {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune("/+#${}", r) || r == utf8.RuneError || unprintable(r) {
			return '_'
		}
		return r
	}, name)
	if name == "" {
		return "_"
	}
	return name
}

// Typed tells whether the topic depends on the type of a record.
func (t Topic) Typed() bool { return strings.Contains(t.text, placeType) }

// Of fills in the type of a record: that of an event, or the export type of a
// record that is none.
func (t Topic) Of(kind string) string { return strings.ReplaceAll(t.text, placeType, level(kind)) }
