#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# bare-test.sh - the mount beside the bare file system: the same program on both, the same outcome.
#
# Usage: bare-test.sh BUILD_DIR
# Files opened by handle, asynchronous direct writes beside buffered readers, what other users may
# do and how much room they have. Needs root; the parts about room need loop devices.

set -u
build=${1:?usage: bare-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

if [ $is_root = 0 ] || [ $has_below = 0 ]; then
  skip everything "needs root and a bind mount"
  summary
  exit 0
fi
has() { command -v "$1" >/dev/null 2>&1; }
same() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'" >&2; return 1; }; }
other() { setpriv --reuid=12345 --regid=12345 --clear-groups "$@"; }

# ---- Handles ------------------------------------------------------------------------------------

t_handles() {
  mkdir "$below/on-bare" "$below/on-mount"
  "$(bin handles)" "$below/on-bare" bare
  "$(bin handles)" "$org/on-mount" mount
  rm -r "$below/on-bare" "$org/on-mount"
}

handles() {
  mkdir "$below/probe"
  "$(bin handles)" "$below/probe" bare 2>/dev/null
  if [ $? = 77 ] || ! [ -w /proc/sys/vm/drop_caches ]; then
    skip "files opened by handle" "this root may not, or cannot drop caches"
  else
    check "files opened by handle" t_handles
  fi
  rm -r "$below/probe"
}

# ---- Direct writes ------------------------------------------------------------------------------

t_aio() { # DIRECTORY ROUNDS
  "$(bin aio_direct)" "$1/aio" "$2"
  rm "$1/aio"
}

# Killed while a notification waits for a reader's page: nobody hangs, and the pool is free.
t_killed() {
  for _ in 1 2 3 4; do
    "$(bin aio_direct)" "$org/killed" 1000000 >/dev/null 2>&1 &
    local writer=$!
    sleep 0.3
    kill -9 "$mount_pid"
    timeout 20 tail --pid=$writer -f /dev/null
    timeout 20 sh -c 'while stat "$1" >/dev/null 2>&1; do sleep 0.1; done' - "$org/killed"
    do_mount
  done
  rm "$org/killed"
  fusermount3 -u "$org"
}

direct_writes() {
  if ! dd if=/dev/zero of="$below/probe" bs=4k count=1 oflag=direct 2>/dev/null; then
    skip "asynchronous direct writes beside buffered readers" "no O_DIRECT here"
  else
    check "asynchronous direct writes beside buffered readers, bare" t_aio "$below" 20
    check "asynchronous direct writes beside buffered readers" t_aio "$org" 100
    check "killed beside direct writes" t_killed
    do_mount
  fi
  rm -f "$below/probe"
}

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
if do_mount; then
  handles
  direct_writes
  do_unmount
else
  fail mount "$(tail -n 1 "$work/log")"
fi
summary
