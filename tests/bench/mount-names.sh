#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# mount-names.sh - what the mount costs programs that make and remove many files: `git checkout` of
# another branch in which every file differs, and `rm -rf` of files that are cached.
#
# Usage: mount-names.sh BUILD_DIR [FILES [GIT_FILES [ROUNDS]]]
#   FILES (100000) of 4 KiB are removed, GIT_FILES (20000) of some 3 KiB are checked out, in ROUNDS
#   (3). In each round three ways take turns: the directory alone; mounted, with the pool in
#   /dev/shm, where there are no checkpoints; mounted, with the pool on the disk beside the
#   directory and a checkpoint every 5 seconds.
# Directory and pool lie in $TMPDIR, which must be on ext4, xfs, btrfs or f2fs. All files are read
# through the mount before they are removed or replaced, and what is dirty is synced. Needs git and
# the right to mount. The three rounds take 15 minutes on two cores. Use a file system of its own:
# on one that others write, removing a file of the directory alone took up to 2 ms.
# Prints a line for each run, then the medians and their ratios to the directory alone. No speed is
# judged. Exit status: 0 done, 1 something failed, 77 it cannot be run here.

set -u
build=${1:?usage: mount-names.sh BUILD_DIR [FILES [GIT_FILES [ROUNDS]]]}
files=${2:-100000} git_files=${3:-20000} rounds=${4:-3}

bin() { find "$build" -name "$1" -type f -perm -u+x | head -n 1; }
mount_bin=$(bin cachemax-mount) cm=$(bin cachemax)
for need in git fusermount3; do
  command -v $need >/dev/null || { echo "skip mount-names: no $need"; exit 77; }
done
[ -n "$mount_bin" ] && [ -n "$cm" ] ||
  { echo "FAIL mount-names: binaries missing in $build"; exit 1; }
[ -c /dev/fuse ] || { echo "skip mount-names: no FUSE here"; exit 77; }
fs=$(stat -f -c %T "${TMPDIR:-/tmp}")
case $fs in
ext2/ext3 | xfs | btrfs | f2fs) ;; # stat's name of ext4
*) echo "skip mount-names: ${TMPDIR:-/tmp} is on $fs; name another TMPDIR"; exit 77 ;;
esac

work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-names.XXXXXX")
shm=$(mktemp -d /dev/shm/cachemax-names.XXXXXX)
org=$work/org
pid='' pool=''
cleanup() {
  [ -z "$pid" ] || { fusermount3 -u -z "$org" 2>/dev/null; wait "$pid" 2>/dev/null; }
  rm -rf "$work" "$shm"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
mkdir "$org"
die() { echo "FAIL mount-names: $*"; exit 1; }
now() { echo "${EPOCHREALTIME/./}"; } # microseconds
median() {
  sort -g | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2 + 1)]) / 2 }'
}
stat_of() { # COUNTER
  [ -n "$pid" ] || { echo 0; return; }
  "$cm" stats --json "$pool" | tr ',{}' '\n\n\n' | sed -n "s/^ *\"$1\": *\([0-9]*\).*/\1/p" |
    head -n 1
}

begin() { # bare|tmpfs|disk
  case $1 in
  bare) return ;;
  tmpfs) pool=$shm/pool ;;
  disk) pool=$work/pool ;;
  esac
  local most=$((files > 2 * git_files ? files : 2 * git_files))
  # Room for a block of each, and in the table of files for each twice.
  "$cm" create "$pool" --size $((most / 128 + 256))M --max-files $((most * 2)) \
    --quiet || die "cannot make $pool"
  "$mount_bin" "$org" --pool "$pool" -f 2>"$work/log" &
  pid=$!
  for _ in $(seq 100); do
    mountpoint -q "$org" && return
    sleep 0.05
  done
  die "no mount: $(cat "$work/log")"
}
end() {
  [ -n "$pid" ] || return 0
  fusermount3 -u "$org" && wait "$pid" || die "the mount ended badly: $(tail -n 3 "$work/log")"
  pid=''
  rm "$pool"
}
warm() { # DIR: twice, because a first touch may only be remembered
  for _ in 1 2; do
    find "$1" -type f -print0 | xargs -0 cat >/dev/null || die "cannot read $1"
    [ -n "$pid" ] || break
    echo 1 >/proc/sys/vm/drop_caches 2>/dev/null
  done
  sleep 8 # what is cached is then in a checkpoint
  sync
}

# timed WHAT WAY COMMAND...: a run
timed() {
  local what=$1 way=$2 syncs checkpoints began took
  shift 2
  syncs=$(stat_of page_syncs) checkpoints=$(stat_of checkpoints) began=$(now)
  "$@" >/dev/null 2>"$work/err" || die "$*: $(tail -n 1 "$work/err")"
  took=$(($(now) - began))
  syncs=$(($(stat_of page_syncs) - syncs)) checkpoints=$(($(stat_of checkpoints) - checkpoints))
  awk -v w="$what" -v y="$way" -v t=$took -v s=$syncs -v c=$checkpoints 'BEGIN {
    printf "%-14s %-6s %8.2f s  %6d page syncs, %7.1f a second; %3d checkpoints\n", w, y, t / 1e6,
      s, s / (t / 1e6), c }'
  echo "$what $way $took $syncs $checkpoints" >>"$work/runs"
}

# A repository with the branches one and two.
make_repository() {
  git init -q "$org/git" || return 1
  awk -v n="$git_files" 'BEGIN {
    for (b = 1; b <= 2; b++) {
      print "commit refs/heads/" (b == 1 ? "one" : "two")
      print "committer bench <bench@localhost> " 1700000000 + b " +0000\ndata 0"
      for (i = 0; i < n; i++) {
        text = ""
        for (k = 0; k < 56; k++) text = text sprintf("%d %d %d: %.12f, %.12f, %.12f\n", b, i, k,
          rand(), rand(), rand())
        printf "M 644 inline d%d/d%d/f%d\ndata %d\n%s\n", i / 1000, i / 50 % 20, i, length(text),
          text
      }
    }
  }' | git -C "$org/git" fast-import --quiet && git -C "$org/git" checkout -q one
}
git_round() { # WAY
  begin "$1"
  for branch in two one; do
    warm "$org/git"
    timed "git checkout" "$1" git -C "$org/git" checkout -q $branch
  done
  end
}

make_tree() {
  local i n
  mkdir "$org/tree"
  for ((i = 0; i < files; i += 1000)); do
    mkdir "$org/tree/$i" && n=$((files - i < 1000 ? files - i : 1000)) &&
      head -c $((n * 4096)) /dev/urandom | split -b 4096 -a 4 - "$org/tree/$i/f" || return 1
  done
}
rm_round() { # WAY
  make_tree || die "cannot make $files files"
  sync
  begin "$1"
  warm "$org/tree"
  timed "rm -rf" "$1" rm -rf "$org/tree"
  end
}

echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors," \
  "Linux $(uname -r), $fs"
echo "$files files removed, $git_files checked out, $rounds rounds"
ways=(bare tmpfs disk)
make_repository || die "cannot make a repository"
for ((r = 0; r < rounds; r++)); do
  for ((k = 0; k < 3; k++)); do git_round "${ways[(r + k) % 3]}"; done
done
rm -rf "$org/git"
for ((r = 0; r < rounds; r++)); do
  for ((k = 0; k < 3; k++)); do rm_round "${ways[(r + k) % 3]}"; done
done

echo "medians:"
for what in "git checkout" "rm -rf"; do
  for way in "${ways[@]}"; do
    t=$(sed -n "s/^$what $way \([0-9]*\) .*/\1/p" "$work/runs" | median)
    [ "$way" != bare ] || bare=$t
    awk -v w="$what" -v y="$way" -v t="$t" -v b="$bare" '
      index($0, w " " y " ") == 1 { s += $(NF - 1); c += $NF; all += $(NF - 2) }
      END { printf "%-14s %-6s %8.2f s  ratio %5.2f; %.1f page syncs and %.2f checkpoints a " \
        "second\n", w, y, t / 1e6, t / b, s / (all / 1e6), c / (all / 1e6) }' "$work/runs"
  done
done
