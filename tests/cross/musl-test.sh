#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# musl-test.sh - the library and the command with musl, the C library of Alpine Linux: they compile
# without a warning, the unit tests pass that depend on the C library most, and a pool is the same
# as that of a build with glibc.
#
# Usage: musl-test.sh BUILD_DIR MUSL_DIR
# BUILD_DIR is a build with glibc. MUSL_DIR is made if it is not there; what is there is used again.
# Needs Debian's musl-tools, gcc and the header of xxHash. Prints "ok NAME", "FAIL NAME: why" or
# "skip NAME: reason" for every check and a summary as the last line. Exit status 1 when something
# failed, 77 if there is no musl.
set -u
here=$(dirname "$(realpath "$0")")
top=$(realpath "$here/../..")
[ $# = 2 ] || {
  echo "usage: musl-test.sh BUILD_DIR MUSL_DIR" >&2
  exit 2
}
build=$(realpath "$1")
mkdir -p "$2/with" && musl=$(realpath "$2") || exit 1
command -v musl-gcc >/dev/null || {
  echo "skip musl: there is no musl-gcc (Debian: musl-tools)"
  exit 77
}
# shellcheck source=../tool/lib.sh
. "$here/../tool/lib.sh"

# The headers of the kernel are where musl-gcc does not look; behind its own, as on Alpine.
kernel=$musl/with/kernel
mkdir -p "$kernel" "$musl/with/xxhash"
ln -sfn /usr/include/linux "$kernel/linux"
ln -sfn /usr/include/asm-generic "$kernel/asm-generic"
ln -sfn "/usr/include/$(gcc -print-multiarch)/asm" "$kernel/asm"
cp /usr/include/xxhash.h "$musl/with/xxhash/"
# Debian's gcc asks glibc for the tables of exceptions. Without an answer it looks for them itself.
cat >"$musl/with/find.c" <<'EOF'
int _dl_find_object(void *pc, void *found);
int _dl_find_object(void *pc, void *found)
{
    (void)pc;
    (void)found;
    return -1;
}
EOF
cat >"$musl/with/cc" <<EOF
#!/bin/sh
exec $(command -v ccache || :) musl-gcc -idirafter "$kernel" "\$@"
EOF
chmod +x "$musl/with/cc"
"$musl/with/cc" -c "$musl/with/find.c" -o "$musl/with/find.o" || exit 1

# No library of the system: they are made for glibc.
export PKG_CONFIG_LIBDIR=$musl/with
b=$musl/build
[ -f "$b/build.ninja" ] ||
  CC=$musl/with/cc meson setup -Dexamples=disabled -Dbuildtype=debugoptimized -Ddebug=false \
    -Dwerror=true -Dxxhash_header="$musl/with/xxhash" -Dc_link_args="$musl/with/find.o" \
    "$b" "$top" >"$musl/with/setup.log" 2>&1 || {
  tail -n 20 "$musl/with/setup.log"
  exit 1
}
units='api client file grow platform resident shared trust volume warm'
expect builds 0 '' ninja -k 0 -C "$b" src/tool/cachemax tests/cross/pool tests/model/model \
  $(printf 'tests/unit/test_%s ' $units) || grep -E 'error|warning|undefined' out
check is-musl sh -c 'readelf -l "$1" | grep -q ld-musl' - "$b/src/tool/cachemax"
for name in $units; do
  "$b/tests/unit/test_$name" >out 2>&1
  status=$?
  counts=($(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' out))
  grep -E '^(not ok|ok .* # SKIP|#)' out
  if [ ${#counts[@]} = 3 ]; then
    passed=$((passed + counts[0])) failed=$((failed + counts[1])) skipped=$((skipped + counts[2]))
    echo "unit-$name: ${counts[0]} passed, ${counts[1]} failed, ${counts[2]} skipped"
  else
    fail "unit-$name" "it ended with $status: $(tail -n 1 out)"
  fi
done
expect model 0 '' "$b/tests/model/model" --ops 50000 --slots 96
expect same-bytes 0 '' sh "$here/same-bytes.sh" "$build/tests/cross/pool" "$b/tests/cross/pool" \
  --one-boot
"$b/src/tool/cachemax" create pool --size 8M >/dev/null 2>&1
expect command 0 '"slots"' "$b/src/tool/cachemax" info --json pool
summary
