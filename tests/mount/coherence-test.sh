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
  check "close-to-open: a descriptor follows" t_descriptor
  do_unmount
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
for n in range(200): # with one that is opened and closed for each change
    want = b"%06d" % (n + 1000)
    with open(sys.argv[1], "r+b") as w:
        w.seek(n * 400)
        w.write(want)
    for _ in range(2):
        got = os.pread(reader, 6, n * 400)
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

# ---- paranoid ---------------------------------------------------------------------------------

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

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
close_to_open
strict
paranoid
summary
