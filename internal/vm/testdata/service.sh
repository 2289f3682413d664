# The Debian package in a machine that runs systemd: installed, started, killed,
# stopped, removed. Everything that is to be looked at goes to /out.
mkdir -p /out /tmp/work /var/lib/dpkg/info /var/lib/dpkg/updates
cd /tmp/work
exec 2>/out/errors
touch /var/lib/dpkg/status /var/lib/dpkg/available

await() {
	# Not often: what it does is exported too.
	for _ in $(seq 200); do
		"$@" >/dev/null 2>&1 && return
		sleep 1
	done
	echo "gave up on: $*" >>/out/gave-up
}

dpkg --force-depends -i /quixote-export.deb >/out/install.log 2>&1
echo $? >/out/install.status
systemctl enable --now quixote-export-collector quixote-export >/out/start.log 2>&1
echo $? >/out/start.status
systemctl show -p ActiveState,SubState,Type,WatchdogUSec,NRestarts quixote-export >/out/started
systemctl is-active quixote-export-collector >/out/collector
quixote-export --collector-status >/out/status

echo one >first
seen() { grep -q "\"/tmp/work/$1\"" /var/lib/Quixote/host.exp; }
await seen first

# Killed it is started again, and misses nothing.
pid=$(systemctl show -p MainPID --value quixote-export)
[ "$pid" -gt 1 ] && kill -9 "$pid"
echo two >second
restarted() { [ "$(systemctl show -p NRestarts --value quixote-export)" -ge 1 ]; }
await restarted
await seen second

systemctl stop quixote-export
echo $? >/out/stop.status
systemctl show -p Result quixote-export >/out/stopped
echo three >third
systemctl start quixote-export
await seen third
cp /var/lib/Quixote/host.exp /out/host.exp

dpkg -r quixote-export >/out/remove.log 2>&1
echo $? >/out/remove.status
pgrep -x quixote-export >/out/left.processes
ls /sys/fs/bpf >/out/left.pins
dpkg -P quixote-export >>/out/remove.log 2>&1
ls -d /etc/quixote-export /usr/sbin/quixote-export /lib/systemd/system/quixote* >/out/left.files 2>/dev/null
journalctl -b --no-pager >/out/journal 2>/dev/null
exit 0
