#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# valgrind.sh BUILD [TEXT...] - does Valgrind find anything in the tests of a build?
#
# memcheck: the unit tests of the library, the client of the ABI, and the command (the tests of the
# tool, with each call of it under memcheck): memory that was never set, that is not the program's,
# and that is lost. helgrind: the programs with threads and with processes: wrong use of locks and
# of conditions, and locks that are taken in two orders. tests/valgrind.supp says what is no defect,
# and why races are the thread sanitizer's (run.sh --all).
#
# With TEXT only tests whose name contains one of these texts. All of it takes half an hour on two
# processors. Prints a line for each, what Valgrind says of those that fail, and "N passed, N
# failed, N skipped". Exit status 1: something failed.
set -u
case ${1:--} in
-*)
  sed -n '/^# valgrind.sh/,/^set/s/^# \{0,1\}//p' "$0"
  exit 2
  ;;
esac
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
b=$(CDPATH='' cd -- "$1" && pwd) || exit 2
shift
scratch=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-valgrind.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
command -v valgrind >/dev/null || {
  echo "skip valgrind: it is not installed (Debian package valgrind)"
  echo "0 passed, 0 failed, 1 skipped"
  exit 77
}
export CM_TEST_EMULATED=1 # no real machine checks, and no signals that Valgrind takes for its own

# The fault guard wants the exact instruction: a block of Valgrind's must not span calls.
common="valgrind -q --vex-guest-chase=no --suppressions=$here/valgrind.supp --error-exitcode=99"
memcheck="$common --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite"
# What a thread did before is only of use for races.
helgrind="$common --tool=helgrind --history-level=none"

# A build whose command runs under memcheck. What Valgrind says goes to files, and only that is
# judged: pools of 100 GB and more do not fit into Valgrind's address space.
mkdir -p "$scratch/build/src/tool"
printf '#!/bin/sh\nexec %s --log-file=%s/said.%%%%p %s "$@"\n' "$memcheck" "$scratch" \
  "$b/src/tool/cachemax" >"$scratch/build/src/tool/cachemax"
cat >"$scratch/command" <<END
#!/bin/sh
bash "\$1" "$scratch/build" | tail -n 1 | grep '^[1-9][0-9]* passed' || exit 1
cat "$scratch"/said.*
END
chmod +x "$scratch/build/src/tool/cachemax" "$scratch/command"

# NAME COMMAND, one a line. Without the unit tests of examples/; those that would take an hour;
# those whose faults are what Valgrind looks for (persist), or where a copy that it does not expect
# to fault does (copy_choice); and test_stack, which measures stacks of its own.
tests() {
  for t in "$b"/tests/unit/test_*; do
    case ${t##*/test_} in
    *.p | ciphers | client | config | filter | filter_power | shell | stack | through) ;;
    copy_choice | curve | ghost | header | persist | record | wear) ;;
    *) echo "memcheck/${t##*/test_} $memcheck $t" ;;
    esac
  done
  cat <<END
memcheck/abi $memcheck $b/tests/abi/client
memcheck/tool $scratch/command $here/tool/tool-test.sh
memcheck/tool-seal $scratch/command $here/tool/seal-test.sh
helgrind/flight $helgrind $b/tests/unit/test_flight leader
helgrind/flights $helgrind $b/tests/unit/test_flight flights
helgrind/grow $helgrind $b/tests/unit/test_grow beside
helgrind/locks $helgrind $b/tests/unit/test_locks
helgrind/objects $helgrind $b/tests/unit/test_objects beside
helgrind/warm $helgrind $b/tests/unit/test_warm join
helgrind/histories $helgrind $b/tests/model/histories-free --count 300
helgrind/race $helgrind $b/tests/model/race --seconds 30
helgrind/race-probation $helgrind $b/tests/model/race --seconds 30 --probation 2
helgrind/race-grow $helgrind $b/tests/model/race --grow 3
helgrind/share $helgrind $b/tests/share/share --operations 3000 --kills 2
END
}
tests >"$scratch/all"
[ $# != 0 ] || set -- ''
printf '%s\n' "$@" >"$scratch/texts"
awk 'NR == FNR { text[$0]; next } { for (t in text) if (index($1, t)) { print; next } }' \
  "$scratch/texts" "$scratch/all" >"$scratch/chosen"

# shellcheck disable=SC2016 # of the inner shell
xargs -P "$(nproc)" -d '\n' -n 1 sh -c '
  scratch=$0
  set -f
  set -- $1
  name=$1 file=$scratch/$(echo "$1" | tr / _).out began=$(date +%s)
  shift
  if [ ! -x "$1" ] && ! command -v "$1" >/dev/null; then
    echo "skip $name: $1 was not built"
    exit 0
  fi
  timeout -k 10 3600 "$@" >"$file" 2>&1 </dev/null
  status=$?
  took="($(($(date +%s) - began)) s)"
  # Some tests want a child to die by a signal: their own status says whether that is right.
  if grep -v "== Process terminating" "$file" | grep -q "^==[0-9]*== [A-Z]"; then
    echo "FAIL $name: Valgrind says $took:"
    grep "^==" "$file" | head -n 60
  elif [ $status = 0 ]; then
    echo "ok $name $took"
  elif [ $status = 77 ] || grep -q "^FAILED: close CM_OK, or nothing was exercised" "$file"; then
    echo "skip $name: $(grep -E "^(skip|FAILED)" "$file" | head -n 1) $took"
  else
    echo "FAIL $name: status $status $took"
    { grep -E "^(FAIL|not ok|WRONG)" "$file" | head -n 10; tail -n 3 "$file"; } | sed "s/^/  /"
  fi' "$scratch" <"$scratch/chosen" | tee "$scratch/said"
passed=$(grep -c '^ok ' "$scratch/said")
failed=$(grep -c '^FAIL ' "$scratch/said")
skipped=$(grep -c '^skip ' "$scratch/said")
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
