// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"fmt"
	"os"
)

// Remains is what somebody needs to know to remove a container, when who has
// run it cannot. Its members are for encoding.
type Remains struct {
	Runtime string // path of the program
	Dir     string // the folder of the container
	Name    string
}

// Remains of the container.
func (c *Container) Remains() *Remains {
	return &Remains{Runtime: c.runtime.path, Dir: c.dir, Name: c.Name}
}

// Lock is a descriptor that holds the name: it is free when no copy is open any
// more.
func (c *Container) Lock() int { return int(c.lock.Fd()) }

// Remove removes the container, if the runtime has not, and its folder.
func (c *Container) Remove() error {
	defer c.unlock()
	return c.Remains().Remove()
}

// Remove removes the container, unless somebody else has made one of that name,
// and the folder.
func (r *Remains) Remove() error {
	run := runtime{r.Runtime}
	st, err := run.state(r.Name)
	if err == nil && (st == nil || st.Bundle == r.Dir) {
		err = run.remove(r.Name) // there may be something that has no state yet
	}
	if err != nil {
		return err // the folder stays, for the next run to find it
	}
	if err := os.RemoveAll(r.Dir); err != nil {
		return fmt.Errorf("cannot remove the folder of the container: %w", err)
	}
	return nil
}
