// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Shared is what all derivers of a context know together. It is safe for
// concurrent use.
type Shared struct {
	World    *proc.World
	Tasks    *task.Registry
	Created  *Created
	Sockets  *Sockets
	IPC      *IPC
	Mounts   *Mounts
	BPF      *BPF
	Queues   *Queues
	Keys     *Keys
	Secure   *Secure
	Programs *Programs
	Yama     *Yama
}

// NewShared makes the common knowledge of one context.
func NewShared(alg *tsem.Algorithm, tasks *task.Registry) (*Shared, error) {
	world, err := proc.NewWorld(alg)
	if err != nil {
		return nil, err
	}
	tasks.OnDeath(func(t *task.Task) {
		if t.Moving.Swap(false) {
			world.Moved()
		}
	})
	return &Shared{
		World: world, Tasks: tasks, Created: newCreated(), Sockets: newSockets(alg.Size, tasks),
		IPC: newIPC(alg.Size), Mounts: newMounts(), BPF: newBPF(), Queues: newQueues(),
		Keys: newKeys(), Secure: newSecure(tasks), Programs: newPrograms(), Yama: newYama(),
	}, nil
}
