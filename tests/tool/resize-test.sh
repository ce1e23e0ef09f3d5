#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# resize-test.sh - "cachemax resize": what it says, what it refuses, and a kill at each system call.
#
# Usage: resize-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed. A few checks need root, or strace.

set -u
build=${1:?usage: resize-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# Of 4.77 MiB, some blocks in a hundred may find their buckets full, in either pool.
kept='kept 4[.][67][0-9]? MiB of 4[.][67][0-9]? MiB that were cached \((100|99|98)[.][0-9]+ %\)'
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" # it does not work under strace

size_of() { stat -c %s "$1"; }

# warm_pool POOL SIZE: a pool with all of ./data and ./more.
warm_pool()
{
  rm -f "$1"
  "$cm" create "$1" --size "$2" -q
  "$cm" cat data --pool "$1" >/dev/null
  "$cm" cat more --pool "$1" >/dev/null
}

# all_hits NAME POOL FILE: but for blocks that have found their buckets full, in one pool of a
# hundred a few.
few=10
all_hits()
{
  through "$1" "$3" "$2" || return
  [ "$(misses)" -le $few ] || fail "$1-hits" "$(misses) misses"
}

test_words()
{
  make_file data 3000000
  make_file more 2000000
  warm_pool pool 8M
  expect no-size 2 "needs the pool's new size" "$cm" resize pool
  expect size-option 2 "unknown option '--size' of 'resize'; write 'cachemax resize POOL SIZE'" \
    "$cm" resize pool --size 16M
  expect size-option-equals 2 "write 'cachemax resize POOL SIZE'" "$cm" resize --size=16M pool
  expect bad-size 2 "SIZE 'lots' is not a size" "$cm" resize pool lots
  expect odd-size 2 \
    "SIZE '8000001' .* not a multiple of 4096; use 7999488" "$cm" resize pool 8000001
  expect small 2 "too small; the smallest pool has" "$cm" resize pool 4K
  expect missing 1 'nothing: no such file' "$cm" resize nothing 8M
  expect no-pool 3 'data: not a cachemax pool' "$cm" resize data 8M
  expect same 0 'pool: has that size already' "$cm" resize pool 8M
  expect grow 0 'pool: 16.00 MiB now, was 8.00 MiB' "$cm" resize pool 16M
  expect grow-write-error 1 \
    'pool: the pool was resized, but standard output cannot be written' \
    bash -c "'$cm' resize pool 12M >/dev/full"
  expect grow 0 'pool: 16.00 MiB now, was 12.00 MiB' "$cm" resize pool 16M
  check grow-kept grep -Eq "$kept" out
  check grow-files grep -q 'knows 2 of 2 files$' out
  check grow-sound "$cm" check pool
  all_hits grow-data pool data
  all_hits grow-more pool more
  check grow-mode test "$(stat -c %a pool)" = 600
  expect shrink 0 'pool: 4.00 MiB now, was 16.00 MiB' "$cm" resize pool 4M
  check shrink-dropped grep -Eq 'dropped [0-9.]+ (KiB|MiB) that have no room' out
  check shrink-sound "$cm" check pool
  # What was written before counts by the new size, and the output says so.
  expect shrink-wear 0 '^wear: [1-9][.0-9]* drive writes [(]of its size now[)] since it was made' \
    "$cm" stats pool
  through shrink-data data pool
  check shrink-hits test "$(hits)" -gt 0
  poke pool $((3 * 1048576)) 01 02 03 04 05 06 07 08
  expect damaged 0 'dropped 1 blocks that were damaged' "$cm" resize pool 6M
  check damaged-not-kept grep -Eq '^  kept .* that were cached [(](9[0-9][.][0-9]+) %[)]' out
  check damaged-sound "$cm" check pool
  check nothing-left test -z "$(ls -d pool.* 2>/dev/null)"
}

test_place()
{
  warm_pool pool 8M
  mkdir -p elsewhere
  mv pool elsewhere/pool
  ln -s elsewhere/pool pool
  expect link 0 '16.00 MiB now' "$cm" resize pool 16M
  check link-stays test -L pool
  check link-size test "$(size_of elsewhere/pool)" = 16777216
  echo precious >elsewhere/pool.cachemax-resize
  expect in-the-way 1 'pool.cachemax-resize: is in the way' "$cm" resize pool 8M
  check in-the-way-stays grep -q precious elsewhere/pool.cachemax-resize
  rm pool elsewhere/pool.cachemax-resize
  mv elsewhere/pool pool
  chmod 640 pool
  expect mode 0 '' "$cm" resize pool 8M
  check mode-stays test "$(stat -c %a pool)" = 640
  chmod 666 pool
  expect untrusted 3 'others' "$cm" resize pool 16M
  check untrusted-stays test "$(size_of pool)" = 8388608
  chmod 600 pool
  if [ "$(id -u)" = 0 ]; then # its user may write the pool, and nothing beside it
    mkdir -m 755 not-his
    mv pool not-his/pool
    chown 65534 not-his/pool
    expect not-his 1 'not-his may not be written by this user, and the new pool is made there' \
      setpriv --reuid=65534 --regid=65534 --clear-groups "$cm" resize not-his/pool 16M
    rm -r not-his
  fi
  rm -f pool
}

# Another process has the lock of an owner, and has not said in the superblock who it is.
test_owned()
{
  warm_pool pool 8M
  python3 - "$PWD/pool" <<'PY' &
import fcntl
import struct
import sys
import time
f = open(sys.argv[1], "r+b")
fcntl.fcntl(f, fcntl.F_OFD_SETLK, struct.pack("hhqqixxxx", fcntl.F_WRLCK, 0, 0, 0, 0))
open("locked", "w").close()
time.sleep(60)
PY
  owner=$!
  for _ in $(seq 100); do [ -e locked ] && break; sleep 0.1; done
  expect owned 4 'pool: was just opened or closed by another process' "$cm" resize pool 16M
  check owned-stays test "$(size_of pool)" = 8388608
  kill "$owner"
  wait "$owner" 2>/dev/null
  owner=
}

# Unmounts, and waits for the process: until it ends it writes to the pool.
end_mount()
{
  umount origin
  has_ended
}
has_ended() { while "$cm" info pool | grep -q 'open (process'; do sleep 0.05; done; }

# A running mount does it (tests/mount/resize-test.sh). Of one that cannot be asked the command says
# what to type, and that works.
test_mounted()
{
  local mount=$build/examples/mount/cachemax-mount process
  if [ "$(id -u)" != 0 ] || [ ! -x "$mount" ] || [ ! -e /dev/fuse ]; then
    skip mounted "needs root and cachemax-mount"
    return
  fi
  mkdir -p origin
  cp data more origin
  rm -f pool
  "$cm" create pool --size 8M -q
  "$mount" "$work/origin" --pool "$work/pool" || { fail mounted "no mount"; return; }
  cat origin/* >/dev/null
  # What waits in the probation buffer does not count as cached when the pool grows in its place.
  expect asked 0 'kept ([34][.][0-9]+) MiB of \1 MiB that were cached' "$cm" resize pool 9M
  check asked-quiet test ! -s err
  check asked-shown grep -q 'pool: its mount lets it grow in its place, if it can' out
  expect asked-room 2 'too small' "$cm" resize pool 4K
  mv pool.control aside
  expect mounted 4 "is in use by cachemax-mount \\(process [0-9]+\\) at $work/origin" \
    "$cm" resize pool 16M
  check mounted-says grep -q "fusermount3 -u '$work/origin'" err
  check mounted-stays test "$(size_of pool)" = 9437184
  mv aside pool.control
  # It waits for the mount's end, and this one takes a second until it looks.
  process=$(sed -n 's/.*(process \([0-9]*\)).*/\1/p' err)
  kill -STOP "$process"
  umount origin
  (sleep 1; kill -CONT "$process") &
  # It may have let the pool grow all the same, without what waited in the buffer.
  expect unmounted 0 \
    'kept 4[.][4-7]|kept what was cached: its mount gave it this size, and has ended' \
    "$cm" resize pool 16M
  wait $!
  has_ended
  "$mount" "$work/origin" --pool "$work/pool" || { fail unmounted-mount "no mount"; return; }
  check unmounted-data cmp data origin/data
  expect unmounted-cached 0 '2 files: 4[.][567][0-9]? MiB of 4[.]77 MiB cached' "$cm" cached origin
  end_mount
}

# ratio_line POOL FACTOR: what a resize to so many times the size shall say, by `advise`.
ratio_line()
{
  "$cm" advise "$1" --json >advised
  python3 - "$2" <<'PY'
import json
import sys
curve = {p["factor"]: 100 * p["hit_ratio"] for p in json.load(open("advised"))["curve"]}
print("  hit ratio: was %.1f %%, about %.1f %% with the new size%s" % (
    curve[1], curve[float(sys.argv[1])], ", once it is full" if float(sys.argv[1]) > 1 else ""))
PY
}

# What it says of the hit ratio: of a pool that was read enough, in its last session or now.
test_hit_ratio()
{
  local mount=$build/examples/mount/cachemax-mount wanted
  rm -f pool
  make_file data 3000000
  "$cm" create pool --size 4M -q
  "$cm" cat data --pool pool >/dev/null
  expect ratio-unknown 0 'hit ratio: unknown; observed 7[0-9]* of about [0-9]* block reads' \
    "$cm" resize pool 5M
  if [ "$(id -u)" != 0 ] || [ ! -x "$mount" ] || [ ! -e /dev/fuse ]; then
    skip ratio "needs root and cachemax-mount"
    return
  fi
  rm -f pool origin/*
  mkdir -p origin
  make_file origin/large 6000000
  make_file origin/small 1000000
  "$cm" create pool --size 4M -q
  "$mount" "$work/origin" --pool "$work/pool" || { fail ratio "no mount"; return; }
  for _ in 1 2 3 4 5 6; do
    for f in origin/small origin/large origin/small; do
      dd if=$f of=/dev/null bs=64K iflag=direct status=none
    done
  done
  # Each few seconds, and when it is asked, the mount writes what it knows of all reads until then.
  check ratio-asked "$cm" mode origin
  cp pool closed # as after a kill
  wanted=$(ratio_line pool 2)
  check ratio-not-zero test "$(echo "$wanted" | grep -c ' 0[.]0 %')" = 0
  expect ratio-mounted 0 'kept .* that were cached' "$cm" resize pool 8M
  check ratio-mounted-line grep -qFx "$wanted" out
  # The estimate has begun anew: of many reads, none is in its sample. It asks for more, and does
  # not claim to need fewer than there were.
  expect ratio-again 0 \
    'unknown; observed ([1-9][0-9]* block reads .*, too few of them in the sample|0 of about)' \
    "$cm" resize pool 16M
  expect advise-again 6 \
    'yet: observed ([1-9][0-9]* block reads .*, too few of them in the sample|0 of about)' \
    "$cm" advise pool
  expect top-again 0 'by size: observed ([1-9].* of the reads, too few in the sample|0 bytes of)' \
    "$cm" top pool --once --ascii
  end_mount
  wanted=$(ratio_line closed 0.25)
  cp closed pool
  expect ratio-smaller 0 '' "$cm" resize pool 1M
  check ratio-smaller-line grep -qFx "$wanted" out
  # Between two sizes: between their ratios.
  cp closed pool
  expect ratio-between 0 '' "$cm" resize pool 6M
  check ratio-between-line python3 - <<'PY'
import json
import re
curve = {p["factor"]: 100 * p["hit_ratio"] for p in json.load(open("advised"))["curve"]}
at = float(re.search(r"about ([0-9.]+) % with", open("out").read()).group(1))
assert abs(at - (curve[1] + curve[2]) / 2) < 0.2, (curve, at)
PY
  cp closed pool
  expect ratio-too-large 0 'was [0-9.]* %, .* unknown; .* more than the estimates reach' \
    "$cm" resize pool 33M
  rm -f pool closed
  "$cm" create pool --size 16M -q --sparse
  "$mount" "$work/origin" --pool "$work/pool" || { fail ratio "no mount"; return; }
  for _ in 1 2 3 4 5 6; do
    dd if=origin/large of=/dev/null bs=64K iflag=direct status=none
  done
  end_mount
  cp pool closed
  expect ratio-too-small 0 'was [0-9.]* %, .* unknown; .* less than the estimates reach' \
    "$cm" resize pool 1M
  mv closed pool
  expect ratio-more-needed 0 'hit ratio: was [0-9.]* %, .* unknown; observed [0-9]* of about' \
    "$cm" resize pool 128M
  rm -f pool
}

test_no_space()
{
  local small=$work/small
  if [ "$(id -u)" != 0 ] || ! mkdir -p "$small" ||
    ! mount -t tmpfs -o size=20m none "$small" 2>/dev/null; then
    skip no-space "needs root and a tmpfs"
    return
  fi
  warm_pool "$small/pool" 12M
  expect no-space 1 'needs 16.00 MiB, the volume has 8.00 MiB: 8.00 MiB are missing; nothing' \
    "$cm" resize "$small/pool" 16M
  check no-space-delete grep -q "if the pool may be empty then, delete it and make it anew" err
  expect no-space-at-all 1 'are missing; nothing was changed. Make room, or choose a smaller size' \
    "$cm" resize "$small/pool" 32M
  check no-space-stays test "$(size_of "$small/pool")" = 12582912
  all_hits no-space-data "$small/pool" data
  # A sparse one finds out while it copies.
  rm "$small/pool"
  "$cm" create "$small/pool" --size 64M --sparse -q
  "$cm" cat data --pool "$small/pool" >/dev/null
  "$cm" cat more --pool "$small/pool" >/dev/null
  head -c 11M /dev/zero >"$small/ballast"
  expect sparse-no-space 1 'not enough space' "$cm" resize "$small/pool" 96M
  # Not the whole size is missing: only what is stored is needed.
  check sparse-no-space-says grep -Eq \
    'room for what is stored, about (4[.][6-9]|5[.][0-9])[0-9]? MiB [(]the pool is sparse[)], ' err
  check sparse-no-space-has grep -Eq 'the volume has [0-9.]+ [KM]iB [(]a quota' err
  check sparse-no-space-missing test "$(grep -c 'are missing' err)" = 0
  check sparse-no-space-stays test "$(size_of "$small/pool")" = 67108864
  check sparse-no-space-left test "$(ls "$small")" = "$(printf '%s\n' ballast pool)"
  # A new pool that is smaller than what is stored needs no more than its size.
  head -c 14M /dev/zero >"$small/ballast"
  expect sparse-smaller 1 'about 3[.]00 MiB [(]the pool is sparse[)].*choose a smaller size' \
    "$cm" resize "$small/pool" 3M
  rm "$small/ballast"
  all_hits sparse-no-space-data "$small/pool" data
  expect sparse 0 '96.00 MiB now' "$cm" resize "$small/pool" 96M
  all_hits sparse-data "$small/pool" data
  umount "$small"
}

# misses_in POOL
misses_in()
{
  cp --sparse=never "$1" looked-at
  "$cm" cat data --pool looked-at -v >through.out 2>err
  misses
  rm looked-at
}

# killed_at CALL:N TO: resizes a copy of the warm pool, which is killed when it enters its N-th
# system call of that name. Prints what is wrong: the pool must be whole, and as warm as before.
# Leaves files that say how far it came: ended (it was not killed), moved (the new pool has the
# name), left.
killed_at()
{
  local n=$1 to=$2 size
  cp --sparse=never warm pool
  rm -f pool.* ended moved left
  strace -f -qq -o /dev/null -e trace=all -e inject="${n%:*}:signal=KILL:when=${n#*:}" \
    "$cm" resize pool "$to" >/dev/null 2>&1 && : >ended
  size=$(size_of pool)
  [ "$size" = "$to" ] && : >moved
  [ -z "$(ls pool.* 2>/dev/null)" ] || : >left
  [ "$size" = "$to" ] || [ "$size" = 8388608 ] || echo "at $n: size $size. "
  "$cm" check pool >check.out 2>&1 || echo "at $n: $(head -1 check.out). "
  "$cm" cat data --pool pool -v >through.out 2>err
  cmp -s data through.out || echo "at $n: wrong bytes. "
  # What the old pool had is in it, and but for a few in the new one.
  if [ ! -e moved ]; then
    [ "$(misses)" = "$cold" ] || echo "at $n: $(misses) misses, not $cold. "
  elif [ "$to" -ge 8388608 ]; then
    [ "$(misses)" -le $((cold + few)) ] || echo "at $n: $(misses) misses. "
  fi
  # The next one removes what was left.
  [ -e left ] || return
  "$cm" resize pool 12M >resize.out 2>&1 || echo "at $n: $(head -1 resize.out). "
  [ -z "$(ls pool.* 2>/dev/null)" ] || echo "at $n: $(ls pool.*) is left. "
}

# calls_of TO: the system calls of a resize, as CALL:N, from the one that opens the pool on. Those
# before are of the loader and the like.
calls_of()
{
  cp --sparse=never warm pool
  strace -f -qq -o calls "$cm" resize pool "$1" >/dev/null
  sed -nE 's/^[0-9]+ +([a-z0-9_]+)\(.*/\1 &/p' calls |
    awk '{ n[$1]++ } /openat.*"pool"/ { on = 1 } on && $1 != "exit_group" { print $1 ":" n[$1] }'
}

test_kills()
{
  local n to every trouble left kills moved cold
  if ! command -v strace >/dev/null || ! strace -qq -o /dev/null true 2>/dev/null; then
    skip kills "needs strace"
    return
  fi
  if [ -n "$shm" ]; then # a kill takes no page cache away, and syncs take no time there
    cp data more "$shm"
    cd "$shm" || return
  fi
  warm_pool warm 8M
  cold=$(misses_in warm)
  check kills-warm test "$cold" -le $few
  for to in 16777216 4194304; do
    trouble='' kills=0 left=0 moved=0
    every=1
    [ "$to" = 4194304 ] && every=3
    for n in $(calls_of "$to" | awk -v n=$every 'NR % n == 0'); do
      trouble=$trouble$(killed_at "$n" "$to")
      [ -z "$trouble" ] || break
      [ -e ended ] && continue
      kills=$((kills + 1))
      [ -e left ] && left=$((left + 1))
      [ -e moved ] && moved=$((moved + 1))
    done
    check "kills-$to" test -z "$trouble"
    [ -z "$trouble" ] || echo "  $trouble"
    # Before the exchange, with both files there, and after it.
    check "kills-$to-everywhere" test "$((kills - moved))" -gt 20 -a "$left" -gt 2 -a "$moved" -gt 2
    echo "  $kills kills: $((kills - moved - left)) before, $left with both files, $moved after"
  done
}

test_words
test_place
test_owned
test_mounted
test_hit_ratio
test_no_space
test_kills
summary
