#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# seal-test.sh - a mount with a sealed pool: -o key_file.
#
# Usage: seal-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed.

set -u
build=${1:?usage: seal-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

head -c 32 /dev/urandom > "$work/key"
head -c 32 /dev/urandom > "$work/other"
chmod 600 "$work/key" "$work/other"
rm -f "$pool"
if "$cm" create "$pool" --size 32M --key-file "$work/key" --encrypt 2>&1 |
  grep -q 'built without OpenSSL'; then
  skip seal 'built without OpenSSL'
  summary
  exit
fi
mkdir -p "$ref"
head -c 5000000 /dev/urandom > "$ref/a"
cp -r "$ref/." "$org"
sleep 0.3 # its times are no longer fresh

same_file() { dd if="$org/a" bs=1M iflag=direct status=none | cmp - "$ref/a"; }
t_reads() {
  same_file
  same_file
  same "$("$cm" list --json | grep -c "\"pool\": \"$pool\"")" 1
}
t_warm() {
  local read
  read=$(stat_of origin_bytes)
  same_file
  same "$(stat_of origin_bytes)" "$read"
}
t_resize() {
  status 0 "$cm" resize "$pool" 40M
  t_warm
}
t_refused() { # OPTIONS WHY
  status 3 "$mount_bin" "$org" --pool "$pool" ${1:+-o "$1"}
  says "$2"
}
plant() { # bytes of all slots are changed while nobody has the pool
  python3 -c 'import re, subprocess, sys
at, n = map(int, re.search(r"slots: +at (\d+), (\d+) bytes", subprocess.run(
    [sys.argv[1], "dump", sys.argv[2], "superblock"], stdout=subprocess.PIPE).stdout.decode())
    .groups())
f = open(sys.argv[2], "r+b"); f.seek(at); b = bytearray(f.read(n))
for i in range(99, n, 4096): b[i] ^= 1
f.seek(at); f.write(b)' "$cm" "$pool"
}
t_planted() {
  same_file
  [ "$(stat_of miss_checksum)" -gt 0 ]
}

do_mount -o "key_file=$work/key" || { fail mount "$(tail -n 1 "$work/log")"; summary; exit 1; }
check "it caches" t_reads
do_unmount || fail "the end" "status $status"
check "without the key" t_refused "" "no seal was given.*key_file"
check "with another key" t_refused "key_file=$work/other" "another key"
check "with a key that is not there" t_refused "key_file=$work/none" "No such file"
cd "$work" || exit 1
do_mount -o key_file=key
check "warm in the next mount, with a relative path" t_warm
check "it gets another size while it is mounted" t_resize
do_unmount || fail "the end" "status $status"
plant
do_mount -o "key_file=$work/key"
check "what was planted is not served" t_planted
do_unmount || fail "the end" "status $status"
if is_clean; then ok "the pool is clean"; else fail "the pool is clean" "no"; fi
summary
