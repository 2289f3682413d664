// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

// help is the page that --help prints. It is laid out for 80 columns.
const help = `Run a workload in a security modeling context of its own, and export every
security event of it: one line of JSON each, in order.

Usage: quixote-export -X -o FILE [FLAGS] -- COMMAND [ARGUMENT...]
       quixote-export MODE -o FILE [FLAGS]

Mode (one of them)
  -X, --execute            run the command behind --
  -P, --process            run an interactive shell
  -C, --container          run the container -w of the magazine (the default)
  -R, --root               no workload: the events of the whole host
  -S, --show               list the containers of the magazine
      --drain-spool        deliver what waits for a broker (or for all), and end
      --sources            say which sources of events this host offers
      --install-collector  have the kernel keep the events of the host for -R
      --remove-collector   have it keep them no longer
      --collector-status   say since when, how full, what was lost

Workload
  -w, --workload NAME      its name (else that of the command, bash or root)
      --magazine DIR       where containers are (/var/lib/Quixote/Magazine)
  -f, --follow             with -R: go on, with a shell, until that exits
      --no-shell           with -f: go on until SIGINT or SIGTERM
      --no-collector       with -R -f: nothing is kept before and after
      --include-self       with -R: what this program does too
      --exclude RULES      with -R: not these, such as uid:backup,type:capable
      --only RULES         or these only: type:, uid:, exe:, cgroup:, unit:
      --no-wait            end tasks that the command leaves behind

Events
  -u, --current-namespace  ids as in the task's own user namespace
  -M, --model NAME         which events: exec, files, network, ... (default)
  -a, --timestamp          add the wall-clock time of each event
      --abspath            add absolute paths where the path is another
  -h, --digest NAME        hash of files and identities (sha256)
      --digest-limit SIZE  largest file that is hashed (1G)

Output (one or more of -o, -b, -e)
  -o, --output FILE        file, FIFO, device, /dev/fd/N; - is standard output
      --append             keep what FILE holds (always so with -R)
      --sync-interval TIME how often FILE is synced to its disk (1s)
      --on-output-error HOW  stop (the workload) or continue (stop)
      --no-markers         leave out the start and end records
  -b, --broker SERVER      MQTT: host, host:port or URL
  -e, --endpoint SERVER    Elasticsearch: host or URL
  -p, --port NUMBER        port of the broker or endpoint
  -t, --topic NAME         MQTT topic or Elasticsearch index
  -q, --queue EVENTS       with -R: records a flush and message (100)

Broker (with -b; needs -t)
      --qos LEVEL          0, 1 or 2 (1)
      --mqtt-version NAME  auto, 3.1.1 or 5 (auto)
      --user NAME          who we are (tsem, if there is a password)
      --password-file FILE  the password (TSEM_PASSWORD, or the file mqtt.pwd of
                           /opt/Quixote/etc)
      --ca FILE            the certificates that are trusted (the system's)
      --cert FILE          our own certificate
      --key FILE           its key
      --client-id NAME     our name at the broker (of host and workload)
      --status-topic NAME  publish there when a run begins and ends, and how
      --offline-start      begin also when the broker is away (so with -R -f)
      --spool DIR          where records wait (/var/lib/Quixote/spool)
      --spool-limit SIZE   how much of them, 16M to 1T (1G)
      --on-full HOW        then: block (the workload) or drop (block)
      --drain TIME         how long to wait for the broker at the end (30s)

Source
      --source NAME        auto, tsem, bpf, trace or seccomp (auto)
  -n, --cache STRUCTURES   tsem: event structures for atomic context (1..4096)
      --io                 seccomp: reads and writes on sockets too
      --allow-io-uring     seccomp: let io_uring through, unseen
      --include-runtime    with -C: what runc does before the first program too
      --ring SIZE          bpf, trace: size of the ring (4K..1G; 16M, -R: 64M)

Reports
  -d, --debug FILE         append a debug log to FILE
      --stats              at the end, a table of events by type
      --help               this page
      --version            version, Go version and platform

Not available in this version: -e

Exit status: that of the workload, 128+N when signal N ended it, or
  123  the workload ended well, but events were lost or not delivered
  125  quixote-export failed, or the flags contradict one another
  126  the command cannot be executed
  127  the command was not found

Examples
  quixote-export -X -o make.exp --stats -- make -j2
  quixote-export -X -w demo -a -o - -- cat /etc/hostname | jq .event.type
  quixote-export -X -u -h sha512 -o /dev/fd/3 -- ./prog 3> prog.exp
  quixote-export -w web -b mqtts://broker.example -t hosts/{host}/web
`
