#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# abi-test.sh BUILD [--update] - the binary interface of both libraries against the stored one.
#
# BUILD is a native build with debug information. tests/abi/*.abi.xml describe functions, types,
# sizes and offsets, as abidw (libabigail) reads them. Every change fails, also a harmless one, so
# that nobody makes one by accident. If it is meant: change the SONAME if a program that was built
# before would break, and write the new description with --update. Then later changes are judged
# against it. The lists of names in packaging/debian are compared, too.
#
# The last line is "N passed, N failed, N skipped".
set -u
: "${1:?usage: abi-test.sh BUILD [--update]}"
build=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
passed=0 failed=0
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-abi.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
ok() { passed=$((passed + 1)) && echo "ok $1"; }
fail() { failed=$((failed + 1)) && echo "FAIL $1: $2"; }
skip_all() {
  echo "skip abi: $1"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
}
[ "$(uname -m)" = x86_64 ] || skip_all "the stored description is that of x86-64"
# shellcheck source=../../examples/need.sh
. "$top/examples/need.sh"
readelf -S "$build/src/libcachemax.so" | grep -q '\.debug_info' ||
  skip_all "this build has no debug information"
need abigail-tools >&2 || skip_all "abidw cannot be installed"

describe() { # LIBRARY HEADERS OUT: places in the source are no part of it
  abidw --exported-interfaces-only --headers-dir "$2" --drop-private-types --no-corpus-path \
    --no-show-locs --no-comp-dir-path --type-id-style hash "$1" |
    sed "s/ path='[^']*\\/\\(src\\|examples\\)\\//  path='\\1\\//; s/  path=/ path=/" >"$3"
}
report() { # OLD NEW: nothing, if they are the same
  abidiff --no-default-suppression --harmless "$1" "$2" 2>&1
}
changed() { # OLD NEW
  report "$1" "$2" >"$work/report" && [ ! -s "$work/report" ] && return 1
  return 0
}

seen() { # NAME OLD NEW
  if changed "$2" "$3"; then ok "$1"; else fail "$1" 'it is not seen'; fi
}
one() { # NAME LIBRARY HEADERS STRUCT
  local now=$work/$1.abi.xml stored=$here/$1.abi.xml
  describe "$2" "$3" "$now"
  if [ "${update:-}" ]; then
    cp "$now" "$stored"
    echo "$1: written"
    return
  fi
  if changed "$stored" "$now"; then
    fail "$1: as it is stored" "$(head -c 2000 "$work/report")"
  else
    ok "$1: as it is stored"
  fi
  # The comparison sees what it is for, at this struct. (Newer versions compare types by a hash
  # first, if both have one.)
  of="/<class-decl name='$4' /,/<\/class-decl>/"
  sed "s/ hash='[^']*'//; ${of}s/layout-offset-in-bits='64'/layout-offset-in-bits='96'/" "$now" \
    >"$work/moved"
  seen "$1: a field moves" "$work/moved" "$now"
  sed "s/ hash='[^']*'//; ${of}s/size-in-bits='\([0-9]*\)'/size-in-bits='\10'/" "$now" \
    >"$work/grown"
  seen "$1: a struct grows" "$work/grown" "$now"
  sed "0,/ *<elf-symbol .*_open'.*/s///" "$now" >"$work/gone"
  seen "$1: a call goes" "$now" "$work/gone"
}
# Debian's tools end the build of a package for each name that is not in its list.
debian() { # LIBRARY LIST
  local list=$top/packaging/debian/$2
  nm -D --defined-only "$1" | sed 's/.* //; s/@@\?.*//' | LC_ALL=C sort >"$work/names"
  sed -n 's/^ \([A-Za-z0-9_.]*\)@.*/\1/p' "$list" | LC_ALL=C sort | diff "$work/names" - \
    >"$work/names.diff" && [ -s "$work/names" ]
  if [ $? = 0 ]; then
    ok "$2: the names of the library"
  else
    fail "$2: the names of the library" "$(grep '^[<>]' "$work/names.diff" | tr '\n' ' ')"
  fi
}

update=''
[ "${2:-}" != --update ] || update=1
one libcachemax "$(realpath "$build"/src/libcachemax.so)" "$top/include" cm_validator
one libcachemax_client "$(realpath "$build"/examples/service/libcachemax_client.so)" \
  "$top/examples/service" cmc_bracket
[ -z "$update" ] || exit 0
debian "$build/src/libcachemax.so" libcachemax0.symbols
debian "$build/examples/service/libcachemax_client.so" libcachemax-client0.symbols
# What programs load has a copy of its own, whose calls nobody else may take.
for plugin in $(cd "$build/examples" && find sqlite-vfs nbdkit -name '*cachemax*.so'); do
  if nm -D --defined-only "$build/examples/$plugin" | grep -q ' cm_'; then
    fail "${plugin##*/}: keeps its names to itself" "$(nm -D "$build/examples/$plugin" |
      grep -c ' T cm_') names of the library"
  else
    ok "${plugin##*/}: keeps its names to itself"
  fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
