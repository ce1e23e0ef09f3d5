#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# mount-bench.sh - what the cache costs in a mount: cachemax-mount against a FUSE file system that
# does nothing (nullfuse), and against the disk; and what replying through a buffer costs that does
# nothing (nullfuse) against replying from its memory.
#
# Usage: mount-bench.sh BUILD_DIR [MIB [ROUNDS [SECONDS [LOOPS]]]]
#   MIB of data (64), measured in ROUNDS (3) rounds of SECONDS (3) each with LOOPS (2) loop threads
#   in both file systems. The two take turns; medians count.
# The pool lies in /dev/shm, the data in $TMPDIR. Needs fio and the right to mount.
# Prints a line for every measure and its ratio. Exit status 1 when a ratio with a target misses it.

set -u
build=${1:?usage: mount-bench.sh BUILD_DIR [MIB [ROUNDS [SECONDS [LOOPS]]]]}
mib=${2:-64} rounds=${3:-3} seconds=${4:-3} loops=${5:-2}

bin() { find "$build" -name "$1" -type f -perm -u+x | head -n 1; }
mount_bin=$(bin cachemax-mount) null_bin=$(bin nullfuse) cm=$(bin cachemax)
for need in fio fusermount3; do
  command -v $need >/dev/null || { echo "skip mount-bench: no $need"; exit 77; }
done
[ -n "$mount_bin" ] && [ -n "$null_bin" ] && [ -n "$cm" ] ||
  { echo "FAIL mount-bench: binaries missing in $build"; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-bench.XXXXXX")
shm=$(mktemp -d /dev/shm/cachemax-bench.XXXXXX)
pids=()
cleanup() {
  fusermount3 -u -z "$work/cached" 2>/dev/null
  fusermount3 -u -z "$work/null" 2>/dev/null
  fusermount3 -u -z "$work/copy" 2>/dev/null
  for p in "${pids[@]}"; do wait "$p" 2>/dev/null; done
  rm -rf "$work" "$shm"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

mkdir "$work/cached" "$work/null" "$work/copy"
head -c $((mib << 20)) /dev/urandom > "$work/cached/data"
sync "$work/cached/data"
sleep 1 # older than the clock's granule

# fio_read FILE ENGINE_OPTIONS... -> "iops mean_latency_us" of reads
fio_read() {
  local file=$1
  shift
  fio --name=r --filename="$file" --readonly --runtime="$seconds" --time_based --group_reporting \
    --output-format=terse --terse-version=3 --norandommap --randrepeat=0 "$@" 2>/dev/null |
    awk -F';' 'NF > 40 { print $8, $40 }'
}
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", (b > 0) ? a / b : 0 }'; }

# The disk first, before anything lies above the path.
read -r disk_iops disk_lat < <(fio_read "$work/cached/data" --rw=randread --bs=4k --direct=1)

"$cm" create "$shm/pool" --size=$(((mib + mib / 4 + 16)))MiB >/dev/null || exit 1
"$mount_bin" "$work/cached" --pool "$shm/pool" -f -o loops="$loops" &
pids+=($!)
"$null_bin" "$work/null" $((mib << 20)) "$loops" &
pids+=($!)
"$null_bin" "$work/copy" $((mib << 20)) "$loops" copy &
pids+=($!)
for _ in $(seq 100); do
  mountpoint -q "$work/cached" && mountpoint -q "$work/null" && mountpoint -q "$work/copy" && break
  sleep 0.05
done
# Warm: twice, because a first touch may only be remembered, not stored.
for _ in 1 2 3; do
  dd if="$work/cached/data" of=/dev/null bs=128k iflag=direct status=none || exit 1
done

failed=0
# measure MOUNT NAME TARGET FIO_OPTIONS...: alternating rounds, medians, ratio to the null mount
measure() {
  local mount=$1 name=$2 target=$3 r our=() null=() verdict=""
  shift 3
  for ((r = 0; r < rounds; r++)); do
    our+=("$(fio_read "$work/$mount/data" "$@" | cut -d' ' -f1)")
    null+=("$(fio_read "$work/null/data" "$@" | cut -d' ' -f1)")
  done
  our_m=$(printf '%s\n' "${our[@]}" | median)
  null_m=$(printf '%s\n' "${null[@]}" | median)
  q=$(ratio "$our_m" "$null_m")
  if [ "$target" != - ]; then
    verdict="target >= $target: ok"
    awk -v q="$q" -v t="$target" 'BEGIN { exit !(q < t) }' &&
      { verdict="target >= $target: MISSED"; failed=1; }
  fi
  printf '%-28s %-6s %9s  null %9s IOPS  ratio %s  %s\n' "$name" "$mount" "$our_m" "$null_m" "$q" \
    "$verdict"
  printf '%-28s   rounds: %s %s | null %s\n' "" "$mount" "${our[*]}" "${null[*]}"
}

echo "data $mib MiB, $rounds rounds of $seconds s, $loops loop threads"
measure cached "4 KiB direct, 1 job" 0.80 --rw=randread --bs=4k --direct=1 --numjobs=1
one=$our_m
measure cached "4 KiB direct, 2 jobs" 0.80 --rw=randread --bs=4k --direct=1 --numjobs=2
measure cached "128 KiB direct, 1 job" - --rw=randread --bs=128k --direct=1 --numjobs=1
measure cached "4 KiB buffered, 1 job" - --rw=randread --bs=4k --direct=0 --numjobs=1
for size in 4 32 128 1024; do
  measure copy "reply by copy, $size KiB" - --rw=randread --bs=${size}k --direct=1 --numjobs=1
done

printf '%-28s mount %9s  disk %9s IOPS  ratio %s (a disk read takes %.0f us)\n' \
  "4 KiB direct against disk" "$one" "$disk_iops" "$(ratio "$one" "$disk_iops")" "$disk_lat"
awk -v l="$disk_lat" 'BEGIN { exit !(l <= 100) }' &&
  echo "  (the disk answers within 100 us: this ratio says little about slow disks)"
exit $failed
