#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# far-test.sh - cachemax-mount and a server below the directory that does not answer.
#
# Usage: far-test.sh BUILD_DIR
# The server is a bindfs that is stopped; each check has a mount of its own. It goes on after 60 s
# in any case, so that nothing hangs, and the check has failed then.
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the last
# line. Exit status 1 when something failed.

set -u
build=${1:?usage: far-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
[ $is_root = 1 ] || { skip "a server that does not answer" "needs root"; summary; exit 77; }
for p in python3 bindfs; do
  command -v $p >/dev/null || { skip "a server that does not answer" "no $p"; summary; exit 77; }
done

server='' watchdog=''
take_down() {
  exec 2>/dev/null
  kill "$watchdog"
  kill -CONT "$server"
  cd /
  fusermount3 -u -z "$org"
  for dir in "$org/layers" "$org/far"; do umount "$dir" || umount -l "$dir"; done
  kill "$server"
}
trap 'take_down; cleanup' EXIT
mkdir "$work/src" "$work/up" "$work/wk" "$org/far" "$org/layers" "$org/many"
for k in $(seq 9); do echo "$k" > "$work/src/f$k"; done
echo new > "$work/src/new"$'\n'"line"
for k in $(seq 60); do head -c 8k /dev/urandom > "$org/h$k"; done
bindfs -f -o attr_timeout=0,entry_timeout=0 "$work/src" "$org/far" 2>"$work/err" &
server=$!
for _ in $(seq 200); do
  ! mountpoint -q "$org/far" || break
  sleep 0.05
done
mountpoint -q "$org/far" ||
  {
    skip "a server that does not answer" "cannot mount FUSE: $(tail -n 1 "$work/err")"
    summary
    exit 77
  }

stop_server() {
  rm -f "$work/late"
  kill -STOP "$server"
  # Its sleep may outlive it, and must not keep the mount busy.
  (cd / && exec 5<&- 6<&- && sleep 60 && : > "$work/late" && kill -CONT "$server") &
  watchdog=$!
}
start_server() { # fails where it was too late
  kill "$watchdog"
  kill -CONT "$server"
  [ ! -e "$work/late" ] || { echo "it hung until the server went on" >&2; return 1; }
}
# By threads, so that all are asked for at once.
fstat_all() { # FD...
  python3 - "$@" <<'PY'
import os, sys, threading
threads = [threading.Thread(target=os.fstat, args=(int(n),)) for n in sys.argv[1:]]
for t in threads: t.start()
for t in threads: t.join()
PY
}

# Files of it are idle, and others push them out: closing them waits, and nobody else does.
t_idle() {
  local few many # whose names are looked for before it stops
  few=$(echo far/f[1-9] h[1-9])
  many=$(echo h[1-5]?)
  # shellcheck disable=SC2086 # words
  cat $few >/dev/null
  stop_server
  # shellcheck disable=SC2086
  cat $many >/dev/null # more than may be idle
  dd if=h1 iflag=direct bs=4k of=/dev/null status=none
  start_server
}
# The kernel forgets their names: the same.
t_forgotten() {
  cat far/f[1-9] h1 >/dev/null
  sleep 2.5 # until the keeper is done with them
  stop_server
  echo 2 > /proc/sys/vm/drop_caches
  sleep 0.2
  for _ in $(seq 3); do dd if=h1 iflag=direct bs=4k of=/dev/null status=none; done
  start_server
  for _ in $(seq 100); do # they are closed, then
    ls -l "/proc/$mount_pid/fd" > "$work/fds" 2>/dev/null || : # one may be closed meanwhile
    grep -q ' -> .*/far/f[1-9]' "$work/fds" || return 0
    sleep 0.1
  done
  grep ' -> .*/far/f[1-9]' "$work/fds" >&2
  return 1
}
# Attributes of files that lie on a layer of it.
t_layers() {
  local asker
  exec 5<layers/f1 6<layers/f2
  cat <&5 <&6 h1 >/dev/null
  sleep 1 # until attributes are asked for again
  stop_server
  fstat_all 5 6 &
  asker=$!
  sleep 1
  dd if=h1 iflag=direct bs=4k of=/dev/null status=none
  start_server
  wait $asker
}
# What is to be looked at a little later waits for it: names of others are forgotten in time all the
# same.
t_names() {
  echo more >> "$work/src/f1"
  cat far/f1 >/dev/null
  stop_server
  sleep 1
  python3 - many <<'PY'
import os, sys
for k in range(2500):
    try:
        os.stat("%s/%d" % (sys.argv[1], k))
    except FileNotFoundError:
        sys.exit("not there")
PY
  start_server
}
# Listed for a later look, pushed out by others and forgotten by the kernel, when the end comes.
t_listed() {
  cd /
  do_mount
  echo more >> "$work/src/f3"
  cat "$org/far/f3" >/dev/null # its times are too young
  sleep 0.1
  stop_server
  for k in $(seq 60); do cat "$org/h$k" >/dev/null; done
  echo 2 > /proc/sys/vm/drop_caches
  fusermount3 -u "$org"
  sleep 0.5
  start_server
  wait_mount
  "$cm" info "$pool" | grep -q '^state: *clean'
}
# Asks for a warm, and waits for the first of the answer. The shell is the program.
ask_for() { # FILE
  exec python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(("cachemax 1 warm 0 %d\n%s" % (len(sys.argv[2]), sys.argv[2])).encode())
s.recv(100)' "$pool.control" "$1"
}
# The control socket while a warm waits for it: the mount, other files and the command do not.
t_warm() {
  local warm got=0
  cat far/f1 h1 >/dev/null
  echo 3 > /proc/sys/vm/drop_caches # of the server's files, too
  "$cm" forget -q far/f1 h1
  stop_server
  cd / # a program that looks into the directory would wait
  ask_for far/f1 &
  warm=$!
  sleep 0.3
  "$cm" warm -q "$org/h1" "$org/h2"
  "$cm" mode "$org" >/dev/null
  dd if="$org/h2" iflag=direct bs=4k of=/dev/null status=none
  kill $warm
  wait $warm || got=$?
  same $got 143
  start_server
}
# The same at the end, which waits for it, and for a warm there, and not for ever: then the pool is
# free, and warm. The process is gone when the server goes on: closing its files sends requests
# there.
t_end() {
  local first warm
  cd /
  do_mount
  first=$mount_pid
  cat "$org/h1" >/dev/null
  echo more >> "$work/src/f2"
  cat "$org/far/f2" >/dev/null
  sleep 0.5 # until its RELEASE is through, which the end would wait for
  stop_server
  ask_for far/f9 &
  warm=$!
  sleep 0.3
  fusermount3 -u "$org"
  for _ in $(seq 100); do
    ! "$cm" info "$pool" | grep -q '^state: *open (process' || { sleep 0.5; continue; }
    break
  done
  do_mount
  cat "$org/h1" >/dev/null
  start_server
  do_unmount
  mount_pid=$first
  wait_mount || :
  [ "$status" = 0 ] || { # 0: it was through before the server stopped
    [ "$status" = 1 ]
    grep -q 'does not answer: ended without it' "$work/log"
  }
}
# The log says that a request waits for long, for which file, and when that is over. A file's name
# begins no other line.
log_has() { grep -Eq -- "$1" "$work/log"; }
t_told() {
  local reader told
  : > "$work/log"
  exec 5<"far/new"$'\n'"line"
  stop_server
  cat <&5 >/dev/null &
  reader=$!
  exec 5<&-
  told="$org: the origin has not answered for [0-9]+ s: a program waits for a read"
  eventually log_has "$told \\($org/far/new\\\\x0aline\\);"
  same "$(grep -c 'has not answered' "$work/log")" 1
  fails log_has 'answers again'
  same "$(grep -vc '^cachemax-mount: ' "$work/log")" 0
  start_server
  wait $reader
  eventually log_has "$org: the origin answers again\$"
}
# What changes nothing is not called a change.
t_told_what() {
  local reader
  : > "$work/log"
  exec 5<"far/f1"
  stop_server
  python3 -I -c 'import os; os.listxattr(5)' & # -I: it looks for no module in the mount
  reader=$!
  exec 5<&-
  eventually log_has 'a program waits for a list of extended attributes \(.*/far/f1\);'
  start_server
  wait $reader
}
# So it does at an end that waits for it.
t_told_at_end() {
  local reader
  cd /
  do_mount
  : > "$work/log"
  stop_server
  cat "$org/far/f8" >/dev/null 2>&1 &
  reader=$!
  sleep 1 # until it asks, or the end may have nothing to wait for
  kill -TERM "$mount_pid"
  eventually log_has "$org: the end waits for [0-9]+ requests, which the origin does not answer"
  start_server
  wait_mount
  wait $reader || :
}
with_mount() { # NAME FUNCTION [OPTION...]
  local name=$1 function=$2
  wanted "$name" || return 0
  shift 2
  if do_mount "$@"; then check "$name" "$function"; else fail mount "$(tail -n 1 "$work/log")"; fi
  kill "$watchdog" 2>/dev/null
  kill -CONT "$server"
  [ "$(stat -f -c %t "$org")" != 65735546 ] || [ -e "$org/gone" ] || do_unmount || :
}

new_pool 16MiB --max-files=64 # so that few files may be idle
with_mount "idle files of a server that stopped" t_idle -o loops=2
check "an end while files are listed" t_listed
with_mount "forgotten names of a server that stopped" t_forgotten -o loops=1
if mount -t overlay -o lowerdir="$org/far",upperdir="$work/up",workdir="$work/wk" none \
  "$org/layers" 2>"$work/err"; then
  with_mount "a layer whose server stopped" t_layers -o loops=2,attr_timeout=0.5
  umount "$org/layers"
else
  skip "a layer whose server stopped" "no overlayfs on FUSE here: $(tail -n 1 "$work/err")"
fi
(cd "$org/many" && for k in $(seq 0 2499); do : > "$k"; done)
new_pool 16MiB
ulimit -n 2048
with_mount "names while a server is stopped" t_names
with_mount "a warm of a server that stopped" t_warm
check "the end while a server is stopped" t_end
with_mount "a long wait is told" t_told
with_mount "a long wait for what is no change" t_told_what
check "a long wait at the end is told" t_told_at_end
summary
