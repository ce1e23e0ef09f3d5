#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# run.sh BUILD_DIR [--cuts N] [--seed S] [--only cuts|poison|mount|disk] [--keep]
#
# Power cuts and poison on a real DAX file system, in a guest (guest.sh). N cuts (5), on ext4 and
# xfs, in a large and a small pool by turns, three of five at a random instant, two at a chosen
# operation on the pool; after each one the next boot judges what is left, and works on in it. Then
# machine checks, and cachemax-mount. At last power cuts of cachemax-mount on an ordinary disk: one,
# on ext4 or xfs; with --only disk N, by turns. S makes the choices (default: the time; printed).
# --keep: the images of failed cuts stay. The last line is "N passed, N failed, N skipped"; exit
# status 1 when one failed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
build='' cuts='' seed=$(date +%s) only='' keep=''
while [ $# -gt 0 ]; do
  case $1 in
  --cuts) cuts=$2; shift ;;
  --seed) seed=$2; shift ;;
  --only) only=$2; shift ;;
  --keep) keep=1 ;;
  -h | --help) sed -n '/^# run.sh/,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "run.sh: unknown option $1" >&2; exit 2 ;;
  *) build=$1 ;;
  esac
  shift
done
[ -d "$build" ] || { echo "usage: run.sh BUILD_DIR [--cuts N] [--seed S]" >&2; exit 2; }
build=$(cd "$build" && pwd)
guest=$here/guest.sh programs=$build/tests/guest tool=$build/src/tool/cachemax
mount=$build/examples/mount/cachemax-mount

passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1${2:+: $2}"; }
skip() { skipped=$((skipped + 1)); echo "skip $1: $2"; }
finish() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ $failed = 0 ]
  exit
}
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-guest-run.XXXXXX")
cleanup() {
  [ -n "$keep" ] && [ $failed != 0 ] && echo "kept: $work" >&2 || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
RANDOM=$((seed % 32768))
disk_cuts=1
[ "$only" != disk ] || [ -z "$cuts" ] || disk_cuts=$cuts
cuts=${cuts:-5}
wants() { [ -z "$only" ] || [ "$only" = "$1" ]; }
tail_of_output() { cat "$work/out" "$work/err" | tail -n 4 | tr '\n' ' '; }
# Of the boot that ended: what the line "judged" says.
number() { sed -n "s/^judged.* $1=\([0-9]*\).*/\1/p" "$work/out"; }

[ -x "$programs/cut" ] || { skip guest "no static executables here"; finish; }
echo "seed $seed"

# skipped NAME STATUS: 77 means that no guest can be had here.
skipped() {
  [ "$2" = 77 ] || return 1
  skip "$1" "$(sed -n 's/^skip: //p' "$work/out" | tail -n 1)"
}

# ---- Power cuts ----------------------------------------------------------------------------------

# Each image: a file system and a pool, aged by all its cuts. The small pool evicts all the time.
names=(ext4-large xfs-small)
[ "$cuts" -lt 12 ] || names+=(ext4-small xfs-large)
pool_size() { case $1 in *large) echo 8388608 ;; *) echo 1572864 ;; esac; }
boots=0 hits=0 stored=0 floor=0 missing=0 torn=0 judged=0 wrong=0
random_cuts=0 chosen_cuts=0 in_brackets=0
declare -A used during cuts_of

boot() { # NAME GUEST-OPTION... -- PROGRAM-OPTION...: one boot; counts what it judged
  local name=$1 options=() rc
  shift
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  used[$name]=1
  "$guest" --image "$work/$name.img" --size 320 --fs "${name%-*}" --add "$tool" "${options[@]}" -- \
    "$programs/cut" --seed "$seed" --pool-size "$(pool_size "$name")" --tool /run/add/cachemax \
    "$@" >"$work/out" 2>"$work/err"
  rc=$?
  boots=$((boots + 1))
  if [ -n "$(number hits)" ]; then
    judged=$((judged + 1)) hits=$((hits + $(number hits))) floor=$((floor + $(number floor)))
    missing=$((missing + $(number missing))) torn=$((torn + $(number torn)))
    stored=$((stored + $(number stored)))
    local in
    in=$(sed -n 's/^judged.* cut-in=\([a-z]*\).*/\1/p' "$work/out")
    during[$in]=$((${during[$in]:-0} + 1))
    [ "$(number brackets)" = 0 ] || in_brackets=$((in_brackets + 1))
  fi
  ! grep -q '^FAIL wrong' "$work/out" || wrong=$((wrong + 1))
  return $rc
}

cut_once() { # K: the K-th cut
  local name=${names[$(($1 % ${#names[@]}))]} how at options=() args=(--ops 4000) rc
  case $(($1 % 5)) in
  1 | 4) # half of them in opening and judging, half anywhere in the work
    at=$((1 + RANDOM % 45))
    [ $((RANDOM % 2)) = 0 ] || at=$((1 + (RANDOM * 32768 + RANDOM) % 20000))
    [ -e "$work/$name.img" ] || at=$((at + 5000)) # an empty pool has nothing to lose
    how="at operation $at" args+=(--cut-at "$at")
    ;;
  *)
    at=$((RANDOM % 1600 + 20))
    [ -e "$work/$name.img" ] || at=$((at + 1000))
    at=$((at / 1000)).$(printf %03d $((at % 1000)))
    how="after $at s" args=(--ops 100000000) options=(--kill-after "$at")
    ;;
  esac
  boot "$name" "${options[@]}" -- "${args[@]}"
  rc=$?
  if skipped cuts $rc; then
    finish
  elif [ $rc = 122 ]; then
    cuts_of[${name%-*}]=$((${cuts_of[${name%-*}]:-0} + 1))
    case $how in
    at*) chosen_cuts=$((chosen_cuts + 1)) ;;
    *) random_cuts=$((random_cuts + 1)) ;;
    esac
    ok "cut $1, $name, $how: $(tail -n 2 "$work/out" | tr '\n' ' ')"
    return
  fi
  fail "cut $1, $name, $how (seed $seed)" "$(tail_of_output)"
  cat "$work/out" "$work/err" >"$work/$name-failed-at-$1.log"
  mv "$work/$name.img" "$work/$name-failed-at-$1.img"
  [ -n "$keep" ] || rm "$work/$name-failed-at-$1.img"
  unset "used[$name]"
}

run_cuts() {
  local k name
  for ((k = 0; k < cuts; k++)); do
    cut_once $k
  done
  for name in "${!used[@]}"; do # what the last cut left
    if boot "$name" -- --close; then
      ok "after the last cut, $name: $(tr '\n' ' ' <"$work/out")"
    else
      fail "after the last cut, $name (seed $seed)" "$(tail_of_output)"
    fi
  done
  echo "guest: $random_cuts cuts at random, $chosen_cuts at chosen operations" \
    "($(for name in "${!cuts_of[@]}"; do printf '%s %s ' "$name" "${cuts_of[$name]}"; done |
    sed 's/ $//'));" \
    "$judged judged: $hits hits compared, $wrong wrong; $stored blocks cached before," \
    "P4 covers $floor ($((stored ? 100 * floor / stored : 0)) %), $missing of them in eviction;" \
    "$torn torn records or superblocks"
  echo "guest: cut in$(for in in open fill begin end sync close other; do
    printf ' %s %s,' $in "${during[$in]:-0}"
  done) with brackets open $in_brackets"
  if [ "$floor" -ge $((cuts * 20)) ]; then
    ok "the floor is high enough to prove something"
  else
    fail "the floor is too low to prove anything" "$floor"
  fi
}

# ---- Poison --------------------------------------------------------------------------------------

run_poison() {
  local line rc
  "$guest" --image "$work/poison.img" --size 64 --mce --add "$tool" -- \
    "$programs/poison" /run/add/cachemax >"$work/out" 2>"$work/err"
  rc=$?
  skipped poison $rc && return
  while read -r line; do
    case $line in
    ok\ *) ok "poison ${line#ok }" ;;
    FAIL\ *) fail "poison ${line#FAIL }" ;;
    esac
  done <"$work/out"
  [ $rc = 0 ] || fail "poison: status $rc" "$(tail_of_output)"
}

# ---- cachemax-mount ------------------------------------------------------------------------------

# The clock goes on by a day, so that the files are not "changed since the boot".
run_mount() {
  local step rc options
  if [ ! -x "$mount" ]; then
    skip mount "cachemax-mount is not built (libfuse3)"
    return
  fi
  for step in make cut judge; do
    options=()
    [ $step = make ] || options+=(--clock 86400)
    [ $step != cut ] || options+=(--from working --kill-after $((RANDOM % 4)).$((RANDOM % 10)))
    "$guest" --image "$work/mount.img" --size 128 --fs ext4 --add "$tool" --add "$mount" \
      --add "$here/mounted.sh" "${options[@]}" -- "$here/mount.sh" $step >"$work/out" 2>"$work/err"
    rc=$?
    skipped mount $rc && return
    if [ $rc != "$([ $step = cut ] && echo 122 || echo 0)" ]; then
      fail "mount, $step: status $rc" "$(tail_of_output)"
      return
    fi
  done
  ok "mount: right bytes, warm and clean after a power cut ($(grep judged "$work/out"))"
}

# ---- cachemax-mount on an ordinary disk ----------------------------------------------------------

make_files() { # the origin, for mkfs: older than the guest's boots, whose clock is a day ahead
  local f
  mkdir -p "$work/files/org"
  for f in q1 q2 q3 q4 s1 w1 w2 w3; do
    head -c 2097152 /dev/urandom >"$work/files/org/$f" || return 1
  done
  (cd "$work/files" && md5sum org/q* >sums)
}

percent() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", (b > 0 ? 100 * a / b : 0) }'; }
disk_boot() { # FS GUEST-OPTION... -- STEP: one boot; counts what it judged
  local fs=$1 rc options=()
  shift
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  "$guest" --disk --image "$work/disk-$fs.img" --size 512 --fs "$fs" --files "$work/files" \
    --clock 86400 --add "$tool" --add "$mount" --add "$here/mounted.sh" "${options[@]}" -- \
    "$here/disk.sh" "$2" >"$work/out" 2>"$work/err"
  rc=$?
  said=''
  [ -n "$(number quiet)" ] || return $rc
  judged=$((judged + 1)) wrong=$((wrong + $(number wrong)))
  for kind in quiet settled w1 w2 w3; do
    hit[$kind]=$((${hit[$kind]:-0} + $(number $kind))) all[$kind]=$((${all[$kind]:-0} + \
      $(number $kind-of)))
    said="$said, $kind $(percent "$(number $kind)" "$(number $kind-of)") %"
  done
  # 99 % of what was cached when the last checkpoint began: that is all of it.
  [ $rc != 0 ] && [ $rc != 122 ] || awk -v q="$(percent "$(number quiet)" "$(number quiet-of)")" \
    'BEGIN { exit q < 99 }' || rc=1
  return $rc
}
disk_name() { [ $((($1 + seed) % 2)) = 0 ] && echo ext4 || echo xfs; } # of the K-th cut
disk_cut() { # K: the K-th cut; fails if there is nothing to go on with
  local fs at rc
  fs=$(disk_name "$1") at=$((RANDOM % 4)).$((RANDOM % 10))
  disk_boot "$fs" --lose $((seed + $1)) --from working --kill-after "$at" -- work
  rc=$?
  skipped disk $rc && return 1
  if [ $rc != 122 ]; then
    fail "disk, cut $(($1 + 1)), $fs (seed $seed): status $rc" "$(tail_of_output)"
    return 1
  fi
  used[disk-$fs]=1
  ok "disk, cut $(($1 + 1)), $fs, $at s after two checkpoints${said:+; after the one before$said}"
}
run_disk() {
  local k fs judged=0 wrong=0 said
  local -A hit=() all=() used=()
  if [ ! -x "$mount" ]; then
    skip disk "cachemax-mount is not built (libfuse3)"
    return
  fi
  make_files || { fail disk "cannot make files"; return; }
  for ((k = 0; k < disk_cuts; k++)); do
    disk_cut $k || return
  done
  for fs in ext4 xfs; do # what the last cut left
    [ -n "${used[disk-$fs]:-}" ] || continue
    if disk_boot "$fs" -- end; then
      ok "disk, after the last cut, $fs$said"
    else
      fail "disk, after the last cut, $fs (seed $seed)" "$(tail_of_output)"
    fi
  done
  share() { percent "${hit[$1]:-0}" "${all[$1]:-0}"; }
  echo "guest: $disk_cuts cuts of the mount on a disk, $judged judged: $wrong wrong bytes;" \
    "hits of files nobody wrote: $(share quiet) %;" \
    "written, synced, and left alone: $(share settled) %;" \
    "written and synced until the cut: in one region $(share w2) %, everywhere $(share w1) %," \
    "rewritten $(share w3) %"
}

if wants cuts; then run_cuts; fi
if wants poison; then run_poison; fi
if wants mount; then run_mount; fi
if wants disk; then run_disk; fi
finish
