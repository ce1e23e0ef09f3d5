#!/bin/bash -eu
# SPDX-License-Identifier: BSD-2-Clause
#
# build.sh - what OSS-Fuzz runs: builds the targets of tests/fuzz and packs their inputs.
#
# OSS-Fuzz sets CC, CXX, CFLAGS, LIB_FUZZING_ENGINE, SRC, WORK and OUT. The engine is C++, so the
# targets are linked with its library too. Libraries that are not in the image of the runner (xz,
# LMDB, SQLite) are left out.
here=$SRC/cachemax
build=$WORK/build
rm -rf "$build"
meson setup "$build" "$here" -Db_lundef=false -Ddefault_library=static -Dexamples=enabled \
  -Ddash=disabled -Dfuzz_engine="$LIB_FUZZING_ENGINE -lstdc++"
mapfile -t targets < <(sed -n "s/^all='\(.*\)'$/\1/p" "$here/tests/fuzz/run" | tr " " "\n")
for target in "${targets[@]}"; do
  ninja -C "$build" "tests/fuzz/fuzz_$target"
  cp "$build/tests/fuzz/fuzz_$target" "$OUT/"
  inputs=$WORK/inputs/$target
  python3 "$here/tests/fuzz/corpus.py" unpack "$here/tests/fuzz/corpus/$target.hex" "$inputs"
  (cd "$inputs" && zip -q -r "$OUT/fuzz_${target}_seed_corpus.zip" .)
  [ ! -f "$here/tests/fuzz/dict/$target.dict" ] ||
    cp "$here/tests/fuzz/dict/$target.dict" "$OUT/fuzz_$target.dict"
done
