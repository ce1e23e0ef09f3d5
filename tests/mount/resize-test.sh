#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# resize-test.sh - "cachemax resize" of the pool of a running mount.
#
# Usage: resize-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Needs root for one check.
#
# slow.c lets the mount wait in the middle of a resize, and refuses to let a pool grow in its place:
# so most checks are of the other way. random-test.sh changes the size all the time beside random
# operations.

set -u
build=${1:?usage: resize-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=resize-waits.sh
. "$here/resize-waits.sh"

shim=$(find "$build" -name slow_origin.so | head -n 1)
[ -n "$shim" ] || { fail resize "slow_origin.so is missing in $build"; summary; exit 1; }
shim=$(realpath "$shim")
asan=$(ldd "$mount_bin" | sed -n 's|.*=> \(/.*libasan[^ ]*\).*|\1|p') # must be loaded first
export SLOW_MAKE=$shm/make SLOW_STAT=$shm/stat SLOW_FSTAT=$shm/fstat SLOW_SYNC=$shm/sync
export FAIL_HOLD=$shm/no-hold FAIL_GROW=$shm/no-grow
export FAIL_READ=$shm/no-read FAIL_OPEN=$shm/no-open FAIL_SYNC=$shm/no-sync SYNCED=$work/synced

mount_slowly() {
  touch "$work/log"
  logged_from=$(($(wc -l <"$work/log") + 1))
  LD_PRELOAD=$asan${asan:+:}$shim do_mount "$@"
}
of_pool() { # KEY: of the mount here
  "$cm" list --json | sed -n "\|\"pool\": \"$pool\"|,/^    }/p" |
    sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\).*/\1/p" | head -n 1
}
size() { stat -c %s "$pool"; }
is_size() { [ "$(size)" = "$1" ]; }
# The same by an open descriptor, which nobody opens again.
by() { # DESCRIPTOR
  python3 -c 'import fcntl, mmap, os, sys
fcntl.fcntl(0, fcntl.F_SETFL, os.O_DIRECT)
room = mmap.mmap(-1, 1 << 20)
at = 0
while n := os.preadv(0, [room], at):
    sys.stdout.buffer.write(room[:n])
    at += n' <&"$1"
}
direct() { dd if="$1" bs=1M iflag=direct status=none; }
is_by() { cmp <(by "$1") "$2"; }
is_direct() { cmp <(direct "$1") "$2"; }
all_right() { # every file is as in $ref, also past the kernel's pages
  local f
  (cd "$org" && find . -type f | sort) >"$work/is"
  (cd "$ref" && find . -type f | sort) >"$work/shall"
  diff "$work/is" "$work/shall" >&2
  while read -r f; do
    cmp "$org/$f" "$ref/$f"
    direct "$org/$f" | cmp - "$ref/$f"
  done <"$work/shall"
}
# Reads at least one of the files; the pool serves it, and not the origin. But a block has two
# buckets in the index, and in a pool in a hundred both are full for some of the blocks.
hit_by() { # COMMAND...
  local read hits
  read=$(stat_of origin_bytes)
  hits=$(stat_of hit_blocks)
  "$@"
  [ $(($(stat_of origin_bytes) - read)) -le 40960 ]
  [ $(($(stat_of hit_blocks) - hits)) -ge 200 ]
}
# Begins a resize, and returns in the middle of it: all files are detached, and the pool is closed.
begin() { # SIZE
  rm -f "$SLOW_MAKE.waits"
  touch "$SLOW_MAKE"
  env --default-signal=INT "$cm" resize "$pool" "$1" >"$work/resized" 2>&1 &
  client=$!
  eventually test -e "$SLOW_MAKE.waits"
}
# Its status.
finish() {
  local got=0
  rm "$SLOW_MAKE"
  wait $client || got=$?
  cat "$work/resized" >&2
  return $got
}
logged() { # EXPRESSION: by the mount that is the last one
  sed -n "$logged_from,\$p" "$work/log" | grep -Eq -- "$1" && return 0
  echo "the log has no '$1'" >&2
  return 1
}
serves() { [ -n "$(of_pool mode)" ]; }
still() { # BYTES: after a resize that did not take place
  eventually serves
  same "$(size)" "$1"
  hit_by is_direct "$org/a" "$ref/a"
  "$cm" resize "$pool" 20M
  "$cm" resize "$pool" "$1"
  fails ls "$pool.cachemax"*
  all_right
}

t_files() { # what is open, pinned, limited, and how it is steered stays
  hit_by is_direct "$org/a" "$ref/a"
  "$cm" list | grep -Eq "quota .* of 4\.00 MiB dir"
  status 0 "$cm" resize "$pool" 32M
  says 'pool: 32.00 MiB now, was 16.00 MiB'
  says 'knows 4 of 4 files, 1 of them pinned'
  same "$(size)" 33554432
  serves
  logged 'gets another size: 16.0 MiB -> 32.0 MiB'
  logged 'has its new size after [0-9.]+ s'
  same "$(of_pool pinned_files)" 1
  hit_by is_by 7 "$ref/a"
  hit_by is_direct "$org/a" "$ref/a"
  [ "$(cached "$org")" -gt $(($(cat "$ref"/* "$ref"/dir/* 2>/dev/null | wc -c) * 98 / 100)) ]
}
t_writes_then() { # through descriptors that are older than the pool
  printf 'changed' | dd of=/dev/fd/8 bs=1 seek=5000 conv=notrunc status=none
  printf 'changed' | dd of="$ref/b" bs=1 seek=5000 conv=notrunc status=none
  printf 'as well' | dd of="$org/a" bs=1 seek=9000 conv=notrunc status=none
  printf 'as well' | dd of="$ref/a" bs=1 seek=9000 conv=notrunc status=none
  cmp <(by 7) "$ref/a"
  all_right
}
t_smaller() {
  local was
  was=$(cached "$org/b")
  "$cm" mode "$org" bypass
  status 0 "$cm" resize "$pool" 8M
  same "$(of_pool mode)" bypass
  "$cm" mode "$org" normal
  same "$(cached "$org/b")" "$was" # it is pinned
  [ "$(cached "$org/a")" -lt 6000000 ]
  all_right
  status 0 "$cm" resize "$pool" 8M
  says 'has that size already'
}
t_too_many_pins() { # for the smaller pool
  "$cm" resize "$pool" 20M
  "$cm" pin -q "$org/a"
  status 0 "$cm" resize "$pool" 8M
  says 'pinned files have 7[.]63 MiB, of which [5-7][.].* MiB are cached, and half of the pool is 3'
  says 'no more can be pinned'
  logged 'pinned files take 7[.]6 MiB, and half of the pool is 3'
  status 0 "$cm" resize "$pool" 6M # not all of them is there any more
  says 'pinned files have 7[.]63 MiB, of which 5[.].* MiB are cached, and half of the pool is 2'
  status 0 "$cm" cached "$org/a" "$org/b"
  says ' [(]pinned in part[)]$'
  says '; 2 pinned [(][12] in part[)]$'
  "$cm" unpin -q "$org/a"
  status 0 "$cm" resize "$pool" 12M
  fails says 'no more can be pinned'
  echo precious >"$pool.cachemax-resize"
  status 1 "$cm" resize "$pool" 8M
  says "$pool.cachemax-resize is in the way"
  rm "$pool.cachemax-resize"
  serves
}
t_removed() { # meanwhile, with its pin
  echo pinned >"$org/in-use"
  echo pinned >"$org/pinned"
  "$cm" pin -q "$org/pinned" "$org/in-use" "$org/unused"
  same "$(of_pool pinned_files)" 4
  exec 5<"$org/in-use"
  begin 20M
  rm "$org/pinned" "$org/unused"
  mv "$org/c2" "$org/in-use"
  finish
  mv "$org/in-use" "$org/c2"
  exec 5<&-
  same "$(of_pool pinned_files)" 1
  "$cm" resize "$pool" 8M
  all_right
}

waits() { grep -q "^cachemax: $org: its pool gets another size at this moment; this" "$1"; }
t_meanwhile() { # no program waits, nothing of it is lost, and nothing old comes back
  local verb
  begin 16M
  status 1 timeout 10 "$cm" resize "$pool" 12M
  says 'busy'
  same "$(of_pool mode)" ''
  "$cm" list | grep -q 'its pool gets another size'
  cmp "$org/a" "$ref/a"
  cmp <(by 6) "$ref/a"
  direct "$org/b" | cmp - "$ref/b"
  : >"$SYNCED"
  dd if=/dev/zero of=/dev/fd/7 bs=1000 count=3 seek=5 conv=notrunc status=none
  dd if=/dev/zero of="$ref/a" bs=1000 count=3 seek=5 conv=notrunc status=none
  grep -q '/a$' "$SYNCED" # so that a power cut cannot leave the new bytes and the old times
  touch -r "$work/time" "$org/a" # as if nothing had been written
  for dir in "$org" "$ref"; do
    echo new >"$dir/new"
    truncate -s 100000 "$dir/b"
    mv "$dir/dir/c" "$dir/dir/d"
    sync "$dir/b"
  done
  exec 5<"$org/c2" 9<>"$org/new"
  finish
  same "$(size)" 16777216
  all_right
  cmp /dev/fd/9 "$ref/new"
  cmp <(by 5) "$ref/c2" # it was opened then
  hit_by is_by 5 "$ref/c2"
  dd if=/dev/zero of=/dev/fd/9 bs=1 count=2 conv=notrunc status=none
  dd if=/dev/zero of="$ref/new" bs=1 count=2 conv=notrunc status=none
  eventually "$cm" warm -q "$org" # blocks of older versions take room: the first may displace some
  hit_by all_right
  exec 5<&- 9<&-
}
t_commands_wait() { # for the end, and then they do what they were asked for; or until a signal
  local verb pids=() was
  was=$(size)
  printf 'cachemax-trace 1\nf 1 a\nr 1 0 4096 9\nend 0\n' >"$work/trace"
  begin 20M
  "$cm" cached "$org/b" >"$work/stopped" 2>&1 &
  pids=($!)
  eventually waits "$work/stopped"
  kill -TERM "${pids[0]}"
  wait "${pids[0]}" && return 1
  pids=()
  for verb in "warm $org/a" "pin $org/a" "cached $org/a" "forget $org/b" "unpin $org/a" \
    "warm --trace $work/trace $org"; do
    # shellcheck disable=SC2086 # words
    "$cm" $verb >"$work/waits.${#pids[@]}" 2>&1 &
    pids+=($!)
  done
  "$cm" warm -q "$org/a" >"$work/quiet" 2>&1 &
  pids+=($!)
  for verb in 0 1 2 3 4 5; do
    eventually waits "$work/waits.$verb"
  done
  finish
  for verb in "${pids[@]}"; do wait "$verb"; done
  same "$(grep -c 'gets another size' "$work/waits.0")" 1
  grep -q '^1 of 1 file, ' "$work/waits.0"
  grep -q 'the trace reads 4.00 KiB in whole blocks: 4.00 KiB cached' "$work/waits.5"
  same "$(wc -c <"$work/quiet")" 0
  "$cm" unpin -q "$org/a"
  "$cm" resize "$pool" "$was"
}
t_last_sync() { # a slow volume: its client is interrupted in the middle of the last sync
  local was
  was=$(size)
  begin 60M
  rm -f "$SLOW_SYNC.waits"
  touch "$SLOW_SYNC"
  rm "$SLOW_MAKE"
  eventually test -e "$SLOW_SYNC.waits"
  kill -INT $client
  fails wait $client
  rm "$SLOW_SYNC"
  still "$was"
}
t_not_opened() { # the new pool, for a while
  local was
  was=$(size)
  begin 24M
  echo "$pool" >"$FAIL_OPEN"
  rm "$SLOW_MAKE"
  eventually logged 'cannot be opened again: everything passes .* uncached; the next try is in 5 s'
  "$cm" list | grep -q 'its pool cannot be opened again (see its log); it is tried every'
  status 1 timeout 10 "$cm" warm "$org/a"
  says 'the pool cannot be opened again yet; the mount tries every 5 s'
  cmp <(by 6) "$ref/a"
  direct "$org/b" | cmp - "$ref/b"
  rm "$FAIL_OPEN"
  wait $client
  same "$(size)" 25165824
  "$cm" resize "$pool" "$was"
  still "$was"
}
t_interrupted() {
  local was
  was=$(size)
  begin 28M
  kill -INT $client
  fails wait $client # the mount goes on after that
  rm "$SLOW_MAKE"
  still "$was"
}
free_mib() { df -m --output=avail "$shm" | tail -n 1; }
t_no_room() { # for both pools: the mount does not begin
  local was
  was=$(size)
  status 1 "$cm" resize "$pool" 80M
  says 'not enough space: the new pool is made beside .* needs 80\.00 MiB, the volume has [0-9.]* M'
  says 'MiB are missing; nothing was changed, and the mount goes on .* if .*, unmount, delete'
  logged 'keeps its size: it can get another one by a copy only, and its volume has no room'
  fails logged 'gets another size: .* -> 80.0 MiB'
  status 1 "$cm" resize "$pool" 200M
  says 'Make room, or choose a smaller size$'
  still "$was"
}
away() { awk '/passes through uncached/ { n++ } END { print n + 0 }' "$work/log"; } # how often
t_impossible() { # no pool may have that size: refused before programs do without the pool
  local was before
  was=$(size)
  before=$(away)
  python3 - "$pool.control" <<'PY'
import socket, sys
for size in 0, 4096, 5000001, (1 << 46) + 4096:
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(b"cachemax 1 resize %d 0\n" % size)
    told = s.makefile("rb").readline() # no "is in_place" before it
    assert told.startswith(b"end -17 "), (size, told)
PY
  same "$(away)" "$before"
  still "$was"
}
some_cached() { [ "$(cached "$1")" -gt 0 ]; }
t_busy() {
  head -c 8000000 /dev/zero >"$org/much"
  "$cm" warm --rate 300K "$org/much" >/dev/null 2>&1 & # half a minute, if nobody ends it
  client=$!
  eventually some_cached "$org/much"
  status 1 timeout 20 "$cm" resize "$pool" 24M
  says 'busy with it: a command such as warm'
  kill $client
  wait $client || :
  rm "$org/much"
  eventually "$cm" resize "$pool" 24M
  "$cm" resize "$pool" 16M
}
t_turned_away() { python3 "$here/turned_away.py" "$cm" "$pool" "$org"; }
t_unmounted() { # the mount does not end it, so the command does
  begin 28M
  umount "$org"
  finish
}
t_clean() {
  same $status 0
  same "$(size)" 29360128
  "$cm" resize "$pool" 16M
  is_clean
  fails ls "$pool.cachemax"*
}
t_terminated() { # while a program has a file open, so the end takes a while
  begin 28M
  kill $mount_pid
  finish
  same "$(size)" 29360128
}
t_kill_of_mount() { # the command does it then
  begin 20M
  kill -9 $mount_pid
  finish
  same "$(size)" 20971520
}
t_no_answer() { # of the pool's volume, at the end
  begin 28M
  rm -f "$SLOW_SYNC.waits"
  touch "$SLOW_SYNC"
  rm "$SLOW_MAKE"
  eventually test -e "$SLOW_SYNC.waits"
  kill -9 $client
  umount "$org"
  eventually fails kill -0 $mount_pid
  logged "pool $pool: its volume does not answer: ended without it"
  fails logged 'a file system below'
}
t_sync_fails() { # of a file that was written meanwhile: what the origin has is not known
  begin 28M
  dd if="$ref/a" of=/dev/fd/7 bs=4096 count=1 conv=notrunc status=none
  echo /a >"$FAIL_SYNC"
  fails sync "$org/a"
  rm "$FAIL_SYNC"
  fails finish
  grep -q 'its mount gave the pool up' "$work/resized"
  eventually fails test -e "$pool"
  "$cm" list | grep -q "$pool - it gave its pool up (see its log): nothing is cached"
  status 1 timeout 10 "$cm" warm "$org/a"
  fails ls "$pool.cachemax"*
  all_right
}
t_sync_fails_of_link() { # the pool was reached by a symbolic link
  local real
  real=$(realpath "$pool")
  begin 28M
  dd if="$ref/a" of=/dev/fd/7 bs=4096 count=1 conv=notrunc status=none
  echo /a >"$FAIL_SYNC"
  fails sync "$org/a"
  rm "$FAIL_SYNC"
  fails finish
  eventually fails test -e "$real"
}
t_not_held() { # there was no descriptor left when the new pool was opened; it is given up later
  begin 28M
  echo "/${pool##*/}" >"$FAIL_HOLD"
  finish
  rm "$FAIL_HOLD"
  truncate -s 4096 "$pool"
  dd if="$ref/a" of="$org/a" bs=4096 count=1 conv=notrunc status=none
  eventually fails test -e "$pool"
  all_right
}
# Nothing to do with another size, but with slow.c: a file that cannot be attached may be in the
# pool all the same. A power cut may leave a write without a bracket beside the old times. So
# before it either the times are new on the disk, or the pool has forgotten the file.
t_not_attached() {
  echo /a >"$FAIL_READ"
  : >"$SYNCED"
  printf changed | dd of="$org/a" conv=notrunc status=none
  grep -q '/a$' "$SYNCED" || fails grep -q ' a$' <("$cm" files "$pool")
}
t_cannot_change() { # what is refused at the origin is no reason to give the pool up
  begin "$1"
  fails chmod 600 "$org/ro/f"
  fails truncate -s 0 "$org/ro/f"
  finish
  serves
}
t_killed() { # both pools are whole at every moment; this is one in the middle
  begin 28M
  kill -9 $client $mount_pid
  fails finish
  same "$(size)" "$was"
}

# ---- In its place -------------------------------------------------------------------------------

inode() { stat -c %i "$pool"; }
t_grows() { # programs hit and write meanwhile, and nothing passes through
  local was
  was=$(inode)
  begin 24M
  serves
  hit_by is_by 7 "$ref/a"
  hit_by is_direct "$org/a" "$ref/a"
  for dir in "$org" "$ref"; do
    printf 'changed' | dd of="$dir/a" bs=1 seek=70000 conv=notrunc status=none
    truncate -s 900000 "$dir/b"
    rm "$dir/dir/c"
    echo new >"$dir/new"
  done
  all_right
  same "$("$cm" mode "$org")" normal
  status 1 timeout 10 "$cm" resize "$pool" 28M
  says 'busy'
  finish
  same "$(size)" 25165824
  same "$(inode)" "$was"
  grep -q 'pool: 24.00 MiB now, was 8.00 MiB' "$work/resized"
  grep -q 'knows 4 of 4 files, 1 of them pinned' "$work/resized"
  logged 'grew from 8388608 to 25165824 bytes'
  fails logged 'passes through uncached'
  all_right
  "$cm" warm -q "$org"
  hit_by all_right
  "$cm" list | grep -Eq "quota .* of 1[12]\.[0-9]+ MiB dir" # half of the pool
  same "$(of_pool pinned_files)" 1
}
t_grows_beside() { # another command, and a server that does not answer
  touch "$SLOW_STAT"
  python3 -c 'import os, sys; os.fstat(os.open(sys.argv[1], os.O_RDONLY))' "$org/c2" &
  client=$!
  eventually test -e "$SLOW_STAT.waits"
  status 0 timeout 30 "$cm" resize "$pool" 28M
  rm "$SLOW_STAT"
  wait $client
}
t_grows_again() { # after four times it is made anew, and grows again
  local was size
  was=$(inode)
  for size in 30 32; do
    status 0 "$cm" resize "$pool" ${size}M
    same "$(inode)" "$was"
  done
  fails logged 'passes through uncached'
  status 0 "$cm" resize "$pool" 33M
  same "$(size)" 34603008
  logged 'grown as often as it may'
  fails logged 'cm_'
  logged 'passes through uncached'
  fails same "$(inode)" "$was"
  was=$(inode)
  hit_by all_right
  status 0 "$cm" resize "$pool" 36M
  same "$(inode)" "$was"
  hit_by all_right
}
t_grows_too_far() { # it was opened with room for eight times its size; and less is never in place
  local was
  was=$(inode)
  status 0 "$cm" resize "$pool" 2M
  was=$(inode)
  status 0 "$cm" resize "$pool" 17M
  logged 'cannot grow in its place from 2.0 MiB to 17.0 MiB: it was opened with room for 16.0 MiB'
  fails same "$(inode)" "$was"
  was=$(inode)
  status 0 "$cm" resize "$pool" 18M
  same "$(inode)" "$was"
  all_right
}
t_grows_without_room() { # it is not begun in another way, which needs even more
  local was
  was=$(inode)
  head -c $(($(free_mib) - 30))M /dev/zero >"$shm/ballast"
  status 1 "$cm" resize "$pool" 60M
  rm "$shm/ballast"
  says 'lets it grow in its place'
  says 'not enough space: the pool grows in its place and needs 52\.00 MiB more, '
  says 'the volume has [23][0-9.]* MiB: 2[0-9.]* MiB are missing; nothing was changed, and the moun'
  says 'and the mount goes on with the pool as it was\. Make room, or choose a smaller size$'
  logged 'cannot grow in its place to 62914560 bytes: its volume lacks [0-9]+ bytes'
  fails logged 'passes through uncached'
  same "$(inode)" "$was"
  all_right
}
t_grows_interrupted() { # the growth goes on, and the command says so
  local was
  was=$(inode)
  begin 12M
  eventually grep -q 'lets it grow in its place' "$work/resized" # the client knows it, too
  kill -INT $client
  fails wait $client
  grep -q 'interrupted; if the mount has begun to let the pool grow, it goes on' "$work/resized"
  rm "$SLOW_MAKE"
  eventually is_size 12582912
  same "$(inode)" "$was"
  all_right
}
t_grows_drive_writes() { # what is allowed in a day is so many times the new size
  status 0 "$cm" resize "$pool" 64M
  cmp "$org/much" "$ref/much"
  [ "$(cached "$org/much")" -gt 9500000 ]
}
# Begins a growth, and returns in the middle of it: the file is longer, and that does not count yet.
begin_growth() { # SIZE
  rm -f "$SLOW_SYNC.waits"
  touch "$SLOW_SYNC"
  "$cm" resize "$pool" "$1" >"$work/resized" 2>&1 &
  client=$!
  eventually test -e "$SLOW_SYNC.waits"
  same "$(size)" $((${1%M} * 1048576))
}
is_connected() { find "/proc/$client/fd" -lname 'socket:*' | grep -q .; }
t_grown_as_it_ends() { # COMMAND...: the growth is done, and nobody does it again
  local was
  was=$(inode)
  begin_growth "$1"
  shift
  is_connected
  "$@"
  eventually fails is_connected
  rm "$SLOW_SYNC"
  wait $client || { cat "$work/resized" >&2; return 1; }
  grep -q 'MiB now, was [0-9.]* MiB$' "$work/resized"
  grep -q 'kept what was cached: its mount gave it this size, and has ended since' "$work/resized"
  same "$(inode)" "$was"
}
t_grown_half() { # the mount is killed, and what it has left takes the room that the command needs
  [ $is_root = 0 ] || head -c $(($(free_mib) - 48))M /dev/zero >"$shm/ballast"
  begin_growth 40M
  kill -9 $mount_pid
  rm "$SLOW_SYNC"
  wait $client || { cat "$work/resized" >&2; return 1; }
  same "$(size)" 41943040
  grep -q 'kept [0-9.]* MiB of' "$work/resized"
  grep -q 'its mount has ended before it was done, so it was done without it' "$work/resized"
  fails ls "$pool.cachemax"*
}
t_grows_and_ends() { # the mount, meanwhile: the command does it then
  "$cm" warm -q "$org"
  begin 28M
  kill -9 $mount_pid
  finish
  same "$(size)" 29360128
}
t_grown_pool() { # but for the probation buffer, which was in DRAM
  same "$(size)" 29360128
  [ "$(cached "$org")" -gt 4500000 ]
  all_right
}

t_no_address_space() { # for a growth: the mount does without that
  local was
  was=$(inode)
  cat "$org/a" >/dev/null
  status 0 "$cm" resize "$pool" 260M
  fails same "$(inode)" "$was"
  logged 'cannot grow in its place from .*: there was no address space for that when it was opened'
  fails logged 'cm_'
  all_right
}

# ---- Main: mounts here, because a check is a subshell -------------------------------------------

mkdir "$ref/dir"
head -c 6000000 /dev/urandom >"$ref/a"
head -c 2000000 /dev/urandom >"$ref/b"
head -c 1000000 /dev/urandom >"$ref/dir/c"
head -c 1000000 /dev/urandom >"$ref/c2"
touch -d '2020-02-02' "$work/time"
cp -r "$ref/." "$org"
[ $is_root = 0 ] || mount -t tmpfs -o size=90M,mode=700 tmpfs "$shm"
new_pool 16M
ends() { # NAME
  rm -f "$SLOW_MAKE" "$SLOW_STAT"
  do_unmount && is_clean || fail "the end $1" "status $status"
}

echo "/${pool##*/}" >"$FAIL_GROW"
mount_slowly --quota dir=4M
"$cm" warm -q "$org"
"$cm" pin -q "$org/b"
exec 7<"$org/a" 8<>"$org/b"
check 'what is cached, open, pinned and limited stays' t_files
check 'writes through descriptors that are older' t_writes_then
check 'a smaller pool, and the mode' t_smaller
check 'more pins than it may have' t_too_many_pins
exec 7<&- 8<&-
echo pinned >"$org/unused"
"$cm" pin -q "$org/unused"
ends 'after both sizes'
mount_slowly # it does not know the pinned file
check 'pinned files that are removed meanwhile' t_removed
ends 'after files were removed'
rm -f "$pool" "$org/unused"
new_pool 14M

mount_slowly
"$cm" warm -q "$org"
exec 6<"$org/a" 7<>"$org/a"
check 'what is done meanwhile' t_meanwhile
check 'commands wait for the end' t_commands_wait
check 'the new pool cannot be opened' t_not_opened
exec 6<&- 7<&-
check 'its client is interrupted' t_interrupted
check 'its client is interrupted in the last sync' t_last_sync
[ $is_root = 0 ] || check 'no room' t_no_room
check 'another command works' t_busy
check 'a resize turns new commands away' t_turned_away
check 'a size that no pool may have' t_impossible
ends 'after what failed'

mount_slowly -o attr_timeout=0
"$cm" warm -q "$org"
check_at / 'the origin does not answer' t_hangs
check_at / 'the origin does not answer, and its socket is gone' t_asked_in_vain
if wanted 'it is unmounted meanwhile'; then
  check_at / 'it is unmounted meanwhile' t_unmounted
  wait_mount
  check_at / 'clean after that' t_clean
else
  ends 'after a time without an answer'
fi

if wanted 'it is terminated meanwhile'; then
  mount_slowly
  "$cm" warm -q "$org"
  exec 6<"$org/a"
  check_at / 'it is terminated meanwhile' t_terminated
  exec 6<&-
  wait_mount
  check_at / 'clean after that' t_clean
fi

if wanted 'the volume of the pool does not answer'; then
  mount_slowly
  check_at / 'the volume of the pool does not answer' t_no_answer
  wait_mount
  rm -f "$SLOW_SYNC"
fi

if wanted 'it is killed meanwhile'; then
  for kind in of_mount ed; do
    mount_slowly
    "$cm" warm -q "$org"
    was=$(size)
    if [ $kind = ed ]; then
      check_at / 'it is killed meanwhile' t_killed
    else
      check_at / 'it is killed meanwhile, and not the command' t_kill_of_mount
    fi
    wait_mount 2>/dev/null
    umount -l "$org"
  done
  mount_slowly
  check 'the pool after that' still "$was"
  ends 'after a kill'
fi

if wanted 'a sync fails meanwhile'; then
  mount_slowly
  "$cm" warm -q "$org"
  exec 7<>"$org/a"
  check 'a sync fails meanwhile' t_sync_fails
  exec 7<&-
  do_unmount
  [ $status = 3 ] || fail 'the end after a failed sync' "status $status"
fi
if wanted 'written, but not attached'; then
  rm -f "$pool"
  new_pool 16M --names
  mount_slowly
  "$cm" warm -q "$org"
  do_unmount
  mount_slowly
  check 'written, but not attached' t_not_attached
  rm -f "$FAIL_READ"
  do_unmount
fi

if wanted 'a sync fails, and the pool has a link' && [ $is_root = 1 ]; then
  rm -f "$pool"
  new_pool 16M
  mkdir -p "$work/elsewhere"
  mv "$pool" "$work/elsewhere/real"
  ln -s "$work/elsewhere/real" "$pool"
  echo /real >"$FAIL_GROW"
  mount_slowly
  exec 7<>"$org/a"
  check 'a sync fails, and the pool has a link' t_sync_fails_of_link
  exec 7<&-
  do_unmount
  echo "/${pool##*/}" >"$FAIL_GROW"
fi

if wanted 'no descriptor for the new pool'; then
  rm -f "$pool"
  new_pool 16M
  mount_slowly
  check 'no descriptor for the new pool' t_not_held
  do_unmount
fi

if [ $is_root = 1 ] && wanted 'what cannot be changed meanwhile'; then
  rm -f "$pool"
  new_pool 16M
  mkdir -p "$org/ro" "$work/ro"
  echo content >"$work/ro/f"
  mount --bind "$work/ro" "$org/ro"
  mount -o remount,bind,ro "$org/ro"
  mount_slowly
  check 'what cannot be changed meanwhile' t_cannot_change 20M
  do_unmount
  umount "$org/ro"
fi
if wanted 'it grows in its place'; then
  rm -f "$FAIL_GROW" "$pool" "$org/new" "$ref/new"
  rm -rf "${org:?}"/* "${ref:?}"/*
  mkdir "$ref/dir"
  head -c 3000000 /dev/urandom >"$ref/a"
  head -c 1000000 /dev/urandom >"$ref/b"
  head -c 1000000 /dev/urandom >"$ref/dir/c"
  head -c 1000000 /dev/urandom >"$ref/c2"
  cp -r "$ref/." "$org"
  new_pool 8M
  mount_slowly -o attr_timeout=0 --quota dir=50%
  "$cm" warm -q "$org"
  "$cm" pin -q "$org/b"
  exec 7<"$org/a"
  check 'it grows in its place' t_grows
  exec 7<&-
  check_at / 'it grows in its place, and a server does not answer' t_grows_beside
  check 'it grows in its place, four times' t_grows_again
  check 'it grows in its place, up to eight times' t_grows_too_far
  if wanted 'it grows in its place, and is killed'; then
    check_at / 'it grows in its place, and is killed' t_grows_and_ends
    wait_mount 2>/dev/null
    umount -l "$org"
    mount_slowly
    check 'it grows in its place, and is killed: the pool' t_grown_pool
  fi
  ends 'after it grew'
fi
if [ $is_root = 1 ] && wanted 'no room to grow'; then
  rm -f "$FAIL_GROW" "$pool"
  new_pool 8M
  mount_slowly
  check 'no room to grow' t_grows_without_room
  ends 'without room to grow'
fi
if wanted 'its client is interrupted while it grows'; then
  rm -f "$FAIL_GROW" "$pool"
  new_pool 8M
  mount_slowly
  check 'its client is interrupted while it grows' t_grows_interrupted
  ends 'after an interrupted growth'
fi
if wanted 'drive writes of a pool that grew'; then
  rm -f "$FAIL_GROW" "$pool"
  new_pool 8M
  head -c 10000000 /dev/urandom >"$ref/much"
  cp "$ref/much" "$org/much"
  mount_slowly -o drive_writes=21600 -o probation=0 # 2 MiB a second, and then 16
  check 'drive writes of a pool that grew' t_grows_drive_writes
  ends 'with a limit of drive writes'
  rm "$ref/much" "$org/much"
fi
if wanted 'it ends while it grows'; then
  rm -f "$FAIL_GROW" "$pool"
  new_pool 16M
  mount_slowly
  "$cm" warm -q "$org"
  check_at / 'it ends while it grows' t_grown_as_it_ends 24M umount "$org"
  wait_mount
fi
if wanted 'it ends while it grows, terminated'; then
  rm -f "$FAIL_GROW" "$pool"
  new_pool 16M
  mount_slowly
  "$cm" warm -q "$org"
  check_at / 'it ends while it grows, terminated' t_grown_as_it_ends 28M kill $mount_pid
  wait_mount
  mount_slowly
  check 'it ends while it grows, terminated: the pool' t_grown_pool
  ends 'after it ended while it grew'
fi
if wanted 'it is killed while it grows, and there is little room'; then
  rm -f "$FAIL_GROW" "$pool"
  new_pool 16M
  mount_slowly
  "$cm" warm -q "$org"
  check_at / 'it is killed while it grows, and there is little room' t_grown_half
  wait_mount 2>/dev/null
  umount -l "$org"
  rm -f "$shm/ballast"
  mount_slowly
  check 'it is killed while it grows, and there is little room: the pool' all_right
  ends 'after it was killed while it grew'
fi
is_of() { "$cm" info "$pool" | grep -q "process $1"; }
# The pool was moved, and another program has a new one at its path: that is not the mount's.
t_foreign() {
  local command owner
  mv "$pool" "$shm/aside"
  "$cm" create "$pool" --size 8M -q
  mkfifo "$work/fifo"
  exec 7<>"$work/fifo"
  head -c 3000000 /dev/zero >"$work/data"
  "$cm" cat "$work/data" --pool "$pool" >"$work/fifo" 7>&- &
  owner=$!
  eventually is_of "$owner"
  status 8 "$cm" mode "$pool" freeze
  says "$pool: is open in process $owner \(cachemax\)"
  for command in files check 'resize 32M'; do
    # shellcheck disable=SC2086 # words
    set -- $command
    status 4 "$cm" "$1" "$pool" "${@:2}"
    says "$pool: is open in process $owner"
  done
  # Whoever asks the mount itself is told.
  python3 - "$pool.control" 33554432 <<'PY' >"$work/said"
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'cachemax 1 resize %d 0\n' % int(sys.argv[2]))
print(s.makefile().readline(), end='')
PY
  says '^end -100116 '
  same "$(size) $(stat -c %s "$shm/aside") $("$cm" mode "$org")" '8388608 33554432 normal'
  kill "$owner"
  exec 7>&-
  wait "$owner" || :
  mv "$shm/aside" "$pool"
}
if wanted 'a pool of another program at the path'; then
  rm -f "$FAIL_GROW" "$pool"
  new_pool 32M
  do_mount
  check 'a pool of another program at the path' t_foreign
  ends 'after a pool of another program'
fi
if wanted 'a pool whose file was truncated'; then # as its only user can do
  rm -f "$FAIL_GROW" "$pool"
  new_pool 32M
  do_mount
  truncate -s 1M "$pool"
  check 'a pool whose file was truncated' status 3 timeout 30 "$cm" resize "$pool" 20M
  do_unmount
  check 'the end of its mount' same "$status" 3
fi
if [ -z "$asan" ] && wanted 'no address space to grow'; then
  rm -f "$FAIL_GROW" "$pool"
  new_pool 256M --sparse
  limit_was=$(ulimit -Sv)
  ulimit -Sv 1600000 # the room would take 2 GiB
  mount_slowly
  ulimit -Sv "$limit_was"
  check 'no address space to grow' t_no_address_space
  ends 'without address space'
fi
summary
