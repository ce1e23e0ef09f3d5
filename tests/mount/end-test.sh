#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# end-test.sh - how a mount ends: nothing that a program stored is lost without a word.
#
# Usage: end-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed.

set -u
build=${1:?usage: end-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
command -v python3 >/dev/null || { skip "how a mount ends" "no python3"; summary; exit 77; }

# Stores a number into every fourth page of FILE through a mapping and then names it in LOG: 1, and,
# when a line comes on standard input ("store" mode: at once), 2 and so on. A store that faults ends
# it with SIGBUS. A page that holds less than LOG says has lost a store.
cat > "$work/storer.py" <<'PY'
import mmap, os, struct, sys
path, log, mode = sys.argv[1:4]
fd = os.open(path, os.O_RDWR)
m = mmap.mmap(fd, 0)
os.close(fd)
out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
n = 0
while True:
    n += 1
    for at in range(0, len(m), 16384):
        m[at:at + 8] = struct.pack("<Q", n)
    os.pwrite(out, struct.pack("<Q", n), 0)
    if mode == "exit":
        break
    if mode != "store" and not sys.stdin.readline():
        break
PY
# Every page has what was logged, or the number after it as far as the storer came with that.
cat > "$work/stored.py" <<'PY'
import struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", open(sys.argv[2], "rb").read(8))[0]
have = [struct.unpack("<Q", data[at:at + 8])[0] for at in range(0, len(data), 16384)]
wrong = [v for v in have if v not in (n, n + 1)]
if wrong or have != sorted(have, reverse=True):
    sys.exit("%d was stored; the origin has %s" % (n, sorted(set(have))))
PY

take_down() {
  exec 2>/dev/null
  [ -z "$storing" ] || kill -KILL "$storing"
  while mountpoint -q "$work/full"; do umount -l "$work/full" || break; done
}
trap 'take_down; cleanup' EXIT
storing=
mkfifo "$work/go"
begin_storing() { # FILE MODE
  rm -f "$work/stored"
  python3 "$work/storer.py" "$1" "$work/stored" "$2" <"$work/go" 2>/dev/null &
  storing=$!
  exec 7>"$work/go"
  until [ -s "$work/stored" ] || ! kill -0 $storing 2>/dev/null; do sleep 0.05; done
}
# Lets it store once more, and sets $status. Whose stores vanish never ends.
end_storing() {
  (trap '' PIPE; echo >&7) 2>/dev/null || :
  exec 7>&-
  for _ in $(seq 200); do
    kill -0 $storing 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL $storing 2>/dev/null || :
  status=0
  wait $storing 2>/dev/null || status=$?
  storing=
}
stored() { python3 "$work/stored.py" "$1" "$work/stored"; }

# mapped NAME MODE WANTED_STATUS COMMAND...: the mount is ended by COMMAND while a program has
# stored in a mapping and goes on having it.
mapped() {
  local name=$1 mode=$2 want=$3
  wanted "$name" || return
  shift 3
  new_pool 16MiB && do_mount || { fail "$name" mount; return; }
  head -c 1048576 /dev/zero > "$org/mapped"
  begin_storing "$org/mapped" "$mode"
  "$@"
  wait_mount
  if [ "$status" = "$want" ]; then ok "$name: status $want"; else
    fail "$name: status $want" "$status: $(tail -n 1 "$work/log")"; fi
  is_clean && ok "$name: clean pool" ||
    fail "$name: clean pool" "$("$cm" info "$pool" | grep state)"
  end_storing 2>/dev/null
  [ $status = 135 ] && ok "$name: a store after the end faults" ||
    fail "$name: a store after the end faults" "status $status" # SIGBUS is 135
  check "$name: the origin has what was stored" stored "$org/mapped"
}
twice() {
  kill -TERM "$mount_pid"
  while grep -q " $1 fuse.cachemax " /proc/mounts; do sleep 0.05; done # it has seen the first one
  kill -TERM "$mount_pid"
}
lazily() {
  fusermount3 -u -z "$org"
  kill -TERM "$mount_pid"
}

once() {
  kill -TERM "$mount_pid"
  while grep -q " $org fuse.cachemax " /proc/mounts; do sleep 0.05; done
  check "SIGTERM: written before the name is free" stored "$org/mapped"
}
# What a program wrote up to the end is vouched for: warm in the next mount.
just_before() {
  local name="written just before SIGTERM" before
  wanted "$name" || return
  new_pool 16MiB --quiet && head -c 2097152 /dev/urandom > "$org/mine" && do_mount -o probation=0 ||
    { fail "$name" "$(tail -n 1 "$work/log")"; return; }
  check "$name" t_just_before "$mount_pid"
  wait_mount
  do_mount
  before=$(stat_of hit_blocks)
  cat "$org/mine" >/dev/null
  [ $(($(stat_of hit_blocks) - before)) -ge 500 ] && ok "$name: warm after a remount" ||
    fail "$name: warm after a remount" "$(($(stat_of hit_blocks) - before)) of 512 blocks hit"
  do_unmount
  rm "$org/mine"
}
t_just_before() {
  dd if=mine of=/dev/null bs=64k iflag=direct status=none
  python3 - "$1" <<'PY'
import os, signal, sys, time
fd = os.open("mine", os.O_RDWR)
os.pwrite(fd, b"A", 0)
time.sleep(0.02) # a tick of the clock that files have their times from
os.kill(int(sys.argv[1]), signal.SIGTERM)
PY
}

# Unmounted when the last user is gone, with pages still to be written.
t_unmounted() {
  python3 "$work/storer.py" mapped "$work/stored" exit
  cd /
  fusermount3 -u "$org"
  while kill -0 "$mount_pid" 2>/dev/null; do sleep 0.05; done
  is_clean
  stored "$org/mapped"
}
t_background() {
  local p
  "$mount_bin" "$org" --pool "$pool"
  p=$("$cm" info "$pool" | sed -n 's/^state: .*process \([0-9]*\).*/\1/p')
  begin_storing "$org/mapped" wait
  cd /
  kill -TERM "$p"
  while mountpoint -q "$org"; do sleep 0.05; done
  kill -TERM "$p"
  while kill -0 "$p" 2>/dev/null; do sleep 0.05; done
  is_clean
  end_storing
  same $status 135
  stored "$org/mapped"
}
# What others write once the name is free is theirs: after a program wrote in the mount and still
# has the file open the mount ends, and the file is changed in the bare directory.
freed() { # NAME WORD: how it ends
  local name=$1
  wanted "$name" || return
  [ $has_below = 1 ] || { skip "$name" "needs root"; return; }
  new_pool 16MiB --quiet && head -c 2097152 /dev/urandom > "$org/mine" && do_mount -o probation=0 ||
    { fail "$name" "$(tail -n 1 "$work/log")"; return; }
  check "$name" t_freed "$2" "$mount_pid"
  wait_mount
  do_mount
  cmp "$org/mine" "$below/mine" >/dev/null && ok "$name: seen after a remount" ||
    fail "$name: seen after a remount" "$(cmp "$org/mine" "$below/mine" 2>&1)"
  do_unmount
  rm "$org/mine"
}
t_freed() {
  cd /
  sleep 1.2 # its times prove something
  for _ in 1 2 3; do
    dd if="$org/mine" of=/dev/null bs=64k iflag=direct status=none
  done
  python3 - "$org" "$below" "$@" <<'PY'
import os, signal, subprocess, sys, time
org, below, how, pid = sys.argv[1:5]
fd = os.open(org + "/mine", os.O_RDWR)
os.pwrite(fd, b"A", 0)
if how == "lazily":
    subprocess.check_call(["fusermount3", "-u", "-z", org])
else:
    os.kill(int(pid), signal.SIGTERM)
while os.stat(org).st_dev != os.stat(below).st_dev:
    time.sleep(0.01)
bare = os.open(org + "/mine", os.O_RDWR)
os.pwrite(bare, b"written beside it", 1 << 20)
os.close(bare)
time.sleep(1)
os.close(fd)
PY
}
# The origin has no room for what was stored: said at the time, and by the exit status.
full() {
  local name="pages that cannot be written" dir=$work/full
  wanted "$name" || return
  [ $is_root = 1 ] || { skip "$name" "needs root"; return; }
  mkdir "$dir" && mount -t tmpfs -o size=1m none "$dir" 2>/dev/null ||
    { skip "$name" "cannot mount a tmpfs"; return; }
  truncate -s 8M "$dir/mapped"
  new_pool 16MiB
  "$mount_bin" "$dir" --pool "$pool" -f 2>"$work/full.log" &
  mount_pid=$!
  until [ "$(stat -f -c %t "$dir")" = 65735546 ] ||
    ! kill -0 $mount_pid 2>/dev/null; do sleep 0.05; done
  begin_storing "$dir/mapped" wait
  twice "$dir"
  wait_mount
  mount_status=$status
  end_storing 2>/dev/null
  [ "$status" = 135 ] || fail "$name: a store after the end faults" "status $status"
  if [ "$mount_status" != 4 ]; then
    fail "$name: status 4" "$mount_status"
  else
    ok "$name: status 4"
  fi
  grep -q "mapped: .* stored in a mapping, cannot be written: No space left" "$work/full.log" &&
    ok "$name: said" || fail "$name: said" "$(tail -n 1 "$work/full.log")"
}
# The kernel refuses to take the pages of a file away at the end. What is in them may be lost.
kept() {
  local name="pages that the kernel keeps" refuse=$work/refuse shim
  wanted "$name" || return
  grep -Eq '__(asan|tsan)_init' "$mount_bin" &&
    { skip "$name" "a sanitizer's build takes no LD_PRELOAD"; return; }
  shim=$(realpath "$(find "$build" -name failing_answer.so)")
  new_pool 16MiB && : > "$work/log" &&
    FAILING_NOTIFICATION=$refuse LD_PRELOAD=$shim do_mount || { fail "$name" mount; return; }
  head -c 1048576 /dev/zero > "$org/mapped"
  begin_storing "$org/mapped" wait
  : > "$refuse"
  twice "$org"
  wait_mount
  [ "$status" = 4 ] && ok "$name: status 4" || fail "$name: status 4" "$status"
  check "$name: said" t_kept
  end_storing 2>/dev/null
  rm "$refuse"
}
t_kept() {
  grep -q ' not all that was stored in mappings may have .*: Cannot allocate memory$' "$work/log"
  fails grep -q 'writing device\|answer a request' "$work/log"
}

# There is no memory for requests for a second: programs wait, and the mount goes on.
no_buffers() {
  local name="no memory for requests" none=$work/none shim
  wanted "$name" || return
  grep -Eq '__(asan|tsan)_init' "$mount_bin" &&
    { skip "$name" "a sanitizer's build takes no LD_PRELOAD"; return; }
  shim=$(realpath "$(find "$build" -name failing_answer.so)")
  new_pool 16MiB && : > "$work/log" &&
    NO_BUFFERS=$none LD_PRELOAD=$shim do_mount || { fail "$name" mount; return; }
  check "$name: writes wait" t_no_buffers "$none"
  do_unmount
  [ "$status" = 0 ] && ok "$name: the mount goes on" || fail "$name: the mount goes on" "$status"
  check "$name: the origin has what was written" t_wrote
  same "$(grep -c 'allocate read buffer' "$work/log")" 1 && ok "$name: said once" ||
    fail "$name: said once" "$(tail -n 1 "$work/log")"
  rm -f "$org"/wrote.*
}
t_no_buffers() {
  local all=
  head -c 2097152 /dev/urandom > "$work/wrote"
  : > "$1"
  for n in 1 2 3 4 5 6; do
    dd if="$work/wrote" of=wrote.$n bs=64k oflag=dsync status=none &
    all="$all $!"
  done
  sleep 1
  rm "$1"
  for n in $all; do wait "$n"; done
  t_wrote
}
t_wrote() {
  for n in 1 2 3 4 5 6; do cmp "$work/wrote" wrote.$n; done
}
# The kernel cuts the connection: no dead mount stays, and the exit status and the log say it.
cut_off() {
  local name="the kernel ends the connection" device at=/sys/fs/fuse/connections ours=
  wanted "$name" || return
  [ $is_root = 1 ] || { skip "$name" "needs root"; return; }
  new_pool 16MiB && : > "$work/log" && do_mount || { fail "$name" mount; return; }
  device=$(awk -v dir="$org" '$5 == dir { print $3 }' /proc/self/mountinfo | tail -n 1)
  mkdir "$work/connections"
  [ -e "$at/${device#*:}" ] || { ours=1 at=$work/connections; mount -t fusectl none "$at"; }
  echo 1 > "$at/${device#*:}/abort"
  wait_mount
  [ -z "$ours" ] || umount "$at"
  check_at / "$name" t_cut_off
}
# The same where somebody has moved the mount.
cut_off_moved() {
  local name="the kernel ends the connection of a mount that was moved" place=$work/place
  local at=$work/connections device
  wanted "$name" || return
  [ $is_root = 1 ] || { skip "$name" "needs root"; return; }
  mkdir -p "$place" "$at" && mount -t tmpfs none "$place" 2>/dev/null &&
    mount --make-private "$place" && mount -t fusectl none "$at" ||
    { skip "$name" "cannot mount a tmpfs and the list of connections"; return; }
  mkdir "$place/a" "$place/b"
  new_pool 16MiB
  "$mount_bin" "$place/a" --pool "$pool" -f 2>"$work/place.log" &
  mount_pid=$!
  until mountpoint -q "$place/a" || ! kill -0 $mount_pid 2>/dev/null; do sleep 0.05; done
  device=$(awk -v dir="$place/a" '$5 == dir { print $3 }' /proc/self/mountinfo)
  mount --move "$place/a" "$place/b"
  echo 1 > "$at/${device#*:}/abort"
  wait $mount_pid
  status=$?
  check_at / "$name" t_cut_off_moved
  umount "$at"
  umount -R "$place"
  rmdir "$at" "$place"
}
t_cut_off_moved() {
  same "$status" 1
  fails mountpoint -q "$work/place/b"
  grep -q "$work/place/a: the kernel has ended the connection" "$work/place.log"
  is_clean
}
t_cut_off() {
  same "$status" 1
  fails mountpoint -q "$org"
  grep -q "$org: the kernel has ended the connection" "$work/log"
  grep -q "$org: unmounted; the pool was closed; exit status 1" "$work/log"
  is_clean
}

# elsewhere NAME WANTED_STATUS HOW: SIGTERM when the mount is not, or not alone, where it was made.
# HOW sets $now, its present directory, and $name_free, to know when the signal was seen.
elsewhere() {
  local name=$1 want=$2 how=$3 place=$work/place now name_free=not_mounted second=
  wanted "$name" || return
  [ $is_root = 1 ] || { skip "$name" "needs root"; return; }
  mkdir "$place" && mount -t tmpfs none "$place" 2>/dev/null && mount --make-private "$place" ||
    { skip "$name" "cannot mount a tmpfs"; return; }
  mkdir -p "$place/a/dir" "$place/b"
  echo origin > "$place/a/dir/file"
  new_pool 16MiB
  "$mount_bin" "$place/a/dir" --pool "$pool" -f 2>"$work/place.log" &
  mount_pid=$!
  until [ "$(stat -f -c %t "$place/a/dir")" = 65735546 ] ||
    ! kill -0 $mount_pid 2>/dev/null; do sleep 0.05; done
  exec 6<>"$place/a/dir/file"
  $how
  kill -TERM $mount_pid
  for _ in $(seq 200); do
    $name_free && break # words
    sleep 0.05
  done
  check "$name: a write in the grace period" eval 'echo grace >&6'
  exec 6<&-
  wait_mount
  [ "$status" = "$want" ] && ok "$name: status $want" ||
    fail "$name: status $want" "$status: $(cat "$work/place.log")"
  check "$name: what is there afterwards" "after_$how"
  [ "$want" = 0 ] || check "$name: the log says how it ended" \
    grep -q ': ended; the pool was closed; exit status 1$' "$work/place.log"
  [ -z "$second" ] || { fusermount3 -u "$place/a/dir"; wait "$second"; rm "$pool.2"; }
  while umount -l "$place/a/dir" 2>/dev/null; do :; done
  umount -l "$place" && rmdir "$place"
}
not_mounted() { ! grep -q " $now fuse.cachemax " /proc/mounts; }
renamed() { mv "$place/a" "$place/c"; now=$place/c/dir; }
after_renamed() { not_mounted && same "$(cat "$now/file")" grace; }
replaced() { # and another mount is where it was
  renamed
  mkdir -p "$place/a/dir"
  echo second > "$place/a/dir/file"
  "$cm" create "$pool.2" --size=16MiB >/dev/null
  "$mount_bin" "$place/a/dir" --pool "$pool.2" -f 2>>"$work/place.log" &
  second=$!
  until [ "$(stat -f -c %t "$place/a/dir")" = 65735546 ] ||
    ! kill -0 $second 2>/dev/null; do sleep 0.05; done
}
after_replaced() {
  after_renamed
  grep -q " $place/a/dir fuse.cachemax " /proc/mounts
  same "$(cat "$place/a/dir/file")" second
}
moved() { mount --move "$place/a/dir" "$place/b"; now=$place/b; }
after_moved() { not_mounted && same "$(cat "$place/a/dir/file")" grace; }
covered() {
  now=$place/a/dir name_free="grep -q unmount $work/place.log"
  mount -t tmpfs none "$now"
}
after_covered() {
  grep -q 'cannot unmount .*: another mount covers it' "$work/place.log"
  same "$(stat -f -c %T "$now")" tmpfs
  umount "$now"
  umount -l "$now"
  same "$(cat "$now/file")" grace
}

# The log says that it ended, and how.
t_says() { # HOW
  cd /
  if [ "$1" = unmount ]; then fusermount3 -u "$org"; else kill -"$1" "$mount_pid"; fi
  eventually grep -q "^cachemax-mount: $org: unmounted; the pool was closed\$" "$work/log"
}
ends_with_a_line() {
  local how
  for how in HUP INT TERM unmount; do
    wanted "it says that it ended: $how" || continue
    : > "$work/log"
    new_pool 16MiB && do_mount || { fail "it says that it ended: $how" mount; continue; }
    check "it says that it ended: $how" t_says $how
    wait_mount
    [ "$status" = 0 ] && is_clean || fail "it says that it ended: $how" "status $status"
  done
}

# While a client has the pool looked through, which takes longer than the end of a mount waits.
t_amid() { # COMMAND...
  cd /
  "$cm" "$@" >/dev/null 2>&1 &
  eventually test -e "$work/look.begun"
  kill -TERM "$mount_pid"
  while grep -q " $org fuse.cachemax " /proc/mounts; do sleep 0.05; done # it has seen it
  : > "$work/look.go"
  wait $! || : # once the mount is gone, the command may do it itself
}
amid() {
  local name shim what
  shim=$(find "$build" -name long_look.so)
  for what in files check unpin; do
    name="SIGTERM amid $what"
    wanted "$name" || continue
    grep -Eq '__(asan|tsan)_init' "$mount_bin" &&
      { skip "$name" "a sanitizer's build takes no LD_PRELOAD"; continue; }
    rm -f "$work"/look.*
    : > "$work/log"
    new_pool 256MiB --sparse --max-files 60000 &&
      LOOK=$work/look LD_PRELOAD=$(realpath "$shim") do_mount ||
      { fail "$name" mount; continue; }
    case $what in
      unpin) check "$name" t_amid unpin --all "$org" ;;
      *) check "$name" t_amid $what "$pool" ;;
    esac
    : > "$work/look.go"
    kill -TERM "$mount_pid" 2>/dev/null # if the check has failed before
    wait_mount
    [ "$status" = 0 ] && is_clean && ok "$name: status 0" ||
      fail "$name: status 0" "$status: $(tail -n 2 "$work/log")"
  done
}

amid
ends_with_a_line
mapped "SIGTERM" wait 0 once
mapped "SIGTERM twice" wait 0 twice "$org"
mapped "SIGTERM, a program goes on storing" store 0 twice "$org"
mapped "SIGTERM after a lazy unmount" wait 0 lazily
elsewhere "SIGTERM, renamed above" 0 renamed
elsewhere "SIGTERM, another mount on the name" 0 replaced
elsewhere "SIGTERM, moved" 0 moved
elsewhere "SIGTERM, covered" 1 covered
mount_pid=
freed "changed after SIGTERM" once
mount_pid=
just_before
freed "changed after a lazy unmount" lazily
mount_pid=
wanted "fusermount3 -u:" && new_pool 16MiB && do_mount &&
  head -c 1048576 /dev/zero > "$org/mapped" &&
  check "fusermount3 -u: the origin has what was stored" t_unmounted
mount_pid=
check "in the background: the origin has what was stored" t_background
# Changed a moment before the end: warm all the same. The mount must have been seen there after the
# change, which on a busy machine may take more than one try.
t_just_changed() {
  local kept
  cd /
  for _ in $(seq 8); do
    new_pool 16MiB
    do_mount
    for k in 1 2 3 4; do echo "$RANDOM $k" > "$org/changed$k"; done
    cat "$org"/changed? >/dev/null
    sleep 0.1
    do_unmount
    do_mount
    cat "$org"/changed? >/dev/null
    kept=$(stat_of attach_kept)
    do_unmount
    [ "$kept" != 4 ] || return 0
  done
  echo "$kept of 4 warm" >&2
  return 1
}
check "changed just before the end, and warm" t_just_changed
mount_pid=
# The mount is gone here, and goes on elsewhere: its process and the pool stay. The log says why.
log_stays() { # WHY
  eventually grep -Eq "$org: no longer mounted here.* $1.*kill $mount_pid" "$work/log"
}
t_stays_bound() {
  cd /
  new_pool 16MiB
  mkdir -p "$org/part"
  echo hi > "$org/part/f"
  do_mount
  mount --bind "$org/part" "$work/bound"
  fusermount3 -u "$org"
  log_stays "still at $work/bound:"
  same "$(cat "$work/bound/f")" hi
  status 3 timeout 60 "$mount_bin" "$org" --pool "$pool" -f
  says 'go on by a bind or in another mount namespace'
  umount "$work/bound"
  wait_mount
  same "$status" 0
  is_clean
}
t_stays_elsewhere() {
  cd /
  new_pool 16MiB
  do_mount
  mkfifo "$work/until"
  unshare -m --propagation private sh -c 'echo there; read -r _ < "$1"' sh "$work/until" \
    > "$work/there" &
  there=$!
  trap 'kill $there 2>/dev/null || :' EXIT
  eventually grep -q there "$work/there"
  fusermount3 -u "$org"
  log_stays 'another mount namespace'
  echo > "$work/until"
  wait $there
  wait_mount
  same "$status" 0
  is_clean
}
# Not while an unmount is only slow, and not twice.
t_stays_once() {
  same "$(grep -c 'no longer mounted here' "$work/log")" 2
}
stays() {
  wanted "still mounted" || return
  [ $has_below = 1 ] || { skip "still mounted" "no bind mounts here"; return; }
  : > "$work/log"
  mkdir "$work/bound"
  check "still mounted: a bind of a part" t_stays_bound
  umount -l "$work/bound" 2>/dev/null
  check "still mounted: another mount namespace" t_stays_elsewhere
  check "still mounted: said once" t_stays_once
  mount_pid=
}
stays
full
kept
no_buffers
cut_off
cut_off_moved
summary
