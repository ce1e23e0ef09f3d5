#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# dirs-test.sh - several directories in one process of cachemax-mount: two and three of them, on one
# and on two file systems.
#
# Usage: dirs-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Needs root, 50 MiB in /dev/shm and in $TMPDIR.

set -u
build=${1:?usage: dirs-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
if [ $is_root = 0 ]; then
  skip everything "needs root"
  summary
  exit 77
fi
preload=$(find "$(realpath "$build")" -name no_handles.so | head -n 1)
short=$(realpath "$build/tests/short_mounts.so")

# One and three are on one file system, two is on another one. Bare shows each without the mount.
one=$work/one two=$work/two three=$work/three bare=$work/bare
four=$work/four
mkdir "$one" "$two" "$three" "$four" "$bare" "$bare/one" "$bare/two" "$bare/three"
mount -t tmpfs -o nosuid,size=40m none "$two" || exit 1
for d in one two three; do
  mount --bind "$work/$d" "$bare/$d" && mount --make-private "$bare/$d" || exit 1
done

is_served() { # DIR...; a dead mount does not answer
  local d
  for d; do [ "$(stat -f -c %t "$d" 2>/dev/null)" = 65735546 ] || return 1; done
}
is_bare() { # DIR...
  local d
  for d; do
    [ "$(stat -c %d "$d" 2>/dev/null)" = "$(stat -c %d "$bare/${d##*/}")" ] || return 1
  done
}
ended() { ! kill -0 "$1" 2>/dev/null; }
served_or_ended() { # PID DIR...
  ended "$1" || is_served "${@:2}"
}
# start DIR... [-OPTION...]: in the foreground. Sets $mount_pid.
start() {
  local dirs=()
  while [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; do
    dirs+=("$1")
    shift
  done
  "$mount_bin" "${dirs[@]}" "${backing[@]}" -f "$@" 2>>"$work/log" &
  mount_pid=$!
  echo $mount_pid > "$work/pid"
  eventually served_or_ended $mount_pid "${dirs[@]}"
  is_served "${dirs[@]}" || { tail -n 2 "$work/log" >&2; return 1; }
}
# stop STATUS [SIGNAL]
stop() {
  local got=0
  kill -"${2:-TERM}" "$mount_pid"
  wait "$mount_pid" || got=$?
  rm -f "$work/pid"
  same "$got" "$1"
}
# refused STATUS PATTERN COMMAND...: it ends so, and says so.
refused() {
  local want=$1 pattern=$2 got=0
  shift 2
  timeout 60 "$@" >"$work/said" 2>&1 </dev/null || got=$?
  grep -Eq -- "$pattern" "$work/said" || { head -n 2 "$work/said" >&2; return 1; }
  same $got "$want"
}
# fresh NAME FUNCTION [ARG...]: a check that finds new files and an empty pool, and no mount.
fresh() {
  wanted "$1" || return 0
  clear_up
  for d in one two three; do
    find "$work/$d" -mindepth 1 -delete
    mkdir "$work/$d/sub"
    echo "$d" > "$work/$d/name"
    head -c 1500001 /dev/urandom > "$work/$d/sub/big"
    mkdir -p "$ref/$d" && cp -a "$work/$d/." "$ref/$d"
  done
  new_pool 16MiB
  : > "$work/log"
  check "$@"
}
# What a check that failed has left.
clear_up() {
  local d
  [ ! -f "$work/pid" ] || kill -9 "$(cat "$work/pid")" 2>/dev/null
  rm -f "$work/pid"
  for d in "$one" "$two" "$three"; do
    while ! is_bare "$d"; do umount -l "$d" || break; done
  done
  while mountpoint -q "$four"; do umount -l "$four"; done
}
hits() { stat_of hit_blocks; }
# reads DIR...: all files, and past the pages of the kernel, so that the mount is asked.
reads() {
  local d
  for d; do dd if="$d/sub/big" of=/dev/null bs=64k iflag=direct status=none; done
}
python() { python3 - "$@"; }

# ---- What is served -----------------------------------------------------------------------------

t_served() { # DIR...
  local d
  start "$@"
  for d; do
    diff -r "$d" "$ref/${d##*/}"
    echo new > "$d/new" && mkdir "$d/dir" && mv "$d/new" "$d/dir/moved" && ln "$d/name" "$d/link"
    same "$(cat "$bare/${d##*/}/dir/moved")" new
    same "$(stat -c %h "$bare/${d##*/}/name")" 2
    same "$(stat -f -c '%b %S' "$d")" "$(stat -f -c '%b %S' "$bare/${d##*/}")"
    same "$(cd "$d/dir/.." && pwd -P)" "$d"
    same "$(ls -A "$d" | tr '\n' ' ')" "dir link name sub "
  done
  # One process, one session, and nothing else is mounted.
  grep " - fuse.cachemax $pool " /proc/self/mountinfo > "$work/said"
  same "$(wc -l < "$work/said")" $#
  same "$(awk '{ print $3 }' "$work/said" | sort -u | wc -l)" 1
  same "$(cat "/sys/class/bdi/$(awk -v at="$1" '$5 == at { d = $3 } END { print d }' \
    /proc/self/mountinfo)/read_ahead_kb")" 1024
  stop 0
  is_bare "$@"
  is_clean
}
t_numbers() { # all that programs take for one file is one
  ln "$one/name" "$three/other"
  start "$one" "$two" "$three"
  python "$one" "$two" "$three" "$bare" <<'PY'
import os, sys
seen, files = {}, 0
for top in sys.argv[1:4]:
    for where, dirs, names in os.walk(top):
        for path in [where] + [os.path.join(where, n) for n in names]:
            st = os.stat(path)
            seen.setdefault((st.st_dev, st.st_ino), []).append(path)
            files += 1
        for e in os.scandir(where):
            assert e.inode() == os.lstat(e.path).st_ino, e.path
double = [v for v in seen.values() if len(v) > 1]
assert double == [[sys.argv[1] + "/name", sys.argv[3] + "/other"]], double
assert files == len(seen) + 1 == 13, files
for d in "one", "three": # of the first one's file system they stay
    top = sys.argv[1 if d == "one" else 3]
    assert os.stat(os.path.join(sys.argv[4], d)).st_ino == os.stat(top).st_ino
PY
  stop 0
}
t_exdev() {
  start "$one" "$three"
  python "$one" "$three" <<'PY'
import errno, os, sys
one, three = sys.argv[1:3]
for call in os.rename, os.link:
    try: call(one + "/name", three + "/moved")
    except OSError as e: assert e.errno == errno.EXDEV, e
    else: raise SystemExit("it was done")
assert os.path.exists(one + "/name") and not os.path.exists(three + "/moved")
PY
  mv "$one/name" "$three/moved" # a copy
  same "$(cat "$bare/three/moved")" one
  fails test -e "$bare/one/name"
  stop 0
}
t_flags() { # each has those of its own mount
  chmod 4755 "$one/name" "$two/name"
  mount --bind "$four" "$four" && mount -o remount,bind,ro,noexec "$four"
  start "$one" "$two" "$four"
  options() { awk -v at="$1" '$5 == at { o = $6 } END { print o }' /proc/self/mountinfo; }
  same "$(options "$one")" rw,relatime
  same "$(options "$two")" rw,nosuid,relatime
  same "$(options "$four")" ro,noexec,relatime
  same "$(stat -c %a "$one/name" "$two/name" | tr '\n' ' ')" "4755 4755 "
  fails touch "$four/new"
  touch "$two/new"
  stop 0
  start "$one" "$two" -o ro,nodev
  same "$(options "$one")" ro,nodev,relatime
  same "$(options "$two")" ro,nosuid,nodev,relatime
  stop 0
}
t_truncates_empty() { # on a file system where truncate() of an empty file changes no time
  start "$one" "$two"
  touch -d '2 days ago' "$two/stamp"
  : > "$two/stamp"
  same "$(find "$two/stamp" "$bare/two/stamp" -mtime -1 | wc -l)" 2
  rm "$two/stamp"
  stop 0
}
t_one_file_system() { # of each its own
  mkdir "$two/point"
  mount -t tmpfs none "$two/point" && touch "$two/point/file"
  start "$one" "$two" --one-file-system
  same "$(ls -A "$two/point")" ""
  same "$(stat -f -c %b "$two/point")" "$(stat -f -c %b "$bare/two")"
  fails touch "$two/point/new"
  same "$(ls "$two/sub")" big
  stop 0
  start "$one" "$two"
  same "$(ls "$two/point")" file
  stop 0
  umount "$two/point"
}
# Programs in all of them at once, each with a model of what it wrote.
t_at_once() {
  start "$one" "$two" "$three"
  for d in "$one" "$two" "$three"; do
    python "$d" <<'PY' &
import os, random, sys
os.chdir(sys.argv[1])
rnd, model = random.Random(sys.argv[1]), {}
for n in range(1500):
    name = "f%d" % rnd.randrange(12)
    what = rnd.randrange(10)
    if what < 4 or name not in model:
        at, data = rnd.randrange(100000), rnd.randbytes(rnd.randrange(1, 9000))
        fd = os.open(name, os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, data, at)
        os.close(fd)
        old = model.get(name, b"").ljust(at, b"\0")
        model[name] = old[:at] + data + old[at + len(data):]
    elif what < 8:
        with open(name, "rb") as f:
            assert f.read() == model[name], name
    elif what < 9:
        other = "f%d" % rnd.randrange(12)
        os.rename(name, other)
        model[other] = model.pop(name)
    else:
        os.unlink(name)
        del model[name]
assert sorted(n for n in os.listdir(".") if n[0] == "f") == sorted(model)
PY
  done
  for job in $(jobs -p); do [ "$job" = "$mount_pid" ] || wait "$job"; done
  stop 0
  is_clean
}

# ---- The pool -----------------------------------------------------------------------------------

t_warm() { # all of them after a restart
  local before
  sleep 1.2 # their times prove something
  start "$one" "$two" "$three" -o probation=0
  reads "$one" "$two" "$three"
  stop 0
  start "$three" "$one" "$two" -o probation=0
  before=$(hits)
  reads "$one" "$two" "$three"
  same $(($(hits) - before)) $((3 * 367)) # 1500001 bytes are 367 blocks
  same "$(stat_of miss_blocks)" 0
  stop 0
}
t_kill() {
  sleep 1.2
  start "$one" "$two" "$three" -o probation=0
  reads "$one" "$two" "$three"
  stop 137 KILL 2>/dev/null
  start "$one" "$two" "$three" -o probation=0 # detaches the dead mounts
  same "$(grep -c 'detached the dead mount' "$work/log")" 3
  reads "$one" "$two" "$three"
  same "$(stat_of miss_blocks)" 0
  stop 0
  is_bare "$one" "$two" "$three"
}
t_commands() {
  number() { sed -n "s/^ *\"$1\": \([0-9.]*\),*$/\1/p" | head -n 1; }
  start "$one" "$two" "$three"
  "$cm" list > "$work/said"
  for d in "$one" "$two" "$three"; do
    same "$(grep -c "^root  *$mount_pid .* $d $pool\$" "$work/said")" 1
    "$cm" forget -q "$d"
    same "$("$cm" cached "$d" --json | number all_cached_bytes)" 0
    "$cm" warm -q "$d/sub/big"
    same "$("$cm" cached "$d" --json | number all_cached_bytes)" 1500001
    "$cm" pin -q "$d/name"
    "$cm" cached "$d" | grep -q "$d/name (pinned)"
  done
  "$cm" forget -q "$two"
  same "$("$cm" cached "$one" "$two" "$three" --json | number all_cached_bytes)" \
    $((2 * 1500001 + 4 + 6))
  python "$pool.control" "$one" "$two" "$three" <<'PY'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(sys.argv[1])
s.sendall(b"cachemax 1 status 0 0\n")
text = b""
while b"\nend " not in text: text += s.recv(4096)
told = [l[13:] for l in text.decode().split("\n") if l.startswith("is directory ")]
assert told == sys.argv[2:], told
PY
  same "$("$cm" unpin --all "$two" --json | number files)" 3 # it is one pool
  same "$("$cm" mode "$three" freeze)" freeze
  same "$("$cm" mode "$one")" freeze
  stop 0
}
# The paths of a trace begin with the number of a directory, if the mount has several.
t_traces() {
  printf 'cachemax-trace 1\nf 1 sub/big\nr 1 0 4096 9\nend 0\n' > "$work/of one"
  sed 's,sub/big,1/&,' "$work/of one" > "$work/of two"
  start "$one" "$two"
  status 7 "$cm" warm --trace "$work/of one" "$one"
  says 'of one: was recorded on a mount of one directory, and this one has 2: '
  status 0 "$cm" warm --trace "$work/of two" "$one"
  status 7 "$cm" warm --trace "$work/of two" "$two"
  says 'of two: names 1 file, and none at the paths that were given$'
  stop 0
  start "$one"
  for d in "$one" "$one/sub"; do
    status 7 "$cm" warm --trace "$work/of two" "$d"
    says 'of two: was recorded on a mount of several directories, and this one has 1: '
  done
  status 0 "$cm" warm --trace "$work/of one" "$one"
  stop 0
}
t_quotas() { # in the list they have one line, below all directories
  start "$one" "$two" --quota sub=1200K
  "$cm" list > "$work/said"
  grep -q " $one $pool$" "$work/said"
  same "$(grep -c '^  quota .* sub$' "$work/said")" 1
  grep -B 1 '^  quota .* of 1\.17 MiB sub$' "$work/said" | grep -q " $two $pool$"
  stop 0
}
t_rules() { # patterns are below each of them
  mkdir "$two/deep"
  cp "$two/sub/big" "$two/deep/sub"
  start "$one" "$two" --exclude sub/big
  reads "$one" "$two"
  dd if="$two/deep/sub" of=/dev/null bs=64k iflag=direct status=none
  "$cm" cached "$one" "$two" > "$work/said"
  for d in "$one" "$two"; do
    grep -q "^ *0 bytes *0.00 .* $d/sub/big (left out by --exclude)\$" "$work/said"
  done
  fails grep -q "^ *0 bytes .* $two/deep/sub" "$work/said"
  stop 0
}
t_names() {
  new_pool 16MiB --names
  start "$one" "$two"
  cat "$one/sub/big" "$two/sub/big" > /dev/null
  stop 0
  "$cm" files "$pool" > "$work/said"
  grep -q " $one/sub/big\$" "$work/said"
  grep -q " $two/sub/big\$" "$work/said"
}
t_service() {
  local rc=0
  start_service
  backing=(--service "$socket")
  start "$one" "$two"
  reads "$one" "$two"
  stop 0
  start "$two" "$one"
  diff -r "$one" "$ref/one"
  diff -r "$two" "$ref/two"
  stop 0 || rc=1
  stop_service
  return $rc
}

# ---- One goes, and the end ----------------------------------------------------------------------

t_alone() { # one is unmounted, the others go on, and its file system can be unmounted, too
  mount -t tmpfs none "$three" && echo here > "$three/file"
  start "$one" "$two" "$three"
  cat "$three/file"
  echo more > "$three/other"
  eventually umount "$three"
  same "$(cat "$three/file")" here
  echo bare > "$three/file"
  eventually umount "$three"
  same "$(cat "$three/name")" three
  diff -r "$one" "$ref/one"
  echo mine > "$two/mine"
  same "$(cat "$bare/two/mine")" mine
  grep -q "$three: unmounted; the other directories stay" "$work/log"
  same "$("$cm" list | grep -c " $pool\$")" 2
  fails "$cm" cached "$three"
  eventually umount "$one"
  same "$(cat "$two/mine")" mine
  eventually umount "$two" # the last one ends the process
  wait "$mount_pid"
  rm "$work/pid"
  is_clean
}
# A program has a file open in a DIR that loses its mount, and others change it in the bare
# directory. What the mount has of it counts no more, whatever the other DIRs do.
# DIR FILE OTHER [LEFT]: the DIR that goes; the file on the mount, and its name in bare/. LEFT: then
# FILE is removed, and LEFT is its last name on the next mount.
t_gone() {
  start "$one" "$two" "$three" -o probation=0
  sleep 1.2
  dd if="$2" of=/dev/null bs=64k iflag=direct status=none
  python "$1" "$2" "$3" "$bare" "${4:-}" <<'PY'
import os, subprocess, sys, time
gone, path, name, bare, left = sys.argv[1:6]
fd = os.open(path, os.O_RDWR)
os.pwrite(fd, b"A", 0)
subprocess.check_call(["umount", "-l", gone])
while os.stat(gone).st_dev != os.stat(bare + "/" + os.path.basename(gone)).st_dev:
    time.sleep(0.01)
if left:
    os.unlink(path)
    time.sleep(0.6)
    os.pwrite(fd, b"B", 100)
theirs = os.open(bare + "/" + name, os.O_RDWR)
os.pwrite(theirs, b"written beside it", 1 << 20)
os.close(theirs)
time.sleep(1)
os.close(fd)
PY
  echo written > "$bare/../two/after" # the others are ours as before
  stop 0
  start "$one" "$two" "$three" -o probation=0
  cmp "${4:-$2}" "$bare/$3"
  stop 0
}
# Others change it by a name where the mount is gone, and remove that name.
t_other_name() {
  ln "$one/sub/big" "$three/link"
  start "$one" "$two" "$three" -o probation=0
  sleep 1.2
  dd if="$one/sub/big" of=/dev/null bs=64k iflag=direct status=none
  python "$three" "$one/sub/big" "$bare" <<'PY'
import os, subprocess, sys, time
gone, path, bare = sys.argv[1:4]
other = bare + "/three/link"
subprocess.check_call(["umount", "-l", gone])
while os.stat(gone).st_dev != os.stat(bare + "/three").st_dev:
    time.sleep(0.01)
time.sleep(0.6)
with open(path, "rb") as f: # warm after the mount has gone, too
    f.read()
fd, theirs = os.open(path, os.O_RDWR), os.open(other, os.O_RDWR)
os.pwrite(fd, b"A", 0)
os.close(fd)
time.sleep(0.03)
os.pwrite(theirs, b"written beside it", 1 << 19)
os.close(theirs)
os.unlink(other)
time.sleep(1.2)
PY
  stop 0
  start "$one" "$two" "$three" -o probation=0
  cmp "$one/sub/big" "$bare/one/sub/big"
  stop 0
}
t_still_ours() { # what was written after another one had gone is warm
  start "$one" "$two" "$three" -o probation=0
  eventually umount "$three"
  eventually grep -q "$three: unmounted" "$work/log"
  dd if=/dev/urandom of="$one/sub/big" bs=64k count=10 conv=notrunc status=none
  reads "$one" "$two"
  sleep 1.2
  stop 0
  start "$one" "$two" -o probation=0
  reads "$one" "$two"
  same "$(stat_of miss_blocks)" 0
  stop 0
}
t_covered() { # the one that cannot be detached
  start "$one" "$two" "$three"
  mount -t tmpfs none "$two"
  stop 1
  grep -q "cannot unmount $two, which stays as a dead mount: another mount covers it" "$work/log"
  same "$(stat -f -c %T "$two")" tmpfs
  is_bare "$one" "$three"
  umount "$two"
  umount -l "$two"
  is_bare "$two"
}
t_stored() { # what programs stored in mappings, in each, when a signal ends it
  start "$one" "$two"
  python "$one" "$two" "$mount_pid" <<'PY'
import mmap, os, signal, sys, time
maps = []
mounted = os.stat(sys.argv[1]).st_dev
for d in sys.argv[1:3]:
    fd = os.open(d + "/mapped", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 65536)
    m = mmap.mmap(fd, 65536)
    m[:] = b"s" * 65536
    maps.append((fd, m))
def over():
    try:
        with open("/proc/" + sys.argv[3] + "/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
os.kill(int(sys.argv[3]), signal.SIGTERM)
# The first flush may take longer than the grace period. Then the last one writes what is left.
while not over():
    time.sleep(0.01)
for d in sys.argv[1:3]:
    assert os.stat(d).st_dev != mounted, d
    assert open(d + "/mapped", "rb").read() == b"s" * 65536, d
PY
  wait "$mount_pid"
  rm "$work/pid"
}

# ---- What is refused ----------------------------------------------------------------------------

t_overlap() {
  local at
  mkdir -p "$work/bound" "$one/inner" "$three/shown"
  mount --bind "$one/sub" "$work/bound"
  for at in "$one/sub" "$one" "$one/" "$work"; do
    refused 2 "show the same files" "$mount_bin" "$one" "$at" --pool "$pool" -f
  done
  refused 2 "$work/bound and $one show the same|$one and $work/bound show the same" \
    "$mount_bin" "$one" "$work/bound" --pool "$pool" -f
  mount --bind "$one/inner" "$three/shown" # below another one
  refused 2 "$three/shown" "$mount_bin" "$one" "$three" --pool "$pool" -f
  umount "$three/shown" "$work/bound"
  is_bare "$one" "$three"
  start "$one" "$three"
  stop 0
}
t_inside_later() { # a bind that is made while the mount runs, by somebody who is below it
  mkdir "$three/point"
  cd "$three"
  start "$one" "$three"
  mount -c --bind "$bare/one" point # -c: not what the path leads to now
  eventually fails ls "$three/point/"
  ls "$three/point/" 2>&1 | grep -q 'Too many levels'
  same "$(cat "$one/name")" one
  stop 0
  umount "$three/point"
}
t_refused() {
  refused 2 "two volumes" "$mount_bin" "$one" "$two" --pool "$pool" --volume-id x -f
  refused 1 "none: No such file" "$mount_bin" "$one" "$work/none" --pool "$pool" -f
  refused 3 "inside the directory" "$mount_bin" "$one" "$shm" --pool "$pool" -f
  refused 1 "need root" setpriv --reuid=65534 --regid=65534 --clear-groups \
    "$mount_bin" "$one" "$two" --pool "$pool" -f
  refused 1 "mount namespace: Operation not permitted" setpriv --bounding-set=-sys_admin \
    --inh-caps=-sys_admin "$mount_bin" "$one" "$two" --pool "$pool" -f
  is_bare "$one" "$two" "$three"
  start "$one" "$three" --volume-id x # one volume
  stop 0
}
t_old_kernel() {
  refused 1 "need Linux 5.2" env NO_TREES=1 LD_PRELOAD="$preload" \
    "$mount_bin" "$one" "$two" --pool "$pool" -f
  is_bare "$one" "$two"
  is_clean
}
# A list of mounts that was read in part is none: what is not in it may be in the rest.
t_short_mounts() {
  local no_list="cannot read /proc/self/mountinfo: Input/output error"
  mkdir "$work/shown"
  mount --bind "$one" "$work/shown"
  refused 1 "$no_list" env SHORT_MOUNTS=40 LD_PRELOAD="$short" \
    "$mount_bin" "$one" "$work/shown" --pool "$pool" -f
  umount "$work/shown"
  rmdir "$work/shown"
  start "$one"
  refused 1 "$no_list" env SHORT_MOUNTS=40 LD_PRELOAD="$short" \
    "$mount_bin" "$one" --pool "$pool" -f
  stop 0
}
# The mount is made, and the list cannot be read for a while: what it serves counts all the same,
# and what is mounted below has its own number later.
t_short_later() {
  local before
  mkdir "$one/point"
  mount -t tmpfs none "$one/point"
  : > "$work/cut"
  export SHORT_MOUNTS=40 SHORT_MOUNTS_IF=$work/cut SHORT_MOUNTS_WITH="fuse.cachemax $pool "
  LD_PRELOAD=$short start "$one" "$three" -o probation=0
  ls "$one" >/dev/null
  rm "$work/cut"
  python "$one" <<'PY'
import os, sys
for e in os.scandir(sys.argv[1]):
    assert e.inode() == os.lstat(e.path).st_ino, e.path
PY
  reads "$one" "$three"
  before=$(hits)
  reads "$one" "$three"
  same $(($(hits) - before)) $((2 * 367))
  stop 0
  umount "$one/point"
  is_bare "$one" "$three"
  is_clean
}
# A directory is removed while the mount waits for the pool: the others are not mounted either.
t_half() {
  mkdir "$work/doomed"
  start "$three"
  local first=$mount_pid rc=0
  "$mount_bin" "$one" "$work/doomed" "$two" --pool "$pool" -f 2>"$work/said" &
  local second=$!
  eventually grep -q "waiting for process" "$work/said"
  rmdir "$work/doomed"
  kill "$first"
  wait "$first"
  rm "$work/pid"
  wait "$second" || rc=$?
  same $rc 1
  grep -q "cannot mount on $work/doomed: No such file.*; nothing is mounted" "$work/said"
  is_bare "$one" "$two"
  is_clean
}
t_background() { # the same at a start that goes to the background
  "$mount_bin" "$one" "$two" --pool "$pool"
  is_served "$one" "$two"
  mount_pid=$("$cm" info "$pool" | sed -n 's/^state: .*process \([0-9]*\).*/\1/p')
  echo "$mount_pid" > "$work/pid"
  kill "$mount_pid"
  eventually ended "$mount_pid"
  rm "$work/pid"
  is_bare "$one" "$two"
  is_clean
}

fresh "two directories are served" t_served "$one" "$three"
fresh "three directories on two file systems are served" t_served "$two" "$one" "$three"
fresh "no two files share a number" t_numbers
fresh "renames and links from one to another" t_exdev
fresh "each has its own flags" t_flags
fresh "an empty file that is opened with O_TRUNC" t_truncates_empty
fresh "--one-file-system, of each" t_one_file_system
fresh "programs in all of them" t_at_once
fresh "warm after a restart" t_warm
fresh "a kill, and the next mount" t_kill
fresh "commands in each" t_commands
fresh "quotas of several directories" t_quotas
fresh "traces of another mount" t_traces
fresh "rules in each" t_rules
fresh "names of files tell which" t_names
fresh "with a service" t_service
fresh "one is unmounted alone" t_alone
fresh "changed where the mount is gone" t_gone "$two" "$two/sub/big" two/sub/big
fresh_link() { ln "$one/sub/big" "$three/link"; t_gone "$@"; }
fresh "changed by a name where the mount is gone" fresh_link "$one" "$three/link" one/sub/big
fresh "changed by the last name, where the mount is gone" fresh_link "$one" "$three/link" \
  one/sub/big "$one/sub/big"
fresh "changed by a name that is removed where the mount is gone" t_other_name
fresh "written where the mount stays" t_still_ours
fresh "one is covered at the end" t_covered
fresh "stored in mappings of each" t_stored
fresh "directories that overlap" t_overlap
fresh "a bind of one inside another, made later" t_inside_later
fresh "wrong use" t_refused
if [ -n "$preload" ]; then
  fresh "an old kernel" t_old_kernel
else
  skip "an old kernel" "no no_handles.so in $build"
fi
if [ -z "$short" ] || grep -Eq '__(asan|tsan|msan)_init' "$mount_bin"; then
  skip "a list of mounts in part" "no short_mounts.so, or a build that takes no LD_PRELOAD"
else
  fresh "a list of mounts in part, before" t_short_mounts
  fresh "a list of mounts in part, later" t_short_later
fi
fresh "all or none" t_half
fresh "in the background" t_background
clear_up
summary
