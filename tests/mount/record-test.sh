#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# record-test.sh - recording what programs read and write on a mount, replaying it, and warming
# another pool with it. Who records is stopped, killed, or too slow; the mount ends or is killed.
#
# Usage: record-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Needs 50 MiB in /dev/shm and in $TMPDIR.

set -u
build=${1:?usage: record-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

# start TRACE [OPTION...]: records; returns when the mount does. $recorder is its process.
start() {
  rm -f "$1" "$work/recorded"
  # A job in the background ignores SIGINT. In the mount it would keep it busy.
  env -C / --default-signal=INT "$cm" record "$@" >"$work/recorded" 2>&1 </dev/null &
  recorder=$!
  until grep -q '^recording;' "$work/recorded" 2>/dev/null; do
    kill -0 $recorder 2>/dev/null || { cat "$work/recorded" >&2; return 1; }
    sleep 0.02
  done
}
# ended WANTED: waits for its status; what it printed is in $work/recorded.
ended() {
  local got=0
  wait $recorder || got=$?
  [ $got = "$1" ] || { echo "status $got: $(head -n 3 "$work/recorded")" >&2; return 1; }
}
stop() { # WANTED [SIGNAL]
  kill "-${2:-INT}" $recorder
  ended "$1"
}
# lines KIND NAME TRACE: how many there are, of the file that has this name in the end
lines() {
  awk -v kind="$1" -v name="$2" '
    $1 == "f" { name_of[$2] = $3 }
    $1 == kind { n[$2]++; bytes[$2] += $4 }
    END { for (k in n) if (name_of[k] == name) print n[k], bytes[k] }' "$3"
}
# What was written may be in the kernel's pages, and then a plain read does not reach the mount.
direct() { dd if="$1" of=/dev/null bs=4k iflag=direct status=none; }
reads() { dd if="$org/$1" of=/dev/null bs=128k iflag=direct status=none "${@:2}"; }
# Blocks that the mount has read at the origin for readers
misses() { stat_of origin_bytes; }

trace=$work/trace
size=5000000 # 39 reads of 128 KiB

t_record() {
  "$cm" warm -q "$org/hot"
  start "$trace" "$org"
  reads hot            # hits
  reads cold           # misses
  dd if="$org/early" of=/dev/null bs=1M iflag=direct status=none # answered before it is stored
  reads hot count=2
  cat "$org/a b/c%d" "$org/"$'new\nline' >/dev/null
  dd if=/dev/zero of="$org/written" bs=64k count=3 oflag=direct status=none
  stop 0
  grep -Eq '^[0-9]+ reads \(12\.[0-9]* MiB\) and 3 writes \(192\.0 KiB\) of 6 files' \
    "$work/recorded"
  same "$(head -n 1 "$trace")" 'cachemax-trace 1'
  same "$(tail -n 1 "$trace")" 'end 0'
  same "$(lines r hot "$trace")" "41 $((size + 262144))"
  same "$(lines r cold "$trace")" "39 $size"
  same "$(lines r early "$trace" | cut -d ' ' -f 2)" 3145728
  same "$(lines r a%20b/c%25d "$trace")" '1 3000'
  same "$(lines r new%0aline "$trace")" '1 1'
  same "$(lines w written "$trace")" '3 196608'
  same "$(stat -c %a "$trace")" 600
}
t_names() { # a file has the last name that it was used by
  start "$work/names" "$org"
  echo one > "$org/dir/new"
  mv "$org/dir/new" "$org/dir/renamed"
  direct "$org/dir/renamed"
  echo two > "$org/dir/gone"
  exec 3<"$org/dir/gone"
  rm "$org/dir/gone"
  direct /dev/fd/3
  stop 0
  same "$(lines w renamed "$work/names")" '' # names are those below the mount
  same "$(lines w dir/renamed "$work/names")" '1 4'
  same "$(lines r dir/renamed "$work/names")" '1 4'
  same "$(lines w '' "$work/names")" '1 4' # nobody can find it
  status 0 "$cm" warm --trace "$work/names" "$org"
}
t_part_of() { # the mount
  start "$work/part" "$org/dir" "$org/cold"
  reads hot count=1
  reads cold count=1
  cat "$org/a b/c%d" >/dev/null
  echo one > "$org/direction"
  echo one > "$org/dir/one"
  stop 0
  same "$(lines r cold "$work/part")" '1 131072'
  same "$(lines w dir/one "$work/part")" '1 4'
  same "$(grep -c '^f ' "$work/part")" 2
}
t_replay() {
  status 0 "$cm" replay "$trace" --sizes 0.1,1
  # 1221 blocks of hot and of cold, 64 of hot again, 768 of early, two small files
  says ': 3276 blocks read, 3212 different ones, in 5 files; 48 written'
  status 0 "$cm" replay "$trace" --size 1 --writes
  xz -k "$trace"
  status 0 "$cm" replay "$trace.xz" --size 1 || says 'built without liblzma'
}
t_warm() { # of another pool
  local before
  same "$(cached "$org")" 0
  status 0 "$cm" warm --trace "$trace" "$org"
  says '^5 files, of which the trace reads 12\.[0-9]* MiB in whole blocks: 12\..* MiB cached, 12\.'
  before=$(misses)
  reads hot
  reads cold
  cat "$org/a b/c%d" "$org/"$'new\nline' >/dev/null
  same "$(misses)" "$before"
  cmp "$org/hot" "$ref/hot"
  same "$(cached "$org/other")" 0
  same "$(number stored_bytes "$cm" warm --trace "$trace" "$org")" 0
}
t_part() {
  "$cm" forget -q "$org"
  status 0 "$cm" warm --trace "$trace" "$org/a b" "$org/cold" # all of one mount
  same "$(cached "$org/a b")" 3000
  same "$(cached "$org/cold")" $size
  same "$(cached "$org/hot")" 0
}
t_units() { # whole blocks, the last one of a file, too
  "$cm" forget -q "$org"
  { printf 'cachemax-trace 1\nf 1 a%%20b/c%%25d\nf 2 new%%0aline\nf 3 cold\n'
    printf 'r 1 0 3000 1\nr 2 0 1 2\nr 3 5000 10 3\nr 3 4999999 1 4\nend 0\n'; } > "$work/units"
  status 0 "$cm" warm --trace "$work/units" "$org" --json
  for key in bytes cached_bytes stored_bytes read_bytes; do
    says "\"$key\": 16384,"
  done
  status 0 "$cm" warm --trace "$work/units" "$org"
  says '^3 files, of which the trace reads 16\.00 KiB in whole blocks: 16\.00 KiB cached, 0 '
}
t_ranges() { # only what was read
  "$cm" forget -q "$org"
  start "$work/ranges" "$org/hot"
  reads hot skip=10 count=2
  stop 0
  "$cm" forget -q "$org"
  status 0 "$cm" warm --trace "$work/ranges" "$org"
  same "$(cached "$org/hot")" 262144
}
# The only mount needs no name. Other tests may have mounts, so here they are taken away.
alone() { # COMMAND...
  unshare -m bash -c 'awk -v org="$1" "/ - fuse.cachemax / && \$5 != org { print \$5 }" \
    /proc/self/mountinfo | while read -r point; do umount -l "$point"; done; shift; exec "$@"' \
    alone "$org" "$@"
}
t_alone() {
  status 0 alone "$cm" record "$work/alone" --seconds 1
  status 0 alone "$cm" warm --trace "$trace"
  says '^5 files, '
  status 8 unshare -m bash -c 'umount -l "$1"; shift; exec "$@"' - "$org" \
    bash -c "$(declare -f alone); org=none alone \"\$@\"" - "$cm" record "$work/none"
  says 'there is no mount of cachemax-mount'
  [ ! -e "$work/none" ]
}
t_changed() { # missing, shorter, and no file any more
  rm "$org/cold"
  mkdir "$org/cold"
  truncate -s 1000000 "$org/hot"
  mv "$org/a b" "$org/ab"
  status 1 "$cm" warm --trace "$trace" "$org"
  says ' a b/c%d: is missing$'
  says ' hot: is shorter than it was$'
  says ' cold: .'
  rmdir "$org/cold"
  status 7 "$cm" warm --trace "$trace" "$org" --json
  says '"missing_files": [23],'
  says '"shorter_files": 1,'
  same "$(cached "$org/hot")" 1000000
  mv "$org/ab" "$org/a b"
  cp "$ref/hot" "$ref/cold" "$org"
}
# What is missing or shorter takes no room: what comes after it is warmed.
t_no_room() {
  "$cm" forget -q "$org/hot"
  { printf 'cachemax-trace 1\nf 1 gone\nf 2 hot\n'
    for n in 1 2 3; do printf 'r 1 0 1073741824 %s\n' $n; done
    printf 'r 2 0 1000000 4\nend 0\n'; } > "$work/gone"
  status 7 "$cm" warm --trace "$work/gone" "$org"
  says '^cachemax: gone: is missing$'
  same "$(grep -c 'the pool is full' "$work/said")" 0
  [ "$(cached "$org/hot")" -ge 1000000 ]
  # One that is shorter, and whose part is cut to the room.
  "$cm" forget -q "$org"
  sed 's/gone$/cold/' "$work/gone" > "$work/short"
  status 7 "$cm" warm --trace "$work/short" "$org"
  says '^cachemax: cold: is shorter than it was$'
  [ "$(cached "$org/cold")" -gt $((size - 100000)) ]
  [ "$(cached "$org/hot")" -gt 900000 ]
}
t_much() { # more than the pool holds
  local n
  start "$work/much" "$org"
  for n in 1 2 3 4; do
    reads hot
    [ $n -gt 2 ] || reads cold
  done
  reads large
  stop 0
}
t_best() { # of a trace that reads more than the pool holds
  status 7 "$cm" warm --trace "$work/much" "$org"
  says 'the pool is full after .*; what was read least often is not cached'
  # But for some blocks whose buckets of the index are full of others.
  [ "$(cached "$org/hot")" -gt $((size - 100000)) ]
  [ "$(cached "$org/cold")" -gt $((size - 100000)) ]
}
t_limits() {
  local began=$SECONDS
  status 0 timeout 60 "$cm" record "$work/limit" "$org" --seconds 1 --quiet
  same "$(cat "$work/said")" ''
  rm "$work/limit"
  status 0 "$cm" record "$work/limit" "$org" --seconds 1
  [ $((SECONDS - began)) -ge 1 ]
  says '^0 reads .* of 0 files'
  rm "$work/limit"
  "$cm" record "$work/limit" "$org" --seconds 1 --json >"$work/said" </dev/null
  python3 - "$work/said" <<'PY'
import json, sys
v = json.load(open(sys.argv[1]))
assert v["reads"] == v["files"] == v["dropped"] == 0 and v["trace_bytes"] > 0, v
assert v["size_reached"] is False, v
PY
  start "$work/limited" "$org" --size 4K
  for _ in 1 2 3 4 5; do reads hot; done
  wait $recorder
  [ "$(stat -c %s "$work/limited")" -le 4096 ]
  [ "$(stat -c %s "$work/limited")" -gt 3900 ]
  same "$(tail -n 1 "$work/limited")" 'end 0'
  status 0 "$cm" replay "$work/limited" --size 1
}
t_two() {
  start "$work/first" "$org"
  status 1 "$cm" record "$work/second" "$org" --seconds 1
  says 'somebody records there already'
  [ ! -e "$work/second" ]
  stop 0
}
has_whole_lines() { same "$(tail -c 1 "$1" | od -An -tx1)" ' 0a'; }
# Before a write of the system: the first is the first line, the second goes to standard error.
t_killed_between() {
  local n reader
  while :; do dd if="$org/hot" of=/dev/null bs=4k iflag=direct status=none; done &
  reader=$!
  # shellcheck disable=SC2064 # the number of now
  trap "kill $reader 2>/dev/null || true" EXIT
  for n in 4 5 6 7; do
    rm -f "$work/between"
    strace -o "$work/calls" -e trace=write -e inject=write:signal=KILL:when=$n \
      "$cm" record "$work/between" "$org" --seconds 20 >"$work/said" 2>&1 || true
    same $n "$(grep -c '^write' "$work/calls")"
    has_whole_lines "$work/between"
  done
  kill $reader
  wait $reader 2>/dev/null || true
  eventually "$cm" record "$work/next.$RANDOM" "$org" --seconds 1
}
t_killed() { # of the trace only the last line is missing, and the mount goes on
  start "$work/killed" "$org"
  reads hot
  eventually grep -q "^r .* 4849664 " "$work/killed" # the last one of hot
  stop 137 KILL
  status 3 "$cm" replay "$work/killed" --size 1
  says "is cut off: it ends in line [0-9]*, which is not 'end'"
  status 3 "$cm" warm --trace "$work/killed" "$org"
  has_whole_lines "$work/killed"
  truncate -s -3 "$work/killed" # a kill in the middle of a write
  sed -i '$d' "$work/killed"; echo 'end 0' >> "$work/killed" # as cachemax(1) says
  status 0 "$cm" replay "$work/killed" --size 1
  eventually "$cm" record "$work/next.$RANDOM" "$org" --seconds 1 # the mount has noticed it
}
t_stopped() { # nobody waits for it
  local before
  start "$work/stopped" "$org"
  kill -STOP $recorder
  before=$SECONDS
  reads hot
  cmp "$org/cold" "$ref/cold"
  echo 1 > "$org/written"
  [ $((SECONDS - before)) -lt 60 ]
  kill -CONT $recorder
  stop 0
  same "$(lines w written "$work/stopped")" '1 2'
}
may_trace() { # NAME: false, with a line, when the mount's threads cannot be stopped
  python3 - "$mount_pid" <<'PY' || { skip "$1" "ptrace is not permitted here"; return 1; }
import ctypes, sys
SEIZE = 0x4206
thread = ctypes.c_long(int(sys.argv[1]))
sys.exit(ctypes.CDLL(None).ptrace(ctypes.c_long(SEIZE), thread, None, None))
PY
}
# The thread that serves the client is stopped while the ring becomes full: what it tells afterwards
# and what was dropped is all that was read.
t_dropped() {
  python3 - "$mount_pid" "$pool.control" "$org/hot" <<'PY'
import ctypes, os, socket, sys
READS = 70000  # the ring has 65536 places
SEIZE, INTERRUPT, DETACH, ALL = 0x4206, 0x4207, 17, 0x40000000  # ptrace(2), waitpid(2)
libc = ctypes.CDLL(None, use_errno=True)

def ptrace(request, thread):
    done = libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread), None, None)
    assert done == 0, f'ptrace {request:#x}: {os.strerror(ctypes.get_errno())}'

def threads():
    return set(map(int, os.listdir(f'/proc/{sys.argv[1]}/task')))

before = threads()
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(sys.argv[2])
s.sendall(b'cachemax 1 record 0 0\n')
got = s.recv(100)
assert got.startswith(b'is dropped 0\n'), got
new = threads() - before
assert len(new) == 1, f'{len(new)} threads have begun, and one serves'
server = new.pop()
ptrace(SEIZE, server)
ptrace(INTERRUPT, server)
os.waitpid(server, ALL)
fd = os.open(sys.argv[3], os.O_RDONLY | os.O_DIRECT)
for k in range(READS):
    os.pread(fd, 64, k * 64)
os.close(fd)
ptrace(DETACH, server)
s.shutdown(socket.SHUT_WR)
while more := s.recv(65536):
    got += more
assert b'\nend 0 ' in got, got[-100:]
lines = got.decode().splitlines()
told = sum(line.count(',') + 1 for line in lines if line.startswith('is io '))
dropped = [int(line.split()[2]) for line in lines if line.startswith('is dropped ')][-1]
assert dropped > 0
assert told + dropped == READS, f'{told} told, {dropped} dropped'
PY
}
t_usage() {
  status 2 "$cm" record
  status 2 "$cm" record "$work/t" "$org" --seconds 0
  status 2 "$cm" record "$work/t" "$org" --size 1
  status 2 "$cm" record "$org/t" "$org"
  says 'is on the mount that is recorded'
  status 1 "$cm" record "$trace" "$org"
  says 'exists already, and nothing is ever overwritten; choose another name, or delete it'
  status 1 "$cm" record "$work/nodir/t" "$org"
  says "there is no directory '$work/nodir'; make it first"
  status 8 "$cm" record "$work/t" "$work"
  status 1 "$cm" warm --trace "$work/none" "$org"
  status 2 "$cm" warm --trace "$trace" --list "$work/none" "$org"
  printf 'LCTRACE1%08d' 0 > "$work/nameless"
  status 3 "$cm" warm --trace "$work/nameless" "$org"
  says "names no files: it was not made by 'cachemax record'"
  printf 'cachemax-trace 1\nf 1 ../up\nend 0\n' > "$work/hostile"
  status 3 "$cm" warm --trace "$work/hostile" "$org"
  says 'is damaged: line 2 has no path below the mount'
  [ ! -e "$work/t" ]
}
t_full_volume() {
  mkdir "$work/full"
  mount -t tmpfs -o size=16k none "$work/full"
  dd if=/dev/zero of="$work/full/filler" bs=4k count=4 2>/dev/null
  status 1 "$cm" record "$work/full/t" "$org"
  same "$(cat "$work/said")" "cachemax: $work/full/t: cannot be written; is the volume full?"
  [ ! -e "$work/full/t" ]
  rm "$work/full/filler" # there is room for a part
  start "$work/full/t" "$org"
  for _ in 1 2; do dd if="$org/hot" of=/dev/null bs=4k iflag=direct status=none; done
  ended 1
  [ "$(stat -c %s "$work/full/t")" -gt 16000 ]
  has_whole_lines "$work/full/t"
  (cat "$work/full/t"; echo 'end 0') > "$work/part"
  status 0 "$cm" replay "$work/part" --size 1
  mount -o remount,ro "$work/full"
  status 1 "$cm" record "$work/full/u" "$org"
  says "the volume of '$work/full' is mounted read-only; choose another place"
  umount "$work/full"
}
t_unopened() { # a read-only mount may serve reads without an open
  "$cm" warm -q "$org/hot"
  cat "$org/cold" >/dev/null # from then on
  start "$work/unopened" "$org"
  reads hot
  cmp "$org/other" "$ref/other"
  stop 0
  same "$(lines r hot "$work/unopened")" "39 $size"
  same "$(lines r other "$work/unopened" | cut -d ' ' -f 2)" $size
}
# Ends the mount while somebody records: the trace is whole.
ends() { # SIGNAL
  start "$work/ends" "$org"
  reads hot
  eventually grep -q "^r .* 4849664 " "$work/ends"
  kill "-$1" "$mount_pid"
  ended 8
  same "$(tail -n 1 "$work/ends")" 'end 0'
  same "$(lines r hot "$work/ends")" "39 $size"
}

mkdir -p "$ref/a b" "$ref/dir"
for name in hot cold other; do head -c $size /dev/urandom > "$ref/$name"; done
head -c 3000 /dev/urandom > "$ref/a b/c%d"
head -c 3145728 /dev/urandom > "$ref/early"
printf x > "$ref/"$'new\nline'
cp -r "$ref/." "$org"
head -c 40000000 /dev/zero > "$org/large"
sleep 0.3 # their times are no longer fresh
new_pool 32M
# shellcheck disable=SC2119 # without options
do_mount || { fail mount "$(tail -n 1 "$work/log")"; summary; exit 1; }
check "record" t_record
check "names" t_names
check "record a part" t_part_of
check "replay" t_replay
do_unmount || fail "the end" "status $status"
new_pool 32M
do_mount
check "warm another pool" t_warm
check "warm a part" t_part
check "one unit" t_units
check "warm what was read" t_ranges
! need_root "the only mount" || check "the only mount" t_alone
check "warm what has changed" t_changed
check "warm what comes after what is missing" t_no_room
check "record much" t_much
check "limits" t_limits
check "two record" t_two
check "who records is killed" t_killed
! need "who records is killed between two writes" strace ||
  ! may_trace "who records is killed between two writes" ||
  check "who records is killed between two writes" t_killed_between
check "who records is stopped" t_stopped
! need "what is dropped is counted" python3 || ! may_trace "what is dropped is counted" ||
  check "what is dropped is counted" t_dropped
check "wrong command lines" t_usage
! need_root "record onto a full volume" || check "record onto a full volume" t_full_volume
do_unmount || fail "the end" "status $status"
new_pool 32M # without what was forgotten: such slots are used again out of order
do_mount
check "warm the best" t_best
do_unmount || fail "the end" "status $status"
do_mount -o ro
check "without an open" t_unopened
do_unmount || fail "the end" "status $status"
# shellcheck disable=SC2119 # without options
do_mount
check "the mount ends" ends TERM
kill "$mount_pid" 2>/dev/null # if that check was not run
wait_mount
do_mount
check "the mount is killed" ends KILL
kill -KILL "$mount_pid" 2>/dev/null
wait_mount
fusermount3 -u -z "$org"
summary
