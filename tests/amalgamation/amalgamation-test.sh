#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# amalgamation-test.sh BUILD [--part K/N] - cachemax.c, the library in one file, in place of the
# library that meson builds. BUILD is a native build.
#
# Its compiler compiles the file without any flag, and without a warning with many. The unit tests
# are linked anew with it instead of the static library, and run; with --part one of N. The README's
# program, the C++ sample and a program whose callback throws run with nothing else. clang compiles
# it, too. The last line is "N passed, N failed, N skipped".
set -u
: "${1:?usage: amalgamation-test.sh BUILD [--part K/N]}"
build=$(realpath "$1")
part=0 parts=1 number=0
[ "${2-}" != --part ] || part=${3%/*} parts=${3#*/}
top=$(cd "$(dirname "$0")/../.." && pwd)
passed=0 failed=0 skipped=0
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-one-file.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
check() { # NAME COMMAND...: status 0, and nothing on stderr
  local name=$1
  shift
  if "$@" >"$work/out" 2>"$work/err" && [ ! -s "$work/err" ]; then
    passed=$((passed + 1)) && echo "ok $name"
  else
    failed=$((failed + 1)) && echo "FAIL $name: $(tail -n 3 "$work/out" "$work/err" | tr '\n' ' ')"
  fi
}
skip() { skipped=$((skipped + 1)) && echo "skip $1: $2"; }

# ---- It compiles --------------------------------------------------------------------------------

link=$(ninja -C "$build" -t commands tests/unit/test_file | tail -n 1)
compiler=${link%% *}
check "it is made" python3 "$top/packaging/amalgamate.py" "$work"
check "the same twice" bash -c \
  'python3 "$1/packaging/amalgamate.py" "$2/again" && cmp "$2/cachemax.c" "$2/again/cachemax.c"' - \
  "$top" "$work"
# refuses TEXT OPTION...: exit status 1, and one line that has TEXT.
refuses() {
  text=$1
  shift
  check "it says '$text'" bash -c '! python3 "$@" 2>"$0" && [ "$(wc -l <"$0")" = 1 ]' \
    "$work/said" "$top/packaging/amalgamate.py" "$@"
  check "... that" grep -qF "$text" "$work/said"
}
check "it names what it wrote" bash -c 'python3 "$1/packaging/amalgamate.py" "$2/again" |
  cmp - <(printf "%s\n" "$2"/again/{cachemax.h,cachemax_objects.h,cachemax.c})' - "$top" "$work"
refuses "there is no directory $work/no: make it first" "$work/no/such"
check "and does not make it" test ! -e "$work/no"
refuses '/dev/null/x cannot be written' /dev/null/x
refuses '/dev/null/x cannot be read' "$work/again" --xxhash /dev/null/x
refuses 'no program nothing-like-cpp' "$work/again" --cpp nothing-like-cpp
check "cc -c cachemax.c" "$compiler" -c "$work/cachemax.c" -o "$work/plain.o"
check "without a warning" "$compiler" -std=c11 -O2 -Wall -Wextra -Wshadow -Wpedantic -Werror \
  -c "$work/cachemax.c" -o "$work/cachemax.o"
# That of 0.8.3 has such constants.
xxhash=$("$compiler" -M -include xxhash.h -x c /dev/null | grep -o '[^ ]*/xxhash\.h' | head -n 1)
mkdir "$work/other"
sed 's/^typedef XXH64_hash_t xxh_u64;/&\nstatic const xxh_u64 PRIME_MINE = 1;/' "$xxhash" \
  >"$work/other/xxhash.h"
check "an xxhash.h with a constant of another name" bash -c '! cmp -s "$1" "$2/other/xxhash.h" &&
  python3 "$3/packaging/amalgamate.py" "$2/other" --xxhash "$2/other/xxhash.h" &&
  "$4" -fsyntax-only "$2/other/cachemax.c"' - "$xxhash" "$work" "$top" "$compiler"
outside=$(nm -g --defined-only "$work/cachemax.o" | awk '$3 !~ /^cm_/ { print $3 }')
check "it defines no name but cm_..." test -z "$outside"

# ---- The unit tests -----------------------------------------------------------------------------

# What takes the place of the library's own calls (--wrap) needs them in objects of their own. The
# test of the header calls no library.
others='pin checkpoint resident platform header'
for at in "$build"/tests/unit/test_*; do
  name=${at##*/test_}
  [ -x "$at" ] && [ -f "$at" ] || continue
  link=$(ninja -C "$build" -t commands "tests/unit/test_$name" | tail -n 1)
  case " $others " in *" $name "*) continue ;; esac
  case $link in
  *--wrap* | *tests/mount* | *examples/*) continue ;; # of a front end
  *src/libcachemax.a*) ;;
  *) continue ;;
  esac
  number=$((number + 1))
  [ $((number % parts)) = "$part" ] || continue
  link=${link/ -o tests\/unit\// -o $work\/}
  link=${link//src\/libcachemax.a/$work\/cachemax.o}
  check "unit/$name: links" bash -c 'cd "$1" && eval "$2"' - "$build" "$link"
  timeout 300 "$work/test_$name" >"$work/out" 2>&1 </dev/null
  case $? in
  0) passed=$((passed + 1)) && echo "ok unit/$name" ;;
  77) skip "unit/$name" "$(grep -m 1 -i skip "$work/out")" ;;
  *) failed=$((failed + 1)) && echo "FAIL unit/$name: $(grep -m 3 'not ok\|^#' "$work/out")" ;;
  esac
done
# ---- Programs with nothing else -----------------------------------------------------------------

sed -n '/^```c$/,/^```$/p' "$top/README.md" | sed '1d;$d' >"$work/through.c"
mkdir "$work/include"
cp "$work/cachemax.h" "$work/cachemax_objects.h" "$work/include/"
check "the README's program: compiles" "$compiler" -I "$work/include" -o "$work/through" \
  "$work/through.c" "$work/cachemax.o" -pthread
head -c 300000 /dev/urandom >"$work/data"
check "a pool" "$build/src/tool/cachemax" create "$work/pool" --size 4M --quiet
for round in cold warm; do
  check "the README's program: $round" bash -c \
    '"$1/through" "$1/data" "$1/pool" | cmp - "$1/data"' - "$work"
done
# A program that is copied brings no flags of this build.
for name in memory-pool object-store objects page-store writev; do
  check "$name: compiles as plain C11" "$compiler" -std=c11 -Wall -Wextra -Wpedantic -Werror \
    -I "$work/include" -fsyntax-only "$top/examples/$name/$name.c"
done
# Nor do those that are of several files, or that need a header of others.
for file in event-loop/event-loop.c:liburing.h event-loop/job.c:liburing.h \
  missing/pool_missing.c: nbdkit/export.c:nbdkit-filter.h nbdkit/filter.c:nbdkit-filter.h \
  nbdkit/pool.c:nbdkit-filter.h quickstart/quickread.c: quickstart/sample.c: \
  seal/seal_file.c: seal/seal_openssl.c:openssl/evp.h sqlite-vfs/sqlite-cachemax.c:sqlite3ext.h \
  wait/timed_wait.c:; do
  needs=${file##*:} file=${file%:*}
  if [ -n "$needs" ] && ! echo "#include <$needs>" |
    "$compiler" -D_GNU_SOURCE -DNBDKIT_API_VERSION=2 -E - >/dev/null 2>&1; then
    skip "$file: compiles as plain C11" "there is no $needs"
    continue
  fi
  check "$file: compiles as plain C11" "$compiler" -std=c11 -Wall -Wextra -Werror \
    -I "$work/include" -I "$top/examples/missing" -I "$top/examples/seal" \
    -I "$top/examples/wait" -I "$top/src" -fsyntax-only "$top/examples/$file"
done
if command -v c++ >/dev/null; then
  mkdir -p "$work/b/examples/cpp" "$work/b/src/tool"
  check "the C++ sample: compiles" c++ -I "$work/include" -o "$work/b/examples/cpp/cpp-sample" \
    "$top/examples/cpp/sample.cpp" "$work/cachemax.o" -pthread
  check "the C++ sample: its test of errors compiles" c++ -std=c++17 -I "$work/include" \
    -I "$top/examples/cpp" -o "$work/b/examples/cpp/cpp-errors" \
    "$top/tests/examples/cpp-errors.cpp" "$work/cachemax.o" -pthread
  ln -s "$build/src/tool/cachemax" "$work/b/src/tool/cachemax"
  check "the C++ sample" sh "$top/tests/examples/cpp-test.sh" "$work/b"
  check "for callbacks that throw" "$compiler" -fexceptions -c "$work/cachemax.c" \
    -o "$work/throws.o"
  check "a callback that throws: compiles" c++ -I "$work/include" -o "$work/throws" \
    "$top/tests/amalgamation/throws.cpp" "$work/throws.o" -pthread
  check "a callback that throws" timeout 300 "$work/throws" "$work/thrown"
else
  skip "the C++ sample" "no C++ compiler (Debian package g++)"
  skip "a callback that throws" "no C++ compiler (Debian package g++)"
fi
if command -v clang >/dev/null; then
  check "clang, without assertions" clang -std=c11 -O2 -DNDEBUG -Wall -Wextra -Werror \
    -c "$work/cachemax.c" -o "$work/clang.o"
  check "clang" clang -std=c11 -Wall -Wextra -Wshadow -Wpedantic -Werror -c "$work/cachemax.c" \
    -o "$work/clang.o"
  check "the README's program with clang" bash -c \
    'clang -I "$1/include" -o "$1/through" "$1/through.c" "$1/clang.o" -pthread &&
     "$1/through" "$1/data" "$1/pool" | cmp - "$1/data"' - "$work"
else
  skip clang "not installed"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
