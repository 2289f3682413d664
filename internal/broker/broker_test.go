// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"strings"
	"testing"
)

func TestServer(t *testing.T) {
	for _, row := range []struct {
		text string
		port int // of -p
		want string
		err  string // part of it
	}{
		{"broker.example", 0, "mqtt://broker.example:1883", ""},
		{"broker.example", 10902, "mqtt://broker.example:10902", ""},
		{"broker.example:1884", 0, "mqtt://broker.example:1884", ""},
		{"broker_1", 0, "mqtt://broker_1:1883", ""},
		{"10.0.0.1", 0, "mqtt://10.0.0.1:1883", ""},
		{"10.0.0.1:99", 0, "mqtt://10.0.0.1:99", ""},
		{"::1", 0, "mqtt://[::1]:1883", ""},
		{"[::1]", 0, "mqtt://[::1]:1883", ""},
		{"[::1]:1883", 0, "mqtt://[::1]:1883", ""},
		{"2001:DB8::1", 5, "mqtt://[2001:db8::1]:5", ""},
		{"fe80::1%eth0", 0, "mqtt://[fe80::1%25eth0]:1883", ""},
		{"mqtt://broker", 0, "mqtt://broker:1883", ""},
		{"MQTT://broker/", 0, "mqtt://broker:1883", ""},
		{"mqtts://broker", 0, "mqtts://broker:8883", ""},
		{"mqtts://broker", 99, "mqtts://broker:99", ""},
		{"mqtts://[::1]:99/", 0, "mqtts://[::1]:99", ""},
		{"mqtt://10.0.0.1:8883", 0, "mqtt://10.0.0.1:8883", ""},
		{"broker:8883", 0, "mqtts://broker:8883", ""},
		{"broker", 8883, "mqtts://broker:8883", ""},

		{"", 0, "", "neither a host name nor a URL"},
		{"two words", 0, "", "neither a host name nor a URL"},
		{"user@broker", 0, "", "neither a host name nor a URL"},
		{"broker/topic", 0, "", "neither a host name nor a URL"},
		{"broker:", 0, "", "the port must be a number"},
		{":1883", 0, "", "neither a host name nor a URL"},
		{"broker:0", 0, "", "the port must be a number"},
		{"broker:70000", 0, "", "the port must be a number"},
		{"broker:mqtt", 0, "", "the port must be a number"},
		{"[::1", 0, "", "neither a host name nor a URL"},
		{"[broker]", 0, "", "neither a host name nor a URL"},
		{"::1:::", 0, "", "neither a host name nor a URL"},
		{"a\nb", 0, "", "neither a host name nor a URL"},
		{strings.Repeat("a", 254), 0, "", "neither a host name nor a URL"},
		{"http://broker", 0, "", "must begin with mqtt:// or mqtts://"},
		{"mqtt://", 0, "", "no URL of a host"},
		{"mqtt://:1883", 0, "", "no URL of a host"},
		{"mqtt://broker:x", 0, "", "no URL of a host"},
		{"mqtt://broker:0", 0, "", "the port must be a number"},
		{"mqtt://user@broker", 0, "", "--user NAME"},
		{"mqtt://user:secret@broker", 0, "", "--password-file"},
		{"mqtt://broker/topic", 0, "", "the topic goes to -t"},
		{"mqtt://broker?x=y", 0, "", "must end with the host or port"},
		{"mqtt://broker#x", 0, "", "must end with the host or port"},
	} {
		t.Run(row.text, func(t *testing.T) {
			s, err := ParseServer(row.text)
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("got %v, %v, want %q", s, err, row.err)
				}
				if strings.Contains(err.Error(), "secret") {
					t.Errorf("the password is shown: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			full := s.Complete(row.port, false)
			if full.String() != row.want {
				t.Errorf("got %s, want %s", full, row.want)
			}
			again, err := ParseServer(full.String())
			if err == nil && again.Complete(0, false) != full {
				t.Errorf("the URL %s is read as %s", full, again)
			}
		})
	}
}

func TestWhenAConnectionIsSecure(t *testing.T) {
	for _, row := range []struct {
		text         string
		certificates bool
		want         string
	}{
		{"broker", true, "mqtts://broker:8883"},
		{"broker:99", true, "mqtts://broker:99"},
		{"mqtts://broker", true, "mqtts://broker:8883"},
		{"mqtt://broker", true, "mqtt://broker:1883"}, // refused elsewhere
	} {
		s, err := ParseServer(row.text)
		if got := s.Complete(0, row.certificates).String(); err != nil || got != row.want {
			t.Errorf("%s: got %s, %v, want %s", row.text, got, err, row.want)
		}
	}
	for text, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "::1": true, "10.0.0.1": false, "broker": false, "localhost.example": false,
	} {
		if s, err := ParseServer(text); err != nil || s.Local() != want {
			t.Errorf("%s: local is %v, %v", text, s.Local(), err)
		}
	}
}

func TestTopic(t *testing.T) {
	for _, row := range []struct {
		text, host, workload string
		want                 string
	}{
		{"test", "h", "w", "test"},
		{"a/b c/é", "h", "w", "a/b c/é"},
		{"a/$b", "h", "w", "a/$b"},
		{"{host}/{workload}", "node1", "web", "node1/web"},
		{"{host}{host}/x{workload}", "n", "w", "nn/xw"},
		{"t/{workload}", "h", "c++", "t/c__"},
		{"t/{workload}", "h", "a/b#c", "t/a_b_c"},
		{"t/{workload}", "h", "a\x00b\nc\xff", "t/a_b_c_"},
		{"{host}", "$SYS", "w", "_SYS"},
		{"{host}/{workload}", "", "", "_/_"},
		{"t/{workload}", "h", "{type}", "t/_type_"},
		{"{type}/{host}", "h", "w", "{type}/h"},
	} {
		topic, err := ParseTopic(row.text)
		if err != nil {
			t.Errorf("%q: %v", row.text, err)
			continue
		}
		filled, err := topic.For(row.host, row.workload)
		if err != nil || filled.String() != row.want {
			t.Errorf("%q: got %q, %v, want %q", row.text, filled, err, row.want)
		}
		if err := checkTopic(filled.Of("file_open")); err != nil {
			t.Errorf("%q becomes a topic that is not valid: %v", row.text, err)
		}
	}
	typed, _ := ParseTopic("a/{type}/{host}")
	if filled, _ := typed.For("h", "w"); !filled.Typed() || filled.Of("file_open") != "a/file_open/h" {
		t.Errorf("got %q", filled.Of("file_open"))
	}
}

func TestTopicsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "is empty",
		"a/+/b":                    "wildcards",
		"a/#":                      "wildcards",
		"a+":                       "wildcards",
		"a\x00b":                   "NUL",
		"a\nb":                     "control characters",
		"a\ufffe":                  "control characters",
		"a\xffb":                   "UTF-8",
		"$SYS/x":                   "belongs to the broker",
		"$share/g/t":               "belongs to the broker",
		"/a":                       "empty level",
		"a/":                       "empty level",
		"a//b":                     "empty level",
		"/":                        "empty level",
		"a/{hostname}":             "{hostname} in a topic means nothing",
		"a/{":                      "{ in a topic means nothing",
		"a/}":                      "} in a topic means nothing",
		"a/{{host}}":               "means nothing",
		strings.Repeat("a", 65536): "longer than 65535 bytes",
	} {
		if _, err := ParseTopic(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.20q: got %v, want %q", text, err, want)
		}
	}
	long, err := ParseTopic(strings.Repeat("a", 65520) + "{host}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := long.For("short", "w"); err != nil {
		t.Error(err)
	}
	if _, err := long.For(strings.Repeat("h", 64), "w"); err == nil {
		t.Error("a topic that is too long when it is filled in is taken")
	}
}

// FuzzTopic looks for a topic that is taken and is none when it is filled in.
func FuzzTopic(f *testing.F) {
	f.Add("a/{host}/{workload}/{type}", "node", "web")
	f.Add("{host}", "$x", "a\x00+")
	f.Fuzz(func(t *testing.T, text, host, workload string) {
		topic, err := ParseTopic(text)
		if err != nil {
			return
		}
		filled, err := topic.For(host, workload)
		if err != nil {
			return
		}
		if err := checkTopic(filled.Of("inode_getattr")); err != nil {
			t.Errorf("%q with %q, %q becomes %q: %v", text, host, workload, filled, err)
		}
		if again, err := ParseTopic(filled.String()); err != nil || again != filled {
			t.Errorf("%q is not read again: %v", filled, err)
		}
	})
}

// FuzzServer looks for a broker that is shown in more than a word, or not read
// again as it is shown.
func FuzzServer(f *testing.F) {
	f.Add("[::1]:1883")
	f.Add("mqtts://b:1/")
	f.Add("fe80::1%25eth0")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseServer(text)
		if err != nil {
			return
		}
		full := s.Complete(0, false)
		if strings.ContainsAny(full.String(), " \n\t\x00") {
			t.Errorf("%q becomes %q", text, full)
		}
		again, err := ParseServer(full.String())
		if err != nil || again != full {
			t.Errorf("%q becomes %q, and that %q: %v", text, full, again, err)
		}
	})
}
