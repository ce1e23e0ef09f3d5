#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# run.sh [--all] [--part K/N] [REGEX] - checks the Spin models of the protocol.
#
# Each row verifies one variant of one model, exhaustively (collapse compression is lossless; no
# bitstate hashing). It runs in a temporary directory, with one core and at most 6 GB, and prints
#   model variant | expected | result | states | seconds
# OK: the whole state space has no violation. VIOLATED: there is a counterexample; every mutant must
# have one. Default: a subset within a minute or two, one row on each core. --all: all rows, one
# after the other.
# --part K/N: every N-th row (K: 0 to N - 1). REGEX: only rows "model variant" that match. To see a
# counterexample:
#   spin -a FLAGS model.pml; cc -o pan pan.c; ./pan -E; spin -t -p -g FLAGS model.pml
# The last line is "N passed, N failed, N skipped"; the status is 77 if Spin is missing.
set -u
here=$(cd "$(dirname "$0")" && pwd)
all=no regex=. part=0/1 met=0
while [ $# -gt 0 ]; do
  a=$1
  shift
  case $a in
  --all) all=yes ;;
  --part)
    part=${1:?--part takes K/N}
    shift
    ;;
  -h | --help)
    sed -n '/^# run.sh/,/^set/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  -*)
    echo "run.sh: unknown option $a; usage: run.sh [--all] [--part K/N] [REGEX]" >&2
    exit 2
    ;;
  *) regex=$a ;;
  esac
done
for tool in spin gcc; do
  if ! command -v $tool >/dev/null; then
    echo "skip spin: no $tool here (Debian package $tool)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 77
  fi
done
tmp=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-spin.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 skipped=0 rows=0
jobs=$(nproc)
[ $all = no ] || jobs=1 # to limit the memory

# verify DIR MODEL EXPECTED FLAG...: prints OK, VIOLATED or what went wrong.
verify() {
  local dir=$1 file=$here/$2.pml ends=-E optimize=-O2 status
  # In these models waiting for ever is a violation.
  case $2 in pins | flight | ring | truncate | stripes) ends= ;; esac
  # A mutant's counterexample is found at once, so compiling takes most of the time.
  [ "$3" = OK ] && [ $all = yes ] || optimize=-O0
  [ "$3" = OK ] && [ "$2" = publish ] && optimize=-O1
  shift 3
  cd "$dir" || return
  if ! spin -a "$@" "$file" >spin.out 2>&1 ||
    ! gcc $optimize -DSAFETY -DNOREDUCE -DCOLLAPSE -DMEMLIM=5500 -w -o pan pan.c >gcc.out 2>&1; then
    echo BUILD-ERROR
    return
  fi
  # shellcheck disable=SC2086 # $ends may be empty
  timeout "${CM_SPIN_TIMEOUT:-900}" ./pan $ends -n -m2000000 -w22 >pan.out 2>&1
  status=$?
  if grep -q '^pan:1: .*invalid array index' pan.out; then
    echo MODEL-ERROR
  elif grep -qE '^pan:1: (assertion violated|invalid end state)' pan.out; then
    echo VIOLATED
  elif [ $status != 0 ] ||
    grep -qE 'max search depth too small|^pan: (out of|reached)|^Interrupted' pan.out; then
    echo INCOMPLETE
  elif grep -q 'errors: 0' pan.out; then
    echo OK
  else
    echo UNKNOWN
  fi
}

# row WHEN MODEL VARIANT EXPECTED FLAG...: WHEN: ci or all. Flags without their -D.
row() {
  local when=$1 model=$2 variant=$3 expected=$4 flags=() f
  shift 4
  [ $all = yes ] || [ "$when" = ci ] || return
  [[ "$model $variant" =~ $regex ]] || return
  met=$((met + 1))
  [ $((met % ${part#*/})) = "${part%/*}" ] || return
  for f in "$@"; do flags+=("-D$f"); done
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
  rows=$((rows + 1))
  judge "$tmp/$rows" "$model" "$variant" "$expected" ${flags[@]+"${flags[@]}"} >"$tmp/$rows.row" &
}
# judge DIR MODEL VARIANT EXPECTED FLAG...: verifies a variant and prints its row.
judge() {
  local dir=$1 model=$2 variant=$3 expected=$4 flags=("${@:5}") result states seconds
  mkdir -p "$dir"
  result=$(verify "$dir" "$model" "$expected" ${flags[@]+"${flags[@]}"})
  states=$(awk '/states, stored/ { print $1; exit }' "$dir/pan.out" 2>/dev/null)
  seconds=$(sed -n 's/.*elapsed time \([0-9.e+]*\) .*/\1/p' "$dir/pan.out" 2>/dev/null)
  [ "$result" = "$expected" ] || result="$result (FAILED)"
  echo "$model $variant | $expected | $result | $states | $seconds"
  rm -rf "$dir"
}
ok() { row "$1" "$2" "$3" OK "${@:4}"; }
# must WHEN MODEL FLAG...: the row of a mutant, named by its flags.
must() {
  local name="${*:3}"
  row "$1" "$2" "$name" VIOLATED "${@:3}"
}
echo "model variant | expected | result | states | seconds"

# ---- readers of other processes ----------------------------------------------------------------
ok ci shared fails OWNERS=0 FAILS
ok ci shared takeover OPS=1 FEW
ok all shared resize RESIZE OPS=1 FEW
ok ci shared resize-fails RESIZE ALONE FAILS OPS=1
ok all shared fails-3 OWNERS=0 FAILS OPS=3
ok all shared fails-twice OWNERS=0 FAILS READS=2
ok all shared takeover-2 FEW
ok all shared takeover-all
for m in NO_TOLD LATE STOP_DRAM; do must ci shared $m OWNERS=0 FAILS; done
for m in NO_SESSION NO_RECHECK DROP_SUM NO_VOID ODD_OK TRUST_SUM SIZE_KEPT SIZE_ONCE; do
  must all shared $m OWNERS=0 FAILS
done
must all shared ANY_PROOF FEW
must all shared SILENT NO_VOID FEW
must ci shared UNSHUT_ANY RESIZE ALONE FAILS OPS=1

# ---- cells and headers ---------------------------------------------------------------------------
ok ci publish power
ok ci publish process PROC NW=1 F1=0
ok ci publish process-1cell PROC NW=1 F1=0 NC=1
ok ci publish displace NC=1
ok all publish 2fills F0=2 F1=2
ok all publish 3cells NC=3 F0=2
ok all publish 2stripes STR2 F0=2
ok all publish 1cell NC=1 F0=2 F1=2
ok all publish tail TAIL F0=2
ok all publish process-2fills PROC NW=1 F0=2 F1=1
ok all publish process-2writers PROC F0=1 F1=1
ok all publish process-3crashes PROC NW=1 F1=0 MAXCR=3
ok all publish process-3cells PROC NW=1 NC=3 F0=2 F1=0
ok all publish process-2stripes PROC NW=1 STR2 F0=2 F1=0
ok all publish process-tail PROC NW=1 TAIL F0=2 F1=0
ok all publish process-session PROC NW=1 F1=0 P2F=2 P2W=2
ok all publish blind-reuse-settled BLIND_REUSE F0=2
must ci publish HEADER_FIRST PROC NW=1 F1=0
must ci publish NO_SETTLE PROC NW=1 F1=0 NC=1
for m in NO_EVICT_FENCE CLEAR_EARLY NO_DATA_FENCE NO_KEY_FLUSH NO_FENCE3 NO_TICKET NO_FENCE4 \
  UNLOCK_EARLY NO_HELP; do
  must ci publish $m
done
for m in VALID_FIRST TICKET_LATE NO_INTENTS CHECK_UNLOCKED TRUST_TAG REACH_WARM REACH_NEW; do
  must all publish $m
done
must ci publish DROP_CELL NC=1
must all publish DROP_UNFENCED NC=1
must all publish BLIND_REUSE NO_SETTLE F0=2 F1=2

# ---- an index takes the place of another --------------------------------------------------------
ok ci grow base FILLS=1
ok all grow 2fills
ok all grow process PROC
ok all grow 2cells NC=2
ok all grow benign-FLUSH_DEAD FLUSH_DEAD
for m in FROM_HEADERS NO_DRAIN OLD_FILL OLD_WRITE NO_EMPTY; do must ci grow $m; done
for m in NO_GROWING NO_FENCE SWITCH_EARLY OPEN_EARLY REACH_NEW REACH_BARE; do must all grow $m; done

# ---- readers, pins -------------------------------------------------------------------------------
ok ci reader base
ok ci reader known KNOWN
must ci reader KNOWN KEY_FIRST
must all reader KNOWN KEY_LAST
must all reader KNOWN NO_RECHECK
for m in NO_ACQUIRE SEQ_LOST; do must ci reader $m; done
for m in NO_RECHECK NO_SEQ VALID_FIRST TRUST_TAG OVERWRITE_VALID SEQ_BITS=1; do
  must all reader $m
done
ok ci pins base
for m in NO_FENCE DOOM_EARLY; do must ci pins $m; done
for m in PIN_RELAXED NO_RECHECK RECHECK_VALID IGNORE_PINS LOST DOUBLE; do must all pins $m; done

# ---- brackets and incarnations -------------------------------------------------------------------
ok ci stripes base
ok all stripes same SAME
for m in NO_END_TICKET BEGIN_NO_TICKET TICKET_FIRST MISS_INTENTS_FIRST; do
  ok all stripes benign-$m $m
done
for m in ONE_TICKET BEGIN_ONE; do must ci stripes $m; done
for m in END_EARLY NO_INTENTS; do must all stripes $m; done
for m in BEGIN_NO_TICKET TICKET_FIRST MISS_INTENTS_FIRST; do must all stripes NO_END_TICKET $m; done
ok ci incarnation base
ok all incarnation 2fills FILLS=2
ok all incarnation revalidate REVALIDATE
ok all incarnation abort ABORT
for m in NO_FILE_TICKET NO_MISS_CHECK; do ok all incarnation benign-$m $m; done
for m in NO_STALE NO_FENCE6; do must ci incarnation $m; done
for m in STALE_LATE RELEASE_EARLY NO_DOWN; do must all incarnation $m; done
must all incarnation MISS_STALE_FIRST NO_FILE_TICKET
must all incarnation NO_MISS_CHECK NO_FILE_TICKET
must all incarnation END_NEW REVALIDATE
ok ci truncate base
ok ci truncate renew RENEW
ok ci truncate append APPEND
for m in NO_FENCE_FILL LIMIT_EARLY; do must ci truncate $m; done
for m in RAISE_LATE NO_FENCE_TRUNC NO_RAISE REACH; do must all truncate $m; done
must all truncate RENEW RESET_LATE
for m in NO_STALE NO_TICKET; do must all truncate APPEND $m; done

# ---- files ---------------------------------------------------------------------------------------
ok ci validator base
ok all validator foreign FOREIGN
ok all validator late-write LATE_WRITE
must ci validator NO_TAKEN_AT
must ci validator LATE_WRITE ABORT_ADOPTS
for m in NO_OPEN REACH; do must all validator $m; done
for m in END_ADOPTS WANT_ADOPTS RACY_SAME KEEP_RACY; do must all validator FOREIGN $m; done
ok ci dirty base
ok all dirty 3crashes CRASHES=3
for m in TRUST_FOUND NO_SETTLE; do ok all dirty benign-$m $m; done
for m in NO_MARK_FENCE SYNC_INFLIGHT NO_NOTE NO_NOTE_EPOCH; do must ci dirty $m; done
for m in NO_MARK UNLOCK_FENCE SYNC_NOGEN SYNC_BLIND FAIL_KEEP NO_BYPASS LIFT IGNORE_MARK; do
  must all dirty $m
done
must all dirty TRUST_FOUND NO_SETTLE
ok ci record base
ok all record 2places PLACES=2
ok all record 2places-3crashes PLACES=2 CRASHES=3
ok all record 6ops OPS=6
for m in NO_FENCE6 MARK_OLD NO_SETTLE_FORGET; do must ci record $m; done
for m in RELEASE_EARLY NO_SETTLE EVICT_OPEN RECORD_FIRST CLEAN_FIRST; do must all record $m; done
must all record NO_SETTLE_ALL PLACES=2 CRASHES=3
must all record NO_SETTLE_OTHER PLACES=2 CRASHES=3
ok all record transient TRANSIENT PLACES=2
must all record NO_VOID TRANSIENT PLACES=2

# ---- the pool ------------------------------------------------------------------------------------
ok ci super base
ok ci super loss LOSS
ok all super 3crashes CRASHES=3 OPS=4
ok all super loss-3crashes LOSS CRASHES=3
must ci super LOSS ONE_COPY
must ci super NO_FENCE
for m in HAND_EARLY NO_RANGE OPEN_EARLY NO_SETTLE WRONG_FIRST; do must all super $m; done
ok ci super fails FAILS=1 OPS=2
ok all super 2fails FAILS=2 OPS=2
for m in NO_AGAIN NO_SWAP NO_SWAP_OPEN SWAP_ANYWAY ONE_NUMBER FIRST_ANYWAY; do
  must all super FAILS=2 OPS=2 $m
done
ok ci boot base
ok all boot unknown UNKNOWN
ok all boot 3crashes CRASHES=3 OPS=8
for m in OPEN_LATE CLEAN_FIRST; do must ci boot $m; done
for m in IGNORE_BOOT IGNORE_MOUNT CLEAN_ANYWAY NO_EPOCH REACH_PROCESS REACH_CLEAN; do
  must all boot $m
done
must all boot UNKNOWN UNKNOWN_SAME
# Small bounds: each mutant needs only some of the events.
cut='KILLS=0 WRITES=1 CHECKS=1 CRASHES=1'
foreign='FOREIGN KILLS=0 WRITES=0 CHECKS=1 CRASHES=1'
# shellcheck disable=SC2086 # words
{
  ok ci regions exclusive EXCL FILLS=1 $cut
  ok all regions exclusive-2fills EXCL $cut
  ok all regions shared $cut
  ok all regions kill EXCL KILLS=1 WRITES=2 CHECKS=1 CRASHES=1 FILLS=1
  ok all regions 2crashes EXCL KILLS=0 WRITES=1 CHECKS=1 CRASHES=2 FILLS=1 GENS=2
  ok all regions taken EXCL $cut FILLS=1 TAKES=1
  ok all regions anew EXCL $cut ANEWS=1
  ok all regions taken-kill EXCL KILLS=1 WRITES=1 CHECKS=1 CRASHES=1 FILLS=1 TAKES=1
  ok all regions noticed $foreign
  ok all regions noticed-kill FOREIGN KILLS=1 WRITES=0 CHECKS=1 CRASHES=1 FILLS=1
  must all regions NO_NOTICE_SYNC $foreign
  must all regions REACH_NOTICED $foreign
  for m in NO_INTENT_SYNC CLEAR_UNSYNCED NO_BUMP; do must ci regions $m EXCL FILLS=1 $cut; done
  must all regions CELL_ANY EXCL KILLS=0 WRITES=1 CHECKS=2 CRASHES=2 EVICTS=2
  for m in NO_INTENT NO_TAG CLEAR_SINCE BORN_CLEAR NO_AGE REACH_CLEAN REACH_BUMP; do
    must all regions $m $cut
  done
  for m in INTENT_LATE CLEAR_DIRTY CLEAR_OPEN; do must all regions $m EXCL $cut; done
  must all regions SYNC_NOGEN EXCL KILLS=0 WRITES=2 CHECKS=1 CRASHES=1
  for m in TRUST_SET TRUST_FOUND; do
    must all regions $m EXCL KILLS=1 WRITES=2 CHECKS=1 CRASHES=1 FILLS=1
  done
  must all regions NO_LOST EXCL $cut FILLS=1 TAKES=1
  must all regions LOST_KILL EXCL KILLS=1 WRITES=1 CHECKS=1 CRASHES=1 FILLS=1 TAKES=1
  must all regions LOST_OWN EXCL $cut ANEWS=1
  must all regions BUMP_CLEARS EXCL KILLS=0 WRITES=1 CHECKS=1 CRASHES=2 FILLS=1
  must all regions NO_WRAP EXCL KILLS=0 WRITES=1 CHECKS=1 CRASHES=2 FILLS=1 GENS=2
  must all regions REACH_KILL KILLS=1 WRITES=1 CHECKS=1 CRASHES=1
}
ok all outside base
ok all outside shared SHARED
ok all outside shared-blind SHARED JUDGE_BLIND
for m in NO_LOOK NO_PASS SEND_BEGUN SEND_LATE SEEN_LATE NO_VOID NO_CLAIM CLAIM_LATE JUDGE_BLIND \
  END_BLIND REACH_HIT REACH_LIFE REACH_ADOPT; do
  must all outside $m
done
must all outside SEEN_AGAIN SHARED JUDGE_BLIND
ok ci ring base
for m in LOOK_FIRST ADD_SILENT END_STALE; do must ci ring $m; done
for m in BIT_LATE BELL_FORGETS ONE_RING AWAIT_BLIND REACH_SLEEP REACH_WAKE; do
  must all ring $m
done
ok ci flight base
ok ci flight patient PATIENT
for m in BLIND_JOIN LAND_EARLY; do ok all flight benign-$m $m; done
must ci flight NO_LAND PATIENT
for m in NO_LEAVE NO_SETTLE WAKES_LATE; do must ci flight $m; done
for m in TAKE_DATA WAKING_LATE WAKES_FIRST; do must all flight $m; done
must all flight LATE_ENTER PATIENT
must all flight JOIN_AGAIN READERS=3
must all flight NO_WAKE PATIENT READERS=3

# ---- a weak memory -------------------------------------------------------------------------------
for p in PUBLISH LOCKED WAKE; do
  ok ci litmus $p $p
  ok all litmus $p-x86 $p TSO NO_RELEASE NO_ACQUIRE
  must ci litmus $p NO_ACQUIRE
  must ci litmus $p NO_RELEASE
done
ok ci litmus DEKKER DEKKER
for m in NO_FENCE PIN_RELAXED; do
  must ci litmus DEKKER $m
  must all litmus DEKKER TSO $m
done
ok ci litmus COPY COPY
ok all litmus COPY-x86 COPY TSO NO_READ_FENCE NO_ACQUIRE
for m in NO_ACQUIRE NO_READ_FENCE NO_FENCE1 NO_FENCE2; do must ci litmus COPY $m; done
ok all litmus COPY-benign-NO_RELEASE COPY NO_RELEASE
must all litmus COPY TSO NO_FENCE2

# ---- the answer, in the order of the rows --------------------------------------------------------
wait
for i in $(seq $rows); do
  cat "$tmp/$i.row"
  # A row without a word is a row whose shell died.
  if [ -s "$tmp/$i.row" ] && ! grep -q '(FAILED)' "$tmp/$i.row"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
