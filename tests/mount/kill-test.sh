#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# kill-test.sh - kill -9 of cachemax-mount under load: right bytes, and still warm.
#
# Usage: kill-test.sh BUILD_DIR [--cycles N] [--seed S]
# Each of N cycles (5) reads files that nobody writes, starts writers of several kinds on other
# files, and kills the mount after a random time. The next mount has to detach the dead one by
# itself; then every byte of every file must equal the origin, and the files that were not written
# must still hit (but for the few that the dead mount evicted). Prints the numbers of each cycle;
# exit status 1 when a check failed.

set -u
build='' cycles=5 seed=1
while [ $# -gt 0 ]; do
  case $1 in
  --cycles) cycles=${2:?}; shift ;;
  --seed) seed=${2:?}; shift ;;
  -*) echo "kill-test.sh: unknown option $1" >&2; exit 2 ;;
  *) build=$1 ;;
  esac
  shift
done
: "${build:?usage: kill-test.sh BUILD_DIR [--cycles N] [--seed S]}"
RANDOM=$((seed % 32768))
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

quiet=4 quiet_mib=4 written=3
quiet_blocks=$((quiet * quiet_mib * 256))
for i in $(seq $quiet); do
  head -c $((quiet_mib << 20)) /dev/urandom > "$org/quiet$i"
done
for i in $(seq $written); do
  head -c 4194304 /dev/urandom > "$org/w$i"
done
mkdir "$ref/quiet"
cp "$org"/quiet* "$ref/quiet/"
sleep 0.1

# Overwrites blocks at random, reads others, until the mount dies.
random_writer() { # FILE SEED
  local n
  RANDOM=$2 # in a shell of its own; "local" would make it an ordinary variable
  while n=$((RANDOM % 1024)); do
    dd if=/dev/urandom of="$1" bs=4096 seek=$n count=$((RANDOM % 9 + 1)) conv=notrunc status=none ||
      return
    dd if="$1" of=/dev/null bs=16k skip=$((RANDOM % 256)) count=8 status=none || return
  done
}
appender() { while echo "line $RANDOM" >> "$1" && cat "$1" > /dev/null; do :; done; }
shaper() { # truncates, renames over, makes and removes
  local n=0
  while n=$((n + 1)); do
    head -c $((RANDOM * 9)) /dev/urandom > "$1.tmp" && mv -f "$1.tmp" "$1" &&
      cat "$1" > /dev/null && truncate -s $((RANDOM * 5)) "$1" || return
    cat "$1" > /dev/null || return
    [ $((n % 5)) != 0 ] || rm -f "$1" || return
  done
}
reader() { while cat "$org"/quiet* > /dev/null && cat "$org"/w* > /dev/null; do :; done; }

read_quiet() {
  local f
  for f in "$org"/quiet*; do
    dd if="$f" of=/dev/null bs=128k iflag=direct status=none || return 1
  done
}

# Blocks of all files: what could be cached at most.
all_blocks() {
  local n=0 size
  while read -r size; do
    n=$((n + (size + 4095) / 4096))
  done < <(find "$1" -type f -printf '%s\n')
  echo $n
}

# Every file of the mount is the same as the origin beneath it; the quiet ones as at the start.
compare() {
  local f
  if [ $has_below = 1 ]; then
    diff -r "$org" "$below" || return 1
    for f in "$org"/*; do # past the kernel's pages, too
      dd if="$f" bs=128k iflag=direct status=none | cmp - "$below/${f##*/}" || return 1
    done
  fi
  for f in "$ref"/quiet/*; do
    cmp "$f" "$org/${f##*/}" || return 1
  done
}

# What earlier cycles wrote stays behind as garbage: after some sixty the pool is full of it, and
# evicts. Blocks that are read again and again are not what it takes.
new_pool $((256 + cycles * 48))MiB --sparse ||
  { fail "create a pool" "cachemax create"; summary; exit 1; }
# A block that was read waits in DRAM at first. The mount stores it soon, and later if it is busy.
is_stored() { [ "$(stat_of promoted)" -ge $quiet_blocks ]; }
hits=0 wanted=0 bad=0 cold=0 kills=0 compared=0 cached=0
while :; do
  gone=0 # blocks that the dead mount evicted
  [ $kills = 0 ] || gone=$(($(stat_of evicted) + $(stat_of displaced)))
  do_mount 2>"$work/err" || { fail "after $kills kills: mount" "$(cat "$work/err")"; break; }
  if [ $kills -gt 0 ]; then
    before=$(stat_of hit_blocks) origin=$(stat_of origin_bytes)
    read_quiet
    # A read that misses somewhere is done twice, so its hits do not count; what it missed does.
    missed=$((($(stat_of origin_bytes) - origin) / 4096)) got=$(($(stat_of hit_blocks) - before))
    [ $((got + missed)) -lt $quiet_blocks ] || got=$((quiet_blocks - missed))
    all=$(all_blocks "$org")
    hits=$((hits + got)) wanted=$((wanted + quiet_blocks)) cached=$((cached + all))
    lost=$((quiet_blocks - got))
    # A batch may be on its way out, and not counted yet.
    { [ $lost -le $((gone + 16)) ] && [ $lost -le $((quiet_blocks / 100)) ]; } || cold=$((cold + 1))
    compare >"$work/diff" 2>&1 || {
      bad=$((bad + 1))
      fail "kill $kills: every byte equals the origin" "$(head -n 2 "$work/diff" | tr '\n' ' ')"
    }
    compared=$((compared + quiet_blocks + has_below * 2 * all))
    echo "kill $kills: $got of $quiet_blocks quiet blocks hit, the dead mount evicted $gone;" \
      "dead mounts detached: $(grep -c detached "$work/log")"
  fi
  [ $kills -lt "$cycles" ] || break
  kills=$((kills + 1))
  read_quiet && read_quiet && read_quiet
  [ $kills != 1 ] || eventually is_stored || fail "it is stored" "$(stat_of promoted) blocks are"
  for i in $(seq $written); do
    random_writer "$org/w$i" $((kills * 100 + i)) 2>/dev/null &
  done
  appender "$org/log" 2>/dev/null &
  shaper "$org/shape" 2>/dev/null &
  reader 2>/dev/null &
  sleep "$((RANDOM % 2)).$((RANDOM % 9))$((RANDOM % 9 + 1))"
  kill -9 "$mount_pid"
  wait 2>/dev/null # the writers end with the mount
  mount_pid=
done

echo "kill: $kills kills of the mount, $compared blocks compared with the origin," \
  "$bad cycles with wrong ones; $hits of $wanted quiet blocks hit" \
  "($((cached ? 100 * wanted / cached : 0)) % of what could be cached)"
[ $kills = "$cycles" ] && ok "$kills kills: every mount after one came up"
[ $bad = 0 ] && ok "every byte equals the origin"
if [ "$wanted" -gt 0 ] && [ $cold = 0 ]; then
  ok "files not written stay warm: $hits of $wanted blocks hit"
else
  fail "files not written stay warm" \
    "$hits of $wanted blocks hit, $cold cycles with too many misses"
fi
if [ -n "$mount_pid" ]; then
  do_unmount && is_clean && ok "a clean unmount afterwards" ||
    fail "a clean unmount afterwards" "status $status; $("$cm" info "$pool" | grep state)"
  "$cm" check "$pool" >"$work/check" 2>&1 && ok "cachemax check finds nothing" ||
    fail "cachemax check finds nothing" "$(tail -n 3 "$work/check" | tr '\n' ' ')"
fi
# What is read waits in DRAM, in the probation buffer, for a checkpoint. The pool has room.
head -c 131072 /dev/urandom > "$org/small"
read_small() {
  dd if="$org/small" of="$work/small" bs=128k iflag=direct status=none &&
    cmp "$work/small" "$org/small"
}
is_promoted() { [ $(($(stat_of promoted) - before)) -ge 32 ]; }
small_stays() {
  do_mount || return
  before=$(stat_of promoted)
  read_small && eventually is_promoted || return
  kill -9 "$mount_pid"
  wait "$mount_pid" 2>/dev/null
  do_mount || return
  origin=$(stat_of origin_bytes)
  read_small && same "$(stat_of origin_bytes)" "$origin" && do_unmount
}
small_stays 2>"$work/err" && ok "a small file that was read once stays warm" ||
  fail "a small file that was read once stays warm" "$(tail -n 3 "$work/err")"
# At once after a kill, while the system still takes the dead mount apart.
restarts=0
while [ $restarts -lt 10 ] && do_mount; do
  echo new >"$org/restart"
  kill -9 "$mount_pid"
  wait "$mount_pid" 2>/dev/null
  do_mount || break
  do_unmount
  restarts=$((restarts + 1))
done
[ $restarts = 10 ] && ok "started at once after a kill, $restarts times" ||
  fail "started at once after a kill" "$(tail -n 1 "$work/log")"
summary
