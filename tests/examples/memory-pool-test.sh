#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# memory-pool-test.sh - examples/memory-pool: the pool outlives an exec(), and a "device" (an
# ordinary file here) keeps it; what is no pool is not taken for one; trouble with the cache fails
# no read.
#
# Usage: memory-pool-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed, 77 if the program is not there or cannot run.
set -u
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh" memory-pool "$@"

head -c 9000123 /dev/urandom >data
sleep 1 # the file's times are no longer fresh, so a validator of it is not racy
"$program" data >out 2>err
check ends test $? = 0
check two-versions test "$(wc -l <out)" = 2
check the-first-one-is-cold grep -q '^9000123 bytes read, 0 of them' out
check the-second-one-is-warm grep -q '^9000123 bytes read, 9000123 of them' out
truncate -s 64M device
expect no-pool 1 'there is no pool in it; --format' "$program" data device
expect formatted 0 ' 0 of them' "$program" data device --format
expect kept 0 ' 9000123 of them' "$program" data device
echo more >>data
sleep 1
expect changed 0 '^9000128 bytes read, 0 of them' "$program" data device
flock -n device sleep 60 &
holder=$!
wait_for sh -c '! flock -n device true'
expect used 1 'another process has it' "$program" data device
kill $holder
expect no-file-but-a-folder 1 'Is a directory' "$program" .
if grep -Eq '__(asan|tsan)_init' "$program"; then
  skip reads-are-short "a sanitizer's build takes no LD_PRELOAD"
else
  check short-reads short_reads
  expect reads-are-short 0 '^9000128 bytes read, 0 of them' \
    env SHORT=data LD_PRELOAD="$work/short.so" "$program" data
fi
if can_be_troubled; then
  check troubled troubled
  expect trouble-in-a-read 0 '^9000128 bytes read' ./troubled data
  expect trouble-at-the-open 0 '^9000128 bytes read' env NO_FILES=1 ./troubled data
else
  skip trouble "$untroubled"
fi
expect no-file 1 'nothing: No such file' "$program" nothing
expect usage 2 '^usage' "$program" data device --what
summary
