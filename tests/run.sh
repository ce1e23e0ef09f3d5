#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# run.sh [--all] [FILTER...] - builds and runs the tests.
# run.sh --list BUILD - names the suites of the native build in BUILD, for tests/meson.build.
#
# Installs what it needs (Debian packages), builds in $CM_BUILD (default: a directory below
# ${TMPDIR:-/tmp}) and runs everything; --all adds the other compilers, the sanitizers, Windows
# (under Wine), arm64 (emulated) and musl. FILTER: only suites whose name contains it, or one of
# several. The build is whole all the same; standard error says how far it is.
# Each suite says how many seconds it took, and how many of a processor. The last lines repeat what
# failed ("failed: SUITE: TEST"), say the seconds of all and of each target, then "TARGET: N passed,
# N failed, N skipped", one a target, and the same without one: the total. Exit status: 0 all is
# well, 1 something failed, 2 wrong usage, as a FILTER that names no suite.
#
# Without a FILTER some long suites run a part of what they have, and others take turns: a twelfth
# of the mount's run with a commit, a quarter of the front ends' and of what is far from a promise,
# and half of what runs a second time, with sanitizers and in emulators. Of four commits the first
# has the address sanitizer, the second the guest and the builds with all checks and with the thread
# sanitizer, the third arm64 (and each third time musl), the fourth Windows. The rest runs with the
# next commits.
#
# --list runs nothing. A line has a suite's label, its name and its command, with tabs between the
# words; the label of a slow one ends with a minus. The numbers in these commands are smaller.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(dirname -- "$here")
all=no list='' filter='' began_all=$(date +%s)
for a in "$@"; do
  case $a in
  --all) all=yes ;;
  --list) list=yes ;;
  -h | --help)
    sed -n '/^# run.sh/,/^set/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  -*)
    echo "run.sh: unknown option $a; usage: run.sh [--all] [FILTER...], run.sh --list BUILD" >&2
    exit 2
    ;;
  *) filter="$filter $a" ;;
  esac
done

. "$top/examples/need.sh"
passed=0 failed=0 skipped=0 queue=''
log=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-tests.XXXXXX") teller=''
end_all() {
  need_end
  [ -z "$teller" ] || kill "$teller" 2>/dev/null
  # shellcheck disable=SC2086 # numbers
  [ -z "$queue" ] || kill $queue 2>/dev/null # those that have not begun would wait for ever
  # A suite's timeout leads its group of processes.
  for f in "$log"/*.pid; do
    [ ! -f "$f" ] || kill -TERM "-$(cat "$f")" 2>/dev/null
  done
  rm -rf "$log"
}
made=$log few='' few_models='' # files of the suites; with --list only some of the rows
trap end_all EXIT
trap 'exit 130' INT TERM

# target NAME: what was counted since the last one belongs to it, and its seconds.
targets= seconds='' began_target=$began_all passed_before=0 failed_before=0 skipped_before=0
target() {
  now=$(date +%s)
  seconds="$seconds${seconds:+; }$1 $((now - began_target)) s"
  began_target=$now
  targets="$targets$1: $((passed - passed_before)) passed, $((failed - failed_before)) failed, \
$((skipped - skipped_before)) skipped
"
  passed_before=$passed failed_before=$failed skipped_before=$skipped
}
finish() {
  [ ! -f "$log/failed" ] || cat "$log/failed"
  times >"$log/times" # the last two: user and system time of all that was waited for
  echo "all of it took $(($(date +%s) - began_all)) s; processors' time: $(tail -n 1 "$log/times")"
  [ -z "$seconds" ] || echo "of these $seconds"
  printf '%s' "$targets"
  echo "$passed passed, $failed failed, $skipped skipped"
  [ $failed = 0 ] || exit 1
  for f in $filter; do
    case "$named " in *" $f "*) continue ;; esac
    more=''
    [ $all = yes ] || more=' (some are run with --all only)'
    echo "run.sh: no suite has a name with: $f$more" >&2
    exit 2
  done
  exit 0
}
skip() { # NAME REASON
  skipped=$((skipped + 1))
  echo "skip $1: $2"
}

# Some suites are as long as all unit tests. So a part of each runs, and with the next commits the
# others. A FILTER runs all of what it names. Without the history the days are counted.
one_job='' commits=$(($(date +%s) / 86400))
[ "$(git -C "$top" rev-parse --is-shallow-repository 2>/dev/null)" != false ] ||
  commits=$(git -C "$top" rev-list --count HEAD)
[ "$filter$list" ] || one_job='--jobs 1'
# part N: the words that say which of N parts.
part() { [ "$filter$list" ] || echo "--part $((commits % $1))/$1"; }
# in_turn K [N]: is it the turn of what is the K-th of N parts (3)?
in_turn() { [ "$filter$list" ] || [ $((commits % ${2:-3})) = "$1" ]; }
# its_turn SUITE: has it a turn with this commit? Those that take turns are counted, so that each
# commit has as many; for what runs a second time the name decides, because no_turn has to know.
mounts=0 fars=0
its_turn() {
  [ -z "$filter$list" ] || return 0
  case $1 in
  arm64/unit/persist) ;; # it says what the emulator can do
  asan/* | checked/* | tsan/* | wine/* | wine-clang/* | arm64/*)
    [ $((($(echo "$1" | cksum | cut -d ' ' -f 1) + commits / 4) % 2)) = 0 ]
    ;;
  mount-mutants | examples/cpp | examples/freestanding) ;; # short; as what is built
  mount-* | mount/*)
    mounts=$((mounts + 1))
    [ $(((mounts + commits) % 12)) = 0 ]
    ;;
  bench* | budget | crash/failures | crash/grow-failures | crash/probation* | crash/seal | \
    examples/* | faults* | filter/* | nbdkit-boot | nbdkit-cuts | objects/* | policy | \
    policy/advice | policy/ended | service/* | site | tool-* | winfsp*)
    fars=$((fars + 1))
    [ $(((fars + commits) % 4)) = 0 ]
    ;;
  esac
}
# A pattern for the unit tests that have no turn under this label. They need not be built.
no_turn() { # LABEL
  none=''
  for t in "$here"/unit/test_*.c; do
    name=$(basename "$t" .c | sed s/test_//)
    its_turn "$1/unit/$name" || none="$none|$name"
  done
  echo "tests/unit/test_(-$none)(\\.exe)?\$"
}

# wanted NAME: is it this suite's turn, or does a FILTER name it? $named: those that named one.
named=''
wanted() {
  [ -n "$filter" ] || {
    its_turn "$1"
    return
  }
  want=1
  for f in $filter; do
    case $1 in *"$f"*) named="$named $f" want=0 ;; esac
  done
  return $want
}

# suite NAME COMMAND...: runs it, for $patience seconds at most (a hang ends then, not a slow
# machine); counts what its last line says, or else its exit status as one test (77: skipped).
# also NAME COMMAND...: begins it, and the next suite runs beside it: for those that use one
# processor. beside NAME COMMAND...: as also, as soon as a processor is free. waits NAME COMMAND...:
# as also, for those that mostly wait: it begins when less than three for each processor go on.
# settle waits for all.
patience=1200
[ -z "$filter" ] || patience=3600
running=''
mkfifo "$log/free" "$log/places" && exec 8<>"$log/places" 9<>"$log/free"
# Each is an empty line: read takes it at once, also where several wait for one.
for processor in $(seq "$(nproc)"); do
  echo >&9
  printf '\n\n\n' >&8
done
also() {
  wanted "$1" || return 0
  running="$running $1"
  # A shell has SIGINT ignored in what it begins in the background.
  timed "$(echo "$1" | tr / _)" env --default-signal=INT,QUIT "$@" 8>&- 9>&- &
}
waits() {
  wanted "$1" || return 0
  running="$running $1"
  {
    read -r place <&8
    timed "$(echo "$1" | tr / _)" env --default-signal=INT,QUIT "$@" 8>&- 9>&-
    echo >&8
  } &
  queue="$queue $!"
}
suite() {
  also "$@"
  settle
}
beside() {
  wanted "$1" || return 0
  read -r processor <&9
  settled
  running="$running $1"
  {
    timed "$(echo "$1" | tr / _)" env --default-signal=INT,QUIT "$@" 8>&- 9>&-
    echo >&9
  } &
}
settle() {
  wait
  queue=''
  for name in $running; do
    report "$name"
  done
  running=''
}
# ended NAME: waits for one.
ended() {
  while case "$running " in *" $1 "*) ;; *) false ;; esac do
    [ -f "$log/$(echo "$1" | tr / _).status" ] || sleep 0.2
    settled
  done
}
# Reports those that have ended.
settled() {
  still=''
  for name in $running; do
    if [ -f "$log/$(echo "$name" | tr / _).status" ]; then
      report "$name"
    else
      still="$still $name"
    fi
  done
  running=$still
}
# Root runs each suite in a mount namespace of its own: a namespace that another suite makes would
# keep copies of its mounts after it has unmounted them.
alone=''
! unshare -m true 2>/dev/null || alone='unshare -m'
# timed FILE env [OPTION] NAME COMMAND...
timed() {
  began=$(date +%s) file=$log/$1 options=$2
  shift 2
  case $1 in --*)
    options="$options $1"
    shift
    ;;
  esac
  shift
  # shellcheck disable=SC2086 # words
  $options $alone timeout -k 10 $patience sh -c 'echo $PPID >"$0"; exec "$@"' "$file.pid" "$@" \
    >"$file.out" 2>&1
  status=$?
  rm -f "$file.pid"
  [ $status != 124 ] || echo "FAIL it was stopped after $patience s" >>"$file.out"
  times >"$file.times" # the last two: user and system time of what ran here
  echo "$status $(($(date +%s) - began)) $(tail -n 1 "$file.times" | awk -F '[ms ]+' \
    '{ printf "%.0f", ($1 + $3) * 60 + $2 + $4 }')" >"$file.took"
  mv "$file.took" "$file.status" # whole when it is there
}
report() { # NAME
  name=$1 out=$log/$(echo "$1" | tr / _)
  read -r status took worked <"$out.status" || status=1 took=0 worked=0
  sed -i 's/\r$//' "$out.out"
  counts=$(tail -n 1 "$out.out" |
    sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
  if [ -n "$counts" ]; then
    # shellcheck disable=SC2086 # three numbers
    set -- $counts
  elif [ "$status" = 77 ]; then
    set -- 0 0 1
  elif [ "$status" = 0 ]; then
    set -- 1 0 0
  else
    set -- 0 1 0
  fi
  if [ "$status" != 0 ] && [ "$status" != 77 ] && [ "$2" = 0 ]; then
    set -- "$1" 1 "$3" # it says all is well, and died
  fi
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
  echo "$name: $1 passed, $2 failed, $3 skipped (${took} s, $worked)"
  told='(model|race|turns|schedules|histories|crash|faults|poisoned|media|guest|kill|foreign):'
  grep -E "^(skip |$told|ratio)" "$out.out" | sed 's/^/  /'
  sed -n 's/^ok [0-9]* - \(.*\) # SKIP /  skip \1: /p' "$out.out" # of unit tests
  if [ "$2" != 0 ]; then
    grep -E '^(FAIL|not ok|FAILED)' "$out.out" | head -n 20 >"$log/fails"
    sed 's/^/  /' "$log/fails"
    [ -s "$log/fails" ] || tail -n 1 "$out.out" >"$log/fails"
    cut -c 1-200 "$log/fails" | sed "s|^|failed: $name: |" >>"$log/failed"
    echo "  --- the end of its output:"
    tail -n 25 "$out.out" | sed 's/^/  | /'
  fi
}

# build NAME DIR CC [MESON OPTION...]: 1 when it fails (counted). A directory that was set up with
# another compiler, other options or another cross file begins anew: meson reads a cross file's
# options at the first setup only. $goals: what is built, all if it is empty; $leave: a pattern of
# programs that are not.
goals='' leave=''
# Debug information with lines and no variables: what sanitizers print. It takes a fifth less time.
lines_only='-Ddebug=false -Dc_args=-g1'
goals_in() { # DIR
  if [ "$leave" ]; then
    ninja -C "$1" -t query all | sed -n '/^  outputs/q; s/^    //p' | grep -vE "^(meson-|$leave)"
  else
    echo "$goals"
  fi
}
# tell NAME: says on stderr every ten seconds how far $log/build has come, until it is killed.
tell() {
  trap 'kill $! 2>/dev/null; exit 0' TERM
  while :; do
    sleep 10 &
    wait $!
    seconds=$(($(date +%s) - began_build))
    steps=$(tail -c 1000 "$log/build" |
      sed -n 's/^\[\([0-9]*\)\/\([0-9]*\)\].*/\1 \2/p' | tail -n 1)
    at=${steps% *} of=${steps#* }
    if [ "${at:-0}" = 0 ]; then
      echo "  build $1: configuring, $seconds s" >&2
    elif [ $((at * 20)) -lt "$of" ]; then # these say little of how long the rest takes
      echo "  build $1: step $at of $of" >&2
    else
      echo "  build $1: step $at of $of, about $((seconds * (of - at) / at + 1)) s left" >&2
    fi
  done
}
build() {
  name=$1 dir=$2 cc=$3
  shift 3
  set_up=$({
    echo "$cc $*"
    cat "$here"/cross/*.ini
  } | cksum)
  setup=setup
  # Only what this script made is removed.
  if [ ! -f "$dir/set-up" ] && [ -n "$(ls -A "$dir" 2>/dev/null)" ]; then
    failed=$((failed + 1))
    echo "build $name: FAILED: $dir is not empty, and not made by run.sh; name another CM_BUILD"
    echo "failed: build $name" >>"$log/failed"
    return 1
  fi
  if [ -f "$dir/build.ninja" ]; then
    setup="setup --reconfigure"
    [ "$(cat "$dir/set-up" 2>/dev/null)" = "$set_up" ] || {
      rm -rf "$dir"
      setup=setup
    }
  fi
  mkdir -p "$dir" && echo "$set_up" >"$dir/set-up"
  began_build=$(date +%s)
  echo "building $name in $dir${filter:+ (all of it, whatever the filter)}" >&2
  : >"$log/build"
  tell "$name" &
  teller=$!
  # shellcheck disable=SC2046,SC2086 # words
  CC=$cc meson $setup "$dir" "$top" "$@" >"$log/build" 2>&1 &&
    ninja -C "$dir" $(goals_in "$dir") >>"$log/build" 2>&1
  built=$?
  kill $teller 2>/dev/null
  wait $teller 2>/dev/null
  teller=''
  [ $built != 0 ] || {
    echo "build $name: ok ($(($(date +%s) - began_build)) s)"
    return 0
  }
  failed=$((failed + 1))
  echo "build $name: FAILED"
  echo "failed: build $name" >>"$log/failed"
  tail -n 30 "$log/build" | sed 's/^/  | /'
  return 1
}

# Begins everything that runs a program of the library: unit tests, model, threads. OPS: of a model
# run. STATES: of crashes, where $run is set (natively tests/crash/run has more of them); short:
# sequences of length 1; none: only what has threads, for the thread sanitizer.
# $run: what runs the programs, where they are another system's; $exe: how their names end.
run=
exe=
crash_rules='adr eadr pagecache checkpoint'
core_suites() { # DIR LABEL OPS SECONDS STATES
  for rules in $crash_rules; do # first what takes longest
    case $5 in
    none) ;;
    short) beside "$2crash/$rules" "$1/tests/crash/crash" --rules $rules --length 1 --states 0 ;;
    *) [ -z "$run" ] ||
      beside "$2crash/$rules" $run "$1/tests/crash/crash$exe" --rules $rules --length 1 \
      --states "$(crash_states $rules "$5")" ;;
    esac
  done
  # With a commit every N-th place where one thread may come between another's steps, and one of N
  # parts of 120000 schedules and 30000 histories.
  every=24
  [ -z "$run" ] || every=60
  case $5 in none | short) every=20 ;; esac
  turn=$((commits % every)) schedules=$((120000 / every)) histories=$((30000 / every))
  of_schedules="--seed $((turn * schedules + 1)) --count $schedules"
  of_histories="--seed $((turn * histories + 1)) --count $histories"
  # Taking turns the threads never meet: nothing for the thread sanitizer.
  stepped=$5
  [ "$2" != asan/ ] || in_turn 0 || stepped=none
  # shellcheck disable=SC2086 # words
  [ "$stepped" = none ] || {
    beside "$2turns" $run "$1/tests/model/turns$exe" --every $every --first $((turn + 1))
    beside "$2schedules" $run "$1/tests/model/schedules$exe" $of_schedules
    beside "$2histories" $run "$1/tests/model/histories$exe" $of_histories
    beside "$2histories/weak" $run "$1/tests/model/histories$exe" --weak $of_histories
  }
  # shellcheck disable=SC2086 # words
  beside "$2histories/free" $run "$1/tests/model/histories-free$exe" $of_histories
  for t in "$1"/tests/unit/test_*"$exe"; do
    name=$(basename "$t" "$exe" | sed s/test_//)
    [ -x "$t" ] && [ -f "$t" ] || continue
    [ "$5" != none ] || [ "$run" ] || has_threads "$name" || continue # for the thread sanitizer
    beside "$2unit/$name" $run "$t"
  done
  for slots in 64 96 300; do
    beside "$2model/$slots" $run "$1/tests/model/model$exe" --ops "$3" --slots $slots
  done
  beside "$2race" $run "$1/tests/model/race$exe" --seconds "$4"
  beside "$2race/probation" $run "$1/tests/model/race$exe" --seconds "$4" --probation 2
  beside "$2race/grow" $run "$1/tests/model/race$exe" --grow 10
  [ "$2" ] || for rules in adr checkpoint; do
    beside "$2crash/probation-$rules" "$1/tests/crash/crash" --rules $rules --probation 3 \
      --length 1 --states 0
  done
}
has_threads() { # NAME
  grep -qsE 'pthread_create|os_thread_begin|start_readers|fm_load' "$here/unit/test_$1"*.c
}
with_threads() { # DIR: the unit tests
  for t in "$1"/tests/unit/test_*; do
    [ ! -x "$t" ] || [ ! -f "$t" ] || ! has_threads "$(basename "$t" | sed s/test_//)" ||
      echo "tests/unit/$(basename "$t")"
  done
}
crash_states() { # RULES STATES
  [ "$1" = adr ] && echo "$2" || echo $(($2 / 10))
}

# Of a native build, what begins before core_suites: what takes longest.
native_first() { # DIR
  b=$1
  # Those that mostly wait. These two are alone among them that empty the kernel's caches: the
  # caches hold the errors of syncs that they look for.
  waits mount-sync bash "$here/mount/sync-test.sh" "$b"
  # shellcheck disable=SC2046 # words
  waits filter-mutants python3 "$here/filter/mutants.py" $(part 12)
  need qemu-system-common || :
  ! in_turn 1 4 || waits cuts bash "$here/cut/cut-test.sh" "$b" --cuts 3 --seconds 3
  waits quickstart bash "$here/mount/quickstart-test.sh" "$b"
  waits mount bash "$here/mount/mount-test.sh" "$b"
  waits winfsp-mutants python3 "$here/winfsp/mutants.py"
  waits mount-options bash "$here/mount/options-test.sh" "$b"
  # shellcheck disable=SC2046,SC2086 # words
  beside mutants python3 "$here/crash/mutants.py" --quick $(part 72) $one_job $few
}
# The rest of a native build.
native_suites() { # DIR
  b=$1
  ended mount-sync
  waits mount/service-sync bash "$here/mount/sync-test.sh" "$b" --service
  # --list has the short ones, of core_suites. Also with a FILTER a part: all take an hour.
  # shellcheck disable=SC2086 # words
  [ "$list" ] || for rules in adr checkpoint pagecache eadr; do
    beside crash/$rules "$here/crash/run" --rules $rules $one_job --part $((commits % 90))/90 \
      --states 0 --no-mutants --resume "$log/crash.$rules" "$b"
  done
  ! in_turn 0 4 || beside crash/grow "$b/tests/crash/crash" --grow --states 0
  ! in_turn 2 4 ||
    beside crash/grow-checkpoint "$b/tests/crash/crash" --grow --rules checkpoint --states 0
  need spin || :
  # shellcheck disable=SC2046 # words
  beside spin bash "$here/spin/run.sh" $(part 24) ${few_models:+"$few_models"}
  ended mount/service-sync
  waits mount-control-service bash "$here/mount/control-service-test.sh" "$b"
  waits mount-resize bash "$here/mount/resize-test.sh" "$b"
  waits mount-features bash "$here/mount/features-test.sh" "$b"
  waits mount/service bash "$here/mount/mount-test.sh" "$b" --service
  waits mount/service-random bash "$here/mount/random-test.sh" "$b" --service
  waits mount-devices bash "$here/mount/devices-test.sh" "$b"
  waits mount-dirs bash "$here/mount/dirs-test.sh" "$b"
  waits mount-names bash "$here/mount/names-test.sh" "$b"
  waits mount-sessions bash "$here/mount/sessions-test.sh" "$b"
  waits mount-far bash "$here/mount/far-test.sh" "$b"
  waits mount-uring bash "$here/mount/uring-test.sh" "$b"
  waits mount-failures bash "$here/mount/failures-test.sh" "$b"
  waits mount-admin bash "$here/mount/admin-test.sh" "$b"
  waits mount-day bash "$here/mount/day-test.sh" "$b"
  waits mount-rules bash "$here/mount/rules-test.sh" "$b"
  waits mount-control bash "$here/mount/control-test.sh" "$b"
  waits mount-paths bash "$here/mount/paths-test.sh" "$b"
  waits mount-pin bash "$here/mount/pin-test.sh" "$b"
  waits mount-privileges bash "$here/mount/privileges-test.sh" "$b"
  waits mount-seal bash "$here/mount/seal-test.sh" "$b"
  waits mount-quota bash "$here/mount/quota-test.sh" "$b"
  waits mount-requests bash "$here/mount/requests-test.sh" "$b"
  waits mount-writeback bash "$here/mount/writeback-test.sh" "$b"
  waits mount-random bash "$here/mount/random-test.sh" "$b"
  waits mount-soak bash "$here/mount/soak.sh" "$b" --seconds 20
  waits mount-record bash "$here/mount/record-test.sh" "$b"
  waits mount-verify bash "$here/mount/verify-test.sh" "$b"
  waits mount-why bash "$here/mount/why-test.sh" "$b"
  waits mount-log bash "$here/mount/log-test.sh" "$b"
  waits mount-log/service bash "$here/mount/log-test.sh" "$b" --service
  waits mount-between bash "$here/mount/between-test.sh" "$b"
  waits mount-zeros bash "$here/mount/zeros-test.sh" "$b"
  waits mount-coherence bash "$here/mount/coherence-test.sh" "$b"
  [ $all = yes ] || waits mount-end bash "$here/mount/end-test.sh" "$b"
  waits mount/service-sessions bash "$here/mount/sessions-test.sh" "$b" --service
  waits mount/service-coherence bash "$here/mount/coherence-test.sh" "$b" --service
  waits mount/service-kills bash "$here/mount/service-test.sh" "$b"
  waits mount-bare bash "$here/mount/bare-test.sh" "$b"
  waits mount-kill bash "$here/mount/kill-test.sh" "$b"
  need iproute2 moosefs-master moosefs-chunkserver moosefs-client >/dev/null 2>&1 || :
  waits mount-fleet sh "$here/fleet/run.sh" "$b" --only moosefs --checks none --operations 2500 \
    --kills 0
  waits tool-compare python3 "$here/tool/compare-test.py" "$b"
  need prometheus || :
  waits tool-dash python3 "$here/tool/dash-test.py" "$b"
  storm="$b/tests/service/storm" service="$b/examples/service/cachemax-service"
  waits service/hostile "$b/tests/service/hostile" "$b/tests/service/loud_service"
  waits winfsp bash "$here/winfsp/winfsp-test.sh" "$b"
  waits filter/storm "$b/tests/filter/storm" "$service" --operations 100000 --troubles 10
  waits service/parts "$b/tests/service/parts" "$service"
  waits service/ring "$storm" "$service" --operations 100000 --kills 5 --stalls 3
  waits service/socket "$storm" "$service" --operations 100000 --kills 5 --stalls 3 --no-ring
  waits service/remove bash "$here/service/remove-test.sh" "$b"
  waits service/stalls "$b/tests/service/stalls"
  waits service/program sh "$here/service/program-test.sh" "$b"
  waits policy/advice "$b/tests/policy/test_advice"
  waits policy/ended "$b/tests/policy/test_ended"
  waits kill "$b/tests/kill/kill" --cycles 100
  waits objects/kill "$b/tests/objects/objects-kill" --cycles 60
  waits share "$b/tests/share/share" --operations 300000 --kills 20
  waits examples/event-loop bash "$here/examples/event-loop-test.sh" "$b"
  # And those that use a processor.
  need valgrind || :
  # What others do does not change how much it counts.
  # shellcheck disable=SC2046 # words
  beside budget bash "$here/bench/budget.sh" $(part 4)
  if [ $all = yes ] || [ "$list" ]; then
    need python3-clang-14 >/dev/null 2>&1 || :
    ! in_turn 2 6 || beside mutation /usr/bin/python3 "$here/mutation/run" --check # a minute
    need cppcheck || :
    ! in_turn 3 6 || beside analysis bash "$here/tree/check-analysis.sh" "$top" # a minute
    ! in_turn 4 6 || beside analysis/tool bash "$here/tree/check-analysis.sh" "$top" --tool
    need clang-tidy-14 >/dev/null 2>&1 || need clang-tidy >/dev/null 2>&1 || :
    # shellcheck disable=SC2046 # words
    beside tidy sh "$here/tree/check-tidy.sh" "$top" $(part 24)
  fi
  need qemu-system-x86 grub-pc-bin >/dev/null 2>&1 || :
  beside nbdkit-boot /usr/bin/python3 "$here/nbd/boot-test.py" "$b"
  beside policy python3 "$here/policy/policy-test.py" "$b"
  beside tool-resize bash "$here/tool/resize-test.sh" "$b"
  beside nbdkit-cuts /usr/bin/python3 "$here/nbd/cut-test.py" "$b"
  # Its turn is each sixth commit; so a third of its unit tests runs with each eighteenth.
  # shellcheck disable=SC2046 # words
  ! in_turn 4 6 || beside amalgamation bash "$here/amalgamation/amalgamation-test.sh" "$b" \
    $([ "$filter$list" ] || echo "--part $((commits / 6 % 3))/3")
  need python3-cffi python3-dev python3-pip python3-setuptools python3-venv python3-wheel || :
  need python3-aiohttp python3-fsspec python3-pandas python3-requests || :
  beside examples/python sh "$here/python/python-test.sh" "$b"
  ! in_turn 3 6 || beside policy/scan python3 "$here/policy/scan-test.py" "$b"
  beside faults "$b/tests/faults/faults" --every 38 --first $((commits % 38))
  beside faults/programs python3 "$here/faults/programs.py" "$b" --every 122 \
    --first $((commits % 122))
  beside media "$b/tests/fuzz/media" --lives 4000 --seed $((commits * 100000))
  beside objects/crash/adr "$b/tests/objects/objects-crash" --rules adr --sequences 60
  beside objects/crash/checkpoint "$b/tests/objects/objects-crash" --rules checkpoint --sequences 60
  beside objects/crash/eadr "$b/tests/objects/objects-crash" --rules eadr --sequences 60
  beside crash/failures "$b/tests/crash/crash" --rules pagecache --failures 20
  beside crash/grow-failures "$b/tests/crash/crash" --grow --rules pagecache --failures 20
  beside crash/seal "$b/tests/crash/crash" --seal --rules checkpoint --length 1 --states 0
  beside faults/poisoned "$b/tests/faults/poisoned" --rounds 150
  beside faults/poisoned-sealed "$b/tests/faults/poisoned" --rounds 60 --sealed 100
  beside tool bash "$here/tool/tool-test.sh" "$b"
  beside tree sh "$here/tree/check-tree.sh" "$top" "$b"
  beside run-sh sh "$here/tree/run-test.sh"
  ! in_turn 1 || beside packages-scripts bash "$here/packages/scripts-test.sh"
  beside bench bash "$here/bench/bench-test.sh" "$b"
  beside bench/objects bash "$here/bench/objects-test.sh" "$b"
  beside site python3 "$here/site/site-test.py"
  need sqlite3-tools >/dev/null 2>&1 || : # sqldiff
  beside examples/sqlite-vfs python3 "$here/sqlite/sqlite-test.py" "$b"
  beside sqlite-mutants python3 "$here/sqlite/mutants.py" --list # all of them can be made
  beside examples/nbdkit /usr/bin/python3 "$here/nbd/nbd-test.py" "$b"
  beside nbdkit-mutants /usr/bin/python3 "$here/nbd/mutants.py" --list
  beside mount-mutants python3 "$here/mount/mutants.py" --list # all of them can be made
  # All of src/ can be changed.
  beside random-mutants python3 "$here/crash/random-mutants.py" --list --number 500
  ! in_turn 0 || beside crash/trace sh "$here/crash/trace-test.sh" "$b"
  ! in_turn 2 || beside fuzz sh "$here/fuzz/replay.sh" "$b"
  beside media/noticed "$b/tests/fuzz/media" --trusting
  beside foreign sh "$here/foreign/run.sh" "$b"
  ! in_turn 1 || beside freestanding "$b/tests/freestanding/core"
  beside shared "$b/tests/cross/shared" "$made/shared.pool"
  beside abi "$b/tests/abi/client"
  beside copies "$b/tests/abi/copies" "$b/src/libcachemax.so"
  beside abi-baseline bash "$here/abi/abi-test.sh" "$b"
  need gdb || :
  beside gdb sh "$here/gdb/gdb-test.sh" "$b"
  beside orders python3 "$here/crash/orders.py" --check
  need clang-format-14 >/dev/null 2>&1 || need clang-format >/dev/null 2>&1 || :
  beside format sh "$here/tree/check-format.sh" "$top"
  beside policy/unit "$b/tests/policy/test_policy"
  ! in_turn 1 || beside examples/freestanding bash "$here/examples/freestanding-test.sh" "$b"
  beside examples/memory-pool bash "$here/examples/memory-pool-test.sh" "$b"
  beside examples/writev bash "$here/examples/writev-test.sh" "$b"
  beside examples/object-store bash "$here/examples/object-store-test.sh" "$b"
  beside examples/objects bash "$here/examples/objects-test.sh" "$b"
  beside examples/page-store bash "$here/examples/page-store-test.sh" "$b"
  beside examples/http-proxy sh "$here/examples/http-proxy-test.sh" "$b"
  ! in_turn 2 || beside examples/cpp sh "$here/examples/cpp-test.sh" "$b"
  beside tool-pools bash "$here/tool/pools-test.sh" "$b"
  beside tool-seal bash "$here/tool/seal-test.sh" "$b"
  beside tool-top python3 "$here/tool/top-test.py" "$b"
  beside tool-figures python3 "$here/tool/figures-test.py" "$b"
  beside tool-json python3 "$here/tool/json-test.py" "$b"
  # With --all these three run under the address sanitizer only.
  [ $all = yes ] || beside tool-dump bash "$here/tool/dump-test.sh" "$b"
  [ $all = yes ] || beside replay bash "$here/tool/replay-test.sh" "$b"
  settle
}
# These are long: with --all only.
more_of_policies() { # DIR
  ! in_turn 0 || beside policy/buffer python3 "$here/policy/buffer-test.py" "$1" --quick
  ! in_turn 1 || beside policy/grow python3 "$here/policy/grow-test.py" "$1" --quick
  ! in_turn 2 || beside policy/restart python3 "$here/policy/restart-test.py" "$1" --quick
  ! in_turn 5 6 || beside policy/library python3 "$here/policy/library-test.py" "$1" --quick
}

# ---- the list for meson --------------------------------------------------------------------------
# Here, so that a suite's command stands in one place.
list_one() { # NAME COMMAND...
  case $1 in
  unit/*) return ;; # programs without arguments; meson knows them
  model/* | race* | turns | schedules | histories*) label=model ;;
  crash/failures) label=crash- ;;
  crash/*) label=crash ;;
  freestanding) label=unit ;;
  shared | abi | copies) label=abi ;;
  *mutants) label=mutants ;;
  mount | mount-options | mount-sync | mount-sessions | mount-bare) label=mount ;;
  mount-* | mount/* | quickstart) label=mount- ;;
  tree | format | orders | run-sh) label=tree ;;
  tidy | analysis* | packages-scripts) label=tree- ;;
  mutation) label=mutants- ;;
  policy/unit | policy/advice) label=policy ;;
  policy*) label=policy- ;;
  tool-dash | tool-compare) label=tool- ;;
  tool* | examples/*) label=tool ;;
  nbdkit-*) label=tool- ;;
  replay) label=tool- ;;
  spin | foreign | gdb | fuzz) label=$1 ;;
  *) label=$1- ;; # bench, kill
  esac
  printf '%s' "$label"
  printf '\t%s' "$@"
  echo
}
if [ "$list" ]; then
  for f in also suite beside waits; do
    eval "$f() { list_one \"\$@\"; }"
  done
  settle() { :; }
  ended() { :; }
  need() { :; }
  made=${filter# }
  few='--only fence' few_models='^(boot|flight|pins|reader)'
  native_first "$made"
  core_suites "$made" "" 100000 2 short
  native_suites "$made"
  more_of_policies "$made"
  exit 0
fi

# ---- what is needed ----------------------------------------------------------------------------
need build-essential meson ninja-build pkg-config python3 libxxhash-dev || {
  failed=1
  finish
}
need libfuse3-dev fuse3 fio sqlite3 attr acl git util-linux procps xxhash liblmdb-dev \
  libseccomp-dev libsqlite3-dev libssl-dev liblzma-dev liburing-dev libmicrohttpd-dev \
  libcurl4-openssl-dev \
  nbdkit nbdkit-plugin-dev libnbd-bin python3-libnbd qemu-utils abigail-tools mkdocs mandoc rpm \
  rsync strace e2fsprogs xfsprogs btrfs-progs bindfs squashfs-tools ||
  echo "without these some tests are skipped"
# Where python3 is a script that looks for one (pyenv's are), each call takes ten times as long, and
# the tests make a thousand. That of a virtual environment has to keep its place.
mkdir "$log/bin"
ln -s "$(python3 -c 'import sys; print("" if sys.prefix != sys.base_prefix else sys.executable)')" \
  "$log/bin/python3" 2>/dev/null && PATH=$log/bin:$PATH && export PATH
echo "$(uname -srm), $(nproc) processors," \
  "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"

# ---- native ------------------------------------------------------------------------------------
b=${CM_BUILD:-${TMPDIR:-/tmp}/cachemax-build}
werror=
[ $all = no ] || werror=-Dwerror=true # not where a user's compiler may warn of more
# Nearly a third of what there is to compile, for suites that take turns.
in_turn 0 || leave="tests/crash/crash-trace\$"
in_turn 1 || leave="${leave:+$leave|}tests/freestanding/|examples/freestanding/"
in_turn 2 || leave="${leave:+$leave|}tests/fuzz/fuzz_|examples/cpp/"
build native "$b" "${CC:-cc}" $werror || finish
leave=''
native_first "$b"
core_suites "$b" "" 400000 5 75000
native_suites "$b"
target "linux x86-64"

# ---- the guest: real MAP_SYNC, power cuts, machine checks, a disk; the policy ------------------
asan=''
[ $all = no ] || {
  # Schedules that no commit before had.
  also schedules/new "$b/tests/model/schedules" --seed $((commits * 1000000)) --count 10000
  ! in_turn 1 4 || also guest bash "$here/guest/run.sh" "$b" --cuts 3 # one processor
  ! in_turn 1 6 || also nbdkit-dax /usr/bin/python3 "$here/nbd/dax-test.py" "$b" # the same
  more_of_policies "$b"
  need clang libclang-rt-14-dev >/dev/null 2>&1 || need clang || :
  # The programs that take turns are as much to compile as the library.
  leave='tests/(abi|bench|cross|cut|faults|filter|foreign|freestanding|gdb|guest|kill|objects)/'
  leave="$leave|tests/(policy|share)/|$(no_turn asan)"
  in_turn 0 || leave="$leave|tests/model/(turns|schedules|histories)\$"
  # With more optimization compiling takes longer than the tests win by it.
  in_turn 0 4 &&
    build asan "$b-asan" gcc -Db_sanitize=address,undefined -Doptimization=1 $lines_only &&
    asan=built
  leave='' # the guest goes on beside the next suites
}

# ---- other compilers, sanitizers -----------------------------------------------------------------
if [ $all = yes ]; then
  ! in_turn 2 6 || also packages bash "$here/packages/packages-test.sh" "$b" --builds
  ! in_turn 5 6 || also packages/debian bash "$here/packages/packages-test.sh" "$b" --debian
  need cmake || : # the port of vcpkg
  ! in_turn 0 6 || also recipes python3 "$here/packages/recipes-test.py"
  if [ "$asan" ]; then
    also asan/mount bash "$here/mount/mount-test.sh" "$b-asan" # this and the next two mostly wait
    also asan/mount/service-kills bash "$here/mount/service-test.sh" "$b-asan" --kills 5
    also asan/mount-sessions bash "$here/mount/sessions-test.sh" "$b-asan"
    also asan/mount-end bash "$here/mount/end-test.sh" "$b-asan"
    crash_rules='eadr checkpoint' # adr is eadr with flushes, pagecache is in checkpoint
    core_suites "$b-asan" asan/ 100000 5 short
    crash_rules='adr eadr pagecache checkpoint'
    beside asan/fuzz sh "$here/fuzz/replay.sh" "$b-asan" 6 "$commits" # a minute
    beside asan/media "$b-asan/tests/fuzz/media" --lives 2000 --seed $((commits * 100000 + 50000))
    beside asan/tool bash "$here/tool/tool-test.sh" "$b-asan"
    beside asan/tool-pools bash "$here/tool/pools-test.sh" "$b-asan"
    ! in_turn 0 || beside asan/tool-resize bash "$here/tool/resize-test.sh" "$b-asan"
    ! in_turn 1 || beside asan/tool-dump bash "$here/tool/dump-test.sh" "$b-asan"
    ! in_turn 2 || beside asan/replay bash "$here/tool/replay-test.sh" "$b-asan"
    beside asan/nbdkit /usr/bin/python3 "$here/nbd/nbd-test.py" "$b-asan"
    settle
    suite asan/bench bash "$here/bench/bench-test.sh" "$b-asan"
  fi
  # Every call looks whether all structures are in order: the programs that go through most states.
  checked='block check file pin probation quota ring shared'
  goals='tests/crash/crash tests/model/model tests/model/race tests/model/turns'
  for name in $checked; do
    ! its_turn "checked/unit/$name" || goals="$goals tests/unit/test_$name"
  done
  goals="$goals tests/unit/test_objects"
  if in_turn 1 4 && build checked "$b-checked" gcc -Ddefault_library=static \
    -Dexamples=disabled -Dchecks=full $lines_only; then
    for rules in adr checkpoint; do
      beside checked/crash/$rules "$b-checked/tests/crash/crash" --rules $rules --length 1 \
        --states "$(crash_states $rules 7000)"
    done
    beside checked/model "$b-checked/tests/model/model" --ops 100000
    beside checked/race "$b-checked/tests/model/race" --seconds 5
    beside checked/turns "$b-checked/tests/model/turns" --every 20 --first $((commits % 20 + 1))
    for name in $checked; do
      beside checked/unit/$name "$b-checked/tests/unit/test_$name"
    done
    # Threads, but not what clears all the time: each clear ends with a look.
    for name in readers_and_writers neighbour_stays rivals one_writer; do
      beside checked/unit/objects/$name "$b-checked/tests/unit/test_objects" $name
    done
    settle
  fi
  goals=''
  if ! in_turn 1 4; then
    :
  elif command -v clang >/dev/null; then
    goals="tests/model/model tests/model/race tests/model/histories-free"
    goals="$goals $(with_threads "$b" | grep -vE "$(no_turn tsan)")"
    build tsan "$b-tsan" clang -Db_sanitize=thread -Db_lundef=false -Dwerror=true $lines_only &&
      core_suites "$b-tsan" tsan/ 50000 10 none
    goals=''
    settle
  else
    skip tsan "no clang here"
  fi
  settle
  target "guest with DAX and with a disk; policy; compilers and sanitizers"

  # ---- other systems and processors: fewer operations and crash states, as printed ---------------
  # Only the header of xxHash is needed, and it is the same on every machine.
  mkdir -p "$b-xxhash" && cp /usr/include/xxhash.h "$b-xxhash/"
  PATH=$here/cross:$PATH # wine-run, for the cross file
  was_alone=$alone alone='' # Wine's server, which all programs share, must see their mounts
  if ! in_turn 3 4; then
    :
  elif need wine wine64 gcc-mingw-w64-x86-64; then
    clang_built=no
    # Where the linker finds gcc's library, only gcc knows.
    build_windows_clang() {
      leave=$(no_turn wine-clang)
      command -v clang >/dev/null && build windows-clang "$b-windows-clang" cc \
        --cross-file "$here/cross/mingw64-clang.ini" -Ddebug=false -Dwerror=true \
        -Dxxhash_header="$b-xxhash" \
        -Dc_link_args="-L$(dirname "$(x86_64-w64-mingw32-gcc -print-libgcc-file-name)")" &&
        clang_built=yes
    }
    leave=$(no_turn wine)
    if build windows "$b-windows" cc --cross-file "$here/cross/mingw64.ini" \
      -Ddebug=false -Dwerror=true -Dxxhash_header="$b-xxhash"; then
      passed=$((passed + 1))
      run=wine-try exe=.exe
      also wine/tool bash "$here/cross/tool-win32.sh" "$b-windows" # mostly waits
      ! in_turn 1 6 || also wine/packages bash "$here/packages/windows-test.sh"
      also wine/compare bash "$here/cross/compare-win32.sh" "$b-windows"
      also wine/dash python3 "$here/cross/dash-win32.py" "$b" "$b-windows"
      storm="$b-windows/tests/service/storm.exe"
      service="$b-windows/examples/service/cachemax-service.exe"
      also wine/service bash "$here/service/win32-test.sh" "$b-windows"
      also wine/service/ring $run "$storm" "$service" --operations 100000 --kills 5 --stalls 3
      also wine/filter/storm $run "$b-windows/tests/filter/storm.exe" "$service" \
        --operations 10000 --troubles 4
      also wine/filter/inf bash "$here/filter/inf-win32.sh"
      also wine/service/pipe $run "$storm" "$service" --operations 50000 --kills 5 --stalls 3 \
        --no-ring
      core_suites "$b-windows" wine/ 100000 5 20000
      run='' exe=''
      ! in_turn 3 6 || build_windows_clang # beside those that mostly wait
      settle # it deletes the files of others that have ended
      suite wine/service/scm bash "$here/service/scm.sh" "$b-windows"
      suite wine/tree sh "$here/tree/check-tree.sh" "$top" "$b-windows" objects
      suite wine/same-bytes sh "$here/cross/same-bytes.sh" "$b/tests/cross/pool" \
        "wine-run $b-windows/tests/cross/pool.exe"
    else
      ! in_turn 3 6 || build_windows_clang
    fi
    if ! command -v clang >/dev/null; then
      skip windows-clang "no clang here"
    elif [ $clang_built = yes ]; then
      passed=$((passed + 1))
      run=wine-try exe=.exe
      also wine-clang/service bash "$here/service/win32-test.sh" "$b-windows-clang"
      core_suites "$b-windows-clang" wine-clang/ 30000 3 none
      run='' exe=''
      settle
      suite wine-clang/service/scm bash "$here/service/scm.sh" "$b-windows-clang"
      suite wine-clang/tree sh "$here/tree/check-tree.sh" "$top" "$b-windows-clang" objects
      suite wine-clang/msvc-assembly clang --target=x86_64-pc-windows-msvc -c \
        "$top/src/persist/guard_x86.S" -o "$log/guard.obj"
    fi
  else
    skip windows "no cross compiler or no Wine here"
  fi
  alone=$was_alone
  target "windows x86-64 under Wine"
  ! in_turn 6 12 || need musl-tools || :
  ! in_turn 6 12 || also musl bash "$here/cross/musl-test.sh" "$b" "$b-musl"
  if ! in_turn 2 4; then
    :
  elif need gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; then
    leave=$(no_turn arm64)
    if build arm64 "$b-arm64" cc --cross-file "$here/cross/arm64.ini" -Dexamples=disabled \
      -Ddebug=false -Dwerror=true -Dxxhash_header="$b-xxhash"; then
      leave=''
      passed=$((passed + 1))
      export CM_TEST_EMULATED=1
      run="qemu-aarch64 -cpu cortex-a72" # as in arm64.ini
      crash_rules=eadr # the others run the same code, and take minutes here
      core_suites "$b-arm64" arm64/ 100000 5 20000
      settle
      suite arm64/freestanding $run "$b-arm64/tests/freestanding/core"
      suite arm64/shared $run "$b-arm64/tests/cross/shared" "$log/arm64.pool"
      suite arm64/tree sh "$here/tree/check-tree.sh" "$top" "$b-arm64" objects
      suite arm64/same-bytes sh "$here/cross/same-bytes.sh" "$b/tests/cross/pool" \
        "$run $b-arm64/tests/cross/pool"
      run="qemu-aarch64 -cpu max"
      if $run "$b-arm64/tests/unit/test_persist" flush_changes_nothing >/dev/null 2>&1; then
        suite arm64/unit/persist-cvap $run "$b-arm64/tests/unit/test_persist"
      else
        skip arm64/unit/persist-cvap "this emulator says that it has DC CVAP, and does not"
      fi
      run=''
      unset CM_TEST_EMULATED
    fi
  else
    skip arm64 "no cross compiler or no emulator here"
  fi
  settle
  target "linux arm64, emulated; musl"
fi
finish
