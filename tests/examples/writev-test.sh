#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# writev-test.sh - examples/writev: the bytes are those of the file, cold, warm, without a pool, and
# where the memory of the pool cannot be read; what is warm comes from the pool without a copy.
#
# Usage: writev-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed, 77 if the program is not there or cannot run.
set -u
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh" writev "$@"

# bytes NAME POOL: the output of the program is the file. What it says: ./err.
bytes()
{
  if timeout 60 "$program" data "$2" >got 2>err; then
    check "$1" cmp got data
  else
    fail "$1" "status $?: $(tail -n 3 err | tr '\n' ' ')"
  fi
}
straight() { sed -n 's/^writev: \([0-9]*\) bytes straight.*/\1/p' err; }

head -c 9000123 /dev/urandom >data
"$cm" create pool --size 32M -q
sleep 1 # the file's times are no longer fresh, so a validator of it is not racy
bytes cold pool
bytes warm pool
check warm-is-not-copied test "$(straight)" = 9000123
bytes no-pool none
check no-pool-says-why grep -q 'none: no such file' err
check no-pool-copies test "$(straight)" = 0
: >data2 && cp data saved && : >data
bytes empty pool
cp saved data
expect no-file 2 '^usage: writev FILE POOL' "$program" nothing pool
# A pipe whose reader goes away: the pool is closed all the same.
"$program" data pool 2>err | head -c 1000 >/dev/null
check the-reader-goes test "${PIPESTATUS[0]}" = 1
check the-reader-goes-says-why grep -q 'output cannot be written: Broken pipe' err
check the-reader-goes-clean sh -c '"$1" info pool --json | grep -q "\"clean\": *true"' - "$cm"
# A pipe that does not block: its reader begins only when it is full.
cat >slow.py <<'END'
import os, select, subprocess, sys
r, w = os.pipe()
os.set_blocking(w, False)
p = subprocess.Popen(sys.argv[1:], stdout=w)
while select.select([], [w], [], 0)[1]:
    if p.poll() is not None:
        break
    select.select([], [], [], 0.01)
os.close(w)
with open(r, 'rb') as f, open('got', 'wb') as out:
    out.write(f.read())
sys.exit(p.wait())
END
check does-not-block timeout 60 python3 slow.py "$program" data pool
check does-not-block-all cmp got data
if [ -e /dev/full ]; then
  expect full 1 'cannot be written' sh -c '"$1" data pool >/dev/full' - "$program"
fi
# The system cannot read the payload of the pool's slots: EFAULT, and the copy brings the bytes.
sleep 1
bytes again pool
bytes again-warm pool
if grep -Eq '__(asan|tsan)_init' "$program"; then
  skip unreadable "a sanitizer's build takes no LD_PRELOAD"
else
  cat >efault.c <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/uio.h>
/* A part is written, then the memory cannot be read, and at the next try not either. */
ssize_t writev(int fd, const struct iovec *v, int n)
{
    static int calls;
    ssize_t (*next)(int, const struct iovec *, int) =
        (ssize_t (*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    struct iovec part = v[0];
    switch (calls++ % 5) {
    case 1: part.iov_len = part.iov_len > 5000 ? 5000 : part.iov_len; return next(fd, &part, 1);
    case 2:
    case 3: errno = EFAULT; return -1;
    default: return next(fd, v, n);
    }
}
END
  check an-unreadable-pool "${CC:-cc}" -shared -fPIC -o efault.so efault.c -ldl
  export LD_PRELOAD=$work/efault.so
  bytes unreadable pool
  unset LD_PRELOAD
  check unreadable-is-copied test "$(straight)" -lt 9000123
  "$cm" create short --size 32M -q
  check short-reads short_reads
  SHORT=data LD_PRELOAD=$work/short.so bytes reads-are-short short
fi
# What the program says of an error is not what the next call of the library leaves in errno.
if can_be_troubled; then
  check troubled troubled
  program=$work/troubled
  bytes errno-warm pool
  LD_PRELOAD=$work/efault.so bytes errno-unreadable pool
  check errno-unreadable-is-copied test "$(straight)" -lt 9000123
  if [ -e /dev/full ]; then
    expect errno-full 1 'output cannot be written: No space' \
      sh -c '"$1" data pool >/dev/full' - "$program"
  fi
  "$cm" create cold --size 32M -q
  expect errno-bad-origin 1 'file cannot be read: I.* error' \
    env BAD_ORIGIN=1 "$program" data cold
else
  skip errno "$untroubled"
fi
summary
