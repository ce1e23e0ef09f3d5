#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# mount.sh make|cut|judge - runs in the guest, with busybox only: cachemax-mount over a directory on
# the DAX file system, in a boot each: make the files; read and write through the mount until the
# power goes; mount again, compare every byte with the origin beneath, count what still hits.
# shellcheck source=mounted.sh
. /run/add/mounted.sh
quiet="q1 q2 q3 q4" # files that nobody writes
blocks=1024         # in all of them

case $1 in
make)
  mkdir org below
  for f in $quiet w1 w2; do
    dd if=/dev/urandom of=org/$f bs=64k count=16 2>/dev/null || fail "make $f"
  done
  md5sum org/q* >sums
  $cm create "$PWD/pool" --size 32M --quiet || fail create
  sync
  ;;
cut)
  [ -c /dev/fuse ] || { echo "skip: the kernel package has no FUSE"; exit 77; }
  start
  get_warm $blocks $quiet
  echo "working: $(stat_of hit_blocks) blocks hit"
  while :; do
    at=$(($(od -An -N1 -tu1 /dev/urandom)))
    dd if=/dev/urandom of=org/w1 bs=4k count=3 seek=$at conv=notrunc 2>/dev/null
    cat org/w1 org/w2 >/dev/null
    echo line >>org/log
    cat org/w1 >org/w2
    drop
    read_files $quiet
  done
  ;;
judge)
  start
  read_files $quiet
  hit=$(stat_of hit_blocks)
  md5sum -c sums >/dev/null || fail "files nobody wrote have changed"
  for _ in 1 2; do
    for f in below/*; do
      cmp "$f" "org/${f#below/}" || fail "$f differs"
    done
    drop
  done
  echo "judged hits=$hit of=$blocks"
  [ "$hit" -ge $((blocks * 95 / 100)) ] || fail "files nobody wrote are cold"
  end
  ;;
esac
