#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# disk.sh work|end - runs in the guest, with busybox only: cachemax-mount over a directory on an
# ordinary disk, which holds the pool, too. If there is a pool, the power was cut: compares every
# byte with the origin beneath, and counts what still hits. Then
#
#   work   warms the files; writes and syncs some of them, and leaves one of these alone; says
#          "working" when a checkpoint has begun and ended since; goes on until the power goes
#   end    unmounts, and checks the pool
#
# The disk has ./org with 2 MiB files: q1 to q4, which nobody writes; s1, which is written, synced,
# and left alone; w1 to w3, which are written until the end. ./sums are the sums of q1 to q4.
# shellcheck source=mounted.sh
. /run/add/mounted.sh
quiet='q1 q2 q3 q4' settled=s1 written='w1 w2 w3'
each=512 # blocks

random() { echo $(($(od -An -N2 -tu2 /dev/urandom) % $1)); }
write() { # FILE FIRST BLOCKS: one to three blocks of these, synced by the one who wrote them
  dd if=/dev/urandom of="org/$1" bs=4k count=$(($(random 3) + 1)) seek=$(($2 + $(random "$3"))) \
    conv=notrunc,fsync 2>/dev/null || fail "write $1"
}
checkpoints() { # waits for no less than N of them, working on
  while [ $(($(stat_of checkpoints) - since)) -lt "$1" ]; do work; done
}
work() {
  write w1 0 $((each - 3)) # everywhere
  write w2 0 200           # in its first region
  dd if=org/w1 of=org/w3 bs=64k conv=fsync 2>/dev/null || fail "write w3"
  echo line >>org/log # nobody syncs these
  cp org/w2 org/new
  mv org/new org/renamed
  drop # so that what was written is read into the pool
  read_files $written log renamed
}

# warm KIND FILE...: reads them; what came from the origin did not hit.
said=judged
warm() {
  kind=$1 all=0
  shift
  before=$(stat_of origin_bytes)
  for f; do all=$((all + ($(stat -c %s "below/$f") + 4095) / 4096)); done
  read_files "$@"
  missed=$((($(stat_of origin_bytes) - before + 4095) / 4096))
  [ $missed -le $all ] || missed=$all
  said="$said $kind=$((all - missed)) $kind-of=$all"
}
compare() { # reads everything twice: past the kernel's pages, what hits and what was just stored
  wrong=0
  for _ in 1 2; do
    drop
    (cd org && md5sum -- *) >/run/org
    (cd below && md5sum -- *) >/run/below
    cmp -s /run/org /run/below || for f in below/*; do
      n=$(cmp -l "$f" "org/${f#below/}" 2>&1 | wc -l)
      [ "$n" = 0 ] || { wrong=$((wrong + n)) && echo "FAIL ${f#below/}: $n wrong bytes"; }
    done
  done
  said="$said files=$(wc -l </run/below) wrong=$wrong"
}
judge() {
  warm quiet $quiet
  warm settled $settled
  for f in $written; do warm "$f" "$f"; done
  compare
  echo "$said"
  [ $wrong = 0 ] || fail "the mount serves wrong bytes"
  md5sum -c sums >/dev/null || fail "files nobody wrote have changed"
}

[ -c /dev/fuse ] || { echo "skip: the kernel package has no FUSE"; exit 77; }
if [ -e pool ]; then
  start
  judge
else
  mkdir below
  # Nothing is evicted.
  $cm create "$PWD/pool" --size 192M --quiet && sync || fail create
  start
fi
if [ "$1" = end ]; then
  end
  exit
fi
for _ in 1 2 3 4 5 6 7 8; do write $settled 0 $((each - 3)); done
get_warm $((each * 5)) $quiet $settled
sleep 1 # until the mount has seen that the times of what was written are not fresh any more
since=$(stat_of checkpoints)
checkpoints 2
echo "working: $(stat_of checkpoints) checkpoints, $(stat_of page_syncs) page syncs," \
  "$(stat_of evicted) blocks evicted"
while :; do work; done
