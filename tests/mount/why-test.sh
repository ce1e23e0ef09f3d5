#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# why-test.sh - 'cachemax cached' says why a file is not cached as a whole, and says nothing where
# the mount does not know.
#
# Usage: why-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Needs 40 MiB in /dev/shm and in $TMPDIR.

set -u
build=${1:?usage: why-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

begin() { # OPTION...
  cd /
  do_mount "$@"
}
let_go() { do_unmount >/dev/null 2>&1; }
read_it() { dd if="$1" of=/dev/null bs=128k iflag=direct status=none; }
# word FILE: as JSON has it; "null": none is known.
word() { "$cm" cached "$1" --json | sed -n 's/^ *"why": \(.*[^,]\),*$/\1/p'; }
# is_why WORD TEXT FILE: the same in both forms.
is_why() {
  same "$(word "$3")" "\"$1\""
  status 0 "$cm" cached "$3"
  says " $3 \($2\)$"
}
is_silent() { # FILE
  same "$(word "$1")" null
  status 0 "$cm" cached "$1"
  says " $1$"
}

t_rules() {
  local options=(--include 'in/*' --exclude '*.tmp' --max-file-size 100K)
  [ $is_root = 0 ] || options+=(--exclude-owner 65534)
  begin "${options[@]}"
  is_why size 'larger than --max-file-size' "$org/in/large"
  is_why exclude 'left out by --exclude' "$org/in/a.tmp"
  is_why include 'no --include names it' "$org/a"
  [ $is_root = 0 ] || is_why owner 'left out by --exclude-owner' "$org/in/nobody"
  "$cm" warm -q "$org/in/a"
  is_silent "$org/in/a"
  mv "$org/in/a" "$org/in/b.tmp" # cached, and left out at the next open: it is whole
  is_silent "$org/in/b.tmp"
  mv "$org/in/b.tmp" "$org/in/a"
  do_unmount
}
# Nothing of it is in the pool. What the kernel or the mount still knows of it makes no difference.
unknown='not read through the mount, not stored, or forgotten, changed or pushed out since'
is_unknown() { is_why unknown "$unknown" "$1"; }
t_unknown() {
  begin
  is_unknown "$org/a"
  exec 5<"$org/a"
  is_unknown "$org/a" # opened and not read
  exec 5<&-
  "$cm" warm -q "$org/a"
  is_silent "$org/a"
  "$cm" forget -q "$org/a"
  is_unknown "$org/a"
  dd if="$org/a" of="$org/synced" bs=16k oflag=sync status=none
  is_unknown "$org/synced"
  "$cm" warm -q "$org/synced"
  : > "$org/synced"
  is_silent "$org/synced"
  rm "$org/synced"
  dd if="$org/large" of=/dev/null bs=4k count=1 iflag=direct status=none
  is_silent "$org/large" # read in part
  "$cm" cached "$org/large" --tree > "$work/said"
  same "$(grep -c '(' "$work/said")" 0
  : > "$org/empty"
  is_silent "$org/empty"
  rm "$org/empty"
  do_unmount
}
t_mode() {
  begin
  "$cm" forget -q "$org/a"
  "$cm" mode "$org" freeze
  is_why freeze 'the mode of the pool is freeze' "$org/a"
  "$cm" mode "$org" bypass
  is_why bypass 'the mode of the pool is bypass' "$org/a"
  "$cm" mode "$org" normal
  do_unmount
}
t_quota() {
  begin --quota in=160K
  "$cm" forget -q "$org/in"
  is_why quota_size 'larger than the quota of its directory' "$org/in/large"
  is_unknown "$org/in/a"
  "$cm" warm -q "$org/in/large" || true
  is_why quota_size 'larger than the quota of its directory' "$org/in/large"
  exec 5<"$org/in/a" 5<&-
  is_unknown "$org/in/a" # the quota is full, and one read caches all of this file
  dd if="$org/in/a" of=/dev/null bs=4k count=1 iflag=direct status=none
  is_why quota 'the quota of its directory is full: its files push each other out' "$org/in/a"
  "$cm" warm -q "$org/in/a"
  is_silent "$org/in/a"
  do_unmount
}
t_advice() {
  begin --advise 'in/*=noreuse'
  "$cm" forget -q "$org/in/a"
  read_it "$org/in/a"
  is_why noreuse '--advise says noreuse' "$org/in/a"
  # What counts is what was said when it was attached, not what its name would say now.
  cp "$org/a" "$org/b"
  exec 5<"$org/b"
  dd if="$org/b" of=/dev/null bs=4k count=1 iflag=direct status=none
  mv "$org/b" "$org/in/b"
  is_silent "$org/in/b"
  read_it "$org/in/b"
  is_silent "$org/in/b"
  exec 5<&-
  exec 5<"$org/in/a"
  mv "$org/in/a" "$org/b"
  is_why noreuse '--advise says noreuse' "$org/b"
  exec 5<&-
  mv "$org/b" "$org/in/a"
  exec 5<"$org/in/a" # a pinned file is stored all the same
  "$cm" pin -q "$org/in/a"
  echo more >> "$org/in/a"
  status 0 "$cm" cached "$org/in/a"
  says " $org/in/a \(pinned in part\)$"
  "$cm" unpin -q "$org/in/a"
  exec 5<&-
  truncate -s 65536 "$org/in/a"
  rm "$org/in/b"
  do_unmount
}
t_pinned() {
  begin
  "$cm" pin -q "$org/a"
  status 0 "$cm" cached "$org/a"
  says " $org/a \(pinned\)$"
  do_unmount
  echo other >> "$org/a"
  begin
  status 0 "$cm" cached "$org/a"
  says " $org/a \(pinned in part; changed since it was cached\)$"
  read_it "$org/a"
  is_silent_pinned
  "$cm" unpin -q "$org/a"
  do_unmount
}
is_silent_pinned() {
  status 0 "$cm" cached "$org/a"
  says " $org/a \(pinned( in part)?\)$"
}
# The answer to the same question stays the same, and what was cached is there if the old file is.
t_changed() {
  begin
  "$cm" warm -q "$org/a"
  do_unmount
  cp -p "$org/a" "$org/kept"
  echo other >> "$org/a"
  begin
  is_why changed 'changed since it was cached' "$org/a"
  is_why changed 'changed since it was cached' "$org/a"
  read_it "$org/a"
  read_it "$org/a"
  is_silent "$org/a"
  do_unmount
  mv "$org/kept" "$org/a"
}
# Beside other writers nothing of a file that somebody may write is believed.
t_written() {
  begin --coherence=close-to-open
  "$cm" warm -q "$org/a"
  exec 5<>"$below/a"
  exec 6<"$org/a" 6<&- # an open that finds it so
  is_why written 'open for writing, or nobody can tell' "$org/a"
  exec 5>&-
  read_it "$org/a"
  read_it "$org/a"
  is_silent "$org/a"
  echo other >> "$below/a" # and an open that finds it so
  exec 6<"$org/a" 6<&-
  is_unknown "$org/a"
  do_unmount
}
# take_lease FILE: one for all of it, as Samba has for a client (an oplock). It is not given back
# when somebody asks for that, but only by give_lease.
take_lease() {
  local answer
  coproc lease { python3 -c '
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("taken", flush=True)
sys.stdin.read()' "$1"; }
  read -r answer <&"${lease[0]}"
  same "$answer" taken
}
give_lease() {
  local pid=$lease_PID
  eval "exec ${lease[1]}>&-"
  wait "$pid"
}
# Who asks does not wait for the holder: half a minute and more, until the kernel ends the lease.
t_lease() { # COHERENCE
  begin --coherence="$1"
  "$cm" warm -q "$org/a"
  do_unmount
  cp "$org/a" "$org/leased"
  begin --coherence="$1"
  for name in a leased; do # known to the pool, and not
    take_lease "$below/$name"
    is_why written 'open for writing, or nobody can tell' "$org/$name"
    give_lease
  done
  rm "$org/leased"
  do_unmount
}
t_service() {
  via=service
  backing=(--service "$socket")
  begin --exclude '*.tmp'
  is_why exclude 'left out by --exclude' "$org/in/a.tmp"
  is_unknown "$org/in/nobody"
  "$cm" warm -q "$org/in/nobody"
  is_silent "$org/in/nobody"
  "$cm" forget -q "$org/in/nobody"
  is_unknown "$org/in/nobody"
  do_unmount
}
# After a sync that failed nobody knows what the origin has.
t_sync() {
  local shim
  shim=$(realpath "$(find "$build" -name slow_origin.so | head -n 1)")
  export FAIL_SYNC=$work/no-sync
  LD_PRELOAD=${LD_PRELOAD:+$LD_PRELOAD:}$shim begin
  "$cm" warm -q "$org/a"
  exec 5<>"$org/a"
  echo /a > "$FAIL_SYNC"
  echo new >&5
  fails sync "$org/a"
  is_why sync 'a sync of it has failed' "$org/a"
  rm "$FAIL_SYNC"
  exec 5>&-
  do_unmount || : # the pool knows of the loss
  new_pool 16MiB
}
can_overlay() {
  mkdir -p "$shm/layer/upper" "$shm/layer/work" "$shm/lower" &&
    mount -t overlay -o \
      "lowerdir=$shm/lower,upperdir=$shm/layer/upper,workdir=$shm/layer/work" overlay "$org"
}
# lower WORD TEXT: of the file `one` on an overlayfs with the layer $shm/lower
lower() {
  can_overlay
  begin
  "$cm" warm -q "$org/one" || true
  is_why "$@" "$org/one"
  do_unmount
  umount "$org"
}
t_names() { # two names there may be two files
  cp "$org/a" "$shm/lower/one"
  ln "$shm/lower/one" "$shm/lower/two"
  lower names 'has several names on FUSE or overlayfs'
}
t_volume() { # a layer on FUSE does not number its files
  local other
  rm "$shm/lower/two"
  "$cm" create "$shm/other" --size 4MiB >/dev/null
  "$mount_bin" "$shm/lower" --pool "$shm/other" -f 2>>"$work/log" &
  other=$!
  eventually mountpoint -q "$shm/lower"
  lower volume 'its volume cannot tell its files apart'
  umount "$shm/lower"
  wait $other
}
# A mount that is newer may have words that this command does not know.
t_other_word() {
  local other
  begin
  mv "$pool.control" "$pool.hidden"
  python3 - "$pool.control" <<'PY' &
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
while True:
    c, _ = s.accept()
    text = c.makefile('rwb')
    while line := text.readline():
        verb, length = line.split()[2], int(line.split()[4])
        text.read(length)
        if verb == b'cached':
            text.write(b'is why ' + 200 * b'moon' + b'\nis size 9\nis cached 0\nend 0 done\n')
        else:
            text.write(b'end -29 no\n')
        text.flush()
PY
  other=$!
  eventually test -S "$pool.control"
  is_silent "$org/a"
  kill $other
  mv "$pool.hidden" "$pool.control"
  do_unmount
}

new_pool 16MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
mkdir "$org/in"
head -c 65536 /dev/urandom > "$org/a"
cp "$org/a" "$org/in/a"
cp "$org/a" "$org/in/a.tmp"
cp "$org/a" "$org/in/nobody"
head -c 1000000 /dev/urandom > "$org/in/large"
cp "$org/in/large" "$org/large"
[ $is_root = 0 ] || chown 65534 "$org/in/nobody"
sync "$org"/*
check "a rule" t_rules
check "not known to the pool" t_unknown
check "the mode of the pool" t_mode
check "the quota of its directory" t_quota
check "advice" t_advice
check "changed since" t_changed
check "changed since, and pinned" t_pinned
if [ $has_below = 1 ]; then
  check "somebody writes it" t_written
  need "a lease" python3 && for coherence in local close-to-open; do
    check "a lease, $coherence" t_lease $coherence
  done
else
  skip "somebody writes it" "needs a bind mount"
  skip "a lease" "needs a bind mount"
fi
need "a sync that failed" sync && check "a sync that failed" t_sync
if ! wanted "several names" && ! wanted "a volume that does not tell"; then
  : # nothing is mounted for them
elif ! can_overlay 2>/dev/null; then
  skip "several names" "no overlayfs"
  skip "a volume that does not tell" "no overlayfs"
else
  umount "$org"
  check "several names" t_names
  check "a volume that does not tell" t_volume
fi
check "with a service" t_service
via=pool backing=(--pool "$pool")
need "a word of a newer mount" python3 && check "a word of a newer mount" t_other_word
summary
