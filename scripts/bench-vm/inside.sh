# What being watched by BPF programs costs, measured in one boot of a virtual
# machine. Each line that is printed is: workload, way, seconds.
set -e
turns=$1
mkdir -p /work && cd /work
for i in 1 2; do
	{
		echo "#include <stdio.h>"
		for n in $(seq 20); do echo "int f${i}_$n(int x) { int s = 0; for (int i = 0; i < x; i++) s += i * $n ^ x; return printf(\"%d\", s); }"; done
	} >f$i.c
done
cat >find.sh <<'WORK'
find /usr -xdev -size +1k >/dev/null
WORK
cat >compile.sh <<'WORK'
for i in 1 2; do gcc -O2 -c -o f$i.o f$i.c; done
WORK
# timed.sh says how long a workload takes, without what starts and ends it.
cat >timed.sh <<'WORK'
begun=$EPOCHREALTIME
sh $1.sh
ended=$EPOCHREALTIME
echo $(((${ended/./} - ${begun/./}))) >/work/took
WORK
say() { echo "$1 $2 $(cat /work/took)"; }
plain() { bash timed.sh $1; }
elsewhere() { # the programs are attached, for somebody else
	quixote-export -X --source bpf -o /work/other.exp -- sh -c 'touch ready; sleep 100000' &
	while [ ! -e ready ]; do sleep 0.1; done
	bash timed.sh $1
	pkill -x sleep
	wait
	rm ready
}
inside() { quixote-export -X --source bpf -o /work/own.exp -- bash timed.sh $1; }
stracing() { strace -f -o /work/trace bash timed.sh $1; }
# What bpftrace prints is the name of the hook, the process and its name: less
# than a record has. It is told to look at a control group, having no other way to
# follow children.
mkdir -p /sys/fs/cgroup/traced
cat >traced.sh <<'WORK'
echo $$ >/sys/fs/cgroup/traced/cgroup.procs
exec bash timed.sh $1
WORK
hooks=$(bpftrace -l 'kfunc:bpf_lsm_*' | sed 's/.*://' | grep -xFf hooks | sed 's/^/kfunc:/' | paste -sd,)
tracing() {
	BPFTRACE_PERF_RB_PAGES=2048 bpftrace -f json -o trace.json -c "/bin/bash traced.sh $1" \
		-e "$hooks /cgroup == cgroupid(\"/sys/fs/cgroup/traced\")/ { printf(\"%s %d %s\\n\", probe, pid, comm); }"
}
# Nobody is left who takes programs off their hooks.
settle() { while pgrep -f quixote-export >/dev/null; do sleep 0.2; done; }
for work in find compile; do plain $work; done # what is cached is so for all
for turn in $(seq $turns); do
	for work in find compile; do
		for way in plain elsewhere inside stracing tracing; do
			$way $work >/dev/null
			say $work $way
			settle
		done
	done
done
echo "$(grep -c '"type": "event"' own.exp) records, $(grep -c printf trace.json) lines of bpftrace, $(wc -l <trace) of strace" >&2
