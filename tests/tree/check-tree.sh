#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-tree.sh TOP BUILD [objects] - rules about the source that a compiler does not check: layers,
# where OS calls, atomics and pool stores may stand, the length of functions, files and lines, links
# in the docs, the README's example. With "objects" only what the objects of a build for another
# system show.
set -u
[ $# = 2 ] || [ "$*" = "$1 $2 objects" ] || {
  echo "usage: check-tree.sh TOP BUILD [objects]" >&2
  exit 2
}
top=$1 build=$2 passed=0 failed=0
scratch=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-tree.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
cd "$top" || exit 1
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1"; [ -z "${2:-}" ] || echo "$2" | sed 's/^/  /'; }
check() { # NAME COMMAND...
  name=$1
  shift
  if "$@"; then ok "$name"; else fail "$name"; fi
}
empty() { # NAME OUTPUT
  if [ -z "$2" ]; then ok "$1"; else fail "$1" "$2"; fi
}

# What is left for the linker to find says whom the code calls, whatever its headers say.
compiler='__aarch64_.*|_GLOBAL_OFFSET_TABLE_|__stack_chk_(fail|guard)|___chkstk_ms|__main'
compiler="$compiler|bcmp" # what clang makes of memcmp
compiler="$compiler|__mingw_v?(snprintf|fprintf)|__mingw_strtod|__imp__assert"
engine="$compiler|cm_.*|cm_plat_.*|mem(cpy|set|cmp|move)|strcmp|strlen|v?snprintf|__assert_fail"
command="$engine|(tool|os|json|dump|progress|bench|replay|trace|seen|frame|view)_.*"
command="$command|(control|files|owner|mdb|sqlite3|lzma|dash|web|compare|place)_.*"
command="$command|MHD_.*|open_memstream|fclose"
command="$command|(profile|recording|seal|warm)_.*|__(mem(cpy|set|move)|v?s?n?f?printf)_chk"
command="$command|(m|c|re)alloc|free|qsort|exit|v?f?printf|f?put[cs]|putchar|fwrite|fflush|ferror"
command="$command|std(out|err)|str(chr|str|ncmp|c?spn|pbrk|ftime|tod)|memchr"
command="$command|(__imp__)?localtime(64)?|(__imp_)?toupper|__ctype_.*_loc|__errno_location"
command="$command|__imp__errno|__imp___acrt_iob_func"
calls() { # ALLOWED EXCEPT FILE...: objects of no file that EXCEPT names call nothing beyond ALLOWED
  nm -Au --no-sort $(echo "$@" | cut -d' ' -f3-) 2>/dev/null | grep ' U ' | grep -vE "$2" |
    grep -vE " U ($1)\$"
}
empty "the library calls the system from platform/ only" \
  "$(calls "$engine" 'platform_(posix|win32)[a-z_]*\.c' "$build/src/libcachemax.a")"
empty "the tool calls the system from os_*.c only" \
  "$(calls "$command" 'os_(posix|win32)[a-z_]*\.c' "$build"/src/tool/*.p/*.o* \
    "$build"/src/tool/dump/*.p/*.o*)"
check "those checks see symbols of the library" \
  test "$(nm -Au "$build/src/libcachemax.a" 2>/dev/null | grep -c ' U cm_')" -gt 100
check "those checks see symbols of the tool" \
  test "$(nm -Au "$build"/src/tool/*.p/*.o* \
    "$build"/src/tool/dump/*.p/*.o* 2>/dev/null | grep -c ' U cm_')" -gt 20
# -Dhardening. A build that a sanitizer checks, or one for Windows, goes without.
if grep -q -- '-fstack-protector-strong' "$build/build.ninja"; then
  soft=
  for program in src/tool/cachemax src/tool/cachemax-dash examples/mount/cachemax-mount \
    examples/service/cachemax-service; do
    [ ! -f "$build/$program" ] || readelf -hld "$build/$program" | awk -v name="$program" '
      /Type: *DYN/ { pie = 1 } /GNU_RELRO/ { relro = 1 } /BIND_NOW/ { now = 1 } / RWE /, /RWE$/ {
      exec = 1 } END { if (!pie || !relro || !now || exec) print name }' >>"$build/soft.$$"
  done
  soft=$(cat "$build/soft.$$")
  rm -f "$build/soft.$$"
  empty "programs are position independent, with read-only relocations and no executable stack" \
    "$soft"
fi
so=$(find "$build/src" -maxdepth 1 \( -name 'libcachemax.so.*.*' -o -name 'libcachemax-*.dll' \) \
  -type f | head -n 1)
exported() {
  case $so in
  *.dll) objdump -p "$so" | sed -n '/Ordinal.Name Pointer/,/^$/p' | awk '/^\t/ { print $NF }' ;;
  *) nm -D --defined-only "$so" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' ;;
  esac
}
empty "the shared library exports the API and nothing else" "$(
  t=$(mktemp -d)
  sed -n 's/^CM_API [^(]*[ *]\(cm_[a-z_]*\)(.*/\1/p' include/*.h | sort >"$t/api"
  exported | sort | diff - "$t/api"
  rm -rf "$t")"
if [ $# = 3 ]; then
  echo "$passed passed, $failed failed, 0 skipped"
  [ $failed = 0 ]
  exit
fi

# The folders of src/ are its floors (src/MAP.md): a file uses its own floor and those below it, by
# what it includes and by what the linker finds for it. tool/ stands on all of them.
floors='platform persist policy media state protocol api objects tool'
empty "every source file stands on a floor" \
  "$(find src -name '*.[chS]' | grep -vE "^src/($(echo $floors | tr ' ' '|'))/")"
empty "includes only look down" "$(
  find src -name '*.[chS]' -exec grep -H '^#include "' {} + | awk -v floors="$floors" -F'[/":]+' '
    BEGIN { n = split(floors, f, " "); for (i = 1; i <= n; i++) number[f[i]] = i }
    { file = $0; sub(/:.*/, "", file); line = $0; sub(/.*#include "/, "", line) }
    { split(line, part, "/") }
    line ~ /^cachemax(_objects)?\.h/ { next }
    !(part[1] in number) { print file ": include it with its folder: " line; next }
    number[part[1]] > number[$2] { print file " looks up: " line }')"
empty "calls only look down" "$(
  nm -A "$build/src/libcachemax.a" 2>/dev/null | awk -v floors="$floors" '
    BEGIN { n = split(floors, f, " "); for (i = 1; i <= n; i++) number[f[i]] = i }
    { object = $1; sub(/^.*libcachemax\.a:/, "", object); sub(/:.*/, "", object) }
    { floor = object; sub(/_.*/, "", floor) }
    $(NF - 1) == "U" { used[object " " $NF] = floor; next }
    $(NF - 1) ~ /^[A-TVWZ]$/ { defined[$NF] = floor; by[$NF] = object }
    END { for (k in used) { split(k, u, " "); if (number[defined[u[2]]] > number[used[k]])
      print u[1] " calls " u[2] " of " by[u[2]] } }')"
empty "the Who: line of a module names the folders that call it" "$(
  nm -A "$build/src/libcachemax.a" 2>/dev/null | awk '
    { object = $1; sub(/^.*libcachemax\.a:/, "", object); sub(/\.[oS].*/, "", object) }
    { floor = object; sub(/_.*/, "/", floor) }
    $(NF - 1) == "U" { used[object " " floor " " $NF] = 1; next }
    $(NF - 1) ~ /^[A-TVWZ]$/ { by[$NF] = object }
    END { for (k in used) {
      split(k, u, " ")
      if (u[3] in by && by[u[3]] != u[1]) print by[u[3]], u[2] } }' | sort -u |
    grep '\.c ' >"$scratch/callers"
  find src -name '*.c' ! -path 'src/tool/*' -exec awk '
    sub(/^ \* Who: /, "") {
      object = FILENAME
      sub(/^src\//, "", object)
      gsub(/\//, "_", object)
      for (i = 1; i <= NF; i++)
        if ($i ~ /^[a-z]+\/[,.]?$/) { sub(/[,.]$/, "", $i); print object, $i }
    }' {} + | sort -u >"$scratch/said"
  # Of what another system's build has nothing is known here.
  cut -d' ' -f1 "$scratch/callers" | sort -u >"$scratch/known"
  grep -Ff "$scratch/known" "$scratch/said" | diff - "$scratch/callers")"
empty "modules do not include one another in a circle" "$(
  find src -name '*.[ch]' -exec awk '
    FNR == 1 { file = FILENAME; sub(/\.[ch]$/, "", file) }
    /^#include ".*\.[ch]"$/ {
      name = "src/" substr($0, 11, length($0) - 13)
      if (name != file) print file, name
    }' {} + | tsort 2>&1 >/dev/null)"

os_headers='unistd|pthread|sys/|fcntl|signal|linux/|dirent|ucontext|malloc'
os_headers="$os_headers|windows|win[a-z]*\.h|bcrypt|sddl|aclapi|shellapi|io\.h"
os_headers="#include <($os_headers)"
empty "OS headers only in platform/ and the tool's os_*.c" \
  "$(grep -rnE "$os_headers|#include <(errno|time)\\." src --include='*.[ch]' --exclude-dir=tool |
    grep -vE '^src/platform/(posix|win32)'
    grep -rnE "$os_headers" src/tool --include='*.[ch]' |
    grep -vE '^src/tool/os_(posix|win32)[a-z_]*\.c')"
empty "raw atomics only in atomic.h and the persist back ends" \
  "$(grep -rnE '__atomic_|__sync_|stdatomic' src --include='*.[ch]' |
    grep -vE '^src/(platform/atomic\.h|persist/)')"
fences='_mm_(sfence|mfence|clwb|clflush|stream)|__builtin_ia32_[a-z]*(fence|clwb|clflush)'
empty "fences, flushes and non-temporal stores only in the persist layer" \
  "$(grep -nE "$fences|asm.*(fence|dsb)" src -r --include='*.[ch]' | grep -vE '^src/persist/')"
# A fault at any of their instructions ends in a plain return to the caller, who expects the stack
# and some registers as they were. No test sees a register that the caller happens not to use.
routines() { # FILE MACRO...: what the assembler reads of a file of the guard
  file=$1
  shift
  # shellcheck disable=SC2086 # CC may have arguments
  ${CC:-cc} -E -P -x assembler-with-cpp -U__CET__ -U_WIN32 -U__x86_64__ -U__aarch64__ \
    -U__SANITIZE_THREAD__ "$@" "src/persist/$file"
}
routines guard_x86.S -D__x86_64__ >"$scratch/unix.s"
routines guard_x86.S -D__x86_64__ -D_WIN32 >"$scratch/windows.s"
routines guard_arm64.S -D__aarch64__ >"$scratch/arm64.s"
kept='%[re]?(bx|bp)\b|%[bs]pl?\b|%r1[2-5]|%[xyz]mm([6-9]|1[0-5])\b|\b(push|pop|call|enter|leave)'
empty "the guard's routines leave the stack and the caller's registers alone" "$(
  grep -nE "$kept|%[re]?sp\b" "$scratch/unix.s"
  grep -vE '^ *movq \(%rcx\), %r10; movq 40\(%rsp\), %rax; movq 48\(%rsp\), %r11;' \
    "$scratch/windows.s" | grep -nE "$kept|%[re]?sp\b|%[re]?[ds]i\b|\brep\b"
  grep -nE '\b([xw](1[89]|2[0-9]|30)|[qdv]([89]|1[0-5])|sp|bl|blr|br)\b' "$scratch/arm64.s")"
check "that check sees the routines" test "$(cat "$scratch"/*.s | grep -cE '\bret\b')" -gt 60
empty "no function is longer than 60 lines" "$(
  find src tests examples -name '*.[ch]' ! -path 'tests/abi/previous/*' -exec awk '
    FNR == 1 { start = 0 }
    /^[A-Za-z_].*\)[ \t]*\{?[ \t]*$/ { start = FNR }
    /^\{/ { if (!start) start = FNR }
    /^\}/ && start && FNR - start > 60 {
      printf "%s:%d: %d lines\n", FILENAME, start, FNR - start }
    /^\}/ { start = 0 }' {} +)"
# What git tracks or, in a copy without git, what is there.
tracked=$(
  { git ls-files 2>/dev/null ||
    find . -type f ! -path './build*' ! -path './.git/*' ! -name '*.pyc' ! -name '*.o' |
    sed 's|^\./||'; } | while read -r f; do [ ! -f "$f" ] || echo "$f"; done)
texts=$(echo "$tracked" | xargs grep -Il .)
check "the checks of files see them" test "$(echo "$texts" | wc -l)" -gt 300
empty "no file is too long" "$( # the header of the release before is a copy
  echo "$texts" | grep -E '^(src|tests|examples)/.*\.([chS]|cpp|py|sh)$|^tests/crash/run$' |
    grep -v '^tests/abi/previous/' |
    xargs wc -l | awk '$2 != "total" && $1 > ($2 ~ /^src\// ? 600 : 900) {
      print $2 ": " $1 " lines" }')"
# Characters, not bytes: what goes on in UTF-8 is left out. Tables and recorded output cannot be
# broken, nor can a long address, a string in JSON, or what a program wrote. Code in documents can.
empty "no line is longer than 100 columns" "$(
  echo "$texts" | grep -Ev '^tests/unit/golden/|^tests/abi/.*\.xml$|\.svg$|\.hex$' |
    LC_ALL=C xargs awk '
    FNR == 1 { block = output = 0 }
    FILENAME ~ /\.md$/ && /^ *```/ { block = !block; output = block && /```$/ }
    FILENAME ~ /\.md$/ && (output || /^\|/) { next }
    FILENAME ~ /\.json$/ { next }
    match($0, /https?:\/\/[^ ]*/) && RLENGTH > 100 { next }
    { gsub(/[\200-\277]/, "") }
    length($0) > 100 { print FILENAME ":" FNR ": " length($0) " columns" }')"
empty "files are as .editorconfig says" "$(
  echo "$texts" | LC_ALL=C xargs awk '
    /[ \t]$/ { print FILENAME ":" FNR ": blanks at the end" }
    /\r/ { print FILENAME ":" FNR ": a carriage return" }
    /\t/ && FILENAME !~ /(^|\/)Makefile$|\.mk$|debian\/rules$/ { print FILENAME ":" FNR ": a tab" }'
  # Of each the last byte before its last newline: a line of one byte. Only if one is not, each file
  # is looked at, which takes long.
  ! echo "$texts" | xargs tail -q -c 2 | LC_ALL=C grep -qv '^.$' || for f in $texts; do
    case $(tail -c 2 "$f" | tr '\n' '$') in
    '$$' | *[!$]) echo "$f: does not end with one newline" ;;
    esac
  done)"
empty "every .c opens with what it owns" "$(
  find src examples -name '*.c' -exec awk '
    FNR == 3 {
      name = FILENAME
      sub(/.*\//, "", name)
      if (!index($0, " " name " - ")) print FILENAME ": line 3 does not name it"
    }' {} +)"
# A wait until a moment of the wall clock is longer by what somebody sets it back.
timed='pthread_([a-z]+_timed[a-z]+|timedjoin_np)|(sem|mq|cnd|mtx)_timed[a-z]+'
timed="($timed) *\\([^)]|(pthread_|sem_|clock_nano|timer)[a-z_]*\\(.*CLOCK_REALTIME"
empty "no wait with a deadline is by the wall clock" \
  "$(grep -nE "$timed" src/*/*.c src/tool/*/*.c examples/*/*.[ch]* 2>/dev/null |
    grep -v '^examples/wait/timed_wait\.c:')"
empty "examples/wait waits by a clock that nobody sets" \
  "$(grep -n 'CLOCK_REALTIME' examples/wait/*.[ch] 2>/dev/null)"
empty "a condition that is waited for with a deadline was made for that" "$(
  for f in $(grep -l 'wait_on(&' examples/*/*.c); do
    grep -o 'wait_on(&[^,]*' "$f" | sed 's/.*[.>&]//' | sort -u | while read -r name; do
      grep -qE "wait_init\(&([^)]*[.>])?$name\)" "$f" || echo "$f: $name: not by wait_init()"
    done
  done)"
empty "every exported function is in the version map and the header" "$(
  t=$(mktemp -d)
  sed -n 's/^ *\(cm_[a-z_]*\);$/\1/p' src/cachemax.map | sort >"$t/map"
  sed -n 's/^CM_API [^(]*[ *]\(cm_[a-z_]*\)(.*/\1/p' include/*.h | sort | diff "$t/map" -
  rm -rf "$t")"
# DW.ref...: what compilers make for unwinding (-fexceptions), hidden and the same in every object.
empty "the static library defines no name but cm_..." \
  "$(nm -g --defined-only "$build/src/libcachemax.a" 2>/dev/null | awk 'NF == 3 { print $3 }' |
    grep -vE '^(cm_|DW\.ref\.)')"
named=$(grep -oE '`[a-z_/0-9]+\.[ch]:[a-z_0-9]+`' src/MAP.md | tr -d '`')
check "src/MAP.md names functions" test "$(echo "$named" | wc -l)" -gt 30
# Defined, not only declared or called: it begins in the first column, and what comes first, a
# semicolon or a brace, is a brace.
empty "what src/MAP.md names is there" "$(
  echo "$named" | while IFS=: read -r file name; do
    awk -v name="$name" '
      /^[A-Za-z_]/ && $0 ~ "(^|[ *])" name "\\(" { here = 1 }
      here && /;[ \t]*$/ { here = 0 }
      here && /^\{/ { found = 1; exit }
      END { exit !found }' "src/$file" || echo "$file: does not define $name"
  done
  for d in src/*/; do
    grep -q "^| \`$(basename "$d")/\` |" src/MAP.md || echo "$d: not in the table of floors"
  done)"
empty "links in the docs lead somewhere" "$(
  for f in README.md docs/*.md docs/*/*.md CONTRIBUTING.md src/MAP.md; do
    [ -f "$f" ] || continue
    grep -oE '\]\([^)#: ]+' "$f" | sed 's/^](//' | while read -r l; do
      [ "$l" = https ] || [ -e "./${f%"${f##*/}"}$l" ] || echo "$f: $l"
    done
  done)"

# Packages install what docs.py copies.
if [ -f packaging/docs.py ]; then
  empty "links in the installed docs lead somewhere" "$(
    python3 packaging/docs.py "$scratch/installed"
    python3 tests/packages/links.py "$scratch/installed")"
fi

# What a page shows of an example is what is compiled there.
if [ -f docs/objects.md ]; then
  sed -n '/^static int list(void)$/,/^}$/p' docs/objects.md >"$scratch/shown"
  sed -n '/^static int list(void)$/,/^}$/p' examples/objects/objects.c >"$scratch/compiled"
  check "the loop in docs/objects.md is the one that is compiled" \
    sh -c 'test -s "$1" && cmp -s "$1" "$2"' - "$scratch/shown" "$scratch/compiled"
fi

# The texts of the counters, in the header and in docs/json.md.
if [ -f docs/json.md ]; then
  sed -n '/^#define CM_STAT_MAP/,/^$/s/^ *X(\([a-z_]*\), "\(.*\)").*/\1 \2/p' include/cachemax.h \
    >"$scratch/counters"
  cut -d' ' -f1 "$scratch/counters" >"$scratch/names"
  check "the header has counters" test "$(wc -l <"$scratch/names")" -gt 40
  empty "docs/json.md says of each counter what the header says" "$(
    sed -n '/^## `stats`/,/^## `check`/s/^| `\([a-z_]*\)` | \(.*\) |$/\1 \2/p' docs/json.md |
      awk 'NR == FNR { is[$1] = 1; next } $1 in is' "$scratch/names" - |
      diff "$scratch/counters" -)"
fi

empty "blocks of C in the docs compile" "$(python3 tests/tree/check-blocks.py . 2>&1)"

# The README's embedding example, as it stands there.
if [ -f README.md ]; then
  t=$(mktemp -d)
  sed -n '/^```c$/,/^```$/p' README.md | sed '1d;$d' >"$t/example.c"
  if [ -s "$t/example.c" ] &&
    ${CC:-cc} -std=c11 -Wall -Wextra -Werror -Iinclude -o "$t/example" "$t/example.c" \
      "$build/src/libcachemax.a" -lpthread 2>"$t/err"; then
    ok "the README's example compiles"
    head -c 300000 /dev/urandom >"$t/data"
    "$build/src/tool/cachemax" create "$t/pool" --size 4M --quiet
    if (cd "$t" && ./example data pool | cmp - data && ./example data pool | cmp - data); then
      ok "the README's example reads a file right, cold and warm"
    else
      fail "the README's example reads a file wrong"
    fi
    why=$(cd "$t" && ./example data none 2>&1 >copy)
    check "the README's example says why there is no cache" test "$why" = \
      "none: no such file or directory"
    check "the README's example reads without the cache" cmp -s "$t/copy" "$t/data"
    why=$( (cd "$t" && ./example none pool) 2>&1) && why="it did not fail"
    check "the README's example says why it fails" test "$why" = \
      "usage: through FILE POOL: FILE must be readable"
    if [ -c /dev/full ]; then
      why=$( (cd "$t" && ./example data pool >/dev/full) 2>&1) && why="it did not fail"
      check "the README's example says that its output is lost" test "$why" = \
        "standard output: cannot be written"
    fi
  else
    fail "the README's example does not compile" "$(cat "$t/err")"
  fi

  # Its commands for nbdkit and SQLite, where these are built: one command a line, with paths of $t.
  sed -n '/^```sh$/,/^```$/p' README.md | sed -e ':a' -e '/\\$/N; s/\\\n//; ta' |
    grep -E '^(nbdkit|cachemax create .*/databases|sqlite3) ' |
    sed -e "s|64G|64M|; s|1G|16M|; s|\./build/|$build/|; s|/mnt/pmem|$t|g; s|/srv|$t|" \
      -e "s|disk\.img|$t/data|; s|^cachemax|$build/src/tool/cachemax|" >"$t/commands"
  check "the README has commands for nbdkit and SQLite" test "$(wc -l <"$t/commands")" = 3
  if [ -e "$build/examples/sqlite-vfs/sqlite-cachemax.so" ] && command -v sqlite3 >/dev/null; then
    sqlite3 "$t/x.db" 'CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)'
    check "the README's SQLite counts rows through the pool" test "$(
      grep -v '^nbdkit' "$t/commands" | sh 2>/dev/null | tail -n 1
      "$build/src/tool/cachemax" files "$t/databases" --json | grep -c '"id"')" = "3
1"
  fi
  if [ -e "$build/examples/nbdkit/nbdkit-cachemax-filter.so" ] &&
    command -v nbdcopy >/dev/null; then
    check "the README's nbdkit serves a disk through the pool" \
      sh -c "$(grep '^nbdkit' "$t/commands") -U - --run 'nbdcopy \"\$uri\" $t/copied'"
    check "the disk is the same" cmp -s "$t/data" "$t/copied"
  fi
  rm -rf "$t"
fi
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
