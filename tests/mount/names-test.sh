#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# names-test.sh - more names than the mount may have descriptors: what it gives back, what stays,
# and what is made when there are none left.
#
# Usage: names-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Needs root.

set -u
build=${1:?usage: names-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
if [ $has_below = 0 ] || ! has prlimit || ! has setpriv; then
  skip everything "needs root, mount --bind, prlimit and setpriv"
  summary
  exit 77
fi

let_go() {
  local point
  mounts_below "$work" | tac | while read -r point; do
    [ "$point" = "$below" ] || umount -l "$point"
  done
  kill -KILL "$(cat "$shm/pid")" 2>/dev/null
}
# start LIMIT [OPTION...]: with so many descriptors, also if root may have more. Half of them are
# for names; directories are given back when three quarters are names.
start() {
  local program=$mount_bin limit=$1
  shift
  new_pool 16MiB
  : > "$work/log"
  printf '#!/bin/sh\nexec prlimit --nofile=%s:%s setpriv --bounding-set=-sys_resource %s "$@"\n' \
    "$limit" "$limit" "$program" > "$work/limited"
  chmod +x "$work/limited"
  mount_bin=$work/limited
  do_mount "$@"
  mount_bin=$program
  echo "$mount_pid" > "$shm/pid"
}
tree() { # COUNT: so many directories in each of twenty
  local n
  rm -rf "${below:?}"/*
  for n in $(seq 20); do
    mkdir "$below/$n"
    (cd "$below/$n" && seq -f 's%g' "$1" | xargs mkdir)
  done
}
descriptors() { find "/proc/$mount_pid/fd" -mindepth 1 | wc -l; }
few_lines() { same "$(grep -c 'kernel knows [0-9]* names, .* one of the 256 .*LimitNOFILE' \
  "$work/log")" "$1"; }
python() { python3 - "$@"; }
# What the programs below have in common.
pressure='
import os, sys, time
top, below = sys.argv[1:3]
def look(names):
    for name in names: os.lstat(os.path.join(top, name))
def dirs(count): return ["%d/s%d" % (d, s) for s in range(1, count + 1) for d in range(1, 21)]
def lost(): # the name of the working directory has been given back
    try: os.getcwd()
    except FileNotFoundError: return True
    return False
def until_lost(count):
    """Looks at the tree until idle directories were given back, and the working directory was one
    of them; and then as often again."""
    for n in range(60):
        look(dirs(count))
        if lost(): break
    else: raise SystemExit("never given back")
    for n in range(3 * n + 3): look(dirs(count))
'

# ---- Directories --------------------------------------------------------------------------------

t_many() { # four times as many as there are descriptors
  tree 50
  start 256
  for _ in 1 2 3; do
    same "$(find "$org" -type d 2>&1 | grep -c "^$org")" 1021
    mkdir "$org/new"
    rmdir "$org/new"
  done
  few_lines 1
  fails grep -q 'cannot answer' "$work/log"
  same "$(ls "$org/7" | wc -l)" 50
  do_unmount
  is_clean
}
t_files_first() { # as long as they help, the kernel keeps all directories
  tree 5
  (cd "$below" && seq -f 'f%g' 1500 | xargs touch)
  start 256
  python "$org" "$below" <<PY
$pressure
os.chdir(top + "/1/s1")
for n in range(3):
    look(dirs(5))
    look("f%d" % f for f in range(1, 1501))
    time.sleep(0.05)
    look("f%d" % f for f in range(1, 61))
    assert not lost()
PY
  few_lines 0
  do_unmount
}
t_not_yet() { # more names than are meant for them, but there is room
  tree 7
  start 256
  python "$org" "$below" <<PY
$pressure
os.chdir(top + "/1/s1")
for n in range(10):
    look(dirs(7))
    time.sleep(0.02)
    assert not lost()
PY
  few_lines 0
  do_unmount
}
# A program that works in a directory that was given back finds all but its path, and that again
# once somebody has looked it up. An open directory is none that is given back.
t_in_use() {
  tree 50
  mkdir "$below/cwd" "$below/open" "$below/path"
  for d in cwd open path; do echo "$d" > "$below/$d/name"; done
  start 256
  python "$org" "$below" <<PY
$pressure
os.chdir(top + "/cwd")
fds = { "open": os.open(top + "/open", os.O_RDONLY), "path": os.open(top + "/path", os.O_PATH) }
until_lost(50)
assert os.readlink("/proc/self/fd/%d" % fds["open"]) == top + "/open"
fds["cwd"] = os.open(".", os.O_PATH)
for name, fd in fds.items():
    at = lambda path, flags: os.open(path, flags, dir_fd=fd)
    assert open("name", opener=at).read() == name + "\n"
    open("new", "w", opener=at).write(name)
    os.rename("new", "moved", src_dir_fd=fd, dst_dir_fd=fd)
    os.mkdir("sub", dir_fd=fd)
    assert sorted(os.listdir(os.open(".", os.O_RDONLY, dir_fd=fd))) == ["moved", "name", "sub"]
    assert open(below + "/" + name + "/moved").read() == name
assert lost()
os.stat(top + "/cwd")
assert os.getcwd() == top + "/cwd"
PY
  do_unmount
}
# What is mounted in the mount stays, wherever the directory is shown, and so does what a bind mount
# shows.
t_mounts() {
  tree 50
  mkdir -p "$below/cwd" "$below/on" "$below/above/it/point" "$below/shown" "$below/bound" \
    "$work/else" "$work/bound"
  touch "$below/file" "$below/bare"
  start 256
  mount -t tmpfs names "$org/on"
  mount -t tmpfs names "$org/above/it/point"
  mount --bind "$work/log" "$org/file"
  mount --bind "$org" "$work/else"
  mount -t tmpfs names "$work/else/shown"
  mount --bind "$org/bound" "$work/bound"
  python "$org" "$below" "$work/bound" <<PY
$pressure
os.chdir(sys.argv[3])
bound = os.open(".", os.O_PATH)
os.chdir(top + "/cwd")
until_lost(50)
os.fchdir(bound)
assert os.getcwd() == sys.argv[3]
PY
  grep -q mounted "$org/file"
  same "$(awk -v at="$work/" 'index($5, at) == 1 && / - tmpfs names / { print $5 }' \
    /proc/self/mountinfo | sort | tr '\n' ' ')" \
    "$work/else/shown $org/above/it/point $org/on "
  umount "$work/bound" "$work/else/shown" "$work/else" "$org/file" "$org/above/it/point" "$org/on"
  do_unmount
}
# Two directories change places: then each is above what the other one was above.
t_exchange() {
  tree 50
  mkdir -p "$below/one/a/point" "$below/two/b" "$below/cwd"
  start 256
  mount -t tmpfs names "$org/one/a/point"
  python "$org" "$below" <<PY
$pressure
import ctypes
os.stat(top + "/two/b")
os.chdir(top)
if ctypes.CDLL(None).syscall(316 if os.uname().machine == "x86_64" else 276,
                             -100, b"one/a", -100, b"two/b", 2) != 0:
    raise SystemExit("renameat2")
os.chdir(top + "/cwd")
until_lost(50)
PY
  mountpoint -q "$org/two/b/point"
  umount "$org/two/b/point"
  do_unmount
}
# Names that are not given back yet are waited for by nobody. To wait would take 2 s.
t_no_wait() {
  local n
  tree 150
  for n in 1 2 3 4 5; do
    start 4096
    if python "$org" "$below" <<PY
$pressure
names = dirs(150)
look(names[:2570])
time.sleep(0.05)
look(names[2570:2600]) # they may be waited for
begin = time.monotonic()
look(names[2600:2950])
sys.exit(time.monotonic() - begin > 350 * 0.004)
PY
    then
      do_unmount
      return 0
    fi
    do_unmount
  done
  return 1
}

# ---- What is made -------------------------------------------------------------------------------

# With fewer and fewer descriptors: what is refused was not made.
t_made() { # [OPTION...]
  rm -rf "${below:?}"/*
  mkdir -p "$below/there/point" # a name of mount points is looked up each time
  mount -t tmpfs names "$org/there/point"
  echo content > "$below/file"
  start 512 -o loops=2 "$@"
  python "$org" "$below" "$mount_pid" <<'PY'
import errno, os, resource, stat, sys
top, below, mount = sys.argv[1], sys.argv[2], int(sys.argv[3])
soft, hard = resource.prlimit(mount, resource.RLIMIT_NOFILE)
makers = {
    "mkdir": os.mkdir,
    "mknod": lambda p: os.mknod(p, 0o600 | stat.S_IFREG),
    "symlink": lambda p: os.symlink("nowhere", p),
    "link": lambda p: os.link(top + "/file", p),
    "create": lambda p: os.close(os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)),
}
def fill(): # with files that are open for writing
    fds = []
    while True:
        try: fds.append(os.open(top + "/file", os.O_WRONLY))
        except OSError as e:
            assert e.errno == errno.EMFILE, e
            return fds
rooms = [6, 5, 4, 3, 2] + [1, 0, 0] * 5 # several times: a thread may have one to spare
wrong, made = [], set()
for kind in makers:
    for n in range(len(rooms)): os.makedirs("%s/%s/%d" % (top, kind, n))
for kind, make in makers.items():
    for n, room in enumerate(rooms):
        name = "%s/%d/point" % (kind, n)
        most = max(int(n) for n in os.listdir("/proc/%d/fd" % mount))
        resource.prlimit(mount, resource.RLIMIT_NOFILE, (most + 1 + room, hard))
        fds = fill()
        for fd in fds[:room]: os.close(fds.pop())
        try:
            make("%s/%s" % (top, name))
            made.add(kind)
        except OSError as e:
            if e.errno != errno.EMFILE: wrong.append("%s, %d: %s" % (kind, room, e))
            if os.path.lexists("%s/%s" % (below, name)): wrong.append("%s, %d" % (kind, room))
        for fd in fds: os.close(fd)
        resource.prlimit(mount, resource.RLIMIT_NOFILE, (soft, hard))
        if not os.path.lexists("%s/%s" % (top, name)): make("%s/%s" % (top, name))
assert not wrong, wrong
assert made == set(makers), made
PY
  do_unmount
  umount "$org/there/point"
}

check_at "$work" "more directories than descriptors" t_many
check_at "$work" "files first" t_files_first
check_at "$work" "not yet" t_not_yet
check_at "$work" "directories in use" t_in_use
check_at "$work" "what is mounted stays" t_mounts
check_at "$work" "directories that change places" t_exchange
check_at "$work" "nobody waits in vain" t_no_wait
check_at "$work" "made with few descriptors" t_made
check_at "$work" "made with few descriptors, -o dirsync" t_made -o dirsync
summary
