#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# pin-test.sh - pinned files of a mount: they stay in the pool, whatever else is read, over a
# remount and a kill, and as the file changes. Also what "pin", "warm", "resize" say of a full one.
#
# Usage: pin-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Needs 100 MiB in /dev/shm and in $TMPDIR.

set -u
build=${1:?usage: pin-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

pinned() { number all_pinned_files "$cm" cached "$@"; }
of_pool() { # KEY: of the mount here; the machine may have others
  "$cm" list --json | sed -n "\|\"pool\": \"$pool\"|,/^    }/p" |
    sed -n "s/^ *\"$1\": \([0-9.]*\),*$/\1/p" | head -n 1
}

size=5000000
# Reads more than twice the pool, each file twice, past the kernel's pages.
storm() {
  local n
  for n in 1 2 3 1 2 3; do
    dd if="$org/storm$n" of=/dev/null bs=1M iflag=direct status=none
    "$cm" warm -q "$org/storm$n" 2>/dev/null || :
  done
}
stays() { # FILE: all of it is cached, and right; the origin is not read for it
  local read
  same "$(cached "$org/$1")" "$(stat -c %s "$ref/$1")"
  read=$(stat_of origin_bytes)
  dd if="$org/$1" bs=1M iflag=direct status=none | cmp - "$ref/$1"
  same "$(stat_of origin_bytes)" "$read"
}

t_storm() {
  status 0 "$cm" pin "$org/a" "$org/dir"
  says '^2 of 2 files pinned, 5\.[0-9]* MiB: 5\.[0-9]* MiB cached, '
  same "$(of_pool pinned_files)" 2
  same "$(of_pool pinned_bytes)" 5505024 # whole blocks
  status 0 "$cm" cached "$org/a"
  says ' /.*/a \(pinned\)$'
  says '; 1 pinned$'
  "$cm" warm -q "$org/other"
  storm
  stays a
  stays dir/b
  [ "$(cached "$org/other")" -lt $size ] # the storm was one
  [ "$(cached "$org/storm3")" -gt 0 ]    # and did not starve
}
t_files() { # the list of the pool marks them, whether a mount has it or not
  "$cm" files "$pool" > "$work/said"
  says ' ([a-z,]*,)?pinned +[0-9a-f]{32} a$'
  fails says 'pinned .* other$'
}
t_still() {
  same "$(of_pool pinned_files)" 2
  storm
  stays a
  stays dir/b
  same "$(pinned "$org")" 2
}
t_share() {
  local left=$(($(of_pool pinned_max_bytes) - $(of_pool pinned_bytes)))
  head -c $((left + 4096)) /dev/zero > "$org/much"
  status 7 "$cm" pin "$org/much" "$org/a"
  says '^cachemax: 1 file of .* not pinned: pinned files may have half of the pool, .*room for'
  says '^1 of 2 files pinned, '
  same "$(pinned "$org/much")" 0
  truncate -s $left "$org/much"
  eventually "$cm" pin "$org/much"
  same "$(of_pool pinned_bytes)" "$(of_pool pinned_max_bytes)"
  rm "$org/much" # its pin goes with it
  same "$(of_pool pinned_files)" 2
}
t_writes() { # the pin outlives writes and a truncation; what was read again stays
  local f
  for f in "$org/a" "$ref/a"; do
    printf 'written' | dd of="$f" bs=1 seek=123456 conv=notrunc status=none
    truncate -s 4000000 "$f"
    echo 'appended' >> "$f"
  done
  sync "$org/a"
  dd if="$org/a" of=/dev/null bs=1M iflag=direct status=none
  same "$(pinned "$org/a")" 1
  eventually "$cm" warm "$org/a"
  storm
  stays a
}
counts() { # FILE...: so many whole blocks are pinned
  local f sum=0
  for f; do sum=$((sum + ($(stat -c %s "$f") + 4095) / 4096 * 4096)); done
  same "$(of_pool pinned_bytes)" $sum
}
t_sizes() { # what a pinned file takes of the half follows its size
  local pins=("$org/a" "$org/dir/b" "$org/grow") n
  head -c 1000000 /dev/urandom > "$org/grow"
  eventually "$cm" pin "$org/grow"
  counts "${pins[@]}"
  n=$(($(of_pool pinned_max_bytes) - $(of_pool pinned_bytes)))
  head -c $n /dev/zero > "$org/much"
  head -c 3000000 /dev/urandom >> "$org/grow"
  cat "$org/grow" > /dev/null
  eventually counts "${pins[@]}"
  status 7 "$cm" pin "$org/much"
  says '^cachemax: 1 file of .* not pinned: pinned files may have half of the pool, .*room for'
  truncate -s 1000000 "$org/grow"
  eventually counts "${pins[@]}"
  eventually "$cm" pin "$org/much"
  head -c 5000 /dev/urandom >> "$org/grow" # now they take more than the half
  cat "$org/grow" > /dev/null
  eventually counts "${pins[@]}" "$org/much"
  eventually "$cm" pin "$org/grow" # it is pinned already
  same "$(pinned "$org")" 4
  rm "$org/much" "$org/grow"
  counts "$org/a" "$org/dir/b"
}
t_names() { # a pin is the file's, whatever its names
  mv "$org/dir/b" "$org/dir/c"
  ln "$org/dir/c" "$org/second"
  same "$(pinned "$org/dir/c")" 1
  same "$(pinned "$org/second")" 1
  same "$(of_pool pinned_files)" 2
  rm "$org/dir/c"
  same "$(of_pool pinned_files)" 2
  status 0 "$cm" unpin "$org/second"
  says '^1 file unpinned$'
  same "$(of_pool pinned_files)" 1
  mv "$org/second" "$org/dir/b"
  eventually "$cm" pin "$org/dir/b"
}
t_forget() {
  status 0 "$cm" forget "$org/dir/b"
  says '^1 file forgotten; 1 pinned: '
  same "$(cached "$org/dir/b")" 0
  same "$(pinned "$org/dir/b")" 1
  "$cm" pin -q "$org/dir/b"
  stays dir/b
}
t_figures() { # of a file that ends in a block, and is pinned; of one with a pin and no block
  local n
  head -c 10000 /dev/zero > "$org/ends"
  for n in ends a; do dd if="$org/$n" of=/dev/null bs=1M iflag=direct status=none; done
  eventually "$cm" pin -q "$org/ends"
  "$cm" forget -q "$org/dir/b"
  status 0 "$cm" cached "$org/dir/b"
  says '[(]pinned in part; not read through the mount'
  "$cm" cached --tree "$org" --json > "$work/tree.json"
  "$cm" cached "$org/ends" --json > "$work/ends.json"
  "$cm" list --json > "$work/list.json"
  "$cm" mode "$org" --json > "$work/mode.json"
  python3 - "$work" "$org" "$pool" <<'PY'
import json, os, sys
work, org, pool = sys.argv[1:]
tree, ends, shown, mode = (json.load(open("%s/%s.json" % (work, n)))
                           for n in ("tree", "ends", "list", "mode"))
assert mode == {"pool": pool, "mode": "normal"}, mode
one = ends["files"][0]
assert (one["size"], one["cached_bytes"], one["cached_percent"]) == (10000, 10000, 100), ends
top = [d for d in tree["directories"] if d["path"] == org][0]
assert top["files"] > top["pinned_files"] == tree["all_pinned_files"] == 3, tree
m = [m for m in shown["mounts"] if m["directory"] == org][0]
assert m["uid"] == os.getuid() and m["pinned_files"] == 3 and m["misses"] > 0, m
want = 100 * m["hits"] / (m["hits"] + m["misses"])
assert abs(m["hit_rate_percent"] - want) < 0.01 and 0 < want < 100, m
PY
  rm "$org/ends"
  eventually "$cm" pin -q "$org/dir/b"
}
t_unpin() { # and files that are not pinned, which do not count
  same "$(of_pool pinned_files)" 2
  status 0 "$cm" unpin "$org"
  says '^2 files unpinned$'
  status 0 "$cm" unpin "$org"
  says '^0 files unpinned$'
  same "$(of_pool pinned_files)" 0
  same "$(pinned "$org")" 0
  storm
  storm
  [ "$(cached "$org/a")" -lt 4000000 ]
  cmp "$org/a" "$ref/a"
}
t_stray() { # files that went where nobody saw it
  head -c 100000 /dev/urandom > "$org/stray"
  eventually "$cm" pin "$org/stray" "$org/a"
  rm "$below/stray"
  status 0 "$cm" unpin --all "$org"
  same "$(of_pool pinned_files)" 0
  cmp "$org/a" "$ref/a"
}
t_quiet() { # of a file that nobody has used since the mount began
  same "$(of_pool pinned_files)" 1
  status 0 "$cm" unpin --all "$org"
  same "$(of_pool pinned_files)" 0
  fails grep cm_file_open "$work/log"
}
t_usage() {
  status 2 "$cm" pin
  status 2 "$cm" unpin --all "$org" "$org/a"
  says "'unpin --all' needs one PATH on the mount whose pinned files are meant, .*unpin --all /srv"
  status 2 "$cm" unpin --all
  says "'unpin' needs the name of a file or directory"
  status 2 "$cm" unpin
  says "'unpin' needs the name of a file or directory"
  status 8 "$cm" pin "$work"
  status 1 "$cm" unpin "$org/none"
}
# More files than the pool knows: those that are pinned keep the others out, and so it is told.
t_records() {
  local n
  mkdir small
  for n in $(seq 200); do echo "$n" > "small/$n"; done
  status 7 "$cm" pin small
  says '^cachemax: [0-9]+ files are not pinned: pinned files may be half of .* --max-files'
  says '^[0-9]+ of 200 files pinned, '
  fails says 'written'
  same "$(sed -n 's/^cachemax: \([0-9]*\) files.*/\1/p' "$work/said")" \
    $((200 - $(of_pool pinned_files)))
  same "$(of_pool pinned_files)" 32
  "$cm" unpin -q --all "$org"
  # Those that are warmed last keep the others out. Each misses some bytes only, which is all of it.
  "$cm" forget -q small
  status 7 "$cm" warm small
  says '^cachemax: [0-9]+ files had to make room .* the pool knows [0-9]+ files at most; '
  says '--max-files'
  n=$(sed -n 's/^\([0-9]*\) of 200 files, .*/\1/p' "$work/said")
  "$cm" cached small > "$work/out"
  same "$(grep -c ' 100\.00 ' "$work/out")" "$n"
  rm -r small
}

# They are cached, and pinned, as long as the mount has the pool. What comes then depends on where
# the pool file is, which the mount cannot know: both is told.
away="$org: its pool file is not at its path any more: "
t_away() {
  status 7 "$cm" pin "$org/a"
  says "^cachemax: ${away}if it was moved, mount it from there next time, and .* cached stays; "
  says '; if it was removed, what is cached is lost with the unmount$'
  says '^1 of 1 file pinned, '
  status 7 "$cm" warm -q "$org/a" "$org/other"
  same "$(grep -c "$away" "$work/said")" 1
}
t_moved() {
  mv "$pool" "$shm/moved"
  t_away
  mv "$shm/moved" "$pool"
  status 0 "$cm" pin "$org/a"
  fails says "$away"
  mv "$pool" "$shm/moved"
}
# A file of another mount comes between its own.
t_moved_between() {
  mkdir between
  mount -t tmpfs none between
  head -c 5000 /dev/urandom > between/file
  "$cm" create -q "$shm/between" --size 4M
  "$mount_bin" "$org/between" --pool "$shm/between"
  mv "$pool" "$shm/moved"
  "$cm" warm -q a between/file other >"$work/said" 2>&1 || :
  mv "$shm/moved" "$pool"
  umount "$org/between"
  umount "$org/between"
  rmdir between
  same "$(grep -c "$away" "$work/said")" 1
}
t_moved_warm() {
  fails test -e "$shm/pool"
  stays a
  same "$(pinned "$org")" 1
  status 0 "$cm" unpin -q "$org/a"
}
moved() {
  [ $has_below = 0 ] || check "the pool file was moved: said once for a mount" t_moved_between
  check "the pool file was moved" t_moved
  do_unmount || fail "the end without the pool file" "status $status"
  pool=$shm/moved backing=(--pool "$shm/moved")
  do_mount
  check "mounted from there, it is warm" t_moved_warm
  do_unmount || fail "the end" "status $status"
  pool=$shm/pool backing=(--pool "$shm/pool")
  mv "$shm/moved" "$pool"
  do_mount
}
t_removed() {
  rm "$pool"
  t_away
}
t_removed_end() {
  fails test -e "$pool"
  fails test -e "$pool.control"
}
removed() {
  new_pool 32M
  do_mount
  check "the pool file was removed" t_removed
  do_unmount || fail "the end without the pool file" "status $status"
  check "nothing is left of it" t_removed_end
}
# The command is interrupted as it looks at the pins of the pool that it has resized. A lock of a
# reader shows where.
t_resize_interrupted() {
  local n
  new_pool 32M
  do_mount
  "$cm" pin -q "$org/a"
  do_unmount
  cp "$pool" "$shm/copy"
  strace -qq -o "$work/calls" -e trace=fcntl "$cm" resize "$shm/copy" 4M >"$work/said"
  says 'pinned files have .* and half of the pool is '
  n=$(grep -n F_RDLCK "$work/calls" | head -n 1 | sed 's/:.*//')
  cp "$pool" "$shm/copy"
  status 130 strace -qq -o "$work/calls" -e trace=fcntl -e inject="fcntl:signal=INT:when=$n" \
    "$cm" resize "$shm/copy" 4M
  says '4\.00 MiB now, was 32\.00 MiB'
  fails says 'pinned files have'
  rm "$shm/copy"
}

many=$work/many narrow=$work/narrow
full="the volume of the pool at $narrow is full, and a sparse pool grows no more; make room there"
was_full="the volume of the pool at $narrow was full, and a sparse pool grows no more until it is "
was_full+="mounted again; do so, now that there is room, or"
# on_narrow BALLAST SIZE [OPTION...]: a mount whose pool lies on a volume that has so much else.
on_narrow() {
  mkdir -p "$many" "$narrow"
  mount -t tmpfs -o size=8m none "$narrow"
  "$cm" create "$narrow/pool" -q --size "${@:2}"
  head -c "$1" /dev/zero > "$narrow/ballast" 2>/dev/null || :
  for n in 1 2 3 4 5 6; do head -c 2000000 /dev/urandom > "$many/$n"; done
  "$mount_bin" "$many" --pool "$narrow/pool" -f 2>"$work/narrow.log" &
  eventually mountpoint -q "$many"
  eventually test -S "$narrow/pool.control"
}
leave_narrow() {
  umount "$many"
  wait $!
  umount "$narrow"
}
t_filled() { # a sparse pool fills its volume
  on_narrow 5m 64M --sparse
  status 7 "$cm" warm "$many"
  says "had to make room for those after: $full"
  says "^cachemax: the pool is full of what was warmed; [0-9] of 6 files (is|are) not cached as a \
whole: $full"
  fails says 'larger pool'
  status 7 "$cm" pin "$many"
  says "^cachemax: 6 files of .* not pinned: .* room for .* more; $full and mount again, or unpin"
  fails says 'larger pool'
  rm "$narrow/ballast"
  for _ in 1 2; do
    status 7 "$cm" warm "$many"
    says "had to make room for those after: $was_full name fewer$"
    says "6 files are not cached as a whole: $was_full name fewer$"
    fails says 'warm again|too few files|narrow is full'
  done
  status 7 "$cm" pin "$many"
  says "^cachemax: 6 files of .* not pinned: .* room for .* more; $was_full unpin others$"
  leave_narrow
}
t_filled_index() { # that of a larger pool has holes when its slots end
  local n
  on_narrow 4m 2G --sparse
  for n in 1 2 3 4 5 6; do
    "$cm" warm "$many/$n" || [ $? = 7 ]
  done >"$work/said" 2>&1
  says "cached in part: $full"
  fails says 'warm again'
  leave_narrow
}
t_full_before() { # there is no room for a sparse pool's first blocks
  on_narrow 8m 64M --sparse
  eventually grep -q ": mounted; pool $narrow/pool, a part of which cannot" "$work/narrow.log"
  status 7 "$cm" warm "$many"
  says "^cachemax: 6 files are cached in part: $full"
  status 7 "$cm" pin "$many"
  says "^cachemax: 6 files are not pinned: their records could not be written; $full"
  rm "$narrow/ballast"
  status 7 "$cm" warm "$many"
  says "^cachemax: 6 files are cached in part: $was_full name fewer$"
  status 7 "$cm" pin "$many"
  says "^cachemax: 6 files are not pinned: their records could not be written; $was_full unpin"
  umount "$many"
  wait $!
  "$mount_bin" "$many" --pool "$narrow/pool"
  status 0 "$cm" warm "$many/1" "$many/2"
  status 0 "$cm" pin "$many/1" "$many/2"
  umount "$many"
  umount "$narrow"
}
t_full_later() { # a sparse pool had all its slots before
  local n
  on_narrow 1 4M --sparse
  for n in $(seq 100); do
    cat "$many"/* >/dev/null
    "$cm" warm -q "$many" 2>/dev/null || :
    [ "$(used_percent)" != 100.00 ] || break
  done
  same "$(used_percent)" 100.00
  head -c 8m /dev/zero > "$narrow/ballast" 2>/dev/null || :
  [ "$(($(stat -c %b "$narrow/pool") * 512))" -lt "$(stat -c %s "$narrow/pool")" ] # sparse
  status 7 "$cm" warm "$many"
  says 'the pool is full of what was warmed; .* larger pool'
  fails says 'volume'
  status 7 "$cm" pin "$many"
  says 'not pinned: .*; unpin others, or use a larger pool'
  fails says 'volume'
  leave_narrow
}
used_percent() {
  "$cm" list --json | grep -A30 "\"directory\": \"$many\"" |
    sed -n 's/^ *"used_percent": \([0-9.]*\),*$/\1/p' | head -n 1
}
t_full_beside() { # another pool has its room
  on_narrow 8m 4M
  status 7 "$cm" warm "$many"
  says 'had to make room for those after: the pool has no room for all, or knows too few files'
  says 'the pool is full of what was warmed; .* larger pool'
  fails says 'volume'
  leave_narrow
}
t_full_resize() { # its volume has no room for the new index
  "$cm" create "$narrow/pool" -q --size 64M --sparse
  "$mount_bin" "$many" --pool "$narrow/pool"
  head -c 1G /dev/zero >"$narrow/ballast" 2>/dev/null || :
  status 1 "$cm" resize "$narrow/pool" 128M
  rm "$narrow/ballast"
  says 'needs room for its new index, about 512\.0 KiB \(the pool is sparse\), the volume has 0 byt'
  says 'the volume has 0 bytes: 512\.0 KiB are missing; nothing was changed, and the mount goes on'
  status 0 "$cm" resize "$narrow/pool" 128M
  umount "$many"
  eventually umount "$narrow"
}
make_holes() { # a volume whose files have holes that can be read while it is full
  mkdir -p "$many" "$narrow"
  truncate -s 24M "$shm/narrow.img"
  mkfs.ext4 -q -m 0 "$shm/narrow.img" && mount -o loop "$shm/narrow.img" "$narrow"
}

mkdir -p "$ref/dir"
head -c $size /dev/urandom > "$ref/a"
head -c 500000 /dev/urandom > "$ref/dir/b"
head -c $size /dev/urandom > "$ref/other"
cp -r "$ref/." "$org"
for n in 1 2 3; do head -c 20000000 /dev/urandom > "$org/storm$n"; done
sleep 0.3 # their times are no longer fresh
new_pool 32M --names
# shellcheck disable=SC2119 # without options
do_mount || { fail mount "$(tail -n 1 "$work/log")"; summary; exit 1; }
check "what is pinned stays in a storm" t_storm
check "the list of files marks it" t_files
do_unmount || fail "the end" "status $status"
check "the list of files marks it, without a mount" t_files
do_mount
check "it is pinned in the next mount" t_still
kill -9 "$mount_pid"
wait_mount
do_mount
check "it is pinned after a kill" t_still
check "half of the pool at most" t_share
check "a pinned file is written" t_writes
check "a pinned file grows and shrinks" t_sizes
check "a pinned file has other names" t_names
check "a pinned file is forgotten" t_forget
check "the figures of pinned files" t_figures
check "unpin" t_unpin
[ $has_below = 0 ] || check "unpin all, and what is gone" t_stray
check "wrong command lines" t_usage
[ $via = service ] || moved
"$cm" pin -q "$org/a"
do_unmount || fail "the end" "status $status"
do_mount
check "unpin all says nothing in the log" t_quiet
do_unmount || fail "the end" "status $status"
[ $via = service ] || removed
! need "a resize is interrupted while it looks at the pins" strace ||
  check_at / "a resize is interrupted while it looks at the pins" t_resize_interrupted
new_pool 4M --max-files 64
do_mount
check "more files than it can pin" t_records
do_unmount || fail "the end" "status $status"
if [ $via = pool ] && need_root "a full volume"; then
  check_at / "a full volume: a sparse pool has filled it" t_filled
  check_at / "a full volume: there are holes in the index" t_filled_index
  check_at / "a full volume: it was so before" t_full_before
  check_at / "a full volume: the pool has its room" t_full_beside
  check_at / "a full volume: a sparse pool had all its slots before" t_full_later
  if has mkfs.ext4 && make_holes 2>/dev/null; then
    check_at / "a full volume: a sparse pool grows" t_full_resize
  else
    skip "a full volume: a sparse pool grows" "no loop device or no mkfs.ext4"
  fi
fi
if is_clean; then ok "the pool is clean"; else fail "the pool is clean" "no"; fi
summary
