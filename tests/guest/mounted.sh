# shellcheck shell=sh
# SPDX-License-Identifier: BSD-2-Clause
#
# mounted.sh - what mount.sh and disk.sh share: cachemax-mount over ./org with the pool ./pool, and
# the origin beneath, in ./below. Sourced in the guest, with busybox only.
cm=/run/add/cachemax
mount=/run/add/cachemax-mount

fail() { echo "FAIL $*"; exit 1; }
stat_of() { # COUNTER
  $cm stats --json pool | tr ',{}' '\n\n\n' |
    sed -n "s/^ *\"$1\": *\([0-9]*\).*/\1/p" | head -n 1
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
read_files() { for f; do cat "org/$f" >/dev/null || fail "read $f"; done; }
drop() { echo 3 >/proc/sys/vm/drop_caches; }

# get_warm BLOCKS FILE...: reads until all of them are stored, which is when all of them hit. A read
# may leave some out (CM_NOT_STORED_*).
get_warm() {
  blocks=$1 pass=0
  shift
  read_files "$@"
  until
    drop
    before=$(stat_of hit_blocks)
    read_files "$@"
    [ $(($(stat_of hit_blocks) - before)) -ge "$blocks" ]
  do
    [ $((pass += 1)) -lt 20 ] || fail "the files do not get warm: $before, $(stat_of hit_blocks)"
  done
}
end() {
  umount org || fail umount
  wait $daemon || fail "the mount ended with $?"
  $cm check "$PWD/pool" >/run/check 2>&1 || { cat /run/check; fail "cachemax check"; }
  umount below
}
