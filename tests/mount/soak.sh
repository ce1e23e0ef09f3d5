#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# soak.sh - a mount with --paranoid in long use: many users, commands, remounts and kills.
#
# Usage: soak.sh BUILD_DIR [--minutes N | --seconds N] [--seed S]
# At the same time, for N minutes (10): two runs of random operations by two processes each
# (random.c), a reader of a tree that is larger than the pool, a maker of small files (soak.c), and
# the commands warm, forget, pin, unpin, mode, cached and list. In the first half one mount serves
# all of it. Its memory, descriptors and threads are printed each minute, and must stay: what the
# last quarter of that time needs at most is compared with the second quarter (not below two
# minutes). In the second half the mount is killed or unmounted every few seconds, and mounted
# again. Every byte that is read is compared. S (the time) chooses when the mount goes, and the
# operations; it is printed. Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason", the numbers
# as the last line. Exit status 1 when something failed. Needs root.

set -u
build='' seconds=600 seed=$(date +%s)
while [ $# -gt 0 ]; do
  case $1 in
  --minutes) seconds=$((${2:?} * 60)); shift ;;
  --seconds) seconds=${2:?}; shift ;;
  --seed) seed=${2:?}; shift ;;
  -*) echo "soak.sh: unknown option $1" >&2; exit 2 ;;
  *) build=$1 ;;
  esac
  shift
done
build=$(realpath "${build:?usage: soak.sh BUILD_DIR [--minutes N] [--seed S]}") || exit 1
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
[ $has_below = 1 ] || { skip soak "needs root and bind mounts"; summary; exit 77; }
random=$build/tests/mount/random soak=$build/tests/mount/soak
files=96 kib=512 # of the tree: 48 MiB
RANDOM=$((seed % 32768))
echo "seed $seed, $seconds s"

# ---- The users ----------------------------------------------------------------------------------

users='random1 random2 read churn'
declare -A pid=()
start() { # NAME COMMAND...
  "${@:2}" > "$shm/$1.out" 2> "$shm/$1.err" &
  pid[$1]=$!
}
start_users() {
  local n
  rm -f "$shm/ending" "$shm/"*.out
  for n in 1 2; do
    start random$n "$random" "$org/random$n" --below "$below/random$n" --seed $RANDOM \
      --ops 1000000000000 --until-gone
  done
  start read "$soak" read "$org/tree" $files $kib
  start churn "$soak" churn "$org/small"
  commands &
  pid[commands]=$!
  # A mount that is killed before they have opened its directory would tell nothing.
  for n in $users; do
    eventually grep -q 'at work$' "$shm/$n.out" || fail "$n begins" "$(head -n 1 "$shm/$n.err")"
  done
}

# One command: its status is 0, or 7 (no room in the pool), while the mount is there. What random.c
# does to its files may come in between.
ask() { # STRICT? ARGUMENT...
  local status=0
  timeout -k 10 300 "$cm" "${@:2}" > "$shm/said" 2>&1 || status=$?
  echo "$2 $status" >> "$shm/commands"
  [ $status != 0 ] && [ $status != 7 ] || return 0
  [ ! -e "$shm/ending" ] || return 0
  [ "$1" = loose ] && [ $status -lt 124 ] && return 0
  echo "cachemax ${*:2}: status $status: $(head -n 1 "$shm/said")" >> "$shm/commands.failed"
}
commands() {
  local file modes=(normal normal normal freeze bypass)
  RANDOM=$(((seed + rounds) % 32768)) # a shell of its own; "local" would make it an ordinary one
  while [ ! -e "$shm/ending" ]; do
    file=$org/tree/d$((RANDOM % (files / 16)))
    case $((RANDOM % 12)) in
    0) ask strict warm "$file" --rate 20M ;;
    1 | 2) ask strict forget "$file" ;;
    3) ask strict pin "$file" ;;
    4) ask strict unpin "$file" ;;
    5) ask strict cached "$org/tree" ;;
    6) ask strict mode "$org" ${modes[RANDOM % 5]} ;;
    7) ask strict list ;;
    8) ask loose pin "$org/random1" ;;
    9) ask loose forget "$org/random2" "$org/small" ;;
    10) ask strict unpin --all "$org" ;;
    11) ask loose warm "$org/random2" ;;
    esac
    sleep 0.1
  done
}

# Waits for a user, and adds what it did. 0: it found no difference.
operations=0
finish() { # NAME EXPECTED-STATUS...
  local status n
  for n in $(seq 1800); do
    kill -0 "${pid[$1]}" 2>/dev/null || break
    sleep 0.1
  done
  if [ "$n" = 1800 ]; then
    fail "$1 ends" "it still waits after three minutes"
    kill -9 "${pid[$1]}"
    return 1
  fi
  wait "${pid[$1]}"
  status=$?
  n=$(sed -n 's/.*[ :]\([0-9]*\) operations, .*/\1/p' "$shm/$1.out" | tail -n 1)
  operations=$((operations + ${n:-0}))
  case " ${*:2} " in *" $status "*) return 0 ;; esac
  fail "$1 (round $rounds)" "status $status: $(head -n 1 "$shm/$1.err")"
  cat "$shm/$1.err" "$shm/$1.out"
  return 1
}
finish_users() { # EXPECTED-STATUS...
  local name bad=0
  for name in $users; do
    finish "$name" "$@" || bad=1
  done
  wait "${pid[commands]}"
  if [ -s "$shm/commands.failed" ]; then
    fail "commands" "$(head -n 3 "$shm/commands.failed" | tr '\n' ' ')"
    bad=1
  fi
  return $bad
}
end_cleanly() {
  touch "$shm/ending"
  for name in $users; do kill -TERM "${pid[$name]}"; done
  finish_users 0 || return 1
  cd /
  do_unmount && return 0
  fail "the mount ends" "status $status: $(tail -n 1 "$work/log")"
  return 1
}
# A thread that waits for this mount itself keeps the process, and everybody in the directory.
still_there() {
  local device t
  fail "the mount ends (round $rounds)" "it is there a minute after kill -9; its threads wait in: $(
    cat "/proc/$mount_pid/task/"*/wchan 2>/dev/null)"
  device=$(awk -v dir="$org" '$5 == dir { print $3 }' /proc/self/mountinfo | tail -n 1)
  t=/sys/fs/fuse/connections/${device#*:}/abort
  [ -z "$device" ] || [ ! -e "$t" ] || echo 1 > "$t" # so that nobody waits any longer
  mount_pid=
}
end_by_kill() {
  local n=0
  touch "$shm/ending"
  kill -9 "$mount_pid"
  until [ ! -e "/proc/$mount_pid" ] || grep -q '^State:.Z' "/proc/$mount_pid/status" 2>/dev/null; do
    n=$((n + 1))
    [ $n -lt 600 ] || { still_there; return 1; }
    sleep 0.1
  done
  wait "$mount_pid" 2>/dev/null
  mount_pid=
  finish_users 0 3
}
begin() { # the next mount detaches one that was killed
  do_mount --paranoid -o probation=0 2> "$work/err" && return 0
  fail "mount (round $rounds)" "$(cat "$work/err")"
  return 1
}

# ---- What the mount needs -----------------------------------------------------------------------

sample() { # SECONDS: one line: memory in KiB, descriptors, threads
  local status=/proc/$mount_pid/status
  echo "$1 $(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' "$status")" \
    "$(find "/proc/$mount_pid/fd" -mindepth 1 2>/dev/null | wc -l)" \
    "$(sed -n 's/^Threads:[^0-9]*//p' "$status")" \
    "$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "$status")"
}
# most COLUMN FROM TO: the largest one of the samples between these seconds
most() { awk -v c="$1" -v from="$2" -v to="$3" '$1 >= from && $1 <= to && $c > m { m = $c }
  END { print m + 0 }' "$shm/samples"; }
flat() { # NAME COLUMN SLACK
  local before after
  before=$(most "$2" $((half / 4)) $((half / 2))) after=$(most "$2" $((half * 3 / 4)) "$half")
  if [ "$after" -le $((before + before / 10 + $3)) ]; then
    ok "$1: at most $before in the second quarter, $after in the last"
  else
    fail "$1" "at most $before in the second quarter, $after in the last"
  fi
}
steady() { # one mount
  local began=$SECONDS at=0 minute=0
  begin && start_users || return 1
  while at=$((SECONDS - began)); [ $at -lt $half ]; do
    sample $at >> "$shm/samples"
    if [ $((at / 60)) -gt $minute ]; then
      minute=$((at / 60))
      tail -n 1 "$shm/samples" | while read -r s memory fds threads resident; do
        echo "minute $minute ($s s): $memory KiB of its own, $resident KiB resident," \
          "$fds descriptors, $threads threads"
      done
    fi
    for name in $users; do
      kill -0 "${pid[$name]}" 2>/dev/null || break 2 # it found something
    done
    sleep 2
  done
  end_cleanly || return 1
  echo "one mount, $half s: $operations operations," \
    "$(stat_of hit_blocks) blocks hit, $(stat_of evicted) evicted"
}
restarts() { # many
  local until=$((SECONDS + seconds - half)) left
  while left=$((until - SECONDS)); [ $left -gt 0 ]; do
    rounds=$((rounds + 1))
    begin && start_users || return 1
    sleep $((RANDOM % (left < 12 ? left : 12))).$((RANDOM % 10))
    if [ $((RANDOM % 3)) = 0 ]; then
      end_cleanly || return 1
    else
      kills=$((kills + 1))
      end_by_kill || return 1
    fi
  done
  # What the last kill left is compared, too.
  begin && start_users && sleep 1 && end_cleanly
}

# ---- The run ------------------------------------------------------------------------------------

mkdir "$org/random1" "$org/random2" "$org/small" "$org/tree"
"$soak" make "$org/tree" $files $kib > "$work/out" || { fail tree "$(cat "$work/out")"; exit 1; }
new_pool 24MiB
half=$((seconds / 2)) rounds=0 kills=0
: > "$shm/samples"
: > "$shm/commands"
! steady || ok "0 differences while one mount serves"
if [ $failed = 0 ]; then
  if [ $seconds -lt 120 ]; then
    skip "memory stays" "it is judged from two minutes on"
  else
    flat "memory of its own (KiB)" 2 2048
    flat "descriptors" 3 64
    flat "threads" 4 8
  fi
  ! restarts || ok "0 differences over $rounds mounts, $kills of them killed"
fi
if grep 'WRONG BYTES' "$work/log"; then
  fail "--paranoid" "the cache had wrong bytes"
else
  ok "--paranoid found no wrong byte in the cache"
fi
echo "soak: $operations operations in $SECONDS s; commands:" \
  "$(awk '{ n[$1]++ } END { for (c in n) printf "%s %d, ", c, n[c] }' "$shm/commands")"
summary
