#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# quota-test.sh - --quota of the mount: the files below a directory take so much of the pool and no
# more, over remounts, kills and other quotas; nobody else is pushed out by them.
#
# Usage: quota-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Needs 100 MiB in /dev/shm and in $TMPDIR.

set -u
build=${1:?usage: quota-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

mib=1048576
# Of the mounts on this machine, what the one here says.
listed() {
  "$cm" list --json | awk -v dir="\"$org\"" '/"directory":/ { here = index($0, dir) } here'
}
# quota PATH used|max
quota() {
  listed | grep -A 2 "\"path\": \"$1\"" |
    sed -n "s/^ *\"$2_bytes\": \([0-9]*\),*$/\1/p"
}
at_most() { [ "$1" -le "$2" ] || { echo "$1 is more than $2" >&2; return 1; }; }
at_least() { [ "$1" -ge "$2" ] || { echo "$1 is less than $2" >&2; return 1; }; }
# read_twice FILE...: past the kernel's pages; twice, so that the pool takes it
read_twice() {
  local f
  for f in "$@" "$@"; do dd if="$f" bs=1M iflag=direct status=none of=/dev/null; done
}
same_bytes() { # FILE: as the origin has it
  dd if="$org/$1" bs=1M iflag=direct status=none | cmp - "$ref/$1"
}
# holds PATH MIB: the mount says so, and no more is cached. What waits in memory is cached, and does
# not count: it is not in the pool. A quota below PATH counts by itself.
holds() {
  local waits=$((100 * 4096)) below=0
  [ "$1" != logs ] || below=$mib
  at_most "$(quota "$1" used)" $(($2 * mib))
  same "$(quota "$1" max)" $(($2 * mib))
  at_most "$(cached "$org/$1")" $(($2 * mib + below + waits))
}

t_limit() {
  same "$(quota logs used)" 0
  "$cm" warm -q "$org/other"
  read_twice logs/1 logs/2 logs/3 logs/4
  holds logs 4
  at_least "$(quota logs used)" $((4 * mib * 8 / 10)) # it is used
  same "$(cached "$org/other")" $((6 * mib))          # and nobody else had to go
  same_bytes logs/1
  same_bytes logs/4
}
t_displaces() { # what is new comes in; what is older goes
  "$cm" warm -q "$org/logs/1" 2>/dev/null || :
  read_twice logs/2
  at_least "$(cached "$org/logs/2")" $mib
  holds logs 4
}
t_warm() { # all of a directory that does not fit
  "$cm" warm -q "$org/logs" 2>/dev/null || :
  holds logs 4
  at_least "$(quota logs used)" $((4 * mib * 8 / 10))
  same "$(cached "$org/other")" $((6 * mib))
}
# A quota is named if it is the limit, and what lies elsewhere is warmed all the same.
t_says_which() {
  "$cm" forget -q "$org/logs" "$org/other"
  status 7 "$cm" warm "$org/logs"
  says "^cachemax: $org/logs/deep/1: is larger than its quota, 1.00 MiB for logs/deep, and cached"
  says 'in part, or not any more: the quota of logs.* is .\.00 MiB, and others have a quota of '
  fails says 'use a larger pool'
  status 7 "$cm" warm "$org/logs/deep/1" "$org/other"
  says '^cachemax: 1 file is cached in part, or .*: the quota of logs/deep is 1.00 MiB; name fewer'
  same "$(cached "$org/other")" $((6 * mib))
}
t_pin_says_which() {
  "$cm" forget -q "$org/logs"
  status 7 "$cm" pin "$org/logs/deep/1"
  "$cm" unpin -q "$org/logs/deep/1"
  grep -q "deep/1: is larger than its quota, 1.00 MiB for logs/deep, and cached in" "$work/said"
}
t_trace_says_which() {
  { printf 'cachemax-trace 1\nf 1 logs/deep/1\nf 2 other\n'
    printf 'r 1 0 2097152 9\nr 2 0 6291456 9\nend 0\n'; } > "$work/trace"
  "$cm" forget -q "$org/logs" "$org/other"
  status 7 "$cm" warm --trace "$work/trace" "$org"
  says '^cachemax: logs/deep/1: is cached in part: the quota of logs/deep is 1.00 MiB$'
  same "$(cached "$org/other")" $((6 * mib))
}
t_nested() { # the longest path counts; names that only begin so do not
  local had
  read_twice logs/deep/1 logs/deep/2
  holds logs/deep 1
  at_least "$(quota logs/deep used)" $((mib / 2))
  at_most "$(quota logs used)" $((4 * mib))
  had=$(cached "$org/logs")
  read_twice logs2/1
  same "$(cached "$org/logs2")" $((3 * mib))
  at_least "$(cached "$org/logs")" $((had - mib)) # it took what waited in memory, and no more
}
t_list() {
  "$cm" list > "$work/said"
  grep -Eq '^  quota [0-9.]+ ([KM]iB|bytes) of 4\.00 MiB logs$' "$work/said"
  grep -Eq '^  quota [0-9.]+ ([KM]iB|bytes) of 1\.00 MiB logs/deep$' "$work/said"
}
t_writes() { # a file that is written stays where it counts
  head -c $((2 * mib)) /dev/urandom > "$work/new"
  cp "$work/new" "$org/logs/new"
  sync "$org/logs/new"
  read_twice logs/new logs/1 logs/2
  holds logs 4
  cmp "$org/logs/new" "$work/new"
  rm "$org/logs/new"
}
t_still() { # UPPER: what was there counts, before anything is read and after that
  local had
  had=$(quota logs used)
  at_least "$had" $((2 * mib))
  holds logs 4
  at_least "$(cached "$org/logs")" $((2 * mib))
  read_twice logs/3 logs/4
  holds logs 4
  at_least "$(cached "$org/logs/4")" 4096
  same "$(cached "$org/other")" $((6 * mib))
}
t_smaller() {
  at_most "$(quota logs max)" $((2 * mib))
  read_twice logs/1 logs/2
  holds logs 2
  at_least "$(quota logs used)" $((mib * 3 / 2))
}
t_part() { # 25 % of the slots of the pool
  local slots
  slots=$("$cm" info --json "$pool" | sed -n 's/^ *"slots": \([0-9]*\),*$/\1/p')
  same "$(quota logs max)" $((slots / 4 * 4096))
  read_twice logs/1 logs/2 logs/3 logs/4
  at_least "$(cached "$org/logs")" $((5 * mib))
  at_most "$(quota logs used)" $((slots / 4 * 4096))
}
t_none() {
  fails grep -q '"path"' <(listed)
  read_twice logs/1 logs/2 logs/3 logs/4
  at_least "$(cached "$org/logs")" $((9 * mib))
}
usage() { # REGEX OPTION...
  local want=$1 got=0
  shift
  "$mount_bin" "$org" "$@" >"$work/said" 2>&1 </dev/null || got=$?
  same "$got" 2
  grep -Eq -- "$want" "$work/said" || { echo "no '$want': $(cat "$work/said")" >&2; return 1; }
}
t_usage() {
  local v
  for v in logs logs= logs=0 logs=12 logs=x logs=0% logs=101% logs=5%%; do
    usage 'expected PATH=SIZE, such as' --pool "$pool" --quota $v
  done
  for v in =1G /=1G ./a=1G a/../b=1G a//b=1G ..=1G; do
    usage "quota=$v: the path must be one below the directory" --pool "$pool" --quota $v
  done
  usage 'quota=/a=5%: this directory has a quota already' \
    --pool "$pool" --quota a/=1G -o quota=/a=5%
  usage 'a value is missing' --pool "$pool" --quota=
  usage '--quota needs --pool: ' --service "$socket" --quota a=1G
  usage 'there are 16 already' --pool "$pool" \
    $(for v in $(seq 17); do echo --quota "dir$v=1G"; done)
}

t_no_use() { # what limits nothing is told
  grep -q 'quota=other: limits nothing: it is 100.0 MiB, and the pool holds [0-9]' "$work/log"
  grep -q "quota=other: limits nothing: other in $org is no directory; " "$work/log"
  fails grep -q 'quota=logs: ' "$work/log"
}
t_missing() { # the log warns; it may be made later
  grep -q 'quota=nosuch: there is no directory nosuch in ' "$work/log"
  fails grep -q 'quota=logs: there is no' "$work/log"
}

mkdir -p "$ref/logs/deep" "$ref/logs2"
for n in 1 2 3 4; do head -c $((3 * mib)) /dev/urandom > "$ref/logs/$n"; done
for n in 1 2; do head -c $((2 * mib)) /dev/urandom > "$ref/logs/deep/$n"; done
head -c $((3 * mib)) /dev/urandom > "$ref/logs2/1"
head -c $((6 * mib)) /dev/urandom > "$ref/other"
cp -r "$ref/." "$org"
sleep 0.3 # their times are no longer fresh
new_pool 40M
two=(--quota logs=4M -o quota=/logs/deep/=1M)
do_mount "${two[@]}" || { fail mount "$(tail -n 1 "$work/log")"; summary; exit 1; }
check "no more than the quota, and nobody else goes" t_limit
check "new blocks displace older ones of the directory" t_displaces
check "warm keeps to it" t_warm
check "warm says which quota is full" t_says_which
check "pin says which quota is full" t_pin_says_which
check "warm --trace says which quota is full" t_trace_says_which
check "a quota within a quota" t_nested
check "list shows them" t_list
check "a file below it is written" t_writes
do_unmount || fail "the end" "status $status"
do_mount "${two[@]}"
check "it holds in the next mount" t_still
kill -9 "$mount_pid"
wait_mount
do_mount "${two[@]}"
check "it holds after a kill" t_still
do_unmount || fail "the end" "status $status"
do_mount --quota other=100M --quota logs=2M
check "a quota that limits nothing" t_no_use
check "a smaller quota, and others beside it" t_smaller
do_unmount || fail "the end" "status $status"
do_mount --quota logs=25% --quota nosuch=1M
check "a part of the pool" t_part
check "a quota of a directory that is missing" t_missing
do_unmount || fail "the end" "status $status"
do_mount
check "no quota any more" t_none
do_unmount || fail "the end" "status $status"
check "wrong command lines" t_usage
if is_clean; then ok "the pool is clean"; else fail "the pool is clean" "no"; fi
summary
