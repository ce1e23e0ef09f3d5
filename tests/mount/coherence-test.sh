#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# coherence-test.sh - cachemax-mount beside programs that write the origin without it: what each
# level of --coherence promises them; and --paranoid, which compares hits with the origin.
#
# Usage: coherence-test.sh BUILD_DIR [--service]
# With --service the mounts use a service.
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Works below $TMPDIR, needs 100 MiB there and in
# /dev/shm, and root: the other writers use a bind mount of the origin.

set -u
build=${1:?usage: coherence-test.sh BUILD_DIR [--service]}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
if [ $has_below = 0 ] || ! has python3; then
  skip everything "needs root, a bind mount and python3"
  summary
  exit 77
fi

# ---- Mappings ---------------------------------------------------------------------------------

# A mapping shows what others write, also after its file was closed, and also if nobody opens it
# again. The last argument: how the content is changed.
mapped=$(cat <<'PY'
import mmap, os, sys, time
name, bare, how = sys.argv[1:]
size = 300000
with open(bare, "wb") as f:
    f.write(b"a" * size)
fd = os.open(name, os.O_RDONLY)
m = mmap.mmap(fd, size, prot=mmap.PROT_READ)
if how == "closed":
    os.close(fd)
for n in range(3):
    assert m[:].count(b"\n") == 0 # all pages are there
    want = b"%06d" % n
    time.sleep(0.1) # an open that is over
    st = os.stat(bare)
    with open(bare, "r+b") as f:
        for at in 0, 100000, size - 6:
            f.seek(at)
            f.write(want)
    if how == "dated": # the time of the last change remains
        os.utime(bare, ns=(st.st_atime_ns, st.st_mtime_ns))
    began = time.monotonic()
    while any(m[at:at + 6] != want for at in (0, 100000, size - 6)):
        if time.monotonic() - began > 30:
            sys.exit("round %d: after 30 s the mapping shows %s" % (n, m[0:6]))
        time.sleep(0.02)
PY
)
t_mapping() { # FILE HOW
  python3 -c "$mapped" "$1" "$below/$1" "$2"
}
# A file that is not cached (its directory is left out) has no validator.
t_mapping_passing() {
  mkdir -p out
  t_mapping out/mapped open
}
t_grows() { # ["empty"]
  timeout 300 python3 "$here/grows.py" "$below" "$@"
}
# A read of an open descriptor, whose pages the kernel has.
t_descriptor() {
  local n
  echo "version 0" > "$below/fd"
  exec 7< fd
  for n in 1 2 3; do
    echo "version $n" > "$below/fd"
    for _ in $(seq 600); do
      [ "$(python3 -c 'import os; print(os.pread(7, 99, 0).decode(), end="")')" = "version $n" ] &&
        continue 2
      sleep 0.05
    done
    echo "version $n is not seen" >&2
    return 1
  done
}
# A file that somebody keeps open for writing: what the library says to its caller is not for users.
t_no_hints() {
  local n
  echo one > "$below/held"
  exec 8>> "$below/held"
  for n in 1 2 3; do cat held > /dev/null; done
  exec 8>&-
  ! cat "$work"/*log | grep cm_file_open >&2
}
# Programs store in mappings, write, and write past the pages, while others change another part of
# the same file again and again. Nobody hangs, and nothing that was stored is lost.
t_mapping_stores() {
  timeout 120 python3 - "$below/stores" <<'PY'
import mmap, os, sys, threading, time
page, pages = 4096, 64
with open(sys.argv[1], "wb") as f:
    f.write(bytes(page * pages))
end = time.monotonic() + 3
counts = {}
def storing(at):
    fd = os.open("stores", os.O_RDWR)
    m = mmap.mmap(fd, page * pages)
    n = 0
    while time.monotonic() < end or n < 100:
        n += 1
        m[at:at + 6] = b"%06d" % (n % 1000000)
        if n % 1000 == 0:
            time.sleep(0.001)
    m.flush()
    counts[at] = n
def writing(at, flags):
    fd = os.open("stores", os.O_RDWR | flags)
    b = mmap.mmap(-1, page)
    n = 0
    while time.monotonic() < end or n < 10:
        n += 1
        b[0:6] = b"%06d" % (n % 1000000)
        os.pwritev(fd, [b], at)
    counts[at] = n
def other():
    fd = os.open(sys.argv[1], os.O_RDWR)
    n = 0
    while time.monotonic() < end or n < 10:
        n += 1
        os.pwrite(fd, b"%06d" % (n % 1000000), 60 * page)
        time.sleep(0.01)
    counts[60 * page] = n
def opening(): # each open may find another version
    while time.monotonic() < end:
        with open("stores", "rb") as f:
            f.read()
threads = [threading.Thread(target=storing, args=(k * page,)) for k in (1, 9)]
threads += [threading.Thread(target=writing, args=(20 * page, 0)),
            threading.Thread(target=writing, args=(40 * page, os.O_DIRECT)),
            threading.Thread(target=other), threading.Thread(target=opening)]
for t in threads:
    t.start()
for t in threads:
    t.join()
with open(sys.argv[1], "rb") as f:
    data = f.read()
for at, n in counts.items():
    assert data[at:at + 6] == b"%06d" % (n % 1000000), (at // page, n, data[at:at + 6])
PY
}

mappings() { # LEVEL
  check "$1: a mapping follows" t_mapping mapped open
  check "$1: a mapping of a closed file follows" t_mapping mapped2 closed
  check "$1: a mapping follows in spite of an old time" t_mapping mapped3 dated
  check "$1: a mapping of a file that is not cached follows" t_mapping_passing
  check "$1: stores beside changes of others" t_mapping_stores
}

close_to_open() {
  wanted "close-to-open" || return
  do_mount --coherence=close-to-open --exclude out || { fail close-to-open mount; return; }
  mappings close-to-open
  check "close-to-open: what asks nobody for the end follows" t_grows empty
  check "close-to-open: a descriptor follows" t_descriptor
  check "close-to-open: the log has no hints for programmers" t_no_hints
  do_unmount
}

# ---- The kernel tells ---------------------------------------------------------------------------

# With an attr_timeout of an hour nothing that is open follows by itself. On a machine that does
# nothing else it takes some milliseconds; half a minute is allowed.
told=$(cat <<'PY'
import ctypes, mmap, os, sys, time
bare, how = sys.argv[1:]
size = 300000
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
with open(bare, "wb") as f:
    f.write(b"a" * size)
time.sleep(0.3)
name = os.path.basename(bare)
fd = os.open(name, os.O_RDWR if how == "own" else os.O_RDONLY)
at = libc.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
assert at != ctypes.c_void_p(-1).value, ctypes.get_errno()
def mapped(n): return ctypes.string_at(at, n)
def read_all(): assert len(ctypes.string_at(at, size)) == size
def until(what, f):
    began = time.monotonic()
    while not f():
        if time.monotonic() - began > 30:
            sys.exit("after 30 s: " + what)
        time.sleep(0.002)
def write(text):
    with open(bare, "r+b") as f:
        f.write(text)
def follows(n):
    write(b"%06d" % n)
    until("content %d" % n, lambda: mapped(6) == b"%06d" % n and os.pread(fd, 6, 0) == b"%06d" % n)
read_all()
PY
)
t_told() { # FILE, a new one: its name is remembered for long
  python3 -c "$told"'
for n in range(20):
    follows(n)
    time.sleep(0.1 if n % 4 == 0 else 0) # looked at, and watched anew
    os.truncate(bare, size + n)
    until("size", lambda: os.fstat(fd).st_size == size + n)
    os.chmod(bare, 0o600 + n % 7)
    until("mode", lambda: os.stat(name).st_mode & 0o777 == 0o600 + n % 7)
other = os.open(bare, os.O_WRONLY) # a writer that writes without an end
for n in range(20000):
    os.pwrite(other, b"%06d" % n, 0)
until("the last of many", lambda: mapped(6) == b"019999")
os.close(other)
os.link(bare, bare + ".link") # all names lead to it
with open(bare + ".link", "r+b") as f:
    f.write(b"linked")
until("by another name", lambda: mapped(6) == b"linked")
os.unlink(bare + ".link")
os.unlink(bare)' "$below/$1" others
}
# An open file of which nobody has read a byte.
t_told_attributes() {
  echo a > "$below/shut"
  sleep 0.3
  exec 7< shut
  python3 -c 'import os, sys, time
time.sleep(0.5)
for n in range(40): # the keeper validates it now and then, too
    mode = 0o600 + n % 8
    os.chmod(sys.argv[1], mode)
    began = time.monotonic()
    while os.fstat(7).st_mode & 0o777 != mode:
        if time.monotonic() - began > 30:
            sys.exit("the mode of round %d is not seen" % n)
        time.sleep(0.01)' "$below/shut"
  exec 7<&-
}
# What the mount writes sets no new watch, as long as it writes. When it has not written for a
# second, what others write is seen.
t_told_own() {
  local before spent=$SECONDS after
  before=$(stat -c %s "$work/watches")
  python3 -c "$told"'
time.sleep(0.5) # it is watched now
for n in range(200):
    os.pwrite(fd, b"own%03d" % n, 8000)
    time.sleep(0.01)' "$below/own" own
  after=$(stat -c %s "$work/watches")
  [ $((after - before)) -ge 1 ]
  [ $((after - before)) -le $((SECONDS - spent + 5)) ]
  python3 -c "$told"'
time.sleep(0.5)
for n in range(30):
    os.pwrite(fd, b"own%03d" % n, 8000)
    time.sleep(0.01)
write(b"theirs")
until("content beside own writes", lambda: mapped(6) == b"theirs")
follows(7)' "$below/own2" own
}
told() { # HOW...
  wanted "told" || return
  local how lib
  lib=$(find "$build" -name failing_watch.so)
  if [ -z "$lib" ] || grep -q __asan_init "$mount_bin"; then
    skip told "no failing_watch.so, or a sanitizer"
    return
  fi
  for how in count lost none few; do
    local -x FAILING_WATCH=$how LD_PRELOAD=$lib WATCH_COUNT=$work/watches
    : > "$work/log"
    : > "$work/watches"
    case $how in
    count | lost) do_mount --coherence=close-to-open -o attr_timeout=3600,entry_timeout=3600 ;;
    *) do_mount --coherence=close-to-open --exclude out ;;
    esac || { fail "told: $how" mount; return; }
    unset LD_PRELOAD FAILING_WATCH WATCH_COUNT
    case $how in
    count)
      check "told: what is open follows" t_told told
      check "told: attributes of what was never read" t_told_attributes
      check "told: beside the mount's own writes" t_told_own ;;
    lost) # then all that is watched is looked at
      check "told: events are lost" t_told told2 ;;
    *)
      check "told: $how: a mapping follows" t_mapping mapped open
      check "told: $how: a mapping of a file that is not cached follows" t_mapping_passing
      check "told: $how: what asks nobody for the end follows" t_grows empty
      check "told: $how: the log says so" grep -q 'open files .*be watched' "$work/log" ;;
    esac
    do_unmount || fail "told: $how" "end with status $status"
  done
}

# ---- strict -----------------------------------------------------------------------------------

# Each change is seen by the next call, whoever made it and however: no pause anywhere.
t_strict_reads() {
  python3 - "$below/s" <<'PY'
import mmap, os, sys
open("s", "wb").write(b"a" * 100000)
reader, writer = os.open("s", os.O_RDONLY), os.open(sys.argv[1], os.O_RDWR)
for n in range(200): # with the writer's descriptor open all the time
    want = b"%06d" % n
    os.pwrite(writer, want, n * 400)
    for _ in range(2):
        got = os.pread(reader, 6, n * 400)
        assert got == want, (n, want, got)
os.close(writer)
for n in range(2000): # with one that is opened and closed for each change; the mount looks, too
    want = b"%06d" % (n + 1000)
    with open(sys.argv[1], "r+b") as w:
        w.seek(n % 200 * 400)
        w.write(want)
    for _ in range(2):
        got = os.pread(reader, 6, n % 200 * 400)
        assert got == want, (n, want, got)
with open(sys.argv[1], "r+b") as w:
    m = mmap.mmap(w.fileno(), 100000)
    for n in range(200): # stored in a mapping
        want = b"%06d" % (n + 2000)
        m[n * 400:n * 400 + 6] = want
        got = os.pread(reader, 6, n * 400)
        assert got == want, (n, want, got)
    m.close()
os.truncate(sys.argv[1], 10)
assert len(os.pread(reader, 1000, 0)) == 10
os.truncate(sys.argv[1], 20)
assert len(os.pread(reader, 1000, 0)) == 20
assert os.fstat(reader).st_size == 20
PY
}
t_strict_names() {
  local n
  for n in $(seq 50); do
    [ ! -e "name$n" ]
    echo "$n" > "$below/name$n"
    same "$(cat "name$n")" "$n"
    same "$(stat -c %s "name$n")" "$(stat -c %s "$below/name$n")"
    chmod 600 "$below/name$n"
    same "$(stat -c %a "name$n")" 600
    echo "another $n" > "$below/other"
    mv "$below/other" "$below/name$n"
    same "$(cat "name$n")" "another $n"
    rm "$below/name$n"
    [ ! -e "name$n" ]
  done
}
# What nobody changes comes from the cache all the same.
t_strict_hits() {
  local before
  head -c 1048576 /dev/urandom > "$below/hits"
  for _ in 1 2 3; do cmp hits "$below/hits"; done
  before=$(stat_of hit_blocks)
  cmp hits "$below/hits"
  [ $(($(stat_of hit_blocks) - before)) -ge 256 ]
}
t_strict_mapped() {
  python3 - "$below/map" <<'PY'
import mmap, os, sys
open("map", "wb").write(b"a" * 8192)
fd = os.open("map", os.O_RDWR)
m = mmap.mmap(fd, 8192)
assert m[5000:5003] == b"aaa"
m[5000:5003] = b"xyz"
assert os.pread(fd, 5, 4999) == b"axyza" # the page is written before it is read past
m.flush()
assert open(sys.argv[1], "rb").read()[4999:5004] == b"axyza"
PY
}
# A shared mapping could be stored in, and nobody could write that.
t_strict_append_only() {
  echo one > ao
  chattr +a "$below/ao"
  trap 'chattr -a "$below/ao"' EXIT
  echo two >> ao
  same "$(cat ao)" "$(printf 'one\ntwo')"
  fails python3 -c 'import os; os.open("ao", os.O_RDWR | os.O_APPEND)'
}

strict() {
  wanted "strict" || return
  do_mount --coherence=strict --exclude out || { fail strict mount; return; }
  check "strict: each read sees all changes" t_strict_reads
  check "strict: names and attributes" t_strict_names
  check "strict: hits" t_strict_hits
  # Linux 6.6, and a libfuse that lets the mount ask for it
  if printf '%s\n' 6.6 "$(uname -r)" | sort -CV && grep -q fuse_session_custom_io "$mount_bin"; then
    check "strict: shared mappings" t_strict_mapped
    mappings strict
    check "strict: what asks nobody for the end follows" t_grows
    : > "$org/ao"
    if has chattr && chattr +a "$below/ao" 2>/dev/null; then
      chattr -a "$below/ao"
      check "strict: append-only files" t_strict_append_only
    else
      skip "strict: append-only files" "chattr +a does not work here"
    fi
  else
    skip "strict: shared mappings" "the kernel or libfuse is too old"
  fi
  do_unmount
}

# ---- Opens beside forget ------------------------------------------------------------------------

# A validation that was begun before the file was forgotten shows nothing. What the kernel has of
# the file must not be kept then.
t_beside_forget() {
  python3 - "$org" "$below" "$pool.control" <<'PY'
import os, random, socket, struct, sys, threading, time
top, bare, control = sys.argv[1:]
os.chdir(top)
BLOCKS, FILES, end, stale = 256, 4, time.monotonic() + 5, []
def block(k, version):
    return struct.pack("<QQ", k, version) * 256
def write(k, version):
    fd = os.open("%s/f%d" % (bare, k), os.O_RDWR | os.O_CREAT)
    for b in range(BLOCKS):
        os.pwrite(fd, block(k, version), b * 4096)
    os.close(fd)
def user(k):
    r, version = random.Random(k), 0
    while time.monotonic() < end and not stale:
        if r.random() < .35:
            version += 1
            write(k, version)
            time.sleep(r.choice([0, 0, .001, .02]))
        for _ in range(3):
            fd = os.open("f%d" % k, os.O_RDONLY)
            for _ in range(4):
                b, n = r.randrange(BLOCKS - 8), r.choice([1, 8])
                if os.pread(fd, n * 4096, b * 4096) != block(k, version) * n:
                    stale.append((k, b, version))
            os.close(fd)
        time.sleep(r.random() * .01)
def forgetter(seed):
    r = random.Random(seed)
    while time.monotonic() < end and not stale:
        s = socket.socket(socket.AF_UNIX)
        s.connect(control)
        s.sendall(b"cachemax 1 forget 0 2\nf%d" % r.randrange(FILES))
        text = b""
        while b"\nend " not in b"\n" + text:
            text += s.recv(4096)
        s.close()
        time.sleep(.002)
for k in range(FILES):
    write(k, 0)
threads = [threading.Thread(target=user, args=(k,)) for k in range(FILES)]
threads += [threading.Thread(target=forgetter, args=(k,)) for k in range(3)]
for t in threads: t.start()
for t in threads: t.join()
assert not stale, "file %d, block %d is older than version %d" % stale[0]
PY
}
beside_forget() {
  wanted "opens beside forget" && [ $via = pool ] || return
  do_mount --coherence=close-to-open -o probation=0 || { fail "opens beside forget" mount; return; }
  check "opens beside forget" t_beside_forget
  do_unmount
}

# ---- Validations that fail ----------------------------------------------------------------------

# Nobody knows whether what is cached is still right, so an open reads the file at its server.
t_unknown() {
  local n
  cd /
  for n in 1 2 3; do
    head -c 400000 /dev/urandom > "$below/unknown"
    eventually all_of_it "$org/unknown"
    touch "$work/fail"
    head -c 400000 /dev/urandom > "$ref/unknown"
    dd if="$ref/unknown" of="$below/unknown" conv=notrunc status=none
    cmp "$org/unknown" "$ref/unknown"
    cmp <(dd if="$org/unknown" bs=64k iflag=direct status=none) "$ref/unknown"
    rm "$work/fail"
    cmp "$org/unknown" "$ref/unknown"
  done
}
all_of_it() { # FILE: it is cached
  cat "$1" > /dev/null
  [ "$(cached "$1")" = "$(stat -c %s "$1")" ]
}
unknown() {
  local shim
  wanted "a file that cannot be validated" || return
  shim=$(find "$build" -name slow_origin.so | head -n 1)
  if grep -Eq '__(asan|tsan)_init' "$mount_bin"; then
    skip "a file that cannot be validated" "a sanitizer is loaded first"
    return
  fi
  # No look and no attributes of the kernel: only the open can see the change.
  FAIL_STAT=$work/fail LD_PRELOAD=$(realpath "$shim") \
    do_mount --coherence=close-to-open -o attr_timeout=60,entry_timeout=60 ||
    { fail "a file that cannot be validated" mount; return; }
  check "a file that cannot be validated" t_unknown
  do_unmount
}

# ---- paranoid ---------------------------------------------------------------------------------

# Others make a file longer, and the kernel learns its size. An answer that ends at the old end
# would then be filled up with zeros, if the kernel has learned it meanwhile.
t_no_zeros() {
  python3 - "$below" <<'PY'
import ctypes, os, sys
libc = ctypes.CDLL(None)
NEVER_CACHED, SIZE, EMPTY_PATH = 0x2000, 0x200, 0x1000
for n in range(50):
    name = "longer%d" % n
    with open(sys.argv[1] + "/" + name, "wb", buffering=0) as others:
        others.write(b"old")
        os.utime(others.fileno(), (10**9, 10**9)) # so old that it is cached
        fd = os.open(name, os.O_RDONLY)
        for _ in range(2):
            assert os.pread(fd, 20, 0) == b"old"
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        others.write(b" and new")
        libc.statx(fd, b"", EMPTY_PATH | NEVER_CACHED, SIZE, ctypes.create_string_buffer(256))
        got = os.pread(fd, 20, 0)
        assert got == b"old and new", got
        os.close(fd)
PY
}
no_zeros() {
  wanted "no zeros" || return
  do_mount --coherence=close-to-open -o attr_timeout=60 || { fail "no zeros" mount; return; }
  check "no zeros: a file that became longer" t_no_zeros
  do_unmount
}

read_direct() { dd if="$1" bs=64k iflag=direct status=none; }

# Others change a file that counts as written by nobody else; its times stay. The reader gets the
# right bytes, then and later, and what is written then is not lost.
t_paranoid_other() {
  local before n
  cd /
  : > "$work/log"
  do_mount --paranoid
  head -c 262144 /dev/urandom > "$org/p"
  for _ in 1 2 3; do read_direct "$org/p" | cmp - "$below/p"; done
  before=$(stat_of hit_blocks)
  read_direct "$org/p" | cmp - "$below/p"
  [ $(($(stat_of hit_blocks) - before)) -ge 64 ]
  exec 8< "$org/p"
  for n in $(seq 10 50); do # the keeper may validate the file just then
    for _ in 1 2 3; do read_direct "$org/p" | cmp - "$below/p"; done
    printf "CHANG%s" "$n" | dd of="$below/p" bs=1 seek=70000 conv=notrunc status=none
    same "$(python3 -c 'import os, fcntl
fcntl.fcntl(8, fcntl.F_SETFL, os.O_DIRECT)
print(os.pread(8, 7, 70000).decode())')" "CHANG$n"
    ! grep -q 'WRONG BYTES' "$work/log" || break
  done
  exec 8<&-
  cp "$below/p" "$ref/p"
  grep -q "$org/p: WRONG BYTES IN THE CACHE at offset 69632: XXH3 [0-9a-f]*, at the origin" \
    "$work/log"
  same "$(grep -c 'WRONG BYTES' "$work/log")" 1
  before=$(stat_of hit_blocks)
  for _ in 1 2 3; do read_direct "$org/p" | cmp - "$ref/p"; done
  same "$(stat_of hit_blocks)" "$before"
  printf WRITTEN | dd of="$org/p" bs=1 seek=70000 conv=notrunc status=none
  same "$(dd if="$below/p" bs=1 skip=70000 count=7 status=none)" WRITTEN
  ! do_unmount
  same "$status" 5
  do_mount # what was written through the mount, the pool knows of
  cmp "$org/p" "$below/p"
  do_unmount
}
# The payload in the pool is wrong, and its checksum is not looked at.
t_paranoid_pool() {
  cd /
  new_pool 64MiB
  : > "$work/log"
  do_mount
  head -c 65536 /dev/urandom > "$org/pp"
  cp "$org/pp" "$ref/pp"
  sleep 0.3 # its times are no longer fresh: else it is cold after the unmount
  for _ in 1 2 3; do read_direct "$org/pp" > /dev/null; done
  do_unmount
  python3 - "$pool" "$ref/pp" <<'PY'
import sys
with open(sys.argv[1], 'r+b') as pool, open(sys.argv[2], 'rb') as f:
    f.seek(8192)
    at = pool.read().index(f.read(4096))
    pool.seek(at + 100)
    pool.write(b'damage')
PY
  do_mount --paranoid -o verify=never
  cmp "$org/pp" "$ref/pp"
  grep -q "$org/pp: WRONG BYTES IN THE CACHE at offset 8192: " "$work/log"
  ! do_unmount
  same "$status" 5
  new_pool 64MiB
}
# Readers and writers of the same blocks, others too if there are any: no false alarm.
t_paranoid_quiet() { # LEVEL
  local before
  cd /
  : > "$work/log"
  do_mount --paranoid --coherence="$1"
  head -c 1048576 /dev/urandom > "$org/busy"
  before=$(stat_of hit_blocks)
  timeout 120 python3 - "$org/busy" "$below/busy" "$1" <<'PY'
import mmap, os, random, sys, threading, time
end = time.monotonic() + 3
def reading(k):
    fd, b, r = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT), mmap.mmap(-1, 65536), \
        random.Random(k)
    while time.monotonic() < end:
        os.preadv(fd, [b], r.randrange(240) * 4096)
def writing(path, k, flags):
    r = random.Random(k)
    b = mmap.mmap(-1, 8192)
    while time.monotonic() < end:
        b[0:8192] = r.choice((b"a", b"b")) * 8192 # the same content comes back
        fd = os.open(path, os.O_RDWR | flags)
        os.pwritev(fd, [b], r.randrange(8) * 4096)
        if r.randrange(20) == 0:
            os.ftruncate(fd, 900000 + r.randrange(100000))
        os.close(fd)
        time.sleep(0.001)
threads = [threading.Thread(target=reading, args=(k,)) for k in range(3)]
threads.append(threading.Thread(target=writing, args=(sys.argv[1], 10, 0)))
threads.append(threading.Thread(target=writing, args=(sys.argv[1], 11, os.O_DIRECT)))
if sys.argv[3] != "local":
    threads.append(threading.Thread(target=writing, args=(sys.argv[2], 12, 0)))
for t in threads:
    t.start()
for t in threads:
    t.join()
PY
  cmp "$org/busy" "$below/busy"
  [ "$1" != local ] || [ "$(stat_of hit_blocks)" -gt "$before" ]
  do_unmount
  ! grep 'WRONG BYTES' "$work/log" >&2
}

paranoid() {
  wanted "paranoid" || return
  for level in local close-to-open strict; do
    check "paranoid: no false alarm, $level" t_paranoid_quiet $level
  done
  check "paranoid: somebody else wrote" t_paranoid_other
  [ $via = service ] || check "paranoid: a damaged pool" t_paranoid_pool
}

# ---- A server, whose times are trusted ----------------------------------------------------------

source=$work/source
open_hits() { # how many blocks of `old` hit in an open of their own, past the kernel's pages
  local before
  before=$(stat_of hit_blocks)
  dd if="$org/old" iflag=direct bs=1M status=none | cmp - "$source/old" >&2 || return
  echo $(($(stat_of hit_blocks) - before))
}
t_trust_hits() { # once it is old enough
  local n
  head -c 1048576 /dev/urandom > "$source/old"
  for _ in $(seq 300); do
    n=$(open_hits)
    [ "$n" -lt 256 ] || return 0
    sleep 0.1
  done
  echo "$n hits" >&2
  return 1
}
t_trust_follows() { # equal sizes, several changes in a second, and one by a descriptor
  timeout 60 python3 - "$org" "$source" <<'PY'
import os, random, sys
def content(path):
    with open(path, 'rb') as f: return f.read()
names = ['f%d' % k for k in range(4)]
r = random.Random(1)
for n in range(2000):
    name = r.choice(names)
    if n < 4 or r.randrange(3) == 0:
        with open(os.path.join(sys.argv[2], names[n] if n < 4 else name), 'wb') as f:
            f.write(b'%06d' % n * 3000)
    if n >= 4:
        assert content(os.path.join(sys.argv[1], name)) == content(os.path.join(sys.argv[2], name))
PY
  head -c 1048576 /dev/urandom > "$source/old"
  cmp "$org/old" "$source/old"
  t_trust_hits
}
t_trust_not_yet() { # too young for that long
  head -c 1048576 /dev/urandom > "$source/old"
  for _ in 1 2 3 4; do
    [ "$(open_hits)" = 0 ] || return
    sleep 1
  done
}
# A reader has the file open, and its server's client has kept what it read. The file changes, and
# keeps its size and its mtime. When the new times are old enough to count, the reader's pages must
# not be stored: the next open gets what the server has.
t_trust_held() {
  held ro && held rw
}
held() { # HOW it is open
  timeout 60 python3 - "$org/$1" "$source/$1" "$1" <<'PY'
import os, sys, time
name, source, how = sys.argv[1:]
with open(source, 'wb') as f:
    f.write(os.urandom(300000))
def all_of(fd):
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(fd, 1 << 20, 0)
# Not in the pool yet, so the server's client gets pages.
fd = os.open(name, os.O_RDWR if how == 'rw' else os.O_RDONLY)
before = all_of(fd)
st = os.stat(source)
now = os.urandom(len(before))
with open(source, 'r+b') as f:
    f.write(now)
os.utime(source, ns=(st.st_atime_ns, st.st_mtime_ns))
end = time.monotonic() + 5
while time.monotonic() < end: # no open
    got = all_of(fd)
    time.sleep(0.2)
for _ in range(3):
    with open(name, 'rb') as f:
        assert f.read() == now, 'a new open shows what was'
assert got == now, 'the open file shows what was'
PY
}
t_trust_remount() { # --volume-id; it was warm in the mount before
  local n
  n=$(open_hits)
  [ "$n" = 256 ] || { echo "$n hits" >&2; return 1; }
}
# The server shows new times when a write has been closed or synced, and before one begins.
t_trust_shown() {
  timeout 60 python3 - "$org/late" "$below/late" "$work/late.log" <<'PY'
import mmap, os, sys, time
name, bare, log = sys.argv[1:]
with open(name, 'wb') as f:
    f.write(bytes(65536))
def times():
    st = os.stat(bare)
    return st.st_mtime_ns, st.st_ctime_ns
def store(f):
    with mmap.mmap(f.fileno(), 0) as m:
        m[0] = 1
        m.flush()
changes = (lambda f: f.write(b'a' * 10000), lambda f: (f.write(b'b'), f.flush(), os.fsync(f)),
           store)
for change in changes:
    time.sleep(2.1)
    was = times()
    open(log, 'w').close()
    st = os.stat(name)
    with open(name, 'r+b', buffering=0) as f:
        change(f)
        if change is not changes[0]:
            assert times() != was, 'an fsync is answered before its write is shown'
    assert times() != was, 'a close is answered before its write is shown'
    assert change is store or os.stat(name).st_atime_ns == st.st_atime_ns, 'the time of access'
    with open(log) as f:
        did = f.read().split()
    assert did[:2] == ['times', 'write'], 'what was done: %s' % did
    assert 'times' in did[2:], 'what was done: %s' % did
PY
}
t_trust_dates() { # what a program sets stays, also if it was set before the close
  python3 - "$org/late" "$below/late" <<'PY'
import os, sys
with open(sys.argv[1], 'wb', buffering=0) as f:
    f.write(b'dated')
    os.utime(f.fileno(), (10**9, 10**9))
assert os.stat(sys.argv[2]).st_mtime == 10**9 and os.stat(sys.argv[1]).st_mtime == 10**9
PY
}
# A mount that has no descriptor left asks the server all the same whether all was written.
t_trust_no_descriptor() {
  timeout 60 python3 - "$org/closed" "$work/late.log" "$mount_pid" <<'PY'
import os, resource, sys
name, log, mount = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(name, 'wb', buffering=0) as f:
    f.write(b'written')
    used = {int(n) for n in os.listdir('/proc/%d/fd' % mount)}
    free = min(set(range(len(used) + 1)) - used)
    limits = resource.prlimit(mount, resource.RLIMIT_NOFILE)
    resource.prlimit(mount, resource.RLIMIT_NOFILE, (free, limits[1]))
    open(log, 'w').close()
try:
    with open(log) as f:
        did = f.read().split()
finally:
    resource.prlimit(mount, resource.RLIMIT_NOFILE, limits)
assert 'close' in did or 'fsync' in did, 'what was done: %s' % did
PY
}
# A reader has the file open, and then it becomes one that is not cached.
t_trust_left_out() {
  timeout 60 python3 - "$org/large" "$source/large" <<'PY'
import os, sys
name, source = sys.argv[1:]
def first():
    with open(name, 'rb', buffering=0) as f:
        return f.read(10)
with open(source, 'wb') as f:
    f.write(b'a' * 300000)
with open(name, 'rb') as reader:
    reader.read()
    os.truncate(source, 2000000)
    assert first() == b'a' * 10
    with open(source, 'r+b') as f:
        f.write(b'b' * 10)
    assert first() == b'b' * 10, 'a new open shows what was'
PY
}
t_trust_ahead() { # a time of the year 2286 is not old, so a file that is open is looked at
  yes one | head -n 400 > "$source/ahead"
  exec 5<"$org/ahead" && read -r line <&5
  yes two | head -n 400 1<>"$source/ahead"
  while read -r line <&5 && [ "$line" = one ]; do sleep 0.1; done
  same "$line" two
}
t_unknown_writers() { # without --trust-times the log says once what that means
  local before
  before=$(grep -c "$unknown_writers" "$work/log" || :)
  echo one > "$source/one"
  echo two > "$source/two"
  same "$(cat "$org/one" "$org/two" "$org/one")" "$(printf 'one\ntwo\none')"
  same $(($(grep -c "$unknown_writers" "$work/log") - before)) 1
  ! grep cm_file_open "$work/log" >&2
}
unknown_writers='its file system cannot say who writes a file, so its files are cold at each open'
trust_mount() { # SECONDS OPTION...; 0 SECONDS: do not trust
  local seconds=$1 trust=()
  shift
  [ "$seconds" = 0 ] || trust=(--trust-times "$seconds")
  do_mount --coherence=close-to-open --volume-id=trusted "${trust[@]}" "$@" || return
  for _ in $(seq 600); do # both are FUSE, and do_mount may have seen the one below
    ! grep -q " $org .* fuse.cachemax " /proc/self/mountinfo || break
    sleep 0.05
  done
}
trusted() {
  local server
  wanted "trusted times" || return
  [ $via = pool ] || return
  late=$(bin late)
  [ -n "$late" ] || { skip "trusted times" "no program 'late' in this build"; return; }
  cd /
  mkdir "$source"
  "$late" "$source" "$org" "$work/late.log" -f 2>"$work/server.log" &
  server=$!
  for _ in $(seq 600); do
    ! mountpoint -q "$org" || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.05
  done
  mountpoint -q "$org" || { fail "trusted times" "$(tail -n 1 "$work/server.log")"; return; }
  umount "$below" && mount --bind "$org" "$below" && mount --make-private "$below"
  while read -r seconds name function options; do
    # shellcheck disable=SC2086
    if trust_mount "$seconds" $options; then
      check "trusted times: $name" "$function"
      do_unmount
    else
      fail "trusted times: $name" "$(tail -n 1 "$work/log")"
    fi
    if [ "$name" = hits ] && trust_mount 2; then
      check "trusted times: remount" t_trust_remount
      do_unmount
    fi
  done <<'END'
2 hits t_trust_hits
2 follow t_trust_follows
2 held t_trust_held
2 shown t_trust_shown
2 dates t_trust_dates
2 no_descriptor t_trust_no_descriptor
2 left_out t_trust_left_out --max-file-size=1M -o attr_timeout=60
3600 too_young t_trust_not_yet
2 ahead t_trust_ahead
0 unknown_writers t_unknown_writers
END
  umount "$below"
  umount -l "$org"
  kill "$server" 2>/dev/null
  wait "$server"
}

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
close_to_open
told
strict
beside_forget
unknown
no_zeros
paranoid
trusted
summary
