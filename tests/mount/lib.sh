# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
#
# lib.sh - what the tests of cachemax-mount share: binaries, results, mounting, cleaning up.
# Sourced with $build set. Makes $work with org (mounted over), below (the origin, bind-mounted
# before, so that it stays visible) and ref; the pool's directory is $shm.
# With --service among the script's arguments the mounts use a service, which begins and ends with
# them.

# shellcheck source=../sleep.sh
. "$(dirname "${BASH_SOURCE[0]}")/../sleep.sh"

via=pool
case " $* " in *" --service "*) via=service ;; esac

passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "skip $1: $2"; }
summary() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ]
}

bin() { find "$build" -name "$1" -type f -perm -u+x | head -n 1; }
mount_bin=$(bin cachemax-mount) cm=$(bin cachemax) service_bin=$(bin cachemax-service)
if [ -z "$mount_bin" ] && [ -f "$build/build.ninja" ] &&
  ! grep -q '^build examples/mount/cachemax-mount' "$build/build.ninja"; then
  skip everything "this build is without cachemax-mount (libfuse3-dev, -Dexamples)"
  summary
  exit 77
fi
if [ -z "$mount_bin" ] || [ -z "$cm" ] || [ -z "$service_bin" ]; then
  fail binaries "cachemax-mount, cachemax-service or cachemax missing in $build"
  summary
  exit 1
fi
mount_bin=$(realpath "$mount_bin") cm=$(realpath "$cm") service_bin=$(realpath "$service_bin")
if [ ! -c /dev/fuse ] || ! command -v fusermount3 >/dev/null; then
  skip everything "no FUSE here"
  summary
  exit 77
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-mount.XXXXXX")
shm=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/cachemax-mount.XXXXXX")
org=$work/org below=$work/below ref=$work/ref pool=$shm/pool
mkdir "$org" "$ref"
chmod 755 "$work"
# The session's copy of the path is freed only by fuse_session_unmount, which must not be called.
# A directory's RELEASEDIR may still be on its way when the mount ends.
printf 'leak:%s\n' fuse_session_mount op_opendir > "$work/lsan"
export LSAN_OPTIONS="suppressions=$work/lsan:print_suppressions=0"
is_root=0 has_below=0
[ "$(id -u)" = 0 ] && is_root=1
if [ $is_root = 1 ] && mkdir "$below" && mount --bind "$org" "$below" 2>/dev/null; then
  mount --make-private "$below"
  has_below=1
fi
mount_pid='' socket=$shm/socket
# Requests come by /dev/fuse, also where the kernel offers io_uring: uring-test.sh sets it.
io_uring=${CM_IO_URING:-off}
backing=(--pool "$pool")
[ $via = pool ] || backing=(--service "$socket")

# A process leaves its files after its memory: while it looks ended, it may still be a user of a
# mount. So "busy" is tried again, for half a minute.
umount() { unmount umount "$@"; }
fusermount3() { unmount fusermount3 "$@"; }
unmount() { # PROGRAM ARG...
  local n err rc
  for n in $(seq 300); do
    rc=0
    err=$(LC_ALL=C env "$@" 2>&1 >/dev/null) || rc=$?
    [ $rc != 0 ] && [[ $err == *busy* ]] || break
    sleep 0.1
  done
  [ -z "$err" ] || printf '%s\n' "$err" >&2
  return $rc
}

cleanup() {
  exec 2>/dev/null
  cd /
  for job in $(jobs -p) $(cat "$shm/service.pid"); do
    kill -9 "$job"
  done
  while mountpoint -q "$org" || [ "$(stat -c %d "$org" 2>&1)" != "$(stat -c %d "$work")" ]; do
    fusermount3 -u -z "$org" || umount -l "$org" || break
  done
  [ -n "$mount_pid" ] && for _ in $(seq 100); do
    kill -0 "$mount_pid" || break
    sleep 0.1
  done
  remove "$work" "$shm"
}
# remove DIRECTORY...: with what is below. What is mounted there goes first, because rm goes into a
# bind mount of the same file system. If it stays, the directory stays.
remove() {
  local dir n
  for dir; do
    for n in 1 2 3 4 5 6 7 8; do # mounts may lie on each other
      mounts_below "$dir" | tac | while read -r point; do umount -l "$point"; done
    done
    [ -n "$(mounts_below "$dir")" ] || rm -rf --one-file-system "$dir"
  done
}
mounts_below() { # DIRECTORY
  awk -v dir="$1/" 'index($5 "/", dir) == 1 { print $5 }' /proc/self/mountinfo
}
trap cleanup EXIT
trap 'exit 1' INT TERM

new_pool() { # SIZE [OPTION...]
  local size=$1
  shift
  rm -f "$pool"
  "$cm" create "$pool" --size="$size" "$@" >/dev/null
}
# Returns when it takes clients, which its log says. A check is a subshell, and what it starts may
# be stopped elsewhere: so a file has the number of its process.
start_service() { # [LINE]: one more for its configuration
  printf 'pool = %s\nsocket = %s\n%s\n' "$pool" "$socket" "${1:-}" > "$shm/service.conf"
  : > "$work/service.log"
  "$service_bin" "$shm/service.conf" 2>>"$work/service.log" &
  echo $! > "$shm/service.pid"
  until grep -q ' serves ' "$work/service.log"; do
    kill -0 $! 2>/dev/null || { cat "$work/service.log" >&2; return 1; }
    sleep 0.02
  done
}
stop_service() { # [SIGNAL]
  local pid
  [ -f "$shm/service.pid" ] || return 0
  pid=$(cat "$shm/service.pid")
  rm "$shm/service.pid"
  kill -"${1:-TERM}" "$pid"
  wait "$pid" 2>/dev/null || :
  while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
}
# do_mount [OPTIONS...]: in the foreground mode, so that its process is known.
do_mount() {
  [ $via = pool ] || [ -f "$shm/service.pid" ] || start_service || return 1
  "$mount_bin" "$org" "${backing[@]}" -f -o io_uring="$io_uring" "$@" 2>>"$work/log" &
  mount_pid=$!
  for _ in $(seq 1200); do # as long as it lives, a minute at most
    kill -0 $mount_pid 2>/dev/null || break
    # A dead mount is still a mount point, but does not answer statfs.
    [ "$(stat -f -c %t "$org" 2>/dev/null)" = 65735546 ] && return 0
    sleep 0.05
  done
  echo "mount failed: $(tail -n 1 "$work/log")" >&2
  return 1
}
# Sets $status to the exit status of the mount.
wait_mount() {
  wait "$mount_pid"
  status=$?
  mount_pid=
  stop_service
}
do_unmount() {
  fusermount3 -u "$org" 2>/dev/null
  wait_mount
  return $status
}
is_clean() { "$cm" info "$pool" | grep -Eq '^state: +clean'; }
stat_of() { "$cm" stats --json "$pool" | tr ',{}' '\n\n\n' |
  sed -n "s/^ *\"$1\": *\([0-9]*\).*/\1/p" | head -n 1; }
drop_caches() { [ $is_root = 1 ] && echo 3 > /proc/sys/vm/drop_caches; }

# CM_CHECKS, an extended regular expression, names the checks to run and the parts of a script that
# they lie in; the others are left out. Without it all run.
wanted() { [[ -z "${CM_CHECKS:-}" || $1 =~ $CM_CHECKS ]]; }

# Takes back what a check that failed may have left in the way of the next ones. A script with such
# things has one of its own.
let_go() { :; }
# check NAME FUNCTION [ARG...]: in a subshell; what it prints to stderr says why it failed.
check() { check_at "$org" "$@"; }
check_at() { # DIRECTORY NAME FUNCTION [ARG...]: there
  local dir=$1 name=$2 rc
  wanted "$name" || return 0
  shift 2
  (set -eE; trap 'echo "line $LINENO: ${BASH_COMMAND%%$'"'\n'"'*}" >&2' ERR; cd "$dir"; "$@") \
    >"$work/out" 2>"$work/err" # not in an "if": that would switch -e off
  rc=$?
  if [ $rc = 0 ]; then
    ok "$name"
  else
    fail "$name" "status $rc; $(tail -n 3 "$work/err" | tr '\n' ' ')"
    let_go
  fi
}

# One that other users may run, too.
python=$(PATH=/usr/bin:/usr/local/bin:$PATH command -v python3 || :)
has() { command -v "$1" >/dev/null 2>&1; }
# need NAME PROGRAM...: false, with a line, when one is missing
need() {
  local name=$1 p
  shift
  for p in "$@"; do
    has "$p" || { skip "$name" "no $p"; return 1; }
  done
}
need_root() { [ $is_root = 1 ] || { skip "$1" "needs root"; return 1; }; }
same() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'" >&2; return 1; }; }
fails() {
  if "$@" >/dev/null 2>&1; then
    echo "succeeded: $*" >&2
    return 1
  fi
}
# status WANTED COMMAND...: its output in $work/said. $limit: what it is run with.
limit=()
status() {
  local want=$1 got=0
  shift
  "${limit[@]}" "$@" >"$work/said" 2>&1 </dev/null || got=$?
  [ $got = "$want" ] || { echo "status $got, not $want: $(head -n 3 "$work/said")" >&2; return 1; }
}
says() {
  grep -Eq -- "$1" "$work/said" && return 0
  echo "no '$1': $(head -n 3 "$work/said")" >&2
  return 1
}
# eventually COMMAND...: within a minute
eventually() {
  for _ in $(seq 1200); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.05
  done
  echo "never: $*" >&2
  return 1
}
# number KEY COMMAND...: of its JSON, which has a line for each member
number() {
  local key=$1
  shift
  "$@" --json | sed -n "s/^ *\"$key\": \([0-9.]*\),*$/\1/p" | head -n 1
}
cached() { number all_cached_bytes "$cm" cached "$@"; }
