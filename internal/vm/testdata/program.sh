# What quixote-export does on a stock kernel, from outside. Everything that is to
# be looked at goes to /out; the tests do that.
mkdir -p /out /tmp/work
cd /tmp/work
exec 2>/out/errors
unset QUIXOTE

# progs counts the BPF programs in the kernel.
progs() {
	python3 - <<'PYTHON'
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
n, at = 0, 0
while True:
    attr = ctypes.create_string_buffer(struct.pack("=IIQQQQ", at, 0, 0, 0, 0, 0))
    if libc.syscall(321, 11, attr, len(attr)) != 0:
        break
    at = struct.unpack_from("=I", attr.raw, 4)[0]
    n += 1
print(n)
PYTHON
}

# await waits until a command succeeds. To look more often would take the time of
# what it waits for.
await() {
	for _ in $(seq 2000); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.5
	done
	echo "gave up on: $*" >>/out/gave-up
}

# A command: the source is that of auto.
echo first >a
quixote-export -X -n 64 -o /out/command.exp -d /out/command.log -- \
	sh -c 'cat a; mv a b; chmod 600 b; rm b; (exit 3); sh -c "exit 7"' >/out/command.out 2>/out/command.err
echo $? >/out/command.status
quixote-export --sources >/out/sources
quixote-export -X --abspath -M exec -o /out/abspath.exp -- true

# Namespaces, a changed root, threads, io_uring and what it is done with.
mkdir -p jail/bin jail/made
cp "$(command -v busybox)" jail/bin/busybox
quixote-export -X -u -M files -o /out/spaces.exp -- sh -c '
	chroot jail /bin/busybox touch /made/in-jail
	unshare -Urm sh -c "mkdir m; mount --bind jail m; touch m/made/in-space; chown 0:0 m/made/in-space"
	unshare -m sh -c "mkdir -p n; mount -t tmpfs none n; echo x >n/in-mount"
	python3 -c "
import threading, os
def work():
    os.close(os.open(\"by-thread\", os.O_CREAT | os.O_WRONLY))
t = threading.Thread(target=work); t.start(); t.join()
"'
echo $? >/out/spaces.status

# A container with a hook of the runtime, somebody who enters it, and somebody who
# enters a part of it.
bundle=/var/lib/Quixote/Magazine/web
mkdir -p $bundle/rootfs/bin $bundle/rootfs/proc $bundle/rootfs/tmp $bundle/rootfs/dev $bundle/rootfs/sys
cp "$(command -v busybox)" $bundle/rootfs/bin/
for name in sh touch cat sleep; do ln -sf busybox $bundle/rootfs/bin/$name; done
(cd $bundle && runc spec)
python3 - $bundle/config.json <<'PYTHON'
import json, sys
c = json.load(open(sys.argv[1]))
c["process"]["terminal"] = False
c["process"]["args"] = ["sh", "-c", "touch /tmp/first; while ! test -e /tmp/joined; do sleep 0.1; done; exit 5"]
c["root"]["readonly"] = False
c["hooks"] = {"createContainer": [{"path": "/usr/bin/touch", "args": ["touch", "/tmp/work/by-hook"]}]}
json.dump(c, open(sys.argv[1], "w"))
PYTHON
quixote-export -w web -M files -o /out/container.exp >/out/container.out 2>/out/container.err &
await test -e $bundle/rootfs/tmp/first
first() { runc state web | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])'; }
nsenter -t "$(first)" -m -- touch /tmp/stranger
nsenter -t "$(first)" -m -p -- touch /tmp/entrant
runc exec web touch /tmp/joined
wait $!
echo $? >/out/container.status
runc list -q >/out/container.left

# Killed while the workload runs: that ends, and nothing stays in the kernel.
progs >/out/killed.before
quixote-export -X -o /out/killed.exp -- sh -c 'touch alive; sleep 1000' 2>/out/killed.err &
pid=$!
await test -e alive
progs >/out/killed.during
kill -9 $pid
wait $pid
echo $? >/out/killed.status
none() { ! pgrep -x sleep; }
await none
as_before() { [ "$(progs)" = "$(cat /out/killed.before)" ]; }
await as_before
progs >/out/killed.after

# The whole host: what was done with nobody there, then what was done since.
quixote-export --install-collector
echo $? >/out/install.status
echo second >c
mv c d
rm d
quixote-export -R -o /out/host1.exp
echo $? >/out/host1.status
mkdir since
quixote-export --source seccomp -X -o /out/inner.exp -- touch inner
quixote-export -R -o /out/host2.exp
echo $? >/out/host2.status
quixote-export --collector-status >/out/status
quixote-export -R -f --no-shell -o /out/follow.exp &
pid=$!
await test -s /out/follow.exp
quixote-export -R -o /out/second.exp 2>/out/second.err
echo $? >/out/second.status
mkdir followed
grown() { grep -q '"/tmp/work/followed"' /out/follow.exp; }
await grown
kill $pid
wait $pid
echo $? >/out/follow.status

# A shell in the root context, which reads its commands from a pipe.
printf 'touch by-shell\nexit 4\n' | quixote-export -R -f -o /out/shell.exp
echo $? >/out/shell.status

# Killed while it drains, over and over.
for i in $(seq 20); do
	ls -lR /usr/lib/python3* >/dev/null
	quixote-export -R -q 10 -o /out/kills.exp &
	pid=$!
	sleep 0.$((RANDOM % 9 + 1))
	kill -9 $pid 2>/dev/null
	wait $pid
done
quixote-export -R -o /out/kills.exp
echo $? >/out/kills.status
quixote-export --remove-collector
echo $? >/out/remove.status
ls /sys/fs/bpf >/out/remove.left

# More than the ring holds.
quixote-export --install-collector --ring 64K --exclude type:file_fcntl
ls -lR /usr/lib >/dev/null
quixote-export -R -o /out/flood.exp 2>/out/flood.err
echo $? >/out/flood.status
quixote-export --remove-collector
