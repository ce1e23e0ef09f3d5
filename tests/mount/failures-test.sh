#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# failures-test.sh - volumes that fail, are full or go away: that of the origin, and the pool's.
#
# Usage: failures-test.sh BUILD_DIR
# A volume is a file system on a loop device, whose image lies in a small tmpfs. It fails when its
# image is cut to nothing and the tmpfs has no room left: then neither reads nor writes succeed. The
# image is put back later. What must hold: users get the errors that the origin gives, and none from
# the cache; no wrong byte; every wait ends; the room of a removed file is free. Needs root and loop
# devices.
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the last
# line. Exit status 1 when something failed.

set -u
build=${1:?usage: failures-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
if [ $is_root = 0 ] || ! losetup -f >/dev/null 2>&1; then
  skip everything "needs root and loop devices"
  summary
  exit 77
fi
for p in python3 mkfs.ext4; do
  has "$p" || { skip everything "no $p"; summary; exit 77; }
done

images=$work/images server=''
mkdir "$images" "$work/fast"
take_down() {
  exec 2>/dev/null
  cd /
  [ -z "$server" ] || kill -9 "$server"
  fusermount3 -u -z "$org"
  [ -z "$mount_pid" ] || kill -9 "$mount_pid"
  umount -l "$below" "$org" "$work/fast" "$images"
}
trap 'take_down; cleanup' EXIT
mount -t tmpfs -o size=64m images "$images" || { skip everything "no tmpfs"; summary; exit 77; }

# volume DIRECTORY: an ext4 of 24 MiB
volume() {
  rm -f "$images/img"
  truncate -s 24M "$images/img"
  mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$images/img" &&
    mount -o loop,noatime "$images/img" "$1"
}
# Their pages leave the kernel's memory, and only theirs: other tests run beside this one.
drop() { # FILE...
  local f
  for f; do dd if="$f" iflag=nocache count=0 status=none; done
}
breaks() {
  sync -f "$1"
  drop "$org"/f? "$below"/f?
  cp "$images/img" "$work/img" # elsewhere: there is no room left
  truncate -s 0 "$images/img"
  mount -o remount,size=4k "$images"
}
is_whole_again() {
  mount -o remount,size=64m "$images"
  cp "$work/img" "$images/img.new" && cat "$images/img.new" > "$images/img"
  rm "$images/img.new"
}
# again DIRECTORY: after writes that failed, the file system refuses everything until it is mounted
# anew.
again() {
  umount "$1"
  mount -o loop,noatime "$images/img" "$1"
}
# A file system below may be mounted at the same place, and may answer nobody any more.
is_served() { grep -q " $org .* fuse.cachemax " /proc/self/mountinfo; }
ends() { # NAME: the mount of the check before it ended in time
  local n=0
  while kill -0 "$mount_pid" 2>/dev/null && is_served && [ $n -lt 600 ]; do
    command fusermount3 -u "$org" 2>/dev/null
    n=$((n + 1))
    sleep 0.1
  done
  [ $n -lt 600 ] || kill -9 "$mount_pid"
  wait_mount
  if [ $n -lt 600 ] && [ $status -lt 128 ]; then ok "$1"; else fail "$1" "status $status"; fi
}
mounted_check() { # NAME FUNCTION
  if do_mount; then check "$@"; else fail "$1" "$(tail -n 1 "$work/log")"; fi
}
# calls SCRIPT: Python; error(F, ...) is the name of F's error, or None; same(NAME) compares a file
# of the directory with what it was; same(NAME, FD) does so by an open descriptor.
calls() {
  timeout 120 python3 - "$ref" <<PY
import errno, os, sys, time
def error(f, *args):
    try: f(*args)
    except OSError as e: return errno.errorcode[e.errno]
def content(name):
    with open(name, 'rb') as f: return f.read()
def same(name, fd=None):
    want = content(os.path.join(sys.argv[1], name))
    got = content(name) if fd is None else os.pread(fd, len(want) + 1, 0)
    assert got == want, name
def write(name, data, at=0, mode='r+b'):
    with open(name, mode, buffering=0) as f:
        f.seek(at)
        n = 0
        while n < len(data): n += f.write(data[n:])
        os.fsync(f.fileno())
$(cat)
PY
}
files() { # DIRECTORY
  for k in 1 2 3; do head -c 1500000 /dev/urandom > "$1/f$k"; done
  cp "$1"/f? "$ref"
}
# Until the mount has synced what is young: a sync that fails takes the file out of the cache.
warm() {
  "$cm" warm -q "$org/f1"
  "$cm" warm -q "$org/f2"
  for _ in $(seq 600); do
    ! "$cm" files "$pool" --json | grep -q '"dirty": *true' || { sleep 0.1; continue; }
    drop "$org"/f?
    return
  done
  echo "the mount syncs nothing" >&2
  return 1
}

# ---- The origin ---------------------------------------------------------------------------------

# f1 and f2 are open before it fails: the origin may not know names any more.
t_reads_fail() {
  warm
  exec 5<f1 6<f2
  breaks "$below"
  calls <<'PY'
assert error(content, 'f3') == 'EIO', error(content, 'f3')
same('f1', 5), same('f2', 6) # they come from the pool
PY
  exec 5<&- 6<&-
  is_whole_again
  calls <<'PY'
for name in 'f1', 'f2', 'f3': same(name)
PY
}
t_writes_fail() {
  warm
  exec 6<f2
  breaks "$below"
  calls <<'PY'
for k in range(3):
    e = error(write, 'f1', b'x' * 9000, 5000)
    assert e in ('EIO', 'EROFS'), e
    e = error(write, 'new', b'x' * 9000, 0, 'wb')
    assert e in ('EIO', 'EROFS', 'ENOSPC'), e
same('f2', 6)
PY
}
t_whole_again() { # what is read is what the origin has, whatever was lost
  for k in 1 2 3; do cmp "$org/f$k" "$below/f$k"; done
  cmp "$org/f2" "$ref/f2"
  cmp "$org/f3" "$ref/f3"
}
t_full() {
  warm
  calls <<'PY'
room = os.statvfs('.').f_bavail * os.statvfs('.').f_frsize
assert error(write, 'large', b'y' * (room + 1000000), 0, 'wb') == 'ENOSPC'
got = content('large')
assert got == b'y' * len(got) and len(got) > room // 2, (len(got), room)
assert error(write, 'f1', b'z' * 3000000, 1000000) == 'ENOSPC'
was = content(os.path.join(sys.argv[1], 'f1'))
got = content('f1')
assert got[:1000000] == was[:1000000] and set(got[1000000:1400000]) == {ord('z')}
same('f2'), same('f3')
os.unlink('large')
for k in range(600): # the last close, and so the room, comes a moment later
    if os.statvfs('.').f_bavail * os.statvfs('.').f_frsize > room // 2: break
    time.sleep(0.1)
write('f1', b'z' * 3000000, 1000000)
assert content('f1') == was[:1000000] + b'z' * 3000000
PY
  for k in 1 2 3; do cmp "$org/f$k" "$below/f$k"; done
}
t_gone() { # its server was killed: cached or not, an error or the right bytes
  warm
  kill -9 "$server"
  wait "$server" || :
  calls <<'PY'
for name in 'f1', 'f2', 'f3':
    e = error(same, name)
    assert e in (None, 'ENOTCONN', 'ECONNABORTED', 'EIO'), e
for f, args in (os.stat, ('f1',)), (os.listdir, ('.',)), (write, ('f1', b'x')), \
               (os.rename, ('f1', 'f9')), (os.mkdir, ('d',)), (content, ('none',)):
    e = error(f, *args)
    assert e in (None, 'ENOTCONN', 'ECONNABORTED', 'ENOENT', 'EIO'), (f, e)
assert error(write, 'f1', b'x') is not None
PY
}
origin_fails() {
  volume "$org" || { skip "the origin fails" "cannot make a volume"; return; }
  files "$org"
  mount --bind "$org" "$below"
  new_pool 16M
  if do_mount; then
    check "the origin fails to read" t_reads_fail
    check "the origin fails to write" t_writes_fail
    ends "the end with an origin that fails"
  else
    fail "the origin fails" "cannot mount"
  fi
  is_whole_again
  umount "$below"
  again "$org"
  mount --bind "$org" "$below"
  mounted_check "the origin is whole again" t_whole_again
  ends "the end after it"
  umount "$below" "$org"
}
origin_full() {
  mount -t tmpfs -o size=8m full "$org"
  files "$org"
  mount --bind "$org" "$below"
  new_pool 16M
  mounted_check "the origin is full" t_full
  ends "the end with a full origin"
  umount "$below" "$org"
}
# Room on the disk after the last name of a file has gone. The mount has the file listed for a
# proof, for half a minute, if the pool is one that it makes checkpoints of.
listed() { # FILE: written through the mount, and looked at since
  "$cm" files "$pool" --json | tr '{' '\n' | grep '"dirty": *true' >/dev/null &&
    ls -l "/proc/$mount_pid/fd" 2>/dev/null | grep -q "/$1\$"
}
has_room() { [ "$(stat -f -c %f "$below")" -ge 1536 ]; } # 6 of 8 MiB
# Less than the half minute, and long enough for a busy machine.
soon() {
  for _ in $(seq 400); do
    "$@" && return 0
    sleep 0.05
  done
  echo "not within 20 seconds: $*" >&2
  return 1
}
writes_large() { # and 0.5 s later the mount knows that it has to be proved
  exec 5<>large # also for reading: so the mount attaches it at once
  head -c 5M /dev/urandom >&5
  exec 5<&-
  eventually listed large
  sleep 0.5
  ! has_room
}
t_removed() {
  writes_large
  rm large
  soon has_room
}
t_renamed_over() {
  writes_large
  echo small > small
  mv small large
  soon has_room
  same "$(cat large)" small
}
t_removed_open() { # its last user keeps it, and only that one
  writes_large
  exec 5<>large
  rm large
  echo more >&5
  ! has_room
  exec 5<&-
  soon has_room
}
t_removed_behind() { # the mount sees it when the kernel asks for the name
  writes_large
  rm "$below/large"
  eventually fails test -e large
  soon has_room
}
origin_room() {
  volume "$work/fast" || { skip "the room of removed files" "cannot make a volume"; return; }
  mount -t tmpfs -o size=8m room "$org"
  mount --bind "$org" "$below"
  pool=$work/fast/pool backing=(--pool "$work/fast/pool")
  new_pool 16M
  for name in removed renamed_over removed_open; do
    mounted_check "the room of a file: $name" "t_$name"
    ends "the end after it: $name"
    rm -f "$below"/*
  done
  if do_mount --coherence=close-to-open; then
    check "the room of a file: removed_behind" t_removed_behind
    ends "the end after it: removed_behind"
  else
    fail "the room of a file: removed_behind" "$(tail -n 1 "$work/log")"
  fi
  umount "$below" "$org" "$work/fast"
  pool=$shm/pool backing=(--pool "$shm/pool")
}
# Both are FUSE, and do_mount may have seen the one below.
above() { # OPTION...
  do_mount "$@" && eventually is_served
}
served() {
  bindfs -f "$work/source" "$org" 2>"$work/server" &
  server=$!
  eventually mountpoint -q "$org"
}
not_served() {
  kill -9 "$server"
  wait "$server" 2>/dev/null
  server=''
}
# A file is used, its server is killed, and the mount ends before it has synced the file.
unsynced() { # NAME STATUS SAID COMMAND [OPTION...]
  local name=$1 want=$2 said=$3 use=$4
  wanted "$name" || return 0
  shift 4
  : > "$work/log"
  served && new_pool 16M && above "$@" ||
    { fail "$name" "cannot mount: $(cat "$work/server")"; return; }
  $use
  not_served
  command fusermount3 -u "$org"
  wait_mount
  if [ "$status" = "$want" ] && grep -q "$said" "$work/log" &&
    { [ "$want" = 4 ] || ! grep -q 'is lost' "$work/log"; }; then
    ok "$name"
  else
    fail "$name" "status $status: $(tail -n 2 "$work/log" | tr '\n' ' ')"
  fi
  umount -l "$org"
}
reads_them() { cat "$org"/f? >/dev/null; }
writes_one() {
  cat "$org/f2" >/dev/null
  exec 5<>"$org/f1" # also for reading: so the mount attaches it at once
  echo new >&5
  exec 5<&-
}
origin_gone() {
  has bindfs || { skip "the origin is gone" "no bindfs"; return; }
  mkdir "$work/source"
  files "$work/source"
  unsynced "the origin is gone at the end, only read" 0 \
    'does not answer a sync.* nor to [12] others' reads_them -o ro
  unsynced "the origin is gone at the end, written" 4 \
    'org/f1: data that was written to it is lost' writes_one
  files "$work/source"
  served
  new_pool 16M
  if above; then
    check "the origin is gone" t_gone
  else
    fail "the origin is gone" "cannot mount"
  fi
  ends "the end without an origin"
  umount -l "$org"
  server=''
}

# A change fails when a part of it was made. Nobody reads what was there before.
t_partly() { # SCRIPT: Python, with the file "partly", which was read through pages
  rm -f "$FAIL_PART" "$FAIL_LOOK"
  head -c 200000 /dev/urandom > partly
  timeout 120 python3 - "$below/partly" "$FAIL_PART" "$FAIL_LOOK" <<PY
import ctypes, errno, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
bare, part, look = sys.argv[1:]
def content(path):
    with open(path, 'rb') as f: return f.read()
def fails(flag, wanted, call, *args): # while there is the file
    with open(flag, 'w') as f: f.write('/partly')
    try: call(*args)
    except OSError as e: assert e.errno == wanted, e
    else: sys.exit('no error')
    finally: os.unlink(flag)
def fallocate(mode, off, n):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(n)):
        raise OSError(ctypes.get_errno(), 'fallocate')
def look_at(*what):
    is_now = content(bare)
    assert os.fstat(fd).st_size == len(is_now), what
    assert os.pread(fd, 1 << 20, 0) == content('partly') == is_now, what
    if len(is_now) >= 200000: assert mapping[:] == is_now[:200000], what
fd = os.open('partly', os.O_RDWR)
mapping = mmap.mmap(fd, 200000)
direct = os.open('partly', os.O_RDWR | os.O_DIRECT)
for page in range(0, 200000, 4096): mapping[page]
look_at('before')
$1
PY
}
allocates_partly='
for mode, off in (0x10, 50123), (3, 90123), (0, 190000):
    try: fallocate(mode, off, 1)
    except OSError as e: assert e.errno == errno.EOPNOTSUPP, e
    else:
        look_at("one byte", mode)
        fails(part, errno.ENOSPC, fallocate, mode, off, 40000)
        look_at(mode, off)'
writes_partly='
piece = mmap.mmap(-1, 65536)
for n, off in enumerate((4096, 180224)): # the second one makes the file longer
    piece[:] = bytes([65 + n]) * 65536
    fails(part, errno.ENOSPC, os.pwritev, direct, [piece], off)
    look_at("direct", off)
    piece[:] = bytes([97 + n]) * 65536
    with open(part, "w") as f: f.write("/partly")
    assert os.pwritev(fd, [piece], off) == 32768
    os.unlink(part)
    look_at("buffered", off)'
truncates_partly='
for flag, e in (look, errno.EIO), (part, errno.ENOSPC):
    for size in 100000, 50001, 200000, 250000:
        fails(flag, e, os.ftruncate, fd, size)
        look_at(flag, size)'
origin_partly() {
  local shim FAIL_PART=$shm/part FAIL_LOOK=$shm/look
  wanted "partly" || return 0
  if grep -Eq '__(asan|tsan)_init' "$mount_bin"; then
    skip "partly" "a sanitizer's build takes no LD_PRELOAD"
    return
  fi
  export FAIL_PART FAIL_LOOK
  shim=$(realpath "$(find "$build" -name slow_origin.so | head -n 1)")
  mount --bind "$org" "$below" && mount --make-private "$below"
  new_pool 16M
  if LD_PRELOAD=$shim do_mount; then
    check "partly: fallocate" t_partly "$allocates_partly"
    check "partly: writes" t_partly "$writes_partly"
    check "partly: truncates" t_partly "$truncates_partly"
  else
    fail "partly" "cannot mount"
  fi
  ends "partly: the end"
  unset FAIL_PART FAIL_LOOK
  umount "$below"
}

# ---- The pool -----------------------------------------------------------------------------------

t_pool_fails() { # none of its blocks is in memory
  breaks "$work/fast"
  calls <<'PY'
for k in range(2):
    for name in 'f1', 'f2', 'f3': same(name)
for name in 'f1', 'f2', 'f3':
    write(name, b'x' * 9000, 5000)
    assert content(name)[5000:14000] == b'x' * 9000
os.truncate('f1', 700000)
os.chmod('f2', 0o600)
os.rename('f3', 'f4')
assert len(content('f1')) == 700000
os.rename('f4', 'f3')
PY
  for k in 1 2 3; do cmp "$org/f$k" "$below/f$k"; done
}
t_pool_again() {
  for k in 1 2 3; do cmp "$org/f$k" "$below/f$k"; done
}
pool_fails() {
  volume "$work/fast" || { skip "the pool's volume fails" "cannot make a volume"; return; }
  files "$org"
  pool=$work/fast/pool backing=(--pool "$work/fast/pool")
  new_pool 16M
  do_mount && cat "$org"/f? >/dev/null && "$cm" warm -q "$org"
  do_unmount
  sync "$pool"
  drop "$pool" "$org"/f?
  if do_mount; then
    check "the pool's volume fails" t_pool_fails
    ends "the end with a pool that fails"
  else
    fail "the pool's volume fails" "cannot mount"
  fi
  is_whole_again
  again "$work/fast"
  mounted_check "the pool's volume is whole again" t_pool_again
  ends "the end with that pool"
  umount "$work/fast"
}
t_cannot_go() { # it can neither forget nor be removed
  "$cm" warm -q "$org"
  cmp "$org/f1" "$below/f1"
  sleep 6 # a checkpoint: the next write has to sync that something will change
  touch "$work/fast/sync" "$work/fast/unlink"
  calls <<'PY'
for name in 'f1', 'f2', 'f3':
    write(name, b'x' * 9000, 5000)
    assert content(name)[5000:14000] == b'x' * 9000
os.truncate('f1', 700000)
assert len(content('f1')) == 700000
PY
  grep -q 'the pool file cannot be removed' "$work/log"
  [ -e "$pool" ]
  fails "$cm" mode "$org" normal
  for k in 1 2 3; do cmp "$org/f$k" "$below/f$k"; done
}
t_useless() { # the library has cut it off
  ! "$cm" info "$pool"
}
t_goes_later() {
  rm "$work/fast/unlink"
  for _ in $(seq 300); do
    [ -e "$pool" ] || return 0
    sleep 0.1
  done
  return 1
}
pool_cannot_go() {
  local shim
  if grep -Eq '__(asan|tsan)_init' "$mount_bin"; then
    skip "the pool cannot be removed" "a sanitizer's build takes no LD_PRELOAD"
    return
  fi
  volume "$work/fast" || { skip "the pool cannot be removed" "cannot make a volume"; return; }
  shim=$(realpath "$(find "$build" -name failing_pool.so | head -n 1)")
  files "$org"
  pool=$work/fast/pool backing=(--pool "$work/fast/pool")
  export FAILING_POOL=$work/fast
  new_pool 16M
  if LD_PRELOAD=$shim do_mount; then
    check "the pool cannot be removed" t_cannot_go
    ends "the end with a pool that stays"
    rm -f "$work/fast/sync" "$work/fast/unlink"
    check "what stayed is no pool" t_useless
    rm "$pool"
  else
    fail "the pool cannot be removed" "cannot mount"
  fi
  new_pool 16M
  if LD_PRELOAD=$shim do_mount; then
    check "the pool cannot be removed, once more" t_cannot_go
    check "the pool is removed later" t_goes_later
    ends "the end without a pool"
  fi
  umount "$work/fast"
}
t_pool_full() { # a fill finds no room for its block
  calls <<'PY'
for k in range(3):
    for name in 'f1', 'f2', 'f3': same(name)
write('f2', b'x' * 9000, 5000)
assert content('f2')[5000:14000] == b'x' * 9000
PY
  for k in 1 2 3; do cmp "$org/f$k" "$below/f$k"; done
}
pool_full() { # a pool that was copied has holes, and its volume no room for them
  mount -t tmpfs -o size=20m fast "$work/fast"
  files "$org"
  pool=$work/fast/pool backing=(--pool "$work/fast/pool")
  "$cm" create "$work/pool" --size=16M >/dev/null
  cp --sparse=always "$work/pool" "$pool"
  head -c 30M /dev/zero > "$work/fast/rest" 2>/dev/null
  if do_mount; then
    check "the pool's volume is full" t_pool_full
    ends "the end with a volume that is full"
  else # refused, and said why
    grep -qi 'no space\|hole\|sparse' "$work/log" && ok "the pool's volume is full: refused" ||
      fail "the pool's volume is full" "$(tail -n 1 "$work/log")"
  fi
  umount "$work/fast"
}

for part in origin_fails origin_full origin_room origin_gone origin_partly pool_fails \
  pool_cannot_go pool_full; do
  $part
done
summary
