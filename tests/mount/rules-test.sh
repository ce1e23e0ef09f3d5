#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# rules-test.sh - which files cachemax-mount caches, and how: --include, --exclude, --exclude-owner,
# --max-file-size, --advise, -o fill_rate, drive_writes, policy.
#
# Usage: rules-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed.

set -u
build=${1:?usage: rules-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

read_it() { dd if="$1" of=/dev/null bs=128k iflag=direct status=none; }
# Is the file read from the cache, if it is read often? It has 16 blocks or more.
is_cached() {
  local before
  read_it "$org/$1"
  read_it "$org/$1"
  before=$(stat_of hit_blocks)
  read_it "$org/$1"
  [ $(($(stat_of hit_blocks) - before)) -ge 16 ]
}
# All of them are, none of them is.
all() { for f in "$@"; do is_cached "$f" || { echo "$f is not cached" >&2; return 1; }; done; }
none() { for f in "$@"; do ! is_cached "$f" || { echo "$f is cached" >&2; return 1; }; done; }
files_known() { "$cm" info "$pool" | sed -n 's/.*known now: *//p'; }
new_files() { # NAME...: 64 KiB each
  for f in "$@"; do
    mkdir -p "$(dirname "$org/$f")"
    head -c 65536 /dev/urandom > "$org/$f"
  done
}
begin() { # OPTION...
  cd /
  do_mount "$@"
}
# Other content, with the size and the times of before.
changed() { # FILE
  touch -r "$1" "$work/times"
  head -c 65536 /dev/urandom > "$ref/new"
  cat "$ref/new" 1<> "$1"
  touch -r "$work/times" "$1"
}

t_patterns() {
  begin --exclude '*.tmp' --exclude=build/out -o 'exclude=no\,de,exclude=x?z'
  none a.tmp d/b.tmp build/out/a 'd/no,de/a' xyz
  all a d/build/out/a build/outer xz
  do_unmount
}
t_include() {
  begin --include '*.iso' --include d/keep --exclude '*part*'
  all a.iso d/b.iso d/keep/a
  none a d/part.iso d/keep/part keep/a
  do_unmount
}
t_size() {
  begin --max-file-size 64K
  all a
  head -c 1 /dev/zero >> "$org/a"
  none a
  truncate -s 65536 "$org/a"
  all a
  do_unmount
  begin --max-file-size 65535
  none a
  do_unmount
}
t_owner() {
  chown 65534 "$org/xyz"
  begin --exclude-owner 65534 -o exclude-owner=daemon
  none xyz
  all a
  chown daemon "$org/a"
  chown root "$org/xyz"
  none a
  all xyz
  do_unmount
  chown root "$org/a"
}
# A file that is renamed while it is cached, and changed where it is not. The pool forgets it: the
# change may come in the same instant.
t_renamed() {
  local known
  begin --exclude out
  all a
  mv "$org/a" "$org/out/a"
  known=$(files_known)
  none out/a
  for _ in $(seq 300); do # the last close is on its way
    [ "$(files_known)" = "$known" ] || break
    sleep 0.02
  done
  same "$(files_known)" $((known - 1))
  changed "$org/out/a"
  cmp "$org/out/a" "$ref/new"
  mv "$org/out/a" "$org/a"
  cmp "$org/a" "$ref/new"
  all a
  cmp "$org/a" "$ref/new"
  do_unmount
  cmp "$org/a" "$ref/new"
}
# As long as somebody has it open, what was cached is served to nobody who opens it after the
# renaming, and what is written reaches those who opened it before.
t_renamed_open() {
  begin --exclude out
  all a
  exec 5< "$org/a"
  mv "$org/a" "$org/out/a"
  none out/a
  changed "$org/out/a"
  cmp "$org/out/a" "$ref/new"
  cmp - "$ref/new" <&5
  mv "$org/out/a" "$org/a"
  exec 5<&-
  all a
  cmp "$org/a" "$ref/new"
  do_unmount
}
# It comes back while somebody still has it open.
t_back_while_open() {
  mv "$org/a" "$org/out/a"
  begin --exclude out
  exec 5< "$org/out/a"
  none out/a
  mv "$org/out/a" "$org/a"
  all a
  exec 5<&-
  do_unmount
}
# Cached in one session, left out and changed in the next one, included again in the third one.
t_sessions() {
  begin
  all a b
  do_unmount
  begin --exclude a --max-file-size 1M
  all b
  none a
  changed "$org/a"
  do_unmount
  begin
  cmp "$org/a" "$ref/new"
  all a b
  cmp "$org/a" "$ref/new"
  do_unmount
}
# Without a change it is warm again.
t_warm_again() {
  local before
  begin
  all b
  do_unmount
  begin --exclude b
  none b
  do_unmount
  begin
  before=$(stat_of hit_blocks)
  read_it "$org/b"
  [ $(($(stat_of hit_blocks) - before)) -ge 16 ]
  do_unmount
}
t_shared() {
  begin --coherence=close-to-open --exclude out
  mv "$org/b" "$org/out/b"
  head -c 65536 /dev/urandom > "$below/out/b"
  cmp "$org/out/b" "$below/out/b"
  head -c 65536 /dev/urandom > "$below/out/b"
  cmp "$org/out/b" "$below/out/b"
  mv "$org/out/b" "$org/b"
  cmp "$org/b" "$below/b"
  do_unmount
}
# The kernel keeps the pages of a file that is left out: they are read once more at the origin only
# when somebody has dropped the system's caches, as other tests do. (The mount also reads other
# things, such as the list of mounts: much less.)
kept_pages() {
  local before after
  cat "$org/pages.tmp" > /dev/null
  before=$(sed -n 's/^rchar: //p' "/proc/$mount_pid/io")
  cat "$org/pages.tmp" > /dev/null
  after=$(sed -n 's/^rchar: //p' "/proc/$mount_pid/io")
  [ $((after - before)) -lt 4000000 ]
}
t_pages() {
  begin --exclude '*.tmp'
  head -c 8M /dev/urandom > "$below/pages.tmp"
  eventually kept_pages
  printf NEW | dd of="$org/a.tmp" conv=notrunc oflag=direct status=none 2> /dev/null ||
    printf NEW | dd of="$org/a.tmp" conv=notrunc status=none
  cmp "$org/a.tmp" "$below/a.tmp"
  head -c 65536 /dev/urandom > "$below/a.tmp"
  cmp "$org/a.tmp" "$below/a.tmp"
  do_unmount
}
t_service() {
  local before
  cd /
  via=service backing=(--service "$socket")
  do_mount --exclude '*.tmp' --max-file-size 100K
  none a.tmp
  all a
  mv "$org/a" "$org/a.tmp"
  none a.tmp
  changed "$org/a.tmp"
  mv "$org/a.tmp" "$org/a"
  cmp "$org/a" "$ref/new"
  all a
  do_unmount
  stop_service
}

# ---- How ----------------------------------------------------------------------------------------

t_advice() {
  begin --advise '*.tmp=noreuse' --advise 'd=keep' -o 'advise=large/b=sequential,advise=*=normal' \
    2> "$work/said" && return 1
  grep -q 'expected PATTERN=ADVICE' "$work/said"
  begin --advise '*.tmp=noreuse' --advise '*=sequential' -o 'advise=a.tmp=keep'
  none a.tmp d/b.tmp
  all a
  do_unmount
}
hits_of() {
  local before
  before=$(stat_of hit_blocks)
  read_it "$1"
  echo $(($(stat_of hit_blocks) - before))
}
# Reads a large file that is not cached; prints how often the origin was read.
reads_of() {
  local before
  before=$(stat_of origin_reads)
  read_it "$1"
  echo $(($(stat_of origin_reads) - before))
}
t_sequential() {
  local usual advised
  begin
  usual=$(reads_of "$org/large")
  do_unmount
  new_pool 64MiB
  begin -o advise=large=sequential
  advised=$(reads_of "$org/large")
  do_unmount
  [ "$advised" -lt "$usual" ] || { echo "$advised reads, $usual without advice" >&2; return 1; }
}
# What is kept outlives a scan that pushes out what was read as often.
t_keep() {
  local kept usual
  new_pool 1MiB
  begin -o policy=gclock,advise=xz=keep
  read_it "$org/xz"
  read_it "$org/b"
  dd if="$org/large" of=/dev/null bs=128k count=12 iflag=direct status=none
  kept=$(hits_of "$org/xz")
  usual=$(hits_of "$org/b")
  do_unmount
  [ "$kept" -gt "$usual" ] || { echo "$kept blocks hit, $usual without advice" >&2; return 1; }
}
# Stores 64 KiB a second at most, 64 KiB at once and one second ahead.
t_rate() { # OPTION
  local began stored most
  new_pool 16MiB
  began=$(date +%s)
  begin -o "probation=0,$1"
  read_it "$org/large"
  stored=$(stat_of fill_bytes)
  most=$((($(date +%s) - began + 2) * 65536 + 65536))
  [ "$(stat_of refused_policy)" -gt 0 ]
  [ "$stored" -ge 65536 ] && [ "$stored" -le "$most" ]
  cmp "$org/large" "$ref/large"
  do_unmount
}
t_unlimited() {
  new_pool 16MiB
  begin -o probation=0
  read_it "$org/large"
  same "$(stat_of fill_bytes)" 8388608
  do_unmount
}
# What was cached before the rule is forgotten at the first change, and not only by the validator:
# after a power cut a write may be there with the old times.
t_was_cached() {
  new_pool 16MiB --names
  begin
  read_it "$org/large"
  read_it "$org/large"
  do_unmount
  "$cm" files "$pool" | grep -q "[1-9].* .*large"
  begin --exclude large
  cat "$org/large" >"$work/out"
  "$cm" files "$pool" | grep -q "[1-9].* .*large"
  printf NEW | dd of="$org/large" conv=notrunc status=none
  printf NEW | dd of="$ref/large" conv=notrunc status=none
  fails grep -q large <("$cm" files "$pool")
  do_unmount
  begin
  dd if="$org/large" bs=128k iflag=direct status=none | cmp - "$ref/large"
  do_unmount
}
# What the pool knows of a file that is left out now is forgotten and unpinned as that of any other.
t_forget_left_out() {
  local knows
  new_pool 16MiB --names
  begin
  "$cm" pin "$org/a" "$org/b"
  "$cm" warm "$org/xyz"
  do_unmount
  begin --exclude '*'
  "$cm" forget "$org/xyz"
  same "$("$cm" unpin "$org/b" "$org/xz")" '1 file unpinned'
  knows=$("$cm" files "$pool")
  do_unmount
  grep -q ' a$' <<< "$knows"
  fails grep -Eq ' (b|xyz)$' <<< "$knows"
}
is_pinned() { [ "$(number all_pinned_files "$cm" cached "$1")" = 1 ]; }
# What another client pins and unpins meanwhile does not count.
t_unpin_beside() {
  local n other
  mkdir "$org/many"
  for n in $(seq 500); do echo "$n" > "$org/many/$n"; done
  new_pool 16MiB --max-files 2048
  begin
  eventually "$cm" pin "$org/many" # while they are fresh, the kernel may change them
  do_unmount
  begin --exclude many
  "$python" - "$pool.control" <<'PY' &
import socket, sys
others = []
for name in b"a", b"b":
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    others.append((s, s.makefile("rb"), name))
def wait(answers):
    for line in answers:
        if line.startswith(b"end "):
            return
while True:
    for verb in b"pin", b"unpin":
        for s, _, name in others:
            s.sendall(b"cachemax 1 %s 0 1\n%s" % (verb, name))
        for _, answers, _ in others:
            wait(answers)
PY
  other=$!
  eventually is_pinned "$org/a"
  status 0 "$cm" unpin "$org/many"
  kill $other
  says '^500 files unpinned$'
  do_unmount
  rm -r "$org/many"
}
t_policy() {
  new_pool 16MiB
  begin
  read_it "$org/a"
  [ "$(stat_of buffered)" -ge 16 ]
  do_unmount
  new_pool 16MiB
  begin -o policy=gclock
  read_it "$org/a"
  same "$(stat_of buffered)" 0
  [ "$(stat_of fill_blocks)" -ge 16 ]
  do_unmount
}

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
new_files a b a.tmp d/b.tmp build/out/a 'd/no,de/a' xyz d/build/out/a build/outer xz \
  a.iso d/b.iso d/keep/a d/part.iso d/keep/part keep/a
mkdir "$org/out"
check "patterns" t_patterns
check "patterns to include" t_include
check "the largest size" t_size
need_root "owners" && check "owners" t_owner
check "renamed into a pattern, and back" t_renamed
check "renamed while it is open" t_renamed_open
check "renamed back while it is open" t_back_while_open
check "left out for a session" t_sessions
check "left out for a session, unchanged" t_warm_again
if [ $has_below = 1 ]; then
  check "left out, with other writers" t_shared
  check "left out, pages of the kernel" t_pages
else
  skip "left out, with other writers" "needs a bind mount"
  skip "left out, pages of the kernel" "needs a bind mount"
fi
check "rules with a service" t_service
head -c 8388608 /dev/urandom > "$org/large"
cp "$org/large" "$ref/large"
check "advice" t_advice
check "advice: sequential" t_sequential
check "advice: keep" t_keep
check "no limit of what is stored" t_unlimited
check "a limit of bytes a second" t_rate fill_rate=64K
check "a limit of drive writes a day" t_rate drive_writes=337.5
check "the lower limit counts" t_rate drive_writes=1000000,fill_rate=64K
check "left out, to forget and to unpin" t_forget_left_out
! need "unpinned beside another client" python3 ||
  check "unpinned beside another client" t_unpin_beside
check "a policy" t_policy
check "left out after it was cached" t_was_cached
summary
