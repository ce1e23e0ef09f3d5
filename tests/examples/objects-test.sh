#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# objects-test.sh - examples/objects: what was put is there in later processes, until it is deleted,
# expired or cleared.
#
# Usage: objects-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed, 77 if the program is not there.

set -u
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh" objects "$@"

same() # NAME KEY FILE
{
  if "$program" pool get "$2" >got 2>err && cmp -s got "$3"; then
    ok "$1"
  else
    fail "$1" "$(head -c 300 err)"
  fi
}

put() # KEY FILE [SECONDS]
{
  "$program" pool put "$1" ${3:+"$3"} <"$2"
}

printf hello >small
head -c 300000 /dev/urandom >large
: >empty
expect usage 2 . "$program"
expect unknown 2 'usage: objects' "$program" pool juggle
expect no-key 2 'usage: objects' "$program" pool put
for more in "put k 5 6" "get k k2" "delete k k2" "list k" "forget k"; do
  # shellcheck disable=SC2086 # several words
  expect "superfluous: $more" 2 'usage: objects' "$program" new-pool $more
done
key=$(head -c 255 /dev/zero | tr '\0' k)
for command in put get delete; do
  expect "$command: a key of 256 bytes" 2 'objects: the key has 256 bytes: give at most 255' \
    "$program" new-pool "$command" "${key}k"
done
expect "none of these has made a pool" 0 '' test ! -e new-pool
for seconds in 18446744074 0 -1 abc 1x; do
  expect "seconds-$seconds" 2 'from 1 to 18446744073' put short small "$seconds"
done
for file in small large empty; do
  expect "put-$file" 0 '' put "$file" "$file"
done
for file in small large empty; do
  same "get-$file" "$file" "$file"
done
expect put-again 0 '' put small large
same get-again small large
expect none 1 '' "$program" pool get other
# More than an eighth of the pool: it is not stored, and the old one is gone.
"$cm" create little --size 4M -q
"$program" little put k <small
expect before 0 hello "$program" little get k
head -c 3000000 /dev/zero >long
expect not-stored 1 '^objects: .' sh -c '"$1" little put k <long' - "$program"
expect gone 1 '' "$program" little get k
expect list 0 '^large 300000$' "$program" pool list
expect info 0 'buckets' "$program" pool info
expect put-long-key 0 '' put "$key" small
same get-long-key "$key" small
expect delete-long-key 0 '' "$program" pool delete "$key"
to() # FILE ARGUMENT...: the command, with standard output there
{
  file=$1
  shift
  "$program" pool "$@" >"$file"
}
if [ -c /dev/full ]; then
  # A value that fits into the buffer of standard output, one that does not.
  for arguments in "get small" "get large" list info; do
    # shellcheck disable=SC2086 # several words
    expect "no room for the output: $arguments" 2 \
      '^objects: standard output: No space left on device$' to /dev/full $arguments
  done
else
  skip "no room for the output" "no /dev/full here"
fi
expect "input that cannot be read" 2 '^objects: standard input: Is a directory$' put other .
expect "input that cannot be read is not put" 1 '' "$program" pool get other
# What a terminal would take for a command, or for the end of a line; no UTF-8; UTF-8.
odd=$(printf 'a\033[31m\n\342\200\256\\b\377\300\200\303\251 \342\202\254')
expect "put an odd key" 0 '' put "$odd" small
same "get an odd key" "$odd" small
"$program" pool list | grep '^a' >list
printf '%s%s 5\n' 'a\x1b[31m\x0a\xe2\x80\xae\\b\xff\xc0\x80' "$(printf '\303\251 \342\202\254')" \
  >wanted
if cmp -s list wanted; then ok "list: an odd key"; else fail "list: an odd key" "$(cat -v list)"; fi
expect "delete an odd key" 0 '' "$program" pool delete "$odd"
expect delete 0 '' "$program" pool delete small
expect deleted 1 '' "$program" pool get small
expect delete-none 1 '' "$program" pool delete small
expect expires 0 '' put short small 1
wait_for_end()
{
  for _ in $(seq 100); do
    "$program" pool get short >got 2>err || return 0
    sleep 0.1
  done
  return 1
}
if wait_for_end; then ok expired; else fail expired "it is there after 10 seconds"; fi
head -c 5000000 /dev/zero >huge
expect too-large 2 'less than 4 MiB' put large huge
head -c 4194304 /dev/zero >huge
expect no-larger 2 'less than 4 MiB' put large huge
expect clear 0 '' "$program" pool clear
expect cleared 1 '' "$program" pool get empty
expect put-small 0 '' put small small
expect forget 0 '' "$program" pool forget
expect forgotten 1 '' "$program" pool get small
summary
