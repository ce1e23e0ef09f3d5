#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# requests-test.sh - which requests the kernel does not send, and which answers do not wait.
#
# Usage: requests-test.sh BUILD_DIR

set -u
build=${1:?usage: requests-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

need requests python3 strace || { summary; exit 77; }
need_root requests || { summary; exit 77; }
[ $has_below = 1 ] || { skip requests "no bind mounts here"; summary; exit 77; }
trap 'umount -l "$org/elsewhere" 2>/dev/null; cleanup' EXIT

OPEN=14 READ=15 RELEASE=18 FLUSH=25 READDIR=28

# requests COMMAND...: what the mount reads from the kernel meanwhile, as numbers of requests. With
# $calls: which of these calls it makes instead.
calls=read
requests() {
  local tracer t all
  strace -f -q -xx -s 8 -e trace="$calls" -o "$work/strace" -p "$mount_pid" 2>/dev/null &
  tracer=$!
  all=no
  until [ $all = yes ]; do
    kill -0 $tracer || return 1
    sleep 0.05
    all=yes
    for t in /proc/"$mount_pid"/task/*/status; do
      grep -q '^TracerPid:.0$' "$t" && all=no
    done
  done
  "$@"
  kill -INT $tracer
  wait $tracer || :
  python3 - "$work/strace" > "$work/requests" <<'PY'
import re, sys
with open(sys.argv[1]) as f:
    for line in f:
        m = re.search(r'"((?:\\x[0-9a-f]{2}){8})"', line)
        data = bytes.fromhex(m.group(1).replace("\\x", "")) if m else b""
        if len(data) == 8 and data[5:] == b"\0\0\0":
            print(data[4])
PY
}
asked() { grep -cx "$1" "$work/requests" || :; }

# ---- A mount that is read-only ------------------------------------------------------------------

mkdir "$org/files" "$org/elsewhere"
for n in $(seq 20); do head -c $((n * 3000)) /dev/urandom > "$org/files/$n"; done
head -c 3000000 /dev/urandom > "$org/big"
truncate -s 8M "$org/sparse"
printf x | dd of="$org/sparse" bs=1 seek=5000000 conv=notrunc status=none
cp -r "$org/files" "$org/big" "$ref"
cp /bin/true "$org/program"
new_pool 64M
sync
sleep 0.1

read_files() { cat files/* | cmp - <(cat "$ref"/files/*); }
t_no_open() {
  local n
  read_files
  for n in $(seq 20); do # the kernel may lose pages
    requests read_files
    same "$(asked $OPEN) $(asked $FLUSH) $(asked $RELEASE)" "0 0 0"
    [ "$(asked $READ)" != 0 ] || return 0
  done
  false
}
# Twice, because a first touch may only be remembered.
t_stored() {
  local n
  for n in 1 2; do
    dd if=big bs=1M iflag=direct status=none | cmp - "$ref/big"
  done
  n=$(stat_of hit_blocks)
  dd if=big bs=64k iflag=direct status=none | cmp - "$ref/big"
  [ "$(stat_of hit_blocks)" -ge $((n + 700)) ]
}
t_calls() {
  ./program
  lsattr program >/dev/null
  python3 - <<'PY'
import mmap, os
fd = os.open("sparse", os.O_RDONLY)
assert os.lseek(fd, 0, os.SEEK_DATA) > 4000000, "no hole"
os.fsync(fd)
m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
assert m[5000000:5000001] == b"x" and m[0:1] == b"\0"
os.close(fd)
PY
}
# Somebody makes it writable: what the kernel opens has no handle here.
t_remount() {
  # By mount(2): FUSE takes no change by the newer calls, which newer programs prefer.
  local -x LIBMOUNT_FORCE_MOUNT2=always
  mount -i -o remount,rw "$org"
  fails dd if=/dev/zero of=files/3 bs=1000 count=1 conv=notrunc status=none
  for change in 'echo x > files/3' 'truncate -s 5 files/3' 'touch files/3' 'chmod 600 files/3' \
    'rm files/3' 'mv files/3 files/new' 'ln files/3 files/new' 'echo x > files/new' 'mkdir new' \
    'ln -s x new' 'mkfifo new' 'cp files/4 files/3' 'rm -d files' 'chattr +A files/3' \
    'chattr +A files'; do
    fails sh -c "$change"
  done
  cmp files/3 "$ref/files/3"
  fails test -e files/new -o -e new
  mount -i -o remount,ro "$org"
}
t_noexec() {
  [ -r elsewhere/program ]
  cmp elsewhere/program program
  fails ./elsewhere/program
}
do_mount -o ro
check "read-only: no OPEN, FLUSH and RELEASE, and pages stay" t_no_open
check "read-only: stored without OPEN" t_stored
check "read-only: other calls without OPEN" t_calls
check "read-only: made writable later" t_remount
do_unmount

mount -t tmpfs -o noexec none "$org/elsewhere"
cp "$org/program" "$org/elsewhere"
do_mount -o ro
check "read-only: noexec below" t_noexec
do_unmount
umount "$org/elsewhere"

t_open_rules() {
  read_files
  requests read_files
  same "$(asked $OPEN)" 20
}
do_mount -o ro --exclude '*.tmp'
check "read-only: rules judge at each open" t_open_rules
do_unmount

# ---- A writable mount ---------------------------------------------------------------------------

t_lists() {
  local n
  ls files >/dev/null
  for n in $(seq 20); do # the kernel may lose pages
    requests ls files > "$work/list"
    [ "$(asked $READDIR)" != 0 ] || break
  done
  same "$(asked $READDIR)" 0
  same "$(wc -l < "$work/list")" 20
  touch files/new
  ls files | grep -qx new
  mv files/new files/newer
  ls files | grep -qx newer
  rm files/newer
  fails grep -q new <(ls files)
}
t_lists_others() {
  ls files >/dev/null
  touch "$below/files/behind"
  ls files | grep -qx behind
  rm "$below/files/behind"
}
# A long read whose middle is cached: the first part of the answer is no answer.
t_parts() {
  local n
  for n in 1 2 3; do
    dd if=long bs=64k skip=8 count=2 iflag=direct status=none >/dev/null
  done
  python3 - long "$ref/long" <<'PY'
import os, sys
with open(sys.argv[2], "rb") as f:
    whole = f.read()
fd = os.open(sys.argv[1], os.O_RDONLY)
for at in (0, 1 << 20):
    assert os.pread(fd, 1 << 20, at) == whole[at:at + (1 << 20)], at
PY
}
head -c 3000000 /dev/urandom > "$org/long"
cp "$org/long" "$ref"
do_mount
check "lists of names are kept, and follow changes" t_lists
check "long reads, partly cached" t_parts
do_unmount
# ---- Descriptors of the mount -------------------------------------------------------------------

# descriptors all|read|path: those of the files, those that can be read, those with O_PATH.
descriptors() {
  python3 - "$mount_pid" "$1" <<'PY'
import os, sys
pid, want = sys.argv[1:]
found = 0
for fd in os.listdir("/proc/%s/fd" % pid):
    try:
        path = os.readlink("/proc/%s/fd/%s" % (pid, fd))
        with open("/proc/%s/fdinfo/%s" % (pid, fd)) as f:
            flags = int(f.read().split("flags:")[1].split()[0], 8)
    except FileNotFoundError:
        continue
    if "/files/" in path:
        found += want == "all" or bool(flags & os.O_PATH) == (want == "path")
print(found)
PY
}
t_one_each() {
  local n
  for n in $(seq 20); do
    exec {fd}< "files/$n"
    cat <&$fd | cmp - "$ref/files/$n"
  done
  same "$(descriptors all) $(descriptors read)" "20 20"
}
# The names are held by descriptors with O_PATH, which are no opens for the mount: other tests let
# the kernel forget all names that nobody holds.
hold_names() {
  python3 -c '
import os
held = [os.open("files/%d" % n, os.O_PATH) for n in range(1, 21)]
print("held", flush=True)
input()'
}
# The pool has records for 24 files, so the mount detaches all but 12.
t_detached() {
  local n said hold
  coproc hold_names
  hold=$COPROC_PID
  read -r said <&"${COPROC[0]}"
  same "$said" held
  read_files
  same "$(descriptors all)" 20
  for n in $(seq 100); do
    [ "$(descriptors read)" -gt 12 ] || break
    sleep 0.1
  done
  [ "$(descriptors read)" -le 12 ]
  read_files
  echo >&"${COPROC[1]}"
  wait "$hold"
}
do_mount
check "one descriptor for an open file" t_one_each
do_unmount
new_pool 64M --max-files 24
do_mount
check "a detached file is not kept open" t_detached
do_unmount

# ".." of a directory below the covered one leads to the mount, which would ask itself.
t_above() {
  local calls=openat
  requests ls -a files > "$work/list"
  grep -qx '\.\.' "$work/list"
  grep -q openat "$work/strace" # the list did come from the mount
  fails grep -F '"\x2e\x2e"' "$work/strace"
  same "$(stat -c %i files/..)" "$(stat -c %i .)"
}
do_mount
check "a list of a directory does not ask the mount itself" t_above
do_unmount

# ---- What is remembered -------------------------------------------------------------------------

t_bits() {
  python3 - files/1 <<'PY'
import os, sys
path = sys.argv[1]
os.chmod(path, 0o777)
for mode in (0o4777, 0o2777, 0o6777):
    for round in range(2):
        if os.fork() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            fd = os.open(path, os.O_WRONLY)
            os._exit(os.pwrite(fd, b"x", 0) != 1)
        assert os.wait()[1] == 0
        assert os.stat(path).st_mode & 0o7777 == 0o777, (oct(mode), round)
        if round == 0:
            os.chmod(path, mode)
PY
}
do_mount
check "set-user-id bits that come after a write" t_bits
do_unmount

do_mount --coherence=close-to-open
check "lists follow other writers" t_lists_others
do_unmount

summary
