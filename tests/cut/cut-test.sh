#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# cut-test.sh - kills and power cuts on an ordinary disk: pool and cached files lie on ext4 or xfs.
#
# Usage: cut-test.sh BUILD_DIR [--kills N] [--cuts N] [--seconds N] [--seed N] [--fs ext4|xfs]
#                    [--period MS] [--writes hot|uniform]
#
# First tests/cut/store is killed N (5) times in the middle of its work in $TMPDIR, and judged.
#
# The disk is a loop device on a FUSE export of qemu-storage-daemon, which logs each write and each
# flush. The store works on it with threads, and a checkpoint every MS (200). Nine writes of ten go
# to the first eighth of a file ("hot"), or they go anywhere ("uniform"). Then the log is replayed
# up to N (5) random places, with a part of what was not flushed, in any order. Each such disk is
# mounted, and all that hits is compared with the files (replay.py, judge.c). Needs root, loop
# devices and qemu-storage-daemon; skips without. 200 kills and 200 cuts take some 10 minutes:
#
#     sudo tests/cut/cut-test.sh BUILD_DIR --kills 200 --cuts 50 --seconds 20 --period 1000
set -u
# shellcheck source=../sleep.sh
. "$(dirname "$0")/../sleep.sh"

# A mount namespace of its own: one that another program makes would keep copies of the mounts here,
# and xfs mounts no second disk with the same UUID.
if [ -z "${CM_CUT_ALONE:-}" ] && unshare -m true 2>/dev/null; then
  CM_CUT_ALONE=1 exec unshare -m bash "$0" "$@"
fi
here=$(cd "$(dirname "$0")" && pwd)
store=$(cd "$1" && pwd)/tests/cut/store
shift
kills=5 cuts=5 seconds=4 seed=$RANDOM kinds='ext4 xfs' period=200 pattern=hot
while [ $# -gt 0 ]; do
  case $1 in
  --kills) kills=$2 ;;
  --cuts) cuts=$2 ;;
  --period) period=$2 ;;
  --writes) pattern=$2 ;;
  --seconds) seconds=$2 ;;
  --seed) seed=$2 ;;
  --fs) kinds=$2 ;;
  *)
    echo "cut-test.sh: what is $1?" >&2
    exit 1
    ;;
  esac
  shift 2
done

pass=0 fail=0 skip=0
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-cut.XXXXXX")
daemon=
loop=

end_disk() {
  umount "$work/mnt" 2>/dev/null
  if [ -n "$loop" ]; then
    losetup -d "$loop" 2>/dev/null
    for _ in $(seq 100); do # it lets go of the file a moment later
      [ -e "/sys/block/${loop##*/}/loop/backing_file" ] || break
      sleep 0.05
    done
  fi
  loop=
  if [ -n "$daemon" ]; then
    kill "$daemon" 2>/dev/null
    # It has nothing left to write. It was seen to wait for ever, in one of some hundred ends.
    for _ in $(seq 200); do
      kill -0 "$daemon" 2>/dev/null || break
      sleep 0.05
    done
    kill -9 "$daemon" 2>/dev/null && umount -l "$work/exported" 2>/dev/null
    wait "$daemon" 2>/dev/null
    daemon=
  fi
}
finish() {
  end_disk
  rm -rf "$work"
  echo "$pass passed, $fail failed, $skip skipped"
}
trap 'finish; [ "$fail" -eq 0 ]; exit' EXIT
trap 'exit 1' INT TERM

skip_all() {
  for fs in $kinds; do
    echo "skip power cuts on $fs: $1"
    skip=$((skip + 1))
  done
  exit
}

# A file $work/exported, whose writes go to $work/log.
begin_disk() { # MIB
  truncate -s "$1"M "$work/disk"
  : >"$work/log"
  : >"$work/exported"
  qemu-storage-daemon --blockdev "driver=file,filename=$work/disk,node-name=disk" \
    --blockdev "driver=file,filename=$work/log,node-name=log" \
    --blockdev driver=blklogwrites,file=disk,log=log,node-name=logged \
    --export "fuse,id=e,node-name=logged,mountpoint=$work/exported,writable=on" \
    >"$work/daemon" 2>&1 &
  daemon=$!
  for _ in $(seq 100); do
    [ "$(stat -c %s "$work/exported")" -gt 0 ] && break
    kill -0 "$daemon" 2>/dev/null || return 1
    sleep 0.05
  done
  loop=$(losetup -f --show "$work/exported" 2>"$work/error")
}

mkdir "$work/killed"
if [ "$kills" = 0 ]; then
  :
elif "$store" killed "$work/killed" "$kills" "$seed" "$pattern"; then
  echo "ok $kills kills, seed $seed"
  pass=$((pass + 1))
else
  echo "FAIL $kills kills, seed $seed"
  fail=$((fail + 1))
fi
rm -r "$work/killed"

[ "$cuts" != 0 ] || exit
[ "$(id -u)" = 0 ] || skip_all 'needs root'
command -v qemu-storage-daemon >/dev/null || skip_all 'qemu-storage-daemon is not there'
mkdir "$work/mnt"
begin_disk 16 || skip_all "no loop device on a FUSE file here ($(cat "$work/daemon" "$work/error"))"
end_disk

# Called by replay.py: judge DISK POSITION.
cat >"$work/judge" <<EOF
#!/bin/sh
mount -o loop "\$1" "$work/mnt" || exit 4
"$store" judge "$work/mnt" "$work/notes" "\$2" >"$work/said" 2>&1
rc=\$?
umount "$work/mnt" || exit 4
[ \$rc = 0 ] || cat "$work/said"
tail -n 1 "$work/said" >>"$work/all"
exit \$rc
EOF
chmod +x "$work/judge"

one() { # FS POOL_MIB SEED
  rm -f "$work/disk" "$work/base" "$work/notes" "$work/all"
  begin_disk 1024 || return 1
  "mkfs.$1" -q "$loop" && mount "$loop" "$work/mnt" || return 1
  "$store" work "$work/mnt" "$work/log" "$work/notes" "$seconds" "$3" "$2" \
    "$period" "$pattern" || return 1
  from=$(sed -n 's/^end //p' "$work/notes" | head -n 1) to=$(stat -c %s "$work/log")
  end_disk
  [ "$2" = 256 ] || : >"$work/notes"
  truncate -s 1024M "$work/base"
  python3 "$here/replay.py" "$work/base" "$work/log" "$from" "$to" "$cuts" "$3" "$work/cut" \
    -- "$work/judge" || return 1
  awk '{ for (i = 1; i < NF; i++) if ($(i + 1) == "of") { k = $(i - 1); hit[k] += $i
           all[k] += $(i + 2); floor[k] += $(i + 4); kept[k] += $(i + 6) }
         for (i = 1; i < NF; i++) if ($i == "expected") { expected += $(i + 1); n++ } }
       END { for (k in all) printf "%s: %.1f %% of the blocks hit%s\n", k, 100 * hit[k] / all[k],
               floor[k] ? sprintf("; of %d that were cached a checkpoint ago, in regions that " \
                 "were not written since, %.2f %%", floor[k], 100 * kept[k] / floor[k]) : ""
             printf "e^(-writes/regions) of the exclusive files is %.1f %%\n", 100 * expected / n
       }' "$work/all"
}

for fs in $kinds; do
  # A pool in which all has room; and one in which blocks and files are evicted all the time, so
  # that there is no floor.
  for mib in 256 64; do
    name="power cuts on $fs, pool of $mib MiB, seed $seed"
    if ! command -v "mkfs.$fs" >/dev/null; then
      echo "skip $name: mkfs.$fs is not there"
      skip=$((skip + 1))
    elif one "$fs" $mib "$seed"; then
      echo "ok $name"
      pass=$((pass + 1))
    else
      echo "FAIL $name"
      cat "$work/daemon" "$work/error"
      fail=$((fail + 1))
    fi
    end_disk
  done
done
