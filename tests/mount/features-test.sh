#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# features-test.sh - calls that few programs make, on the mount and on the file systems behind it.
#
# Usage: features-test.sh BUILD_DIR
# Everything that docs/mount-features.md says is checked here or in the script that it names. Runs
# on the file system of $TMPDIR and, as root, on images of ext4, xfs and btrfs below the directory.

set -u
build=${1:?usage: features-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

need features python3 || { summary; exit 77; }
kinds='' # images that are mounted: below the directory, and beside it at $work/bare-KIND
images_away() {
  for k in $kinds; do
    umount -l "$org/$k" "$work/bare-$k"
  done
  kinds=''
}
trap 'fusermount3 -u -z "$org" 2>/dev/null; sleep 0.2; images_away 2>/dev/null; cleanup' EXIT

# image KIND MIB MKFS...: 1, with a line, when it cannot be had
image() {
  local kind=$1 size=$2
  shift 2
  truncate -s "${size}M" "$work/$kind.img"
  mkdir "$work/bare-$kind" "$org/$kind"
  if ! has "$1" || ! "$@" "$work/$kind.img" >/dev/null 2>&1; then
    skip "$kind" "no $1"
  elif ! mount -o loop "$work/$kind.img" "$work/bare-$kind" 2>/dev/null; then
    skip "$kind" "this kernel cannot mount it"
  else
    mount --bind "$work/bare-$kind" "$org/$kind"
    kinds="$kinds $kind"
    return 0
  fi
  rmdir "$org/$kind"
  return 1
}

# ---- Files without a name, O_TMPFILE ------------------------------------------------------------

# The functions get a directory of the mount, and the same one beside the mount.
t_tmpfile() {
  python3 - "$1" "$2" <<'PY'
import errno, mmap, os, sys
top, bare = sys.argv[1:]
os.umask(0o027)
def unnamed(extra=0, mode=0o666):
    return os.open(top, os.O_TMPFILE | os.O_RDWR | extra, mode)
def link(fd, name): # with a directory's descriptor it is linkat(AT_SYMLINK_FOLLOW)
    os.link("/proc/self/fd/%d" % fd, name, src_dir_fd=0)
before = os.listdir(top)
fd = unnamed()
st = os.fstat(fd)
assert (st.st_nlink, st.st_mode & 0o7777, st.st_uid) == (0, 0o640, os.getuid()), st
data = os.urandom(300000)
assert os.pwrite(fd, data, 0) == len(data) and os.pread(fd, 400000, 0) == data
assert os.listdir(top) == before
m = mmap.mmap(fd, 4096)
m[0:5] = b"STORE"
m.close()
data = b"STORE" + data[5:]
link(fd, top + "/named")
assert os.fstat(fd).st_nlink == 1
for name in top + "/named", bare + "/named":
    with open(name, "rb") as f:
        assert f.read() == data, name
    st = os.stat(name)
    assert (st.st_nlink, st.st_mode & 0o7777) == (1, 0o640), st
assert os.stat(top + "/named").st_ino == os.fstat(fd).st_ino
os.pwrite(fd, b"after the link", 1000) # is seen by others, also where they have read it
with open(top + "/named", "rb") as f:
    assert f.read()[1000:1014] == b"after the link"
link(fd, top + "/second")
assert os.stat(top + "/named").st_nlink == 2
os.unlink(top + "/second")
for at in range(0, 4096, 1024):
    os.pwrite(fd, b"%d" % at, at)
    reader = os.open(top + "/named", os.O_RDONLY | os.O_DIRECT)
    buf = mmap.mmap(-1, 4096)
    os.preadv(reader, [buf], 0)
    assert buf[at:at + len(b"%d" % at)] == b"%d" % at
    os.close(reader)
never = unnamed(os.O_EXCL)
try:
    link(never, top + "/never")
    sys.exit("an O_EXCL file got a name")
except OSError as e:
    assert e.errno == errno.ENOENT, e
gone = unnamed()
os.close(gone)
try:
    os.open(top, os.O_TMPFILE | os.O_RDONLY)
    sys.exit("opened to be read only")
except OSError as e:
    assert e.errno == errno.EINVAL, e
PY
  same "$(cat "$1/named" | md5sum)" "$(md5sum < "$2/named")"
}
t_tmpfile_hits() { # what has no name is not in the pool; what was given one is
  local new hit
  new=$(stat_of attach_new)
  python3 - "$1" <<'PY'
import os, sys
for n in range(20):
    fd = os.open(sys.argv[1], os.O_TMPFILE | os.O_RDWR)
    os.write(fd, b"x" * 100000)
    os.pread(fd, 100000, 0)
os.link("/proc/self/fd/%d" % fd, sys.argv[1] + "/hit", src_dir_fd=0)
PY
  for _ in 1 2; do dd if="$1/hit" of=/dev/null bs=128k iflag=direct status=none; done
  hit=$(stat_of hit_blocks)
  dd if="$1/hit" of=/dev/null bs=128k iflag=direct status=none
  [ $(($(stat_of hit_blocks) - hit)) -ge 24 ]
  same $(($(stat_of attach_new) - new)) 1
}
t_tmpfile_rights() { # DIR BARE: as another user
  mkdir -m 1777 "$1/pub"
  mkdir -m 2777 "$1/team"
  chgrp 777 "$1/team"
  mkdir -m 755 "$1/closed"
  python3 - "$1" <<'PY'
import os, sys
os.chdir(sys.argv[1])
os.setgroups([4711])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
for d in "pub", "team":
    fd = os.open(d, os.O_TMPFILE | os.O_WRONLY, 0o644)
    os.write(fd, b"mine")
    os.link("/proc/self/fd/%d" % fd, d + "/f", src_dir_fd=0)
try:
    os.open("closed", os.O_TMPFILE | os.O_WRONLY, 0o644)
    sys.exit("made in a directory of others")
except PermissionError:
    pass
PY
  same "$(stat -c '%u %g' "$1/pub/f" "$1/team/f" "$2/pub/f" "$2/team/f" | tr '\n' ' ')" \
    "65534 65534 65534 777 65534 65534 65534 777 "
  rm -r "$1/pub" "$1/team" "$1/closed"
}
t_temporary() { # as programs use it
  same "$(python3 -c "
import tempfile
with tempfile.TemporaryFile(dir='$1') as f:
    f.write(b'temporary')
    f.seek(0)
    print(f.read().decode())")" temporary
}

# ---- Time of birth ------------------------------------------------------------------------------

t_birth() {
  echo x > "$1/born"
  mkdir "$1/bornd"
  ln -s x "$1/bornl"
  mkfifo "$1/bornp"
  touch -d 2001-01-01 "$1/born"
  for f in born bornd bornl bornp; do
    same "$(stat -c '%w %W %A %h %u %g %s %b %x %y %z' "$1/$f")" \
      "$(stat -c '%w %W %A %h %u %g %s %b %x %y %z' "$2/$f")"
  done
  [ "$(stat -c %W "$1/born")" -gt 1700000000 ]
  echo more >> "$1/born"
  same "$(stat -c '%w %s' "$1/born")" "$(stat -c '%w %s' "$2/born")"
}

# ---- Flags: lsattr, chattr ----------------------------------------------------------------------

other() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
flags_of() { lsattr -d "$1" | cut -d' ' -f1; }
t_flags() {
  trap 'chattr -ia "$2/fl" "$2/fld"' EXIT
  echo content > "$1/fl"
  mkdir "$1/fld"
  cat "$1/fl" >/dev/null
  for f in fl fld; do
    same "$(flags_of "$1/$f")" "$(flags_of "$2/$f")"
    chattr +A "$1/$f"
    [[ $(flags_of "$2/$f") = *A* ]]
    same "$(flags_of "$1/$f")" "$(flags_of "$2/$f")"
    chattr -A "$1/$f"
    same "$(flags_of "$1/$f")" "$(flags_of "$2/$f")"
    same "$(stat -c %z "$1/$f")" "$(stat -c %z "$2/$f")" # at once
  done
  chattr +i "$1/fl" "$1/fld"
  fails sh -c "echo x > $1/fl"
  fails sh -c "echo x >> $1/fl"
  fails mv "$1/fl" "$1/fl2"
  fails ln "$1/fl" "$1/fl2"
  fails rm -f "$1/fl"
  fails chmod 600 "$1/fl"
  fails touch "$1/fld/new"
  same "$(cat "$1/fl")" content
  chattr -i "$1/fl" "$1/fld"
  chattr +a "$1/fl"
  echo more >> "$1/fl"
  fails truncate -s 0 "$1/fl"
  chattr -a "$1/fl"
  echo new > "$1/fl"
  same "$(cat "$1/fl" "$2/fl")" "new
new"
  touch "$1/fld/new"
}
t_flags_of_others() {
  echo x > "$1/theirs"
  echo x > "$1/mine"
  chown 65534:65534 "$1/mine"
  fails other chattr +A "$1/theirs"
  other chattr +A "$1/mine"
  fails other chattr +i "$1/mine"
  same "$(flags_of "$1/mine")" "$(flags_of "$2/mine")"
  [[ $(flags_of "$2/mine") = *A* && $(flags_of "$2/theirs") != *A* ]]
}
t_flag_of_the_origin() { # that ext4 lets only CAP_SYS_RESOURCE set
  local wanted=0 got=0
  echo x > "$1/journal"
  echo x > "$2/journal2"
  chown 65534:65534 "$1/journal"
  fails other chattr +j "$1/journal"
  chattr +j "$2/journal2" || wanted=$?
  chattr +j "$1/journal" || got=$?
  same $got $wanted
}
t_project() {
  echo x > "$1/project"
  mkdir "$1/projectd"
  chattr -p 4711 "$1/project"
  same "$(lsattr -p "$2/project" | awk '{ print $1 }')" 4711
  same "$(lsattr -p "$1/project")" "$(cd "$2" && lsattr -p project | sed "s|project|$1/project|")"
  chattr +P -p 4712 "$1/projectd"
  echo x > "$1/projectd/f"
  same "$(lsattr -p "$1/projectd/f" | awk '{ print $1 }')" 4712
}
t_flags_warm() { # a change of flags leaves the file in the cache
  local hit
  head -c 400000 /dev/urandom > "$1/fw"
  for _ in 1 2; do dd if="$1/fw" of=/dev/null bs=128k iflag=direct status=none; done
  chattr +A "$1/fw"
  chattr -A "$1/fw"
  lsattr "$1/fw"
  hit=$(stat_of hit_blocks)
  dd if="$1/fw" of=/dev/null bs=128k iflag=direct status=none
  [ $(($(stat_of hit_blocks) - hit)) -ge 97 ]
}
t_flags_mapped() { # what is stored in a mapping must be written before
  trap 'chattr -ia "$2/fm"' EXIT
  python3 - "$1" "$2" <<'PY'
import mmap, os, subprocess, sys
top, bare = sys.argv[1:]
fd = os.open(top + "/fm", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"x" * 4096, 0)
m = mmap.mmap(fd, 4096)
assert m[0:1] == b"x"
m[0:6] = b"stored"
for flag in "+i", "+a":
    p = subprocess.run(["chattr", flag, top + "/fm"], stderr=subprocess.PIPE)
    assert p.returncode and b"busy" in p.stderr, p
m.close()
os.close(fd)
subprocess.run(["chattr", "+i", top + "/fm"], check=True)
with open(bare + "/fm", "rb") as f:
    assert f.read(6) == b"stored"
subprocess.run(["chattr", "-i", top + "/fm"], check=True)
PY
}

# ---- fallocate ----------------------------------------------------------------------------------

# Every mode that the file system behind has, beside reads and writes, against a copy in memory.
t_fallocate() {
  python3 - "$1" "$2" <<'PY'
import ctypes, errno, mmap, os, random, sys
top, bare = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
KEEP, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
def fallocate(fd, mode, off, n):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(n)):
        raise OSError(ctypes.get_errno(), "fallocate")
def can(path, mode):
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 1 << 16)
    try:
        fallocate(fd, mode, 4096, 4096)
    except OSError as e:
        assert e.errno == errno.EOPNOTSUPP, e
        return False
    finally:
        os.close(fd)
    return True
modes = [m for m in (0, KEEP, PUNCH | KEEP, ZERO, ZERO | KEEP) if can(bare + "/fam", m)]
assert modes == [m for m in (0, KEEP, PUNCH | KEEP, ZERO, ZERO | KEEP) if can(top + "/fam", m)]
for m in COLLAPSE, INSERT, UNSHARE: # the kernel does not pass them on
    assert not can(top + "/fam", m)
r = random.Random(1)
fds = [os.open(top + "/fa", os.O_RDWR | os.O_CREAT) for _ in range(2)]
direct = os.open(top + "/fa", os.O_RDONLY | os.O_DIRECT)
page = mmap.mmap(-1, 1 << 20)
want = bytearray()
for step in range(600):
    fd, off, n = r.choice(fds), r.randrange(300000), r.choice((1, 4096, 5000, 70000))
    what = r.randrange(4)
    if what == 0:
        data = r.randbytes(n)
        os.pwrite(fd, data, off)
        want.extend(bytes(max(0, off + n - len(want))))
        want[off:off + n] = data
    elif what < 3 and modes:
        mode = r.choice(modes)
        fallocate(fd, mode, off, n)
        if not mode & KEEP:
            want.extend(bytes(max(0, off + n - len(want))))
        if mode & (PUNCH | ZERO):
            end = min(off + n, len(want))
            want[off:end] = bytes(max(0, end - off))
    else:
        assert os.pread(fd, n, off) == want[off:off + n], (step, off, n)
        got = os.preadv(direct, [page], 0)
        assert page[:got] == want, step
    assert os.fstat(fd).st_size == len(want), step
with open(bare + "/fa", "rb") as f:
    assert f.read() == want
PY
}

# ---- Copies that share their blocks -------------------------------------------------------------

shared() { # does the file share extents with another one?
  sync -f "$1"
  filefrag -v "$1" | grep -q shared
}
t_reflink() {
  head -c 3000001 /dev/urandom > "$1/source"
  cp --reflink=auto "$1/source" "$1/copy"
  shared "$2/copy"
  cmp "$1/copy" "$1/source"
  cmp "$2/copy" "$2/source"
  head -c 3000001 /dev/zero > "$1/copy" # cached, then overwritten by a copy
  for _ in 1 2; do dd if="$1/copy" of=/dev/null bs=128k iflag=direct status=none; done
  python3 - "$1" <<'PY'
import os, sys
a, b = os.open(sys.argv[1] + "/source", os.O_RDONLY), os.open(sys.argv[1] + "/copy", os.O_RDWR)
done = 0
while done < 3000001:
    done += os.copy_file_range(a, b, 3000001 - done, done, done)
PY
  shared "$2/copy"
  dd if="$1/copy" bs=128k iflag=direct status=none | cmp - "$2/source"
  echo changed | dd of="$1/copy" conv=notrunc status=none
  cmp "$1/source" "$2/source"
  fails cmp "$1/copy" "$1/source"
  fails cp --reflink=always "$1/source" "$1/copy2"
}

# ---- All other calls ----------------------------------------------------------------------------

t_calls() {
  PYTHONDONTWRITEBYTECODE=1 python3 "$here/calls.py" "$2" "$(realpath "$1")" \
    "$here/../../docs/mount-features.md"
}

t_freeze() { # nobody freezes what is behind the mount
  trap 'fsfreeze -u "$2" 2>/dev/null || :' EXIT
  fails fsfreeze -f "$1"
  touch "$1/not-frozen"
}

# ---- Pages of the kernel ------------------------------------------------------------------------

reads_seen() { echo $(($(stat_of hit_blocks) + $(stat_of miss_blocks))); }
# The kernel keeps what a program writes, whoever opens the file or asks for its times meanwhile.
# Nobody else changes it. If it dropped the pages of a write() that is on its way, a mapping could
# get the old content back, and store it over the new one.
t_pages_stay() {
  local before
  before=$(reads_seen)
  python3 - <<'PY'
import mmap, os
SIZE = 1 << 20
writer = os.open("pages-stay", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
os.pwrite(writer, b"a" * SIZE, 0)
other = os.open("pages-stay", os.O_RDWR)
with mmap.mmap(other, SIZE) as m:
    assert m[:] == b"a" * SIZE
    os.pwrite(writer, b"b" * SIZE, 0)
    os.stat("pages-stay")
    assert m[:] == b"b" * SIZE
    os.close(os.open("pages-stay", os.O_RDONLY))
    os.pwrite(writer, b"c" * SIZE, 0)
    assert m[:] == b"c" * SIZE
PY
  same "$(reads_seen)" "$before"
  rm pages-stay
}

# Nobody else should change them. If somebody does, a page that ends with the old end is not taken
# for the new content, also of a file that is open.
t_pages_follow() {
  printf old > pages-follow
  python3 - "$below/pages-follow" <<'PY'
import os, sys, time
def until(content):
    for _ in range(100):
        os.fstat(fd) # the kernel asks for the size
        if os.pread(fd, 20, 0) == content:
            return
        time.sleep(0.05)
    sys.exit("%s is not %s" % (os.pread(fd, 20, 0), content))
fd = os.open("pages-follow", os.O_RDONLY)
until(b"old")
with open(sys.argv[1], "ab") as f:
    f.write(b" and new")
until(b"old and new")
for n in range(100): # an open sees it at once, also if the name is looked up before
    content = b"%3d and new" % n + b"longer" * n
    with open(sys.argv[1], "r+b") as f:
        f.write(content)
    with open("pages-follow", "rb") as f: # it may end at the old end
        got = f.read()
        assert len(got) >= 11 and got == content[:len(got)], got
    with open(sys.argv[1], "ab") as f: # and no zeros behind the old end
        f.write(b"more")
    size = os.fstat(fd).st_size
    got = os.pread(fd, size, 0)
    assert got == (content + b"more")[:len(got)], got
with open("pages-follow", "r+b"): # its close may be the first that sees the change
    os.pread(fd, os.fstat(fd).st_size, 0)
    with open(sys.argv[1], "ab") as f:
        f.write(b"end")
time.sleep(0.05) # the RELEASE has come
size = os.fstat(fd).st_size
got = os.pread(fd, size, 0)
with open(sys.argv[1], "rb") as f:
    assert got == f.read()[:size], got
times = os.stat(sys.argv[1])
with open(sys.argv[1], "r+b") as f:
    f.write(b"Own")
os.utime(sys.argv[1], ns=(times.st_atime_ns, times.st_mtime_ns))
with open("pages-follow", "rb") as f:
    assert f.read(3) == b"Own", "with the time of before"
PY
  rm pages-follow
}

# A write that is not to be appended, by a descriptor that appends: the bytes go to the end, and
# nobody reads them where the program wanted them.
t_pages_no_append() {
  python3 - "$below/no-append" <<'PY'
import mmap, os, sys
def content(path):
    with open(path, "rb") as f:
        return f.read()
data = bytearray(os.urandom(100000))
with open("no-append", "wb") as f:
    f.write(data)
appends = os.open("no-append", os.O_RDWR | os.O_APPEND)
direct = os.open("no-append", os.O_RDWR | os.O_APPEND | os.O_DIRECT)
reader = os.open("no-append", os.O_RDWR)
mapping = mmap.mmap(reader, 100000)
for n, (size, off) in enumerate(((3, 5), (20000, 5000), (3, 200000), (8192, 4096), (3, 99999))):
    for fd in appends, direct, appends:
        if n % 2:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED) # pages that are not there yet
        else:
            assert content("no-append") == data
        piece = bytes([65 + n]) * size
        assert os.pwritev(fd, [piece], off, 0x20) == size # RWF_NOAPPEND
        data += piece
        for is_now in os.pread(reader, 1 << 20, 0), content("no-append"), content(sys.argv[1]):
            assert is_now == data, (n, fd, len(is_now), len(data))
        assert mapping[:] == data[:100000], (n, fd)
        assert os.write(fd, b"end") == 3
        data += b"end"
        assert content("no-append") == data and os.fstat(fd).st_size == len(data)
PY
  rm no-append
}

# ---- Files that others change -------------------------------------------------------------------

# Asked for flags, the kernel opens the file, and keeps its pages all the same. The times that it
# compares stay.
t_flags_and_pages() {
  echo old > pages
  same "$(cat pages pages)" "old
old"
  python3 - "$below/pages" <<'PY'
import fcntl, os, struct, sys
fd = os.open("pages", os.O_RDONLY)
st = os.stat(sys.argv[1])
with open(sys.argv[1], "r+") as f:
    f.write("new")
os.utime(sys.argv[1], ns=(st.st_atime_ns, st.st_mtime_ns))
try:
    fcntl.ioctl(fd, 0x80086601, bytes(8)) # FS_IOC_GETFLAGS
except OSError:
    pass
PY
  same "$(cat pages)" new
}
t_pages_own() { # nobody looks between an own change and that of others
  python3 - "$below/pages-own" "$mount_pid" <<'PY'
import os, sys, time
def written(): # does the mount have it open for writing?
    table = "/proc/" + sys.argv[2]
    for n in os.listdir(table + "/fd"):
        try:
            if os.readlink(table + "/fd/" + n).endswith("/pages-own"):
                with open(table + "/fdinfo/" + n) as f:
                    if int(f.read().split("flags:")[1].split()[0], 8) & os.O_ACCMODE:
                        return True
        except FileNotFoundError:
            pass
    return False
def content():
    fd = os.open("pages-own", os.O_RDONLY)
    got = os.pread(fd, 3, 0)
    os.close(fd)
    return got
for n in range(20):
    fd = os.open("pages-own", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"own", 0)
    assert written()
    os.close(fd)
    while written(): # until the RELEASE has come
        time.sleep(0.001)
    with open(sys.argv[1], "r+b") as f:
        f.write(b"OWN")
    assert content() == b"OWN", n
PY
  rm pages-own
}
t_pages_ro() { # the kernel sends no OPEN
  python3 - "$below" <<'PY'
import os, sys, time
names = ["ro%d" % n for n in range(40)]
for name in names:
    with open(sys.argv[1] + "/" + name, "w") as f:
        f.write("old")
for name in 2 * names:
    with open(name, "rb") as f:
        assert f.read() == b"old"
for name in names:
    with open(sys.argv[1] + "/" + name, "a") as f:
        f.write(" and new")
for wanted in (b"old", b"old and new"), (b"old and new",): # the first may end at the old end
    time.sleep(1.5)
    for name in names:
        with open(name, "rb") as f:
            got = f.read()
        assert got in wanted, got
PY
}
alone() { # nothing is mounted below
  wanted "pages" || return
  do_mount || { fail "pages" mount; return; }
  check "pages stay beside a writer" t_pages_stay
  case $(stat -f -c %T "$below") in
  ext2/ext3 | xfs | btrfs)
    need "pages, and flags" chattr && check "pages, and flags" t_flags_mapped . "$below"
    ;;
  *) skip "pages, and flags" 'the file system of $TMPDIR is another one' ;;
  esac
  [ $has_below = 0 ] || check "pages behind an own change" t_pages_own
  if [ $has_below = 0 ] || ! python3 -c '
import os, sys, tempfile
with tempfile.TemporaryFile(dir=sys.argv[1]) as f:
    os.pwritev(f.fileno(), [b"x"], 0, 0x20)' "$work" 2>/dev/null; then
    skip "pages that were not appended" "needs root and Linux 6.9"
  else
    check "pages that were not appended" t_pages_no_append
  fi
  do_unmount
  [ $has_below = 1 ] || { skip "pages follow others" "needs root"; return; }
  do_mount -o attr_timeout=0,entry_timeout=0 || { fail "pages" mount; return; }
  check "pages follow others" t_pages_follow
  do_unmount
  do_mount -o ro,attr_timeout=1,entry_timeout=1 || { fail "pages" mount; return; }
  check "pages of files that are not opened" t_pages_ro
  do_unmount
}
with_others() {
  wanted "others" || return
  [ $has_below = 1 ] || { skip "others" "needs root"; return; }
  do_mount --coherence=close-to-open || { fail "others" mount; return; }
  check "others: flags of a file with old pages" t_flags_and_pages
  do_unmount
}

# each NAME FUNCTION: on every file system. That of $TMPDIR may be one that has less.
each() {
  case $(stat -f -c %T "$below") in
  ext2/ext3 | xfs | btrfs) check "$1" "$2" . "$below" ;;
  *) skip "$1" 'the file system of $TMPDIR is another one' ;;
  esac
  for k in $kinds; do
    check "$1: $k" "$2" "$k" "$work/bare-$k"
  done
}
features() {
  each "O_TMPFILE" t_tmpfile
  each "O_TMPFILE: cached when it has a name" t_tmpfile_hits
  each "O_TMPFILE: rights" t_tmpfile_rights
  each "O_TMPFILE: a program" t_temporary
  each "time of birth" t_birth
  if need "flags" lsattr chattr setpriv; then
    each "flags" t_flags
    each "flags: rights" t_flags_of_others
    each "flags: mapped" t_flags_mapped
    each "flags: cached" t_flags_warm
    [[ $kinds != *ext4* ]] || check "flags: rights at the origin" t_flag_of_the_origin ext4 \
      "$work/bare-ext4"
    [[ $kinds != *xfs* ]] || check "flags: projects" t_project xfs "$work/bare-xfs"
  fi
  each "fallocate" t_fallocate
  if need "reflink" filefrag; then
    for k in xfs btrfs; do
      [[ $kinds != *$k* ]] || check "reflink: $k" t_reflink $k "$work/bare-$k"
    done
  fi
  need "calls" unshare && each "calls" t_calls
  [[ $kinds != *xfs* ]] || check "freeze" t_freeze xfs "$work/bare-xfs"
}

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
if [ $has_below = 0 ]; then
  skip "the file systems below" "needs root" # and all that looks at them
else
  losetup -f >/dev/null 2>&1 && {
    image ext4 16 mkfs.ext4 -q
    image xfs 300 mkfs.xfs -q
    image btrfs 114 mkfs.btrfs -q
  }
  if do_mount; then
    features
    do_unmount
  else
    fail mount "$(tail -n 1 "$work/log")"
  fi
  images_away
fi
alone
with_others
summary
