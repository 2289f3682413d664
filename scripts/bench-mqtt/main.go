// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Bench-mqtt measures our publisher beside libmosquitto: both publish to one
// mosquitto on this machine at QoS 1, in turn and several times over. It prints
// medians and their ratios; machines are noisy, so nothing else can be compared.
//
// libmosquitto is used in two ways: with the thread that it offers, as programs
// usually do, and in one thread that runs its loop, which is the fastest way.
//
// A broker can be slower than both. So they also publish to a program that only
// acknowledges.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/mqtt"
	"quixote-export/internal/mqtt/mqtttest"
)

//go:embed libmosquitto/publish.c
var source []byte

// settings of one run of the benchmark.
type settings struct {
	rounds, messages, bytes int
	publish                 string // address: publish there, and nothing else
	window                  int
	profile                 string
	acknowledge             bool // be the broker that only acknowledges
}

func main() {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 5, "how often each is run")
	flag.IntVar(&s.messages, "messages", 200_000, "how many messages a run")
	flag.IntVar(&s.bytes, "bytes", 900, "their size")
	flag.StringVar(&s.publish, "publish", "", "publish to this address, and measure nothing else")
	flag.IntVar(&s.window, "window", 1000, "with -publish: how many messages are on their way at most")
	flag.StringVar(&s.profile, "profile", "", "with -publish: write a CPU profile to this file")
	flag.BoolVar(&s.acknowledge, "acknowledge", false, "print a port and acknowledge what is published there, and nothing else")
	flag.Parse()
	run := s.run
	if s.acknowledge {
		run = acknowledger
	}
	if s.publish != "" {
		run = s.publishOnly
	}
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench-mqtt:", err)
		os.Exit(1)
	}
}

// sample is what one run took.
type sample struct{ wall, cpu time.Duration }

// way is one client: its command, given port and window.
type way struct {
	name    string
	command func(port string, window int) []string
}

func (s *settings) run(out io.Writer) error {
	dir, err := os.MkdirTemp("", "bench-mqtt")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ways, err := s.ways(dir)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "broker\tin flight\tclient\tmessages/s\ttime, ours is 1\tCPU a message\tCPU, ours is 1\tbroker's CPU a message\t")
	for _, start := range []func(string) (*broker, error){startMosquitto, startAcknowledger} {
		b, err := start(dir)
		if err != nil {
			return err
		}
		for _, window := range []int{1000, 20} {
			if err := s.compare(table, b, ways, window); err != nil {
				b.end()
				return err
			}
			table.Flush()
		}
		b.end()
	}
	return nil
}

// broker is what is published to.
type broker struct {
	name, port string
	pid        int
	end        func()
}

func startMosquitto(dir string) (*broker, error) {
	m, err := mqtttest.Run(dir, "allow_anonymous true", "max_inflight_messages 0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(m.Address)
	return &broker{"mosquitto", port, m.PID(), m.Kill}, err
}

// startAcknowledger starts this program as one that only acknowledges.
func startAcknowledger(string) (*broker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.Command(self, "-acknowledge")
	c.Stderr = os.Stderr
	c.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	b := &broker{name: "acknowledges only", pid: c.Process.Pid, end: func() {
		c.Process.Kill()
		c.Wait()
	}}
	if _, err := fmt.Fscan(out, &b.port); err != nil {
		b.end()
		return nil, err
	}
	return b, nil
}

// ways compiles the other client.
func (s *settings) ways(dir string) ([]way, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	code, program := filepath.Join(dir, "publish.c"), filepath.Join(dir, "publish")
	if err := os.WriteFile(code, source, 0o600); err != nil {
		return nil, err
	}
	if text, err := exec.Command("gcc", "-O2", "-o", program, code, "-lmosquitto", "-lpthread").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot compile the client of libmosquitto (Debian packages gcc, libmosquitto-dev): %w: %s", err, text)
	}
	other := func(how string) func(string, int) []string {
		return func(port string, window int) []string {
			return []string{program, port, strconv.Itoa(s.messages), strconv.Itoa(s.bytes), strconv.Itoa(window), how}
		}
	}
	ours := func(port string, window int) []string {
		return []string{
			self, "-publish", net.JoinHostPort("127.0.0.1", port), "-messages", strconv.Itoa(s.messages),
			"-bytes", strconv.Itoa(s.bytes), "-window", strconv.Itoa(window),
		}
	}
	return []way{{"ours", ours}, {"libmosquitto, its thread", other("threaded")}, {"libmosquitto, one thread", other("looped")}}, nil
}

func (s *settings) compare(table io.Writer, b *broker, ways []way, window int) error {
	samples, theirs := make([][]sample, len(ways)), make([][]time.Duration, len(ways))
	for range s.rounds {
		for i, w := range ways {
			before := cpuOf(b.pid)
			got, err := measure(w.command(b.port, window))
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			samples[i] = append(samples[i], got)
			theirs[i] = append(theirs[i], cpuOf(b.pid)-before)
		}
	}
	each := func(d time.Duration) time.Duration { return d / time.Duration(s.messages) }
	first := medians(samples[0])
	for i, w := range ways {
		got := medians(samples[i])
		slices.Sort(theirs[i])
		fmt.Fprintf(table, "%s\t%d\t%s\t%.0f\t%.2f\t%v\t%.1f\t%v\t\n", b.name, window, w.name,
			float64(s.messages)/got.wall.Seconds(), float64(got.wall)/float64(first.wall),
			each(got.cpu), float64(got.cpu)/float64(first.cpu), each(theirs[i][len(theirs[i])/2]))
	}
	return nil
}

// measure runs a client, which prints what it took.
func measure(command []string) (sample, error) {
	var errs bytes.Buffer
	c := exec.Command(command[0], command[1:]...)
	c.Stderr = &errs
	text, err := c.Output()
	if err != nil {
		return sample{}, fmt.Errorf("%w: %s", err, errs.String())
	}
	var got sample
	_, err = fmt.Sscan(string(text), (*int64)(&got.wall), (*int64)(&got.cpu))
	return got, err
}

func medians(all []sample) sample {
	walls, cpus := make([]time.Duration, len(all)), make([]time.Duration, len(all))
	for i, one := range all {
		walls[i], cpus[i] = one.wall, one.cpu
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	return sample{walls[len(all)/2], cpus[len(all)/2]}
}

// cpuOf is what a process has used so far, in the ticks of the kernel.
func cpuOf(pid int) time.Duration {
	const tick = 10 * time.Millisecond
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name of the program may hold anything; the numbers are behind it.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	user, _ := strconv.Atoi(string(fields[11]))
	system, _ := strconv.Atoi(string(fields[12]))
	return time.Duration(user+system) * tick
}

// repeat is a feed of n equal messages.
type repeat struct {
	message           mqtt.Message
	n, given, settled int
	done              chan error
}

func (r *repeat) Next(int) (mqtt.Message, bool) {
	if r.given == r.n {
		return mqtt.Message{}, false
	}
	r.given++
	return r.message, true
}

func (r *repeat) Settled(n int, err error) {
	if r.settled += n; err != nil || r.settled == r.n {
		r.done <- err
	}
}

// publishOnly publishes, and prints what it took.
func (s *settings) publishOnly(out io.Writer) error {
	if s.profile != "" {
		f, err := os.Create(s.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	feed := &repeat{
		message: mqtt.Message{Topic: "bench/topic", Payload: bytes.Repeat([]byte("x"), s.bytes)},
		n:       s.messages, done: make(chan error, s.messages),
	}
	p := mqtt.New(mqtt.Options{
		Address: s.publish, Version: mqtt.V311, ClientID: "ours", QoS: 1, MaxInFlight: s.window,
		Down: func(err error) { feed.done <- err },
	}, feed)
	used, began := ownCPU(), time.Now()
	if err := p.Connect(context.Background()); err != nil {
		return err
	}
	if err := <-feed.done; err != nil {
		return err
	}
	fmt.Fprintln(out, time.Since(began).Nanoseconds(), (ownCPU() - used).Nanoseconds())
	p.Close(context.Background(), nil)
	return nil
}

func ownCPU() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
