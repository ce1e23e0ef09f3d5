#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# names-test.sh - more names than the mount may have descriptors: what is said, who waits, and what
# is made when there are none left.
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
# for names; somebody is told when three quarters are names.
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
'

# ---- Directories --------------------------------------------------------------------------------

t_told() { # four times as many as there are descriptors
  tree 50
  start 256
  for _ in 1 2 3; do
    ls -R "$org" > /dev/null 2>&1 || true # EMFILE
    sleep 0.2
  done
  few_lines 1
  fails grep -q 'cannot answer' "$work/log"
  do_unmount
  is_clean
}
t_files() { # these are given back
  rm -rf "${below:?}"/*
  (cd "$below" && seq -f 'f%g' 1500 | xargs touch)
  start 256
  python "$org" "$below" <<PY
$pressure
for n in range(3): look("f%d" % f for f in range(1, 1501))
PY
  few_lines 0
  do_unmount
}
# Names that are not given back are waited for by nobody. To wait would take 2 s.
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

check_at "$work" "more directories than descriptors" t_told
check_at "$work" "more files than descriptors" t_files
check_at "$work" "nobody waits in vain" t_no_wait
check_at "$work" "made with few descriptors" t_made
check_at "$work" "made with few descriptors, -o dirsync" t_made -o dirsync
summary
