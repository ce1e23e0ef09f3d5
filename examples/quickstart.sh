#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# quickstart.sh [DIR] - shows on real files what the cache does.
#
# Installs missing packages, builds, makes a pool, and mounts it over DIR (or over a copy of files
# of this machine). Reads a sample of the files cold and warm, compares every byte with the origin,
# and restarts the mount to show that the cache is still warm. Then it does the same over a slow
# storage: a small FUSE program serves DIR again, one read at a time, at 64 MB/s and with 5 ms per
# read. This takes two or three minutes, mostly for the build and the slow storage. The script
# cleans up after itself.
#
# Run it as root, or as a user who may open /dev/fuse. A user has no cache over the slow storage
# without user_allow_other in /etc/fuse.conf. The script uses sudo only to install packages. A
# directory that the user may not mount over is copied first. Do not write files in DIR meanwhile:
# they could not be compared. CACHEMAX_BUILD=BUILDDIR uses the programs of an existing build.
#
# Exit status:
#   0    every byte was right
#   1    a byte was wrong, a file changed meanwhile, or the pool is not sound
#   2    wrong usage, or nothing to read
#   3    something that is needed is missing or failed: a package, the build, a mount
#   4    something could not be unmounted and was left behind; a message says what
#   129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM
set -eu
rate=64 delay=5 # of the slow storage: MB/s, ms a read
budget=10       # seconds that reading the sample from there may take
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(dirname -- "$here")
say() { echo "quickstart.sh: $*" >&2; }
usage() {
  say "$*"
  exit 2
}
case "${1:-}" in
-h | --help)
  sed -n '/^# quickstart/,/^set/s/^# \{0,1\}//p' "$0"
  exit 0
  ;;
-*) usage "unknown option $1; usage: quickstart.sh [DIR]" ;;
esac
[ $# -le 1 ] || usage "one directory at most, but got $#: quote a name that has spaces; \
usage: quickstart.sh [DIR]"
dir=
[ $# = 0 ] || {
  # Some shells take an empty name for the present directory.
  [ -n "$1" ] || usage "the directory's name is empty; name one, or leave it out"
  [ -e "$1" ] || usage "$1 does not exist, or may not be looked at"
  [ -d "$1" ] || usage "$1 is not a directory; name the directory that it is in"
  dir=$(CDPATH='' cd -- "$1" 2>/dev/null && pwd -P) || usage "$1 may not be entered by $(id -un)"
}

# ---- cleaning up, in every case ------------------------------------------------------------------
. "$here/need.sh"
work='' child='' pools='' left=no
origin_dir='' cache_pid='' slow_pid='' # what is mounted where, and by whom
# alive PID: is it a child that still runs? An ended child is a zombie until it is waited for.
alive() {
  [ -r "/proc/$1/stat" ] && { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  case ${line##*) } in Z* | X*) return 1 ;; esac
}
# alive_for TENTHS PID: returns 1 if it ended in that many tenths of a second.
alive_for() {
  tenths=$1
  while alive "$2"; do
    [ "$tenths" -gt 0 ] || return 0
    sleep 0.1
    tenths=$((tenths - 1))
  done
  return 1
}
# top_mount DIR: prints the type of the topmost mount there, nothing if there is none. It asks the
# kernel, because a dead mount does not answer, and a machine may have no /etc/mtab.
top_mount() {
  DIR=$1 awk '{
    at = $5
    gsub(/\\040/, " ", at); gsub(/\\011/, "\t", at)
    gsub(/\\012/, "\n", at); gsub(/\\134/, "\\", at)
    if (at == ENVIRON["DIR"]) { for (i = 6; $i != "-"; i++); type = $(i + 1) }
  } END { print type }' /proc/self/mountinfo
}
# unmount DIR TYPE PID: ends the program that serves DIR, which unmounts it. If it does not, this
# tries all other ways. Sets $ended to the program's exit status.
unmount() {
  kill -TERM "$3" 2>/dev/null || :
  if alive_for 300 "$3"; then
    say "the process that serves $1 does not end, so it is killed"
    kill -KILL "$3" 2>/dev/null || :
    alive_for 50 "$3" || :
  fi
  ended=0
  alive "$3" || wait "$3" || ended=$?
  # It could not unmount, and nothing else is wrong: the commands below unmount it.
  [ "$ended" != 1 ] || [ "$(top_mount "$1")" != "$2" ] || ended=0
  said=
  for how in "fusermount3 -u" "fusermount3 -u -z" "umount -l"; do
    [ "$(top_mount "$1")" = "$2" ] || {
      [ -z "$said" ] || say "$1 was unmounted with trouble:$said"
      return 0
    }
    said="$said
  $how: $($how "$1" 2>&1)" || :
  done
  [ "$(top_mount "$1")" = "$2" ] || {
    say "$1 was unmounted with trouble:$said"
    return 0
  }
  left=yes
  say "cannot unmount $1:$said"
  say "left behind: the mount on $1; as root: umount -l '$1'"
}
cleanup() {
  status=$?
  trap '' INT TERM HUP
  trap - EXIT
  set +e
  need_end
  if [ -n "$child" ]; then
    kill -TERM "-$child" "$child" 2>/dev/null
    alive_for 50 "$child"
    kill -KILL "-$child" 2>/dev/null
    alive "$child" || wait "$child" 2>/dev/null
  fi
  [ -z "$cache_pid" ] || unmount "$origin_dir" fuse.cachemax "$cache_pid"
  [ -z "$slow_pid" ] || unmount "$work/slow" fuse.throttle "$slow_pid"
  for p in $pools; do
    rm -f -- "$place/$p" "$place/$p.control" # a mount that was killed leaves its socket
  done
  # Never delete through a mount that is still there. A second try, in case a compiler that was just
  # ending wrote something.
  [ -z "$work" ] || [ $left = yes ] || rm -rf --one-file-system -- "$work" 2>/dev/null ||
    { sleep 0.5 && rm -rf --one-file-system -- "$work"; }
  [ $left = no ] || {
    say "left behind: $work"
    status=4
  }
  exit $status
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
# run COMMAND...: runs it in its own process group, so that a signal is handled at once and ends the
# whole group.
run() {
  setsid "$@" &
  child=$!
  rc=0
  wait "$child" || rc=$?
  child=
  return $rc
}
# watch LABEL LOG COMMAND...: the same; prints the last "[done/all]" of LOG as progress on stderr.
watch() {
  label=$1 log=$2 began=$(date +%s) next=5
  shift 2
  setsid "$@" >>"$log" 2>&1 &
  child=$!
  while alive "$child"; do
    sleep 0.3
    passed=$(($(date +%s) - began))
    [ $passed -ge $next ] || continue
    steps=$(tail -c 1000 "$log" | sed -n 's/.*\[\([0-9]*\)\/\([0-9]*\)\].*/\1 \2/p' | tail -n 1)
    at=${steps% *} all=${steps#* }
    note="$passed s"
    [ "${at:-0}" = 0 ] || note="step $at of $all"
    # The first twentieth says little of how long the rest takes.
    [ $((${at:-0} * 20)) -le "${all:-0}" ] ||
      note="$note, about $((passed * (all - at) / at + 1)) s left"
    if [ -t 2 ]; then
      next=$((passed + 1))
      printf '\r%s: %s\033[K' "$label" "$note" >&2
    else
      next=$((passed + 10))
      echo "  $label: $note" >&2
    fi
  done
  [ ! -t 2 ] || printf '\r\033[K' >&2
  rc=0
  wait "$child" || rc=$?
  child=
  return $rc
}

# ---- what is needed ------------------------------------------------------------------------------
if [ -z "${CACHEMAX_BUILD:-}" ]; then
  [ -f "$top/meson.build" ] || {
    say "there is no source to build in $top: run examples/quickstart.sh of the whole source" \
      "(packages install only the text of it)"
    exit 3
  }
  need build-essential meson ninja-build pkg-config libxxhash-dev || exit 3
fi
fuse=yes why=
if [ ! -e /dev/fuse ]; then
  fuse=no why="there is no /dev/fuse here \
(modprobe fuse; a container needs --device /dev/fuse and CAP_SYS_ADMIN)"
elif ! (: <>/dev/fuse) 2>/dev/null; then
  fuse=no why="$(id -un) may not open /dev/fuse (as root: chmod 666 /dev/fuse, or run this as root)"
elif [ -z "${CACHEMAX_BUILD:-}" ] && ! need libfuse3-dev fuse3; then
  fuse=no why="libfuse3 could not be installed"
elif [ "$(id -u)" != 0 ] && [ ! -r /etc/mtab ]; then
  # fusermount3 reads that file to decide whether an ordinary user may unmount.
  fuse=no why="there is no /etc/mtab, without which fusermount3 unmounts for root only \
(as root: ln -s /proc/self/mounts /etc/mtab)"
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-quickstart.XXXXXX")
work=$(CDPATH='' cd -- "$work" && pwd -P)
build=$work/build
[ -z "${CACHEMAX_BUILD:-}" ] || build=$(realpath -- "$CACHEMAX_BUILD")
if [ -z "${CACHEMAX_BUILD:-}" ]; then
  echo "building in $build"
  watch building "$work/log" \
    sh -c 'meson setup "$1" "$2" -Dtests=false --buildtype=release && cd "$1" && ninja $(
      ninja -t targets all | grep -oE "^($3)/[a-z-]+:" | tr -d :)' \
    - "$build" "$top" 'src/tool|examples/mount|examples/quickstart' || {
    tail -n 20 "$work/log" >&2
    say "the build failed"
    exit 3
  }
fi
cachemax=$build/src/tool/cachemax
mount=$build/examples/mount/cachemax-mount
throttle=$build/examples/quickstart/throttle
quickread=$build/examples/quickstart/quickread
for p in "$cachemax" "$quickread"; do
  [ -x "$p" ] || {
    say "there is no $p; build it first, or leave CACHEMAX_BUILD empty"
    exit 3
  }
done
[ -x "$mount" ] && [ -x "$throttle" ] || { fuse=no why=${why:-"the mount was not built"}; }
nested=yes # nested: may the cache be mounted over a FUSE mount?
said_cat=no
say_cat() {
  [ $said_cat = yes ] ||
    echo "FUSE: $why; 'cachemax cat' reads the files instead, one process per file"
  said_cat=yes
}
if [ $fuse = no ]; then
  say_cat
elif [ "$(id -u)" != 0 ] && ! grep -q '^user_allow_other' /etc/fuse.conf 2>/dev/null; then
  nested=no
  echo "$(id -un) may not mount over a FUSE mount, so the slow storage is read without the cache" \
    "only (as root: echo user_allow_other >>/etc/fuse.conf, or run this as root)"
fi

# ---- a place for the pool: a DAX volume if there is one, else memory ----------------------------
place=
for m in $(findmnt -rno TARGET,FS-OPTIONS 2>/dev/null |
  awk '$2 ~ /(^|,)dax(=always)?(,|$)/ { print $1 }'); do
  [ -w "$m" ] && place=$m && break
done
if [ -n "$place" ]; then
  echo "pool: on the DAX volume $place (survives power cuts)"
elif [ -w /dev/shm ]; then
  place=/dev/shm
  echo "pool: in /dev/shm, there is no DAX volume here (fast, but gone at reboot)"
else
  place=$work
  echo "pool: in $work, there is neither a DAX volume nor /dev/shm here"
fi

# ---- files to read -------------------------------------------------------------------------------
# sample DIR [MIN MAX]: chooses files; sets $files and $bytes.
sample() {
  from=$1
  shift
  run "$quickread" sample "$from" "$work/names" "$work/n" $rate $delay $budget "$@" || exit 3
  read -r files bytes <"$work/n"
  [ "$bytes" -gt 0 ] || {
    say "no files with something in them to read below $from"
    exit 2
  }
}
copy=
if [ -z "$dir" ]; then
  dir=/usr/lib copy="no directory was given"
  sample $dir 131072 25165824 # of a middle size
else
  sample "$dir"
  # holds PATH...: is one of them in DIR? A mount over DIR must not cover what this script needs.
  holds() {
    for f in "$@"; do
      f=$(realpath -- "$f" 2>/dev/null) || continue
      case "$f/" in "${dir%/}"/*) return 0 ;; esac
    done
    return 1
  }
  if holds "$work" "$place" "$build" "$top" /bin/sh /etc/passwd /lib/*/libc.so.6 \
    /lib64/libc.so.6; then
    copy="this script needs files in $dir"
  elif [ $fuse = yes ] && [ "$(id -u)" != 0 ] && [ ! -w "$dir" ]; then
    copy="$(id -un) may not mount over $dir"
  elif [ $fuse = no ] && [ "$(id -u)" != 0 ] && [ ! -O "$dir" ]; then
    copy="'cachemax cat' keeps only $(id -un)'s own files warm"
  fi
fi
if [ -n "$copy" ]; then
  echo "$copy: copying $((bytes / 1048576)) MiB of $dir to $work/sample"
  mkdir "$work/sample"
  # tar counts records of 10 KiB.
  watch copying "$work/log" sh -c 'tar -C "$1" --null --no-recursion --checkpoint=100 \
    --checkpoint-action="echo=[%u/$4]" -T "$2" -cf - | tar -C "$3" -xf -' \
    - "$dir" "$work/names" "$work/sample" \
    $((bytes / 10240 + files / 10 + 1)) || {
    tail -n 3 "$work/log" >&2
    say "copying failed"
    exit 3
  }
  dir=$work/sample
fi

# ---- reading -------------------------------------------------------------------------------------
drop() { # DIR: empties the kernel's page cache, or the page cache would answer the reads
  run "$quickread" drop "$1" "$work/names" || exit 3
}
counters() { # NAME...: prints these of the pool's present session, each 0 if there is none
  "$cachemax" stats "$pool" --json | tr ',{}' '\n\n\n' | awk -F '[": ]+' -v names="$*" '
    !($2 in first) { first[$2] = $3 }
    END {
      n = split(names, name, " ")
      for (i = 1; i <= n; i++) printf "%.0f%s", first[name[i]], i < n ? " " : "\n"
    }'
}
# wait_mount DIR TYPE PID LOG: waits until it is mounted. Returns 1 if the program ended instead.
wait_mount() {
  while alive "$3"; do
    [ "$(top_mount "$1")" != "$2" ] || return 0
    sleep 0.05
  done
  why="mounting failed: $(tail -n 3 "$4" | paste -s -d ';' -)"
  return 1
}
start() { # DIR [OPTION...]: mounts the cache over it
  [ $fuse = yes ] || return 0
  origin_dir=$1
  shift
  setsid "$mount" "$origin_dir" --pool "$pool" -f "$@" >"$work/mount.log" 2>&1 &
  cache_pid=$!
  wait_mount "$origin_dir" fuse.cachemax $cache_pid "$work/mount.log" || {
    unmount "$origin_dir" fuse.cachemax $cache_pid
    cache_pid=
    fuse=no
  }
}
stop() {
  [ -n "$cache_pid" ] || return 0
  n=$(counters unrecorded)
  [ "$n" -le "$unrecorded" ] || unrecorded=$n
  unmount "$origin_dir" fuse.cachemax "$cache_pid"
  cache_pid=
  [ $left = no ] || exit 4
  [ "$ended" = 0 ] || {
    say "the mount ended with status $ended: $(tail -n 1 "$work/mount.log")"
    exit 1
  }
}
new_pool() { # NAME
  pools="$pools $1"
  pool=$place/$1
  # Room for every block, one more block per file for its last bytes, and twice as many files.
  run "$cachemax" create "$pool" \
    --size $((((bytes + files * 4096) * 5 / 4 / 1048576 + 64) * 1048576)) \
    --max-files $((files * 2 + 64)) --quiet || exit 3
}
# The bytes read differ from the origin. Did the origin change meanwhile?
differs() {
  stop
  run "$quickread" read "comparing" "$dir" "$work/names" "$work/now" "$work/n" "$bytes" || exit 3
  for f in sums now; do
    diff "$work/truth" "$work/$f" | sed -n 's/^[<>] .\{33\}//p' | LC_ALL=C sort -u >"$work/$f.names"
  done
  LC_ALL=C comm -23 "$work/sums.names" "$work/now.names" >"$work/wrong"
  if [ ! -s "$work/wrong" ]; then
    say "files in $dir were changed while they were read, so nothing can be compared:"
    head -n 5 "$work/sums.names" >&2
    say "name a directory that nobody writes, or none for a sample"
  else
    echo "WRONG BYTES: what was read differs from the origin" >&2
    head -n 5 "$work/wrong" >&2
  fi
  exit 1
}
print_row() { # LABEL MS [HITS MIB]; MS -: without times
  if [ "$2" = - ]; then
    printf '  %-26s %11s %13s' "$1" - -
  else
    printf '  %-26s %8d ms %8d MB/s' "$1" "$2" $((bytes / 1000 / $2))
  fi
  printf '   %8s  %10s\n' "${3:-}" "${4:-}"
}
# row LABEL DIR: reads everything once more and prints a row of the table; sets $ms.
row() {
  counters hit_blocks miss_blocks pool_bytes >"$work/before"
  run "$quickread" read "$1" "$2" "$work/names" "$work/sums" "$work/n" "$bytes" || exit 3
  read -r ms _ <"$work/n"
  cmp -s "$work/sums" "$work/truth" || differs
  [ "$ms" -gt 0 ] || ms=1
  counters hit_blocks miss_blocks pool_bytes >"$work/after"
  read -r h0 m0 w0 <"$work/before"
  read -r h m w <"$work/after"
  h=$((h - h0)) m=$((m - m0)) w=$((w - w0))
  # shellcheck disable=SC2046 # two words
  set -- "$1" $(awk -v h=$h -v m=$m -v w=$w \
    'BEGIN { printf "%.1f %.1f", h + m ? 100 * h / (h + m) : 0, w / 1048576 }')
  print_row "$1" "$ms" "$2 %" "$3"
}
# rows DIR [OPTION...]: reads cold, warm, and warm after a restart. Sets $warm and $again to the
# times of the last two; $again is empty if it was not warm. Each starts with an empty page cache;
# that of a fresh mount is empty.
rows() {
  again=
  start "$@"
  [ $fuse = yes ] || return 0
  row 'cold' "$1"
  drop "$1"
  row 'warm' "$1"
  warm=$ms
  stop
  start "$@"
  [ $fuse = yes ] || return 0
  row 'warm, after a restart' "$1"
  # A tenth may miss: files that were read while they were written.
  if [ $h -ge $(((h + m) * 9 / 10)) ]; then
    again=$ms
  else
    echo "  (only $h of $((h + m)) blocks came from the pool: on some file systems nobody can" \
      "say after a restart"
    echo "  whether a file is still the same, as on FUSE without --volume-id; see docs/mount.md)"
  fi
  stop
}
sound() {
  "$cachemax" check "$pool" >/dev/null || {
    say "every byte equals the origin, but the pool does not check sound"
    exit 1
  }
}

# rows_of_cat DIR: for a DIR that nothing can be mounted over. "cachemax cat" reads each file in a
# process of its own, cold and warm, which is a restart per file. They have no times: what takes
# long is to begin the processes, and to compare each file.
rows_of_cat() {
  for label in cold warm; do
    : >"$work/count"
    : >"$work/cat.log"
    watch "$label" "$work/cat.log" \
      sh -c 'cd "$1" && exec xargs -0 -a "$2" -I{} sh -c '\''"$0" cat "$5" --pool "$1" -v |
      cmp -n 67108864 - "$2/$5" && echo >>"$3" &&
      echo "[$(wc -l <"$3")/$4]"'\'' "$3" "$4" "$5" "$6" "$7" {}' \
      - "$1" "$work/names" "$cachemax" "$pool" "$dir" "$work/count" "$files" || {
      run "$quickread" read "comparing" "$1" "$work/names" "$work/sums" "$work/n" "$bytes" || exit 3
      cmp -s "$work/sums" "$work/truth" || differs
      echo "WRONG BYTES: what was read differs from the origin" >&2
      tail -n 3 "$work/cat.log" >&2
      exit 1
    }
    # Blocks that came from the pool, and all blocks.
    # shellcheck disable=SC2046 # three words
    set -- "$1" $(sed -n 's/.*; \([0-9]*\) hits*, \([0-9]*\) miss[es]* (.*/\1 \2/p' \
      "$work/cat.log" |
      awk '{ h += $1; n += $1 + $2 } END { printf "%d %d %.1f", h, n, n ? 100 * h / n : 0 }')
    name=$label
    # A tenth may miss: files that were read while they were written.
    [ $label = cold ] || [ "$2" -gt $(($3 * 9 / 10)) ] || name='again, not warm'
    print_row "$name" - "$4 %" -
  done
  echo "  (no times: each file takes a process of its own and is compared with the origin. With"
  echo "  /dev/fuse this shows how fast a warm cache is)"
  [ "$name" = warm ] || {
    echo "  (only $2 of $3 blocks came from the pool: 'cachemax cat' keeps a file warm only if it" \
      "can rule out"
    echo "  other writers. That needs a local file system, not FUSE, and the file's owner or root)"
  }
}

# ---- the table -----------------------------------------------------------------------------------
unrecorded=0
drop "$dir"
run "$quickread" read "reading the origin" "$dir" "$work/names" "$work/truth" "$work/n" "$bytes" \
  $((budget + 5)) "$work/readable" || exit 3
mv "$work/readable" "$work/names"
read -r origin_ms files bytes <"$work/n"
[ "$bytes" -gt 0 ] || {
  say "nothing in $dir could be read"
  exit 2
}
[ "$origin_ms" -gt 0 ] || origin_ms=1
new_pool cachemax-quickstart.$$.a
echo "reading $files files, $((bytes / 1048576)) MiB, in $dir"
printf '%-28s %11s %13s   %8s  %10s\n' '' time speed 'hit rate' 'MiB to pool'
echo "this machine's own storage"
print_row 'without the cache' "$origin_ms"
drop "$dir"
[ $fuse = no ] || rows "$dir"
if [ $fuse = no ]; then
  say_cat
  rows_of_cat "$dir"
  sound
  echo "every byte equals the origin; the pool checks sound"
  "$cachemax" info "$pool" | grep -E '^(state|durability):'
  exit 0
fi
sound
own=$warm own_again=$again

echo "slow storage: the same files through a throttle, $rate MB/s and $delay ms a read"
mkdir "$work/slow"
setsid "$throttle" "$dir" "$work/slow" $rate $delay >"$work/slow.log" 2>&1 &
slow_pid=$!
wait_mount "$work/slow" fuse.throttle $slow_pid "$work/slow.log" || {
  say "$why"
  exit 3
}
run "$quickread" read 'slow storage, without the cache' "$work/slow" "$work/names" "$work/sums" \
  "$work/n" "$bytes" ||
  exit 3
read -r slow_ms _ <"$work/n"
cmp -s "$work/sums" "$work/truth" || differs
print_row 'without the cache' "$slow_ms"
above=
if [ $nested = no ]; then
  above=' above' # what it gains here can be told all the same: a hit asks no storage for bytes
else
  new_pool cachemax-quickstart.$$.b
  # A name is right on FUSE here: the throttle passes on inode numbers, and these are stable.
  rows "$work/slow" -o ro --volume-id quickstart
  [ $fuse = yes ] || {
    say "$why"
    exit 3
  }
fi
unmount "$work/slow" fuse.throttle "$slow_pid"
slow_pid=
[ $left = no ] || exit 4
sound

echo "every byte equals the origin; the pools check sound"
"$cachemax" info "$pool" | grep -E '^(state|durability):'
[ "$unrecorded" = 0 ] ||
  echo "$unrecorded files had no place in the pool's file table: they were not kept warm"
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf a < b ? "%.2f" : "%.1f", a / b }'; }
# gain STORAGE MS WARM [AGAIN]: what the rows of the table say about a storage.
gain() {
  echo "$1: the warm cache$above is $(ratio "$2" "$3") times as fast\
${4:+, right after a restart $(ratio "$2" "$4") times}"
}
gain "slow storage" "$slow_ms" "$warm" "$again"
above=
gain "this machine's own storage" "$origin_ms" "$own" "$own_again"
[ "$own" -le "$origin_ms" ] ||
  echo "(this machine's storage is faster than a FUSE mount:" \
    "a cache helps if the storage is slower)"
