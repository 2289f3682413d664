# The Debian package in a machine that runs systemd, beside a broker: installed
# before the machine comes up, watched from there on, killed, stopped, removed.
# Everything that is to be looked at goes to /out.
export=quixote-export.service
listener="-h 127.0.0.1 -i listener -c -q 1 -t host"

# What a program in the place of the exporter may do, and what not.
if [ "$1" = within ]; then
	attempt() {
		if "$@" >/dev/null 2>&1; then echo "can $*"; else echo "cannot $*"; fi
	}
	[ ! -e /var/lib/Quixote/within ] || exit 0
	{
		for dir in /usr/sbin /etc /var/lib /root /work /sys/fs/bpf /run/quixote-export /var/lib/Quixote; do
			attempt mkdir $dir/probe
			rmdir $dir/probe 2>/dev/null
		done
		attempt cat /root/secret
		attempt mount -t tmpfs none /mnt
		attempt unshare --net true
		attempt chown mosquitto /var/lib/Quixote
		attempt dd if=/dev/vda of=/dev/null count=1
		attempt dd if=/dev/kmsg of=/dev/null count=1 iflag=nonblock
		attempt tee /proc/sys/kernel/panic </proc/sys/kernel/panic
		attempt hostname other
		attempt kill -0 1
		grep -E '^(NoNewPrivs|CapEff|Seccomp):' /proc/self/status
	} >/var/lib/Quixote/within
	exit 0
fi

mkdir -p /out /work
cd /work
exec 2>>/out/errors

# What is done before systemd is there: the package, and others to start.
if [ "$1" = before ]; then
	mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates
	touch /var/lib/dpkg/status /var/lib/dpkg/available
	dpkg --force-depends -i /quixote-export.deb >/out/install.log || exit
	sed -i 's|^ARGUMENTS=.*|ARGUMENTS=-b mqtt://127.0.0.1 -t host|' /etc/quixote-export/export.conf
	sed -i 's|^ARGUMENTS=.*|ARGUMENTS=--only type:file_open,type:task_kill --exclude exe:/usr/sbin/mosquitto,exe:/usr/bin/mosquitto_sub|' /etc/quixote-export/collector.conf
	# The user that the package of the broker would have made.
	echo 'mosquitto:x:120:120::/var/lib/mosquitto:/bin/false' >>/etc/passwd
	echo 'mosquitto:x:120:' >>/etc/group
	printf '%s\n' 'listener 1883 127.0.0.1' 'allow_anonymous true' 'max_queued_messages 0' >/etc/mosquitto/conf.d/test.conf
	chown -R mosquitto: /var/lib/mosquitto
	# Somebody who is subscribed before the first record comes.
	cat >/etc/systemd/system/listener.service <<-UNIT
		[Unit]
		Requires=mosquitto.service
		After=mosquitto.service
		Before=$export
		[Service]
		ExecStartPre=mosquitto_sub $listener -E
		ExecStart=mosquitto_sub $listener
		StandardOutput=append:/out/came
		[Install]
		WantedBy=multi-user.target
	UNIT
	echo secret >/root/secret
	# What the unit may do is asked from within, and its watchdog does not wait long.
	mkdir /etc/systemd/system/$export.d
	cat >/etc/systemd/system/$export.d/test.conf <<-UNIT
		[Service]
		ExecStartPre=bash /service.sh within
		WatchdogSec=20
		RestartSec=1
	UNIT
	exec systemctl enable quixote-export-collector quixote-export mosquitto listener >/out/enable.log
fi

# await waits until a command succeeds: not often, as what it does is exported too.
await() {
	for _ in $(seq 300); do
		"$@" >/dev/null 2>&1 && return
		sleep 1
	done
	echo "gave up on: $*" >>/out/gave-up
	exit 0
}

show() { systemctl show --value -p "$1" $export; }
# seen tells that it has come that a file was opened.
seen() { grep -q "\"/work/$1\"" /out/came; }
runs() { pid=$(show MainPID) && [ "$pid" -gt 1 ]; }
stands() { grep -q '^State:.T' "/proc/$pid/status"; }

systemctl is-system-running --wait >/out/running
systemctl show -p ActiveState,Type,WatchdogUSec $export >/out/started
for unit in quixote-export-collector.service basic.target; do
	systemctl show --value -p ActiveEnterTimestampMonotonic $unit
done >/out/order

echo one >first
await seen first

# Stopped as a task is, it tells the watchdog nothing any more, and is started
# again. Before that it did tell it something, or it would not have come so far.
await runs
kill -STOP "$pid"
await stands
echo two >second
await seen second
show NRestarts >/out/restarts

# Killed it is started again.
await runs
kill -9 "$pid"
echo three >third
await seen third
show NRestarts >>/out/restarts
cp /var/lib/Quixote/within /out/within

systemctl stop $export
echo $? >/out/stop.status
show Result >/out/stopped
echo four >fourth
systemctl start $export
await seen fourth

dpkg -r quixote-export >/out/remove.log
echo $? >/out/remove.status
pgrep -x quixote-export >/out/left.processes
ls /sys/fs/bpf >/out/left.pins
rm -r /etc/systemd/system/$export.d /var/lib/Quixote/within
dpkg -P quixote-export >>/out/remove.log
echo $? >/out/purge.status
systemctl list-unit-files --no-legend 'quixote*' >/out/left.units
find / -xdev -ipath '*quixote*' ! -path '/quixote-export.deb' >/out/left.files
find /run -ipath '*quixote*' >>/out/left.files
grep -i quixote /etc/passwd /etc/group >/out/left.users
journalctl -b --no-pager >/out/journal
exit 0
