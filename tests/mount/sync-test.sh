#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# sync-test.sh - an fsync that fails, through cachemax-mount.
#
# Usage: sync-test.sh BUILD_DIR
# The origin is a file system in a sparse image on a small tmpfs. When the tmpfs is full, what is
# written there fails when the kernel writes it back: reported once, and then taken for written.
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed.

set -u
build=${1:?usage: sync-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
[ $is_root = 1 ] || { skip "failing fsync" "needs root"; summary; exit 0; }
for p in python3 mkfs.ext4 losetup; do
  command -v $p >/dev/null || { skip "failing fsync" "no $p"; summary; exit 0; }
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
  { skip "failing fsync" "cannot mount a tmpfs"; summary; exit 0; }
mkdir "$org"
truncate -s 64M "$small/image"
# Without a journal, and with the files' blocks allocated: only their data meets the full tmpfs.
mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=0 "$small/image"
mount -o loop "$small/image" "$org" 2>"$work/err" ||
  { skip "failing fsync" "no loop device: $(head -n 1 "$work/err")"; summary; exit 0; }

same() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'" >&2; return 1; }; }
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

for f in bare told later user late shared; do
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
  skip "failing fsync" "a full tmpfs below a loop device does not fail here: $(tail -n 1 "$work/err")"
  summary
  exit 0
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
# Somebody else was told of the loss before the file is attached: only the volume still tells.
t_told_before() {
  for _ in $(seq 16); do
    ! grep -q 'lost data that was written' "$work/log" || return 0
    sleep 0.5
  done
  echo "not said" >&2
  return 1
}

# A background sync was told of the loss; who opens the file after it is told, too, and only once for
# each descriptor. That the kernel forgets the name in between changes nothing.
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
lose "/proc/self/fd/8/later"
python3 - /proc/self/fd/8/later <<'PY' 2>/dev/null
import os, sys
os.fsync(os.open(sys.argv[1], os.O_RDWR))
PY
read_it "$org/later"
check "a loss that somebody else was told of is seen" t_told_before
exec 8<&-
do_unmount && is_clean && ok "a clean pool" || fail "a clean pool" "status $status: $(tail -n 1 "$work/log")"

# The same where the volume lies below the directory: every volume has its own witness.
t_below() {
  local n
  read_it "$org/below/also"
  for _ in $(seq 16); do
    n=$(grep -c 'lost data that was written' "$work/log")
    [ "$n" -lt 2 ] || return 0
    sleep 0.5
  done
  echo "not said" >&2
  return 1
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
