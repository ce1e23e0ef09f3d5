#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# service-test.sh - cachemax-mount with a service that comes, goes and is killed.
#
# Usage: service-test.sh BUILD_DIR [--kills N]
# N (20) times the service is killed and started again, while programs read and write through the
# mount and compare every read (versions.c). After each return files that nobody wrote must be warm.
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed.

set -u
build='' kills=20
while [ $# -gt 0 ]; do
  case $1 in
  --kills) kills=${2:?}; shift ;;
  -*) echo "service-test.sh: unknown option $1" >&2; exit 2 ;;
  *) build=$1 ;;
  esac
  shift
done
: "${build:?usage: service-test.sh BUILD_DIR [--kills N]}"
here=$(cd "$(dirname "$0")" && pwd)
set -- --service
# shellcheck source=lib.sh
. "$here/lib.sh"
versions=$(bin versions)
RANDOM=1

# ---- Wrong use --------------------------------------------------------------------------------

# refused NAME STATUS PATTERN COMMAND...: exit status, and a message that matches
refused() {
  local name=$1 want=$2 pattern=$3 got
  shift 3
  "$@" >"$work/out" 2>"$work/err" </dev/null
  got=$?
  if [ $got != "$want" ] || ! grep -Eq -- "$pattern" "$work/err"; then
    fail "$name" "status $got ($want expected): $(head -n 2 "$work/err" | tr '\n' ' ')"
  else
    ok "$name"
  fi
  ! mountpoint -q "$org" || fusermount3 -u "$org"
}

# Pool, socket and configuration may not be below the mount, whoever begins.
inside() {
  local conf=$shm/inside.conf inner=$shm/inner
  mkdir "$org/run" "$inner"
  refused "socket inside the directory" 3 'run/socket: lies inside the directory' \
    "$mount_bin" "$org" --service "$org/run/socket"
  cp "$pool" "$org/pool"
  printf 'pool = %s\nsocket = %s\n' "$org/pool" "$inner/socket" > "$conf"
  "$mount_bin" "$org" --service "$inner/socket" 2>>"$work/log"
  refused "the mount was first: pool" 2 "org/pool: lies in a directory that cachemax-mount serves" \
    "$service_bin" "$conf"
  "$mount_bin" "$org" --service "$inner/socket" 2>>"$work/log"
  printf 'pool = %s\nsocket = %s\n' "$pool" "$org/run/socket" > "$conf"
  refused "the mount was first: socket" 2 'run/socket: lies in a directory that' \
    "$service_bin" "$conf"
  "$mount_bin" "$org" --service "$inner/socket" 2>>"$work/log"
  printf 'pool = %s\nsocket = %s\n' "$pool" "$inner/socket" > "$org/conf"
  refused "the mount was first: configuration" 2 'org/conf: lies in a directory that' \
    "$service_bin" "$org/conf"
  printf 'pool = %s\nsocket = %s\n' "$org/pool" "$inner/socket" > "$conf"
  : > "$work/inside.log"
  "$service_bin" "$conf" 2>>"$work/inside.log" &
  until grep -q ' serves ' "$work/inside.log"; do sleep 0.02; done
  refused "the service was first" 3 'its pool lies inside the directory' \
    "$mount_bin" "$org" --service "$inner/socket"
  kill $!
  wait $!
  rm -r "$org/run" "$org/pool" "$org/conf"
}

wrong_use() {
  wanted "wrong use" || return
  inside
  refused "no directory for the socket" 3 'its directory does not exist' \
    "$mount_bin" "$org" --service "$shm/nowhere/socket"
  refused "no socket" 3 'is no socket' "$mount_bin" "$org" --service "$pool"
  refused "a long name" 3 'cannot be so long' \
    "$mount_bin" "$org" --service "$shm/$(printf 'l%.0s' $(seq 100))"
  mkdir -m 1777 "$shm/open"
  refused "others could put a service there" 3 'if you trust these others, give -o any_owner' \
    "$mount_bin" "$org" --service "$shm/open/socket"
  if "$mount_bin" "$org" --service "$shm/open/socket" -o any_owner 2>>"$work/log" &&
    fusermount3 -u "$org"; then ok "and are trusted"; else fail "and are trusted" "no mount"; fi
}

# ---- It comes and goes ------------------------------------------------------------------------

read_direct() { # FILE...
  local f
  for f; do
    dd if="$f" of=/dev/null bs=128k iflag=direct status=none
  done
}
# One read of FILE: how many of its blocks hit. Nothing reads beside it.
hits_now() {
  local before
  before=$(stat_of hit_blocks)
  read_direct "$@"
  echo $(($(stat_of hit_blocks) - before))
}
until_said() { # TIMES WHAT
  for _ in $(seq 100); do
    [ "$(grep -c "$2" "$work/log")" -lt "$1" ] || return 0
    sleep 0.1
  done
  echo "not said: $2" >&2
  return 1
}

t_comes() {
  cd /
  "$mount_bin" "$org" "${backing[@]}" -f 2>"$work/log" &
  until [ "$(stat -f -c %t "$org" 2>/dev/null)" = 65735546 ]; do sleep 0.05; done
  mount_pid=$!
  grep -q 'there is no service at .*: .* passes through uncached until it comes' "$work/log"
  cmp "$org/quiet1" "$ref/quiet1"
  echo one > "$org/written"
  start_service
  until_said 1 'the service at .* is there'
  cmp "$org/quiet1" "$ref/quiet1"
  same "$(cat "$org/written")" one
  read_direct "$org/quiet1"
  [ "$(hits_now "$org/quiet1")" -ge 1000 ]
  stop_service
  until_said 2 'there is no service'
  cmp "$org/quiet1" "$ref/quiet1"
  echo two > "$org/written"
  same "$(cat "$org/written")" two
  start_service
  until_said 2 'the service at .* is there'
  same "$(cat "$org/written")" two
  [ "$(hits_now "$org/quiet1")" -ge 1000 ]
  do_unmount
  is_clean
}

# While the service is away the note of a write is in memory, which a power cut clears. So the
# file's new times are on the disk before the write: else a later fdatasync could bring the new
# bytes alone.
slow_origin() { # for LD_PRELOAD
  local asan
  asan=$(ldd "$mount_bin" | sed -n 's|.*=> \(/.*libasan[^ ]*\).*|\1|p') # must be loaded first
  echo "$asan${asan:+:}$(realpath "$(find "$build" -name slow_origin.so | head -n 1)")"
}
t_away() {
  local n
  export SYNCED=$work/synced
  LD_PRELOAD=$(slow_origin) do_mount -o attr_timeout=0
  cp "$ref/quiet1" "$org/away"
  for n in 1 2; do # each time that it goes
    read_direct "$org/away"
    : > "$work/log"
    stop_service
    until_said 1 'there is no service'
    : > "$SYNCED"
    printf AWAY | dd of="$org/away" conv=notrunc status=none
    grep -q '/away$' "$SYNCED"
    : > "$SYNCED"
    printf AWAY | dd of="$org/away" bs=4096 seek=$n conv=notrunc status=none
    fails grep -q '/away$' "$SYNCED" # once is enough
    start_service
    until_said 1 'the service at .* is there'
  done
  cd /
  do_unmount
}

# A file that is left out from now on cannot be forgotten while the service is away. That is noted,
# and no reason to do without the cache. What is written to such a file gets durable times, too.
t_left_out_away() {
  local n
  export SYNCED=$work/synced
  LD_PRELOAD=$(slow_origin) do_mount -o attr_timeout=0 --exclude '*.out'
  cp "$ref/quiet1" "$org/left"
  read_direct "$org/left" "$org/quiet1"
  : > "$work/log"
  stop_service
  until_said 1 'there is no service'
  mv "$org/left" "$org/left.out"
  for n in attached detached; do
    : > "$SYNCED"
    printf OUT | dd of="$org/left.out" conv=notrunc status=none
    grep -q '/left.out$' "$SYNCED"
  done
  : > "$SYNCED"
  printf OUT | dd of="$org/left.out" conv=notrunc status=none
  fails grep -q '/left.out$' "$SYNCED"
  start_service
  until_said 1 'the service at .* is there'
  fails grep -q 'cannot be told' "$work/log"
  read_direct "$org/quiet1"
  [ "$(hits_now "$org/quiet1")" -ge 1000 ]
  printf OUT | cmp -n 3 - "$org/left.out"
  cd /
  do_unmount
}

# A service that is there may refuse a file, or a bracket. What makes times durable then says
# nothing of a later time without the service: what is cached since has newer times.
t_refused_then_away() {
  local shim asan
  shim=$(realpath "$(find "$build" -name slow_origin.so | head -n 1)")
  asan=$(ldd "$mount_bin" | sed -n 's|.*=> \(/.*libasan[^ ]*\).*|\1|p') # must be loaded first
  export SYNCED=$work/synced
  start_service 'files = 2'
  echo one > "$org/one"
  echo two > "$org/two"
  cp "$ref/quiet1" "$org/refused"
  LD_PRELOAD=$asan${asan:+:}$shim do_mount
  exec 5< "$org/one" 6< "$org/two"
  cat <&5 <&6
  printf HERE | dd of="$org/refused" conv=notrunc status=none
  exec 5<&- 6<&-
  rm "$org/one" "$org/two"
  eventually cached_now "$org/refused"
  : > "$work/log"
  stop_service
  until_said 1 'there is no service'
  : > "$SYNCED"
  printf AWAY | dd of="$org/refused" conv=notrunc status=none
  grep -q '/refused$' "$SYNCED"
  start_service
  cd /
  do_unmount
}
# More files than the service has room for: the mount lets go of those that nobody uses, and another
# mount gets room from it.
t_more_files() {
  local second=$work/second
  mkdir "$org/many" "$second"
  for n in $(seq 100); do echo "$n" > "$org/many/$n"; done
  head -c 100000 /dev/urandom > "$second/file"
  sleep 0.3 # the times of these files are old enough
  start_service 'files = 40'
  do_mount
  "$mount_bin" "$second" --service "$socket" 2>>"$work/log"
  cat "$org/many"/* > "$work/out" # at once: the last ten of them have filled the room again
  for _ in $(seq 100); do
    ! cached_now "$second/file" || break
    sleep 0.1
  done
  cached_now "$second/file"
  same "$(cached "$org/many")" 292
  cd /
  fusermount3 -u "$second"
  do_unmount
  rm -r "$org/many" "$second"
}
t_no_room() {
  echo one > "$org/one"
  echo two > "$org/two"
  start_service 'files = 1'
  do_mount
  exec 5< "$org/one"
  cat <&5
  for verb in warm pin; do
    status 1 "$cm" $verb "$org/two"
    says '/two: the service has too many files open: raise "files" in its configuration$'
  done
  until_said 1 'had no room for 1 files, .*: its clients have 1 open at a time; .*raise "files"'
  eventually grep -q 'times a file was refused, perhaps only at first, because clients had 1 file' \
    "$work/service.log"
  exec 5<&-
  eventually "$cm" warm -q "$org/two"
  cd /
  do_unmount
  rm "$org/one" "$org/two"
}
# The mount is one client too many, until another one leaves.
t_crowded() {
  local second=$work/second why='has too many clients: '
  mkdir "$second"
  echo there > "$second/file"
  start_service 'clients = 1'
  do_mount
  "$mount_bin" "$second" --service "$socket" 2>>"$work/log"
  until_said 1 "the service at .* $why.* passes through uncached .*raise \"clients\""
  status 8 "$cm" warm "$second/file"
  says "^cachemax: $second: the service of the mount ${why}raise \"clients\""
  status 0 "$cm" list
  says "$second $socket - the service of the mount $why"
  grep -q 'process [0-9]* was refused: there are too many clients: raise "clients"' \
    "$work/service.log"
  fails grep -q 'there is no service' "$work/log"
  cd /
  fusermount3 -u "$org"
  eventually "$cm" warm "$second/file"
  [ "$(grep -c 'was refused' "$work/service.log")" -lt 20 ] # it asks less and less often
  fusermount3 -u "$second"
  wait_mount
  rmdir_second
}
rmdir_second() { eventually rm -r "$work/second"; }
# A mount that nobody uses sleeps: some of its threads look around once a second, or less often.
t_sleeps() {
  local before
  start_service
  do_mount
  cat "$org/quiet1" > "$work/out"
  sleep 3 # it has proved what was read
  before=$(wakes)
  sleep 4
  [ $(($(wakes) - before)) -lt 32 ]
  cd /
  do_unmount
}
wakes() {
  cat /proc/"$mount_pid"/task/*/status | awk '/^voluntary_ctxt/ { n += $2 } END { print n }'
}
cached_now() {
  read_direct "$1"
  "$cm" cached "$1" | grep -q ' 100.00 %$'
}

# Not cached, and then cached: reads that begin or end inside a block, the end of the file, and a
# read of which every other block is there.
t_parts() {
  local n
  do_mount
  for n in 4608 65536 100 1048576; do
    head -c 300003 /dev/urandom > "$ref/odd"
    cp "$ref/odd" "$org/odd$n"
    for _ in 1 2; do
      dd if="$org/odd$n" bs=$n iflag=direct status=none | cmp - "$ref/odd"
    done
  done
  for n in $(seq 1 2 255); do
    dd if="$org/quiet1" of=/dev/null bs=4k skip="$n" count=1 iflag=direct status=none
  done
  for _ in 1 2 3 4 5; do # 128 gaps; of a window 64 are filled
    dd if="$org/quiet1" bs=1M iflag=direct status=none | cmp - "$ref/quiet1"
  done
  same "$(hits_now "$org/quiet1")" 1024
  cd /
  do_unmount
}

# A file that was written is warm after the service was killed: its new validator was told in time.
# How long that takes on a busy machine nobody knows.
t_written() {
  local n tries
  do_mount
  head -c 4194304 /dev/urandom > "$ref/late"
  cp "$ref/late" "$org/late"
  for tries in 1 2 3 4 5 6; do
    read_direct "$org/late" "$org/late" "$org/late"
    printf "NEW$tries" | dd of="$org/late" bs=1 seek=5000 conv=notrunc status=none
    printf "NEW$tries" | dd of="$ref/late" bs=1 seek=5000 conv=notrunc status=none
    sleep "$tries"
    stop_service KILL
    : > "$work/log"
    start_service
    until_said 1 'the service at .* is there'
    n=$(hits_now "$org/late")
    dd if="$org/late" bs=128k iflag=direct status=none | cmp - "$ref/late"
    [ "$n" -lt 800 ] || break # what waited in the probation buffer, 160 blocks at most, is lost
  done
  [ "$n" -ge 800 ] || { echo "$n blocks hit" >&2; false; }
  cd /
  do_unmount
}

# The service is stopped, and does not answer: users wait for it for two seconds, and the one who
# looks for it again for two more.
t_hangs() {
  local began
  do_mount
  read_direct "$org/quiet1"
  kill -STOP "$(cat "$shm/service.pid")"
  began=$SECONDS
  cmp "$org/quiet1" "$ref/quiet1"
  echo three > "$org/written"
  cat "$org/written" "$org/quiet2" > /dev/null
  [ $((SECONDS - began)) -le 60 ] # some four seconds, on an idle machine
  kill -CONT "$(cat "$shm/service.pid")"
  same "$(cat "$org/written")" three
  cd /
  do_unmount
}

# Two mounts of one origin at one service. With close-to-open each sees what the other one writes.
t_two_mounts() {
  local other=$work/other
  mkdir "$other"
  mount --bind "$below" "$other"
  do_mount --coherence=close-to-open
  "$mount_bin" "$other" "${backing[@]}" --coherence=close-to-open -f 2>>"$work/log" &
  until [ "$(stat -f -c %t "$other")" = 65735546 ]; do kill -0 $! && sleep 0.05; done
  for n in 1 2 3; do
    head -c 300000 /dev/urandom > "$org/both"
    sleep 1.1
    cmp "$other/both" "$org/both"
    head -c 300000 /dev/urandom > "$other/both"
    sleep 1.1
    cmp "$other/both" "$org/both"
  done
  same_below both
  fusermount3 -u "$other"
  wait $!
  umount "$other"
  cd /
  do_unmount
}
# The name of the service is longer than what the kernel keeps of it in /proc/PID/comm.
t_pool_in_use() {
  local pid
  start_service
  pid=$(cat "$shm/service.pid")
  status 3 "$mount_bin" "$org" --pool "$pool"
  says "waiting for process $pid \(cachemax-service\), which has it open"
  says "in use by process $pid \(cachemax-service\), .*: .*--service SOCKET in place of --pool"
  stop_service
}

# A mount has lost its name and lives on for a program with an open file. Meanwhile the directory is
# written without it, and a new mount begins. What the new one shows is not the old one's write.
t_lives_on() {
  local old
  cp "$ref/quiet1" "$ref/bare"
  cp "$ref/bare" "$org/bare"
  sleep 0.3
  do_mount
  cd /
  old=$mount_pid
  for _ in 1 2 3; do read_direct "$org/bare"; done
  exec 7<>"$org/bare"
  umount -l "$org"
  printf BARE | dd of="$org/bare" conv=notrunc status=none
  printf BARE | dd of="$ref/bare" conv=notrunc status=none
  sleep 0.1
  python3 -c 'import os; os.pwrite(7, b"OLD", 900000)' # an open would look at the file anew
  printf OLD | dd of="$ref/bare" bs=1 seek=900000 conv=notrunc status=none
  sleep 1
  do_mount 7>&-
  dd if="$org/bare" bs=128k iflag=direct status=none | cmp - "$ref/bare"
  exec 7>&-
  wait "$old" || :
  for _ in 1 2; do dd if="$org/bare" bs=128k iflag=direct status=none | cmp - "$ref/bare"; done
  do_unmount
}
same_below() { cmp "$org/$1" "$below/$1"; }

# ---- Kills ------------------------------------------------------------------------------------

waits=170 # blocks in the probation buffer, 1 % of the pool, are lost; some may be on their way
# While the programs rest: every byte of the quiet files, and all of it from the cache.
quiet_is_warm() { # NAME
  local f hit missed
  for _ in 1 2 3 4 5; do # a service that was slow for two seconds is left out: nothing is stored
    hit=$(stat_of hit_blocks) missed=$(stat_of miss_blocks)
    for f in "$org"/quiet*; do
      dd if="$f" bs=128k iflag=direct status=none | cmp - "$ref/${f##*/}" ||
        { fail "$1: right bytes" "$f"; return 1; }
    done
    hit=$(($(stat_of hit_blocks) - hit)) missed=$(($(stat_of miss_blocks) - missed))
    { [ $missed -le $waits ] && [ $hit -lt $((2048 - waits)) ]; } || break
    sleep 0.5
  done
  quiet_hits=$((quiet_hits + hit)) quiet_missed=$((quiet_missed + missed))
  [ $missed -le $waits ] && [ $hit -ge $((2048 - waits)) ] && return 0
  fail "$1: warm again" "$hit hits and $missed misses of 2048 blocks"
  return 1
}
rest() { kill -STOP $(pgrep -P "$load_pid") && sleep 0.05; }
go_on() { kill -CONT $(pgrep -P "$load_pid"); }

storm() {
  local n bad=0 quiet_hits=0 quiet_missed=0 said
  new_pool 64MiB
  ! mountpoint -q "$org" && do_mount || { fail "kills of the service" mount; return; }
  for n in 1 2 3; do
    read_direct "$org"/quiet*
  done
  "$versions" "$org/versions" >"$work/versions" 2>&1 &
  load_pid=$!
  sleep 0.3
  for n in $(seq "$kills"); do
    sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
    stop_service KILL
    sleep "0.$((RANDOM % 2))$((RANDOM % 10))"
    start_service
    for _ in $(seq 600); do # until writers have found it
      [ "$(stat_of brackets)" = 0 ] || break
      sleep 0.05
    done
    rest
    quiet_is_warm "kill $n" || bad=$((bad + 1))
    go_on
  done
  kill $load_pid
  wait $load_pid
  status=$?
  said=$(tail -n 1 "$work/versions")
  echo "kill: $kills kills of the service; $said; $quiet_hits of $((kills * 2048)) quiet blocks" \
    "hit, $quiet_missed missed"
  [ $status = 0 ] && ok "$kills kills: $said" || fail "$kills kills" "$(tail -n 3 "$work/versions")"
  [ $bad = 0 ] && ok "warm after each return of the service"
  # The mount is killed: what it wrote is known to the service.
  for n in 1 2 3; do
    "$versions" "$org/versions" >"$work/versions" 2>&1 &
    load_pid=$!
    sleep "0.$((RANDOM % 5 + 3))"
    kill -9 $mount_pid
    wait $mount_pid $load_pid 2>/dev/null
    do_mount || { fail "kill $n of the mount" mount; return; }
    if dd if="$org/versions" bs=64k iflag=direct status=none | cmp - "$below/versions"; then
      ok "kill $n of the mount: right bytes"
    else
      fail "kill $n of the mount: right bytes" "they differ from the origin"
    fi
  done
  bad=0
  quiet_is_warm "kills of the mount" && ok "warm after kills of the mount"
  do_unmount && is_clean && ok "a clean end" ||
    fail "a clean end" "status $status; $("$cm" info "$pool" | grep state)"
  "$cm" check "$pool" >"$work/check" 2>&1 && ok "cachemax check finds nothing" ||
    fail "cachemax check finds nothing" "$(tail -n 3 "$work/check" | tr '\n' ' ')"
}

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
for i in 1 2; do
  head -c 4194304 /dev/urandom > "$org/quiet$i"
  cp "$org/quiet$i" "$ref/"
done
wrong_use
sleep 0.3 # the times of these files are old enough
check "parts of blocks, parts of reads" t_parts
new_pool 64MiB
check "the service comes and goes" t_comes
: > "$work/log"
check "the pool of a service is in use" t_pool_in_use
: > "$work/log"
check "what is written while it is away" t_away
: > "$work/log"
check "refused, and then away" t_refused_then_away
: > "$work/log"
check "what is left out while it is away" t_left_out_away
check "more files than the service takes" t_more_files
: > "$work/log"
check "a file that it has no room for" t_no_room
: > "$work/log"
check "a service with too many clients" t_crowded
: > "$work/log"
check "an idle mount sleeps" t_sleeps
: > "$work/log"
check "warm after a write and a kill" t_written
: > "$work/log"
check "the service hangs" t_hangs
: > "$work/log"
wanted "an old mount" && need_root "an old mount" && check "an old mount lives on" t_lives_on
wanted "two mounts" && need_root "two mounts" && [ $has_below = 1 ] &&
  check "two mounts at one service" t_two_mounts
wanted kills && need_root kills && [ $has_below = 1 ] && storm
summary
