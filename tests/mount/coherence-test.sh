#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# coherence-test.sh - cachemax-mount beside programs that write the origin without it: what each
# level of --coherence promises them.
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
  do_mount --coherence=strict || { fail strict mount; return; }
  check "strict: each read sees all changes" t_strict_reads
  check "strict: names and attributes" t_strict_names
  check "strict: hits" t_strict_hits
  # Linux 6.6, and a libfuse that lets the mount ask for it
  if printf '%s\n' 6.6 "$(uname -r)" | sort -CV && grep -q fuse_session_custom_io "$mount_bin"; then
    check "strict: shared mappings" t_strict_mapped
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

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
strict
summary
