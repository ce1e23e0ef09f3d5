#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# trace-test.sh BUILD - does "crash --trace" name what happens to the pool, by whom and where?
#
# Prints "ok NAME" or "FAIL NAME: why" and a summary as the last line.
set -u
build=${1:?usage: trace-test.sh BUILD}
crash=$build/tests/crash/crash
passed=0 failed=0
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-trace.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1"; }
same() { # NAME FILE FILE
  if diff "$2" "$3" >"$work/diff"; then
    ok "$1"
  else
    fail "$1: more (>) or less (<) than expected"
    sed 's/^/  /' "$work/diff"
  fi
}
has() { # NAME FILE LINE: it has this line, as plain() prints it
  if plain <"$2" | grep -qxF -- "$3"; then ok "$1"; else fail "$1: no line '$3'"; fi
}
# Without the numbers, which follow from the size of the pool and from its seed, and without the
# words that a write left as they were.
plain() { grep -v ', unchanged$' | sed -E 's/[0-9]+/N/g; s/^ +//; s/  +/ | /g'; }
trace() { # FILE ARGUMENT...
  out=$1
  shift
  "$crash" "$@" >"$out" 2>&1 || fail "crash $*: $(tail -n 3 "$out")"
}

# A block is stored, then a part of it is written.
trace "$work/trace" --trace fill-a0,write-adopt
grep -v '^crash: ' "$work/trace" | plain | grep -v superblock >"$work/have"
cat >"$work/want" <<'END'
operation N, fill-aN
cm_fill
N | flush | cm_slot_flush_some < cm_slot_flush_all | header of slot N to header of slot N
N | fence | empty < cm_evict_slots
N | copy | cm_slot_fill < cm_publish_batch | payload of slot N
N | write | cm_slot_fill < cm_publish_batch | header of slot N incarnation N
N | write | cm_slot_fill < cm_publish_batch | header of slot N block N, N valid bytes
N | write | cm_slot_fill < cm_publish_batch | header of slot N sum
N | fence | settle_copy < cm_super_frontier
N | flush | cm_slot_flush < cm_slot_flush_all | header of slot N to header of slot N
N | fence | store_one < cm_publish_batch
N | store | cm_index_store_bucket < cm_index_store | cell N of bucket N -> slot N
N | store | cm_slot_publish < cm_publish_batch | header of slot N wN VALID, sequence N
N | flush | cm_slot_flush < cm_slot_flush_all | header of slot N to header of slot N
N | flush | cm_index_flush_bucket < cm_index_flush | bucket N
N | fence | store_one < cm_publish_batch
operation N, write-adopt
cm_write_begin
N | store | cm_record_write_state < cm_region_intend | record N state word DIRTY
N | store | cm_record_write_intents < cm_region_intend | record N intents N
N | flush | cm_record_settle_intents < cm_region_intend | record N, birth to since
N | fence | cm_record_settle_intents < cm_region_intend
N | cas | cm_slot_invalidate < cm_forget_begin | header of slot N wN invalid, sequence N
N | flush | cm_slot_flush < cm_forget_begin | header of slot N to header of slot N
N | fence | cm_forget_begin < cm_bracket_write
N | store | cm_index_store_bucket < cm_index_store | cell N of bucket N, empty
N | -- the origin changes
cm_write_end
N | write | cm_record_write < cm_file_write_record | record N proof
N | write | cm_record_write < cm_file_write_record | record N flags
N | write | cm_record_write < cm_file_write_record | record N sum
N | write | cm_record_write < cm_file_write_record | record N sum of size
N | flush | cm_record_write < cm_file_write_record | record N, file id to flags
N | flush | cm_record_write < cm_file_write_record | record N, birth to since
N | flush | cm_record_write < cm_file_write_record | record N, state word to attributes
N | fence | cm_record_write < cm_file_write_record
END
same "a fill and a bracket: functions and what they change" "$work/want" "$work/have"

plain <"$work/trace" | grep superblock >"$work/have"
cat >"$work/want" <<'END'
N | write | cm_super_store < cm_super_frontier | superblock copy N seq N
N | write | cm_super_store < cm_super_frontier | superblock copy N frontier N
N | write | cm_super_store < cm_super_frontier | superblock copy N sum
N | flush | settle_copy < cm_super_frontier | superblock copy N, magic to slots
N | flush | settle_copy < cm_super_frontier | superblock copy N, record_buckets to epoch
N | flush | settle_copy < cm_super_frontier | superblock copy N, inc_mark to mount
N | flush | settle_copy < cm_super_frontier | superblock copy N, memo generation to zero
N | flush | settle_copy < cm_super_frontier | superblock copy N, sum to sum
END
same "the superblock's fields" "$work/want" "$work/have"

# Events count from 1 in each operation, and none is left out.
awk '/^operation/ { n = 0 } /^ +[0-9]+  / && $1 != ++n { print "line " NR ": not event " n }' \
  "$work/trace" >"$work/have"
: >"$work/want"
same "events have consecutive numbers" "$work/want" "$work/have"

# The sample in docs/crash.md.
docs=$(dirname "$0")/../../docs/crash.md
sed -n '/^operation 1, fill-a0$/,/^```$/p' "$docs" | grep -E '^ +[0-9]+  ' >"$work/want"
grep -xFf "$work/want" "$work/trace" >"$work/have"
if [ "$(wc -l <"$work/want")" = 8 ]; then
  same "the sample in the docs" "$work/want" "$work/have"
else
  fail "the sample in the docs: it is not there"
fi

# The program that traces does what the other one does: the same images, and so the same events.
trace "$work/plain" --sequence fill-a0,write-adopt
grep '^crash: ' "$work/trace" >"$work/have"
same "both programs find the same states" "$work/plain" "$work/have"

# OP~N and violations count alike: after event N.
last=$(sed -nE 's/^ +([0-9]+)  store  cm_slot_publish .*/\1/p' "$work/trace")
trace "$work/cut" --trace "fill-a0~$last"
sed -n "/^operation 1,/,/^ *$last  /p" "$work/trace" | sed 1d >"$work/want"
sed -n '/: up to the power cut$/,/: the session after/p' "$work/cut" | sed '1d;$d' >"$work/have"
same "a cut after event N: the trace up to its line N" "$work/want" "$work/have"
has "and then the next session" "$work/cut" \
  "N | fence | settle_copy < cm_super_open"

trace "$work/sync" --rules pagecache --trace 'close!1'
has "a sync that fails" "$work/sync" "N | sync | sync_all < cm_close | the pool, which fails"
has "a sync" "$work/sync" "N | sync | sync_copy < cm_super_open | superblock copy N"
trace "$work/damage" --full --trace damage-repair
has "what the media does" "$work/damage" "N | -- the test changes header of slot N sum"
has "a call through the platform" "$work/damage" "cm_check"
trace "$work/close" --full --trace close
has "the memo" "$work/close" "N | copy | cm_memo_store < cm_memo_write | memo page N"
has "the state of the superblock" "$work/close" \
  "N | write | cm_super_store < cm_super_close | superblock copy N state CLEAN, durability"
trace "$work/beside" --trace beside-2,fill-a0,write-sync
has "two threads" "$work/beside" "thread N"

"$crash" --trace nonsense >"$work/out" 2>&1
if [ $? = 2 ]; then ok "a wrong sequence"; else fail "a wrong sequence: $(cat "$work/out")"; fi

echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
