// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// version is what a build from a work tree calls itself. A build of a tagged
// module knows better.
const version = "0.1.0-dev"

// revision is the state of the work tree, for builds that the linker is told
// it by (-X main.revision=...). Nothing else sets it.
var revision string

func versionLine() string {
	v, from := version, ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if tag, tagged := strings.CutPrefix(info.Main.Version, "v"); tagged {
			v = tag
		}
	}
	if revision != "" {
		from = revision + ", "
	}
	return fmt.Sprintf("quixote-export %s (%s%s, %s/%s)\n", v, from, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
