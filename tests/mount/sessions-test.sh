#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# sessions-test.sh - cachemax-mount from one mount to the next: what is warm, whose volume it is, a
# pool that is lost, other users, other namespaces.
#
# Usage: sessions-test.sh BUILD_DIR [--service]
# With --service the mounts use a service; only what is warm then is checked.
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Works below $TMPDIR, needs 300 MiB there and
# 100 MiB in /dev/shm; checks of other users and of the origin beneath the mount need root.

set -u
build=${1:?usage: sessions-test.sh BUILD_DIR [--service]}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

# ---- Sessions ---------------------------------------------------------------------------------

# Reads FILE twice past the kernel's pages; says how many of its blocks hit the second time.
hits_of() {
  local before after
  dd if="$1" of=/dev/null bs=128k iflag=direct status=none
  before=$(stat_of hit_blocks)
  dd if="$1" of=/dev/null bs=128k iflag=direct status=none
  after=$(stat_of hit_blocks)
  echo $((after - before))
}

end_by() { # NAME SIGNAL|-
  local name=$1
  if [ "$2" = - ]; then fusermount3 -u "$org"; else kill -"$2" "$mount_pid"; fi
  wait_mount
  if [ "$status" != 0 ]; then
    fail "$name leaves a clean pool" "exit status $status: $(tail -n 1 "$work/log")"
  elif mountpoint -q "$org"; then
    fail "$name leaves a clean pool" "still mounted"
  elif ! is_clean; then
    fail "$name leaves a clean pool" "$("$cm" info "$pool" | grep state)"
  else
    ok "$name leaves a clean pool"
  fi
}

warm() { # NAME WANTED_BLOCKS FILE: one read after a mount hits
  local before after
  before=$(stat_of hit_blocks)
  dd if="$3" of=/dev/null bs=128k iflag=direct status=none
  after=$(stat_of hit_blocks)
  if [ $((after - before)) -ge "$2" ]; then ok "$1 ($((after - before)) blocks hit)"; else
    fail "$1" "$((after - before)) of $2 blocks hit"; fi
}

# A block that is missing is one miss, although two threads of the mount look for it.
counted_once() { # FILE BLOCKS
  local missed hit
  missed=$(stat_of miss_blocks) hit=$(stat_of hit_blocks)
  dd if="$1" of=/dev/null bs=128k iflag=direct status=none
  missed=$(($(stat_of miss_blocks) - missed)) hit=$(($(stat_of hit_blocks) - hit))
  if [ $((missed + hit)) = "$2" ]; then ok "every block that is read counts once"; else
    fail "every block that is read counts once" "$missed misses and $hit hits of $2 blocks"; fi
}

sessions() {
  head -c 4194304 /dev/urandom > "$org/w"
  counted_once "$org/w" 1024
  cp "$org/w" "$ref/w"
  local n
  n=$(hits_of "$org/w")
  n=$(hits_of "$org/w")
  if [ "$n" -ge 1000 ]; then ok "reading again hits ($n of 1024 blocks)"; else
    fail "reading again hits" "$n of 1024 blocks"; fi
  end_by "fusermount3 -u" -
  do_mount || return
  warm "warm after unmount, though just written" 1000 "$org/w"
  chmod 600 "$org/w"
  mv "$org/w" "$org/w2"
  ln "$org/w2" "$org/w3"
  rm "$org/w3"
  touch "$org/w2"
  warm "chmod, rename, link, unlink, utimes keep it" 1000 "$org/w2"
  end_by SIGINT INT
  do_mount || return
  warm "warm after SIGINT" 1000 "$org/w2"
  end_by SIGTERM TERM
  printf CHANGED | dd of="$org/w2" bs=1 seek=5000 conv=notrunc status=none
  printf CHANGED | dd of="$ref/w" bs=1 seek=5000 conv=notrunc status=none
  do_mount || return
  check "changed while not mounted: right bytes" cmp w2 "$ref/w"
  end_by "fusermount3 -u again" -
  [ $via = pool ] || start_service
  "$mount_bin" "$org" "${backing[@]}" 2>"$work/err"
  if [ $? = 0 ] && mountpoint -q "$org"; then
    ok "background"
    check "background: right bytes" cmp w2 "$ref/w"
  else
    fail background "$(cat "$work/err")"
  fi
  fusermount3 -u "$org"
  [ $via = pool ] || while pgrep -f "$org --service" >/dev/null; do sleep 0.1; done
  stop_service
  for _ in $(seq 600); do
    is_clean && break
    sleep 0.1
  done
  if is_clean; then ok "background: clean pool"; else fail "background: clean pool" "no"; fi
  do_mount -o ro || return
  check "ro: reads" cmp w2 "$ref/w"
  check "ro: no writes" bash -c '! touch w2 2>/dev/null && ! echo x 2>/dev/null > new'
  end_by "ro" -
}

t_shared() {
  head -c 100000 /dev/urandom > sh
  cat sh > /dev/null
  cat sh > /dev/null
  exec 5< sh
  head -c 100000 /dev/urandom > "$below/sh"
  sleep 1.1
  cmp sh "$below/sh"
  cmp - "$below/sh" <&5
  printf XYZ | dd of="$below/sh" bs=1 seek=50000 conv=notrunc status=none
  sleep 1.1
  cmp sh "$below/sh"
  echo new > "$below/shnew"
  same "$(cat shnew)" new
}

# Somebody holds a lease on the file for a moment, as cm_identify does: a program that opens it
# without waiting is not refused.
t_leased() {
  echo old > leased
  python3 - "$below/leased" leased <<'PY'
import fcntl, os, signal, sys, threading
signal.signal(signal.SIGIO, signal.SIG_IGN)
held = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_RDLCK)
threading.Timer(0.3, lambda: fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)).start()
fd = os.open(sys.argv[2], os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND)
os.write(fd, b'new\n')
PY
  same "$(cat "$below/leased")" "$(printf 'old\nnew')"
}

shared() {
  wanted "shared" || return
  [ $has_below = 1 ] || { skip "shared" "needs a bind mount"; return; }
  do_mount --coherence=close-to-open || { fail shared mount; return; }
  check "shared: changes of others are seen" t_shared
  check "shared: a lease of others is waited for" t_leased
  end_by "shared" -
}

# As an ordinary user, in a mount namespace where that user may open /dev/fuse; with so few
# descriptors that not every name can have one.
user_script='
  ulimit -n 300
  "$1" "$2" --pool "$3" -f 2>"$4/user.log" &
  for i in $(seq 1200); do
    [ "$(stat -f -c %t "$2")" = 65735546 ] && break
    kill -0 $! || break
    sleep 0.05
  done
  [ "$(ls -l "$2" | wc -l)" = 1201 ] || { echo "ls -l"; exit 1; }
  [ "$(cat "$2"/* | md5sum)" = "$5" ] || { echo "cat"; exit 1; }
  echo new > "$2/new" && [ "$(cat "$2/new")" = new ] || { echo "write"; exit 1; }
  rm "$2/new"
  python3 - "$2" <<PY || { echo "rename"; exit 1; }
import os, sys
for i in range(1, 601): # as an editor saves
    tmp, name = sys.argv[1] + "/tmp", sys.argv[1] + "/f%d" % i
    with open(tmp, "w") as f:
        f.write("renamed %d" % i)
    os.rename(tmp, name)
PY
  [ "$(cat "$2/f600")" = "renamed 600" ] || { echo "renamed"; exit 1; }
  kill $!
  wait $!
  [ $? = 0 ] || { echo "exit status"; tail -n 1 "$4/user.log"; exit 1; }'
t_user() {
  mkdir "$shm/user" "$work/userdir"
  "$cm" create "$shm/user/pool" --size=16MiB >/dev/null
  for i in $(seq 1200); do
    echo "content $i" > "$work/userdir/f$i"
  done
  cp "$mount_bin" "$shm/user/cachemax-mount" # the build may lie where others cannot look
  mknod -m 666 "$work/fuse" c 10 229
  chown -R 65534:65534 "$shm/user" "$work/userdir"
  chmod 755 "$shm"
  mkdir -m 777 "$work/userlog"
  sum=$(cat "$work"/userdir/* | md5sum)
  unshare -m bash -c 'mount --bind "$1" /dev/fuse; shift; exec "$@"' - "$work/fuse" \
    setpriv --reuid=65534 --regid=65534 --clear-groups bash -c "$user_script" - \
    "$shm/user/cachemax-mount" "$work/userdir" "$shm/user/pool" "$work/userlog" "$sum" >&2
  "$cm" info "$shm/user/pool" | grep -Eq '^state: +clean'
}

t_odd_path() {
  local odd="$work/a b,c\\d" p
  mkdir "$odd"
  echo kept > "$odd/file"
  "$cm" create "$shm/odd, pool" --size=8MiB >/dev/null
  "$mount_bin" "$odd/" --pool "$shm/odd, pool"
  same "$(stat -f -c %t "$odd")" 65735546
  same "$(cat "$odd/file")" kept
  p=$("$cm" info "$shm/odd, pool" | sed -n 's/^state: .*process \([0-9]*\).*/\1/p')
  kill -9 "$p"
  for i in $(seq 50); do
    kill -0 "$p" 2>/dev/null || break
    sleep 0.1
  done
  "$mount_bin" "$odd" --pool "$shm/odd, pool"
  same "$(cat "$odd/file")" kept
  fusermount3 -u "$odd"
  same "$(cat "$odd/file")" kept
}

# The name of the volume is part of a file's identity: warm under the same one, cold under another.
volume_id() {
  wanted "--volume-id" || return
  new_pool 64MiB
  head -c 4194304 /dev/urandom > "$org/vi"
  do_mount --volume-id one || { fail "--volume-id" mount; return; }
  hits_of "$org/vi" >/dev/null
  end_by "--volume-id" -
  do_mount --volume-id=one || return
  warm "--volume-id: warm under the same name" 900 "$org/vi"
  fusermount3 -u "$org"
  wait_mount
  do_mount --volume-id two || return
  before=$(stat_of hit_blocks)
  dd if="$org/vi" of=/dev/null bs=128k iflag=direct status=none
  # What was read ahead hits, too.
  if [ $(($(stat_of hit_blocks) - before)) -lt 512 \
    ]; then ok "--volume-id: cold under another name"; else
    fail "--volume-id: cold under another name" "$(($(stat_of hit_blocks) - before)) blocks hit"; fi
  fusermount3 -u "$org"
  wait_mount
  rm "$org/vi"
}

# Two disks below the directory that say the same of themselves (two loop devices of one image).
clones() {
  if ! truncate -s 64M "$work/img" ||
    ! PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -qF "$work/img" >/dev/null 2>&1 ||
    ! mkdir "$org/clone1" "$org/clone2" ||
    ! mount -o loop "$work/img" "$org/clone1" 2>/dev/null; then
    skip "two volumes of one identity" "no loop images here"
    return
  fi
  head -c 1048576 /dev/urandom > "$org/clone1/f"
  umount "$org/clone1"
  new_pool 64MiB
  loop1=$(losetup -f --show -r "$work/img") && loop2=$(losetup -f --show -r "$work/img")
  mount -o ro,noload "$loop1" "$org/clone1" && mount -o ro,noload "$loop2" "$org/clone2"
  if ! do_mount; then
    fail "two volumes of one identity" mount
  elif [ ! -e "$org/clone1/f" ]; then
    skip "two volumes of one identity" "the mount does not cross file systems"
  else
    cat "$org/clone1/f" >/dev/null
    : >"$work/log"
    check "two volumes of one identity: right bytes" cmp clone1/f clone2/f
    for i in 1 2 3; do
      dd if="$org/clone2/f" of=/dev/null bs=128k iflag=direct status=none
    done
    if [ "$(grep -c 'clone2/f: its volume has the same identity' "$work/log")" = 1 \
      ]; then ok "two volumes of one identity: said once"; else
      fail "two volumes of one identity: said once" "$(tail -n 3 "$work/log")"; fi
  fi
  fusermount3 -u "$org"
  wait_mount
  umount "$org/clone1" "$org/clone2"
  losetup -d "$loop1" "$loop2"
  rm -r "$work/img" "$org/clone1" "$org/clone2"
}

# A filter of system calls refuses what tells a file from an earlier one of its inode: each file
# passes through, and the log says so of the first one.
t_no_generation() {
  cd /
  : > "$work/log"
  head -c 1048576 /dev/urandom | tee "$ref/nog1" > "$org/nog1"
  head -c 1048576 /dev/urandom | tee "$ref/nog2" > "$org/nog2"
  NO_GENERATION=1 LD_PRELOAD=$1 do_mount
  for f in nog1 nog2 nog1; do
    same "$(hits_of "$org/$f")" 0
    cmp "$org/$f" "$ref/$f"
  done
  grep -Eq "nog1: the system fails to tell which file it is, .* uncached; .*FS_IOC_GETVERSION$" \
    "$work/log"
  same "$(grep -c 'fails to tell which file' "$work/log")" 1
  do_unmount
  # It is due to the filter that they were not cached.
  do_mount
  [ "$(hits_of "$org/nog1")" -ge 256 ]
  do_unmount
  rm "$org/nog1" "$org/nog2"
}
no_generation() {
  local name="the number of an inode is refused" shim
  wanted "$name" || return
  shim=$(find "$(realpath "$build")" -name no_handles.so | head -n 1)
  if [ -z "$shim" ] || grep -Eq '__(asan|tsan|msan)_init' "$mount_bin"; then
    skip "$name" "no no_handles.so, or a build that takes no LD_PRELOAD"
  else
    check "$name" t_no_generation "$shim"
  fi
}

lost_pool() { # NAME STATUS SAID COMMAND: the pool is harmed while mounted
  local name=$1 want=$2 said=$3 n
  wanted "$name" || return
  shift 3
  : > "$work/log"
  rm -f "$pool"
  new_pool 64MiB
  do_mount || { fail "$name" mount; return; }
  head -c 8388608 /dev/urandom > "$org/lp"
  cp "$org/lp" "$ref/lp"
  hits_of "$org/lp" >/dev/null
  hits_of "$org/lp" >/dev/null
  "$@"
  for n in $(seq 100); do
    [ "$want" != 0 ] && ! grep -q "$said" "$work/log" || break
    sleep 0.1
  done
  [ "$want" = 0 ] || check "$name: said at the time" grep -q "$said" "$work/log"
  for n in 4k 128k 1M; do
    check "$name: right bytes at $n" bash -c \
      "dd if=lp bs=$n iflag=direct status=none | cmp - '$ref/lp'"
  done
  printf NEW | dd of="$org/lp" bs=1 seek=70000 conv=notrunc status=none
  printf NEW | dd of="$ref/lp" bs=1 seek=70000 conv=notrunc status=none
  check "$name: right bytes after a write" \
    bash -c "dd if=lp bs=128k iflag=direct status=none | cmp - '$ref/lp'"
  echo fresh > "$org/fresh"
  check "$name: new files" grep -q fresh fresh
  kill -0 "$mount_pid" 2>/dev/null && ok "$name: the mount lives" ||
    fail "$name: the mount lives" "died"
  check "$name: the origin has it" bash -c "[ $has_below = 0 ] || cmp '$below/lp' '$ref/lp'"
  fusermount3 -u "$org"
  wait_mount
  [ "$status" = "$want" ] && ok "$name: exit status $want" ||
    fail "$name: exit status $want" "$status: $(tail -n 1 "$work/log")"
  check "$name: said at the end" grep -q "$said" "$work/log"
}

# ---- Namespaces -------------------------------------------------------------------------------

may_unshare() { # NAME [OPTION...]; a container may forbid it
  unshare -m "${@:2}" true 2>"$work/err" || { skip "$1" "$(tail -n 1 "$work/err")"; return 1; }
}
# Callers that the mount's PID namespace has no number for get nothing beyond what the kernel
# checked.
t_pid_namespace() {
  local inner=''
  echo x > foreign
  setfattr -n trusted.t -v 1 foreign
  echo x > bits
  chmod 6777 bits
  cd /
  unshare --pid --fork --kill-child --mount-proc "$mount_bin" "$org" --pool "$pool" \
    -f 2>>"$work/log" &
  mount_pid=$!
  trap 'kill -9 "$mount_pid" 2>/dev/null || :' EXIT
  for _ in $(seq 1200); do
    kill -0 "$mount_pid"
    inner=$(pgrep -P "$mount_pid" || :)
    [ -n "$inner" ] && same "$(nsenter -t "$inner" -m stat -f -c %t "$org" 2>/dev/null)" 65735546 &&
      break
    sleep 0.05
  done
  nsenter -t "$inner" -m -p getfattr -m - "$org/foreign" > "$work/inside" 2>&1
  nsenter -t "$inner" -m getfattr -m - "$org/foreign" > "$work/outside" 2>&1
  nsenter -t "$inner" -m sh -c 'echo made > "$1/made"' sh "$org"
  nsenter -t "$inner" -m setpriv --reuid=12345 --regid=12345 --clear-groups "$python" -c '
import os, sys
try: os.chown(sys.argv[1], -1, -1)
except PermissionError: pass' "$org/bits"
  kill "$inner"
  wait_mount
  grep -q trusted.t "$work/inside"
  fails grep -q trusted.t "$work/outside"
  same "$(cat "$org/made")" made
  same "$(stat -c %a "$org/bits")" 6777 # nothing is known of him, so he has no rights
}
# Root of another user namespace is user 0 here, too: names of trusted attributes are not for it.
t_user_namespace() {
  setfattr -n trusted.t -v 1 "$below/foreign"
  do_mount
  for at in "$below" "$org"; do
    unshare -U -r python3 -c 'import os, sys; print(os.listxattr(sys.argv[1]))' "$at/foreign" \
      > "$work/${at##*/}.names"
  done
  cd /
  do_unmount
  same "$(cat "$work/org.names")" "$(cat "$work/below.names")"
}
# The payload of a cached block changes in the pool. Programs read right bytes, and the mount says
# what is wrong.
t_damaged_pool() {
  cd /
  new_pool 16MiB
  : > "$work/log"
  do_mount
  head -c 65536 /dev/urandom > "$org/damaged"
  cp "$org/damaged" "$ref/damaged"
  for _ in 1 2 3; do
    dd if="$org/damaged" of=/dev/null bs=64k iflag=direct status=none
  done
  sleep 0.1 # a change just before the end would make it cold
  do_unmount
  python3 - "$pool" "$ref/damaged" <<'PY'
import sys
with open(sys.argv[1], 'r+b') as pool, open(sys.argv[2], 'rb') as f:
    at = pool.read().index(f.read(4096))
    pool.seek(at + 100)
    pool.write(b'damage')
PY
  do_mount
  cmp "$org/damaged" "$ref/damaged"
  same "$(stat_of miss_checksum)" 1
  "$cm" stats "$pool" | grep -q 'checksum wrong, slot dropped *1$'
  do_unmount
  grep -q "$pool: a cached block has a wrong checksum.* block 0 of file .*check POOL --repair" \
    "$work/log"
  same "$(grep -c 'wrong checksum' "$work/log")" 1
}
# Files are called as their paths below the directory, a long one by its end. A new name is seen at
# the next open. A pool without names is not asked for them.
t_file_names() {
  cd /
  local long
  long=$(printf 'l%.0s' $(seq 200))
  new_pool 16MiB --names
  do_mount
  mkdir -p "$org/names/$long"
  for f in one two "$long/$long"; do
    printf '%s' "$f" > "$org/names/$f"
  done
  [ "$(cat "$org/names/one" "$org/names/two" "$org/names/$long/$long")" = "onetwo$long/$long" ]
  mv "$org/names/two" "$org/names/tw o"
  do_unmount
  "$cm" files "$pool" > "$work/files"
  grep -q ' names/one$' "$work/files"
  grep -Eq " \\.\\.\\.l{51}/l{200}\$" "$work/files"
  do_mount
  [ "$(cat "$org/names/tw o")" = two ]
  do_unmount
  "$cm" files "$pool" > "$work/files"
  grep -q ' names/tw o$' "$work/files"
  ! grep -q ' names/two$' "$work/files"
  rm -r "$org/names"
  new_pool 64MiB
}
may_have_user_namespace() {
  unshare -U -r true 2>"$work/err" || { skip "$1" "$(tail -n 1 "$work/err")"; return 1; }
}

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
if do_mount; then
  if wanted "sessions"; then sessions; else do_unmount; fi
else
  fail mount "$(tail -n 1 "$work/log")"
fi
shared
volume_id
[ $via = pool ] || { summary; exit; }
wanted "two volumes of one identity" && need_root "two volumes of one identity" && clones
no_generation
check "odd characters in paths, background, killed, again" t_odd_path
check "names of files" t_file_names
: > "$org/foreign"
wanted "another user namespace" && need_root "another user namespace" &&
  need "another user namespace" unshare setfattr python3 &&
  may_have_user_namespace "another user namespace" &&
  check "another user namespace" t_user_namespace
wanted "another PID namespace" && need_root "another PID namespace" &&
  need "another PID namespace" unshare nsenter setfattr setpriv pgrep "${python:-python3}" &&
  may_unshare "another PID namespace" --pid --fork --mount-proc &&
  check "another PID namespace" t_pid_namespace
wanted "an ordinary user" && need_root "an ordinary user, few descriptors" &&
  need "an ordinary user" setpriv unshare &&
  may_unshare "an ordinary user, few descriptors" &&
  check "an ordinary user, few descriptors" t_user
if grep -q __tsan_init "$mount_bin"; then
  skip "pool truncated" "the thread sanitizer's build has no fault guard"
else
  lost_pool "pool truncated to nothing" 3 "truncated while it was open" truncate -s 0 "$pool"
  lost_pool "pool truncated to half" 3 "truncated while it was open" truncate -s 32M "$pool"
fi
need "damaged pool" python3 && check "damaged pool" t_damaged_pool
lost_pool "pool deleted" 0 "deleted while it was open" rm -f "$pool"
# A file system with times of whole seconds. Somebody else changes the file in the second in which
# the mount lost its name, while the mount still waits to take the validator of its own last write.
seconds=$work/seconds
have_whole_seconds() {
  mkdir "$seconds" "$seconds.below" && truncate -s 64M "$seconds.img" &&
    mkfs.ext4 -q -I 128 "$seconds.img" >/dev/null 2>&1 && mount -o loop "$seconds.img" "$seconds" &&
    mkdir "$seconds/d" && mount --bind "$seconds/d" "$seconds.below"
}
t_whole_seconds() {
  python3 - "$seconds" "$mount_bin" "$cm" "$shm/seconds.pool" <<'PY'
import os, subprocess, sys, time
at, mount, cm, pool = sys.argv[1:]
name, below = at + '/d/f', at + '.below/f'
def begin():
    p = subprocess.Popen([mount, at + '/d', '--pool', pool, '-f', '-o', 'io_uring=off'])
    while not os.path.ismount(at + '/d'):
        assert p.poll() is None, 'the mount ended'
        time.sleep(0.05)
    return p
def write(path, byte, where):
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, byte, where)
    os.close(fd)
with open(name, 'wb') as f:
    f.write(b'a' * 12000)
os.sync()
time.sleep(2.2)
subprocess.check_call([cm, 'create', pool, '--size=16M', '-q'])
p = begin()
subprocess.check_call([cm, 'warm', '-q', name])
time.sleep(1.15 - time.time() % 1) # a little after the second began
write(name, b'b', 2600)
with open(name, 'rb') as f:
    f.read()
subprocess.check_call(['fusermount3', '-u', at + '/d'])
write(below, b'c', 9000)
assert p.wait() == 0
p = begin()
with open(name, 'rb') as f, open(below, 'rb') as g:
    right = f.read() == g.read()
subprocess.check_call(['fusermount3', '-u', at + '/d'])
assert p.wait() == 0
assert right, 'the next mount shows what was'
PY
}

# Who gives up waiting for the pool does not find the directory mounted later.
t_given_up() {
  cd /
  new_pool 16MiB
  mkdir "$work/other"
  do_mount
  fails timeout 1 "$mount_bin" "$work/other" --pool "$pool"
  do_unmount
  for _ in $(seq 600); do # it may still wait for the pool
    pgrep -f "$work/other" >/dev/null || break
    sleep 0.1
  done
  fails pkill -KILL -f "$work/other"
  fails mountpoint -q "$work/other"
  is_clean
}
[ $via = service ] || check "a start that was given up" t_given_up
if [ $via = pool ] && wanted "times of whole seconds"; then
  if need "times of whole seconds" python3 mkfs.ext4 && have_whole_seconds 2>"$work/err"; then
    check "times of whole seconds" t_whole_seconds
  else
    skip "times of whole seconds" "no such file system here: $(tail -n 1 "$work/err")"
  fi
  umount "$seconds.below" 2>/dev/null
  umount "$seconds" 2>/dev/null
fi
summary
