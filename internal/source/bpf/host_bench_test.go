// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"quixote-export/internal/export"
	"quixote-export/internal/kernel"
	"quixote-export/internal/model"
	"quixote-export/internal/sink/file"
	"quixote-export/tsem"
)

// memoryRing is a full ring of size bytes with the given samples, over and over.
func memoryRing(size int, samples [][]byte) (r *ring, n int) {
	consumed, produced := new(uint64), new(uint64)
	data := make([]byte, 2*size)
	at := 0
	for {
		b := samples[n%len(samples)]
		whole := (len(b) + sampleHead + 7) &^ 7
		if at+whole > size {
			break
		}
		binary.NativeEndian.PutUint32(data[at:], uint32(len(b)))
		copy(data[at+sampleHead:], b)
		at += whole
		n++
	}
	copy(data[size:], data[:size])
	*produced = uint64(at)
	return &ring{memory: &kernel.BPFRing{Consumed: consumed, Produced: produced, Data: data}, size: uint64(size), fd: -1}, n
}

// BenchmarkHostDrain exports a full ring of 64 MiB to a file, as -R does.
func BenchmarkHostDrain(b *testing.B) {
	var samples, notes [][]byte
	for _, e := range recorded(b) {
		if e.note {
			notes = append(notes, e.b)
		} else {
			samples = append(samples, e.b)
		}
	}
	alg, err := tsem.AlgorithmByName("sha256")
	if err != nil {
		b.Fatal(err)
	}
	records := 0
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		place := &Place{State: dir}
		l, err := place.Ledger()
		if err != nil {
			b.Fatal(err)
		}
		h := newHost(HostOptions{Ledger: l, Model: model.Default(), Algorithm: alg, Group: 100, Log: slog.New(slog.DiscardHandler)}, place,
			&loaded{variable: func(string, any) error { return nil }})
		n := 0
		h.events, n = memoryRing(DefaultHostRing, samples)
		h.notes, _ = memoryRing(1<<20, notes)
		h.decoder = h.newDecoder()
		digest := alg.Z()
		h.decoder.digests.find = func(*head, *fileState, *tsem.Path, uint32) (tsem.Digest, string) { return digest, "" }
		if err := h.goOn(); err != nil {
			b.Fatal(err)
		}
		h.rec.Group(h.opts.Group)
		h.rec.Resume(0)
		out, err := file.New(filepath.Join(dir, "out"), os.Stdout, file.Options{})
		if err != nil {
			b.Fatal(err)
		}
		e := export.New([]export.Sink{out}, export.Options{Ledger: l})
		b.StartTimer()
		go func() {
			err := h.read(h.events.produced())
			if err == nil {
				err = io.EOF
			}
			h.rec.End(err)
		}()
		if err := e.Run(context.Background(), h); err != nil && !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		b.StopTimer()
		e.Finish(0)
		records += n
		b.StartTimer()
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
