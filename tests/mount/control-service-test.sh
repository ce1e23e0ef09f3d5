#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# control-service-test.sh - steering a mount that uses the pool of a service, also while the service
# is away, does not answer, or is killed.
#
# Usage: control-service-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Needs 60 MiB in /dev/shm and in $TMPDIR.

set -u
build=${1:?usage: control-service-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
set -- --service
# shellcheck source=lib.sh
. "$here/lib.sh"
limit=(timeout 120) # of a command: it must not hang

of_mount() { # KEY: of this mount, as `list` tells it
  "$cm" list --json | python3 -c 'import json, sys
for m in json.load(sys.stdin)["mounts"]:
    if m["directory"] == sys.argv[1]: print(m[sys.argv[2]])' "$org" "$1"
}
control_of() { # MOUNT POINT: its socket
  echo "$socket.$(awk -v at="$1" '$5 == at { print $3 }' /proc/self/mountinfo | tail -n 1).control"
}
read_direct() { # FILE...
  local f
  for f; do dd if="$f" of=/dev/null bs=128k iflag=direct status=none; done
}
# Not from a directory on the mount, which would be in use then.
come_back() {
  (cd / && start_service)
  eventually "$cm" cached "$org/big"
}
away='the service of the mount does not answer'

files() { # DIR
  mkdir -p "$1/a b"
  head -c 3000001 /dev/urandom > "$1/big"
  head -c 100000 /dev/urandom > "$1/a b/small"
  : > "$1/a b/nothing"
  head -c 600000 /dev/urandom > "$1/some"
  for n in 1 2 3 4 5 6; do head -c 4194304 /dev/urandom > "$1/other$n"; done
}

t_socket() {
  same "$(stat -c '%F %a' "$(control_of "$org")")" "socket 600"
  status 0 "$cm" list
  says "^root +$mount_pid .* normal +$org $socket\$"
  same "$(of_mount service)" "$socket"
  same "$(of_mount answers)" True
}
# Each mount of a service has a socket of its own.
t_two() {
  mkdir -p "$work/second"
  echo theirs > "$work/second/file"
  "$mount_bin" "$work/second" --service "$socket" 2>>"$work/log"
  [ "$(control_of "$org")" != "$(control_of "$work/second")" ]
  status 0 "$cm" warm "$work/second" "$org/big"
  says '^2 of 2 files'
  same "$(cached "$work/second")" 7
  same "$(cached "$org/big")" 3000001
  fusermount3 -u "$work/second"
  eventually one_socket
}
one_socket() { [ "$(find "$shm" -name 'socket.*.control' | wc -l)" = 1 ]; }
t_warm() {
  local misses
  "$cm" forget -q "$org"
  same "$(cached "$org")" 0
  status 0 "$cm" warm big "a b"
  says '^3 of 3 files, 2\.96 MiB: 2\.96 MiB cached, 2\.96 MiB of it read now$'
  same "$(cached big "a b")" 3100001
  misses=$(stat_of miss_blocks)
  drop_pages big "a b/small"
  cmp big "$ref/big"
  cmp "a b/small" "$ref/a b/small"
  same "$(stat_of miss_blocks)" "$misses"
  status 0 "$cm" warm big
  says ' 0 bytes of it read now$'
}
drop_pages() { # FILE...
  local f
  for f; do dd of="$f" oflag=nocache conv=notrunc,fdatasync count=0 status=none; done
}
# What was warmed lies in the pool, and not in the memory of a service that can be killed.
t_warm_stays() {
  read_direct other1 other2 other3 other4 other5 # the pool has been full, and has room again
  "$cm" forget -q .
  status 0 "$cm" warm some
  stop_service KILL
  come_back
  same "$(cached some)" 600000
}
t_too_much() {
  head -c 25000000 /dev/zero > huge
  status 7 "$cm" warm huge big
  says 'the pool is full of what was warmed; 1 of 2 files is not cached as a whole'
  rm huge
}
t_rate() { # 400 kB/s: not in less than 6 s
  local began=$SECONDS
  "$cm" forget -q big
  status 0 "$cm" warm big --rate 400k
  [ $((SECONDS - began)) -ge 6 ]
}
t_client_goes() { # the mount stops within a piece
  local n m
  "$cm" forget -q big
  "$cm" warm -q big --rate 200k &
  eventually test_cached_more 100000
  kill -9 $!
  wait $! 2>/dev/null || :
  sleep 0.5
  n=$(cached big)
  sleep 1.5
  m=$(cached big)
  [ "$n" = "$m" ] && [ "$m" -lt 3000001 ]
}
test_cached_more() { [ "$(cached big)" -gt "$1" ]; }
t_forget() {
  "$cm" warm -q big "a b"
  status 0 "$cm" forget big
  says '^1 file forgotten$'
  same "$(cached big)" 0
  same "$(cached "a b")" 100000
}
t_no_record() {
  local n
  echo new > unknown
  status 0 "$cm" cached unknown --json
  same "$(cached unknown)" 0
  stop_service
  "$cm" files "$pool" --json > "$work/files"
  n=$(grep -c '"id"' "$work/files")
  come_back
  same "$(cached unknown)" 0
  stop_service
  "$cm" files "$pool" --json > "$work/files"
  same "$(grep -c '"id"' "$work/files")" "$n"
  come_back
  rm unknown
}
t_pin() {
  status 0 "$cm" pin big
  same "$(cached big)" 3000001
  status 0 "$cm" cached big
  says 'big \(pinned\)$'
  same "$(of_mount pinned_files)" 1
  stop_service KILL
  come_back
  read_direct other1 other2 other3 other4 other5 other6 other1 other2 other3 other4 other5 other6
  same "$(cached big)" 3000001
  drop_pages big
  cmp big "$ref/big"
  status 7 "$cm" pin other1 other2 # half of the pool is less
  says 'not pinned: pinned files may have half of the pool'
  status 0 "$cm" forget big
  says 'pinned: what is read again'
  same "$(of_mount pinned_files)" 2
  status 0 "$cm" unpin big other1 other2
  says '^2 files unpinned$' # big, and the one of the others that had room beside it
  same "$(of_mount pinned_files)" 0
}
t_unpin_left_out() { # there is nothing to attach
  status 0 "$cm" unpin "$org/big" "$org/some"
  says '^1 file unpinned$'
  same "$(of_mount pinned_files)" 0
}
t_service_matters() { # what one mount does not decide for all clients
  status 8 "$cm" mode "$pool"
  says 'is open in process [0-9]* \(cachemax-service\).*name the directory of one of its mounts'
  same "$("$cm" mode "$org")" normal
  status 1 "$cm" mode "$org" bypass
  says "the pool is a service's"
  same "$("$cm" mode "$org")" normal
  status 1 "$cm" unpin --all "$org"
  says "the pool is a service's"
  status 0 "$cm" cat -v big --pool "$pool"
  grep -aq 'through the mount that has the pool' "$work/said"
}
t_write_beside() { # a file that is written while it is warmed
  "$cm" forget -q big
  "$cm" warm -q big --rate 600k &
  eventually test_cached_more 100000
  for n in 0 50 100 300 500 700; do
    printf 'written %s' "$n" | dd of=big bs=4096 seek="$n" conv=notrunc status=none
    printf 'written %s' "$n" | dd of="$ref/big" bs=4096 seek="$n" conv=notrunc status=none
  done
  wait $! || :
  drop_pages big
  cmp big "$ref/big"
  status 0 "$cm" warm big
  drop_pages big
  cmp big "$ref/big"
}
t_away() {
  stop_service
  for verb in warm cached pin unpin; do
    status 8 "$cm" $verb "$org/big" "$org/other1"
    says "^cachemax: $org: $away\$"
  done
  status 0 "$cm" forget "$org/a b" # it will know
  status 8 "$cm" mode "$org"
  says "$away"
  status 0 "$cm" list
  says "$org $socket - $away"
  same "$(of_mount answers)" False
  cmp big "$ref/big"
  come_back
  same "$(cached "a b")" 0
  status 0 "$cm" warm big "a b"
}
t_stopped() { # it is there, and does not answer: nobody waits for long
  local pid
  pid=$(cat "$shm/service.pid")
  kill -STOP "$pid"
  status 8 "$cm" warm big other1 "a b"
  says "$away"
  status 8 "$cm" cached .
  status 0 "$cm" list
  drop_pages "a b/small"
  timeout 120 cmp "a b/small" "$ref/a b/small"
  kill -CONT "$pid"
  eventually "$cm" cached big
  status 0 "$cm" warm big
}
# It is killed while files are warmed, pinned and written.
t_killed() {
  local n
  for n in 1 2 3; do
    "$cm" forget -q big
    "$cm" warm -q big --rate 300k >"$work/warm.out" 2>&1 &
    eventually test_cached_more 100000
    stop_service KILL
    printf 'while it is away %s' "$n" | dd of=big bs=4096 seek=$((n * 50)) conv=notrunc status=none
    printf 'while it is away %s' "$n" |
      dd of="$ref/big" bs=4096 seek=$((n * 50)) conv=notrunc status=none
    n=0
    wait $! || n=$?
    [ "$n" = 8 ] || [ "$n" = 7 ] # 7: it had ended, with a part that was written
    come_back
    drop_pages big
    cmp big "$ref/big"
    eventually "$cm" warm big
    drop_pages big
    cmp big "$ref/big"
  done
}
t_end() { # the socket goes; that of a killed mount is replaced
  local at
  at=$(control_of "$org")
  cd /
  eventually fusermount3 -u "$org"
  eventually test ! -e "$at"
  do_mount
  at=$(control_of "$org")
  kill -9 "$mount_pid"
  eventually fails stat "$org/big"
  [ -S "$at" ]
  do_mount
  echo "$mount_pid" > "$work/mount.pid" # the script has to know
  # Mostly it has the number of the killed one, so its socket the same name. Any other mount of the
  # system may have taken the number meanwhile.
  status 0 "$cm" warm "$org/big"
}
t_no_place() { # a file of that name: the mount goes on without a socket, and says so
  local at n
  at=$(control_of "$org")
  cd /
  eventually fusermount3 -u "$org"
  eventually test ! -e "$at"
  for n in $(seq 1 2000); do # the numbers that the next device may get
    [ -e "${at%:*}:$n.control" ] || touch "${at%:*}:$n.control"
  done
  do_mount
  echo "$mount_pid" > "$work/mount.pid"
  eventually grep -q 'there is no control socket (Address already in use): cachemax cannot steer' \
    "$work/log" # it says so when the mount is there already
  status 8 "$cm" warm "$org/big"
  cmp "$org/big" "$ref/big"
  for n in "${at%:*}":*.control; do
    [ -S "$n" ] || rm "$n"
  done
}

need_root "all of it" || { summary; exit; }
files "$org"
cp -a "$org/." "$ref"
new_pool 16M
do_mount || exit 1
check "the socket" t_socket
check "two mounts of a service" t_two
check "warm" t_warm
check "what was warmed stays" t_warm_stays
check "more than the pool holds" t_too_much
check "rate" t_rate
check "a client that goes" t_client_goes
check "forget" t_forget
check "cached leaves no record" t_no_record
check "pin" t_pin
check "what is the service's matter" t_service_matters
check "a write beside a warm" t_write_beside
check "the service is away" t_away
check "the service does not answer" t_stopped
check "the service is killed meanwhile" t_killed
check "the end of a mount" t_end
[ ! -f "$work/mount.pid" ] || mount_pid=$(cat "$work/mount.pid")
check "no place for a socket" t_no_place
[ ! -f "$work/mount.pid" ] || mount_pid=$(cat "$work/mount.pid")
cd / || exit 1
eventually fusermount3 -u "$org"
stop_service
do_mount && "$cm" pin -q "$org/big" && "$cm" warm -q "$org/some" && do_unmount ||
  fail "a mount, once more" "status $status"
do_mount --exclude '*'
check "unpin of what is left out" t_unpin_left_out
cd / || exit 1
do_unmount || fail "the end" "status $status"
check "the pool is sound" "$cm" check "$pool"
summary
