#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# page-store-test.sh - examples/page-store: after each kill -9 all pages are right, those from the
# pool are those of the file, and the cache is warm. Writes without the pool make it cold.
#
# Usage: page-store-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed, 77 if the program is not there.

set -u
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh" page-store "$@"

# share NAME FROM TO: of the 2048 pages that the last start read, FROM to TO came from the pool.
share()
{
  local pages
  pages=$(sed -n 's/^checked 2048 pages: \([0-9]*\) came.*/\1/p' out)
  if [ "${pages:-none}" = none ]; then
    fail "$1" "no number was printed: $(cat out err | head -c 300 | tr '\n' ' ')"
  elif [ "$pages" -ge "$2" ] && [ "$pages" -le "$3" ]; then
    ok "$1"
  else
    fail "$1" "$pages is not between $2 and $3"
  fi
}
# killed NAME: the program is killed half a second after it has checked all pages.
killed()
{
  "$program" pages pool 60 >out 2>err &
  owner=$! # lib.sh ends it, too
  for _ in $(seq 200); do
    grep -q '^checked' out && break
    sleep 0.05
  done
  sleep 0.5
  kill -9 $owner 2>/dev/null
  { wait $owner; } 2>/dev/null
  status=$?
  owner=
  if [ $status = 137 ]; then ok "$1"; else fail "$1" "status $status: $(head -c 300 err)"; fi
}

"$cm" create pool --size 32M -q
expect new 0 '^wrote' "$program" pages pool 1
share new-is-cold 0 9
for i in 1 2 3 4; do
  cp pages before
  killed "kill-$i"
  share "kill-$i-began-warm" 1024 2048
  check "kill-$i-wrote-pages" test "$(cmp before pages | wc -l)" = 1
done
expect after-kills 0 '^wrote' "$program" pages pool 0
share after-kills-warm 1024 2048
expect check 0 '' "$cm" check pool
# Its times do not count, and a dump does not say that they differ.
expect dump 0 'a proof that the program gave' "$cm" dump pool find pages 0

expect without-pool 0 'going on without it' "$program" pages none 1
expect after-it 0 '^wrote' "$program" pages pool 0
share after-it-cold 0 9

# Another pool sees the writes of a while. The first one must not believe that it knows them.
"$cm" create other --size 32M -q
expect other-pool 0 '^wrote' "$program" pages other 1
expect first-pool-again 0 '^wrote' "$program" pages pool 0
share first-pool-is-cold 0 9
expect after-clean-end 0 '^wrote' "$program" pages pool 0
share after-clean-end-warm 1024 2048

# Two processes would each take themselves for the only writer.
"$program" pages pool 60 >first.out 2>&1 &
owner=$!
wait_for grep -q '^checked' first.out
expect second-process 1 'pages: another process uses it' "$program" pages none 0
{ kill -9 $owner && wait $owner; } 2>/dev/null
owner=
expect after-second-process 0 '^wrote' "$program" pages pool 0

# Before the first write without the pool the generation is on the disk. Else a power cut could
# take it back, but not the write, and the pool would take its old blocks for right.
if grep -Eq '__(asan|tsan)_init' "$program"; then
  skip generation-not-synced "a sanitizer's build takes no LD_PRELOAD"
else
  echo 'int fsync(int fd) { return fd < 0 ? 0 : -1; }' >fsync.c
  check a-failing-fsync "${CC:-cc}" -shared -fPIC -o fsync.so fsync.c
  cp pages before
  expect generation-not-synced 1 'cannot sync the generation' \
    env LD_PRELOAD="$work/fsync.so" "$program" pages none 1
  check generation-not-synced-wrote-no-page cmp -n $((2048 * 4096)) before pages
  "$cm" create short --size 32M -q
  check short-reads short_reads
  expect reads-are-short 0 '^wrote' \
    env SHORT=pages LD_PRELOAD="$work/short.so" "$program" pages short 0
fi

# A file that is no store stays as it is, and so does the pool if it has the wrong place.
refused() # NAME FILE
{
  cp "$2" kept
  expect "$1" 1 "$2: is no store of page-store" "$program" "$2" pool 0
  check "$1-is-left" cmp "$2" kept
}
echo precious >other-file
refused a-short-file other-file
truncate -s 20000000 other-file
refused a-long-file other-file
head -c $((2049 * 4096)) /dev/zero >other-file
refused a-file-of-that-size other-file
refused the-pool-as-a-file other
expect the-pool-is-sound 0 '' "$cm" check other
head -c $((2000 * 4096)) pages >other-file
refused half-of-a-store other-file
expect no-regular-file 1 '/dev/null: is no store' "$program" /dev/null pool 0

# A kill while a store is made leaves an empty file, or a whole one, also behind a link.
: >empty
ln -s empty link
expect an-empty-file 0 '^wrote' "$program" link pool 0
check an-empty-file-is-a-store test "$(stat -c %s empty)" = $((2049 * 4096))
check a-link-stays-one test -L link
if grep -Eq '__(asan|tsan)_init' "$program"; then
  skip killed-while-it-is-made "a sanitizer's build takes no LD_PRELOAD"
else
  printf '%s\n' '#include <sys/syscall.h>' '#include <unistd.h>' \
    'ssize_t pwrite(int fd, const void *p, size_t n, off_t at)' \
    '{ if (at > 4000000) _exit(9); return syscall(SYS_pwrite64, fd, p, n, at); }' \
    'ssize_t pwrite64(int fd, const void *p, size_t n, off_t at)' \
    '{ return pwrite(fd, p, n, at); }' >pwrite.c
  check a-kill-in-a-write "${CC:-cc}" -shared -fPIC -o pwrite.so pwrite.c
  expect killed-while-it-is-made 9 '' \
    env LD_PRELOAD="$work/pwrite.so" "$program" half pool 0
  check killed-while-it-is-made-left-no-half test ! -s half
  expect made-after-that 0 '^wrote' "$program" half pool 0
  check made-after-that-is-alone test "$(echo half*)" = half
fi

# The program notices wrong pages: an old one in the file, where the pool has the newest.
expect newer-pages 0 '^wrote [1-9]' "$program" pages pool 1
dd if=before of=pages bs=4096 count=2048 conv=notrunc status=none
expect old-pages 1 'it is not the newest; delete POOL if it, or FILE, was restored' \
  "$program" pages pool 0
printf x | dd of=pages bs=1 seek=90000 conv=notrunc status=none
expect a-damaged-page 1 'checksum' "$program" pages none 0
expect usage 2 '^usage: page-store FILE POOL SECONDS' "$program" pages pool
for seconds in abc -1 1s ''; do
  expect "no-seconds-$seconds" 2 '^usage: page-store' "$program" pages pool "$seconds"
done
summary
