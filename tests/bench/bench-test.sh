#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# bench-test.sh BUILD_DIR - tests of "cachemax bench": its output, its options, and that it leaves
# nothing behind. Says nothing about speed. Prints "ok NAME", "FAIL NAME: why" or "skip NAME:
# reason" and a summary as the last line. Needs 300 MiB in /dev/shm.
set -u
# shellcheck source=../sleep.sh
. "$(dirname "$0")/../sleep.sh"
build=${1:?usage: bench-test.sh BUILD_DIR}
cm=$(realpath "$build/src/tool/cachemax") || exit 1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "skip $1: $2"; }

work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-bench.XXXXXX")
place=$work # of the benchmark's files
[ ! -d /dev/shm ] || place=$(mktemp -d /dev/shm/cachemax-bench.XXXXXX)
trap 'rm -rf "$work" "$place"' EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1
# Signals at their defaults, whatever started this script.
plain=(env)
env --default-signal=INT,TERM,PIPE true 2>/dev/null && plain=(env "--default-signal=INT,TERM,PIPE")

# expect NAME STATUS PATTERN ARGUMENT...: exit status, and an extended regular expression that has
# to be found in what is printed.
expect() {
  local name=$1 want=$2 pattern=$3 got
  shift 3
  "$cm" bench "$@" >out 2>err </dev/null
  got=$?
  if [ $got != "$want" ]; then
    fail "$name" "status $got instead of $want; $(head -c 300 err | tr '\n' ' ')"
  elif ! cat out err | grep -Eq -- "$pattern"; then
    fail "$name" "'$pattern' not found in: $(cat out err | head -c 300 | tr '\n' ' ')"
  else
    ok "$name"
  fi
}
# nothing_left NAME
nothing_left() {
  if [ -z "$(ls -A "$place")" ]; then ok "$1"; else fail "$1" "$(ls "$place" | tr '\n' ' ')"; fi
}

# ---- JSON --------------------------------------------------------------------------------------
# judge.py FILE KEYS MORE: prints what is wrong with an object that --json printed.
cat >judge.py <<'PY'
import json, math, sys
want = sys.argv[2].split()
v = json.load(open(sys.argv[1], encoding="utf-8"))
ratios, details = v["ratios"], v["details"]
def number(x):
    return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x) and x > 0
if list(ratios) != want:
    print("keys:", " ".join(ratios))
if list(details) != want:
    print("details:", " ".join(details))
for k in ratios:
    d = details[k]
    if ratios[k] is None:
        if not d["reason"]:
            print(k, "is null without a reason")
        continue
    if not number(ratios[k]):
        print(k, "is", ratios[k])
    if not (number(d["ours"]) and d["low_quartile"] <= ratios[k] <= d["high_quartile"]):
        print(k, "has odd details:", d)
    if d["kind"] == "figure":
        if "limit" in d or "met" in d:
            print(k, "is a figure, and is judged:", d)
        continue
    least = d["kind"] == "at least"
    if d["met"] != (ratios[k] >= d["limit"] if least else ratios[k] <= d["limit"]):
        print(k, "is judged wrong:", d)
more = sys.argv[3].split()
if [k for k in v if k not in ("machine", "setup", "ratios", "details")] != more:
    print("members:", " ".join(v))
for k in more:
    if not v[k]:
        print(k, "is empty")
def walk(path, x):
    if isinstance(x, dict):
        for k in x:
            walk(path + "." + k, x[k])
    elif not number(x) and not (number(x + 1) and path.endswith("share")):
        print(path, "is", x)
for k in more:
    walk(k, v[k])
for k in ratios:
    if ratios[k] is None:
        print("null", k, details[k]["reason"], file=sys.stderr)
PY
# judge NAME FILE KEYS MORE
judge() {
  local wrong
  if ! wrong=$(python3 judge.py "$2" "$3" "$4" 2>nulls) || [ -n "$wrong" ]; then
    fail "$1" "${wrong:-not an object of that kind: $(head -c 200 "$2") $(tail -n 1 nulls)}"
  else
    ok "$1"
  fi
}

keys="hit_vs_chain read_many_vs_chain16 absent_vs_two_lines hit_vs_memcpy
hit_speedup_vs_pread hit_speedup_vs_lmdb hit_speedup_vs_sqlite
scattered_vs_hit buffered_vs_hit read_many_vs_memcpy hit_128k_vs_memcpy pin_vs_hit shared_vs_hit
sealed_vs_hit encrypted_vs_hit absent_vs_hit
fill_vs_nt fill_128k_vs_nt fill_speedup_vs_lmdb two_threads_random two_threads_hot
readers_beside_filler invalidate_block_fences invalidate_file_us open_1tib_vs_1gib"
small=(--size 64M --rounds 1)

expect "everything as JSON" 0 '"ratios"' --size 64M --rounds 2 --json "$place"
judge "all keys, all numbers above zero" out "$keys" "footprints threads index latency"
if python3 "$here/chart.py" out out chart.svg 2>err &&
  python3 -c 'import sys, xml.dom.minidom as x; sys.exit(len(x.parse("chart.svg").
getElementsByTagName("polyline")) < 6)' 2>>err; then
  ok "a chart of it"
else
  fail "a chart of it" "$(tail -n 1 err)"
fi
allowed='lmdb built without LMDB|sqlite built without SQLite|fences this processor'
allowed="$allowed|hit built without OpenSSL"
allowed="^null [a-z_]*($allowed|threads[a-z_]* there is one|filler there is one)"
if grep '^null ' nulls | grep -Evq "$allowed"; then
  fail "nothing is left out without need" "$(cat nulls)"
else
  ok "nothing is left out without need"
fi
if grep -q 'built without LMDB' nulls; then
  skip "LMDB" "it is not built in (liblmdb-dev)"
else
  ok "LMDB"
fi
if grep -q 'built without SQLite' nulls; then
  skip "SQLite" "it is not built in (libsqlite3-dev)"
else
  ok "SQLite"
fi
nothing_left "nothing is left behind"

size='([0-9.]+ ([KMG]iB|bytes)|not known)'
expect "the machine" 0 "^[^,].*, [0-9]+ processors, caches $size, $size, $size; " \
  "${small[@]}" --only hit_vs_memcpy "$place"
if grep -q 'caches.* 0 bytes' out; then
  fail "a cache that is not known is no cache of 0 bytes" "$(head -n 1 out)"
else
  ok "a cache that is not known is no cache of 0 bytes"
fi
expect "--only with two keys" 0 . "${small[@]}" --only absent_vs_hit,pin_vs_hit -j "$place"
judge "only these two" out "pin_vs_hit absent_vs_hit" ""
expect "--only without a ratio" 0 . "${small[@]}" --only=index,footprints -j "$place"
judge "only these tables" out "" "footprints index"
expect "one thread" 0 . "${small[@]}" --only two_threads_hot,threads --threads 1 -j "$place"
if [ "$(python3 -c 'import json; v = json.load(open("out"))
print(v["ratios"], list(v["threads"]))')" = "{'two_threads_hot': None} ['1']" ]; then
  ok "one thread: no ratio of two"
else
  fail "one thread: no ratio of two" "$(cat out)"
fi
expect "more threads than processors" 0 . "${small[@]}" --only threads --threads 3 -j "$place"
if [ "$(python3 -c 'import json; print(list(json.load(open("out"))["threads"]))')" = \
  "['1', '2', '3']" ]; then
  ok "1, 2 and 3 threads"
else
  fail "1, 2 and 3 threads" "$(cat out)"
fi
(cd "$place" &&
  "$cm" bench "${small[@]}" -o hit_vs_chain,hit_vs_memcpy . >"$work/out" 2>"$work/err")
if grep -Eq '^hit_vs_chain +[0-9.]+ +<= 1\.25 +(met|MISSED) ' out &&
  grep -Eq '^hit_vs_memcpy +[0-9.]+ +[0-9.]+ to ' out &&
  [ "$(grep -c '<=\|>=' out)" = 1 ]; then
  ok "a table for people"
else
  fail "a table for people" "$(cat out err)"
fi

# ---- errors ------------------------------------------------------------------------------------
expect "a size that is too small" 2 'expected a size from 64M' --size 1M "$place"
expect "no size" 2 'expected a size' --size much "$place"
expect "no rounds" 2 'expected a number from 1' --rounds 0 "$place"
expect "half a round" 2 'expected a number from 1' --rounds 1.5 "$place"
expect "no thread" 2 'expected a number from 1 to 64' --threads 0 "$place"
expect "too many threads" 2 'expected a number from 1 to 64' --threads 65 "$place"
expect "a key that is mistyped" 2 "did you mean 'hit_vs_memcpy'" --only hit_vs_memcopy "$place"
expect "a key that is none" 2 'no such row' --only pin_vs_hit,speed "$place"
expect "no key" 2 'no such row' --only= "$place"
expect "an unknown option" 2 "did you mean '--rounds'" --round 3 "$place"
expect "two directories" 2 'takes one' "$place" "$work"
expect "an empty name" 2 'empty name' ""
expect "no such directory" 1 'choose another DIR' "$place/none"
expect "no room" 1 'not enough room.*--size [0-9]+M would do|not enough room.*choose' --size 1T \
  "$place"
expect "help names every key" 0 'open_1tib_vs_1gib' --help
nothing_left "errors leave nothing"

# ---- interrupted -------------------------------------------------------------------------------
"${plain[@]}" "$cm" bench --size 64M --rounds 9 "$place" >out 2>err &
pid=$!
for _ in $(seq 200); do
  grep -q '^hit_vs_memcpy' out && break
  sleep 0.05
done
for _ in $(seq 100); do # but while they are being made
  [ -n "$(ls -A "$place")" ] || break
  sleep 0.02
done
nothing_left "while it runs its files have no names"
kill -INT $pid
wait $pid
status=$?
if [ $status = 130 ] && grep -q 'nothing was left behind' err; then
  ok "Ctrl-C ends it"
else
  fail "Ctrl-C ends it" "status $status; $(cat err)"
fi
nothing_left "Ctrl-C leaves nothing"

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
