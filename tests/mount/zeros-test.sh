#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# zeros-test.sh - cachemax-mount beside programs that make files longer without it: the zeros that
# the kernel has behind the old end are neither read nor written as content.
#
# Usage: zeros-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Works below $TMPDIR, and needs root: the other
# writers use a bind mount of the origin.

set -u
build=${1:?usage: zeros-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
if [ $has_below = 0 ] || ! has python3; then
  skip everything "needs root, a bind mount and python3"
  summary
  exit 77
fi

# A file whose last page a program has mapped, to store in it; others append. Behind each change
# the origin is compared with what it should have.
cat > "$work/zeros.py" <<'PY'
import ctypes, mmap, os, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long]
below = os.environ["below"]
FIRST, MORE = b"A" * 300, b"B" * 37
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.005)
def make(path):
    open(path, "w").close()
class Mapped:
    def __init__(self, name):
        self.name, self.bare, self.want = name, below + "/" + name, bytearray(FIRST)
        with open(self.bare, "wb") as f:
            f.write(FIRST)
        self.fd = os.open(name, os.O_RDWR)
        # mmap.mmap() refuses to go beyond the end.
        self.at = libc.mmap(None, 4096, 3, mmap.MAP_SHARED, self.fd, 0)
        assert self.at != ctypes.c_void_p(-1).value, ctypes.get_errno()
        self.map = memoryview((ctypes.c_char * 4096).from_address(self.at)).cast("B")
        assert self.map[0] == ord("A")
    def store(self, at, what):
        self.map[at:at + len(what)] = what
        self.want[at:at + len(what)] = what
    def append(self):
        with open(self.bare, "ab", buffering=0) as f:
            f.write(MORE)
        self.want += MORE
    def flush(self):
        assert libc.msync(ctypes.c_void_p(self.at), ctypes.c_size_t(4096), 4) == 0
    def check(self, how):
        self.flush()
        with open(self.bare, "rb") as f:
            got = f.read()
        if got != self.want:
            bad = [k for k in range(len(got)) if got[k:k + 1] != self.want[k:k + 1]]
            sys.exit("%s, %s: %d bytes, not %d; the first wrong ones: %s, %s" % (
                self.name, how, len(got), len(self.want), bad[:1], [got[k] for k in bad[:8]]))
    def close(self):
        self.map = None
        libc.munmap(ctypes.c_void_p(self.at), ctypes.c_size_t(4096))
        os.close(self.fd)
PY
# Somebody asks for the size while the page is to be written. Each round is a file of its own: the
# mount may see the change of one by itself, and then there is nothing to see here.
t_shown() {
  python3 - <<'PY'
import os, sys
exec(open(os.environ["work"] + "/zeros.py").read())
for n in range(10):
    f = Mapped("shown%d" % n)
    for k in range(3):
        f.store(100, b"%03d" % k)
        f.append()
        assert os.stat(f.name).st_size == len(f.want), "stat shows an old size"
        assert os.fstat(f.fd).st_size == len(f.want), "fstat shows an old size"
        f.store(100, b"%03d" % (k + 10))
        f.check("after stat")
        assert bytes(f.map[0:len(f.want)]) == bytes(f.want), "the mapping shows something else"
    os.chmod(f.name, 0o600) # its answer has a size, too
    f.store(100, b"xyz")
    f.append()
    os.chmod(f.name, 0o640)
    f.store(100, b"abc")
    f.check("after chmod")
    f.close()
PY
}
# The mount has had the pages dropped, and has not yet told the kernel the new end. A program stores
# and syncs: the kernel puts zeros behind the old end. Then it learns the new one, and the program
# has stored once more.
t_told() {
  python3 - <<'PY'
import os, sys
exec(open(os.environ["work"] + "/zeros.py").read())
flag = os.environ["SLOW_TELL"]
for n in range(3):
    f = Mapped("told%d" % n)
    f.store(100, b"one")
    make(flag)
    f.append()
    t = threading.Thread(target=lambda: open(f.name, "rb").close()) # it looks at the file
    t.start()
    wait_for(flag + ".waits")
    for what in b"two", b"new":
        f.store(100, what)
        f.flush()
    f.store(100, b"six")
    os.remove(flag)
    t.join()
    os.remove(flag + ".waits")
    f.check("when the end is told")
    f.store(100, b"end")
    f.check("after it")
    f.close()
PY
}
# The mount's own change of the size makes the kernel's end longer, behind what others appended.
t_own_size() {
  python3 - <<'PY'
import os, sys
exec(open(os.environ["work"] + "/zeros.py").read())
for n in range(10):
    f = Mapped("size%d" % n)
    f.store(100, b"one")
    f.append()
    os.posix_fallocate(f.fd, 0, 3000)
    f.want += bytes(3000 - len(f.want))
    f.store(2000, b"x" * 50)
    f.check("fallocate")
    f.store(2010, b"y")
    f.check("after fallocate")
    f.close()
PY
}
# A program's own zeros are written, whatever made the file longer, if nobody else wrote it.
t_own_zeros() {
  python3 - <<'PY'
import os, sys
exec(open(os.environ["work"] + "/zeros.py").read())
def longer(f, size):
    f.want += bytes(size - len(f.want))
def cut(f):
    os.ftruncate(f.fd, 3000)
    longer(f, 3000)
def allocate(f):
    os.posix_fallocate(f.fd, 0, 3000)
    longer(f, 3000)
def write_on(f):
    os.pwrite(f.fd, b"w" * 2700, 300)
    f.want += b"w" * 2700
def write_behind(f):
    os.pwrite(f.fd, b"w" * 1000, 2000)
    longer(f, 2000)
    f.want += b"w" * 1000
def append(f):
    fd = os.open(f.name, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"w" * 2700)
    os.close(fd)
    f.want += b"w" * 2700
def copy(f):
    with open("source", "wb") as s:
        s.write(b"w" * 2700)
    fd = os.open("source", os.O_RDONLY)
    os.copy_file_range(fd, f.fd, 2700, 0, 300)
    os.close(fd)
    f.want += b"w" * 2700
# Linux 6.18 itself loses what is written if somebody syncs just then (docs/mount-features.md).
def grown(how, n):
    for again in range(20):
        f = Mapped("%s%d-%d" % (how.__name__, n, again))
        f.store(100, b"one")
        how(f)
        if bytes(f.map[:len(f.want)]) == bytes(f.want):
            return f
        f.close()
    sys.exit("%s: the mapping shows something else, each time" % how.__name__)
for how in cut, allocate, write_on, write_behind, append, copy:
    for n in range(3):
        f = grown(how, n)
        f.store(500, b"s" * 2000)
        f.check(how.__name__)
        f.store(600, bytes(1500))
        f.check("zeros after " + how.__name__)
        f.close()
# And where others wrote, once it is known that they did.
f = Mapped("others")
f.store(100, b"one")
f.append()
assert os.stat(f.name).st_size == len(f.want)
assert bytes(f.map[300:337]) == MORE
f.store(310, bytes(10))
f.check("zeros over what others wrote")
PY
}
# A page that is being read holds up the drop of all pages. Meanwhile the kernel must not learn that
# others have appended: it has zeros in the last page, and a reader would get them.
t_read() {
  python3 - <<'PY'
import os, sys
exec(open(os.environ["work"] + "/zeros.py").read())
flag, END = os.environ["SLOW_ORIGIN"], 64 << 12
with open(below + "/read", "wb") as f:
    f.write(b"a" * END + b"tail")
fd, sizes = os.open("read", os.O_RDONLY), []
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
assert os.pread(fd, 10, END) == b"tail"
with open(flag, "w") as f:
    f.write("0") # reads of the first page
holds = threading.Thread(target=os.pread, args=(fd, 3, 0))
holds.start()
wait_for(flag + ".reading")
want, wrong, asking = b"tail", [], []
def others_append():
    global want
    for n in range(3):
        with open(below + "/read", "ab") as f:
            f.write(b"more")
        want += b"more"
        for name in fd, "read":
            asking.append(threading.Thread(target=lambda: sizes.append(os.stat(name).st_size)))
            asking[-1].start()
        for _ in range(10):
            got = os.pread(fd, 100, END)
            if got != want[:len(got)]:
                wrong.append(got)
            time.sleep(0.02)
reads = threading.Thread(target=others_append)
reads.start()
reads.join(60)
stuck = reads.is_alive() # in the kernel: it ends with the long read
os.remove(flag)
for t in [reads, holds] + asking:
    t.join()
os.remove(flag + ".reading")
assert not wrong, "a reader got %s" % wrong
assert not stuck, "a reader of the last page has waited for the first one"
assert max(sizes) == END + len(want), "stat shows an old size: %s" % sizes
began = time.monotonic()
while os.pread(fd, 100, END) != want:
    if time.monotonic() - began > 30:
        sys.exit("what others wrote is not seen: %s" % os.pread(fd, 100, END))
    time.sleep(0.02)
PY
}
# A page of one file that waits for its origin holds up no other file.
t_other() {
  python3 - <<'PY'
import os, sys
exec(open(os.environ["work"] + "/zeros.py").read())
flag, END = os.environ["SLOW_ORIGIN"], 64 << 12
with open(below + "/waits", "wb") as f:
    f.write(b"a" * END + b"tail")
with open(below + "/other", "wb") as f:
    f.write(FIRST)
fd = os.open("waits", os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
assert os.pread(fd, 10, END) == b"tail"
other = os.open("other", os.O_RDONLY)
assert os.pread(other, 4096, 0) == FIRST
with open(flag, "w") as f:
    f.write("40960") # reads of that page
holds = threading.Thread(target=os.pread, args=(fd, 3, 40960))
holds.start()
wait_for(flag + ".reading")
def append(name, what):
    with open(below + "/" + name, "ab") as f:
        f.write(what)
append("waits", b"more")
os.stat("waits")   # its pages are to be dropped from now on
time.sleep(0.2)    # which has begun
append("other", MORE)
began, got = time.monotonic(), b""
while got != FIRST + MORE and time.monotonic() - began < 30:
    with open("other", "rb", buffering=0) as f:
        got = f.read(4096)
held = os.pread(other, 4096, 0)
os.remove(flag)
holds.join()
os.remove(flag + ".reading")
assert got == FIRST + MORE, "a new open: %d bytes" % len(got)
assert held == FIRST + MORE, "an open file: %d bytes" % len(held)
PY
}
# sendfile asks nobody for the end. After a truncation through the mount it follows all the same.
t_cut() {
  python3 - <<'PY'
import os, sys
exec(open(os.environ["work"] + "/zeros.py").read())
def sent(fd):
    to, n = os.memfd_create("sent"), 0
    while True:
        done = os.sendfile(to, fd, n, 1 << 20)
        if not done:
            os.close(to)
            return n
        n += done
files = []
for n in range(3):
    with open(below + "/cut%d" % n, "wb") as f:
        f.write(b"x" * 10000)
    time.sleep(0.1) # its times are not those of now when it is opened
    fd, bare = os.open("cut%d" % n, os.O_RDWR), os.open(below + "/cut%d" % n, os.O_RDWR)
    time.sleep(0.3)
    os.ftruncate(fd, 100)
    os.pwrite(bare, b"y" * 4900, 100)
    files.append(fd)
time.sleep(3) # nobody reads until it was looked at
began = time.monotonic()
for fd in files:
    while sent(fd) != 5000:
        if time.monotonic() - began > 20:
            sys.exit("sendfile ends at %d of 5000" % sent(fd))
        time.sleep(0.1)
PY
}

# ---- Beside truncations of others ----------------------------------------------------------------

# The mount looks at no file by itself here, and the kernel asks for nothing again.
cat > "$work/cut.py" <<'PY'
exec(open(os.environ["work"] + "/zeros.py").read())
NOW, KNOWN = 0x2000, 0x4000 # AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC
SLOW = os.environ["SLOW_ORIGIN"]
def size_of(fd, how):
    buf = ctypes.create_string_buffer(256)
    assert libc.statx(fd, b"", 0x1000 | how, 0x200, buf) == 0 # AT_EMPTY_PATH, STATX_SIZE
    return int.from_bytes(buf.raw[40:48], sys.byteorder)
def made(name, size):
    with open(below + "/" + name, "wb") as f:
        f.write(b"A" * size)
    time.sleep(0.1) # its times are not those of now when it is opened
    fd = os.open(name, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    return fd, below + "/" + name
def append(bare, n):
    with open(bare, "ab") as f:
        f.write(b"A" * n)
def held(fd, off): # a READ of that page waits for the origin
    with open(SLOW, "w") as f:
        f.write("%d" % off)
    t = threading.Thread(target=os.pread, args=(fd, 3, off))
    t.start()
    wait_for(SLOW + ".reading")
    return t
def release(t):
    os.remove(SLOW)
    t.join()
    os.remove(SLOW + ".reading")
def soon(right):
    began = time.monotonic()
    while not right() and time.monotonic() - began < 20:
        time.sleep(0.02)
    return right()
PY
# While a page is read, the kernel is told the size once more; then others truncate. The kernel does
# not take the end of such a READ: it has zeros behind it, in front of the end that it knows. (The
# file is not cached, so nobody validates it.)
t_cut_read() {
  python3 - <<'PY'
import os, sys
exec(open(os.environ["work"] + "/cut.py").read())
fd, bare = made("cut_read", 12288)
assert size_of(fd, NOW) == 12288
t = held(fd, 8192)
assert size_of(fd, NOW) == 12288
os.truncate(bare, 8292)
release(t)
if not soon(lambda: os.pread(fd, 4096, 8192) == b"A" * 100):
    sys.exit("%d bytes are read behind the end" % (len(os.pread(fd, 4096, 8192)) - 100))
PY
}
# Others append, and the pages have to go before the kernel is told the new end. Meanwhile others
# truncate: that end is not told any more.
t_cut_tell() {
  python3 - <<'PY'
import os, sys
exec(open(os.environ["work"] + "/cut.py").read())
fd, bare = made("cut_tell", 40000)
t = held(fd, 0)
append(bare, 1000)
assert size_of(fd, NOW) == 41000
os.truncate(bare, 5000)
asks = threading.Thread(target=size_of, args=(fd, NOW)) # it waits in the kernel for that page, too
asks.start()
assert soon(lambda: size_of(fd, KNOWN) == 5000), "the kernel does not learn a smaller size"
release(t)
asks.join()
began = time.monotonic() # who tells the end does so at once
while time.monotonic() - began < 0.5:
    if size_of(fd, KNOWN) != 5000:
        sys.exit("the kernel takes it to be %d bytes long" % size_of(fd, KNOWN))
PY
}
cuts() {
  local -x SLOW_ORIGIN=$shm/slow FAILING_WATCH=none
  local preload
  wanted "zeros beside truncations" || return
  preload="$(realpath "$shim") $(realpath "$(find "$build" -name failing_watch.so | head -n 1)")"
  LD_PRELOAD=$preload do_mount --coherence=close-to-open \
    -o attr_timeout=3600,entry_timeout=3600,probation=0 --exclude=cut_read ||
    { fail "zeros beside truncations" mount; return; }
  check "zeros beside truncations: a READ on its way" t_cut_read
  check "zeros beside truncations: an end that is no longer true" t_cut_tell
  do_unmount || fail "zeros beside truncations" "end with status $status"
}

export below work
shim=$(find "$build" -name slow_origin.so | head -n 1)
if grep -Eq '__(asan|tsan)_init' "$mount_bin"; then
  skip everything "a sanitizer is loaded first"
  summary
  exit 77
fi
# zeros LEVEL OPTION...
zeros() {
  local level=$1
  shift
  wanted "$level: zeros" || return
  export SLOW_ORIGIN=$shm/slow SLOW_TELL=$shm/tell
  LD_PRELOAD=$(realpath "$shim") do_mount --coherence="$level" "$@" ||
    { fail "$level" mount; return; }
  check "$level: zeros beside a question for the size" t_shown
  check "$level: zeros when the kernel is told the end" t_told
  check "$level: zeros beside another size through the mount" t_own_size
  check "$level: zeros that a program stores" t_own_zeros
  [ "$level" = strict ] || {
    check "$level: zeros beside a long read" t_read
    check "$level: zeros, and a long read of another file" t_other
  }
  check "$level: zeros, and the end after a truncation" t_cut
  do_unmount || fail "$level" "end with status $status"
}
new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
zeros close-to-open -o attr_timeout=0,entry_timeout=0
cuts
if printf '%s\n' 6.6 "$(uname -r)" | sort -CV && grep -q fuse_session_custom_io "$mount_bin"; then
  zeros strict
else
  skip "strict: zeros" "the kernel or libfuse is too old for shared mappings"
fi
summary
