#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# event-loop-test.sh - examples/event-loop: the bytes are those of the file, cold, warm and without
# a pool; many requests for one cold block read the origin once; trouble is said; an origin that
# ends early leaves no hole in the output.
#
# Usage: event-loop-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed, 77 if the program is not there or cannot run.

set -u
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh" event-loop "$@"

# bytes NAME WANT POOL: $lines through the program are the bytes of WANT. Its words: ./err.
bytes()
{
  # shellcheck disable=SC2046 # words
  if timeout 60 "$program" data "$3" $(<lines) >got 2>err; then
    check "$1" cmp got "$2"
  else
    fail "$1" "status $?: $(tail -n 3 err | tr '\n' ' ')"
  fi
}
# counter POOL NAME: of its last session.
counter()
{
  "$cm" stats "$1" --json >json
  jget json "$2"
}

head -c 9000123 /dev/urandom >data
"$cm" create pool --size 32M -q
"$cm" create other --size 32M -q
if ! "$program" data pool 0 1 >got 2>err && grep -q io_uring err; then
  echo "skip event-loop: $(tail -n 1 err)"
  exit 77
fi
sleep 2 # the file's times are no longer fresh, so a validator of it is not racy

python3 - <<'PY'
import random
random.seed(1)
sizes = [0, 1, 100, 4096, 5000, 300000, 1 << 20, 1 << 62]
lines = [(random.randrange(9100000), random.choice(sizes)) for _ in range(300)]
lines = [(max(o, 8500000), l) if l == 1 << 62 else (o, l) for o, l in lines]
lines += [(0, 1 << 62), (1 << 62, 5), (9000122, 1)]
data = open("data", "rb").read()
open("lines", "w").writelines("%d %d\n" % line for line in lines)
open("want", "wb").write(b"".join(data[o:o + l] for o, l in lines))
PY
bytes cold want pool
bytes warm want pool
# Not always all: the probation buffer of so small a pool takes no block while all of it is pinned.
check warm-reads-the-pool test "$(counter pool origin_bytes)" -lt 200000
bytes no-pool want none
check no-pool-says-why grep -q 'none: no such file' err

for i in $(seq 64); do echo "4096000 $((4096 - i))"; done >lines
for i in $(seq 64); do
  dd if=data bs=1 skip=4096000 count=$((4096 - i)) status=none
done >want
bytes one-block want other
check one-block-is-read-once test "$(counter other origin_reads)" = 1
check the-others-wait-for-it test "$(counter other flights_joined)" = 63

expect odd-number 2 'usage: event-loop FILE POOL' "$program" data pool 0
expect output-lost 1 'standard output: No space left' \
  bash -c "'$program' data pool 0 9000123 >/dev/full"
expect reader-gone 1 'standard output: Broken pipe' \
  bash -c "set -o pipefail; '$program' data pool 0 9000123 | true"
# The output waits for its reader, and at most 64 parts (16 MiB) are under way: the file is cut
# before the rest is read. Nothing may stand where bytes are missing, not even the second pair's.
ends_early() # NAME POOL
{
  cp long cut
  timeout 60 "$program" cut "$2" 0 27000369 0 4096 2>err |
    { head -c 1 && truncate -s 1M cut && cat; } >got
  check "$1" test "${PIPESTATUS[0]}" = 1
  check "$1-is-said-once" test "$(grep -c '^event-loop: origin: it ended early$' err)" = 1
  check "$1-leaves-no-hole" cmp -n "$(wc -c <got)" got long
}
cat data data data >long
ends_early ends-early-no-pool none
ends_early ends-early pool
expect sound 0 '' "$cm" check pool
summary
