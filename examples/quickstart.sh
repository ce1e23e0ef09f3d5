#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# quickstart.sh [DIR] - shows the cache at its main job on real files.
#
# Installs what is missing, builds, makes a pool, mounts it over DIR in place (or over a sample
# copied from files of this machine), reads everything cold and warm, compares every byte with the
# origin, restarts the mount to show that the cache is still warm, and cleans up after itself.
# Nobody should write files in DIR meanwhile: they could not be compared.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(dirname -- "$here")
case "${1:-}" in
-h | --help)
  sed -n '/^# quickstart/,/^set/s/^# \{0,1\}//p' "$0"
  exit 0
  ;;
-*)
  echo "quickstart.sh: unknown option $1; usage: quickstart.sh [DIR]" >&2
  exit 2
  ;;
esac
dir=${1:-}
[ -z "$dir" ] || [ -d "$dir" ] || {
  echo "quickstart.sh: $dir is not a directory" >&2
  exit 2
}

. "$here/need.sh"
need build-essential meson ninja-build pkg-config libxxhash-dev || exit 1
fuse=yes why=
if [ ! -c /dev/fuse ]; then
  fuse=no why="there is no /dev/fuse here"
elif ! need libfuse3-dev fuse3; then
  fuse=no why="libfuse3 could not be installed"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-quickstart.XXXXXX")
pool=
cleanup() {
  trap - EXIT INT TERM
  [ -z "${mounted:-}" ] || fusermount3 -u "$dir" 2>/dev/null || fusermount3 -uz "$dir" 2>/dev/null || :
  [ -z "$pool" ] || rm -f "$pool"
  rm -rf "$work"
}
trap cleanup EXIT
trap 'cleanup; exit 130' INT TERM

build=$work/build
echo "building in $build"
meson setup "$build" "$top" -Dtests=false --buildtype=release >"$work/log" 2>&1 &&
  ninja -C "$build" >>"$work/log" 2>&1 || {
  tail -n 20 "$work/log" >&2
  exit 1
}
cachemax=$build/src/tool/cachemax
mount=$build/examples/mount/cachemax-mount
[ -x "$mount" ] || { fuse=no why=${why:-"the mount was not built"}; }

# ---- files to read ---------------------------------------------------------------------------
if [ -z "$dir" ]; then
  dir=$work/sample
  mkdir "$dir"
  from=/usr/lib
  echo "copying a sample of $from to $dir"
  # Middle-sized files, 200 MiB of them at most.
  find "$from" -xdev -type f -size +128k -size -24M -printf '%s %p\n' 2>/dev/null | LC_ALL=C sort -k 2 |
    awk '{ sum += $1; if (sum > 200 * 1048576) exit; sub(/^[0-9]+ /, ""); printf "%s%c", $0, 0 }' |
    tar --create --file=- --null --files-from=- --absolute-names | tar --extract --file=- -C "$dir" \
    --transform='s,^/,,'
fi
bytes=$(find "$dir" -xdev -type f -printf '%s\n' | awk '{ s += $1 } END { printf "%.0f", s }')
files=$(find "$dir" -xdev -type f | wc -l)
[ "$bytes" -gt 0 ] || {
  echo "quickstart.sh: no files below $dir" >&2
  exit 2
}

# ---- a pool: on DAX if there is such a volume, else in memory ------------------------------------
# Room for every block, and a block for every file's last bytes.
size=$((((bytes + files * 4096) * 5 / 4 / 1048576 + 64) * 1048576))
place=
for m in $(findmnt -rno TARGET,FS-OPTIONS 2>/dev/null | awk '$2 ~ /(^|,)dax(=always)?(,|$)/ { print $1 }'); do
  [ -w "$m" ] && place=$m && break
done
if [ -n "$place" ]; then
  echo "pool: on the DAX volume $place (survives power cuts)"
elif [ -w /dev/shm ]; then
  place=/dev/shm
  echo "pool: in /dev/shm, there is no DAX volume here (fast, but gone at reboot)"
else
  place=$work
  echo "pool: in $work, there is neither a DAX volume nor /dev/shm here"
fi
pool=$place/cachemax-quickstart.$$
"$cachemax" create "$pool" --size $size --max-files $((files * 2 + 64)) --quiet

# ---- reading ---------------------------------------------------------------------------------
# Every file below the directory, in a fixed order: read, and summed.
list() {
  find . -xdev -type f -print0 | LC_ALL=C sort -z
}
read_all() {
  (cd "$dir" && list | xargs -0 cat >/dev/null)
}
sums() {
  (cd "$dir" && list | xargs -0 sha256sum)
}
# Without this the page cache would answer and there would be nothing to see.
drop_caches() {
  sync
  { echo 3 >/proc/sys/vm/drop_caches; } 2>/dev/null || dropped=no
}
now_ms() {
  awk '{ printf "%.0f", $1 * 1000 }' /proc/uptime
}
counter() { # NAME: of the pool's present session
  "$cachemax" stats "$pool" --json | tr ',{}' '\n\n\n' | sed -n "s/^ *\"$1\": *\([0-9]*\).*/\1/p" |
    head -n 1
}
start() {
  if [ $fuse = yes ]; then
    if "$mount" "$dir" --pool "$pool" >"$work/mount.log" 2>&1; then
      mounted=yes
    else
      fuse=no why="mounting failed: $(tail -n 1 "$work/mount.log")"
    fi
  fi
}
stop() {
  [ -z "${mounted:-}" ] || {
    fusermount3 -u "$dir"
    mounted=
    i=0
    while [ $i -lt 100 ] && ! "$cachemax" info "$pool" | grep -q '^state: *clean'; do
      sleep 0.2 # until the pool is closed
      i=$((i + 1))
    done
  }
}
# What was read is not what the origin was: is it still that?
differs() {
  stop
  sums >"$work/now"
  diff "$work/truth" "$work/sums" | sed -n 's/^[<>] [0-9a-f]* *//p' | LC_ALL=C sort -u >"$work/wrong"
  diff "$work/truth" "$work/now" | sed -n 's/^[<>] [0-9a-f]* *//p' | LC_ALL=C sort -u >"$work/changed"
  if [ -z "$(LC_ALL=C comm -23 "$work/wrong" "$work/changed")" ]; then
    echo "quickstart.sh: files in $dir were changed while they were read, so nothing can be compared:" >&2
    head -n 5 "$work/wrong" >&2
    echo "give a directory that nobody writes, or none for a sample" >&2
  else
    echo "WRONG BYTES: what was read differs from the origin" >&2
    LC_ALL=C comm -23 "$work/wrong" "$work/changed" | head -n 5 >&2
  fi
  exit 1
}
# Reads everything once more and prints a row of the table.
row() { # LABEL
  drop_caches
  h0=$(counter hit_blocks) m0=$(counter miss_blocks) w0=$(counter pool_bytes)
  t0=$(now_ms)
  if [ $fuse = yes ]; then
    read_all
    t1=$(now_ms)
    sums >"$work/sums"
  else
    (cd "$dir" && list | xargs -0 -I{} sh -c '"$0" cat "$2" --pool "$1" | sha256sum |
      sed "s|-\$|$2|"' "$cachemax" "$pool" {}) >"$work/sums"
    t1=$(now_ms)
  fi
  cmp -s "$work/sums" "$work/truth" || differs
  if [ $fuse = yes ]; then
    h=$(($(counter hit_blocks) - h0)) m=$(($(counter miss_blocks) - m0))
    rate=$(awk -v h=$h -v m=$m 'BEGIN { printf "%.1f %%", h + m ? 100 * h / (h + m) : 0 }')
    wrote=$(awk -v b=$(($(counter pool_bytes) - w0)) 'BEGIN { printf "%.1f", b / 1048576 }')
  else
    rate="-" wrote="-" # one session a file: only the last one's counters are left
  fi
  ms=$((t1 - t0))
  [ $ms -gt 0 ] || ms=1
  printf '%-28s %8d ms %8d MB/s   %8s  %10s\n' "$1" $ms $((bytes / 1000 / ms)) "$rate" "$wrote"
}

dropped=yes
echo "reading $files files, $((bytes / 1048576)) MiB, in $dir"
drop_caches
t0=$(now_ms)
read_all
t1=$(now_ms)
origin_ms=$((t1 - t0))
sums >"$work/truth"
start
[ $fuse = yes ] || echo "FUSE: $why; the same through 'cachemax cat' instead, a process a file: slow for many"
printf '%-28s %11s %13s   %8s  %10s\n' '' time speed 'hit rate' 'MiB to pool'
printf '%-28s %8d ms %8d MB/s\n' 'origin, without the cache' $origin_ms $((bytes / 1000 / (origin_ms + 1)))
row 'cold'
row 'warm'
stop
start
row 'warm, after a restart'
stop
[ $dropped = yes ] || echo "(the page cache could not be dropped without root: it helped every row)"
"$cachemax" check "$pool" >/dev/null || {
  echo "every byte equals the origin, but the pool does not check sound" >&2
  exit 1
}
echo "every byte equals the origin; the pool checks sound"
"$cachemax" info "$pool" | grep -E '^(state|durability):'
[ $fuse = no ] || [ $ms -le $origin_ms ] ||
  echo "(this machine's storage outruns a FUSE mount: a cache helps where storage is slower than that)"
