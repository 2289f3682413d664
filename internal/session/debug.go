// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"io"
	"log/slog"
	"os"
)

// OpenDebug opens the debug log: text, one line an entry, mode 0600, behind
// what the file holds. Without a path the logger writes nothing. The closer
// is never nil.
func OpenDebug(path string) (*slog.Logger, io.Closer, error) {
	if path == "" {
		return slog.New(slog.DiscardHandler), io.NopCloser(nil), nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the debug log: %w", err)
	}
	handler := slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug})
	return slog.New(handler), f, nil
}
