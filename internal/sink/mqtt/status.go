// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"encoding/json"
	"strconv"
	"time"

	"quixote-export/internal/mqtt"
)

// A Status is a topic that says, in a retained message, how a run is. Its
// states are running, ended, and lost when the connection broke.
type Status struct {
	Topic    string
	Host     string
	Workload string
	Run      string // UUID
	Started  time.Time
}

// state is the message. As in records, all values are strings.
type state struct {
	State    string `json:"state"`
	Host     string `json:"host"`
	Workload string `json:"workload"`
	Run      string `json:"run"`
	Started  string `json:"started"`
	Ended    string `json:"ended,omitempty"`
	Status   string `json:"status,omitempty"`  // exit status of the workload
	Waiting  string `json:"waiting,omitempty"` // records that are not delivered
}

func (s *Status) message(word string, change func(*state)) *mqtt.Message {
	if s == nil {
		return nil
	}
	st := state{State: word, Host: s.Host, Workload: s.Workload, Run: s.Run, Started: s.Started.UTC().Format(time.RFC3339Nano)}
	if change != nil {
		change(&st)
	}
	text, err := json.Marshal(&st)
	if err != nil {
		panic(err) // it is strings
	}
	return &mqtt.Message{Topic: s.Topic, Payload: text, Retain: true}
}

func (s *Status) greeting() *mqtt.Message { return s.message("running", nil) }
func (s *Status) will() *mqtt.Message     { return s.message("lost", nil) }

func (s *Status) farewell(status string, waiting int) *mqtt.Message {
	return s.message("ended", func(st *state) {
		st.Ended = time.Now().UTC().Format(time.RFC3339Nano)
		st.Status, st.Waiting = status, strconv.Itoa(waiting)
	})
}
