// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

// semaphoreCount is where struct semid64_ds has the number of semaphores.
const semaphoreCount = 64
