#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# compare-win32.sh BUILD_DIR - "cachemax compare" on Windows, run under Wine: a small run to its
# end, and that nothing stays behind after Ctrl-C, a kill or an error. Prints "ok NAME" or
# "FAIL NAME: why" and a summary as the last line.
set -u
. "$(dirname "$0")/lib-win32.sh"

mkdir slow-volume fast-volume
volumes=(compare --origin slow-volume --pool-volume fast-volume --size 8M --rounds 1)
volumes_empty() { [ -z "$(find slow-volume fast-volume -mindepth 1)" ]; }
expect "compare" 0 'the warm cache has [0-9.e+]+ times the IOPS of the origin' "${volumes[@]}" \
  --seconds 1 --json compare.json
check "compare leaves nothing" volumes_empty
check "compare: its figures" python3 -c '
import json
r = json.load(open("compare.json"))
assert r["hit_percent"] == 100 and r["size_bytes"] == 8 << 20, r
for w in r["workloads"]:
    p = w["places"]
    assert set(p) == {"origin", "fast", "cold", "warm"}, w
    for f in p.values():
        block = {"random-read": 4096, "sequential-read": 131072}[w["name"]]
        assert f["iops"] > 0 and f["mean_us"] > 0 and f["p99_us"] > 0, f
        assert abs(f["bytes_per_second"] - block * f["iops"]) < block, f
    assert abs(w["ratios"]["warm_to_origin"] - p["warm"]["iops"] / p["origin"]["iops"]) < 0.01, w'
expect "compare --mount" 2 'no --mount' "${volumes[@]}" --mount slow-volume
expect "compare, no directory" 1 'no such directory' compare --origin missing --pool-volume .
if [ "$(df -B 1G --output=avail . | tail -n 1)" -lt 1024 ]; then
  expect "compare, no room" 1 'less room' compare --origin slow-volume --pool-volume fast-volume \
    --size 1T
  check "compare, no room: leaves nothing" volumes_empty
else
  skipped=$((skipped + 1))
  echo "skip compare, no room: there is room for all sizes"
fi
mkdir slow-volume/cachemax-compare.d && echo mine >slow-volume/cachemax-compare.d/data
expect "compare, a directory of somebody" 1 'made by somebody else' "${volumes[@]}"
expect "compare --clean, a directory of somebody" 1 'made by somebody else' \
  compare --clean slow-volume
check "compare keeps what is not its own" grep -q mine slow-volume/cachemax-compare.d/data
rm -r slow-volume/cachemax-compare.d
long_compare() { # until all files are written
  "$here/wine-run" "$cm" "${volumes[@]}" --seconds 600 >out 2>err </dev/null &
  owner=$!
  for _ in $(seq 600); do
    [ "$(stat -c %s fast-volume/cachemax-compare.d/data 2>/dev/null)" != 8388608 ] || return
    sleep 0.05
  done
}
long_compare
expect "compare, another one at work" 1 'in use by another' "${volumes[@]}"
kill -9 $owner
wait $owner 2>/dev/null
check "compare, killed: its files stay" test -e slow-volume/cachemax-compare.d/data
for volume in slow-volume fast-volume; do
  for _ in $(seq 100); do # Wine closes the files of a killed process in its own time
    run compare --clean $volume >out 2>err </dev/null && break
    sleep 0.1
  done
done
check "compare --clean, after a kill" volumes_empty
long_compare
kill -INT $owner
wait $owner
check "compare, Ctrl-C ends it" ended $?
owner=
check "compare, Ctrl-C leaves nothing" volumes_empty

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
