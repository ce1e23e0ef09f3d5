#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# cut-test.sh - power cuts on an ordinary disk: pool and cached files lie on ext4 or xfs.
#
# Usage: cut-test.sh BUILD_DIR [--cuts N] [--seconds N] [--seed N] [--fs ext4|xfs]
#
# The disk is a loop device on a FUSE export of qemu-storage-daemon, which logs each write and each
# flush. tests/cut/store works on it with threads and checkpoints. Then the log is replayed up to N
# (5) random places, with a part of what was not flushed, in any order. Each such disk is mounted,
# and all that hits is compared with the files (replay.py, store.c). Needs root, loop devices and
# qemu-storage-daemon; skips without. 200 cuts take some 5 minutes:
#
#     sudo tests/cut/cut-test.sh BUILD_DIR --cuts 100 --seconds 20
set -u

here=$(cd "$(dirname "$0")" && pwd)
store=$(cd "$1" && pwd)/tests/cut/store
shift
cuts=5 seconds=4 seed=$RANDOM kinds='ext4 xfs'
while [ $# -gt 0 ]; do
  case $1 in
  --cuts) cuts=$2 ;;
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
  [ -z "$loop" ] || losetup -d "$loop" 2>/dev/null
  loop=
  if [ -n "$daemon" ]; then
    kill "$daemon" 2>/dev/null
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
  "$store" work "$work/mnt" "$work/log" "$work/notes" "$seconds" "$3" "$2" || return 1
  from=$(head -n 1 "$work/notes" | cut -d ' ' -f 1) to=$(stat -c %s "$work/log")
  end_disk
  [ "$2" = 256 ] || : >"$work/notes"
  truncate -s 1024M "$work/base"
  python3 "$here/replay.py" "$work/base" "$work/log" "$from" "$to" "$cuts" "$3" "$work/cut" \
    -- "$work/judge" || return 1
  awk '{ for (i = 1; i < NF; i++) if ($(i + 1) == "of") { hit[$(i - 1)] += $i
           all[$(i - 1)] += $(i + 2) }
         for (i = 1; i < NF; i++) if ($i == "floor") floor += $(i + 1) }
       END { for (k in all) printf "%s: %.1f %% of the blocks hit\n", k, 100 * hit[k] / all[k]
             if (floor) printf "still, of those cached a checkpoint ago: %.2f %%\n",
               100 * hit["still"] / floor }
      ' "$work/all"
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
