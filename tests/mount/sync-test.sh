#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# sync-test.sh - an fsync that fails, through cachemax-mount.
#
# Usage: sync-test.sh BUILD_DIR [--service]
# The origin is a file system in a sparse image on a small tmpfs. When the tmpfs is full, what is
# written there fails when the kernel writes it back: reported once, and then taken for written.
# With --service the mount uses a service, and proves files that were written: its pool might be one
# that survives a power cut. So files are not let go before half a minute, and checks that need that
# are left out.
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed.

set -u
build=${1:?usage: sync-test.sh BUILD_DIR [--service]}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
[ $is_root = 1 ] || { skip "failing fsync" "needs root"; summary; exit 77; }
for p in python3 mkfs.ext4 losetup; do
  command -v $p >/dev/null || { skip "failing fsync" "no $p"; summary; exit 77; }
done

small=$work/small org=$work/small/org
take_down() {
  exec 2>/dev/null
  cd /
  fusermount3 -u -z "$work/top"
  umount "$work/top/below"
  for dir in "$small/org" "$small/org" "$small"; do umount "$dir" || umount -l "$dir"; done
}
trap 'take_down; cleanup' EXIT
mkdir "$small" && mount -t tmpfs -o size=12m none "$small" 2>/dev/null ||
  { skip "failing fsync" "cannot mount a tmpfs"; summary; exit 77; }
mkdir "$org"
truncate -s 64M "$small/image"
# Without a journal, and with the files' blocks allocated: only their data meets the full tmpfs.
mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=0 "$small/image"
mount -o loop "$small/image" "$org" 2>"$work/err" ||
  { skip "failing fsync" "no loop device: $(head -n 1 "$work/err")"; summary; exit 77; }

fill_up() { dd if=/dev/zero of="$small/full" bs=64k status=none 2>/dev/null || :; }
# Written back, and lost: dirty pages of FILE in the page cache that nobody has synced.
lose() { dd if=/dev/urandom of="$1" bs=64k count=16 conv=notrunc status=none; }
read_it() { dd if="$1" of=/dev/null bs=64k iflag=direct status=none; }
# One read of FILE: how many blocks of it hit. Nothing reads beside it.
hits_now() {
  local before
  before=$(stat_of hit_blocks)
  read_it "$1"
  echo $(($(stat_of hit_blocks) - before))
}

for f in bare told later user closed late shared; do
  fallocate -l 1M "$org/$f"
done
sync -f "$org"
new_pool 16MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
fill_up

# The kernel reports what it lost once to a descriptor, so this test can see anything only here.
t_environment() {
  lose "$org/bare"
  python3 - "$org/bare" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
try:
    os.fsync(fd)
    sys.exit("the first fsync succeeds")
except OSError:
    pass
os.fsync(fd)
PY
}
if ! t_environment 2>"$work/err"; then
  skip "failing fsync" \
    "a full tmpfs below a loop device does not fail here: $(tail -n 1 "$work/err")"
  summary
  exit 77
fi

sync -f "$org" 2>/dev/null # the volume's error has been told, too

# A file changed since the boot is proved synced in the background, when nothing was read for a
# second. That sync fails.
t_background() {
  local n
  read_it "$org/told"
  for _ in $(seq 8); do
    sleep 1.2 # hits are no reads of the origin
    n=$(hits_now "$org/told")
    [ "$n" != 0 ] || break
  done
  same "$n" 0
  read_it "$org/told"
  same "$(hits_now "$org/told")" 0
}
# An fsync of a user fails; the next one, on another descriptor, succeeds.
t_user() {
  python3 - "$org/user" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.pwrite(fd, os.urandom(1 << 20), 0)
try:
    os.fsync(fd)
    sys.exit("the first fsync succeeds")
except OSError:
    pass
os.fsync(fd)
os.close(fd)
fd = os.open(sys.argv[1], os.O_RDWR)
os.fsync(fd)
PY
  read_it "$org/user"
  read_it "$org/user"
  same "$(hits_now "$org/user")" 0
}
# A close of a local file reports nothing. Without a free descriptor, too, it leaves the error to
# the fsync that follows.
t_closed() {
  python3 - "$org/closed" "$mount_pid" <<'PY'
import os, resource, sys
name, mount = sys.argv[1], int(sys.argv[2])
fd = os.open(name, os.O_RDWR)
again = os.dup(fd)
os.pwrite(fd, os.urandom(1 << 20), 0)
used = {int(n) for n in os.listdir('/proc/%d/fd' % mount)}
limits = resource.prlimit(mount, resource.RLIMIT_NOFILE)
resource.prlimit(mount, resource.RLIMIT_NOFILE,
                 (min(set(range(len(used) + 1)) - used), limits[1]))
try:
    os.close(again)
    try:
        os.fsync(fd)
        sys.exit("the fsync after it succeeds")
    except OSError:
        pass
finally:
    resource.prlimit(mount, resource.RLIMIT_NOFILE, limits)
PY
  read_it "$org/closed"
  read_it "$org/closed"
  same "$(hits_now "$org/closed")" 0
}
# Somebody else was told of the loss before a file is attached: only the volume still tells.
until_said() {
  for _ in $(seq 150); do # long: on a busy machine the background sync comes late
    ! grep -q 'lost data that was written' "$work/log" || return 0
    sleep 0.2
  done
  echo "not said" >&2
  return 1
}

# A background sync was told of the loss; who opens the file after it is told, too, and only once
# for each descriptor. That the kernel forgets the name in between changes nothing.
t_opened_later() {
  local n
  read_it "$org/late"
  for _ in $(seq 16); do # the first sync of it takes it out of the cache
    sleep 1.2
    n=$(hits_now "$org/late")
    [ "$n" != 0 ] || break
  done
  same "$n" 0
  drop_caches
  python3 - "$org/late" <<'PY'
import os, sys
for mode in os.O_RDWR, os.O_RDONLY:
    first, second = os.open(sys.argv[1], mode), os.open(sys.argv[1], mode)
    for fd in first, second:
        try:
            os.fsync(fd)
            if mode == os.O_RDWR:
                sys.exit("fsync succeeds")
        except OSError:
            pass # a reader may be told, too: it shares a descriptor that was not
        os.fsync(fd)
        os.close(fd)
PY
}
# Readers share a descriptor of the origin. Each is told once, as without the mount.
t_readers() {
  python3 - "$1" <<'PY'
import os, sys
w, a, b = (os.open(sys.argv[1], mode) for mode in (os.O_RDWR, os.O_RDONLY, os.O_RDONLY))
os.pread(a, 10, 0)
os.pwrite(w, os.urandom(1 << 20), 0)
for name, fd in ("writer", w), ("first reader", a), ("second reader", b):
    try:
        os.fsync(fd)
        sys.exit("fsync of the %s succeeds" % name)
    except OSError:
        pass
for name, fd in ("writer", w), ("first reader", a), ("second reader", b):
    os.fsync(fd)
os.fsync(os.open(sys.argv[1], os.O_RDONLY))
PY
}

check "a loss that two readers are told of, without the mount" t_readers "$org/bare"
sync -f "$org" 2>/dev/null
lose "$org/told"
lose "$org/late"
exec 8<"$org" # the directory beneath the mount
do_mount || { fail mount "$(tail -n 1 "$work/log")"; summary; exit 1; }
read_it "$org/told"
check "a background sync that fails takes the file out of the cache" t_background
check "a loss that a background sync was told of" t_opened_later
check "a loss that two readers are told of" t_readers "$org/shared"
check "a failed fsync is not forgotten by the next one" t_user
check "a close without a descriptor does not take the error of the fsync after it" t_closed
lose "/proc/self/fd/8/later"
python3 - /proc/self/fd/8/later <<'PY' 2>/dev/null
import os, sys
os.fsync(os.open(sys.argv[1], os.O_RDWR))
PY
read_it "$org/later"
check "a loss that somebody else was told of is seen" until_said
exec 8<&-
for f in told late shared; do # who is told ends the mount's memory of it
  python3 -c 'import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDWR))' "$org/$f" 2>/dev/null
done
do_unmount && is_clean && ok "a clean pool" ||
  fail "a clean pool" "status $status: $(tail -n 1 "$work/log")"

# ---- Losses that the end of a mount, or a later program, must not hide -------------------------

fsync_fails() { # FILE
  python3 - "$1" <<'PY'
import os, sys
try:
    os.fsync(os.open(sys.argv[1], os.O_RDWR))
except OSError:
    sys.exit(0)
sys.exit("fsync succeeds")
PY
}
# The kernel forgets what it could not write, and FILE is as before.
until_lost() { # FILE
  for _ in $(seq 60); do
    echo 3 > /proc/sys/vm/drop_caches
    ! cmp -s -n 1048576 "$1" /dev/zero || return 0
    sleep 0.2
  done
  echo "nothing is lost" >&2
  return 1
}
# An empty file of 1 MiB that will lose what is written to it.
losing() { # NAME
  rm -f "$small/full"
  fallocate -l 1M "$org/$1"
  sync -f "$org" 2>/dev/null || sync -f "$org"
  new_pool 16MiB
  fill_up
}
# Written through the mount and not synced: the end of the mount leaves the kernel's error to the
# next program, and does not keep what was lost.
t_end() {
  do_mount
  lose "$org/end"
  read_it "$org/end"
  cd /
  do_unmount
  grep -q 'lost data that was written' "$work/log"
  fsync_fails "$org/end"
  until_lost "$org/end"
  do_mount
  cmp -n 1048576 "$org/end" /dev/zero
  do_unmount
}
# A background sync was told, and no user until the end.
t_untold() {
  do_mount
  read_it "$org/untold"
  for _ in $(seq 16); do
    sleep 1.2
    [ "$(hits_now "$org/untold")" != 0 ] || break
  done
  cd /
  do_unmount || :
  same "$status" 4
  grep -q "org/untold: data that was written to it is lost" "$work/log"
}
# The file was deleted behind the mount: its room is free, soon.
t_gone() {
  local before
  do_mount
  read_it "$org/gone"
  for _ in $(seq 16); do
    sleep 1.2
    [ "$(hits_now "$org/gone")" != 0 ] || break
  done
  before=$(stat -f -c %f /proc/self/fd/8)
  rm /proc/self/fd/8/gone
  for _ in $(seq 60); do
    echo 2 > /proc/sys/vm/drop_caches
    [ "$(stat -f -c %f /proc/self/fd/8)" -lt $((before + 512)) ] || return 0
    sleep 0.5
  done
  echo "still held" >&2
  return 1
}
# The mount has let go of FILE, and the origin's inode is gone with the error.
until_forgotten() { # FILE
  for _ in $(seq 60); do
    echo 2 > /proc/sys/vm/drop_caches
    ls -l "/proc/$mount_pid/fd" > "$work/fds" 2>/dev/null || : # one may be closed meanwhile
    grep -q "/${1##*/}\$" "$work/fds" || break
    sleep 0.2
  done
  until_lost "$1"
  echo 3 > /proc/sys/vm/drop_caches
}
# What was written to FILE is lost and cached, another program was told, and the kernel forgets it.
lost_and_forgotten() { # FILE
  lose "$org/$1"
  read_it "$org/$1"
  read_it "$org/$1"
  sync -f /proc/self/fd/8 2>/dev/null || :
  until_forgotten "/proc/self/fd/8/$1"
  rm "$small/full"
}
serves_what_is_there() { # FILE
  do_mount
  cmp -n 1048576 "$org/$1" /dev/zero
  do_unmount
}
# The fsync of the next program succeeds and proves nothing.
t_younger() {
  do_mount
  lost_and_forgotten younger
  python3 -c 'import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDWR))' "$org/younger"
  cd /
  exec 8<&-
  do_unmount
  serves_what_is_there younger
}
# The same without the fsync: the mount learns of the loss by another file, when this one is idle.
t_left() {
  do_mount
  lost_and_forgotten left
  cd /
  exec 8<&-
  do_unmount
  grep -q 'lost data that was written' "$work/log"
  serves_what_is_there left
}
# The same while the file is open: it is right as soon as the loss is known.
t_open() {
  do_mount
  exec 7<"$org/open"
  lose "$org/open"
  read_it "$org/open"
  read_it "$org/open"
  sync -f /proc/self/fd/8 2>/dev/null || :
  until_lost /proc/self/fd/8/open
  rm "$small/full"
  read_it "$org/told" # which was changed since the boot: a background sync, and the volume is asked
  until_said
  dd if="$org/open" of="$work/got" bs=64k iflag=direct status=none
  exec 7<&-
  cd /
  exec 8<&-
  do_unmount
  cmp -n 1048576 "$work/got" /dev/zero
}
# The service comes later. It must not serve the file before it knows, nor after another mount.
t_away() {
  do_mount
  read_it "$org/away"
  read_it "$org/away"
  [ "$(hits_now "$org/away")" -gt 200 ]
  stop_service KILL
  lose "$org/away"
  fsync_fails "$org/away"
  start_service
  for _ in $(seq 4); do
    same "$(hits_now "$org/away")" 0
    sleep 0.4
  done
  cd /
  do_unmount
  do_mount
  read_it "$org/away"
  same "$(hits_now "$org/away")" 0
  do_unmount
}
# The same, and the mount is killed before it could tell the service.
t_killed() {
  do_mount
  read_it "$org/killed"
  read_it "$org/killed"
  stop_service KILL
  lose "$org/killed"
  fsync_fails "$org/killed"
  cd /
  kill -KILL "$mount_pid"
  wait "$mount_pid" 2>/dev/null || :
  umount -l "$org"
  start_service
  do_mount
  read_it "$org/killed"
  read_it "$org/killed"
  same "$(hits_now "$org/killed")" 0
  [ ! -s "$socket.failed" ] # it has been read
  do_unmount
}
# The service knows; another one comes with a new pool, which does not.
t_swapped() {
  local tries
  do_mount
  read_it "$org/swapped"
  lose "$org/swapped"
  exec 7<>"$org/swapped"
  ! python3 -c 'import os; os.fsync(7)' 2>/dev/null
  stop_service
  rm "$pool"
  new_pool 16MiB
  : > "$work/log"
  start_service 7>&-
  for tries in $(seq 50); do
    ! grep -q 'the service at .* is there' "$work/log" || break
    sleep 0.1
  done
  python3 -c 'import os; os.fsync(7)' # it succeeds, and proves nothing
  for tries in 1 2 3; do
    read_it "$org/swapped"
    same "$(hits_now "$org/swapped")" 0
    sleep 0.4
  done
  exec 7<&-
  cd /
  do_unmount
}
with_loss() { # CHECK NAME FUNCTION [written before]
  wanted "$1" || return 0
  losing "$2"
  [ -z "${4:-}" ] || lose "$org/$2"
  : > "$work/log"
  exec 8<"$org"
  check "$1" "$3"
  exec 8<&-
  while [ "$(stat -f -c %t "$org")" = 65735546 ]; do
    fusermount3 -u "$org" || sleep 0.1
  done
  stop_service
  until "$cm" info "$pool" | grep -q '^state: *clean'; do sleep 0.05; done
}
with_loss "a loss is left to tell at the end" end t_end
with_loss "a loss that nobody was told of at the end" untold t_untold before
with_loss "a deleted file with a loss" gone t_gone before
if [ $via = pool ]; then
  with_loss "a loss in a file that is idle" left t_left
  with_loss "a loss in a file that is open" open t_open
  with_loss "an fsync on a descriptor younger than a loss" younger t_younger
else
  with_loss "an fsync fails while there is no service" away t_away
  with_loss "an fsync fails and the mount is killed before it is told" killed t_killed
  with_loss "a new pool after a failed fsync" swapped t_swapped
fi

# The same where the volume lies below the directory: every volume has its own witness.
t_below() {
  read_it "$org/below/also"
  until_said
}
if ! wanted "a loss on a volume below the directory"; then
  summary
  exit
fi
org=$work/top
mkdir "$org" "$org/below"
mount --bind "$small/org" "$org/below"
rm -f "$small/full"
fallocate -l 1M "$org/below/also"
sync -f "$org/below" 2>/dev/null
sync -f "$org/below" 2>/dev/null
new_pool 16MiB
fill_up
exec 8<"$org/below"
: > "$work/log"
if do_mount; then
  : "$(stat "$org/below")" # the first that is seen of the volume
  lose /proc/self/fd/8/also
  python3 - /proc/self/fd/8/also <<'PY' 2>/dev/null
import os, sys
os.fsync(os.open(sys.argv[1], os.O_RDWR))
PY
  check "a loss on a volume below the directory" t_below
  exec 8<&-
  do_unmount
else
  fail "a loss on a volume below the directory" "$(tail -n 1 "$work/log")"
fi
summary
