#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# uring-test.sh - cachemax-mount with requests that come by io_uring.
#
# Usage: uring-test.sh BUILD_DIR
# Allows it in the kernel (the parameter enable_uring of the module fuse), and sets that back at the
# end. Other scripts run with /dev/fuse; with CM_IO_URING=auto they run with io_uring, too.
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the last
# line. Exit status 1 when something failed.

set -u
build=${1:?usage: uring-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
build=$(realpath "$build")
io_uring_before=
CM_IO_URING=auto
# shellcheck source=lib.sh
. "$here/lib.sh"
leave_out() { skip "requests by io_uring" "$1"; summary; exit 77; }
[ $is_root = 1 ] || leave_out "needs root"
[ $has_below = 1 ] || leave_out "needs a bind mount"
command -v python3 >/dev/null || leave_out "no python3"
allowed=/sys/module/fuse/parameters/enable_uring
[ -e $allowed ] || leave_out "this kernel has no FUSE over io_uring (Linux 6.14)"
exec 9<$allowed
flock 9 # another one of this script sets it, too
io_uring_before=$(cat $allowed)
set_back() { [ -z "$io_uring_before" ] || echo "$io_uring_before" > $allowed; }
trap 'set_back; cleanup' EXIT
{ echo Y > $allowed; } 2>/dev/null || leave_out "this root may not write $allowed"

slow=$(realpath "$(find "$build" -name slow_origin.so | head -n 1)")
shim=$(realpath "$(find "$build" -name no_uring.so | head -n 1)")
export SLOW_ORIGIN="$shm/slow"
comes_by() { # WHAT: the last line about it in the log, and the list of mounts
  same "$("$cm" list --json | grep -A 30 "\"directory\": \"$org\"" |
    sed -n 's/^ *"requests": "\(.*\)",$/\1/p' | head -n 1)" "$1"
}
warm() { # FILE: all of it in the pool
  for _ in 1 2 3; do dd if="$1" of=/dev/null bs=128k iflag=direct status=none; done
}
wait_for() { # SECONDS COMMAND...: until it succeeds
  local n=$(($1 * 20))
  shift
  until "$@" 2>/dev/null; do
    n=$((n - 1))
    [ $n -gt 0 ] || { echo "in vain: $*" >&2; return 1; }
    sleep 0.05
  done
}
line_of_log() { tail -n +"$((lines + 1))" "$work/log" | grep -q "$1"; }

preloads() { # NAME: false, with a line
  ! grep -Eq '__(asan|tsan)_init' "$mount_bin" ||
    { skip "$1" "a sanitizer's build takes no LD_PRELOAD"; return 1; }
}

# ---- Whether it is used -------------------------------------------------------------------------

t_used() {
  wait_for 60 line_of_log \
    'requests come by io_uring: [0-9]* CPUs, up to [0-9]* requests of each at a time'
  comes_by io_uring
  warm a
  cmp a "$below/a"
  local hits
  hits=$(stat_of hit_blocks)
  dd if=a of=/dev/null bs=4k count=100 iflag=direct status=none
  [ $(($(stat_of hit_blocks) - hits)) -ge 100 ]
}
t_fuse() {
  comes_by /dev/fuse
  cmp a "$below/a"
  ! line_of_log 'requests come by io_uring'
}
t_refused() { # LINE
  t_fuse
  wait_for 60 line_of_log "$1"
}
with_mount() { # NAME FUNCTION [OPTION...]
  local name=$1 function=$2
  wanted "$name" || return 0
  shift 2
  lines=$(wc -l < "$work/log")
  do_mount "$@" || { fail "$name" "$(tail -n 1 "$work/log")"; return; }
  check "$name" "$function"
  do_unmount || fail "$name: its end" "status $status"
}
# A kernel that waits for buffers answers nobody.
kill_if_stuck() {
  for _ in $(seq 1200); do sleep 0.1; done
  pkill -9 -f "$mount_bin $org "
}
# Without io_uring the mount is as ever.
refused() { # NAME LINE: with NO_URING set
  wanted "$1" || return 0
  preloads "$1" || return 0
  lines=$(wc -l < "$work/log")
  local guard
  kill_if_stuck &
  guard=$!
  LD_PRELOAD=$shim do_mount || { fail "$1" "$(tail -n 1 "$work/log")"; return; }
  kill $guard
  check "$1" t_refused "$2"
  do_unmount || fail "$1: its end" "status $status"
}

# A thread that could not begin is no reason to refuse io_uring: it would stop when the parameter
# changes, and what it has taken would hang.
t_one_fails() {
  eventually line_of_log 'requests come by io_uring'
  echo N > $allowed
  (cd / && cmp "$org/a" "$below/a" && : > "$work/read-it") & # a program that hangs cannot be killed
  eventually test -e "$work/read-it"
}
one_fails() {
  local name="one thread cannot begin"
  wanted "$name" || return 0
  preloads "$name" || return 0
  lines=$(wc -l < "$work/log")
  NO_URING=one LD_PRELOAD=$shim do_mount || { fail "$name" "$(tail -n 1 "$work/log")"; return; }
  check "$name" t_one_fails
  echo Y > $allowed
  [ -e "$work/read-it" ] || kill -9 "$mount_pid"
  do_unmount || fail "$name: its end" "status $status"
}

# A CPU that came later has few threads, and direct writes of a file with pages wait for the pages.
# They leave a thread to the reads that may have these pages locked.
t_late_cpu() {
  head -c 16M /dev/urandom > "$below/late"
  timeout -k 5 120 taskset -c 1 python3 - <<'PY'
import mmap, os, threading, time
end = time.monotonic() + 5
fd = os.open("late", os.O_RDWR)
direct = os.open("late", os.O_RDWR | os.O_DIRECT)
def write(n):
    buf, k = mmap.mmap(-1, 4096), 0
    while time.monotonic() < end:
        k += 1
        buf[:8] = b"%08d" % k
        os.pwritev(direct, [buf], (n * 512 + k * 7 % 512) * 4096)
def read(n):
    while time.monotonic() < end:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for k in range(64):
            os.pread(fd, 65536, (n * 512 + k * 8) * 4096)
threads = [threading.Thread(target=f, args=(n,)) for n in range(8) for f in (write, read)]
for t in threads:
    t.start()
for t in threads:
    t.join()
PY
  cmp late "$below/late"
}
late_cpu() {
  local name="a CPU that comes later"
  wanted "$name" && [ "$(nproc)" -gt 1 ] || return 0
  preloads "$name" || return 0
  NO_URING=late LD_PRELOAD=$shim do_mount || { fail "$name" "$(tail -n 1 "$work/log")"; return; }
  check "$name" t_late_cpu
  do_unmount || fail "$name: its end" "status $status"
}

# ---- Files --------------------------------------------------------------------------------------

# Names, content, attributes, lists and mappings, compared with what lies below.
t_files() {
  mkdir dir
  for k in $(seq 300); do echo "$k" > "dir/a-name-that-makes-the-list-long-$k"; done
  same "$(cd dir && echo *)" "$(cd "$below/dir" && echo *)"
  head -c 3000001 /dev/urandom > dir/large
  cmp dir/large "$below/dir/large"
  dd if=/dev/urandom of=dir/large bs=1M count=2 seek=1 oflag=direct conv=notrunc status=none
  cmp dir/large "$below/dir/large"
  ln -s "$(printf '%01000d' 0)" dir/link
  same "$(readlink dir/link)" "$(readlink "$below/dir/link")"
  mv dir/large dir/renamed
  truncate -s 1234567 dir/renamed
  cmp dir/renamed "$below/dir/renamed"
  python3 - dir/renamed "$below/dir/renamed" <<'PY'
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
for at in range(0, len(m), 40000):
    m[at:at + 5] = b"store"
m.flush()
os.fsync(fd)
if open(sys.argv[2], "rb").read() != bytes(m):
    sys.exit("the mapping is not what lies below")
os.setxattr(sys.argv[1], "user.long", b"x" * 3000)
if os.getxattr(sys.argv[2], "user.long") != os.getxattr(sys.argv[1], "user.long"):
    sys.exit("the attribute is not what lies below")
if os.listxattr(sys.argv[1]) != os.listxattr(sys.argv[2]):
    sys.exit("the list of attributes is not what lies below")
with open(sys.argv[1], "rb") as f:  # past the end, and not at blocks
    for at, n in ((1234560, 100), (1234567, 1), (4095, 2), (1, 131072)):
        if os.pread(f.fileno(), n, at) != m[at:at + n]:
            sys.exit("%d bytes at %d are wrong" % (n, at))
PY
  fails cat dir/nothing
  fails mkdir dir
  rm -r dir
  [ ! -e "$below/dir" ]
}
# 1000 threads read what is cached and what is not, and are interrupted: each byte is right. The
# memory stays what the first rounds have needed.
t_threads() {
  warm a
  python3 - a "$below/a" "$mount_pid" <<'PY'
import os, random, signal, sys, threading
path, below, pid = sys.argv[1:4]
threading.stack_size(65536)
data = open(below, "rb").read()
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)  # every thread may get it
wrong = []
def rss():
    for line in open("/proc/%s/status" % pid):
        if line.startswith("VmRSS"):
            return int(line.split()[1])
def reader(seed):
    r = random.Random(seed)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for _ in range(4):
        n = r.choice((1, 4096, 5000, 65536))
        at = r.randrange(len(data) - n)
        if os.pread(fd, n, at) != data[at:at + n]:
            wrong.append((at, n))
        if r.random() < 0.02:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
seen = []
for k in range(6):
    threads = [threading.Thread(target=reader, args=(1000 * k + n,)) for n in range(1000)]
    for t in threads: t.start()
    for t in threads: t.join()
    seen.append(rss())
signal.setitimer(signal.ITIMER_REAL, 0)
if wrong:
    sys.exit("wrong bytes: %s" % wrong[:3])
if max(seen[3:]) > max(seen[:3]) + 16384:
    sys.exit("the mount grows: %s KiB" % seen)
PY
}

# ---- Requests that wait -------------------------------------------------------------------------

readers='' number=0
# It has its file open, and its read is in flight: it neither runs nor opens. Seen twice, because
# it may have waited for something else.
waits_in_read() { # PROCESS FILE
  local k
  for k in 1 2; do
    [ "$(readlink "/proc/$1/fd/0")" = "$org/$2" ]
    grep -q '^State:.[SD]' "/proc/$1/status"
    sleep 0.05
  done
}
# Programs on the first CPU, almost as many as may wait there, wait for an origin that does not
# answer.
hang_readers() {
  local k
  number=$(($(sed -n 's/.*io_uring: [0-9]* CPUs, up to \([0-9]*\) requests.*/\1/p' "$work/log" |
    tail -n 1) - 4))
  [ $number -lt 20 ] || number=20
  : > "$SLOW_ORIGIN"
  readers=
  for k in $(seq $number); do
    taskset -c 0 dd if="cold$k" of=/dev/null bs=4k count=1 iflag=direct status=none &
    readers="$readers $!"
    wait_for 60 waits_in_read $! "cold$k"
  done
  test -e "$SLOW_ORIGIN.reading"
}
release() { # the origin answers again
  rm -f "$SLOW_ORIGIN" "$SLOW_ORIGIN.reading"
}
# They hold up nobody on their CPU: hits and others that wait for nothing are answered.
t_beside() {
  warm a
  hang_readers
  for _ in $(seq 50); do
    timeout 300 taskset -c 0 dd if=a of=/dev/null bs=64k count=16 iflag=direct status=none
    echo line | taskset -c 0 dd of=written oflag=append conv=notrunc status=none
    taskset -c 0 mv written renamed
    taskset -c 0 mv renamed written
  done
  # The origin is still silent: nobody has waited for it.
  pgrep -P $BASHPID dd >"$work/left" || :
  same "$(wc -l < "$work/left")" $number
  same "$(wc -l < "$below/written")" 50
  release
  # shellcheck disable=SC2086 # words
  wait $readers
}
# Killed with requests of all kinds in flight: nobody hangs, the mount can be made again, and what
# was cached is warm.
t_kill() {
  local hits n
  warm a
  hang_readers
  kill -9 "$mount_pid"
  wait "$mount_pid" 2>/dev/null || :
  cd /
  release
  for n in $readers; do
    ! wait "$n" # its request has failed
  done
  do_mount
  cd "$org"
  hits=$(stat_of hit_blocks)
  dd if=a of=/dev/null bs=128k iflag=direct status=none
  [ $(($(stat_of hit_blocks) - hits)) -ge 1000 ]
  cmp a "$below/a"
  comes_by io_uring
  cd /
  do_unmount
}
# The origin answers: so do the requests in flight, and the mount ends.
all_get_theirs() {
  local n
  release
  for n in $readers; do
    wait "$n"
  done
  cd /
  wait_for 120 fails kill -0 "$mount_pid"
  is_clean
}
# SIGTERM with the same in flight: the users get their data, and the pool is clean. The log says
# once that it waits.
t_term() {
  local told="$org: the end waits for [0-9]* requests, which the origin does not answer\$"
  lines=$(wc -l < "$work/log")
  hang_readers
  kill -TERM "$mount_pid"
  wait_for 60 fails mountpoint -q "$org" # detached: it waits for them
  wait_for 20 line_of_log "$told"
  all_get_theirs
  same "$(tail -n +"$((lines + 1))" "$work/log" | grep -c "$told")" 1
}
# The same, with a second SIGTERM: the mount ends while they wait. It has begun to when another
# program, which has its file open, is refused.
t_term_twice() {
  exec 7<a
  hang_readers
  kill -TERM "$mount_pid"
  wait_for 60 fails mountpoint -q "$org"
  kill -TERM "$mount_pid"
  wait_for 60 fails dd bs=4k count=1 iflag=direct status=none <&7
  exec 7<&-
  all_get_theirs
}
with_slow() { # NAME FUNCTION STATUS: of the mount; the function may end it
  wanted "$1" || return 0
  need "$1" taskset || return 0
  preloads "$1" || return 0
  LD_PRELOAD=$slow do_mount || { fail "$1" "$(tail -n 1 "$work/log")"; return; }
  check "$1" "$2"
  release
  if mountpoint -q "$org"; then do_unmount || :; else wait_mount; fi
  [ "$status" = "$3" ] || fail "$1: its end" "status $status"
}

# ---- Together with other options ----------------------------------------------------------------

# Threads change and read parts of a file of which they keep the bytes; at last it is at the origin.
changes() {
  python3 - "$org/dir/changes" "$below/dir/changes" <<'PY'
import os, random, sys, threading
path, below = sys.argv[1:]
SIZE, wrong = 500000, []
whole = [bytearray(random.Random(n).randbytes(SIZE)) for n in range(4)]
with open(path, "wb") as f:
    f.write(b"".join(whole))
def work(n):
    r, mine = random.Random(n), whole[n]
    fd = os.open(path, os.O_RDWR)
    for _ in range(150):
        at, size = r.randrange(SIZE - 9000), r.randrange(1, 9000)
        if r.random() < 0.5:
            mine[at:at + size] = r.randbytes(size)
            os.pwrite(fd, mine[at:at + size], n * SIZE + at)
        elif os.pread(fd, size, n * SIZE + at) != mine[at:at + size]:
            wrong.append((n, at, size))
    os.fsync(fd)
    os.close(fd)
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for t in threads: t.start()
for t in threads: t.join()
for name in path, below:
    with open(name, "rb") as f:
        if f.read() != b"".join(whole):
            sys.exit("%s has other bytes" % name)
if wrong:
    sys.exit("wrong bytes: %s" % wrong[:3])
PY
}
resized() { # the size changes while a program reads, and both ways
  local reader rc=0
  while [ ! -e "$work/enough" ]; do
    cmp <(dd if="$org/a" bs=64k iflag=direct status=none) "$below/a" || exit 1
  done &
  reader=$!
  "$cm" resize "$pool" 48MiB >/dev/null && "$cm" resize "$pool" 40MiB >/dev/null || rc=1
  : > "$work/enough"
  wait $reader || rc=1
  rm "$work/enough"
  same "$(stat -c %s "$pool") $rc" "41943040 0"
}
quota_kept() {
  local used
  for _ in 1 2; do dd if="$org/dir/much" of=/dev/null bs=1M iflag=direct status=none; done
  used=$("$cm" list --json | grep -A 1 '"path": "dir"' |
    sed -n 's/.*"used_bytes": \([0-9]*\).*/\1/p')
  [ "$used" -gt 3000000 ] && [ "$used" -le 4194304 ]
}
quota_and_size() {
  resized
  quota_kept
}
# t_together FUNCTION [OPTION...]: also killed, and warm after that.
t_together() {
  local extra=$1 hits
  shift
  do_mount "$@"
  eventually comes_by io_uring
  warm "$org/a"
  changes
  $extra
  kill -9 "$mount_pid"
  wait "$mount_pid" || :
  do_mount "$@"
  hits=$(stat_of hit_blocks)
  cmp <(dd if="$org/a" bs=128k iflag=direct status=none) "$below/a"
  eventually comes_by io_uring
  [ $(($(stat_of hit_blocks) - hits)) -ge 1000 ]
  cmp "$org/dir/changes" "$below/dir/changes"
  do_unmount
  is_clean
}
t_service() {
  via=service backing=(--service "$socket")
  t_together true
}
# Several directories have no io_uring yet. The log says so, and they are served.
t_dirs() {
  local lines
  lines=$(wc -l < "$work/log")
  do_mount "$work/two"
  wait_for 60 line_of_log 'io_uring is not used with several directories'
  comes_by /dev/fuse
  changes
  cmp "$org/a" "$below/a"
  cmp "$work/two/b" "$work/b"
  kill "$mount_pid"
  wait_mount
  same "$status" 0
  is_clean
}
together() { # NAME FUNCTION [ARG...]
  wanted "$1" || return 0
  new_pool 40MiB
  check_at / "$@"
  fusermount3 -u -z "$org" 2>/dev/null # of a check that failed
}

# Checks of another script, with io_uring.
t_other() { # SCRIPT CHECKS [OPTION...]
  local script=$1
  export CM_IO_URING CM_CHECKS=$2
  shift 2
  cd /
  bash "$here/$script" "$build" "$@" >"$work/other" 2>&1 || { tail -n 3 "$work/other" >&2; false; }
  grep -q '^ok ' "$work/other" || { head -n 3 "$work/other" >&2; false; }
}

: > "$work/log"
head -c 8M /dev/urandom > "$below/a"
for k in $(seq 20); do head -c 4096 /dev/urandom > "$below/cold$k"; done
new_pool 32MiB
with_mount "requests come by io_uring" t_used
with_mount "io_uring=off" t_fuse -o io_uring=off
NO_URING=setup refused "a system that forbids io_uring" \
  'io_uring is not used: Operation not permitted.*kernel.io_uring_disabled'
NO_URING=few refused "no memory for all io_urings" \
  'io_uring is not used: Cannot allocate memory.*ulimit -l'
NO_URING=register refused "a kernel that refuses the buffers" 'io_uring is not used: the kernel'
one_fails
late_cpu
# Its descriptors are those of files. Nothing crashes, and nothing fails.
few_descriptors() {
  wanted "few descriptors" || return 0
  local limit
  for limit in 100 256; do
    lines=$(wc -l < "$work/log")
    ulimit -S -n $limit
    (ulimit -H -n $limit && exec "$mount_bin" "$org" --pool "$pool" -f -o io_uring=auto) \
      2>>"$work/log" &
    mount_pid=$!
    ulimit -S -n "$(ulimit -H -n)"
    until mountpoint -q "$org"; do
      kill -0 $mount_pid || { fail "few descriptors" "$(tail -n 1 "$work/log")"; return; }
      sleep 0.05
    done
    check "few descriptors: $limit" t_refused 'io_uring is not used: '
    check "few descriptors: files, $limit" t_many
    do_unmount || fail "few descriptors: the end" "status $status"
  done
}
t_many() {
  cat "$org"/many/* > "$work/read"
  same "$(stat -c %s "$work/read")" 30000
}
mkdir "$below/many"
for k in $(seq 300); do head -c 100 /dev/zero > "$below/many/$k"; done
few_descriptors
rm -r "$below/many"
echo N > $allowed
with_mount "a kernel that does not offer it" t_fuse
echo Y > $allowed
with_mount "files through io_uring" t_files
with_mount "1000 threads" t_threads
for k in beside kill term term_twice; do
  case $k in
  beside) name="requests that wait hold up nobody" ends=0 ;;
  kill) name="kill -9 with requests in flight" ends=137 ;;
  term) name="SIGTERM with requests in flight" ends=0 ;;
  term_twice) name="SIGTERM twice with requests in flight" ends=0 ;;
  esac
  rm -f "$pool"
  new_pool 32MiB
  with_slow "$name" t_$k $ends
done
mkdir "$below/dir" "$work/two"
head -c 6M /dev/urandom > "$below/dir/much"
head -c 100000 /dev/urandom > "$work/b"
cp "$work/b" "$work/two"
sleep 0.3 # their times are no longer fresh
together "a quota, and another size" t_together quota_and_size --quota dir=4M
together "writes held back" t_together resized -o writeback
together "a service" t_service
together "several directories" t_dirs
check "killed beside direct writes" t_other bare-test.sh \
  '^(asynchronous direct writes|killed beside)'
check "stores in mappings at the end" t_other end-test.sh '^(SIGTERM|a lazy unmount)'
check "started at once after a kill" t_other kill-test.sh '' --cycles 1
summary
