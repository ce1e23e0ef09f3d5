#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# mount.sh make|cut|judge - runs in the guest, with busybox only: cachemax-mount over a directory on
# the DAX file system, in a boot each: make the files; read and write through the mount until the
# power goes; mount again, compare every byte with the origin beneath, count what still hits.
cm=/run/add/cachemax
mount=/run/add/cachemax-mount
quiet="q1 q2 q3 q4" # files that nobody writes
blocks=1024         # in all of them

fail() { echo "FAIL $*"; exit 1; }
hit_blocks() {
  $cm stats --json pool | tr ',{}' '\n\n\n' |
    sed -n 's/^ *"hit_blocks": *\([0-9]*\).*/\1/p' | head -n 1
}
start() { # the origin stays visible in "below"
  mount --bind org below || fail bind
  # Without the buffer, whose blocks a power cut takes.
  $mount "$PWD/org" --pool "$PWD/pool" -o probation=0 -f >>/run/log 2>&1 &
  daemon=$!
  i=0
  until grep -q "$PWD/org fuse" /proc/mounts; do
    kill -0 $daemon 2>/dev/null && [ $((i += 1)) -lt 500 ] || { cat /run/log; fail "no mount"; }
    usleep 20000
  done
}
read_quiet() { for f in $quiet; do cat org/$f >/dev/null || fail "read $f"; done; }
drop() { echo 3 >/proc/sys/vm/drop_caches; }

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
  # All of them are stored when all of them hit. A read may leave some out (CM_NOT_STORED_*).
  pass=0
  read_quiet
  until drop; before=$(hit_blocks); read_quiet; [ $(($(hit_blocks) - before)) -ge $blocks ]; do
    [ $((pass += 1)) -lt 20 ] || fail "the files do not get warm: $before, $(hit_blocks)"
  done
  echo "working: $(hit_blocks) blocks hit"
  while :; do
    at=$(($(od -An -N1 -tu1 /dev/urandom)))
    dd if=/dev/urandom of=org/w1 bs=4k count=3 seek=$at conv=notrunc 2>/dev/null
    cat org/w1 org/w2 >/dev/null
    echo line >>org/log
    cat org/w1 >org/w2
    drop
    read_quiet
  done
  ;;
judge)
  start
  read_quiet
  hit=$(hit_blocks)
  md5sum -c sums >/dev/null || fail "files nobody wrote have changed"
  for _ in 1 2; do
    for f in below/*; do
      cmp "$f" "org/${f#below/}" || fail "$f differs"
    done
    drop
  done
  echo "judged hits=$hit of=$blocks"
  [ "$hit" -ge $((blocks * 95 / 100)) ] || fail "files nobody wrote are cold"
  umount org || fail umount
  wait $daemon || fail "the mount ended with $?"
  $cm check "$PWD/pool" >/run/check 2>&1 || { cat /run/check; fail "cachemax check"; }
  umount below
  ;;
esac
