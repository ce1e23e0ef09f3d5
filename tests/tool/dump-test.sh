#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# dump-test.sh - what "cachemax dump" sees in pools that are fresh, full, damaged, cut off or open,
# compared with the bytes that are there.
#
# Usage: dump-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed.

set -u
build=${1:?usage: dump-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

if ! command -v python3 >/dev/null; then
  skip dump "no python3"
  summary
  exit
fi

# of PATH: a member of the object in j, such as find.buckets.0.bucket.
of()
{
  python3 -c 'import json, sys
v = json.load(open("j"))
for k in sys.argv[1].split("."):
    v = v[int(k)] if isinstance(v, list) else v[k]
print(v)' "$1" 2>&1
}

# sees NAME PATH WANT POOL WHAT...: the member is so; exit status 0, or $status.
status=0
sees()
{
  local name=$1 path=$2 want=$3 got
  shift 3
  "$cm" dump "$@" --json >j 2>err </dev/null
  got=$?
  if [ $got != $status ]; then
    fail "$name" "status $got instead of $status; $(head -c 300 err)"
  elif [ "$(of "$path")" != "$want" ]; then
    fail "$name" "$path is '$(of "$path" | tail -n 1)' instead of '$want'"
  else
    ok "$name"
  fi
}
# also NAME PATH WANT: of the same output.
also()
{
  check "$1" test "$(of "$2")" = "$3"
}

# flip FILE OFFSET: one bit.
flip()
{
  python3 -c 'import sys
f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2])); b = f.read(1)[0]
f.seek(-1, 1); f.write(bytes([b ^ 4]))' "$1" "$2"
}

# ---- The command line --------------------------------------------------------------------------

test_usage()
{
  "$cm" create p --size 1M -q
  make_file data 300001
  expect help 0 'Usage: cachemax dump POOL superblock\|slot N' "$cm" dump --help
  expect no-pool 2 'needs the name of a pool' "$cm" dump
  expect no-kind 2 'needs to know what: superblock, slot N' "$cm" dump p
  expect unknown-kind 2 "knows no 'slto'; did you mean 'slot'" "$cm" dump p slto 1
  expect unknown-kind-far 2 "knows no 'elephant'; it takes superblock, slot N" "$cm" dump p elephant
  expect no-number 2 'cachemax dump POOL slot N$' "$cm" dump p slot
  expect no-block 2 'cachemax dump POOL find FILE BLOCK$' "$cm" dump p find data
  expect superfluous 2 'cachemax dump POOL superblock$' "$cm" dump p superblock 1
  expect too-many 2 "too many arguments, beginning with '4'" "$cm" dump p find data 3 4
  expect not-a-number 2 "slot 'x' is not a number" "$cm" dump p slot x
  expect negative 2 "bucket '-1' is negative" "$cm" dump -- p cell -1
  expect overflow 2 "record '99999999999999999999' is too large" "$cm" dump p record \
    99999999999999999999
  expect slot-range 2 'p: there is no slot 238; the slots are 0 to 237$' "$cm" dump p slot 238
  expect cell-range 2 'no bucket 60; the buckets of the index are 0 to 59$' "$cm" dump p cell 60
  expect record-range 2 'no record 32; the records are 0 to 31$' "$cm" dump p record 32
  expect block-range 2 'no block 2251799813685248; the blocks .* are 0 to 2251799813685247$' \
    "$cm" dump p find data 2251799813685248
  expect block-last 0 'ends at: +record' "$cm" dump p find data 2251799813685247
  expect file-missing 1 'nothing: No such file.* 32 hexadecimal digits' "$cm" dump p file nothing
  expect file-directory 1 '/: ' "$cm" dump p file /
  mkfifo pipe
  expect file-fifo 1 'pipe: not a regular file' timeout 60 "$cm" dump p file pipe
  rm pipe
  expect id-zero 2 'the id zero' "$cm" dump p file 00000000000000000000000000000000
  expect volume-id-empty 2 'needs a name' "$cm" dump p file data --volume-id ''
  expect pool-missing 1 'none: no such file' "$cm" dump none superblock
  expect pool-directory 3 '/: not a regular file' "$cm" dump / superblock
  expect write-error 1 'standard output' bash -c "'$cm' dump p superblock >/dev/full"
}

# ---- Good pools --------------------------------------------------------------------------------

test_fresh()
{
  cp p before
  sees fresh-superblock superblock.verdict 'copy 1 counts' p superblock
  also fresh-copy-0 superblock.copies.0.verdict good
  also fresh-next-open superblock.next_open 'keeps what is cached'
  sees fresh-slot slot.verdict 'never used' p slot 237
  sees fresh-cell bucket.cells.7.verdict empty p cell 59
  sees fresh-record record.verdict free p record 31
  sees fresh-file file.found False p file data
  sees fresh-find find.ends_at record p find data 0
  also fresh-open open False
  check fresh-untouched cmp p before
}

# Each structure, decoded from the bytes by docs/format.md alone.
decode()
{
  python3 - <<'END'
import json, struct, subprocess
import os
cm, raw = os.environ["CM"], open("p", "rb").read()
def dump(*what):
    return json.loads(subprocess.check_output([cm, "dump", "p", *what, "--json"]))
def same(name, want, have):
    assert want == have, f"{name}: {have} instead of {want}"
top = dump("superblock")["superblock"]
for i, c in enumerate(top["copies"]):
    b = raw[4096 * i:][:320]
    u64 = lambda at: struct.unpack_from("<Q", b, at)[0]
    u32 = lambda at: struct.unpack_from("<I", b, at)[0]
    same("magic", b[:8].decode(), c["magic"])
    same("uuid", b[32:48].hex(), c["uuid"])
    for at, key in (48, "pool_size"), (56, "slots"), (64, "record_buckets"), (72, "stripes"), \
            (80, "stripe_buckets"), (88, "data_align"), (104, "created_ns"), (112, "seq"), \
            (120, "epoch"), (128, "inc_mark"), (136, "frontier"), (192, "memo_generation"), \
            (200, "memo_hand"), (208, "memo_departures"), (272, "growing"):
        same(key, u64(at), c[key])
    for at, key in (12, "version"), (144, "state"), (148, "durability"), (152, "boot_number"), \
            (156, "owner_pid"), (216, "failed_boot"), (220, "unnamed_boot"):
        same(key, u32(at), c[key])
    parts = struct.unpack_from("<4Q", b, 280)
    same("part_ends", [(part >> 28) * 4096 for part in parts], c["part_ends"])
    same("part_tables", [part % (1 << 28) * 4096 for part in parts], c["part_tables"])
    same("boot_id", b[160:176].hex(), c["boot_id"])
    same("mount_id", b[176:192].hex(), c["mount_id"])
    same("hash_seed", u64(96), int(c["hash_seed"], 16))
    same("xxh3", u64(312), int(c["xxh3"], 16))
    same("sum", c["xxh3"], c["xxh3_computed"])
for block in 0, 3, 73: # the last one is a tail
    find = dump("find", "data", str(block))["find"]
    same("ends_at", "hit", find["ends_at"])
    r = find["records"][0]
    f = struct.unpack_from("<QQQ4QQ", raw, r["offset"])
    same("id", "%016x%016x" % f[:2], r["file_id"])
    same("incarnation", f[2], r["incarnation"])
    same("proof", "%016x %016x %016x %016x" % f[3:7], r["proof"])
    same("state", struct.unpack_from("<Q", raw, r["offset"] + 192)[0], int(r["state_word"], 16))
    size, size_xxh3, end_of_life, used, hits = struct.unpack_from("<5Q", raw, r["offset"] + 200)
    same("size", size, r["size"])
    same("size_xxh3", size_xxh3, int(r["size_xxh3"], 16))
    same("end_of_life", end_of_life, int(r["end_of_life"], 16))
    same("used", used, int(r["used"], 16))
    same("hits", hits, r["hits"])
    same("region_shift", struct.unpack_from("<L", raw, r["offset"] + 68)[0], r["region_shift"])
    cell = [c for b in find["buckets"] for c in b["cells"]][0]
    word, = struct.unpack_from("<Q", raw, cell["offset"])
    same("cell", word, int(cell["word"], 16))
    slot = cell["slot"]
    same("cell's slot", (word & (1 << 34) - 1) - 1, slot["slot"])
    same("tag", word >> 42, int(find["key"]["tag"], 16))
    w0, incarnation, block_valid, xxh3 = struct.unpack_from("<4Q", raw, slot["offset"])
    same("w0", w0, int(slot["w0"], 16))
    same("sequence", w0 & 0x7fffff, slot["sequence"])
    same("incarnation", incarnation, slot["incarnation"])
    same("incarnation", r["incarnation"], slot["incarnation"])
    same("block", (block_valid >> 13, block), (slot["block"], block))
    same("valid", block_valid & 8191, slot["valid_bytes"])
    data = open("data", "rb").read()[4096 * block:][:4096]
    same("payload", data, raw[slot["payload_offset"]:][:len(data)])
    same("length", len(data), slot["valid_bytes"])
    same("slot", slot, dump("slot", str(slot["slot"]))["slot"])
    same("verdict", "valid", slot["verdict"])
    led = slot["led_by"][0]
    b = dump("cell", str(led["bucket"]))["bucket"]["cells"][led["cell"]]
    same("right", "right", b["verdict"])
    same("leads to", slot, b["slot"])
    same("by id", find["why"], dump("find", r["file_id"], str(block))["find"]["why"])
    same("record", r, dump("record", str(r["record"]))["record"])
    same("file", r, dump("file", "data")["file"]["records"][0])
END
}

test_filled()
{
  "$cm" cat data --pool p >/dev/null
  make_file second 4096
  "$cm" cat second --pool p >/dev/null
  cp p filled
  check filled-decoded env CM="$cm" bash -c "$(declare -f decode); decode"
  sees filled-past-end find.ends_at cells p find data 1000
  sees filled-validator find.validator "the file's is the record's" p find data 1
  expect filled-lines 0 '^  ends at: +hit$' "$cm" dump p find data 1
  expect filled-slot-lines 0 '^  verdict: +valid$' "$cm" dump p slot 0
  cp data other
  sees filled-other-file file.found False p file other
  sees filled-volume-id file.found False p file data --volume-id somewhere
  cp -p data kept
  printf x >>data
  sees changed-file find.ends_at record p find data 1
  also changed-file-why find.why "the file changed: its size differs from the record's"
  check filled-untouched cmp p filled
  id=$("$cm" dump p file data --json >j && of file.file_id)
  sees filled-capitals file.found True p file "${id^^}"
  also filled-capitals-id file.file_id "$id"
  rm -f other
}

# ---- Damage ------------------------------------------------------------------------------------

test_superblocks()
{
  cp filled p
  flip p $((4096 + 60))
  sees flipped-1 superblock.copies.1.verdict 'wrong checksum' p superblock
  also flipped-1-counts superblock.verdict 'copy 0 counts'
  sees flipped-1-find find.ends_at hit p find "$id" 1
  cp filled p
  flip p 3
  sees flipped-0 superblock.copies.0.verdict 'no magic' p superblock
  also flipped-0-counts superblock.copies.1.counts True
  flip p $((4096 + 12))
  status=3
  sees refused superblock.copies.1.verdict 'other version' p superblock
  also refused-next superblock.next_open \
    'refuses it: pool has a format version this library does not know'
  check refused-said grep -q 'p: has a pool format this version does not know' err
  status=0
  flip p $((4096 + 12))
  flip p $((4096 + 31))
  expect refused-incompat 3 'verdict: +unknown feature' "$cm" dump p superblock
  flip p $((4096 + 31))
  flip p $((4096 + 130))
  expect refused-both 3 'verdict: +no copy counts' "$cm" dump p superblock
  # A file that is too short for superblocks has none that could be damaged.
  for content in '' x; do
    printf '%s' "$content" >short
    status=3
    sees "short-${#content}" superblock.verdict \
      'no copy counts: not a cachemax pool' short superblock
    status=0
    check "short-${#content}-copies" sh -c "! grep -E 'damaged|its superblock says' j err"
  done
  rm short
  expect refused-slot 3 'both superblocks are damaged|not a cachemax pool' "$cm" dump p slot 0
  check refused-slot-silent test ! -s out
  # One of before: what is in the pool is newer.
  cp filled p
  dd if=before of=p bs=8192 count=1 conv=notrunc status=none
  sees older slot.verdict 'newer than superblock' p slot 3
  sees older-record find.records.0.verdict 'newer than superblock' p find "$id" 3
  # The next open empties it: what was there is of the epoch before.
  head -c 4096 /dev/urandom >small
  "$cm" cat small --pool p >/dev/null
  sees emptied slot.verdict 'of another epoch' p slot 30
  also emptied-why slot.why 'right in epoch 1, and this is 2'
  sees emptied-find find.ends_at record p find "$id" 30
  # Two files had records, in places 0 and 16; the new one's is in one of them. The other one lies
  # in a bucket of the new file, so it names no incarnation any more.
  check emptied-record test "$(for n in 0 16; do "$cm" dump p record $n; done |
    grep -cE 'verdict: *wrong checksum|incarnation: *0$')" = 2
}

# offset PATH WHAT...: where something of ./filled lies.
offset()
{
  local path=$1
  shift
  "$cm" dump filled "$@" --json >j
  of "$path"
}

test_slots()
{
  local slot=7 at cell
  at=$(offset slot.offset slot $slot)
  block=$(offset slot.block slot $slot)
  cp filled p
  flip p $((at + 8)) # the incarnation
  sees header slot.verdict 'wrong check' p slot $slot
  sees header-find find.ends_at header p find "$id" "$block"
  also header-find-why find.why "slot $slot has no block: wrong check"
  cp filled p
  poke p "$((at + 16))" 00 e0 # 0 valid bytes
  sees length slot.verdict 'wrong length' p slot $slot
  cp filled p
  poke p "$((at + 3))" 00 00 00 00 00
  sees free slot.verdict free p slot $slot
  cp filled p
  flip p "$(offset slot.payload_offset slot $slot)"
  sees payload slot.verdict 'wrong payload' p slot $slot
  sees payload-find find.ends_at payload p find "$id" "$block"
  cell=$(($(offset bucket.offset cell "$(offset slot.led_by.0.bucket slot $slot)") + 8 * \
    $(offset slot.led_by.0.cell slot $slot)))
  cp filled p
  poke p $cell 00 00 00 00 00 00 00 00
  sees orphan slot.verdict orphan p slot $slot
  sees orphan-find find.ends_at cells p find "$id" "$block"
  also orphan-slot find.orphan_slot $slot
  cp filled p
  poke p $cell 0b 00 # the same tag, slot 10
  sees elsewhere-find find.ends_at header p find "$id" "$block"
  check elsewhere-why grep -q "slot 10 has another block" j
  cp filled p
  poke p $((cell + 2)) 77
  local bucket number
  bucket=$(offset slot.led_by.0.bucket slot $slot)
  number=$(offset slot.led_by.0.cell slot $slot)
  sees beyond "bucket.cells.$number.verdict" 'no such slot' p cell "$bucket"
  sees beyond-find find.ends_at cells p find "$id" "$block"
  cp filled p
  flip p $((cell + 6))
  sees stale "bucket.cells.$number.verdict" stale p cell "$bucket"
}

# The name of a file, beside its record. The bytes of both lie where the dump says.
test_names()
{
  local place at file=$'lar\nge'
  head -c 5000 /dev/urandom >"$file" 2>/dev/null || { skip names "no such file names" && return; }
  rm -f p
  "$cm" create p --size 4M --names -q
  sees names-layout superblock.layout.names.offset 65536 p superblock
  also names-incompat superblock.copies.0.incompat 0x0000000000000001
  "$cm" cat "$file" --pool p >/dev/null
  sees names-json file.records.0.name "$file" p file "$file"
  place=$(of file.records.0.record)
  at=$(of file.records.0.name_offset)
  also names-right file.records.0.name_check right
  check names-place test "$at" = $((65536 + place * 256))
  check names-bytes test "$(tail -c +$((at + 1)) p | head -c 6)" = "$file"
  expect names-line 0 '^  +name: +lar.x0age$' "$cm" dump p record "$place"
  flip p $((at + 200))
  sees names-torn record.name_check \
    'wrong: torn, of another file or epoch, or damaged: it is no name' p record "$place"
  also names-torn-none record.name ''
  sees names-free record.name_check 'there is no name' p record $((place == 3 ? 4 : 3))
  rm -f p "$file"
}

test_records()
{
  local at place intents ends
  at=$(offset file.records.0.offset file "$id")
  intents=$(of file.records.0.intents)
  place=$(offset file.records.0.record file "$id")
  cp filled p
  flip p $((at + 24))
  sees record record.verdict 'wrong checksum' p record "$place"
  sees record-find find.ends_at record p find "$id" 1
  sees record-slot slot.verdict 'dead incarnation' p slot 7
  cp filled p
  poke p $((at + 80)) 00 00 00 00 00 00 00 00
  sees dropped record.verdict dropped p record "$place"
  cp filled p
  flip p $((at + 192))
  sees state record.state_check 'wrong: counts as DIRTY of another boot' p record "$place"
  # Where nothing is kept over a crash of the system (a tmpfs), each region has an intent.
  case $intents in 0xffffffffffffffff) ends=region ;; *) ends=hit ;; esac
  sees state-find find.ends_at $ends p find "$id" 1
  cp filled p
  flip p $((at + 104))
  sees since-find find.ends_at region p find "$id" 1
  check since-find-goes-on grep -q '"payload": "right"' j
  cp filled p
  flip p $((at + 88))
  flip p $((at + 192))
  sees intents-find find.ends_at region p find "$id" 1
  also intents-find-why find.why \
    'region 0 begins anew: it has an intent, and the system was started since'
}

# ---- Cut off, appended to, random --------------------------------------------------------------

test_truncated()
{
  local size
  for size in 0 100 4200 5000 46000 57400 69700 500000; do
    cp filled p
    truncate -s $size p
    for what in superblock 'slot 0' 'slot 237' 'cell 59' 'record 31' "find $id 3" "file $id"; do
      # shellcheck disable=SC2086 # words are wanted
      "$cm" dump p $what --json >j 2>err
      [ $? = 3 ] || fail "truncated-$size-${what%% *}" "status is not 3: $(head -c 300 err)"
      [ ! -s j ] || jvalid j || fail "truncated-$size-${what%% *}-json" "$(head -c 300 j)"
      # shellcheck disable=SC2086 # words are wanted
      "$cm" dump p $what >j 2>err
      [ $? = 3 ] || fail "truncated-$size-${what%% *}-lines" "$(head -c 300 err)"
    done
    ok "truncated-$size"
  done
  status=3
  cp filled p
  truncate -s 500000 p
  sees truncated-there find.ends_at hit p find "$id" 1
  check truncated-said grep -q 'p: is shorter than its superblock says' err
  sees truncated-header slot.verdict 'never used' p slot 237
  truncate -s 60000 p
  sees truncated-payload slot.verdict 'unreadable payload' p slot 3
  sees truncated-payload-find find.ends_at payload p find "$id" 1
  truncate -s 57400 p
  sees truncated-slot slot.verdict 'not there' p slot 3
  sees truncated-slot-find find.ends_at header p find "$id" 1
  truncate -s 46000 p
  sees truncated-record record.verdict 'not there' p record 31
  cp filled p
  printf x >>p
  sees longer find.ends_at hit p find "$id" 1
  check longer-said grep -q 'p: is longer than its superblock says' err
  status=0
}

# Random bytes in random places of the metadata: some answer, and well-formed.
test_random()
{
  check random env CM="$cm" ID="$id" python3 - <<'END'
import json, os, random, subprocess
r = random.Random(1)
cm, good = os.environ["CM"], open("filled", "rb").read()
seen = {0: 0, 3: 0}
for i in range(60):
    b = bytearray(good)
    where = ((0, 256), (45056, 49152), (49152, 53248), (53248, 60928), (0, 61440))[i % 5]
    for _ in range(r.choice((1, 20, 2000))):
        b[r.randrange(*where)] = r.choice((0, 1, 127, 128, 255, r.randrange(256)))
    open("r", "wb").write(b)
    for what in (["superblock"], ["slot", str(r.randrange(238))], ["cell", str(r.randrange(60))],
                 ["record", str(r.randrange(32))],
                 ["find", os.environ["ID"], str(r.randrange(80))]):
        p = subprocess.run([cm, "dump", "r", *what, "--json"], capture_output=True)
        assert p.returncode in seen, (i, what, p.returncode, p.stderr)
        seen[p.returncode] += 1
        if p.stdout:
            json.loads(p.stdout)
assert min(seen.values()) > 0 and seen[0] > 200, seen
END
  rm -f r
}

# ---- Open elsewhere ----------------------------------------------------------------------------

test_open()
{
  make_file large 20000000
  "$cm" create q --size 64M -q
  if ! hold_pool large q; then
    fail open "the pool was not opened: $(cat owner.err)"
    kill_owner KILL
    return
  fi
  head -c 1 <&8 >/dev/null # what it writes out it has read, and so stored
  head -c 1 <&8 >/dev/null # what it writes out it has read, and so stored
  sees open open True q superblock
  also open-pid owner_pid "$owner"
  also open-next superblock.next_open "is refused while process $owner has it open"
  expect open-note 0 'has the pool open: fields may change' "$cm" dump q slot 0
  sees open-find find.ends_at hit q find large 0
  sees open-record find.records.0.verdict whole q find large 0
  expect open-find-waits 0 'carries the tag; it may wait in the memory of the process' \
    "$cm" dump q find large 4882
  # All the while it is filled.
  (
    exec 8>&-
    for n in $(seq 0 39); do
      "$cm" dump q slot $((n * 100)) --json >slot.out 2>slot.err && jvalid slot.out &&
        "$cm" dump q cell "$n" >cell.out 2>cell.err || echo "$n: $(cat slot.err cell.err)"
    done >filled.err
  ) &
  local dumps=$!
  release_owner
  wait $dumps
  check open-owner-ends-well test "$owner_status" = 0
  check open-filled test ! -s filled.err
  sees closed open False q superblock
  expect closed-sound 0 ': sound' "$cm" check q
  through closed-warm large q && all_hits closed-all-hits
  rm -f q large
}

# Why a file cannot be used. On a mount it has another id than in its own place.
test_no_file()
{
  local as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  "$cm" create p --size 8M -q
  mkfifo pipe
  expect no-file 1 'none: No such file or directory; FILE is' "$cm" dump p find none 0
  expect no-file-below 1 'p/x: Not a directory; FILE is' "$cm" dump p file p/x
  expect no-file-fifo 1 'pipe: not a regular file; FILE is' "$cm" dump p find pipe 0
  if [ "$(id -u)" = 0 ]; then
    mkdir -m 700 closed
    : >closed/f
    expect no-file-closed 1 'closed/f: Permission denied; FILE is' \
      "${as[@]}" "$cm" dump p find closed/f 0
    rm -r closed
  fi
  rm p pipe
}
test_mounted()
{
  local mount=$build/examples/mount/cachemax-mount short=$build/tests/short_mounts.so
  local no_id='origin/f: lies on a mount that does not tell its id in this pool'
  local as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  if [ "$(id -u)" != 0 ] || [ ! -x "$mount" ] || [ ! -e /dev/fuse ]; then
    skip mounted "needs root and cachemax-mount"
    return
  fi
  "$cm" create p --size 8M -q
  "$cm" create q --size 8M -q
  mkdir origin
  echo text >origin/f
  echo text >f
  "$mount" "$work/origin" --pool "$work/p" || { fail mounted "no mount"; return; }
  "$cm" warm -q origin
  expect mounted 0 '^ *block: +0$' "$cm" dump p find origin/f 0
  expect mounted-other 1 "$no_id: it has another pool; give the id as 'cachemax files q'" \
    "$cm" dump q find origin/f 0
  expect mounted-user 1 "$no_id: Permission denied: its owner has no control socket, or you are" \
    "${as[@]}" "$cm" dump p find origin/f 0
  if grep -Eq '__(asan|tsan|msan)_init' "$cm"; then
    skip mounted-short "a sanitizer's build takes no LD_PRELOAD"
  else
    export SHORT_MOUNTS=40
    expect mounted-short 1 \
      'origin/f: may lie on a mount, and the mounts cannot be listed: Input/output error; give' \
      env LD_PRELOAD="$(realpath "$short")" "$cm" dump p find origin/f 0
    expect mounted-short-beside 0 '^ *ends at: +record$' \
      env LD_PRELOAD="$(realpath "$short")" "$cm" dump p find f 0
    unset SHORT_MOUNTS
  fi
  umount origin
  while "$cm" info p | grep -q 'open (process'; do sleep 0.05; done
  rm -rf p q f origin
}

test_usage
test_fresh
test_filled
test_superblocks
test_slots
test_records
test_names
test_truncated
test_random
test_open
test_no_file
test_mounted

summary
