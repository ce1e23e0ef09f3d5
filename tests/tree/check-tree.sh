#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-tree.sh TOP BUILD [objects] - rules about the source that a compiler does not check: layers, where OS
# calls, atomics and pool stores may stand, function length, links in the docs, the README's example.
# With "objects" only what the objects of a build for another system show.
set -u
[ $# = 2 ] || [ "$*" = "$1 $2 objects" ] || {
  echo "usage: check-tree.sh TOP BUILD [objects]" >&2
  exit 2
}
top=$1 build=$2 passed=0 failed=0
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
compiler='__aarch64_.*|_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|___chkstk_ms|__main|__mingw_v?(snprintf|fprintf)|__mingw_strtod|__imp__assert'
engine="$compiler|cm_.*|cm_plat_.*|mem(cpy|set|cmp|move)|strcmp|strlen|v?snprintf|__assert_fail"
command="$engine|(tool|os|json|progress|bench|replay|trace|mdb|sqlite3|lzma)_.*|(m|c|re)alloc|free|qsort|exit|v?f?printf|f?put[cs]|putchar|fwrite|fflush|ferror|std(out|err)|str(chr|str|ncmp|c?spn|pbrk|ftime|tod)|memchr|(__imp__)?localtime(64)?|(__imp_)?toupper|__ctype_.*_loc|__errno_location|__imp__errno|__imp___acrt_iob_func"
calls() { # ALLOWED EXCEPT FILE...: objects of no file that EXCEPT names call nothing beyond ALLOWED
  nm -Au --no-sort $(echo "$@" | cut -d' ' -f3-) 2>/dev/null | grep ' U ' | grep -vE "$2" | grep -vE " U ($1)\$"
}
empty "the library calls the system from platform_*.c only" \
  "$(calls "$engine" 'platform_(posix|win32)[a-z_]*\.c' "$build/src/libcachemax.a")"
empty "the tool calls the system from os_*.c only" \
  "$(calls "$command" 'os_(posix|win32)\.c' "$build"/src/tool/cachemax*.p/*.o*)"
check "those checks see symbols of the library" \
  test "$(nm -Au "$build/src/libcachemax.a" 2>/dev/null | grep -c ' U cm_')" -gt 100
check "those checks see symbols of the tool" \
  test "$(nm -Au "$build"/src/tool/cachemax*.p/*.o* 2>/dev/null | grep -c ' U cm_')" -gt 20
so=$(find "$build/src" -maxdepth 1 \( -name 'libcachemax.so.*.*' -o -name 'libcachemax-*.dll' \) -type f | head -n 1)
exported() {
  case $so in
  *.dll) objdump -p "$so" | sed -n '/Ordinal.Name Pointer/,/^$/p' | awk '/^\t/ { print $NF }' ;;
  *) nm -D --defined-only "$so" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' ;;
  esac
}
empty "the shared library exports the API and nothing else" "$(
  t=$(mktemp -d)
  sed -n 's/^CM_API [^(]*[ *]\(cm_[a-z_]*\)(.*/\1/p' include/cachemax.h | sort >"$t/api"
  exported | sort | diff - "$t/api"
  rm -rf "$t")"
if [ $# = 3 ]; then
  echo "$passed passed, $failed failed, 0 skipped"
  [ $failed = 0 ]
  exit
fi

# Rows of docs/architecture.md: a file includes only headers of rows above its own, its own header,
# and within row 0 those that stand before it.
row_of() {
  case $1 in
  atomic | cpu_x86 | platform* | sum* | format) echo 0 ;;
  lock | persist* | media | place) echo 1 ;;
  super | index | slot | record | stripe | ring | ghost | memo | rate | probation | pin | stats | mini | curve | auto) echo 2 ;;
  internal | file | sample) echo 3 ;;
  steps | lookup | glance | miss | evict | publish | hold | fill | forget) echo 4 ;;
  bracket | admit | check | range) echo 5 ;;
  flight) echo 6 ;;
  cache | api) echo 7 ;;
  *) echo unknown ;;
  esac
}
bad=
for f in src/*.c src/*.h; do
  m=$(basename "$f" | sed 's/\.[ch]$//')
  r=$(row_of "$m")
  [ "$r" != unknown ] || bad="$bad$f: module has no row
"
  for h in $(sed -n 's/^#include "\([a-z_]*\)\.h"$/\1/p' "$f"); do
    [ "$h" != cachemax ] || continue
    hr=$(row_of "$h")
    [ "$h" = "$m" ] || [ "$hr" -lt "$r" ] && continue
    case "$h>$m" in # inside a row: helpers that own nothing, and the two halves of the API
    atomic\>* | platform\>persist* | platform\>platform_* | persist\>persist_* | persist\>media) continue ;;
    cpu_x86\>sum | sum\>sum_* | sum\>format) continue ;;
    platform_guard\>platform_* | platform_posix\>platform_posix_* | platform_win32\>platform_win32_* | platform_win32_path\>platform_win32) continue ;;
    internal\>file | cache\>api | index\>slot | slot\>probation | index\>probation | pin\>probation | ring\>memo | ghost\>memo) continue ;;
    steps\>* | lookup\>glance | miss\>publish | evict\>publish | evict\>fill | miss\>fill) continue ;;
    publish\>hold | evict\>hold | hold\>fill) continue ;;
    ghost\>mini | mini\>curve | curve\>auto | internal\>sample) continue ;;
    esac
    bad="$bad$f (row $r) includes $h.h (row $hr)
"
  done
done
empty "every module includes only rows above its own" "$bad"

os_headers='#include <(unistd|pthread|sys/|fcntl|signal|linux/|dirent|ucontext|windows|win[a-z]*\.h|bcrypt|sddl|aclapi|shellapi|io\.h|malloc)'
empty "OS headers only in platform_*.c and the tool's os_*.c" \
  "$(grep -nE "$os_headers|#include <(errno|time)\\." src/*.c src/*.h | grep -vE '^src/platform_(posix|win32)'
    grep -nE "$os_headers" src/tool/*.c src/tool/*.h | grep -vE '^src/tool/os_(posix|win32)\.c')"
empty "raw atomics only in atomic.h and the persist back ends" \
  "$(grep -nE '__atomic_|__sync_|stdatomic' src/*.c src/*.h src/tool/*.[ch] | grep -vE '^src/(atomic\.h|persist)')"
empty "fences, flushes and non-temporal stores only in the persist layer" \
  "$(grep -nE '_mm_(sfence|mfence|clwb|clflush|stream)|__builtin_ia32_[a-z]*(fence|clwb|clflush)|asm.*(fence|dsb)' src/*.c src/*.h src/tool/*.[ch] |
    grep -vE '^src/persist')"
empty "no function is longer than 70 lines" "$(
  for f in src/*.c src/tool/*.c examples/*/*.c; do
    [ -f "$f" ] || continue
    awk -v f="$f" '/^[A-Za-z_].*\)[ \t]*\{?[ \t]*$/ { name = $0; start = FNR }
      /^\{/ { if (!start) start = FNR }
      /^\}/ { if (start && FNR - start > 70) printf "%s:%d: %d lines\n", f, start, FNR - start; start = 0 }' "$f"
  done)"
empty "every .c opens with what it owns" "$(
  for f in src/*.c src/tool/*.c examples/*/*.c; do
    [ -f "$f" ] || continue
    sed -n 3p "$f" | grep -q " $(basename "$f") - " || echo "$f: line 3 does not name it"
  done)"
empty "every exported function is in the version map and the header" "$(
  sed -n 's/^ *\(cm_[a-z_]*\);$/\1/p' src/cachemax.map | sort >"${TMPDIR:-/tmp}/cm-map.$$"
  sed -n 's/^CM_API [^(]*[ *]\(cm_[a-z_]*\)(.*/\1/p' include/cachemax.h | sort >"${TMPDIR:-/tmp}/cm-hdr.$$"
  diff "${TMPDIR:-/tmp}/cm-map.$$" "${TMPDIR:-/tmp}/cm-hdr.$$"
  rm -f "${TMPDIR:-/tmp}/cm-map.$$" "${TMPDIR:-/tmp}/cm-hdr.$$")"
# DW.ref...: what compilers make for unwinding (-fexceptions), hidden and the same in every object.
empty "the static library defines no name but cm_..." \
  "$(nm -g --defined-only "$build/src/libcachemax.a" 2>/dev/null | awk 'NF == 3 { print $3 }' | grep -vE '^(cm_|DW\.ref\.)')"
empty "links in the docs lead somewhere" "$(
  for f in README.md docs/*.md CONTRIBUTING.md; do
    [ -f "$f" ] || continue
    grep -oE '\]\([^)#: ]+' "$f" | sed 's/^](//' | while read -r l; do
      [ -e "$(dirname "$f")/$l" ] || echo "$f: $l"
    done
  done)"

# The README's embedding example, as it stands there.
if [ -f README.md ]; then
  t=$(mktemp -d)
  sed -n '/^```c$/,/^```$/p' README.md | sed '1d;$d' >"$t/example.c"
  if [ -s "$t/example.c" ] &&
    ${CC:-cc} -std=c11 -Wall -Wextra -Werror -Iinclude "$t/example.c" "$build/src/libcachemax.a" -lpthread \
      -o "$t/example" 2>"$t/err"; then
    ok "the README's example compiles"
    head -c 300000 /dev/urandom >"$t/data"
    "$build/src/tool/cachemax" create "$t/pool" --size 4M --quiet
    if (cd "$t" && ./example data pool | cmp - data && ./example data pool | cmp - data); then
      ok "the README's example reads a file right, cold and warm"
    else
      fail "the README's example reads a file wrong"
    fi
    why=$( (cd "$t" && ./example data none) 2>&1) && why="it did not fail"
    check "the README's example says why it fails" test "$why" = "none: no such file or directory"
    if [ -c /dev/full ]; then
      why=$( (cd "$t" && ./example data pool >/dev/full) 2>&1) && why="it did not fail"
      check "the README's example says that its output is lost" test "$why" = "standard output: cannot be written"
    fi
  else
    fail "the README's example does not compile" "$(cat "$t/err")"
  fi
  rm -rf "$t"
fi
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
