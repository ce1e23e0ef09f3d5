#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# replay-test.sh BUILD_DIR - tests of "cachemax replay": small traces whose results are known,
# restarts, threads, wrong bytes, hostile files, options, output. Prints "ok NAME", "FAIL NAME: why"
# or "skip NAME: reason" and a summary as the last line. Needs python3, and 100 MiB in $TMPDIR.
set -u
build=${1:?usage: replay-test.sh BUILD_DIR}
cm=$(realpath "$build/src/tool/cachemax") || exit 1

passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "skip $1: $2"; }
command -v python3 >/dev/null || {
  skip replay "no python3"
  exit 77
}

work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-replay.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1
mkdir pools
plain=(env)
env --default-signal=INT,TERM,PIPE true 2>/dev/null && plain=(env "--default-signal=INT,TERM,PIPE")

# expect NAME STATUS PATTERN ARGUMENT...: exit status (a pattern of the shell), and an extended
# regular expression that has to be found in what is printed.
expect() {
  local name=$1 want=$2 pattern=$3 got
  shift 3
  timeout 60 "$cm" replay "$@" >out 2>err </dev/null
  got=$?
  # shellcheck disable=SC2053 # a pattern is wanted
  if [[ $got != $want ]]; then
    fail "$name" "status $got instead of $want; $(head -c 300 err | tr '\n' ' ')"
  elif ! cat out err | grep -Eq -- "$pattern"; then
    fail "$name" "'$pattern' not found in: $(cat out err | head -c 300 | tr '\n' ' ')"
  else
    ok "$name"
  fi
}
# says NAME CONDITION ARGUMENT...: replays with --json; v is the object.
says() {
  local name=$1 condition=$2
  shift 2
  if ! timeout 60 "$cm" replay "$@" --json >out 2>err </dev/null; then
    fail "$name" "status not 0: $(head -c 300 err | tr '\n' ' ')"
  elif python3 -c 'import json, sys
v = json.load(open("out", encoding="utf-8"))
policies = v["policies"] if isinstance(v, dict) else {}
lru, clock = (policies.get(k, {}).get("hits") for k in ("lru", "clock"))
sys.exit(0 if eval("(" + sys.argv[1] + ")") else 1)' "$condition" 2>judge; then
    ok "$name"
  else
    fail "$name" "not so: $condition; $(tail -n 1 judge) \
$(tr -d '\n' <out | tr -s ' ' | head -c 700)"
  fi
}
nothing_left() {
  if [ -z "$(ls -A pools)" ]; then ok "$1"; else fail "$1" "$(ls pools | tr '\n' ' ')"; fi
}
# trace NAME: the records that standard input makes in Python with read() and write().
trace() {
  { cat <<'PY'
import random, struct, sys
records = []
def read(first, n=1, file=1): records.append(struct.pack("<QIHBB", first, file, n, 0, 0))
def write(first, n=1, file=1): records.append(struct.pack("<QIHBB", first, file, n, 1, 0))
PY
    cat
    echo 'head = b"LCTRACE1" + struct.pack("<Q", len(records))'
    echo 'open(sys.argv[1], "wb").write(head + b"".join(records))'
  } >make.py
  python3 make.py "$1" || fail "make $1" "python3 failed"
}

# ---- counting ----------------------------------------------------------------------------------
trace twice <<'PY'
read(0, 100); read(0, 100)
PY
says "what is read twice hits once" \
  'v["reads"] == 200 and v["hits"] == lru == clock == 100 and v["unique_blocks"] == 100 and
   v["pool_fills"] == 100 and v["hit_ratio"] == 0.5 and v["probation_hits"] == 0 and
   v["writes"] == 0' twice --size 400
says "as many slots as wanted" 'v["slots"] == v["wanted"] == 400' twice --size 400
says "a share of what is read" 'v["slots"] == v["wanted"] == 75' twice --size 0.75
says "a share above all" 'v["slots"] == v["wanted"] == 140 and v["hits"] == 100' twice --size 1.4
says "bytes of blocks" 'v["slots"] == v["wanted"] == 256' twice --size 1M
says "the smallest pool" 'v["wanted"] == 10 and v["slots"] == 64' twice --size 0.1
expect "the smallest pool, said" 0 \
  '^10 slots wanted, the pool has 64 \(.*\), the smallest there is' twice --size 0.1
for n in 65 1000 4097 30000; do
  says "exactly $n slots" "v['slots'] == $n" twice --size $n --policy lru
done

# LRU evicts 1, which was hit before 0; CLOCK evicts 0, where its hand comes first.
trace order <<'PY'
for b in range(64): read(b)
read(1); read(0)
for b in range(64, 127): read(b)
read(0)
PY
says "LRU is not CLOCK" 'lru == 3 and clock == 2 and v["reads"] == 130 and 2 <= v["hits"] <= 3' \
  order --size 64
trace loop <<'PY'
for _ in range(10):
    for b in range(65): read(b)
PY
says "a loop over one block too many" \
  'lru == clock == 0 and v["reads"] == 650 and v["slots"] == 64' loop --size 64

trace overlap <<'PY'
read(0, 4); read(2, 4); read(1, 6)
PY
says "each block of a record counts" \
  'v["reads"] == 14 and v["hits"] == lru == clock == 7 and v["unique_blocks"] == 7' \
  overlap --size 400
trace files <<'PY'
for _ in range(2):
    for f in range(50): read(7, 3, f * 1000)
    read(7, 3, 0xffffffff)
PY
says "files are told apart" \
  'v["reads"] == 306 and v["unique_blocks"] == 153 and v["hits"] == lru == clock == 153' \
  files --size 1000
trace long <<'PY'
read(5, 1000); read(0, 1010)
PY
says "a record longer than one lookup" 'v["reads"] == 2010 and v["hits"] == lru == clock == 1000' \
  long --size 4000
trace longest <<'PY'
read(0, 65535); read(65534); read(2**51 - 1 - 65535, 65535)
PY
says "the longest record, the last block" 'v["reads"] == 131071 and lru == 1' \
  longest --size 500 --policy all

# ---- writes ------------------------------------------------------------------------------------
trace writes <<'PY'
read(0, 10); write(5); write(2000, 3); read(0, 10); read(2000)
PY
says "writes ignored" \
  'v["hits"] == lru == clock == 10 and v["writes"] == 0 and v["writes_ignored"] == 4 and
   v["unique_blocks"] == 11' writes --size 400
says "writes forget and store nothing" \
  'v["hits"] == lru == clock == 9 and v["writes"] == 4 and v["writes_ignored"] == 0 and
   v["reads"] == 21 and v["unique_blocks"] == 11' writes --size 400 --writes
trace emptied <<'PY'
for b in range(64): read(b)
write(10); write(20)
read(64); read(65)
for b in range(64): read(b) if b not in (10, 20) else None
read(64); read(65)
PY
says "what was forgotten makes room" 'lru == clock == 64' emptied --size 64 --writes
trace mixed <<'PY'
random.seed(1)
for _ in range(30000):
    f, b, n = random.randrange(4), int(random.paretovariate(0.6)) % 3000, random.randrange(1, 40)
    (write if random.random() < 0.2 else read)(b, n, f)
PY
says "much of both" \
  'abs(v["hits"] - clock) < 0.02 * v["reads"] and 0 < v["hits"] and
   v["pool_fills"] <= v["reads"] - v["hits"]' mixed --size 0.2 --writes

# ---- restarts ----------------------------------------------------------------------------------
trace after <<'PY'
read(0, 100); write(0, 10); read(0, 100)
PY
for dir in "" "--dir pools"; do
  # shellcheck disable=SC2086 # no word or two
  for how in clean crash; do
    says "$how $dir: warm" 'v["hits"] == v["hits_after"] == 100 and v["reads_after"] == 100 and
      v["policies"]["lru"]["hits_after"] == 100 and v["pool_fills"] == 100' \
      twice --size 400 --restart-at 0.5 $how $dir
    says "$how $dir: with writes" 'v["hits"] == v["hits_after"] == 90 and v["reads_after"] == 100' \
      after --size 400 --restart-at 0.5 $how --writes $dir
  done
  # shellcheck disable=SC2086
  says "cold $dir" 'v["hits"] == v["hits_after"] == 0 and
    v["policies"]["clock"]["hits_after"] == 100 and
    v["pool_fills"] == 200 and v["restart"] == "cold" and v["restart_at"] == 0.5' \
    twice --size 400 --restart-at 0.5 cold $dir
  # shellcheck disable=SC2086
  says "much of both, crash $dir" \
    '0 < v["hits_after"] < v["hits"] and v["reads_after"] < v["reads"]' \
    mixed --size 0.2 --writes --restart-at 0.7 crash $dir
done
# A quarter of the pool has room for half of the blocks; a loop over all then hits in what stayed.
trace grows <<'PY'
for _ in range(2):
    for b in range(2000): read(b)
PY
says "grow" '900 < v["pool_fills"] and 500 < v["hits_after"] < 1100 and v["restart"] == "grow" and
  v["hits"] == v["hits_after"] and 4000 * 4096 < v["pool_bytes"] < 4400 * 4096' \
  grows --size 4000 --restart-at 0.5 grow --policy gclock
for threads in 1 8; do
  says "none, $threads threads" \
    'v["hits"] == v["hits_after"] == v["reads_after"] == 100 and v["pool_fills"] == 100 and
    v["restart"] == "none"' twice --size 400 --restart-at 0.5 none --threads $threads
done
says "files stay warm" 'v["hits_after"] == 153' files --size 1000 --restart-at 0.5 crash
says "a pool in a directory" 'v["hits"] == 100' twice --size 400 --dir pools
says "without a restart there is nothing after it" '"hits_after" not in v and "restart" not in v' \
  twice --size 400
nothing_left "pools in a directory are gone"
expect "no such directory" 1 "there is no directory" twice --size 400 --dir nowhere

# ---- threads -----------------------------------------------------------------------------------
trace lap <<'PY'
for _ in range(2):
    for b in range(20000): read(b * 2, 1 + b % 2)
PY
for t in 1 2 8 64; do
  says "$t threads" 'v["reads"] == 60000 and 28500 <= v["hits"] <= 30000 and lru == 30000' \
    lap --size 60000 --threads $t
done
says "threads, writes, crash" 'v["hits"] > 0 and v["reads_after"] > 0' \
  mixed --size 0.2 --writes --threads 8 --restart-at 0.5 crash

# ---- wrong bytes are noticed ---------------------------------------------------------------------
# Somebody writes to the pool beside its owner, after the checksums were looked at.
trace hits <<'PY'
for _ in range(150000): read(0, 64)
PY
cat >scribble.py <<'PY'
import glob, os, time
open("scribbling", "w").close()
for _ in range(20000):
    found = glob.glob("pools/cachemax-replay-*")
    if found and os.path.getsize(found[0]) > 200000:
        break
    time.sleep(0.005)
try:
    # Over and over: what was not looked at yet is found by its checksum, and that is no error.
    while os.path.exists(found[0]):
        with open(found[0], "r+b", buffering=0) as f:
            size = os.path.getsize(found[0])
            for at in range(size - 60 * 4096, size, 4096):
                f.seek(at + 1234)
                was = f.read(1)
                f.seek(at + 1234)
                f.write(b"\xff" if was != b"\xff" else b"\0")
        time.sleep(0.02)
except (IndexError, FileNotFoundError):
    pass
PY
python3 scribble.py &
while [ ! -e scribbling ]; do sleep 0.02; done
expect "a wrong byte is an error" 5 'WRONG CONTENT in a hit: block [0-9]+ of file 1' \
  hits --size 64 --dir pools --policy auto
wait
nothing_left "after a wrong byte nothing is left"

# ---- output ------------------------------------------------------------------------------------
says "several sizes" 'len(v) == 3 and [r["slots"] for r in v] == [64, 80, 200] and
  [r["wanted"] for r in v] == [50, 80, 200] and
  v[2]["hits"] == 100 and all(set(r) == set(v[0]) for r in v)' twice --sizes 0.5,80,200
expect "several sizes, a table" 0 '^ +200 +200( +50\.00 %){5,} +100 ' \
  twice --sizes 0.5,80,200
expect "several sizes, restart" 0 '^ +200 +200 .* 0\.00 % +100\.00 % +100\.00 % +200 ' \
  twice --sizes 0.5,200 --restart-at 0.5 cold
says "the keys" '{"reads", "hits", "hit_ratio", "pool_fills", "probation_hits", "seconds", "slots",
  "wanted", "unique_blocks", "writes", "policies"} <= set(v) and
  set(v["policies"]) >= {"s3r", "lru", "clock"} and v["policies"]["lru"]["hit_ratio"] == 0.5 and
  v["policy"] == "auto" and v["trace"] == "twice"' twice --size 400
says "only AUTO" 'v["policies"] == {} and v["hits"] == 100 and v["policy"] == "auto"' \
  twice --size 400 --policy auto
says "only S3R" 'v["policies"] == {} and v["hits"] == 100 and v["policy"] == "s3r"' \
  twice --size 400 --policy s3r
trace wide <<'PY'
for _ in range(60):
    for b in range(130): read(b)
PY
# A loop over twice the pool: AUTO finds the rule that keeps what fits, and stores little.
says "AUTO chooses, S3R does not" \
  'v["policy"] == "auto" and v["hits"] > 0.45 * v["reads"] > 1.05 * v["policies"]["s3r"]["hits"] and
  v["pool_fills"] < v["policies"]["s3r"]["pool_fills"] / 5' wide --size 64
trace chance <<'PY'
random.seed(1)
for _ in range(20000): read(random.randrange(130))
PY
says "wear weight" 'v["pool_fills"] < 0.6 * v["policies"]["s3r"]["pool_fills"]' \
  chance --size 100 --wear-weight 1000
says "wear weight, hardly any" 'v["pool_fills"] > 0.8 * v["policies"]["s3r"]["pool_fills"]' \
  chance --size 100 --wear-weight 1
says "a curve" '[c["factor"] for c in v["curve"]] == [0.125, 0.25, 0.5, 1, 2, 4, 8] and
  abs(v["curve"][3]["hit_ratio"] - v["hit_ratio"]) < 1e-5 and
  all(0.97 < c["hit_ratio"] < 0.99 for c in v["curve"][5:]) and
  v["curve"][0]["hit_ratio"] < 0.2' wide --size 64 --curve --policy s3r
says "a curve, too early" 'all(c["hit_ratio"] is None for c in v["curve"])' twice --size 400 --curve
says "no curve" '"curve" not in v' twice --size 400
expect "a curve for people" 0 '^   2 x +[0-9.]+ KiB +[0-9.]+ % \|#+ *\|$' wide --size 64 --curve
expect "a curve for people, too early" 0 '^   8 x +[0-9.]+ MiB +\?$' twice --size 400 --curve
says "only LRU" \
  'set(v["policies"]) == {"lru"} and "hits" not in v and v["policies"]["lru"]["reads"] == 200' \
  twice --size 400 --policy lru
says "only CLOCK" 'set(v["policies"]) == {"clock"} and "hits" not in v' \
  twice --size 400 --policy clock
expect "for people" 0 '^auto +100 +50\.00 % +100 blocks stored' twice --size 400
expect "for people, CLOCK" 0 '^clock +100 +50\.00 %$' twice --size 400
expect "for people, writes" 0 \
  '20 blocks read, 10 different ones, in 1 file; 4 written, which was ignored' \
  <(head -c 80 writes | python3 -c 'import sys
d = sys.stdin.buffer.read()
sys.stdout.buffer.write(d[:8] + b"\4" + d[9:])') --size 400

# ---- compressed --------------------------------------------------------------------------------
python3 -c 'import lzma; open("twice.xz", "wb").write(lzma.compress(open("twice", "rb").read()))
open("mixed.xz", "wb").write(lzma.compress(open("mixed", "rb").read()))'
"$cm" replay twice.xz --size 400 --policy lru >out 2>err
if grep -q 'built without liblzma; unpack it before: xz -dk FILE' err; then
  skip "xz" "built without liblzma"
else
  says "xz" 'v["hits"] == lru == 100' twice.xz --size 400
  says "much of both, xz" 'v["policies"]["lru"]["reads"] > 100000' mixed.xz --size 0.2 --writes \
    --policy lru
  python3 -c 'import lzma; b = open("twice", "rb").read()
open("parts.xz", "wb").write(lzma.compress(b[:30]) + lzma.compress(b[30:]))'
  says "xz in two parts" 'v["hits"] == lru == 100' parts.xz --size 400
  cp twice.xz other-name
  says "xz by content, not by name" 'lru == 100' other-name --size 400 --policy lru
  size=$(stat -c %s mixed.xz) bad=''
  for cut in 1 5 6 7 12 30 $((size / 3)) $((size / 2)) $((size - 30)) $((size - 1)); do
    head -c "$cut" mixed.xz >cut
    timeout 60 "$cm" replay cut --size 400 --policy lru >out 2>err
    [ $? = 3 ] && grep -Eq 'is cut off|is damaged|not a block trace' err || bad="$bad $cut"
  done
  if [ -z "$bad" ]; then ok "xz, cut off"; else fail "xz, cut off" "at$bad"; fi
  bad=''
  for at in 6 13 20 25 40 100 $((size / 2)) $((size - 20)) $((size - 5)); do
    cp mixed.xz bent
    printf '\x5a\xa5' | dd of=bent bs=1 seek="$at" conv=notrunc status=none
    timeout 60 "$cm" replay bent --size 400 --policy lru >out 2>err
    case $? in 1 | 3) ;; *) bad="$bad $at" ;; esac
  done
  if [ -z "$bad" ]; then ok "xz, damaged"; else fail "xz, damaged" "at$bad"; fi
fi

# ---- hostile files -----------------------------------------------------------------------------
# hostile NAME STATUS PATTERN: a file that standard input makes in Python with out() and record().
hostile() {
  { cat <<'PY'
import os, struct, sys
f = open("bad", "wb")
out = f.write
def head(n): out(b"LCTRACE1" + struct.pack("<Q", n))
def record(first=0, file=1, n=1, op=0, zero=0): out(struct.pack("<QIHBB", first, file, n, op, zero))
PY
    cat
  } >make.py
  python3 make.py || fail "make $1" "python3 failed"
  expect "$1" "$2" "$3" bad --size 400 --writes
}
hostile "an empty file" 3 'not a block trace' <<<''
hostile "a short file" 3 'not a block trace' <<<'out(b"LCTRACE")'
hostile "a short header" 3 'ends within its header' <<<'out(b"LCTRACE1\1\0\0")'
hostile "another magic" 3 'not a block trace: it begins neither with LCTRACE1 nor' \
  <<<'out(b"LCTRACE2" + struct.pack("<Q", 1)); record()'
# What 'cachemax record' makes: lines of text.
hostile "another version of a recording" 3 "its first line is not 'cachemax-trace 1'" \
  <<<'out(b"cachemax-trace 2\nend 0\n")'
hostile "a recording that is cut off" 3 'is cut off: it ends in line 4' \
  <<<'out(b"cachemax-trace 1\nf 1 a\nr 1 0 1 0\n")'
hostile "a recording that is cut off in a line" 3 'is cut off: it ends in line 3' \
  <<<'out(b"cachemax-trace 1\nf 1 a\nr 1 0 1")'
hostile "half of the first line" 3 "its first line is not" <<<'out(b"cachemax-trace 1")'
hostile "a recording without reads" 3 'has no reads' <<<'out(b"cachemax-trace 1\nend 0\n")'
hostile "a line behind the end" 3 'line 4 follows the end' \
  <<<'out(b"cachemax-trace 1\nf 1 a\nend 0\nx")'
hostile "an unknown line" 3 'line 2 is not known' <<<'out(b"cachemax-trace 1\nx 1\nend 0\n")'
hostile "a file without a line" 3 'line 2 is about a file that has no line before' \
  <<<'out(b"cachemax-trace 1\nr 1 0 1 0\nend 0\n")'
hostile "a file is left out" 3 'line 3 leaves out a file' \
  <<<'out(b"cachemax-trace 1\nf 1 a\nf 3 c\nend 0\n")'
hostile "a number too large" 3 'line 3 is neither a read nor a write' \
  <<<'out(b"cachemax-trace 1\nf 1 a\nr 1 18446744073709551616 1 0\nend 0\n")'
hostile "beyond the largest file" 3 'line 3 touches bytes beyond' \
  <<<'out(b"cachemax-trace 1\nf 1 a\nr 1 9223372036854775807 1 0\nend 0\n")'
hostile "no byte" 3 'line 3 touches no byte' \
  <<<'out(b"cachemax-trace 1\nf 1 a\nr 1 0 0 0\nend 0\n")'
hostile "more than there can be" 3 'line 3 touches more than 1 GiB' \
  <<<'out(b"cachemax-trace 1\nf 1 a\nr 1 0 1073741825 0\nend 0\n")'
for path in ../a a/../b a/.. /a a//b a/ . a/. %00 %2 %zz; do
  hostile "the path $path" 3 'line 2 has no path below the mount' \
    <<<"out(b'cachemax-trace 1\nf 1 $path\nend 0\n')"
done
hostile "a byte 0" 3 'line 2 has a byte 0 in it' <<<'out(b"cachemax-trace 1\nf 1 a\0\nend 0\n")'
hostile "a line without an end" 3 'line 2 is too long' \
  <<<'out(b"cachemax-trace 1\nf 1 " + 1000000 * b"a")'
hostile "a path that is too long" 3 'line 2 has no path' \
  <<<'out(b"cachemax-trace 1\nf 1 " + 5000 * b"a" + b"\nend 0\n")'
hostile "a good recording" 0 'bad: 3 blocks read, 2 different ones, in 1 file; 1 written' \
  <<<'out(b"cachemax-trace 1\nf 1 ..a\nr 1 4095 2 0\nw 1 0 9 1\nf 1 b\nr 1 1 2 3\nend 7\n")'
hostile "whole blocks" 0 'bad: 3 blocks read, 2 different ones, in 1 file' \
  <<<'out(b"cachemax-trace 1\nf 1 a\nr 1 0 4096 0\nr 1 0 8192 0\nend 0\n")'
hostile "the file 0" 3 'line 3 is about a file that has no line before' \
  <<<'out(b"cachemax-trace 1\nf 1 a\nr 0 0 1 0\nend 0\n")'
hostile "no records" 3 'has no reads' <<<'head(0)'
hostile "only writes" 3 'has no reads' <<<'head(1); record(op=1)'
hostile "a record too few" 3 'its header says 3 records, it has 2' <<<'head(3); record(); record()'
hostile "half a record" 3 'its header says 2 records, it has 1' \
  <<<'head(2); record(); out(b"1234567")'
hostile "a record too many" 3 'is longer than its header says: more follows 1 records' \
  <<<'head(1); record(); record()'
hostile "a byte too many" 3 'is longer than its header says' <<<'head(1); record(); out(b"x")'
hostile "none said, one there" 3 'is longer than its header says: more follows 0 records' \
  <<<'head(0); record()'
hostile "a huge count" 3 'its header says 18446744073709551615 records, it has 1' \
  <<<'head(2**64 - 1); record()'
hostile "another batch too many" 3 'more follows 4096 records' \
  <<<'head(4096); [record() for _ in range(4097)]'
hostile "as many as a batch" 0 '^auto +4095 ' <<<'head(4096); [record() for _ in range(4096)]'
hostile "no blocks" 3 'record 1 touches no block' <<<'head(2); record(); record(n=0)'
hostile "no such operation" 3 'record 0 is neither a read nor a write' <<<'head(1); record(op=2)'
hostile "a reserved byte" 3 'record 0 is neither' <<<'head(1); record(zero=1)'
hostile "beyond the largest file" 3 'record 0 touches blocks beyond' \
  <<<'head(1); record(first=2**51 - 1)'
hostile "ends beyond the largest file" 3 'record 0 touches blocks beyond' \
  <<<'head(1); record(first=2**51 - 10, n=10)'
hostile "wraps around" 3 'record 0 touches blocks beyond' <<<'head(1); record(first=2**64 - 1, n=2)'
hostile "noise" 3 'is damaged' <<<'head(100000); out(os.urandom(1600000))'
hostile "more blocks than memory" 1 'not enough memory for so long a trace' \
  <<<'head(2**20); [record(i << 16, i, 65535) for i in range(2**20)]'
expect "missing" 1 'missing: No such file' missing --size 400
expect "a directory" 1 'pools: Is a directory' pools --size 400

# ---- options -----------------------------------------------------------------------------------
expect "no size" 2 "needs the pool's size" twice
expect "both" 2 "exclude each other" twice --size 1 --sizes 1
for bad in 0 0.0 -1 2.5 x 1e3 '' . 1.2.3 64Q nan; do
  expect "size '$bad'" 2 "expected a share such as 0.1" twice "--size=$bad"
done
for bad in 0B 00 1K 4095B; do
  expect "size '$bad', no block" 2 "expected a share such as 0.1" twice "--size=$bad"
done
for bad in 0.0 x -1 1K 99999999999P; do
  expect "probation '$bad'" 2 "expected a share such as 0.1" twice --size 400 "--probation=$bad"
done
says "probation 0" 'v["probation_blocks"] == 0' twice --size 400 --probation 0
says "probation, the default: 256 KiB at least" 'v["probation_blocks"] == 64' \
  twice --size 400 --probation default
says "probation, the default" 'v["probation_blocks"] == 100' twice --size 10000 --probation default
says "probation, a share" 'v["probation_blocks"] == 40' twice --size 400 --probation 0.1
for many in 1.4 1000 1T 4503599627370496 18446744073709551615; do
  says "probation $many: no more than the pool" \
    'v["probation_blocks"] == 400 and v["probation_hits"] > 0' twice --size 400 --probation $many
done
expect "an empty size among others" 2 "expected a share" twice --sizes 0.1,,0.2
expect "too large a size" 2 'more than a pool can hold' twice --size 99999999999999
expect "too large a size behind another" 2 'more than a pool can hold' \
  twice --sizes 400,99999999999999 --json
check_array='import json; assert len(json.load(open("out"))) == 1'
if python3 -c "$check_array" 2>/dev/null; then
  ok "... and what came before is JSON"
else
  fail "... and what came before is JSON" "$(cat out)"
fi
expect "more than the memory" 1 'not enough memory for a pool of' twice --size 16T
expect "policy" 2 "expected auto, s3r.*, lru, clock or all" twice --size 400 --policy fifo
for bad in 0 1001 x; do
  expect "wear weight $bad" 2 'a number from 1 to 1000' twice --size 400 --wear-weight $bad
done
expect "threads" 2 'from 1 to 64' twice --size 400 --threads 65
expect "threads 0" 2 'from 1 to 64' twice --size 400 --threads 0
expect "restart, when" 2 'a share between 0 and 1' twice --size 400 --restart-at 1 clean
expect "restart, how" 2 "'warm': expected clean, crash, cold, grow or none" twice --size 400 \
  --restart-at 0.5 warm
expect "restart, one value" 2 "needs two values: --restart-at F HOW" twice --size 400 \
  --restart-at 0.5
expect "restart, none" 2 "needs a value" twice --size 400 --restart-at
says "restart, attached" 'v["restart"] == "clean"' twice --size 400 --restart-at=0.5 clean
says "restart, letter" 'v["restart"] == "cold"' twice --size 400 -r.5 cold
expect "help" 0 '--restart-at F HOW' --help
expect "no trace" 2 'needs the name of a trace' --size 400

# ---- Ctrl-C ------------------------------------------------------------------------------------
"${plain[@]}" "$cm" replay hits --sizes 64,65,66,67,68,69,70 --dir pools >out 2>err &
job=$!
for _ in $(seq 200); do
  [ -z "$(ls -A pools)" ] || break
  sleep 0.02
done
kill -INT $job
wait $job
status=$?
if [ $status = 130 ]; then ok "Ctrl-C"; else fail "Ctrl-C" "status $status; $(head -c 300 err)"; fi
nothing_left "Ctrl-C leaves nothing"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
