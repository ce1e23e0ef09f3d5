#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# coverage.sh [TEXT...] - which lines and branches of src/ do the tests run?
#
# Installs gcovr (Debian package), builds in $CM_BUILD (default: a directory below ${TMPDIR:-/tmp})
# with counters and without optimization, runs the short tests of the library, the command and the
# mount's control, and prints the share of lines and of branches for each folder, and each file that
# is below. Exit status 1: a test failed, or all of src/ together is below what is wanted. It takes
# half an hour on two processors. With TEXT only tests whose name contains one of these texts are
# run, and what they count is added to what was counted before. What is not counted, and why, is in
# docs/notes/coverage.md.
set -u
case ${1:-} in
-*)
  sed -n '/^# coverage.sh/,/^set/s/^# \{0,1\}//p' "$0"
  exit 2
  ;;
esac
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(dirname -- "$here")
. "$top/examples/need.sh"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-coverage.XXXXXX")
trap 'need_end; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
need build-essential meson ninja-build pkg-config python3 libxxhash-dev gcovr || exit 1
need libfuse3-dev fuse3 liblmdb-dev libsqlite3-dev liblzma-dev libssl-dev libmicrohttpd-dev \
  sqlite3 fio attr || echo "without these some tests are skipped"

b=${CM_BUILD:-${TMPDIR:-/tmp}/cachemax-build-coverage}
# With optimization, branches are counted that no source has. Threads count at the same time.
set_up() {
  mkdir -p "$b" && b=$(CDPATH='' cd -- "$b" && pwd) || return 1
  [ ! -f "$b/build.ninja" ] || return 0
  ${CC:-cc} -fPIC -c "$here/count_exits.c" -o "$b/count_exits.o" &&
    meson setup "$b" "$top" -Db_coverage=true -Doptimization=0 -Dhardening=false \
      -Dc_args=-fprofile-update=atomic \
      -Dc_link_args="$b/count_exits.o --coverage -Wl,--wrap=_exit,--wrap=raise"
}
set_up >"$scratch/build" 2>&1 || {
  tail -n 30 "$scratch/build"
  exit 1
}
ninja -C "$b" >"$scratch/build" 2>&1 || {
  tail -n 30 "$scratch/build"
  exit 1
}

# The tests: NAME COMMAND, one a line. Those of the front ends in examples/ are not among them, and
# test_stack measures optimized code. The kills of resize-test.sh are at each system call of the
# command: counters add thousands. So it finds a strace that does not work.
mkdir "$scratch/without"
printf '#!/bin/sh\nexit 1\n' >"$scratch/without/strace"
chmod +x "$scratch/without/strace"
tests() {
  for t in "$b"/tests/unit/test_*; do
    case ${t##*/test_} in
    *.p | ciphers | client | config | filter | filter_power | shell | stack | through) ;;
    *) echo "unit/${t##*/test_} $t" ;;
    esac
  done
  cat <<END
abi $b/tests/abi/client
shared $b/tests/cross/shared $scratch/shared.pool
model $b/tests/model/model --ops 30000 --slots 96
race $b/tests/model/race --seconds 3
race/probation $b/tests/model/race --seconds 3 --probation 2
race/grow $b/tests/model/race --grow 5
histories $b/tests/model/histories-free --count 500
objects/objects/kill $b/tests/objects/objects-kill --cycles 10
faults $b/tests/faults/faults --every 11
poisoned $b/tests/faults/poisoned --rounds 20
share $b/tests/share/share --operations 30000 --kills 5
kill $b/tests/kill/kill --cycles 10
fuzz sh $here/fuzz/replay.sh $b
tool bash $here/tool/tool-test.sh $b
tool/pools bash $here/tool/pools-test.sh $b
tool/resize env PATH=$scratch/without:$PATH bash $here/tool/resize-test.sh $b
tool/seal bash $here/tool/seal-test.sh $b
tool/dump bash $here/tool/dump-test.sh $b
tool/replay bash $here/tool/replay-test.sh $b
tool/top python3 $here/tool/top-test.py $b
tool/figures python3 $here/tool/figures-test.py $b
tool/dash python3 $here/tool/dash-test.py $b
tool/compare python3 $here/tool/compare-test.py $b
mount/control bash $here/mount/control-test.sh $b
mount/record bash $here/mount/record-test.sh $b
mount/paths bash $here/mount/paths-test.sh $b
mount/pin bash $here/mount/pin-test.sh $b
mount/verify bash $here/mount/verify-test.sh $b
mount/why bash $here/mount/why-test.sh $b
mount/resize bash $here/mount/resize-test.sh $b
mount/quota bash $here/mount/quota-test.sh $b
mount/control-service bash $here/mount/control-service-test.sh $b
bench bash $here/bench/bench-test.sh $b
END
}
alone=''
! unshare -m true 2>/dev/null || alone='unshare -m'
tests >"$scratch/all"
if [ $# = 0 ]; then
  find "$b" -name '*.gcda' -delete # of an earlier run
  cp "$scratch/all" "$scratch/chosen"
else
  printf '%s\n' "$@" >"$scratch/texts"
  awk 'NR == FNR { text[$0]; next } { for (t in text) if (index($1, t)) { print; next } }' \
    "$scratch/texts" "$scratch/all" >"$scratch/chosen"
fi
# shellcheck disable=SC2016 # of the inner shell
xargs -P "$(nproc)" -d '\n' -n 1 sh -c '
  scratch=$0 alone=$1
  set -f
  set -- $2
  name=$1 file=$scratch/$(echo "$1" | tr / _).out began=$(date +%s)
  shift
  $alone timeout -k 10 1200 "$@" >"$file" 2>&1 </dev/null
  status=$?
  [ $status != 77 ] || status=0
  [ $status = 0 ] || { echo "FAIL $name: status $status"; grep -E "^(FAIL|not ok|WRONG)" "$file" |
    head -n 5; tail -n 3 "$file"; }
  [ $status != 0 ] || echo "ok $name ($(($(date +%s) - began)) s)"
  [ $status = 0 ]' "$scratch" "$alone" <"$scratch/chosen"
failed=$?

# Objects of the library and of the command: what tests compile for themselves has other branches.
# gcovr leaves its files where it runs for a while.
(cd "$scratch" && gcovr -r "$top" --filter "$top/src/" "$b/src" --json "$scratch/counts") \
  >"$scratch/gcovr" 2>&1 || {
  cat "$scratch/gcovr"
  exit 1
}
cp "$scratch/counts" "$b/coverage.json"
python3 "$here/coverage.py" "$top" "$b/coverage.json" || failed=1
[ "$failed" = 0 ] || echo "coverage.sh: a test failed, or too little is covered"
echo "what is not run: python3 tests/coverage.py . $b/coverage.json FILE"
[ "$failed" = 0 ]
