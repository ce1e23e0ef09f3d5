#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# writeback-test.sh - a mount with -o writeback, whose kernel holds writes back.
#
# Usage: writeback-test.sh BUILD_DIR

set -u
build=${1:?usage: writeback-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

need writeback python3 || { summary; exit 77; }
need_root writeback || { summary; exit 77; }
[ $has_below = 1 ] || { skip writeback "no bind mounts here"; summary; exit 77; }
trap 'umount -l "$work/bare" "$org/small" "$org/far" 2>/dev/null; cleanup' EXIT
mkdir "$org/small" "$org/far" "$work/source" "$work/bare"

# ---- What is not accepted -----------------------------------------------------------------------

t_refused() {
  local words
  for words in "-o writeback,coherence=strict" "-o writeback --coherence=close-to-open" \
    "-o writeback,sync" "-o writeback=1"; do
    # shellcheck disable=SC2086 # words
    rc=0; "$mount_bin" "$org" --pool "$pool" $words 2> "$work/refused" || rc=$?
    same "$rc" 2
    grep -q writeback "$work/refused"
  done
}
new_pool 64M
cd /
check "what excludes it is refused" t_refused

# ---- What programs see --------------------------------------------------------------------------

# The kernel may write at any time, so it is enough that it waited once.
t_held() {
  python3 - "$org" "$below" <<'PY'
import os, sys
top, bare = sys.argv[1:]
fd = os.open(top + "/held", os.O_CREAT | os.O_WRONLY)
waited = False
for n in range(50):
    data = b"%08d" % n
    os.pwrite(fd, data, 5000 * n + 3)
    with open(bare + "/held", "rb") as f:
        f.seek(5000 * n + 3)
        waited |= f.read(8) != data
    os.fsync(fd)
    with open(bare + "/held", "rb") as f:
        f.seek(5000 * n + 3)
        assert f.read(8) == data, n
assert waited
os.pwrite(fd, b"last", 1)
os.close(fd)
with open(bare + "/held", "rb") as f:
    assert f.read(5) == b"\0last"
PY
}

# Parts of pages, by a descriptor that cannot read; the rest of them is at the origin, and cached.
t_parts() {
  python3 - "$org" "$below" <<'PY'
import os, random, sys
top, bare = sys.argv[1:]
r = random.Random(3)
data = bytearray(r.randbytes(300000))
with open(bare + "/parts", "wb") as f:
    f.write(data)
def read():
    with open(top + "/parts", "rb") as f:
        return f.read()
assert read() == data and read() == data
fd = os.open(top + "/parts", os.O_WRONLY)
for n in range(200):
    at, piece = r.randrange(310000), r.randbytes(r.randrange(1, 9000))
    os.pwrite(fd, piece, at)
    if len(data) < at + len(piece):
        data.extend(bytes(at + len(piece) - len(data)))
    data[at:at + len(piece)] = piece
    if n % 20 == 0:
        assert read() == data, n
    if n % 33 == 0:
        os.ftruncate(fd, len(data) - 5000)
        del data[-5000:]
    if n % 50 == 0:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert read() == data, n
os.close(fd)
assert read() == data
with open(bare + "/parts", "rb") as f:
    assert f.read() == data
PY
}

t_sizes() {
  python3 - "$org" <<'PY'
import mmap, os, sys
path = sys.argv[1] + "/sizes"
a = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND)
b = os.open(path, os.O_WRONLY | os.O_APPEND)
for n in range(300):
    os.write(a if n % 2 else b, b"%07d\n" % n)
    assert os.stat(path).st_size == 8 * (n + 1) == os.lseek(a, 0, os.SEEK_END)
assert os.pread(a, 8, 8 * 299) == b"0000299\n"
os.pwrite(b, b"", 0)
os.pwrite(b, b"far", 0) # appends, on Linux; the origin does not have it yet
assert os.lseek(a, 2402, os.SEEK_DATA) == 2402 and os.lseek(a, 0, os.SEEK_HOLE) == 2403
os.ftruncate(a, 100000)
assert os.lseek(a, 50000, os.SEEK_DATA) == 50000 and os.lseek(a, 0, os.SEEK_HOLE) == 100000
m = mmap.mmap(a, 100000)
assert m[8 * 299:8 * 300] == b"0000299\n"
m[99990:99995] = b"STORE"
c = os.open(path, os.O_RDWR | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
assert os.preadv(c, [page], 98304) == 100000 - 98304 and page[1686:1691] == b"STORE"
page[0:6] = b"direct"
os.pwritev(c, [page], 0)
assert os.pread(a, 6, 0) == b"direct" and m[0:6] == b"direct"
d = os.open(path + "2", os.O_CREAT | os.O_RDWR)
os.pwrite(a, b"x", 0)
assert os.fstat(a).st_size == 100001
done = 0
while done < 100001:
    done += os.copy_file_range(a, d, 100001 - done, done, done)
with open(path + "2", "rb") as f, open(path, "rb") as g:
    assert f.read() == g.read()
os.write(a, b"held")
os.unlink(path) # what is held back of it is still there
assert os.pread(a, 4, 100001) == b"held"
PY
}

# Only the kernel knows where the end is. The origin has less, because the rest is held back.
t_direct_append() {
  python3 - "$org" "$below" <<'PY'
import os, sys
top, bare = (d + "/ends" for d in sys.argv[1:])
held = os.open(top, os.O_CREAT | os.O_RDWR)
direct = os.open(top, os.O_WRONLY | os.O_APPEND | os.O_DIRECT)
data = b""
for n in range(30):
    piece = (b"%04d" % n * 4096)[:8192 - len(data) % 4096] # to the end of a page
    os.pwrite(held, piece, len(data))
    os.write(direct, b"direct")
    data += piece + b"direct"
    assert os.fstat(held).st_size == len(data), n
os.posix_fadvise(held, 0, 0, os.POSIX_FADV_DONTNEED)
assert os.pread(held, len(data) + 1, 0) == data
os.fsync(held)
with open(bare, "rb") as f:
    assert f.read() == data
PY
}

t_times() {
  python3 - "$org" "$below" <<'PY'
import os, sys
top, bare = (d + "/times" for d in sys.argv[1:])
with open(top, "wb") as f:
    f.write(b"one")
    f.flush()
    inside = os.fstat(f.fileno()).st_mtime_ns
assert os.stat(top).st_mtime_ns >= inside
with open(top, "r+b") as f:
    f.write(b"two")
    f.flush()
    os.utime(top, ns=(10**18, 10**18))
assert os.stat(top).st_mtime_ns == os.stat(bare).st_mtime_ns == 10**18, os.stat(bare)
PY
}

# What was cached is old once it is overwritten, also where only the kernel has the new bytes.
t_cached() {
  local n
  for n in 1 2 3; do
    head -c 2000000 /dev/urandom > "$below/cached"
    cmp "$org/cached" "$below/cached"
    drop_caches
    cmp "$org/cached" "$below/cached"
    dd if=/dev/urandom of="$org/cached" bs=5000 seek=$n count=20 conv=notrunc status=none
    cmp "$org/cached" "$below/cached"
    drop_caches
    cmp "$org/cached" "$below/cached"
    rm "$org/cached"
  done
}

# A full disk is told at fsync or close, and the log says what was lost.
t_full() {
  python3 - "$org/small" <<'PY'
import errno, os, sys
fd = os.open(sys.argv[1] + "/f", os.O_CREAT | os.O_WRONLY)
try:
    for n in range(64):
        os.pwrite(fd, bytes(1 << 20), n << 20)
    os.fsync(fd)
    sys.exit("no error")
except OSError as e:
    assert e.errno == errno.ENOSPC, e
os.unlink(sys.argv[1] + "/f")
os.close(fd)
PY
  # One line, though each write of the file has failed.
  same "$(grep -c "which the kernel held back, cannot be written: No space left" "$work/log")" 1
}

# What could not be written is not shown any more: a copy of it would look like the file. The size
# stays, with zeros behind what the origin has.
t_lost() {
  python3 - "$org/small/lost" "$work/bare/lost" <<'PY'
import errno, mmap, os, sys, time
name, bare = sys.argv[1:]
size = 12 << 20
fd = os.open(name, os.O_CREAT | os.O_RDWR)
try:
    for at in range(0, size, 1 << 20):
        os.pwrite(fd, b"A" * (1 << 20), at)
    os.fsync(fd)
    sys.exit("no error")
except OSError as e:
    assert e.errno == errno.ENOSPC, e
m = mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ)
began = time.monotonic()
while True:
    with open(bare, "rb") as f:
        have = f.read()
    with open(name, "rb") as f:
        shown = f.read()
    assert len(shown) == os.fstat(fd).st_size == len(m)
    want = have.ljust(len(shown), b"\0")
    if shown == want and m[:] == want:
        break
    assert time.monotonic() - began < 30, (shown.count(b"A"), m[:].count(b"A"), have.count(b"A"))
    time.sleep(0.05)
assert have.count(b"A") < len(shown)
os.unlink(name)
m.close()
os.close(fd)
PY
}

t_immutable() {
  python3 - "$org/fixed" <<'PY'
import array, errno, fcntl, os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.write(fd, b"held")
reader = os.open(sys.argv[1], os.O_RDONLY)
flags = array.array("L", [0x10]) # FS_IMMUTABLE_FL
try:
    fcntl.ioctl(reader, 0x40086602, flags)
    fcntl.ioctl(reader, 0x40086602, array.array("L", [0])) # or nobody could remove it
    sys.exit("no error")
except OSError as e:
    assert e.errno == errno.EBUSY, e
os.close(fd)
PY
}

# What a server has is written at once, also where its file is mapped.
t_far() {
  python3 - "$org/far/f" "$work/source/f" <<'PY'
import mmap, os, sys
top, bare = sys.argv[1:]
fd = os.open(top, os.O_CREAT | os.O_RDWR)
for n in range(50):
    os.pwrite(fd, b"%08d" % n, 5000 * n)
    with open(bare, "rb") as f:
        f.seek(5000 * n)
        assert f.read(8) == b"%08d" % n, n
m = mmap.mmap(fd, 100000)
m[10:15] = b"STORE"
m.flush()
with open(bare, "rb") as f:
    assert f.read(15) == b"00000000\0\0STORE"
PY
}

mount -t tmpfs -o size=8m none "$org/small"
mount --bind "$org/small" "$work/bare"
! has bindfs || bindfs "$work/source" "$org/far" 2>/dev/null
new_pool 64M
if do_mount -o writeback; then
  check "a write is held back, and fsync and close write it" t_held
  check "parts of pages" t_parts
  check "sizes, appends, mappings and direct I/O" t_sizes
  check "direct appends" t_direct_append
  check "times" t_times
  check "what is cached of a written file" t_cached
  check "a full disk" t_full
  check "a full disk: what was lost is not shown" t_lost
  if mountpoint -q "$org/far"; then
    check "what a server has" t_far
  else
    skip "what a server has" "no bindfs"
  fi
  lsattr -d "$below" >/dev/null 2>&1 && check "chattr of what is held back" t_immutable
  cd /
  do_unmount
  # What could not be written was lost, though the program was told.
  wanted "a full disk" && { [ $status = 4 ] && ok "the exit status says so" ||
    fail "the exit status says so" "$status"; }
fi
umount "$work/bare"
umount "$org/small"
! mountpoint -q "$org/far" || umount "$org/far"

# ---- The end ------------------------------------------------------------------------------------

# A program writes, holds its file open, and ends when it is told.
writer() { # FILE
  python3 - "$1" <<'PY' &
import os, signal, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
for n in range(1000):
    os.pwrite(fd, b"%08d" % n, 8 * n)
os.close(os.open(sys.argv[1] + ".ready", os.O_CREAT | os.O_WRONLY))
signal.pause()
PY
  while [ ! -e "$1.ready" ]; do sleep 0.02; done
}
t_sigterm() {
  cd /
  new_pool 64M
  do_mount -o writeback
  writer "$org/open"
  local program=$!
  kill -TERM "$mount_pid"
  wait_mount
  kill "$program"
  same "$status" 0
  for n in $(seq 0 999); do printf %08d "$n"; done | cmp - "$org/open"
}
t_unmount() {
  cd /
  new_pool 64M
  do_mount -o writeback
  head -c 3000000 /dev/urandom | tee "$ref/closed" > "$org/closed"
  do_unmount
  cmp "$ref/closed" "$org/closed"
  do_mount -o writeback # and it is warm, once it was read
  cmp "$ref/closed" "$org/closed"
  do_unmount
  do_mount -o writeback
  drop_caches
  cmp "$ref/closed" "$org/closed"
  do_unmount
  [ "$(stat_of hit_blocks)" -ge 700 ]
}
check "SIGTERM writes what is held back" t_sigterm
check "an unmount writes what is held back" t_unmount

# user_directory: $work/user with a directory d of the ordinary user, who may use /dev/fuse.
user_directory() {
  dir=$work/user
  rm -rf "$dir"
  mkdir "$dir" "$dir/d"
  chown 65534:65534 "$dir" "$dir/d"
  rm -f "$work/fuse"
  mknod -m 666 "$work/fuse" c 10 229 && mount --bind "$work/fuse" /dev/fuse
  trap 'cd /; umount -l /dev/fuse "$dir/bare" 2>/dev/null || :' EXIT
  cp "$mount_bin" "$dir/cachemax-mount" # the build may lie where others cannot look
  as_user "$cm" create "$dir/pool" --size=16M >/dev/null
}
as_user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

# An ordinary user, and a file that this user may only write.
t_user() {
  cd /
  local dir
  user_directory
  echo "of root" > "$dir/d/log"
  chmod 622 "$dir/d/log"
  as_user bash -c '
    "$1" "$2/d" --pool "$2/pool" -o writeback || exit 9
    printf OF > "$2/w" && dd if="$2/w" of="$2/d/log" conv=notrunc status=none; a=$?
    echo mine > "$2/d/mine" && printf M | dd of="$2/d/mine" conv=notrunc status=none; b=$?
    fusermount3 -u "$2/d"
    exit $((a + b))' - "$dir/cachemax-mount" "$dir"
  same "$(cat "$dir/d/log") $(cat "$dir/d/mine")" "OF root Mine"
}

# A file that this user may read and write, and does not own: nobody lets him set its times. In the
# end the file that he has open is not his any more, which others have done at the origin.
t_not_own() {
  cd /
  local dir
  user_directory
  head -c 100000 /dev/urandom > "$dir/d/f"
  cp "$dir/d/f" "$dir/d/own"
  chmod 666 "$dir/d/f" "$dir/d/own"
  chown 65534 "$dir/d/own"
  mkdir "$dir/bare" && mount --bind "$dir/d" "$dir/bare" && mount --make-private "$dir/bare"
  cat > "$dir/calls.py" <<'PY'
import mmap, os, sys, time
top, bare = sys.argv[1:]
def content(path):
    with open(path, "rb") as f:
        return f.read()
for name in "f", "own":
    path, origin = top + "/" + name, bare + "/" + name
    data = bytearray(content(path))
    fd = os.open(path, os.O_RDWR)
    assert os.pread(fd, 1 << 20, 0) == data
    def look(what):
        assert os.fstat(fd).st_size == os.stat(path).st_size == len(data), (name, what)
        for is_now in content(origin), content(path), os.pread(fd, 1 << 20, 0):
            assert is_now == data, (name, what, len(is_now), len(data))
    for n, step in enumerate((50000, 40000, 60000)):
        os.ftruncate(fd, step) if n % 2 == 0 else os.truncate(path, step)
        data[step:] = bytes(max(0, step - len(data)))
        look(step)
        os.pwrite(fd, b"abc" * 1000, step - 1000)
        data[step - 1000:] = b"abc" * 1000
        os.fsync(fd)
        look("fsync")
        assert abs(os.stat(path).st_mtime - os.stat(origin).st_mtime) < 5
        if name == "own" and n == 1: # from now on it is as the other one
            with open(top + "/../given", "w"):
                pass
            while os.path.exists(top + "/../given"):
                time.sleep(0.01)
    os.posix_fallocate(fd, 0, 70000)
    data += bytes(70000 - len(data))
    look("fallocate")
    m = mmap.mmap(fd, 70000)
    m[10:15] = data[10:15] = b"STORE"
    m.flush()
    m.close()
    look("msync")
    os.utime(path)
    assert abs(os.stat(origin).st_mtime - time.time()) < 60
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    del data[:]
    look("O_TRUNC")
    os.write(fd, b"abc")
    data += b"abc"
    os.close(fd)
    assert content(origin) == content(path) == data, name
PY
  (eventually test -e "$dir/given" && chown 0 "$dir/bare/own" && rm "$dir/given") &
  as_user bash -c '
    "$1" "$2/d" --pool "$2/pool" -o writeback || exit 9
    timeout 100 python3 "$2/calls.py" "$2/d" "$2/bare"; a=$?
    fusermount3 -u "$2/d"
    exit $a' - "$dir/cachemax-mount" "$dir"
}
if has setpriv; then
  check "a file that the mount's user may only write" t_user
  check "a file that the mount's user does not own" t_not_own
fi

summary
