#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# devices-test.sh - a directory that holds other file systems, copied through the mount.
#
# Usage: devices-test.sh BUILD_DIR
# Loop images of ext4 (two alike, and a copy of one), xfs and btrfs with subvolumes lie below the
# directory, with equal inode numbers on purpose. tar, rsync, cp, cmp and find must tell them apart.
# Needs root and loop devices.

set -u
build=${1:?usage: devices-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

if [ $is_root = 0 ] || ! losetup -f >/dev/null 2>&1; then
  skip everything "needs root and loop devices"
  summary
  exit 77
fi
points=
taken=
whole=$org # one check mounts on a part of it
layers=$work/layers
below_away() {
  fsfreeze -u "$work/alias" 2>/dev/null
  for p in "$work/alias" "$work/strict"; do
    mountpoint -q "$p" && umount "$p"
  done
  # shellcheck disable=SC2086 # words
  [ -z "$taken" ] || losetup -d $taken
  taken=
  for p in $points; do
    mountpoint -q "$whole/$p" && umount "$whole/$p"
  done
  points=
}
trap 'fusermount3 -u -z "$org" 2>/dev/null; sleep 0.2; below_away; twins_away
  umount "$layers" 2>/dev/null
  cleanup' EXIT

twins=$work/twins
twins_away() {
  for p in a b; do
    mountpoint -q "$twins/$p" && umount "$twins/$p"
  done
}

# image NAME MIB MKFS...: a file system in a file; 1, with a line, when it cannot be had
image() {
  local name=$1 size=$2
  shift 2
  truncate -s "${size}M" "$work/$name.img"
  if ! has "$1" || ! "$@" "$work/$name.img" >/dev/null 2>&1; then
    skip "$name below the directory" "no $1"
    return 1
  fi
}
# attach NAME: mounts the image on the directory of that name
attach() {
  mkdir -p "$org/$1"
  if ! mount -o loop "$work/$1.img" "$org/$1" 2>/dev/null; then
    rmdir "$org/$1"
    skip "$1 below the directory" "this kernel cannot mount it"
    return 1
  fi
  points="$points $1"
}
fill() { # DIRECTORY: made in the same order everywhere, so that the numbers are the same
  for i in 1 2 3 4 5; do
    echo "$1 $i" > "$1/f$i"
    ln "$1/f$i" "$1/hard$i"
  done
  mkdir "$1/d"
  head -c 50000 /dev/urandom > "$1/d/big"
  ln "$1/d/big" "$1/d/big2"
}

have_btrfs=0
set_up() {
  image ext4-a 16 mkfs.ext4 -q && attach ext4-a && fill "$org/ext4-a"
  if mountpoint -q "$org/ext4-a"; then
    image ext4-b 16 mkfs.ext4 -q && attach ext4-b && fill "$org/ext4-b"
    umount "$org/ext4-a"
    cp "$work/ext4-a.img" "$work/ext4-copy.img"
    mount -o loop "$work/ext4-a.img" "$org/ext4-a"
    attach ext4-copy && for i in 1 2 3 4 5; do echo "the copy $i" > "$org/ext4-copy/f$i"; done
  fi
  image xfs 300 mkfs.xfs -q && attach xfs && fill "$org/xfs"
  if image btrfs 114 mkfs.btrfs -q && attach btrfs; then
    have_btrfs=1
    btrfs subvolume create "$org/btrfs/one" >/dev/null
    btrfs subvolume create "$org/btrfs/two" >/dev/null
    fill "$org/btrfs/one"
    fill "$org/btrfs/two"
    btrfs subvolume snapshot "$org/btrfs/one" "$org/btrfs/snapshot" >/dev/null
    for i in 1 2 3 4 5; do echo "after the snapshot $i" > "$org/btrfs/snapshot/f$i"; done
  fi
  fill "$org"
  echo bound > "$org/ext4-a/bound"
  : > "$org/onto"
  mount --bind "$org/ext4-a/bound" "$org/onto" && points="onto $points"
  rm -rf "$org"/*/lost+found
  cp -r "$org" "$ref/plain" # what is right: contents without hard links
}

# ---- What must hold -----------------------------------------------------------------------------

t_collide() { # the images do have equal numbers, or the rest shows nothing
  same "$(cd "$org" && stat -c %i ext4-a/f1)" "$(cd "$org" && stat -c %i ext4-b/f1)"
}
t_unique() {
  find . -printf '%i %n %y %p\n' > "$work/listing"
  python3 - "$work/listing" <<'PY'
import os, sys
seen = {}
for line in open(sys.argv[1]):
    number, links, kind, path = line.rstrip("\n").split(" ", 3)
    seen.setdefault(number, []).append(path)
for number, paths in seen.items():
    a = paths[0]
    for b in paths[1:]:
        if {a, b} == {"./onto", "./ext4-a/bound"}: # one file, seen twice
            continue
        if open(a, "rb").read() != open(b, "rb").read() or os.path.dirname(a) != os.path.dirname(b):
            sys.exit(f"{a} and {b} share number {number}")
PY
}
t_listed() { # the number in a directory's list is the file's, mount points included
  python3 - <<'PY'
import os, sys
for top, dirs, files in os.walk("."):
    for e in os.scandir(top):
        if e.inode() != os.lstat(e.path).st_ino:
            sys.exit(f"{e.path}: {e.inode()} in the list, {os.lstat(e.path).st_ino} by itself")
PY
}
t_own_numbers() { # those of the directory's own device are the origin's
  same "$(stat -c %i f1 d/big)" "$(cd "$below" && stat -c %i f1 d/big)"
}
t_tar() {
  mkdir "$work/tar"
  tar -cf - . | tar -C "$work/tar" -xf -
  diff -r "$ref/plain" "$work/tar"
  same "$(stat -c %h "$work/tar/ext4-a/f1")" 2
}
t_rsync() {
  rsync -aH ./ "$work/rsync/"
  diff -r "$ref/plain" "$work/rsync"
  same "$(stat -c %h "$work/rsync/ext4-a/f1")" 2
}
t_cp() {
  cp -a . "$work/cp"
  diff -r "$ref/plain" "$work/cp"
}
t_cmp() {
  fails cmp ext4-a/f1 ext4-b/f1
  fails cmp ext4-a/f1 ext4-copy/f1
  cmp ext4-a/f1 ext4-a/hard1
}
t_cmp_subvolumes() {
  fails cmp btrfs/one/f1 btrfs/two/f1
  fails cmp btrfs/one/f1 btrfs/snapshot/f1
}
t_find() {
  for f in ext4-a/f1 ext4-b/f1 ext4-copy/f1; do
    same "$(find . -inum "$(stat -c %i $f)" | sort | tr '\n' ' ')" "./$f ./${f%/*}/hard1 "
  done
  same "$(find . -inum "$(stat -c %i ext4-b)")" ./ext4-b
}
t_later() { # descriptor 8: the directory beneath the mount
  mkdir later
  trap 'umount -c -l /proc/self/fd/8/later 2>/dev/null || :' EXIT
  t_listed
  mount -c -t tmpfs none /proc/self/fd/8/later
  echo later > later/file
  t_listed
  same "$(cat later/file)" later
  umount -c -l /proc/self/fd/8/later # it holds what the kernel remembers
  t_listed
  same "$(ls later)" ""
  rmdir later
}
t_across() {
  python3 - <<'PY'
import errno, os, sys
for call in os.rename, os.link:
    try:
        call("f1", "ext4-a/across")
        sys.exit(f"{call.__name__} went across")
    except OSError as e:
        assert e.errno == errno.EXDEV, e
PY
  cp f1 tomove
  mv tomove ext4-a/moved
  same "$(cat ext4-a/moved)" "$(cat f1)"
  rm ext4-a/moved
}
t_moved() { # or the next one shows nothing
  [ "$(stat -c %d ext4-b)" != "$numbers_before" ]
}
t_again() {
  find . -printf '%i %p\n' | sort -k 2 > "$work/numbers2"
  diff "$work/numbers1" "$work/numbers2"
}

t_one_fs() {
  for p in ext4-a ext4-b; do
    same "$(ls -A $p)" ""
    fails cat $p/f1
    fails touch $p/new
    fails mkdir $p/new
    fails python3 -c "import os; os.open('$p', os.O_TMPFILE | os.O_RDWR)"
    fails ln -s x $p/new
    fails ln f1 $p/new
    fails mv f1 $p/new
    fails chmod 700 $p
    fails setfattr -n user.x -v y $p
    fails rmdir $p
    python3 -c "
import errno, os, sys
try: os.mkdir('$p/new')
except OSError as e: sys.exit(e.errno != errno.EROFS)
sys.exit(1)"
  done
  same "$(cat f1)" "$(cat "$below/f1")"
  [ -d ext4-a ]
  rsync -aH ./ "$work/onefs/"
  same "$(ls -A "$work/onefs/ext4-a")" ""
  cmp f1 "$work/onefs/f1"
}
# A FUSE server that passes on the numbers of two devices: one number, two files.
set_up_fuse() {
  mkdir -p "$twins/a" "$twins/b" "$org/fuse"
  mount --bind "$org/ext4-a" "$twins/a" && mount --bind "$org/ext4-b" "$twins/b" || return 1
  bindfs "$twins" "$org/fuse" && points="fuse $points"
}
t_fuse_collide() {
  cd "$org/fuse"
  same "$(stat -c %i a/f1)" "$(stat -c %i b/f1)"
}
t_fuse_several() { # equal numbers, of which one or both have several names
  cd fuse
  same "$(cat a/f4 b/f4)" "$org/ext4-a 4
$org/ext4-b 4"
  rm "$twins/b/hard5"
  same "$(cat a/f5 b/f5 a/hard5)" "$org/ext4-a 5
$org/ext4-b 5
$org/ext4-a 5"
  echo changed > b/f5
  same "$(cat a/f5 a/hard5 "$twins/a/f5" "$twins/b/f5")" "$org/ext4-a 5
$org/ext4-a 5
$org/ext4-a 5
changed"
}
t_fuse() {
  cd fuse
  rm -f a/single b/single
  for round in 1 2; do
    for i in 1 2 3; do # also of files without hard links
      rm -f "a/lone$i" "b/lone$i"
      echo "a $i $round" > "a/lone$i"
      echo "b $i $round" > "b/lone$i"
    done
    same "$(stat -c %i a/lone1)" "$(stat -c %i b/lone1)"
    for i in 1 2 3; do
      same "$(cat "a/lone$i" "b/lone$i")" "a $i $round
b $i $round"
    done
  done
  same "$(ls a/d)" "$(ls "$twins/a/d")"
  : > b/d/only-b
  fails ls a/d/only-b
  cmp a/d/big "$twins/a/d/big"
  echo "all of it" > a/lone1
  same "$(cat b/lone1)" "b 1 2"
}
t_fuse_links() { # a name more, a name less: still one file
  cd fuse/a
  echo "one name" > before
  python3 - <<'PY'
import mmap, os, sys, time
def same(a, b):
    if a != b:
        sys.exit("%s is not %s" % (a, b))
fd = os.open("before", os.O_RDONLY)
same(os.pread(fd, 20, 0), b"one name\n")
direct = os.open("before", os.O_RDONLY | os.O_DIRECT) # past the kernel's pages
os.link("before", "after")
writer = os.open("after", os.O_RDWR)
time.sleep(0.02) # a tick of the clock: the kernel sees by the times that pages are old
os.pwrite(writer, b"two", 0)
time.sleep(1.2) # for so long it believes what the server said of the other name
with open("before", "rb") as f:
    same(f.read(), b"two name\n")
same(os.pread(fd, 20, 0), b"two name\n")
buf = mmap.mmap(-1, 4096)
os.preadv(direct, [buf], 0)
same(buf[:9], b"two name\n")
os.pwrite(writer, b"TWO", 0)
time.sleep(1.2)
with open("before", "rb") as f: # not through what was open before
    same(f.read(), b"TWO name\n")
PY
  echo one > first
  same "$(cat first)" one
  ln first second
  echo two > second
  same "$(cat first second)" "two
two"
  exec 7<second
  cat first second >/dev/null # the kernel has pages of it
  rm first
  same "$(cat second)" two
  echo three > second
  same "$(cat second)" three
  same "$(cat <&7)" three
  exec 7<&-
  same "$(cat "$twins/a/second")" three
}

t_fuse_shared() { # with nobody having it open, and with somebody
  cd fuse/a
  echo old > changed
  cat changed changed >/dev/null
  sleep 1.1
  echo new > "$twins/a/changed"
  sleep 2.2 # as long as the kernel and the server's kernel believe what they know
  same "$(cat changed)" new
  exec 7<changed
  cat <&7 >/dev/null
  echo NEW > "$twins/a/changed"
  sleep 2.2
  same "$(cat changed)" NEW
}

# A file system below that does not answer holds up those who use it, and nobody else.
t_fuse_stopped() {
  local server p pids='' watchdog
  server=$(pgrep -f "bindfs $twins $org/fuse")
  # The kernel may look for the name of the file system's directory, and nobody finds others beside
  # it.
  mkdir -p apart
  echo inside > apart/inside
  ls -l fuse/a >/dev/null
  cd apart
  kill -STOP "$server"
  sleep 1.1 # attributes are asked for again
  for _ in 1 2 3 4; do
    (cd ../fuse/a && stat first second f1 f2) >/dev/null 2>&1 &
    pids="$pids $!"
  done
  rm -f "$work/late"
  (sleep 15; : > "$work/late"; kill -CONT "$server") &
  watchdog=$!
  sleep 0.5
  cat inside >/dev/null
  touch beside
  [ ! -e "$work/late" ]
  kill "$watchdog"
  kill -CONT "$server"
  for p in $pids; do wait "$p" || :; done
}

# A file system below that is frozen: who changes something there waits. Who reads does not, even
# the same file.
set_up_frozen() {
  image frozen 16 mkfs.ext4 -q && attach frozen || return 1
  for p in 1 2 3 4 5 6; do echo many > "$org/frozen/many$p" || return 1; done
  echo changed > "$org/frozen/changed" && echo other > "$org/frozen/other" && sync -f "$org/frozen"
  mkdir "$work/alias" && mount --bind "$org/frozen" "$work/alias"
}
waits_at_origin() { # [N]: so many threads of the mount, or one
  local _
  for _ in $(seq 200); do
    [ "$(cat /proc/"$mount_pid"/task/*/stat 2>/dev/null | grep -c '^[0-9]* (.*) D ')" \
      -lt "${1:-1}" ] || return 0
    sleep 0.05
  done
  echo "nothing waits" >&2
  return 1
}
t_frozen() {
  local changer p pids=''
  cat frozen/changed frozen/other >/dev/null
  rm -f "$work/late"
  trap 'kill "$watchdog" 2>/dev/null; fsfreeze -u "$work/alias" 2>/dev/null || :' EXIT
  # Who waits for the mount cannot be killed: thawed in any case, by one who does not look at it.
  (cd /; sleep 30; : > "$work/late"; fsfreeze -u "$work/alias") &
  watchdog=$!
  fsfreeze -f "$work/alias"
  setfattr -n user.a -v 1 frozen/changed &
  changer=$!
  waits_at_origin
  for p in 1 2 3 4 5; do # more than there are loops
    cat frozen/changed >/dev/null &
    pids="$pids $!"
  done
  for p in $pids; do wait "$p"; done
  cat frozen/other f1 >/dev/null
  [ ! -e "$work/late" ]
  kill -0 $changer
  fsfreeze -u "$work/alias"
  wait $changer
  getfattr -n user.a frozen/changed
}
# More changes wait than there are loops, in calls that loops make themselves.
t_frozen_loops() {
  local changers='' p
  cat f1 frozen/other >/dev/null
  rm -f "$work/late"
  trap 'kill "$watchdog" 2>/dev/null; fsfreeze -u "$work/alias" 2>/dev/null || :' EXIT
  (cd /; sleep 30; : > "$work/late"; fsfreeze -u "$work/alias") &
  watchdog=$!
  fsfreeze -f "$work/alias"
  for p in 1 2 3 4 5 6; do
    setfattr -n user.a -v 1 frozen/many$p &
    changers="$changers $!"
  done
  waits_at_origin 6
  cat f1 frozen/other >/dev/null
  touch beside
  [ ! -e "$work/late" ]
  fsfreeze -u "$work/alias"
  for p in $changers; do wait "$p"; done
  getfattr -n user.a frozen/many6
}
# Two names of one file in a lower layer are two files once one of them is written.
set_up_overlay() {
  mkdir -p "$layers" "$org/overlay"
  mount -t tmpfs none "$layers" || return 1
  mkdir "$layers/lo" "$layers/up" "$layers/work"
  for f in a c e; do
    echo "first $f" > "$layers/lo/$f"
    ln "$layers/lo/$f" "$layers/lo/$f-too"
  done
  mount -t overlay -o "lowerdir=$layers/lo,upperdir=$layers/up,workdir=$layers/work,index=off" \
    none \
    "$org/overlay" && points="overlay $points"
}
t_overlay() {
  cd overlay
  same "$(stat -c %i a)" "$(stat -c %i a-too)"
  same "$(cat a a-too)" "first a
first a"
  echo second > a-too
  same "$(cat a a-too)" "first a
second"
  same "$(cat "$layers/lo/a" "$layers/up/a-too")" "first a
second"
}
t_overlay_rights() { # what is set by one name holds for the other
  cd overlay
  cp "$(command -v id)" one
  ln one two
  fails getfattr -n security.capability two
  python3 - <<'PY'
import os, struct
os.setxattr("one", "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
PY
  getfattr -n security.capability two
  chown 65534:65534 one
  chmod 777 one
  python3 - <<'PY'
import os
writer = os.open("two", os.O_WRONLY)
if os.fork() == 0:
    os.setgroups([])
    os.setresgid(1000, 1000, 1000)
    os.setresuid(1000, 1000, 1000)
    while not os.stat("one").st_mode & 0o4000:
        pass
    os.write(writer, b"evil")
    os._exit(0)
os.chmod("one", 0o6777)
assert os.wait()[1] == 0
PY
  same "$(stat -c %a "$layers/up/one")" 777
}
t_overlay_open() { # what is open is still the file, also after it has another number
  cd overlay
  python3 - <<'PY'
import os, sys, time
def same(a, b):
    if a != b:
        sys.exit("%s is not %s" % (a, b))
def content(name):
    with open(name, "rb") as f:
        return f.read()
tick = 0.02 # of the clock: the kernel sees by the times that pages are old
reader = os.open("c", os.O_RDONLY)
same(os.pread(reader, 20, 0), b"first c\n")
with open("c", "w") as f:
    f.write("second\n")
time.sleep(tick)
same(os.pread(reader, 20, 0), b"second\n")
for text in "third!\n", "fourth\n":
    with open("c", "r+") as f:
        f.write(text)
    time.sleep(tick)
    same(os.pread(reader, 20, 0), text.encode())
writer = os.open("e", os.O_RDWR) # known by the number that it had until now
late = os.open("e", os.O_RDONLY)
for _ in range(3):
    same(content("e"), b"first e\n")
same(os.pread(late, 20, 0), b"first e\n")
os.pwrite(writer, b"FIRST", 0)
time.sleep(tick)
same(os.pread(late, 20, 0), b"FIRST e\n")
same(content("e"), b"FIRST e\n")
same(content("e-too"), b"first e\n")
PY
}

# What is done by one name is there by the other one, at the first look.
t_overlay_other() { # WHAT
  cd overlay
  python3 "$here/other_name.py" "$1"
}

# What a file system below is mounted with holds in the mount, too.
set_up_strict() {
  mkdir "$org/nosuid" "$org/noexec"
  mount -t tmpfs -o nosuid,nodev,mode=755 none "$org/nosuid" && points="nosuid $points" || return 1
  mount -t tmpfs -o noexec,mode=755 none "$org/noexec" && points="noexec $points" || return 1
  cp "$(command -v id)" "$org/nosuid/id" && chmod 6755 "$org/nosuid/id"
  # cap_net_raw=ep; where the kernel keeps no capabilities on tmpfs there are none to show
  python3 -c '
import os, struct, sys
os.setxattr(sys.argv[1], "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))' \
    "$org/nosuid/id" 2>/dev/null
  cp "$(command -v id)" "$org/noexec/id" && chmod 4755 "$org/noexec/id"
  cp "$(command -v id)" "$org/id" && chmod 4755 "$org/id"
  mknod -m 666 "$org/nosuid/zero" c 1 5 && mknod -m 666 "$org/zero" c 1 5 || return 1
  mkdir "$work/strict" && mount --bind "$org/nosuid" "$work/strict"
}
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
t_strict() { # the same beside the mount and in it, but for the names of errors
  same "$(as_nobody ./id -u)" 0
  same "$(as_nobody ./nosuid/id -u)" 65534
  same "$(as_nobody ./nosuid/id -g)" 65534
  fails as_nobody ./noexec/id -u
  fails ./noexec/id -u
  same "$(head -c 1 zero | od -An -tx1)" " 00"
  fails head -c 1 nosuid/zero
  fails as_nobody head -c 1 nosuid/zero
}
# What is hidden is cleared all the same, when another writes or truncates.
t_strict_cleared() {
  for f in written cut grown roots; do
    echo data > "$work/strict/$f"
    chmod 6777 "$work/strict/$f"
  done
  as_nobody sh -c 'printf x 1<> nosuid/written && truncate -s 2 nosuid/cut &&
    fallocate -l 5000 nosuid/grown'
  printf x 1<> nosuid/roots
  (cd "$work/strict" && same "$(stat -c %a written cut grown roots | tr '\n' ' ')" \
    "777 777 777 6777 ")
}
t_strict_shown() { # with a capability the file would run with it
  same "$(stat -c %a id noexec/id)" "4755
4755"
  fails getfattr -n security.capability nosuid/id
}

# One file system with several flags: the directory's own, bound below it from elsewhere, and one
# that is mounted twice, the lax mount first.
set_up_bound() {
  local p v=$org/bound
  mkdir "$v" && mount -t tmpfs -o suid,dev,exec,mode=755 none "$v" && points="bound $points" ||
    return 1
  mkdir "$v/dir" "$v/dir/strict" "$v/dir/twice" "$v/outside" || return 1
  for p in outside dir; do
    cp "$(command -v id)" "$v/$p/id" && chmod 6755 "$v/$p/id" && mknod -m 666 "$v/$p/zero" c 1 5 ||
      return 1
  done
  mkdir "$v/dir/linked" "$v/dir/bind" && cp -a "$v/dir/id" "$v/dir/both" &&
    ln "$v/dir/both" "$v/dir/linked/both" || return 1
  mount --bind "$v/dir/linked" "$v/dir/bind" && points="bound/dir/bind $points" &&
    mount -o remount,bind,nosuid,nodev,noexec "$v/dir/bind" || return 1
  mount --bind "$v/outside" "$v/dir/strict" && points="bound/dir/strict $points" &&
    mount -o remount,bind,nosuid,nodev,noexec "$v/dir/strict" || return 1
  mount -t tmpfs -o suid,dev,exec,mode=755 none "$v/dir/twice" &&
    points="bound/dir/twice $points" || return 1
  mkdir "$v/dir/twice/lax" "$v/dir/twice/strict" "$v/dir/twice/source" || return 1
  cp -a "$v/outside/." "$v/dir/twice/lax" && cp -a "$v/outside/." "$v/dir/twice/source" || return 1
  mount --bind "$v/dir/twice/source" "$v/dir/twice/strict" &&
    points="bound/dir/twice/strict $points" &&
    mount -o remount,bind,nosuid,nodev,noexec "$v/dir/twice/strict"
}
t_bound() {
  local p
  for p in . twice/lax; do
    same "$(as_nobody $p/id -u)" 0
    same "$(head -c 1 $p/zero | od -An -tx1)" " 00"
  done
  for p in strict twice/strict; do
    fails $p/id -u
    fails as_nobody $p/id -u
    fails head -c 1 $p/zero
  done
}
t_bound_links() { # a file that was seen elsewhere first has the flags of both
  stat both >/dev/null
  fails as_nobody bind/both -u
  fails bind/both -u
}
t_bound_shown() {
  same "$(stat -c %a id twice/lax/id strict/id twice/strict/id | tr '\n' ' ')" "6755 6755 755 755 "
}

# A file system that knows no ACLs: others than the owner have the rights that the mode gives them.
t_no_acls() {
  cd ramfs
  same "$(as_nobody ls)" "$(printf 'file\nopen')"
  same "$(as_nobody cat file)" content
  fails as_nobody cat open/secret
  as_nobody sh -c 'echo made > open/made'
  same "$(as_nobody cat open/made)" made
  getfacl file >/dev/null
  fails setfacl -m u:777:r file
}

t_one_fs_subvolume() {
  same "$(ls -A btrfs)" ""
}

# Files of procfs say that they are empty.
t_sizeless() {
  same "$(cat procfs/version)" "$(cat /proc/version)"
  same "$(dd if=procfs/version iflag=direct bs=4k status=none)" "$(cat /proc/version)"
  same "$(tail -c +7 procfs/version)" "$(tail -c +7 /proc/version)"
  same "$(stat -c %s procfs/version)" 0
  : > tmpfs/empty
  same "$(cat tmpfs/empty)" ""
  python3 - <<'PY'
import mmap, os, subprocess
with subprocess.Popen(["sleep", "100"]) as p:
    fd = os.open("procfs/%d/oom_score_adj" % p.pid, os.O_RDWR)
    for n in b"7\n", b"123\n", b"9\n":
        os.pwrite(fd, n, 0)
        assert os.pread(fd, 100, 0) == n
    p.kill()
fd = os.open("tmpfs/empty", os.O_RDWR) # a file that is really empty can be written and mapped
os.pwrite(fd, b"content", 0)
assert mmap.mmap(fd, 7)[:] == b"content"
PY
}

# What procfs tells of a process is for those who may look into it, which is judged when a file is
# opened, read or written. As root, as another user, and as the process's own user.
judged='
import errno, os, sys
proc, pid, adjust = sys.argv[1:]
def say(what, call):
    try: print(what, call())
    except OSError as e: print(what, errno.errorcode[e.errno])
def content(name):
    with open("%s/%s/%s" % (proc, pid, name), "rb", 0) as f: return f.read()
def write(name, what):
    with open("%s/%s/%s" % (proc, pid, name), "wb", 0) as f: return f.write(what)
for name in "maps", "environ", "auxv", "syscall", "wchan", "personality", "fdinfo/0", "cmdline":
    say(name, lambda: content(name))
say("stat", lambda: content("stat").split()[25:30])
for name in "exe", "cwd", "root", "ns/pid":
    say(name, lambda: os.readlink("%s/%s/%s" % (proc, pid, name)))
say("lower oom_score_adj", lambda: write("oom_score_adj", adjust.encode()))
'
sleeps() { # PROCESS
  [ "$(cat "/proc/$1/comm")" = sleep ] && grep -q '^State:.S' "/proc/$1/status"
}
t_judged() {
  local of who
  for of in root as_nobody; do
    if [ $of = root ]; then
      exec sleep 1000 &
    else
      setpriv --reuid=65534 --regid=65534 --clear-groups sleep 1000 &
    fi
    echo $! > "$work/judged.pid"
    trap 'kill "$(cat "$work/judged.pid")" 2>/dev/null || :' EXIT
    eventually sleeps $!
    for who in env as_nobody; do
      $who "$python" -c "$judged" /proc $! -5 > "$work/judged.bare"
      $who "$python" -c "$judged" "$PWD/procfs" $! -6 > "$work/judged.mount"
      same "$(wc -l < "$work/judged.bare")" 14
      diff "$work/judged.bare" "$work/judged.mount" >&2
    done
    kill $!
  done
}

# with NAME POINT PROGRAM...: false, with a line, when one is missing
with() {
  local name=$1 point=$2 p
  shift 2
  for p in "$@"; do
    has "$p" || { skip "$name" "no $p"; return 1; }
  done
  case " $points " in *" $point "*) ;; *)
    skip "$name" "no $point"
    return 1
    ;;
  esac
}

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
set_up
with "equal numbers" ext4-copy && check "equal numbers on the origin" t_collide
if do_mount; then
  check "no two files share a number" t_unique
  check "numbers in lists of directories" t_listed
  check "own numbers stay" t_own_numbers
  check "tar of several devices" t_tar
  with "rsync -aH of several devices" ext4-copy rsync &&
    check "rsync -aH of several devices" t_rsync
  check "cp -a of several devices" t_cp
  with cmp ext4-copy && {
    check "cmp across devices" t_cmp
    check "find -inum" t_find
    check "rename, link and mv across devices" t_across
  }
  [ $have_btrfs = 1 ] && check "cmp across subvolumes" t_cmp_subvolumes
  (cd "$org" && find . -printf '%i %p\n' | sort -k 2) > "$work/numbers1"
  do_unmount
  numbers_before=$(cd "$org" && stat -c %d ext4-b)
  truncate -s 1M "$work/taken.img"
  # Other device numbers for the same file systems, as after a reboot.
  for p in onto xfs ext4-b; do
    mountpoint -q "$org/$p" && umount "$org/$p"
  done
  for _ in 1 2 3; do taken="$taken $(losetup -f --show "$work/taken.img")"; done
  if mountpoint -q "$org/ext4-a"; then
    mount -o loop "$work/ext4-b.img" "$org/ext4-b"
    mount --bind "$org/ext4-a/bound" "$org/onto"
    check "other device numbers" t_moved
  fi
  [ -f "$work/xfs.img" ] && case " $points " in
  *" xfs "*) mount -o loop "$work/xfs.img" "$org/xfs" ;;
  esac
  do_mount
  check "the same numbers after a remount" t_again
  do_unmount
  exec 8<"$org"
  do_mount -o entry_timeout=0,attr_timeout=0 # the kernel asks again
  check "a device that is mounted later" t_later
  exec 8<&-
  do_unmount
else
  fail mount "$(tail -n 1 "$work/log")"
fi
if ! wanted "--one-file-system"; then
  :
elif do_mount --one-file-system; then
  with "--one-file-system" ext4-copy rsync && check "--one-file-system" t_one_fs
  [ $have_btrfs = 1 ] && check "--one-file-system, btrfs" t_one_fs_subvolume
  do_unmount
  [ "$(cat "$org/ext4-a/f1" 2>/dev/null)" = "$org/ext4-a 1" ] &&
    ok "--one-file-system left it alone" ||
    fail "--one-file-system left it alone" "changed"
else
  fail "--one-file-system" "$(tail -n 1 "$work/log")"
fi
if wanted "FUSE below the directory" && with "FUSE below the directory" ext4-b bindfs &&
  set_up_fuse && do_mount -o entry_timeout=0,attr_timeout=60; then # the kernel asks for names again
  check "equal numbers of a FUSE server" t_fuse_collide
  check "several names and equal numbers" t_fuse_several
  check "files of a FUSE server with equal numbers" t_fuse
  check "links below a FUSE server" t_fuse_links
  do_unmount
  do_mount -o attr_timeout=0 && {
    check "a FUSE server that does not answer" t_fuse_stopped
    do_unmount
  }
  # The name of the volume says nothing of what is below.
  do_mount -o entry_timeout=0,attr_timeout=60 --volume-id disk && {
    check "equal numbers where the volume has a name" t_fuse
    do_unmount
  }
  if grep -Eq '__(asan|tsan)_init' "$mount_bin"; then
    skip "equal numbers where the kernel tells less" "a sanitizer's build takes no LD_PRELOAD"
  else
    shim=$(realpath "$(find "$build" -name no_handles.so | head -n 1)")
    for NO_HANDLES in export all; do
      export NO_HANDLES
      LD_PRELOAD=$shim do_mount -o entry_timeout=0,attr_timeout=60 && {
        check "equal numbers where the kernel tells less: $NO_HANDLES" t_fuse
        do_unmount
      }
    done
    unset NO_HANDLES
  fi
  do_mount --coherence=close-to-open && {
    check "a FUSE server's files are changed by others" t_fuse_shared
    do_unmount
  }
fi
if ! wanted "files without a size"; then
  :
elif ! mkdir "$org/procfs" "$org/tmpfs" || ! mount -t proc none "$org/procfs" 2>/dev/null; then
  skip "files without a size" "procfs cannot be mounted here"
else
  mount -t tmpfs -o size=0 none "$org/tmpfs" # without a limit
  for how in local close-to-open strict; do
    do_mount --coherence=$how && {
      check "files without a size: $how" t_sizeless
      ! need "files without a size, rights: $how" setpriv "${python:-python3}" ||
        check "files without a size, rights: $how" t_judged
      do_unmount
    }
  done
  umount "$org/procfs"
  umount "$org/tmpfs"
fi
if ! wanted "no ACLs below" || ! need "no ACLs below" setpriv setfacl getfacl; then
  :
elif ! mkdir "$org/ramfs" || ! mount -t ramfs -o mode=755 none "$org/ramfs" 2>/dev/null; then
  skip "no ACLs below" "ramfs cannot be mounted here"
else
  points="ramfs $points"
  mkdir -m 777 "$org/ramfs/open"
  echo content > "$org/ramfs/file"
  (umask 037; echo secret > "$org/ramfs/open/secret")
  if setfacl -m u:777:r "$org/ramfs/file" 2>/dev/null; then
    skip "no ACLs below" "ramfs has them here"
  elif do_mount; then
    check "no ACLs below" t_no_acls
    do_unmount
  fi
fi
if ! wanted "a frozen file system"; then
  :
elif ! has fsfreeze || ! has setfattr; then
  skip "a frozen file system" "no fsfreeze or setfattr"
elif set_up_frozen && do_mount; then
  check "a frozen file system" t_frozen
  check "a frozen file system, more changes than loops" t_frozen_loops
  do_unmount
fi
if ! wanted "overlayfs below the directory"; then
  :
elif ! set_up_overlay 2>"$work/err"; then
  skip "overlayfs below the directory" "$(tail -n 1 "$work/err")"
elif do_mount -o entry_timeout=0,attr_timeout=60; then
  check "two names in a lower layer" t_overlay
  check "open files of a lower layer" t_overlay_open
  check "rights of another name" t_overlay_rights
  check "sizes of another name" t_overlay_other sizes
  check "times of another name, put back" t_overlay_other times
  check "an append after another name" t_overlay_other appends
  do_unmount
fi
if wanted "flags of mounts below" && command -v setpriv >/dev/null && set_up_strict; then
  if [ -n "$(findmnt -n -o OPTIONS -T "$org" | grep -E 'nosuid|nodev|noexec')" ]; then
    skip "flags of mounts below" "the directory itself is mounted so"
  else
    check "flags of mounts below, without the mount" t_strict
    check "hidden set-user-id is cleared, without the mount" t_strict_cleared
    do_mount
    check "flags of mounts below" t_strict
    check "hidden set-user-id is cleared" t_strict_cleared
    check "flags of mounts below, as shown" t_strict_shown
    do_unmount
    if set_up_bound; then
      org=$org/bound/dir
      check "flags of binds below, without the mount" t_bound
      check "flags of binds below, without the mount: links" t_bound_links
      do_mount
      check "flags of binds below" t_bound
      check "flags of binds below: links" t_bound_links
      check "flags of binds below, as shown" t_bound_shown
      do_unmount
      org=$whole
    else
      skip "flags of binds below" "they cannot be mounted here"
    fi
  fi
fi
summary
