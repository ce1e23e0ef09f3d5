#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# random-test.sh - random operations of two processes on the same files, through the mount.
#
# Usage: random-test.sh BUILD_DIR [--ops N] [--seed S] [--service]
# For each way to mount, N operations (20000) of random.c: with the cache, with a pool that evicts
# all the time, with -o writeback, in the mode bypass, with modes or a size of the pool that change
# all the time, with --paranoid.
# --service does the first one with a service. Every byte that is read is compared with a model, and
# what was synced with the origin, too. S (1) chooses the operations; a failure prints it. Prints
# "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the last line.
# Exit status 1 when something failed. A long run: --ops 1000000.

set -u
build='' ops=20000 seed=1 all=$*
while [ $# -gt 0 ]; do
  case $1 in
  --ops) ops=${2:?}; shift ;;
  --seed) seed=${2:?}; shift ;;
  --service) ;;
  -*) echo "random-test.sh: unknown option $1" >&2; exit 2 ;;
  *) build=$1 ;;
  esac
  shift
done
build=$(realpath "${build:?usage: random-test.sh BUILD_DIR [--ops N] [--seed S] [--service]}") ||
  exit 1
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck disable=SC2086 # words: lib.sh looks for --service
set -- $all
# shellcheck source=lib.sh
. "$here/lib.sh"
program=$(find "$build" -path '*tests/mount/random' -type f -perm -u+x | head -n 1)
[ -n "$program" ] || { fail random "tests/mount/random is missing in $build"; summary; exit 1; }

# Runs the operations on the mount. What differs is on standard error.
run() {
  local at=() log=$shm/random.out
  [ $has_below = 0 ] || at=(--below "$below/files")
  timeout -k 10 $((600 + ops / 500)) "$program" "$org/files" --seed "$seed" --ops "$ops" \
    "${at[@]}" > "$log" 2> "$log.err" || { head -n 1 "$log.err" >&2; cat "$log.err" "$log" > \
    "$shm/failed"; return 1; }
  grep -q ': [0-9]* operations, 0 differences$' "$log"
}
# Nothing is proved by a run that hits nothing.
hits() { [ "$(stat_of hit_blocks)" -gt $((ops / 20)) ]; }
ends() {
  cd /
  rm -rf "$org/files"
  do_unmount
}
t_cached() { # MOUNT-OPTION...
  do_mount "$@"
  mkdir "$org/files"
  run
  hits
  ends
}
t_small() {
  t_cached -o probation=0
  [ "$(stat_of evicted)" -gt $((ops / 20)) ]
}
t_bypass() {
  local before
  do_mount
  mkdir "$org/files"
  "$cm" mode "$org" bypass
  before=$(stat_of hit_blocks)
  run
  same "$(stat_of hit_blocks)" "$before"
  ends
}
# What was cached in one mode is read in the next one.
t_modes() {
  local changer
  do_mount -o probation=0
  mkdir "$org/files"
  while :; do
    for mode in normal freeze normal bypass; do
      "$cm" mode "$org" $mode >/dev/null
      sleep 0.05
    done
  done &
  changer=$!
  run || { kill $changer; return 1; }
  kill $changer
  wait $changer 2>/dev/null || :
  hits
  ends
}
# What is written while the mount is without its pool must be known afterwards.
t_sizes() {
  local changer
  do_mount -o probation=0
  mkdir "$org/files"
  while :; do
    for size in 8M 16M; do
      # A new pool counts anew; one that grows in its place goes on.
      [ $size = 16M ] || stat_of hit_blocks >>"$shm/hits"
      "$cm" resize "$pool" $size >>"$shm/sizes"
      sleep 0.05
    done
  done 2>/dev/null &
  changer=$!
  touch "$shm/sizes"
  until [ "$(grep -c ' now, was ' "$shm/sizes")" -ge 20 ]; do
    run || { kill $changer; return 1; }
    seed=$((seed + 1000))
    rm -rf "$org/files/"*
  done
  kill $changer
  wait $changer 2>/dev/null || :
  [ "$(awk '{ sum += $1 } END { print sum }' "$shm/hits")" -gt $((ops / 20)) ]
  ends
}
# A mount whose cache differs ends with status 5.
t_paranoid() {
  do_mount --paranoid -o probation=0
  mkdir "$org/files"
  run
  fails grep 'WRONG BYTES' "$work/log"
  hits
  ends
}

names="of seed $seed: $ops operations"
[ $is_root = 1 ] || has_below=0
if [ $via = service ]; then
  new_pool 16MiB
  check "service, $names" t_cached
else
  new_pool 16MiB
  check "cached, $names" t_cached
  new_pool 512KiB
  check "cached in a small pool, $names" t_small
  new_pool 16MiB
  check "writeback, $names" t_cached -o writeback,probation=0
  check "bypassed, $names" t_bypass
  check "modes that change, $names" t_modes
  new_pool 16MiB
  check "sizes that change, $names" t_sizes
  new_pool 512KiB
  check "paranoid, $names" t_paranoid
fi
[ ! -f "$shm/failed" ] || cat "$shm/failed"
summary
