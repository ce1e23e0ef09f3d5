#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# between-test.sh - cachemax-mount beside programs that write the origin without it, between two of
# its looks: what is read then is not stored, and a write of its own hides nothing.
#
# Usage: between-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Works below $TMPDIR, needs 100 MiB there and in
# /dev/shm, and root: the other writers use a bind mount of the origin.

set -u
build=${1:?usage: between-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
if [ $has_below = 0 ] || ! has python3; then
  skip everything "needs root, a bind mount and python3"
  summary
  exit 77
fi

# ---- What is not yet validated -------------------------------------------------------------------

# Others have written it since it was validated. What is read then is not stored: a power cut might
# take their write back, and its times, and the block would be newer than the file.
t_moved_read() {
  head -c 4M /dev/urandom > "$below/moved"
  sleep 0.3
  python3 - "$below/moved" "$cm" "$pool" <<'PY'
import json, mmap, os, subprocess, sys
bare, cm, pool = sys.argv[1:]
fd = os.open("moved", os.O_RDONLY | os.O_DIRECT)
buf = mmap.mmap(-1, 16384)
def read(block, n=1):
    at = memoryview(buf)[:n * 4096]
    assert os.preadv(fd, [at], block * 4096) == n * 4096
    return bytes(at[:4096])
def fills():
    said = subprocess.run([cm, "stats", "--json", pool], stdout=subprocess.PIPE, check=True)
    return json.loads(said.stdout)["fill_blocks"]
before = fills()
read(300, 2)
assert fills() >= before + 2 # nobody has written it
before = fills()
with open(bare, "r+b", buffering=0) as other:
    for block in 500, 800:
        new = os.urandom(4096)
        os.pwrite(other.fileno(), new, block * 4096)
        assert read(block) == new
        read(block, 4)
assert fills() == before, (before, fills())
PY
}
# Beside a long `warm` it is validated again, and all of it belongs to the new version.
t_moved_warm() {
  local n warming rate
  head -c 2M /dev/urandom > "$below/warming"
  sleep 0.3
  cat warming > /dev/null
  for rate in 1M 200K 40K; do # slower, if it was over before the write
    "$cm" forget warming > /dev/null
    n=$(stat_of fill_blocks)
    "$cm" warm warming --rate $rate > "$work/out" &
    warming=$!
    eventually more_fills $((n + 20))
    echo new | dd of="$below/warming" bs=4k seek=500 conv=notrunc status=none
    ! kill -0 $warming 2>/dev/null || break
  done
  wait $warming
}
t_moved_remount() {
  local n
  "$cm" cached warming > "$work/out"
  grep -q '2.00 MiB of 2.00 MiB' "$work/out"
  n=$(stat_of miss_blocks)
  cmp warming "$below/warming"
  same "$(stat_of miss_blocks)" "$n"
}
more_fills() { [ "$(stat_of fill_blocks)" -ge "$1" ]; }
moved() {
  wanted "written since" || return
  local lib
  lib=$(find "$build" -name failing_watch.so)
  if [ -z "$lib" ] || grep -q __asan_init "$mount_bin"; then
    skip "written since" "no failing_watch.so, or a sanitizer"
    return
  fi
  local -x FAILING_WATCH=none LD_PRELOAD=$lib
  do_mount --coherence=close-to-open -o attr_timeout=3600,entry_timeout=3600,probation=0 ||
    { fail "written since" mount; return; }
  unset LD_PRELOAD FAILING_WATCH
  check "written since the last look: what is read is not stored" t_moved_read
  check "written since the last look: a long warm begins again" t_moved_warm
  if do_unmount && do_mount --coherence=close-to-open; then
    check "written since the last look: warm after that" t_moved_remount
  fi
  do_unmount || fail "written since" "end with status $status"
}

# ---- Beside a write that takes long -------------------------------------------------------------

# As long as a write through the mount is going on, no validation counts. An open descriptor shows
# what others have written all the same. (slow.c: the write goes on until it is released.)
t_beside_write() {
  head -c 1M /dev/zero > "$below/long"
  sleep 0.3
  python3 - "$below/long" "$cm" "$SLOW_ORIGIN" <<'PY'
import mmap, os, subprocess, sys, threading, time
bare, cm, flag = sys.argv[1:]
fd, wfd = os.open("long", os.O_RDONLY | os.O_DIRECT), os.open("long", os.O_RDWR)
by_pages = os.open("long", os.O_RDONLY)
buf = mmap.mmap(-1, 131072)
def read_all():
    for n in range(8):
        os.preadv(fd, [buf], n << 17)
def is_cached():
    # all but the block that is written
    return b" 99.61 %" in subprocess.run([cm, "cached", "long"], stdout=subprocess.PIPE).stdout
def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)
def make(name):
    open(name, "w").close()
def remove(*names):
    for name in names:
        if os.path.exists(name):
            os.remove(name)
def release(t):
    make(flag)
    make(flag + ".reading")
    t.join()
    remove(flag, flag + ".reading", flag + ".writing")
for attempt in range(50): # a validation may come just before the write
    os.pread(by_pages, 3, 1 << 19)
    # The kernel locks a page that it has not read as long as a part of it is written. Who then
    # finds that the file has changed waits for that page.
    os.pread(by_pages, 3, 0)
    read_all()
    make(flag)
    t = threading.Thread(target=os.pwrite, args=(wfd, b"w", 0))
    t.start()
    wait_for(flag + ".writing")
    remove(flag) # the write waits, and reads do not
    if is_cached():
        break
    release(t)
else:
    sys.exit("it was never cached")
other = os.open(bare, os.O_RDWR)
os.pwrite(other, b"NEW", 1 << 19)
os.close(other)
begin = time.monotonic() # twice attr_timeout is 2 s
seen = {}
while len(seen) < 2 and time.monotonic() < begin + 300:
    os.preadv(fd, [buf], 1 << 19)
    if buf[:3] == b"NEW":
        seen["in the cache"] = True
    if os.pread(by_pages, 3, 1 << 19) == b"NEW":
        seen["in the kernel's pages"] = True
    time.sleep(0.05)
took = time.monotonic() - begin
release(t)
for where in "in the cache", "in the kernel's pages":
    if where not in seen:
        sys.exit("what others wrote is not seen after %.0f s %s; seen: %s" % (took, where, seen))
PY
}
# The kernel drops the pages of a file that others have changed, and waits for the one that is being
# read. Until then it must not learn another size: it has zeros in the last page. But it must not
# forget what the mount itself has written behind the end meanwhile.
t_beside_read() {
  python3 - "$below" "$SLOW_ORIGIN" <<'PY'
import os, sys, threading, time
below, flag = sys.argv[1:]
def make(name):
    open(name, "w").close()
END = 64 << 12
with open(below + "/dropped", "wb") as f:
    f.write(b"a" * END + b"tail")
fd, own = os.open("dropped", os.O_RDONLY), os.open("dropped", os.O_WRONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
assert os.pread(fd, 10, END) == b"tail"
make(flag)
t = threading.Thread(target=os.pread, args=(fd, 3, 0))
t.start()
while not os.path.exists(flag + ".reading"):
    time.sleep(0.01)
def append(what, seen):
    with open(below + "/dropped", "ab") as f:
        f.write(what)
    size = os.fstat(fd).st_size
    got = os.pread(fd, 100, END)
    assert size == END + seen, (what, size - END, got)
    return got
try:
    for n in range(3):
        assert append(b"more", 4) == b"tail"
    os.pwrite(own, b"own", END + 16)
    size = os.fstat(fd).st_size
    got = os.pread(fd, 100, END)
    assert size == END + 19 and got[16:] == b"own", (size - END, got)
    assert append(b"last", 19)[16:] == b"own"
finally:
    os.remove(flag)
    t.join()
    os.remove(flag + ".reading")
for n in range(100):
    os.fstat(fd)
    if os.pread(fd, 100, END) == b"tailmoremoremoreownlast":
        sys.exit(0)
    time.sleep(0.05)
sys.exit("what others wrote is not seen: %s" % os.pread(fd, 100, END))
PY
}

# ---- Appends -------------------------------------------------------------------------------------

# Others append just after a write() of a program that only appends: what it wrote stays in one
# piece, also across the end of a page.
cat > "$work/append.py" <<'PY'
import ctypes, os, struct, sys, threading, time
bare, flag = os.environ["below"] + "/log", os.environ["SLOW_APPEND"]
with open(bare, "wb") as f:
    f.write(b"A" * 4000)
fd = os.open("log", os.O_WRONLY | os.O_APPEND)
def held(text, append):
    with open(flag, "w") as f:
        f.write(text)
    t = threading.Thread(target=append)
    t.start()
    while not os.path.exists(flag + ".waits"):
        time.sleep(0.01)
    return t
def release(t):
    os.remove(flag)
    t.join()
    os.remove(flag + ".waits")
PY
t_append_whole() {
  below=$below python3 - <<'PY'
import os
exec(open(os.environ["work"] + "/append.py").read())
t = held("", lambda: os.write(fd, b"m" * 200000))
with open(bare, "ab") as f:
    f.write(b"other")
release(t)
with open(bare, "rb") as f:
    got = f.read()
if got != b"A" * 4000 + b"m" * 200000 + b"other":
    sys.exit("%d bytes; what others appended is at %d" % (len(got), got.index(b"other")))
with open("log", "rb") as f:
    assert f.read() == got
PY
}
# Beside an asynchronous append somebody reads the file into the kernel's pages: it does not drop
# them by itself. sendfile reads these pages, and asks for nothing else.
t_append_pages() {
  below=$below python3 - <<'PY'
import os
exec(open(os.environ["work"] + "/append.py").read())
reader = os.open("log", os.O_RDONLY)
def sent(at, n):
    to = os.memfd_create("sent")
    os.sendfile(to, reader, at, n)
    return os.pread(to, n, 0)
assert os.pread(reader, 4000, 0) == b"A" * 4000
os.write(fd, b"one") # after it there are no pages
setup, submit = {"x86_64": (206, 209), "aarch64": (0, 2)}.get(os.uname().machine, (0, 0))
if not submit:
    sys.exit(0) # other numbers of calls
what, context = ctypes.create_string_buffer(b"two"), ctypes.c_ulong(0)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(setup, 1, ctypes.byref(context)) == 0
one = struct.pack("=QIIHhIQQqQII", 0, 0, 0, 1, 0, fd, ctypes.addressof(what), 3, 0, 0, 0, 0)
one = ctypes.create_string_buffer(one, 64)
t = held("before it begins", lambda: libc.syscall(
    submit, context, 1, ctypes.byref(ctypes.c_void_p(ctypes.addressof(one)))))
assert sent(3999, 4) == b"Aone"
release(t)
got = sent(4000, 6)
if got != b"onetwo":
    sys.exit("sendfile has got %s" % got)
PY
}

# ---- The end at a new open ----------------------------------------------------------------------

# Others change the size of a file whose old size the kernel still remembers: a new open reads up to
# the new end, and who looks for the end finds it. Now and then the kernel ignores the size, because
# pages are dropped just then (docs/mount.md): so there are five tries.
t_new_end() {
  below=$below python3 - << "PY"
import os
def is_right(name, change):
    below = os.path.join(os.environ["below"], name)
    with open(below, "wb") as f:
        f.write(b"o" * 5000)
    os.stat(name)
    with open(below, "ab") as f:
        change(f)
    with open(below, "rb") as f:
        want = f.read()
    fd = os.open(name, os.O_RDWR)
    right = os.pread(fd, 100000, 0) == want and os.lseek(fd, 0, os.SEEK_END) == len(want)
    os.close(fd)
    os.unlink(name)
    return right
assert any(is_right("longer", lambda f: f.write(b"n" * 3000)) for _ in range(5))
assert any(is_right("longer by pages", lambda f: f.write(b"n" * 30000)) for _ in range(5))
assert any(is_right("shorter", lambda f: f.truncate(1234)) for _ in range(5))
PY
}
new_end() {
  wanted "a new open: the end" || return
  do_mount --coherence=close-to-open -o attr_timeout=60 || { fail "new open" mount; return; }
  check "a new open: the end of the file is that of now" t_new_end
  do_unmount
}

# beside NAME TEST OPTION...: with an origin that can be slow. $FAILING_WATCH: failing_watch.c's.
beside() {
  local name=$1 test=$2 shim
  shift 2
  wanted "$name" || return
  shim=$(find "$build" -name slow_origin.so | head -n 1)
  if grep -Eq '__(asan|tsan)_init' "$mount_bin"; then
    skip "$name" "a sanitizer is loaded first"
    return
  fi
  export SLOW_ORIGIN=$shm/slow SLOW_APPEND=$shm/append work
  shim=$(realpath "$shim")
  LD_PRELOAD="$shim ${shim%/*}/failing_watch.so" do_mount "$@" || { fail "$name" mount; return; }
  check "$name" "$test"
  do_unmount
  unset SLOW_ORIGIN SLOW_APPEND
}

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
moved
new_end
beside "beside a long write" t_beside_write --coherence=close-to-open
beside "an append beside others: in one piece" t_append_whole --coherence=close-to-open
FAILING_WATCH=none \
  beside "an append beside others: pages" t_append_pages --coherence=close-to-open \
  -o attr_timeout=60
beside "pages of a file that others write beside a long read" t_beside_read
summary
