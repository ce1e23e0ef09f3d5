#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# winfsp-test.sh - cachemax-winfsp on Linux: what it serves, that a folder always gets its name and
# its content back, random operations, kills.
#
# Usage: winfsp-test.sh BUILD_DIR [--ops N] [--kills N] [--seed S]
# N operations (20000) of tests/mount/random.c; N kills (20) at random moments of mount, use and
# unmount, some of the recoveries killed as well. S (1) chooses them. Prints "ok NAME", "FAIL NAME:
# why" or "skip NAME: reason" for every check, the numbers as the last line. Exit status 1 when
# something failed. A long run: --kills 100 --ops 1000000.

set -u
build='' ops=20000 kills=20 seed=1
while [ $# -gt 0 ]; do
  case $1 in
  --ops) ops=${2:?}; shift ;;
  --kills) kills=${2:?}; shift ;;
  --seed) seed=${2:?}; shift ;;
  -*) echo "winfsp-test.sh: unknown option $1" >&2; exit 2 ;;
  *) build=$1 ;;
  esac
  shift
done
build=$(realpath "${build:?usage: winfsp-test.sh BUILD_DIR [--ops N] [--kills N] [--seed S]}") ||
  exit 1
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../mount/lib.sh
. "$here/../mount/lib.sh"
program=${CM_WINFSP:-$(bin cachemax-winfsp)} # mutants.py has others
random=$(find "$build" -path '*tests/mount/random' -type f -perm -u+x | head -n 1)
[ -n "$program" ] && [ -n "$random" ] || {
  fail binaries "cachemax-winfsp or random missing in $build"
  summary
  exit 1
}
program=$(realpath "$program")
if ! { : <>/dev/fuse; } 2>/dev/null; then
  skip everything "no access to /dev/fuse"
  summary
  exit 77
fi
RANDOM=$seed

place=$work/place folder=$work/place/folder
aside=$folder.cachemax-origin journal=$folder.cachemax-journal
mkdir -p "$folder/below" "$folder/files"
seq 100000 >"$folder/numbers"
echo small >"$folder/below/small"
sum=$(cat "$folder/numbers" "$folder/below/small" | cksum) number=$(stat -c %i "$folder")
pid=''

is_mounted() { [ "$(stat -f -c %t "$folder" 2>/dev/null)" = 65735546 ]; }
is_mounted_or_ended() { is_mounted || ! kill -0 "$pid" 2>/dev/null; }
begin() { # what runs is $pid
  "$program" "$folder" --pool "$pool" "$@" 2>>"$work/log" &
  pid=$!
}
serve() { # OPTION...
  begin "$@"
  eventually is_mounted_or_ended
  is_mounted || { tail -n 3 "$work/log" >&2; return 1; }
}
ends() { # WANTED [COMMAND...]: what ends it; its exit status
  local want=$1 got=0
  shift
  "$@"
  wait "$pid" || got=$?
  [ $got = "$want" ] || { echo "status $got: $(tail -n 2 "$work/log")" >&2; return 1; }
}
# The folder has its name and its content, and nothing is left beside it, or of deleted files.
is_back() {
  same "$(find "$folder" -name '.*')" '' &&
    same "$(stat -c %i "$folder")" "$number" &&
    same "$(cat "$folder/numbers" "$folder/below/small" | cksum)" "$sum" &&
    same "$(ls "$place")" folder
}

# The kernel keeps what a program writes, whoever opens the file or asks for its times meanwhile. If
# it dropped the pages of a write() that is on its way, a mapping could get the old content back,
# and store it over the new one.
reads_seen() { echo $(($(stat_of hit_blocks) + $(stat_of miss_blocks))); }
t_pages() {
  local before
  serve
  before=$(reads_seen)
  python3 - "$folder/files/pages" <<'PY'
import mmap, os, sys
SIZE, name = 1 << 20, sys.argv[1]
writer = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
os.pwrite(writer, b"a" * SIZE, 0)
other = os.open(name, os.O_RDWR)
with mmap.mmap(other, SIZE) as m:
    assert m[:] == b"a" * SIZE
    os.utime(name, (10**9, 10**9))
    os.stat(name)
    assert os.pread(other, SIZE, 0) == b"a" * SIZE
    os.close(os.open(name, os.O_RDONLY))
    os.pwrite(writer, b"b" * SIZE, 0)
    assert m[:] == b"b" * SIZE
PY
  same "$(reads_seen)" "$before"
  rm "$folder/files/pages"
  ends 0 kill "$pid"
}
# A file with two names has two inodes of the kernel, which know nothing of each other.
t_links() {
  local way one=$folder/files/one two=$folder/files/two
  for way in removed replaced; do
    echo aaaaaaaa >"$one"
    echo other >"$two.new"
    ln "$one" "$two"
    serve
    exec 5<"$one"
    same "$(head -c 9 <&5)" aaaaaaaa
    python3 -c 'import mmap, sys
with open(sys.argv[1], "rb") as f: mmap.mmap(f.fileno(), 9, mmap.MAP_PRIVATE)[:]' "$one"
    echo bbbbbbbb 1<>"$two"
    same "$(python3 -c 'import os; print(os.pread(5, 8, 0).decode())')" bbbbbbbb # still open
    if [ $way = removed ]; then rm "$two"; else mv "$two.new" "$two"; fi
    exec 5<&-
    same "$(cat "$one")" bbbbbbbb
    rm -f "$one" "$two" "$two.new"
    ends 0 kill "$pid"
  done
}
# Who has a file open by a name that is gone writes it still.
t_name_gone() {
  local i
  echo aaaaaaaa >"$folder/held"
  ln "$folder/held" "$place/held"
  exec 6<>"$place/held"
  serve
  same "$(cat "$folder/held")" aaaaaaaa # the mount has seen both names
  rm "$place/held"
  exec 5<"$folder/held"
  for i in 1 2 3; do
    same "$(python3 -c 'import os; print(os.pread(5, 8, 0).decode())')" aaaaaaaa
  done
  printf bbbbbbbb >&6
  same "$(python3 -c 'import os; print(os.pread(5, 8, 0).decode())')" bbbbbbbb
  exec 5<&- 6>&-
  rm "$folder/held"
  ends 0 kill "$pid"
}
t_serves() {
  serve
  same "$(cat "$folder/numbers" "$folder/below/small" | cksum)" "$sum"
  same "$(ls "$place" | tr '\n' ' ')" "folder folder.cachemax-journal folder.cachemax-origin "
  same "$(wc -l <"$journal")" 2
  echo new >"$folder/new"
  mv "$folder/new" "$folder/below/newer"
  same "$(cat "$aside/below/newer")" new
  chmod 600 "$folder/below/newer"
  touch -d 2020-01-01 "$folder/below/newer"
  same "$(stat -c '%a %Y' "$aside/below/newer")" "600 $(date -d 2020-01-01 +%s)"
  ln -s small "$folder/below/link"
  same "$(cat "$folder/below/link")" small
  : >"$folder/below/newer"
  same "$(stat -c %s "$aside/below/newer")" 0
  rm "$folder/below/newer" "$folder/below/link"
  mkdir "$folder/dir"
  fails rmdir "$folder/below"
  rmdir "$folder/dir"
  ends 0 kill "$pid"
  is_back
}
# Another program may have filled the pool without checkpoints: then a power cut would empty it. So
# there is one when the mount begins, also if it ends at once.
t_begins_safe() {
  local pool=$work/filled
  "$cm" cat "$folder/numbers" --pool "$pool" >/dev/null
  fails survives "$pool"
  serve
  ends 0 kill "$pid"
  survives "$pool"
  rm "$pool"
}
survives() { "$cm" info "$1" --json | grep -q '"durability": *"checkpoints"'; }
keeps_syncs() { # Does the volume of $work? Made like this, a pool on another one never survives.
  rm -f "$work/filled"
  "$cm" create "$work/filled" --size 8M --quiet &&
    "$cm" cat "$folder/numbers" --pool "$work/filled" >/dev/null &&
    "$cm" info "$work/filled" | grep -q 'power cut, until a program makes checkpoints'
}
# Directories are listed and synced as at the origin, also one that was renamed or removed while it
# was open.
t_lists() {
  serve
  mkdir "$folder/dir"
  same "$(ls "$folder" | tr '\n' ' ')" "below dir files numbers "
  same "$(cd "$folder" && find . | sort)" "$(cd "$aside" && find . | sort)"
  sync "$folder" "$folder/below"
  (
    cd "$folder/dir"
    mv "$folder/dir" "$folder/renamed"
    mkdir "$folder/dir"
    echo x >"$folder/renamed/x"
    same "$(ls)" x
    rm -r "$folder/renamed" "$folder/dir"
    fails sync .
    same "$(ls 2>/dev/null)" ''
  )
  ends 0 kill "$pid"
  is_back
}
t_unmounted() {
  serve
  ends 0 fusermount3 -u "$folder"
  is_back
}
# WinFsp, as Linux, closes no file that is open at the end. The mount closes it at the origin, and
# the pool stays warm for all that was not written.
t_ended_while_open() {
  : >"$work/log"
  serve
  for _ in 1 2 3; do cat "$folder/numbers" >/dev/null; done
  exec 5<"$folder/numbers" 6<>"$folder/files/open"
  echo written >&6
  ends 0 kill "$pid"
  grep -q 'open at the end: 2' "$work/log"
  exec 5<&- 6>&-
  same "$(cat "$folder/files/open")" written
  is_back
  serve
  cat "$folder/numbers" >/dev/null
  [ "$(stat_of hit_blocks)" -gt 100 ] # of a new session
  same "$(cat "$folder/files/open")" written
  rm "$folder/files/open"
  ends 0 kill "$pid"
  same "$(grep -c 'open at the end' "$work/log")" 1 # not at this end
  is_back
}
# Other users have no access, but with --everyone as the modes say.
t_others() {
  local other=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  chmod 755 "$work" "$place" "$folder" "$folder/below"
  chmod 600 "$folder/below/small"
  serve
  fails "${other[@]}" cat "$folder/numbers"
  ends 0 kill "$pid"
  serve --everyone
  "${other[@]}" cmp "$folder/numbers" "$aside/numbers"
  fails "${other[@]}" cat "$folder/below/small"
  fails "${other[@]}" touch "$folder/new"
  same "$(findmnt -n -o SOURCE "$folder")" cachemax-winfsp
  ends 0 kill "$pid"
  chmod 644 "$folder/below/small"
  is_back
}
# The origin's modes let a user change it beside the mount. A directory that became a link, or a
# file, leads nobody out of the folder with the rights of the mount.
t_links_out() {
  local user=65534 out=$work/outside
  mkdir -p "$out" "$folder/mine/dir"
  mkdir "$out/empty"
  echo secret >"$out/secret"
  chmod 700 "$out"
  chmod 755 "$work" "$place" "$folder"
  chown -R $user:$user "$folder/mine"
  touch -d 2020-01-01 "$out/secret"
  serve --everyone
  python3 - "$folder/mine" "$aside/mine" "$out" $user >"$work/ways" <<'PY'
import os, sys
mount, aside, out = sys.argv[1:4]
os.setgroups([])
os.setgid(int(sys.argv[4]))
os.setuid(int(sys.argv[4]))

def leads(name, what):
    """Does `what` in a directory that became a link lead anywhere?"""
    os.mkdir(aside + "/" + name)
    os.chdir(mount + "/" + name)
    os.listdir(".")
    os.rename(aside + "/" + name, aside + "/was " + name)
    os.symlink(out, aside + "/" + name)
    try:
        what()
        print("a way out:", name)
    except OSError:
        pass
    os.chdir("/")

def read():
    with open("secret") as f:
        f.read()

leads("read", read)
leads("create", lambda: os.close(os.open("new", os.O_WRONLY | os.O_CREAT)))
leads("mkdir", lambda: os.mkdir("made"))
leads("symlink", lambda: os.symlink("x", "link"))
leads("stat", lambda: os.stat("secret"))
leads("rmdir", lambda: os.rmdir("empty"))
leads("unlink", lambda: os.unlink("secret"))
leads("rename", lambda: os.rename("secret", "stolen"))
open(aside + "/file", "w").close()
leads("rename to it", lambda: os.rename(mount + "/file", "moved"))
open(aside + "/open", "w").close()
f = os.open(mount + "/open", os.O_RDWR)
os.rename(aside + "/open", aside + "/was")
os.symlink(out + "/secret", aside + "/open")
for change in (lambda: os.fchmod(f, 0o666), lambda: os.utime(f, (1, 1)),
               lambda: os.truncate(f, 0)):
    try:
        change()
    except OSError:
        pass
PY
  fails grep . "$work/ways"
  same "$(ls "$out" | tr '\n' ' ')" "empty secret "
  same "$(cat "$out/secret")" secret
  same "$(stat -c '%a %Y' "$out/secret")" "644 $(date -d 2020-01-01 +%s)"
  ends 0 kill "$pid"
  rm -r "$folder/mine" "$out"
  is_back
}
t_hits() {
  local before
  serve
  for _ in 1 2 3; do cat "$folder/numbers" >/dev/null; done
  before=$(stat_of hit_blocks)
  [ "$before" -gt 100 ]
  ends 0 kill "$pid"
  serve
  cat "$folder/numbers" >/dev/null
  [ "$(stat_of hit_blocks)" -gt 100 ] # of a new session
  ends 0 kill "$pid"
  is_back
}
# A small file that is read all the time does not wait in DRAM for long. Then a kill leaves it warm.
t_stays_warm() {
  head -c 131072 /dev/urandom >"$folder/hot"
  cp "$folder/hot" "$work/hot"
  serve
  is_stored() { cmp "$folder/hot" "$work/hot" && [ "$(stat_of promoted)" -ge 32 ]; }
  eventually is_stored
  ends 137 kill -9 "$pid"
  serve
  cmp "$folder/hot" "$work/hot"
  same "$(stat_of miss_blocks)" 0 # of a new session
  rm "$folder/hot"
  ends 0 kill "$pid"
  is_back
}
# What is read after a change is what was written, also of a file that is cached.
t_changes() {
  serve
  cp "$folder/numbers" "$folder/other"
  for _ in 1 2 3; do cat "$folder/other" >/dev/null; done
  printf changed | dd of="$folder/other" bs=1 seek=5000 conv=notrunc 2>/dev/null
  same "$(dd if="$folder/other" bs=1 skip=5000 count=7 2>/dev/null)" changed
  truncate -s 10000 "$folder/other"
  truncate -s 20000 "$folder/other"
  same "$(tail -c 10000 "$folder/other" | tr -d '\0' | wc -c)" 0
  head -c 10000 "$folder/other" | cmp - <(head -c 10000 "$aside/other")
  cp "$folder/below/small" "$folder/over"
  cat "$folder/over" >/dev/null
  mv "$folder/other" "$folder/over"
  cmp "$folder/over" "$aside/over"
  rm "$folder/over"
  ends 0 kill "$pid"
  is_back
}
t_one_at_a_time() {
  serve
  status 1 "$program" "$folder" --pool "$pool" # its pool is in use
  status 3 "$program" --recover "$folder"
  says 'is mounted by a process that is running'
  ends 0 kill "$pid"
  is_back
}
t_nothing_to_do() {
  status 0 "$program" --recover "$folder"
  status 1 "$program" "$folder" --pool "$work/no-pool"
  status 1 "$program" "$place/no-folder" --pool "$pool"
  status 1 "$program" "$folder" --pool "$place/../place/folder/below/small"
  says 'may not lie in the folder'
  status 2 "$program" "$folder"
  status 2 "$program" --recover "$folder" --pool "$pool"
  is_back
}
killed() {
  serve
  cat "$folder/numbers" >/dev/null
  ends 137 kill -9 "$pid"
}
t_recovered() {
  killed
  fails cat "$folder/numbers" # a dead mount
  status 0 "$program" --recover "$folder"
  is_back
}
# The service begins with that, for the folders of its configuration.
t_recovered_by_service() {
  killed
  printf 'pool = %s\nsocket = %s\nfolder = %s\n' "$pool" "$socket" "$folder" >"$shm/service.conf"
  "$service_bin" "$shm/service.conf" 2>"$work/service.log" &
  pid=$!
  eventually grep -q ' serves ' "$work/service.log"
  grep -q 'has its name again' "$work/service.log"
  is_back
  ends 0 kill "$pid"
}
t_mounted_again() {
  killed
  serve
  same "$(cat "$folder/numbers" "$folder/below/small" | cksum)" "$sum"
  ends 0 kill "$pid"
  is_back
}
t_somebody_else() {
  killed
  umount -l "$folder"
  echo mine >"$folder/mine"
  status 1 "$program" --recover "$folder"
  says 'something else has this name'
  status 1 "$program" "$folder" --pool "$pool"
  same "$(cat "$folder/mine")" mine
  same "$(cat "$aside/below/small")" small
  mv "$folder" "$work/moved"
  status 0 "$program" --recover "$folder"
  same "$(cat "$work/moved/mine")" mine
  rm -r "$work/moved"
  is_back
}
# A mount that others have made there stays.
t_covered() {
  killed
  umount -l "$folder"
  mount -t tmpfs tmpfs "$folder"
  status 1 "$program" --recover "$folder"
  mountpoint -q "$folder"
  umount "$folder"
  status 0 "$program" --recover "$folder"
  is_back
}
t_random() {
  serve
  timeout -k 10 $((600 + ops / 500)) "$random" "$folder/files" --below "$aside/files" --no-links \
    --seed "$seed" --ops "$ops" >"$shm/random.out" 2>"$shm/random.err" ||
    { head -n 3 "$shm/random.err" >&2; cat "$shm/random.err" >"$shm/failed"; return 1; }
  grep -q ': [0-9]* operations, 0 differences$' "$shm/random.out"
  [ "$(stat_of hit_blocks)" -gt $((ops / 20)) ]
  ends 0 kill "$pid"
  rm -f "$folder/files/"*
  is_back
}

# SIGTERM at any moment is an orderly end.
t_ended_at_once() {
  local n
  for n in $(seq 30); do # soon, and very soon
    begin
    until [ -e "$journal" ] || ! kill -0 "$pid" 2>/dev/null; do :; done
    [ $((n % 3)) = 0 ] && pause 20
    ends 0 kill "$pid"
    is_back || { echo "end $n" >&2; return 1; }
  done
}
t_mount_fails() {
  mount --bind /dev/null /dev/fuse
  status 1 "$program" "$folder" --pool "$pool" || { umount /dev/fuse; return 1; }
  umount /dev/fuse
  says 'cannot be mounted; look whether'
  is_back
}
pause() { sleep "$(printf '0.%03d' $((RANDOM % $1)))"; } # below so many ms
# One life that is killed: while it mounts, while it is used, while it unmounts.
one_kill() { # ROUND
  local user='' got=0
  begin
  case $((RANDOM % 3)) in
  0) pause 60 ;;
  *)
    eventually is_mounted_or_ended
    "$random" "$folder/files" --below "$aside/files" --no-links --until-gone \
      --seed "$((seed * 1000 + $1))" >"$shm/random.out" 2>"$shm/random.err" &
    user=$!
    pause 300
    if [ $((RANDOM % 2)) = 0 ]; then
      kill "$pid"
      pause 30
    fi
    ;;
  esac
  kill -9 "$pid" 2>/dev/null || :
  wait "$pid" 2>/dev/null || :
  if [ -n "$user" ]; then
    wait "$user" || got=$?
    # 3: the file system was gone, and the origin is right; 2: it was gone before the first step.
    [ $got = 3 ] || [ $got = 2 ] ||
      { head -n 3 "$shm/random.err" >&2; cat "$shm/random.err" >"$shm/failed"; return 1; }
  fi
}
t_kills() {
  local n recoverer
  for n in $(seq "$kills"); do
    one_kill "$n"
    if [ $((RANDOM % 3)) = 0 ]; then
      "$program" --recover "$folder" 2>>"$work/log" &
      recoverer=$!
      pause 10
      kill -9 $recoverer 2>/dev/null || :
      wait $recoverer 2>/dev/null || :
    fi
    status 0 "$program" --recover "$folder" || { echo "after kill $n" >&2; return 1; }
    is_back || { echo "after kill $n" >&2; return 1; }
  done
}

new_pool 16MiB
check "nothing to recover, wrong usage" t_nothing_to_do
check "serves and is ended" t_serves
if ! wanted "begins with a checkpoint"; then
  :
elif keeps_syncs; then
  check "begins with a checkpoint" t_begins_safe
else
  skip "begins with a checkpoint" "the volume of $work does not keep what it syncs"
fi
check "lists directories" t_lists
check "unmounted by others" t_unmounted
check "ended while files are open" t_ended_while_open
if need_root "other users"; then check "other users" t_others; fi
if need_root "a link leads out"; then check "a link leads out" t_links_out; fi
check "hits, also in the next session" t_hits
check "what is read again stays warm after a kill" t_stays_warm
check "changes" t_changes
check "pages of the kernel stay" t_pages
check "a file with two names" t_links
check "a name that is gone" t_name_gone
check "ended at any moment" t_ended_at_once
if need_root "the mount fails"; then
  check "the mount fails" t_mount_fails
fi
check "one mount at a time" t_one_at_a_time
check "recovered after a kill" t_recovered
check "recovered by the service" t_recovered_by_service
check "mounted again after a kill" t_mounted_again
check "somebody else's files at the name" t_somebody_else
if need_root "somebody else's mount at the name"; then
  check "somebody else's mount at the name" t_covered
fi
check "random operations of seed $seed: $ops operations" t_random
check "$kills kills of seed $seed" t_kills
[ ! -f "$shm/failed" ] || cat "$shm/failed"
summary
