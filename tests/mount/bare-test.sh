#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# bare-test.sh - the mount beside the bare file system: the same program on both, the same outcome.
#
# Usage: bare-test.sh BUILD_DIR
# Files opened by handle, asynchronous direct writes beside buffered readers, what other users may
# do and how much room they have. Needs root; the parts about room need loop devices.

set -u
build=${1:?usage: bare-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

if [ $is_root = 0 ] || [ $has_below = 0 ]; then
  skip everything "needs root and a bind mount"
  summary
  exit 77
fi

# ---- Handles ------------------------------------------------------------------------------------

t_handles() {
  mkdir "$below/on-bare" "$below/on-mount"
  "$(bin handles)" "$below/on-bare" bare
  "$(bin handles)" "$org/on-mount" mount
  rm -r "$below/on-bare" "$org/on-mount"
}

handles() {
  wanted "files opened by handle" || return
  mkdir "$below/probe"
  "$(bin handles)" "$below/probe" bare 2>/dev/null
  if [ $? = 77 ] || ! [ -w /proc/sys/vm/drop_caches ]; then
    skip "files opened by handle" "this root may not, or cannot drop caches"
  else
    check "files opened by handle" t_handles
  fi
  rm -r "$below/probe"
}

# ---- Direct writes ------------------------------------------------------------------------------

t_aio() { # DIRECTORY ROUNDS
  "$(bin aio_direct)" "$1/aio" "$2"
  rm "$1/aio"
}

# Killed while a notification waits for the page of a reader who waits for the origin: nobody hangs,
# and the pool is free. The origin is slow on purpose (slow.c): the write ends when the read has
# begun.
begun() { # FILE: within a minute
  for _ in $(seq 1200); do
    [ ! -e "$1" ] || return 0
    sleep 0.05
  done
  echo "no $1" >&2
  return 1
}
t_killed() {
  local shim reader writer
  shim=$(realpath "$(find "$build" -name slow_origin.so | head -n 1)")
  rm -f "$pool"
  new_pool 64MiB
  truncate -s 16M "$below/killed"
  export SLOW_ORIGIN=$work/slow
  LD_PRELOAD=$shim do_mount
  dd if="$org/killed" of=/dev/null bs=4k count=1 status=none # the kernel has pages of it
  touch "$SLOW_ORIGIN"
  dd if=/dev/zero of="$org/killed" bs=256k count=1 seek=32 conv=notrunc oflag=direct 2>/dev/null &
  writer=$!
  begun "$SLOW_ORIGIN.writing"
  dd if="$org/killed" of=/dev/null bs=4k count=1 skip=2064 2>/dev/null &
  reader=$!
  begun "$SLOW_ORIGIN.reading"
  sleep 0.5 # for the notification
  kill -0 $writer # it waits for the page
  kill -9 "$mount_pid"
  rm "$SLOW_ORIGIN"
  if ! timeout 30 tail --pid=$reader -f /dev/null || ! timeout 30 tail --pid=$writer -f /dev/null ||
    ! timeout 30 tail --pid="$mount_pid" -f /dev/null; then
    umount -f "$org" || :
    echo "who used the mount hangs" >&2
    return 1
  fi
  do_mount
  rm "$org/killed"
  fusermount3 -u "$org"
}

# The helper of direct writes is killed (memory ran out, say): the mount says so, once, and goes on.
log_has() { grep -Eq -- "$1" "$work/log"; }
t_no_helper() {
  local helper
  do_mount
  helper=$(pgrep -P "$mount_pid")
  kill -9 "$helper"
  eventually log_has "the helper process $helper is gone"
  t_aio "$org" 10
  same "$(grep -c 'helper process' "$work/log")" 1
  cd /
  do_unmount
}

# A file that is replaced between being made and being looked up: the descriptor is of what is
# there.
t_replaced() {
  local shim
  shim=$(realpath "$(find "$build" -name slow_origin.so | head -n 1)")
  export SLOW_ORIGIN=$work/slow
  LD_PRELOAD=$shim do_mount --coherence close-to-open
  echo another one > "$SLOW_ORIGIN.other"
  python3 - "$org/replaced" "$below/replaced" "$SLOW_ORIGIN.other" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
if os.path.exists(sys.argv[3]):
    sys.exit("nothing was replaced")
os.pwrite(fd, b"ANOTHER", 0)
for got in os.pread(fd, 20, 0), open(sys.argv[2], "rb").read():
    if got != b"ANOTHER one\n":
        sys.exit("%s" % got)
PY
  cd /
  do_unmount
}

# An OPEN that found a change is answered late: another one meanwhile does not keep the old pages.
t_late_open() {
  local shim
  shim=$(realpath "$(find "$build" -name slow_origin.so | head -n 1)")
  export SLOW_OPEN=$work/open
  echo old > "$below/late"
  LD_PRELOAD=$shim do_mount -o coherence=close-to-open,entry_timeout=60,attr_timeout=60
  python3 - "$org/late" "$below/late" "$SLOW_OPEN" <<'PY'
import os, sys, threading, time
path, bare, slow = sys.argv[1:]
for _ in range(2):
    open(path).read() # the kernel has pages of it
time.sleep(0.3) # a change that its times show
with open(bare, "w") as f:
    f.write("new")
time.sleep(0.3) # what the times of the change prove, they prove by then
open(slow, "w").close()
first = threading.Thread(target=lambda: os.open(path, os.O_RDONLY))
first.start()
while not os.path.exists(slow + ".late"):
    time.sleep(0.05)
got = os.pread(os.open(path, os.O_RDONLY), 3, 0)
os.unlink(slow + ".late")
first.join()
if got != b"new":
    sys.exit("%s" % got)
PY
  cd /
  do_unmount
}

# Two that start at once: the second one finds the first.
t_at_once() {
  local shim one two first second
  shim=$(realpath "$(find "$build" -name slow_origin.so | head -n 1)")
  new_pool 16MiB
  rm -f "$pool.two"
  "$cm" create "$pool.two" --size=16MiB >/dev/null
  SLOW_MOUNT=1 LD_PRELOAD=$shim "$mount_bin" "$org" --pool "$pool" 2>"$work/one" &
  one=$!
  SLOW_MOUNT=1 LD_PRELOAD=$shim "$mount_bin" "$org" --pool "$pool.two" 2>"$work/two" &
  two=$!
  cd /
  wait $one && first=0 || first=$?
  wait $two && second=0 || second=$?
  fusermount3 -u "$org"
  if [ "$(stat -f -c %t "$org")" = 65735546 ]; then
    fusermount3 -u "$org"
    echo "two are mounted: $first $second" >&2
    return 1
  fi
  case $first$second in 01 | 10) ;; *) echo "$first $second" >&2; return 1 ;; esac
  grep -q 'is mounted by cachemax-mount already' "$work/one" "$work/two"
}

direct_writes() {
  wanted "asynchronous direct writes" || return
  if ! dd if=/dev/zero of="$below/probe" bs=4k count=1 oflag=direct 2>/dev/null; then
    skip "asynchronous direct writes beside buffered readers" "no O_DIRECT here"
  else
    check "asynchronous direct writes beside buffered readers, bare" t_aio "$below" 20
    check "asynchronous direct writes beside buffered readers" t_aio "$org" 100
  fi
  rm -f "$below/probe"
}

# ---- Who writes ---------------------------------------------------------------------------------

# Prints what this caller may do in the current directory, and what comes of it.
rights='
import errno, os, stat, subprocess, sys
def say(what, call):
    try: r = call()
    except OSError as e: r = errno.errorcode[e.errno]
    print(what, r)
def mode(name): return oct(os.stat(name).st_mode)
def made(name, flags=os.O_CREAT | os.O_EXCL | os.O_WRONLY, m=0o2775):
    fd = os.open(name, flags, m)
    os.close(fd)
    s = os.stat(name)
    return oct(s.st_mode), s.st_uid, s.st_gid
me = sys.argv[1]
say("create in the team directory", lambda: made("team/" + me))
say("mkdir in the team directory", lambda: (os.mkdir("team/d" + me), mode("team/d" + me))[1])
say("create in the private directory", lambda: made("private/" + me))
say("mknod", lambda: (os.mknod("open/node" + me, 0o600 | stat.S_IFCHR, os.makedev(1, 3)),
                      mode("open/node" + me))[1])
say("set an ACL", lambda: subprocess.run(["setfacl", "-m", "u:777:r", "acl/" + me],
                                         stderr=-3).returncode)
say("its mode", lambda: mode("acl/" + me))
say("write keeps", lambda: (os.write(os.open("suid", os.O_WRONLY), b"x"), mode("suid"))[1])
say("truncate keeps", lambda: (os.truncate("suid", 5), mode("suid"))[1])
say("names", lambda: sorted(n for n in os.listxattr("xattr") if not n.startswith("security.")))
say("trusted", lambda: os.getxattr("xattr", "trusted.t"))
say("set trusted", lambda: os.setxattr("xattr", "trusted.u", b"x"))
say("chown", lambda: os.chown("open/chown", -1, 888))
def nothing(name):
    try: os.chown(name, -1, -1)
    except PermissionError: pass # the mount says that it is done
    return mode(name)
say("chown of nothing, own", lambda: nothing("own"))
say("chown of nothing, of another user", lambda: nothing("others"))
'
identities='user user+groups user+fsetid user+dac_override user+mknod
  root root-fsetid root-sys_admin root-dac_override'
as() { # IDENTITY COMMAND...
  local who=$1 user=(--reuid=12345 --regid=12345)
  shift
  case $who in
  user) setpriv "${user[@]}" --clear-groups "$@" ;;
  user+groups) setpriv "${user[@]}" --groups=777,888 "$@" ;;
  user+*)
    setpriv "${user[@]}" --clear-groups --inh-caps="+${who#*+}" --ambient-caps="+${who#*+}" "$@"
    ;;
  root) "$@" ;;
  root-*) setpriv --bounding-set="-${who#*-}" --inh-caps="-${who#*-}" "$@" ;;
  esac
}
prepare_rights() { # DIRECTORY
  mkdir "$1"
  cd "$1"
  mkdir -m 2777 team
  chgrp 777 team
  chmod 2777 team
  mkdir -m 700 private
  mkdir -m 777 open acl
  for i in $identities; do
    touch "acl/$i"
    chown 12345:777 "acl/$i"
    chmod 2775 "acl/$i"
  done
  touch open/chown xattr
  chown 12345:12345 open/chown
  chmod 666 xattr
  setfattr -n trusted.t -v 1 xattr
  setfattr -n user.u -v 1 xattr
}
t_rights() { # IDENTITY
  for d in "$below/rights-bare" "$org/rights-mount"; do
    cd "$d"
    rm -f suid
    echo long enough > suid
    chown 12345:777 suid
    chmod 6777 suid
    touch own others
    chown 12345:777 own
    chown 999:777 others
    chmod 6777 own others
    as "$1" "$python" -c "$rights" "$1" > "$work/rights.${d##*-}"
  done
  [ "$(wc -l < "$work/rights.bare")" -ge 14 ]
  diff "$work/rights.bare" "$work/rights.mount" >&2
}
privileges() {
  wanted "rights" || return
  for p in setpriv setfacl setfattr "${python:-python3}"; do
    has $p || { skip "rights of other users" "no $p"; return; }
  done
  if ! (set -e; prepare_rights "$below/rights-bare"; prepare_rights "$below/rights-mount"); then
    skip "rights of other users" "no ACLs or trusted attributes here"
    return
  fi
  for i in $identities; do
    if as "$i" true 2>/dev/null; then check "rights: $i" t_rights "$i"; else
      skip "rights: $i" "setpriv cannot have it"; fi
  done
}

# ---- Room ---------------------------------------------------------------------------------------

# How far each way of taking room goes for a user, in MiB (rounded to 2).
room='
import errno, os, sys, time
K = 256 << 10
data = os.urandom(K)
open("src", "wb").write(data)
src = os.open("src", os.O_RDONLY)
os.fsync(src)
free = os.statvfs(".").f_bfree
def used(fd): return (os.fstat(fd).st_blocks * 512 + (1 << 20)) // (2 << 20) * 2
def until_full(what, step):
    fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        for i in range(100000): step(fd, i)
        end = "no end"
    except OSError as e: end = errno.errorcode[e.errno]
    os.fsync(fd)
    print(what, end, used(fd))
    os.close(fd)
    os.unlink("f")
    for wait in range(200): # the blocks come back when nobody has the file any more
        os.sync()
        if os.statvfs(".").f_bfree >= free - 16: return
        time.sleep(0.05)
    sys.exit("the room does not come back")
until_full("write", lambda fd, i: os.pwrite(fd, data, i * K) == K or os.pwrite(fd, data, i * K))
until_full("fallocate", lambda fd, i: os.posix_fallocate(fd, i * K, K))
def copy(fd, i):
    if not os.copy_file_range(src, fd, K, 0, i * K): raise OSError(errno.EIO, "nothing copied")
until_full("copy", copy)
os.unlink("src")
'
t_room() { # IDENTITY
  for d in "$below/room-dir" "$org/room-dir"; do
    cd "$d"
    as "$1" "$python" -c "$room" > "$work/room.$(basename "$(dirname "$d")")"
  done
  same "$(wc -l < "$work/room.below")" 3
  diff "$work/room.below" "$work/room.org" >&2
}
make_room() {
  truncate -s 48M "$work/room.img"
  mkfs.ext4 -q -m 50 -O ^has_journal "$work/room.img" &&
    mount -o loop,resgid=888 "$work/room.img" "$org" && mount --bind "$org" "$below" &&
    mkdir -m 777 "$org/room-dir"
}
room() {
  wanted "reserved room" || return
  if ! has mkfs.ext4 || [ -z "$python" ] || ! make_room 2>/dev/null; then
    skip "reserved room" "no loop device or no mkfs.ext4"
  elif do_mount; then
    for i in user user+groups root user+sys_resource; do
      if as "$i" true 2>/dev/null; then check "reserved room: $i" t_room "$i"; else
        skip "reserved room: $i" "setpriv cannot have it"; fi
    done
    do_unmount
  else
    fail "reserved room" "$(tail -n 1 "$work/log")"
  fi
  umount -l "$below" "$org" 2>/dev/null
}

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
if do_mount; then
  handles
  direct_writes
  privileges
  do_unmount
  check "the helper of direct writes is killed" t_no_helper
  if grep -Eq '__(asan|tsan)_init' "$mount_bin"; then
    skip "killed beside a direct write" "a sanitizer's build takes no LD_PRELOAD"
    skip "a file that is replaced while it is made" "a sanitizer's build takes no LD_PRELOAD"
    skip "an open that is answered late" "a sanitizer's build takes no LD_PRELOAD"
    skip "two that start at once" "a sanitizer's build takes no LD_PRELOAD"
  else
    if [ $has_below = 1 ] && command -v python3 >/dev/null; then
      check "a file that is replaced while it is made" t_replaced
      check "an open that is answered late" t_late_open
      check "two that start at once" t_at_once
    else
      skip "a file that is replaced while it is made" "needs a bind mount and python3"
      skip "an open that is answered late" "needs a bind mount and python3"
      skip "two that start at once" "needs a bind mount and python3"
    fi
    check "killed beside a direct write" t_killed
  fi
else
  fail mount "$(tail -n 1 "$work/log")"
fi
room
summary
