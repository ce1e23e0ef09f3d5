#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# privileges-test.sh - what a mount and a service of root may still do, and what they gave up.
#
# Usage: privileges-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed.

set -u
build=${1:?usage: privileges-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

if [ "$is_root" != 1 ]; then
  skip privileges "needs root"
  summary
  exit
fi
of() { # KEY PROCESS: in hex
  sed -n "s/^$1:[[:space:]]*//p" "/proc/$2/status"
}
# The bits of linux/capability.h.
has() { [ $((0x$(of "$1" "$2") >> $3 & 1)) = 1 ]; }
t_given_up() { # PROCESS BIT...: in each of its threads, and for what it executes
  local process=$1 task bit
  shift
  same "$(of NoNewPrivs "$process")" 1
  for task in /proc/"$process"/task/*; do
    for bit; do
      fails has CapEff "$process/task/${task##*/}" "$bit"
      fails has CapPrm "$process/task/${task##*/}" "$bit"
      fails has CapBnd "$process/task/${task##*/}" "$bit"
    done
  done
}
t_kept() { # PROCESS BIT...
  local process=$1 bit
  shift
  for bit; do # unless this root never had it
    ! has CapPrm $$ "$bit" || has CapPrm "$process" "$bit"
  done
}
t_listed() { # docs/security.md names what the program keeps
  local top=$here/../..
  sed -n '/^A mount of root keeps these/,/give_up_privileges/p' "$top/docs/security.md" |
    tr '\n' ' ' | sed 's/.*had: //; s/ (.*//; s/ and /, /' | tr -d ' ' | tr ',' '\n' |
    grep . | sort >"$work/listed"
  sed -n '/^static void give_up_privileges/,/^}/p' "$top/examples/mount/main.c" |
    grep -o 'PRIVILEGE(CAP_[A-Z_]*' | sed 's/.*CAP_//' | tr '[:upper:]' '[:lower:]' |
    sort >"$work/kept"
  diff "$work/listed" "$work/kept"
}
t_service() { # the unit and the program say the same
  local unit="$here/../../examples/service/cachemax-service.service.in"
  same "$(sed -n 's/^CapabilityBoundingSet=//p' "$unit")" "CAP_DAC_OVERRIDE CAP_FOWNER CAP_CHOWN"
  same "$((0x$(of CapPrm "$1") | 0x$(of CapPrm $$) & 11))" "$((0x$(of CapPrm $$) & 11))"
}
# What a program that was started with forbidden.so may call: asked NAME writes "CALL ERROR" lines
# to $work/NAME. Without it the kernel, or what runs this script, refuses some calls anyway.
preload=$(find "$(realpath "$build")" -name forbidden.so | head -n 1)
asked() { # NAME
  : >"$work/$1.go"
  eventually test -s "$work/$1"
}
error_of() { sed -n "s/^$2 //p" "$work/$1"; } # NAME CALL
t_forbidden() { # NAME PROCESS REFUSED ALLOWED
  local call task
  for task in /proc/"$2"/task/*; do
    same "$(of Seccomp "$2/task/${task##*/}")" 2
  done
  asked "$1"
  for call in $3; do
    same "$call $(error_of "$1" "$call")" "$call 1"
  done
  for call in $4; do
    same "$call $(error_of "$1" "$call")" "$call $(error_of plain "$call")"
  done
}
filters=''
if grep -q libseccomp "$mount_bin" && grep -q libseccomp "$service_bin" && [ -n "$preload" ]; then
  filters=1
  LD_PRELOAD=$preload FORBIDDEN=$work/plain exec sleep 60 &
  plain=$!
  check "what a program may call here" asked plain
  kill $plain
  for call in ptrace kcmp inet write_exec made_exec mount io_uring execve; do
    [ "$(error_of plain "$call")" != 1 ] || skip "$call" "it is refused to everybody here"
  done
  for name in mount service; do # with forbidden.so
    eval "real=\$${name}_bin"
    # shellcheck disable=SC2154 # by eval
    printf '#!/bin/sh\nFORBIDDEN=%s LD_PRELOAD=%s exec "%s" "$@"\n' "$work/$name" "$preload" \
      "$real" >"$work/asked-$name"
    chmod +x "$work/asked-$name"
  done
else
  skip "calls that are refused" "this build is without libseccomp"
fi

network="10 11 12 13" modules="16 17 22 23" clock="25 35" others="5 15 18 20 30 34 38 39"
new_pool 16M
# shellcheck disable=SC2119 # without options
do_mount || { fail mount "$(tail -n 1 "$work/log")"; summary; exit 1; }
# shellcheck disable=SC2086 # numbers
check "a mount gives up what it does not need" t_given_up "$mount_pid" $network 16 17 22 25 34 35
check "the manual lists what it keeps" t_listed
check "a mount keeps what acting as its callers takes" t_kept "$mount_pid" 0 1 2 3 4 7 21 24 28
do_unmount || fail "the end" "status $status"
others_calls="ptrace keyctl kcmp process_madvise new_user inet write_exec made_exec read_exec"
if [ "$filters" ]; then
  real=$mount_bin mount_bin=$work/asked-mount
  : >"$work/log"
  # shellcheck disable=SC2119 # without options
  if do_mount; then
    eventually grep -q ': mounted; ' "$work/log"
    check "a mount refuses itself calls" t_forbidden mount "$mount_pid" \
      "$others_calls mount io_uring" "unix exec umount execve"
    do_unmount || fail "the end" "status $status"
  else
    fail "a mount refuses itself calls" "no mount: $(tail -n 1 "$work/log")"
  fi
  mount_bin=$real
fi
# Started by a program that ignores SIGCHLD, the mount must not: else the number of a helper that
# has ended is another process's, and the mount would kill that one.
t_waits_for_helpers() { [ $((0x$(of SigIgn "$1") >> 16 & 1)) = 0 ]; }
printf '#!/bin/sh\nexec env --ignore-signal=CHLD "%s" "$@"\n' "$mount_bin" >"$work/ignoring"
chmod +x "$work/ignoring"
real=$mount_bin mount_bin=$work/ignoring
# shellcheck disable=SC2119 # without options
if do_mount; then
  check "helpers that end keep their numbers" t_waits_for_helpers "$mount_pid"
  do_unmount || fail "the end" "status $status"
else
  fail "helpers that end keep their numbers" "no mount"
fi
mount_bin=$real
# shellcheck disable=SC2119 # without options
start_service || { fail service "$(tail -n 1 "$work/service.log")"; summary; exit 1; }
service=$(cat "$shm/service.pid")
# shellcheck disable=SC2086 # numbers
check "a service gives up nearly all" t_given_up "$service" $network $modules $clock $others \
  2 4 6 7 8 9 14 19 21 24 26 27 28 29 31 32 33 36 37
check "its unit says so, too" t_service "$service"
# shellcheck disable=SC2119 # without options
stop_service
if [ "$filters" ]; then
  service_bin=$work/asked-service
  # shellcheck disable=SC2119 # without options
  start_service || fail "a service refuses itself calls" "$(tail -n 1 "$work/service.log")"
  check "a service refuses itself calls" t_forbidden service "$(cat "$shm/service.pid")" \
    "$others_calls mount umount io_uring execve" "unix exec"
  # shellcheck disable=SC2119 # without options
  stop_service
fi
summary
