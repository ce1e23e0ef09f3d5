#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# compress.sh BUILD [MIB] - measures compressed blocks on files of this machine: compress.c tells
# what the columns are. What is not there is left out. Needs liblz4-dev and libzstd-dev at the time
# of the build, and some GiB in $TMPDIR.
set -u
build=$(realpath "${1:?usage: compress.sh BUILD [MIB]}")
mib=${2:-256}
run=$build/tests/bench/compress
if [ ! -x "$run" ]; then
  echo "compress.sh: no $run: install liblz4-dev and libzstd-dev, and build" >&2
  exit 77
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-compress.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT

grep -m1 'model name' /proc/cpuinfo
echo 'data         codec     n   ratio sectors  half%  pairs      in     out   copy'
of() { # NAME DIRECTORY [FIND ARG...]
  local name=$1
  shift
  find "$@" -xdev -type f -size +64k 2>/dev/null | sort > "$work/list"
  [ -s "$work/list" ] && "$run" "$name" "$mib" < "$work/list"
}
# A small installed system, as in the images of virtual machines.
image() {
  truncate -s "$(($(du -sm "$work/tree" | cut -f 1) * 6 / 5 + 64))M" "$work/image" # 20 % free
  mke2fs -q -t ext4 -d "$work/tree" "$work/image"
}
database() {
  find /usr -xdev -printf '%p\t%s\t%T@\t%u\n' 2>/dev/null | python3 -c '
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("create table file (path text primary key, size int, time real, owner text)")
db.execute("create index size on file (size)")
db.executemany("insert or ignore into file values (?, ?, ?, ?)",
               (l.rstrip("\n").split("\t") for l in sys.stdin))
db.commit()' "$work/database"
}
of /usr/lib /usr/lib
of /usr/share /usr/share
of headers /usr/include
of python /usr/lib/python3 /usr/local/lib -name '*.py'
of logs /var/log
if command -v git > /dev/null && git -C "$build/.." rev-parse 2>/dev/null; then
  of git "$(git -C "$build/.." rev-parse --git-common-dir)" -name '*.pack'
elif [ -n "${GIT_DIR:-}" ]; then
  of git "$GIT_DIR" -name '*.pack'
fi
if command -v python3 > /dev/null && database; then of sqlite "$work/database"; fi
mkdir "$work/tree"
if command -v mke2fs > /dev/null && cp -a /usr/bin /usr/sbin /etc "$work/tree" 2>/dev/null; then
  image && of image "$work/image"
fi
rm -rf "$work/tree" "$work/image"
head -c $((mib << 20)) /dev/urandom > "$work/random"
of random "$work/random"
