// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// keeper is whoever started us and wants to know how we fare: systemd, if it is a
// service of type notify.
type keeper struct {
	ticks <-chan time.Time // when it is to be told that we are alive; nil: never
	stop  func()
}

// newKeeper tells it that we are at work.
func newKeeper() keeper {
	daemon.SdNotify(false, daemon.SdNotifyReady)
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		return keeper{stop: func() {}}
	}
	t := time.NewTicker(every / 3)
	return keeper{t.C, t.Stop}
}

// alive tells it that the source gets on.
func (k *keeper) alive() { daemon.SdNotify(false, daemon.SdNotifyWatchdog) }

// end tells it that we are about to end.
func (k *keeper) end() {
	k.stop()
	daemon.SdNotify(false, daemon.SdNotifyStopping)
}
