#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# page-store-test.sh - examples/page-store: after each kill -9 all pages are right and none is older
# than what was acknowledged, and the cache is warm. Writes without the pool make it cold.
#
# Usage: page-store-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed, 77 if the program is not there.

set -u
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh" page-store "$@"

# share NAME FROM TO: of the blocks that the last start read, FROM to TO percent came from the pool.
share()
{
  local percent
  percent=$(sed -n 's/^checked 2048 pages: \([0-9]*\) %.*/\1/p' out)
  if [ "${percent:-none}" = none ]; then
    fail "$1" "no share was printed: $(cat out err | head -c 300 | tr '\n' ' ')"
  elif [ "$percent" -ge "$2" ] && [ "$percent" -le "$3" ]; then
    ok "$1"
  else
    fail "$1" "$percent % is not between $2 and $3"
  fi
}
# killed NAME: the program is killed half a second after it has checked all pages.
killed()
{
  "$program" pool pages 60 >out 2>err &
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
acked() { sha256sum <pages.acks; }

"$cm" create pool --size 32M -q
expect new 0 '^wrote' "$program" pool pages 1
share new-is-cold 0 50
for i in 1 2 3 4; do
  before=$(acked)
  killed "kill-$i"
  share "kill-$i-began-warm" 50 100
  check "kill-$i-wrote-pages" test "$before" != "$(acked)"
done
expect after-kills 0 '^wrote' "$program" pool pages 0
share after-kills-warm 50 100
expect check 0 '' "$cm" check pool

expect without-pool 0 'going on without it' "$program" none pages 1
expect after-it 0 '^wrote' "$program" pool pages 0
share after-it-cold 0 50
expect after-clean-end 0 '^wrote' "$program" pool pages 0
share after-clean-end-warm 50 100

# Two processes would each take themselves for the only writer.
"$program" pool pages 60 >first.out 2>&1 &
owner=$!
wait_for grep -q '^checked' first.out
expect second-process 1 'pages: another process uses it' "$program" none pages 0
{ kill -9 $owner && wait $owner; } 2>/dev/null
owner=
expect after-second-process 0 '^wrote' "$program" pool pages 0

# Before the first write without the pool the generation is on the disk. Else a power cut could
# take it back, but not the write, and the pool would take its old blocks for right.
if grep -Eq '__(asan|tsan)_init' "$program"; then
  skip generation-not-synced "a sanitizer's build takes no LD_PRELOAD"
else
  echo 'int msync(void *at, unsigned long n, int how) { return at && n && how ? -1 : 0; }' >msync.c
  check a-failing-msync "${CC:-cc}" -shared -fPIC -o msync.so msync.c
  cp pages before
  expect generation-not-synced 1 'cannot sync the generation' \
    env LD_PRELOAD="$work/msync.so" "$program" none pages 1
  check generation-not-synced-wrote-nothing cmp before pages
fi

# A write that was cut in the middle: the journal has the page whole.
python3 - <<'PY'
import struct
journal, acks = open("pages.journal", "rb").read(), open("pages.acks", "rb").read()
for at in range(0, len(journal), 8192):
    number, version = struct.unpack_from("<QQ", journal, at + 8)
    if struct.unpack_from("<Q", acks, 8 + 8 * number)[0] == version:
        with open("pages", "r+b") as pages:
            pages.seek(number * 8192 + 4096)
            pages.write(b"cut")
        open("cut", "w").close()
        break
PY
check a-page-to-cut test -e cut
expect a-cut-page 0 '^wrote' "$program" pool pages 0

# The program notices wrong pages.
cp pages.acks newer
printf '\377\377\377\377' | dd of=pages.acks bs=1 seek=800 conv=notrunc status=none
expect an-old-page 1 'older than what was acknowledged' "$program" none pages 0
cp newer pages.acks
rm pages.journal
printf x | dd of=pages bs=1 seek=90000 conv=notrunc status=none
expect a-damaged-page 1 'checksum' "$program" none pages 0
summary
