#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# tool-test.sh - tests of the cachemax command line tool, through the command line only.
#
# Usage: tool-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed. Needs about 3 GiB in /dev/shm and 300 MiB in
# $TMPDIR; some checks need root.

set -u
build=${1:?usage: tool-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

# ---- Help, version, usage ----------------------------------------------------------------------

test_usage()
{
  expect version 0 '^cachemax [0-9]+\.[0-9]+\.[0-9]+$' "$cm" --version
  for program in dash compare; do
    if [ -e "$cm-$program" ]; then
      expect "version-$program" 0 "^cachemax-$program $("$cm" -V | cut -d ' ' -f 2)\$" \
        "$cm-$program" --version
    else
      skip "version-$program" "it is not built here"
    fi
  done
  expect help 0 'Exit status' "$cm" --help
  for s in 0 1 2 3 4 5 6 7 8 128; do
    grep -Eq "^ +$s +[a-z]" out || fail "help-status-$s" "not in --help"
    [ ! -f "$here/../../docs/cachemax.1" ] ||
      grep -Eq "^\.It $s(\+n)?$" "$here/../../docs/cachemax.1" ||
      fail "man-status-$s" "not in cachemax.1"
  done
  check help-width test -z "$(grep -E '.{101}' out)"
  for c in create resize info check stats top dash files cat bench replay advise compare dump list \
    warm pin unpin cached forget mode record completion; do
    expect "help-$c" 0 "Usage: cachemax $c " "$cm" $c --help
    check "help-$c-width" test -z "$(grep -E '.{101}' out)"
    expect "help-$c-prefix" 0 "Usage: cachemax $c " "$cm" help $c
  done
  expect no-command 2 'a command is needed' "$cm"
  expect unknown-command 2 "unknown command 'craete'; did you mean 'create'" "$cm" craete x
  expect unknown-command-far 2 "unknown command 'xyzzy'$" "$cm" xyzzy
  expect unknown-command-like-none 2 "unknown command 'nope'$" "$cm" nope
  expect unknown-option 2 "unknown option '--siez' of 'create'; did you mean '--size'" \
    "$cm" create p --siez 8G
  expect unknown-option-equals 2 "did you mean '--repair'" "$cm" check p --repiar=1
  expect unknown-option-global 2 "did you mean '--version'" "$cm" --verison
  expect unknown-letter 2 "unknown option '-z' of 'info'" "$cm" info p -z
  expect unwanted-value 2 "'--sparse' takes no value" "$cm" create p --sparse=yes
  expect missing-value 2 "'--size' needs a value" "$cm" create p --size
  expect option-twice 2 "'--size' is there twice" "$cm" create p --size 4M --size 8M
  expect missing-operand 2 'needs the name of a pool' "$cm" info
  expect empty-operand 2 'empty name' "$cm" info ''
  expect size-operand 2 'A size is an option: --size 20M' "$cm" create q 20M
  check size-operand-nothing test ! -e q
  : >p
  expect bench-pool 2 "p: is no directory: 'bench' makes a pool of its own in DIR" "$cm" bench p
  rm p
  expect bench-nothing 1 'p: not a directory .* choose another DIR' "$cm" bench p
  expect two-operands 2 "takes one POOL, but got 'a' and 'b'" "$cm" info a b
  expect watch-detached 2 '--watch=SECONDS' "$cm" stats p --watch 5
  expect watch-junk 2 "'soon' is not a number of seconds" "$cm" stats p --watch=soon
  expect watch-zero 2 'is not a number of seconds' "$cm" stats p --watch=0
  expect watch-nan 2 'is not a number of seconds' "$cm" stats p --watch=nan
  expect cat-no-pool 2 'needs a pool to read through' "$cm" cat /etc/passwd
  expect create-no-size 2 'needs the pool.s size' "$cm" create p
  [ ! -e p ] || fail usage-nothing-made "p was made"
}

# ---- Completion --------------------------------------------------------------------------------

# in_bash WORD...: what bash offers for the last word.
in_bash()
{
  bash -c 'source completion.bash; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _cachemax
    printf "%s\n" "${COMPREPLY[@]}" | sort' _ cachemax "$@"
}
# offers NAME WANTED WORD...: WANTED has blanks between its words
offers()
{
  local name=$1 want=$2 got
  shift 2
  got=$(in_bash "$@" 2>&1 | paste -sd' ')
  if [ "$got" = "$want" ]; then ok "$name"; else fail "$name" "'$got' instead of '$want'"; fi
}
test_completion()
{
  local c commands
  expect completion 0 'complete -F _cachemax cachemax' "$cm" completion bash
  cp out completion.bash
  expect completion-unknown 2 "did you mean 'bash'" "$cm" completion bsh
  expect completion-none 2 'needs the name of a shell' "$cm" completion
  commands=$("$cm" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
  # shellcheck disable=SC2086 # words
  offers completion-commands "$(printf "%s\n" $commands --help --version help | sort |
    paste -sd' ')" ''
  for c in $commands; do
    offers "completion-options-$c" \
      "$("$cm" "$c" --help | sed -n 's/^  \(-., \|    \)\(--[a-z-]*\).*/\2/p' | sort |
        paste -sd' ')" "$c" --
  done
  offers completion-command 'cached cat' ca
  offers completion-help 'create' help cr
  mkdir files
  touch 'files/with blank' files/other
  offers completion-file 'files/other files/with blank' info files/
  offers completion-values 'size' files --sort s
  offers completion-letter 'used' files -s u
  offers completion-joined 'hits' files --sort = hi
  offers completion-empty-joined 'bytes hits name size used' files p --sort =
  offers completion-no-value '' create p --size fi
  offers completion-value-file 'files' warm --list fil
  offers completion-operand 'freeze' mode p fr
  offers completion-structure 'slot superblock' dump p s
  offers completion-shell 'zsh' completion z
  offers completion-nothing '' list x
  rm -r files
  "$cm" completion zsh >_cachemax && "$cm" completion fish >cachemax.fish
  if command -v zsh >/dev/null; then
    check completion-zsh zsh -n _cachemax
    expect completion-zsh-known 0 '^_cachemax$' zsh -fc \
      'autoload -Uz compinit; compinit -u -D; source ./_cachemax; print -- $_comps[cachemax]'
  else
    skip completion-zsh "no zsh here"
  fi
  if command -v fish >/dev/null; then
    expect completion-fish 0 '^freeze' env HOME="$work" fish -c \
      'source cachemax.fish; complete -C "cachemax mode p fr"'
    expect completion-fish-option 0 '^--rate.*20M' env HOME="$work" fish -c \
      'source cachemax.fish; complete -C "cachemax warm --ra"'
  else
    skip completion-fish "no fish here"
  fi
}

# ---- Sizes -------------------------------------------------------------------------------------

# good_size TEXT BYTES
good_size()
{
  rm -f sized
  if ! "$cm" create sized --size "$1" --sparse -q 2>err; then
    fail "size-'$1'" "$(cat err)"
  elif [ "$(stat -c %s sized)" != "$2" ]; then
    fail "size-'$1'" "$(stat -c %s sized) bytes instead of $2"
  else
    ok "size-'$1'"
  fi
  rm -f sized
}

# bad_size TEXT PATTERN
bad_size()
{
  expect "bad-size-'$1'" 2 "$2" "$cm" create sized --size="$1"
  if [ -e sized ]; then
    fail "bad-size-'$1'-nothing-left" "a file was made"
    rm -f sized
  fi
}

test_sizes()
{
  good_size 1048576 1048576
  good_size 1M 1048576
  good_size 1m 1048576
  good_size 1MiB 1048576
  good_size 1mib 1048576
  good_size '2 M' 2097152
  good_size 1024K 1048576
  good_size 1048576B 1048576
  good_size 1.5M 1572864
  good_size 1.3M 1359872 # 1363148.8, the multiple of 4096 below
  good_size 1MB 999424
  good_size 10GB 9999998976
  good_size 1TB 1000000000000
  good_size 1.5T 1649267441664
  bad_size 0 "'0' is too small; the smallest pool has "
  bad_size 0G 'too small'
  bad_size 4096 'too small'
  bad_size 1 'too small'
  bad_size -1 'is negative'
  bad_size -8G 'is negative'
  bad_size 1048577 'not a multiple of 4096; use --size 1048576$'
  bad_size 1052671 'not a multiple of 4096; use --size 1052672$'
  bad_size 1025K 'not a multiple of 4096; use --size 10[0-9]+$'
  bad_size 65T 'too large; the largest pool has '
  bad_size 16777216T 'too large'
  bad_size 18446744073709551615 'too large'
  bad_size 18446744073709551616 'too large'
  bad_size 99999999999999999999999999G 'too large'
  bad_size 9999999999.9P 'too large'
  bad_size '' 'not a size'
  bad_size G 'not a size'
  bad_size .5G 'not a size'
  bad_size 1.G 'not a size'
  bad_size 1.5 'not a size'
  bad_size 1..5G 'not a size'
  bad_size 8GX 'not a size'
  bad_size 8GiBs 'not a size'
  bad_size 0x100000 'not a size'
  bad_size 1e9 'not a size'
  bad_size +8G 'not a size'
  bad_size ' 8G' 'not a size'
  bad_size abc 'not a size'
  bad_size nan 'not a size'
  expect max-files-zero 2 'leaves no room' "$cm" create sized --size 1M --max-files 0
  expect max-files-junk 2 'is not a number' "$cm" create sized --size 1M --max-files many
  expect max-files-negative 2 'is negative' "$cm" create sized --size 1M --max-files -3
  expect max-files-overflow 2 'is too large' "$cm" create sized --size 1M \
    --max-files 99999999999999999999
  expect max-files-beyond-pool 2 'max-files' "$cm" create sized --size 1M --max-files 1000000000
  check max-files-nothing-left test ! -e sized
  expect max-files-good 0 '' "$cm" create sized --size 1M --max-files 40
  [ -z "$json" ] || { "$cm" info sized --json >i.json &&
    check max-files-kept test "$(jget i.json max_files)" -ge 40; }
  rm -f sized
}

# ---- create and info ---------------------------------------------------------------------------

test_create()
{
  expect create 0 'new.pool: made, 4.00 MiB' "$cm" create new.pool --size 4M
  check create-mode test "$(stat -c %a new.pool)" = 600
  check create-preallocates test "$(stat -c '%b * %B / 4096' new.pool | xargs expr)" -ge 1000
  cp new.pool copy
  expect exists-already 1 'new.pool: exists already' "$cm" create new.pool --size 8M
  check exists-already-untouched cmp new.pool copy
  mkdir -p dir
  expect create-on-directory 1 'dir: is a directory' "$cm" create dir --size 4M
  expect create-no-directory 1 "no directory 'nowhere/deep'" "$cm" create nowhere/deep/p --size 4M
  expect create-quiet 0 '' "$cm" create quiet.pool --size 4M --quiet
  check create-quiet-silent test ! -s out -a ! -s err
  rm -f quiet.pool
  ln -s nothing-here dangling
  expect create-dangling-link 1 'dangling: is a symbolic link to a file that does not exist' \
    "$cm" create dangling --size 4M
  expect info-dangling-link 1 'dangling: is a symbolic link to' "$cm" info dangling
  check create-dangling-link-untouched test ! -e nothing-here
  ln -s round round
  expect info-link-loop 1 'round: symbolic links in this path lead in a circle' "$cm" info round
  expect create-link-loop 1 'round/p: symbolic links in this path lead in a circle' \
    "$cm" create round/p --size 4M

  state_is info-clean new.pool clean
  expect info-lines 0 'size: +4.00 MiB \(4194304 bytes\)' "$cm" info new.pool
  for word in slots 'max files' metadata memory durability flush fills epoch uuid; do
    grep -q "^$word: *[^ ]" out || fail "info-$word" "no such line"
  done
  expect info-write-error 1 'standard output' bash -c "'$cm' info new.pool >/dev/full"
  expect info-closed 1 'standard output' bash -c "exec '$cm' info new.pool <&- >&-"
  expect create-write-error 1 \
    'lost.pool: the pool was made, but standard output cannot be written' \
    bash -c "'$cm' create lost.pool --size 1M >/dev/full"
  state_is create-write-error-whole lost.pool clean
  local long
  long=$(printf 'a%.0s' {1..300})
  expect create-long 1 'path is too long' "$cm" create "$long" --size 4M --max-files 50
  expect info-long 1 'path is too long' "$cm" info "$long"
  expect create-nowhere 1 'q: the working directory was removed; change to another' \
    bash -c "mkdir gone && cd gone && rmdir ../gone && '$cm' create q --size 4M"
  expect create-below-file 1 "'new.pool' is no directory" "$cm" create new.pool/ --size 4M
  expect create-write-error-quiet 0 '' \
    bash -c "rm lost.pool; '$cm' create lost.pool --size 1M -q >/dev/full"
  rm -f lost.pool
  expect create-fresh-check 0 ': sound' "$cm" check new.pool
  check check-changes-nothing cmp new.pool copy
  expect stats-unused 0 'nothing read yet' "$cm" stats new.pool
  expect stats-unused-wear 0 \
    '^wear: 0.00 drive writes \(of its size now\) since it was made; observed [0-9]+ s, needs' \
    "$cm" stats new.pool
  expect advise-unused 6 \
    'new.pool: not enough reads yet: observed 0 of about [0-9]+ block reads \(0 bytes of 7' \
    "$cm" advise new.pool
  rm -f new.pool copy dangling
  rmdir dir
}

# info_limits NAME POOL: overhead and memory as promised, from info --json.
info_limits()
{
  "$cm" info "$2" --json >i.json || { fail "$1" "info failed"; return; }
  local size slots meta dram
  size=$(jget i.json size) slots=$(jget i.json slots)
  meta=$(jget i.json metadata_bytes) dram=$(jget i.json dram_bytes)
  check "$1-overhead-2-percent" test $((meta * 100)) -le $((size * 2))
  check "$1-adds-up" test $((slots * 4096 + meta)) = "$size"
  check "$1-memory-12-bytes-a-slot" test "$dram" -le $((slots * 12)) -a "$dram" -gt 0
}

test_sparse()
{
  if [ -z "$shm" ] || [ -z "$json" ]; then
    skip sparse "needs /dev/shm and jq or python3"
    return
  fi
  for size in 1G 3G 100G 1T; do
    expect "sparse-$size" 0 'sparse' "$cm" create "$shm/p" --size $size --sparse
    info_limits "sparse-$size" "$shm/p"
    check "sparse-$size-is-sparse" test "$(stat -c %b "$shm/p")" -lt 8192
    rm -f "$shm/p"
  done
  "$cm" create "$shm/p" --size 1T --sparse -q
  make_file data 3000000
  through sparse-1T-cat data "$shm/p"
  through sparse-1T-cat-again data "$shm/p" && all_hits sparse-1T-warm
  expect sparse-volatile 0 'durability: +volatile: tmpfs, lost at reboot' "$cm" info "$shm/p"
  rm -f "$shm/p" data
}

test_full_volume()
{
  mkdir -p small
  if [ "$(id -u)" != 0 ] || ! mount -t tmpfs -o size=8m none small 2>/dev/null; then
    skip full-volume "cannot mount a small tmpfs"
    return
  fi
  expect full-volume 1 "p: not enough space on the volume at $work/small \\(8.00 MiB free\\)" \
    "$cm" create small/p --size 64M
  check full-volume-nothing-left test -z "$(ls -A small)"
  expect full-volume-sparse 0 '' "$cm" create small/p --size 64M --sparse
  make_file data 20000000
  through full-volume-cat data small/p
  through full-volume-cat-again data small/p
  # Here even the holes of the file cannot be read through a mapping while the volume is full.
  expect full-volume-sound 0 ': sound' "$cm" check small/p
  # What there is room for goes on in turn, for files that come later as well, and nothing else is
  # forgotten. (A new file's record may fall on a page that is not there: cold next time.)
  make_file late 1000000
  through full-volume-late late small/p
  through full-volume-still-warm data small/p
  check full-volume-still-hits test "$(sed -n 's/.*; \([0-9]*\) hits*, .*/\1/p' err)" -gt 100
  "$cm" stats small/p --json >s.json
  check full-volume-nothing-forgotten test "$(jget s.json escalations)" = 0
  expect full-volume-sound-still 0 ': sound' "$cm" check small/p
  rm -f late
  if mount -o remount,size=100m small 2>/dev/null; then
    expect full-volume-check 0 ': sound' "$cm" check small/p
    through full-volume-cat-with-room data small/p
    through full-volume-cat-with-room-again data small/p && all_hits full-volume-warm-with-room
  fi
  umount small
  mount -t tmpfs -o size=8m none small
  # A pool whose file table has more holes than pages, until a file finds no page for its record:
  # more --max-files would not help it.
  local i=0 unrecorded=0
  "$cm" create small/p --size 4G --sparse --quiet
  make_file late 5000
  "$cm" cat late --pool small/p >/dev/null
  cat /dev/zero >small/rest 2>/dev/null
  while [ "$unrecorded" = 0 ] && [ $((i += 1)) -le 100 ]; do
    make_file "late.$i" 5000
    "$cm" cat "late.$i" --pool small/p >/dev/null 2>&1
    "$cm" stats small/p --json >s.json
    unrecorded=$(jget s.json unrecorded)
  done
  expect full-volume-no-record 0 'files without a record: 1; .*make room on its volume' \
    "$cm" stats small/p
  umount small
  rm -f data late late.*
}

# catches PID SIGNAL: the tool has a handler for it by now (not the shell that becomes the tool), or
# has ended.
catches()
{
  local mask name=cachemax
  read -r name 2>/dev/null <"/proc/$1/comm"
  mask=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null)
  [ -z "$mask" ] || { [ "$name" = cachemax ] && (((0x$mask >> ($(kill -l "$2") - 1)) & 1)); }
}

# signalled SIGNAL COMMAND...: sends it as soon as the command catches it; sets $got to its status.
signalled()
{
  local signal=$1
  shift
  "${plain[@]}" "$@" >out 2>err &
  for _ in $(seq 6000); do # as soon as can be: some commands take a moment only
    catches $! "$signal" && break
    sleep 0.01
  done
  kill -"$signal" $! 2>/dev/null
  wait $!
  got=$?
}

# watched COMMAND PATTERN N [ERR]: runs the command until N lines of its output match, or 90 s.
watched()
{
  local file=out
  [ "${4:-}" != err ] || file=err
  : >"$file"
  eval "exec $1" >out 2>err &
  local job=$!
  for _ in $(seq 1800); do
    [ "$(grep -c -- "$2" $file)" -lt "$3" ] || break
    sleep 0.05
  done
  kill $job
  wait $job 2>/dev/null
}

test_interrupted_create()
{
  if [ -z "$shm" ]; then
    skip interrupted-create "needs /dev/shm"
    return
  fi
  for s in INT:130 TERM:143; do
    local got
    signalled "${s%:*}" "$cm" create "$shm/p" --size 2G
    if [ $got = 0 ]; then
      skip "interrupted-create-${s%:*}" "it was faster than the signal"
    elif [ $got != "${s#*:}" ]; then
      fail "interrupted-create-${s%:*}" "status $got; $(cat err)"
    elif [ -e "$shm/p" ]; then
      fail "interrupted-create-${s%:*}" "the file is still there"
    else
      ok "interrupted-create-${s%:*}"
      check "interrupted-create-${s%:*}-says-so" grep -q 'interrupted; nothing was left' err
    fi
    rm -f "$shm/p"
  done
}

test_progress()
{
  if ! command -v script >/dev/null || [ -z "$shm" ]; then
    skip progress "needs script(1) and /dev/shm"
    return
  fi
  script -qec "'$cm' create '$shm/p' --size 1G >/dev/null" /dev/null >typescript </dev/null
  check progress-bar grep -q 'create \[#*\.*\] *[0-9]* %.*/s  ETA [0-9]' typescript
  # The last thing on the screen is the erased line.
  check progress-erased test "$(tail -c 4 typescript)" = "$(printf '\r\033[K')"
  rm -f "$shm/p"
  expect progress-not-in-a-file 0 '' "$cm" create "$shm/p" --size 256M
  check progress-not-in-a-file-silent test ! -s err
  script -qec "'$cm' create '$shm/q' --size 256M --quiet" /dev/null >typescript </dev/null
  check progress-quiet test ! -s typescript
  rm -f "$shm/p" "$shm/q"
}

# ---- cat ---------------------------------------------------------------------------------------

test_cat()
{
  "$cm" create p --size 64M -q
  make_file data 20000001
  through cat-cold data p
  check cat-cold-misses test "$(misses)" -gt 0
  check cat-cold-stored test "$(stored)" = 4883
  through cat-warm data p && all_hits cat-warm-all-hits
  state_is cat-leaves-clean p clean
  : >empty
  printf x >one
  truncate -s 5000000 holes
  for f in empty one holes; do
    through "cat-$f" $f p
    # What there is one of is in the singular.
    [ $f != one ] || check cat-one-miss grep -q '; 0 hits, 1 miss (.*; 1 block stored; ' err
    through "cat-$f-again" $f p
    [ $f != one ] || check cat-one-hit grep -q '; 1 hit, 0 misses (.*; 0 blocks stored; ' err
  done
  expect cat-missing-file 1 'nothing: No such file' "$cm" cat nothing --pool p
  expect cat-directory 1 '/: ' "$cm" cat / --pool p
  expect cat-write-error 1 'standard output: No space' bash -c "'$cm' cat data --pool p >/dev/full"
  expect cat-itself 2 "p: this is the pool" "$cm" cat p --pool ./p
  expect cat-onto-itself 1 'itself: is also the standard output' sh -c "cp data itself
    ulimit -f 90000; '$cm' cat itself -p p >>itself; s=\$?; cmp data itself && exit \$s"
  mkfifo cat.fifo # nobody waits for a writer of it
  expect cat-pool-fifo 0 'not a regular file' timeout 20 "$cm" cat data --pool cat.fifo
  state_is cat-write-error-clean p clean
  through cat-volume-id data p --volume-id one
  # Both copies of the file together may overflow a bucket of this small pool.
  through cat-volume-id-warm data p --volume-id one &&
    check cat-volume-id-hits test "$(misses)" -le 40
  through cat-volume-id-other data p --volume-id two
  check cat-volume-id-other-misses test "$(misses)" -gt 0
  expect cat-volume-id-empty 2 'needs a name' "$cm" cat data --pool p --volume-id ''
  mkfifo pipe
  cat data >pipe &
  "$cm" cat pipe --pool p >out 2>err
  local got=$?
  wait $!
  check cat-fifo test $got = 0
  check cat-fifo-output cmp data out
  check cat-fifo-says-so grep -q 'not a file that can be cached' err
  rm -f pipe

  chmod 666 p
  expect cat-pool-writable 0 'p: error: the file .*may be written by others' "$cm" cat data --pool p
  check cat-pool-writable-output cmp data out
  expect check-pool-writable 3 ': sound, but the next open will refuse it' "$cm" check p
  check check-pool-writable-says grep -q \
    'it will be refused: the file .*p may be written by others (mode 0666)' out
  "$cm" check p --json >out
  check check-pool-writable-json grep -q '"untrusted": true' out
  expect repair-pool-writable 3 'others could have written the pool' "$cm" check p --repair
  expect info-pool-writable 0 'state' "$cm" info p
  chmod 600 p
  expect check-pool-trusted 0 ': sound' "$cm" check p
  check check-pool-trusted-silent test "$(grep -c refuse out)" = 0
  "$cm" check p --json >out
  check check-pool-trusted-json grep -q '"untrusted": false' out
  state_is check-pool-trusted-clean p clean
  mkdir -m 777 open
  expect create-writable-directory 0 'made, 4.00 MiB' "$cm" create open/p --size 4M
  check create-writable-directory-warns grep -q \
    'warning: was made, but will be refused when it is used: the directory .*/open may be written' \
    err
  state_is create-writable-directory-clean open/p clean
  rm -r open
  expect cat-pool-missing 0 'no.pool: no such file' "$cm" cat data --pool no.pool
  check cat-pool-missing-output cmp data out
  check cat-pool-missing-says-direct grep -q 'data: is read without the cache' err
  check cat-pool-missing-not-made test ! -e no.pool

  "${plain[@]}" "$cm" cat data --pool p 2>err | head -c 10 >/dev/null
  got=${PIPESTATUS[0]}
  check cat-broken-pipe test "$got" = 141
  check cat-broken-pipe-quiet test ! -s err
  state_is cat-broken-pipe-clean p clean

  make_file larger 150000000
  for i in 1 2 3; do
    through "cat-larger-than-pool-$i" larger p
  done
  expect cat-larger-check 0 ': sound' "$cm" check p
  rm -f p data larger empty one holes
}

# Warm is only what nobody could be writing.
test_writers()
{
  local cold='data: nobody could be ruled out as a writer: cold next time'
  "$cm" create p --size 8M -q
  make_file data 1000000
  expect help-cat-writers 0 'warm the next time only if nobody' "$cm" cat --help
  exec 7<>data # a writer, who does nothing
  through writer-first data p
  check writer-first-says grep -q "$cold" err
  check writer-first-not-to-programs test "$(grep -c 'cm_\|CM_' err)" = 0
  through writer-again data p
  check writer-again-cold test "$(hits)" = 0
  check writer-again-says grep -q "$cold" err
  exec 7>&-
  through writer-gone data p
  check writer-gone-silent test "$(grep -c 'cold next time' err)" = 0
  through writer-gone-again data p && all_hits writer-gone-warm
  rm -f p data
}

test_changes()
{
  "$cm" create p --size 32M -q
  make_file data 3000000
  through change-fresh data p
  through change-fresh-again data p && all_hits change-fresh-warm
  poke data 1000000 aa bb cc dd ee ff 00 11
  through change-in-place data p
  through change-in-place-again data p && all_hits change-in-place-warm
  head -c 12345 /dev/urandom >>data
  through change-appended data p
  truncate -s 1234567 data
  through change-truncated data p
  truncate -s 2000000 data
  through change-extended data p
  make_file other 2000000
  mv other data
  through change-replaced data p
  rm data
  make_file data 2000000
  through change-made-anew data p
  # The same size and the same times, set back by hand: ctime tells.
  touch -d '2001-01-01 00:00:00' data
  through change-old-times data p
  make_file other 2000000
  cat other >data
  touch -d '2001-01-01 00:00:00' data
  through change-behind-old-times data p
  # While a slow reader has the file half read.
  make_file data 8000000
  hold_pool data p
  make_file other 8000000
  cat other >data
  release_owner
  check change-while-reading test "$owner_status" = 0
  through change-while-reading-after data p
  rm -f p data other owner.out
}

test_names()
{
  local dir='Grüße 日本' name='☃ "näme"\ with'$'\t''tab' pool='кэш.pool'
  mkdir -p "$dir"
  make_file "$dir/$name" 1000000
  expect utf8-create 0 'кэш.pool: made' "$cm" create "$dir/$pool" --size 8M
  through utf8-cat "$dir/$name" "$dir/$pool"
  through utf8-cat-again "$dir/$name" "$dir/$pool" && all_hits utf8-warm
  if [ -n "$json" ]; then
    mv "$dir/$pool" "$dir/$name.pool"
    "$cm" info "$dir/$name.pool" --json >i.json
    check utf8-json test "$(jget i.json pool)" = "$dir/$name.pool"
    local latin
    latin=$(printf 'caf\351')
    if mv "$dir/$name.pool" "$latin" 2>/dev/null; then
      "$cm" info "$latin" --json >i.json
      check not-utf8-json jvalid i.json
      rm -f "$latin"
    fi
  fi
  expect dash-name 0 '' "$cm" create --size 1M -q -- -dash.pool
  expect dash-name-info 0 'clean' "$cm" info -- -dash.pool
  rm -rf "$dir" ./-dash.pool
}

# ---- Advice ------------------------------------------------------------------------------------

test_advise()
{
  "$cm" create p --size 4M -q
  make_file data 20000000
  through advise-cat data p
  through advise-cat-again data p
  expect advise 0 \
    'p: 4.00 MiB, serves [0-9.]+ % of the blocks that are read \(when it was open last\)' \
    "$cm" advise p
  sizes='^( 1/[248]|   [1248]) x +[0-9.]+ [KM]iB +([0-9.]+ % \|#* *\||\?)$'
  check advise-sizes test "$(grep -cE "$sizes" out)" = 7
  words='(an eighth of|a quarter of|half|twice|four times|eight times) the pool'
  words="^$words: ([0-9.]+ % -> [0-9.]+ %, .*|observed [0-9]+ of about [0-9]+ block reads.*)\$"
  check advise-words test "$(grep -cE "$words" out)" = 6
  check advise-narrow test "$(awk 'length > 100' out | wc -l)" = 0
  check advise-certain grep -q '^Estimated from [0-9]* reads of a sample' out
  if [ -n "$json" ]; then
    expect advise-json 0 '' "$cm" advise p --json
    check advise-json-valid jvalid out
    check advise-json-known test "$(jget out known)" = true
    check advise-json-reads test "$(jget out curve_reads)" -gt 1000
    expect advise-stats-json 0 '"factor": 8.000' "$cm" stats p --json
    check advise-stats-valid jvalid out
    "$cm" create q --size 4M -q
    expect advise-json-early 6 '"hit_ratio": null' "$cm" advise q --json
    check advise-json-early-valid jvalid out
    check advise-json-early-known test "$(jget out known)" = false
    check advise-json-needs test "$(jget out curve_reads_needed)" = 1024
    check advise-json-observed test "$(jget out block_reads)" = 0
    # What it says it needs is enough; the share of the sample is right within a few percent.
    head -c $(("$(jget out block_reads_needed)" * 4096 * 11 / 10)) /dev/zero >data
    through advise-needs data q
    expect advise-needs-no-more 0 '' "$cm" advise q
  fi
  expect advise-not-a-pool 3 'data: ' "$cm" advise data
  rm -f p q data owner.out
}

# ---- One owner, crashes, signals ---------------------------------------------------------------

test_owner()
{
  "$cm" create p --size 64M -q
  make_file data 20000000
  if ! hold_pool data p; then
    fail owner "the pool was not opened: $(cat owner.err)"
    kill_owner KILL
    return
  fi
  local pid=$owner
  expect owned-check 4 "p: is open in process $pid \([a-z0-9_-]*\); use 'cachemax stats'" \
    "$cm" check p
  check owned-said-once test "$(grep -c 'is open' err)" = 1
  expect owned-repair 4 "is open in process $pid" "$cm" check p --repair
  expect owned-create 1 'exists already' "$cm" create p --size 4M
  expect owned-cat 0 "p: is open in process $pid" "$cm" cat data --pool p
  check owned-cat-said-once test "$(grep -c 'is open' err)" = 1
  check owned-cat-output cmp data out
  state_is owned-info p "open (process $pid)"
  check owned-info-no-mode sh -c \
    "! { '$cm' info p; '$cm' info p --json; } | grep -E '^(mode|note):|\"(mode|emptied)\":'"
  expect owned-stats 0 "p: open in process $pid" "$cm" stats p
  expect owned-stats-wear-line 0 \
    '^wear of this session: observed [0-9]+ (s|min); needs 1 h before it says drive writes a day$' \
    "$cm" stats p
  expect owned-stats-wear-life 0 '^wear: 0\.[0-9]+ drive writes .*needs 24 h' "$cm" stats p
  if [ -n "$json" ]; then
    expect owned-stats-json 0 '' "$cm" stats p --json
    check owned-stats-pid test "$(jget out owner_pid)" = "$pid"
    check owned-stats-owned test "$(jget out owned)" = true
    check owned-stats-fills test "$(jget out fill_blocks)" -gt 0
    command -v python3 >/dev/null && check owned-stats-wear python3 -c 'import json, sys
v = json.load(open(sys.argv[1])); s = v["session_seconds"]
size = int(sys.argv[2])
sys.exit(not (0 < s < 3600 and v["drive_writes_per_day"] is None and v["closed_at_ns"] == 0 and
  v["drive_writes_per_day_needs_seconds"] == 3600 and 0 < v["lifetime_seconds"] < 86400 and
  v["lifetime_drive_writes_per_day_needs_seconds"] == 86400 and
  abs(v["lifetime_drive_writes"] - v["lifetime_pool_bytes"] / size) < 1e-5 and
  v["lifetime_drive_writes_per_day"] is None))' out "$(wc -c <p)"
  fi
  # Half an hour and an hour later; the time at which it was opened stands at the beginning of the
  # statistics page.
  if command -v python3 >/dev/null; then
    local earlier='import struct, sys
f = open("p", "r+b"); f.seek(8192 + 16); t, = struct.unpack("<Q", f.read(8))
f.seek(8192 + 16); f.write(struct.pack("<Q", t - int(sys.argv[1]) * 10**9))'
    python3 -c "$earlier" 1800
    expect owned-stats-wear-half-an-hour 0 \
      '^wear of this session: observed 3[0-9] min; needs 1 h before' "$cm" stats p
    python3 -c "$earlier" 1800
    expect owned-stats-wear-rate 0 \
      '^wear of this session: [0-9.]+ drive writes a day$' "$cm" stats p
    [ -z "$json" ] || { "$cm" stats p --json >out &&
      check owned-stats-wear-daily python3 -c 'import json, sys
v = json.load(open("out")); day = v["pool_bytes"] / int(sys.argv[1]) / v["session_seconds"] * 86400
sys.exit(not (day > 0 and abs(v["drive_writes_per_day"] - day) < 0.01 * day and
  v["session_seconds"] > 3600))' \
      "$(wc -c <p)"; }
  fi
  watched '"$cm" stats p --watch=0.1' '^ ' 22
  check watch-header test "$(grep -c 'hits/s' out)" -ge 2
  check watch-header-every-20 test \
    "$(awk '/hits.s/{if(n&&n!=20)bad=1;n=0;next}{n++}END{print bad+0}' out)" = 0
  check watch-lines test "$(grep -c '^ ' out)" -ge 22
  check watch-quiet test ! -s err
  "${plain[@]}" bash -c "'$cm' stats p --watch=0.1; echo \$? >watch.status" 2>err |
    head -n 2 >/dev/null
  check watch-broken-pipe test "$(cat watch.status)" = 141
  if [ -n "$json" ]; then
    watched '"$cm" stats p --watch=0.2 --json' . 3
    check watch-json-lines test "$(wc -l <out)" -ge 3
    head -n 1 out >line
    check watch-json jvalid line
    check watch-json-owner test "$(jget line owner_pid)" = "$pid"
  fi
  expect owned-advise-early 6 \
    'p: not enough reads yet: observed [1-9][0-9]* of about' \
    "$cm" advise p
  release_owner
  check owner-ends-well test "$owner_status" = 0
  check owner-output cmp data owner.out
  state_is owner-closed p clean
  watched '"$cm" stats p --watch=0.1' 'is not open' 1 err
  check watch-says-not-open grep -q 'p: is not open; waiting' err
  rm -f p data owner.out
}

test_signals()
{
  "$cm" create p --size 64M -q
  make_file data 20000000
  for s in INT:130 TERM:143 HUP:129; do
    hold_pool data p
    head -c 1 <&8 >/dev/null # what it writes out it has read, and so stored
    kill_owner "${s%:*}"
    check "cat-${s%:*}-status" test "$owner_status" = "${s#*:}"
    state_is "cat-${s%:*}-clean" p clean
    expect "cat-${s%:*}-sound" 0 ': sound' "$cm" check p
  done
  through cat-after-signals data p
  check cat-after-signals-warm test "$(hits)" -gt 0
  rm -f p data

  # A pool so large that its check outlasts the signal.
  "$cm" create p --size 200G --sparse -q
  for s in INT:130 TERM:143; do
    local got
    signalled "${s%:*}" "$cm" check p --repair
    if [ $got = 0 ]; then
      skip "check-${s%:*}" "it was faster than the signal"
    else
      check "check-${s%:*}-status" test $got = "${s#*:}"
      check "check-${s%:*}-says-so" grep -q 'interrupted' err
    fi
    state_is "check-${s%:*}-clean" p clean
  done
  rm -f p
}

test_kill()
{
  "$cm" create p --size 64M -q
  make_file data 40000000
  for i in 1 2 3; do
    hold_pool data p
    dd of=/dev/null bs=1M count=$((i * 8)) iflag=fullblock status=none <&8
    kill_owner KILL
    state_is "kill-$i-state" p 'not closed cleanly'
    expect "kill-$i-check" 0 ': sound' "$cm" check p
    through "kill-$i-cat" data p
    check "kill-$i-warm" test "$(hits)" -ge $((i * 8 * 200))
    state_is "kill-$i-clean-again" p clean
  done
  rm -f p data
}

# ---- Files -------------------------------------------------------------------------------------

# files_column PATTERN FIELD: of the line of `cachemax files` that matches
files_column() { awk -v p="$1" -v f="$2" '$0 ~ p { print $f; exit }' out; }

test_files()
{
  make_file big 3000000
  make_file little 500000
  expect create-least-names 0 'made' "$cm" create tiny --size 332K --names
  expect create-too-many 2 'does not fit' "$cm" create p --size 8M --max-files 99999999999
  check create-one-message test "$(grep -c '' err)" = 1
  # A user who is not root is told that he may not write there.
  expect create-in-proc 1 '/proc/x: (its file system takes no new files|permission denied)' \
    "$cm" create /proc/x --size 16M
  expect files-create 0 'knows up to [0-9]+ files' "$cm" create p --size 16M
  expect files-empty 0 '^0 files; .* for [0-9]+ or more; hits are estimated' \
    "$cm" files p
  through files-small little p
  through files-big big p
  through files-big-again big p
  before=$(sha256sum <p)
  expect files-list 0 '^2 files' "$cm" files p
  check files-largest-first test "$(sed -n 2p out | awk '{ print $4 }')" = 2.86
  check files-share test "$(sed -n 2p out | awk '{ print $3 }')" = 100.0
  expect files-sorted 0 '^2 files' "$cm" files p --sort size
  expect files-uncounted 0 '^ +- +- +2.86 MiB' "$cm" files p --no-count
  expect files-bad-sort 2 "did you mean 'used'" "$cm" files p --sort usd
  expect files-json 0 '"cached_bytes": 3000000' "$cm" files p --json
  check files-json-valid jvalid out
  expect files-uncounted-json 0 '"cached_bytes": null' "$cm" files p --json --no-count
  check files-unchanged test "$before" = "$(sha256sum <p)"
  expect files-missing 1 'no such file' "$cm" files nothing
  rm -f p big little
}

# Names of files: shown, sorted, and harmless whatever bytes they have.
test_file_names()
{
  expect names-small 2 'the smallest pool has 332.0 KiB' "$cm" create p --size 331776 --names
  expect names-create 0 '' "$cm" create p --size 16M --names -q
  expect names-info 0 '^names: +[0-9.]+ KiB' "$cm" info p
  make_file zebra 5000
  make_file ape 9000
  through names-zebra zebra p
  through names-ape ape p
  expect names-list 0 ' id +name$' "$cm" files p
  check names-listed test "$(sed -n '2,3s/.* //p' out | tr '\n' ' ')" = 'ape zebra '
  "$cm" files p --sort name >out
  check names-sorted test "$(sed -n '2,3s/.* //p' out | tr '\n' ' ')" = 'ape zebra '
  expect names-sort-twice 2 "did you mean 'name'" "$cm" files p --sort nme
  local long odd
  long=$(printf 'd%.0s' $(seq 100))
  mkdir -p "$long/$long"
  make_file "$long/$long/$long" 5000
  through names-long "$long/$long/$long" p
  "$cm" files p >out
  check names-cut grep -q " \.\.\.d\{50\}/d\{100\}/d\{100\}\$" out
  odd=$(printf 'o\033[31m\n\351\\"\302\233\342\200\256x')
  if cp ape "$odd" 2>/dev/null; then
    through names-odd "$odd" p
    "$cm" files p >out
    check names-escaped grep -qF \
      ' o\x1b[31m\x0a\xe9\\"\xc2\x9b\xe2\x80\xaex' out
    check names-lines test "$(wc -l <out)" = 6
    check names-plain test "$(LC_ALL=C tr -d '\n -~' <out | wc -c)" = 0
    expect names-json 0 '"name": "o.u001b' "$cm" files p --json
    check names-json-valid jvalid out
    rm -f "$odd"
  else
    skip names-odd "no such names here"
  fi
  "$cm" create q --size 16M -q
  through names-none ape q
  expect names-none-json 0 '"name": null' "$cm" files q --json
  check names-none-column test "$("$cm" files q | head -n 1 | awk '{ print $NF }')" = id
  rm -rf p q zebra ape "$long"
}

test_usage
test_completion
test_sizes
test_create
test_sparse
test_full_volume
test_interrupted_create
test_progress
test_cat
test_files
test_file_names
test_writers
test_changes
test_names
test_advise
test_owner
test_signals
test_kill

summary
