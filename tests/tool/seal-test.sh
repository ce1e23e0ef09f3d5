#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# seal-test.sh - sealed pools with the command: --key-file, and what is refused without the key.
#
# Usage: seal-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed.

set -u
build=${1:?usage: seal-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

key() # FILE
{
  head -c 32 /dev/urandom >"$1"
  chmod 600 "$1"
}
key k1
key k2
make_file f 1000000
if "$cm" create probe --size 1M --key-file k1 2>&1 | grep -q 'built without OpenSSL'; then
  expect 'without OpenSSL' 1 'built without OpenSSL' "$cm" create p --size 8M --key-file k1
  check 'nothing is made' test ! -e p
  skip seal 'built without OpenSSL'
  summary
  exit
fi

expect 'encrypt alone' 2 'needs a key: --key-file' "$cm" create p --size 8M --encrypt
expect 'no such key' 1 'none: No such file' "$cm" create p --size 8M --key-file none
head -c 31 /dev/urandom >short
chmod 600 short
expect 'no name of a key' 2 "'--key-file' needs the name of a file" \
  "$cm" create p --size 8M --key-file ''
expect 'a short key' 1 'short: is not accepted: .*fewer than 32 bytes' \
  "$cm" create p --size 8M --key-file short
make=$(sed -n 's/.*to make a key: \(.*\))$/\1/p' err | sed 's/FILE/made/g')
(umask 022 && sh -c "head() { stat -c %a made >mode; command head \"\$@\"; }; $make")
check 'nobody else may read it while it is made' test "$(cat mode)" = 600
expect 'a key made as it was said' 0 made "$cm" create q --size 8M --key-file made
cp k1 open
chmod 644 open
expect 'a key that others may read' 1 'open: is not accepted: others than its owner may read it' \
  "$cm" create p --size 8M --key-file open
if [ "$(id -u)" = 0 ]; then
  chmod 600 open
  chown 12345 open
  expect 'a key of somebody else' 1 'another user' "$cm" create p --size 8M --key-file open
fi
check 'nothing was made' test ! -e p

for kind in sealed encrypted; do
  also=()
  [ $kind = sealed ] || also=(--encrypt)
  expect "$kind: create" 0 made "$cm" create p --size 8M --names --key-file k1 "${also[@]}"
  expect "$kind: info" 0 'sealed: +yes' "$cm" info p
  check "$kind: info, as JSON" test "$("$cm" info p --json >j && jget j sealed)" = $kind
  through "$kind: first" f p --key-file k1
  through "$kind: again" f p --key-file k1
  all_hits "$kind: warm"
  sum=$(sha256sum <p)
  expect "$kind: without the key" 3 'give the key that it was made with' "$cm" check p
  expect "$kind: another key" 3 'another key' "$cm" check p --key-file k2
  expect "$kind: files without it" 3 'give the key that it was made with' "$cm" files p
  expect "$kind: resize without it" 3 'give the key that it was made with' "$cm" resize p 9M
  through "$kind: cat without it" f p
  expect "$kind: it reads the file" 0 'is read without the cache' "$cm" cat f --pool p
  check "$kind: nothing has changed" test "$(sha256sum <p)" = "$sum"
  for bad in none short; do # trouble with a key is trouble with the pool
    expect "$kind: cat, $bad" 0 'f: is read without the cache' "$cm" cat f -p p --key-file $bad
    check "$kind: cat, $bad, said" grep -q "$bad: " err
    check "$kind: cat, $bad, output" cmp f out
  done
  expect "$kind: cat, empty name" 2 'needs the name' "$cm" cat f -p p --key-file ''
  expect "$kind: check" 0 'p: sound' "$cm" check p --key-file k1
  expect "$kind: files" 0 ' f$' "$cm" files p --key-file k1
  expect "$kind: dump without it" 0 'sealed: +(yes|encrypted)' "$cm" dump p superblock
  expect "$kind: stats without it" 0 'hit' "$cm" stats p
  # What is cached can be seen in a pool that is sealed alone.
  found=$(python3 -c 'import sys
print(open("p", "rb").read().count(open("f", "rb").read()[8192:8256]))')
  check "$kind: is it plain" test "$found" = "$([ $kind = sealed ] && echo 1 || echo 0)"
  expect "$kind: resize" 0 '12.00 MiB now' "$cm" resize p 12M --key-file k1
  through "$kind: after a resize" f p --key-file k1
  all_hits "$kind: all is carried over"
  # Somebody writes all slots.
  python3 -c 'import re, subprocess, sys
at, n = map(int, re.search(r"slots: +at (\d+), (\d+) bytes", subprocess.run(
    [sys.argv[1], "dump", "p", "superblock"], stdout=subprocess.PIPE).stdout.decode()).groups())
f = open("p", "r+b"); f.seek(at); b = bytearray(f.read(n))
for i in range(7, n, 4096): b[i] ^= 1
f.seek(at); f.write(b)' "$cm"
  through "$kind: after that" f p --key-file k1
  check "$kind: nothing of it was served" test "$(hits)" = 0
  rm p
done
"$cm" create p --size 8M >out
expect 'a key for a pool that has none' 3 'not sealed' "$cm" check p --key-file k1
summary
