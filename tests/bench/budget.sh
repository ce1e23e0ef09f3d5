#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# budget.sh [--update | --part K/N] [BUILD_DIR] - how many instructions each operation takes, beside
# its copy.
#
# Valgrind's callgrind counts what "budget" (budget.c) runs inside its measured(). The result is
# compared with budget.txt. A row fails if it has grown by more than 3 %, or if it has fallen by
# more than 3 % and budget.txt does not say so. --update writes the table anew, with the limits that
# it has. Copies of blocks and sums of payloads do not count: what one of them takes is measured
# first. Valgrind shows every program a CPU with AVX2 and without AVX-512, so that the counts of one
# compiler are the same on each x86-64 machine that has AVX2. Where it is another compiler than the
# table's, nothing is judged. A part of the table is in docs/performance.md: that is written and
# compared, too.
#
# Without BUILD_DIR it makes a release build of its own. The rows "lto" are those of a program that
# is linked to the static library with link-time optimization of both; their buffer is none. That is
# always built here. --part K/N measures only each N-th pool, from the K-th (0 to N - 1) on. Prints
# the table, "FAIL ROW: why" lines, and a summary as the last line.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(dirname -- "$(dirname -- "$here")")
table=$here/budget.txt
page=$top/docs/performance.md
update=no part=0 parts=1
case ${1:-} in
--update)
  update=yes
  shift
  ;;
--part)
  part=${2%/*} parts=${2#*/}
  shift 2
  ;;
esac
[ $# -le 1 ] || {
  echo "usage: budget.sh [--update | --part K/N] [BUILD_DIR]" >&2
  exit 2
}
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-budget.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

skip() { # REASON
  echo "skip budget: $1"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
}
[ "$(uname -m)" = x86_64 ] || skip "the table is that of x86-64"
grep -qw avx2 /proc/cpuinfo || skip "this CPU has no AVX2"
command -v valgrind >/dev/null || skip "valgrind is not installed (Debian package valgrind)"

build=${1:-}
if [ -z "$build" ]; then
  build=$work/build
  if ! CC=${CC:-gcc} meson setup --buildtype=release -Db_ndebug=true "$build" "$top" \
    >"$work/log" 2>&1 || ! ninja -C "$build" tests/bench/budget >>"$work/log" 2>&1; then
    tail -n 20 "$work/log"
    echo "FAIL build: the release build failed"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
  fi
fi
[ -x "$build/tests/bench/budget" ] || {
  echo "budget.sh: $build/tests/bench/budget is not there: build it with ninja" >&2
  exit 2
}
# The pools: "MIB POLICY BUFFER", with the buffer "lto" for the program that is linked so.
pools=$(for size in 64 1024; do
  for of in 'S3R none' 'S3R buffer' 'AUTO none' 'AUTO buffer' 'S3R lto'; do
    echo "$size $of"
  done
done | awk -v part="$part" -v parts="$parts" '(NR - 1) % parts == part')
# meson builds no tests with b_lto, because --wrap misses what was put inline. Here one function is
# replaced that is called once for a pool.
lto=$work/lto
build_lto() {
  CC=${CC:-gcc} meson setup --buildtype=release -Db_ndebug=true -Db_lto=true -Dtests=false \
    -Dexamples=disabled "$lto" "$top" >"$work/log" 2>&1 &&
    ninja -C "$lto" src/libcachemax.a >>"$work/log" 2>&1 &&
    ${CC:-gcc} -std=gnu11 -O3 -flto=auto -DNDEBUG -I"$top/include" -I"$top/src" \
      -o "$lto/budget" "$here/budget.c" "$lto/src/libcachemax.a" -pthread \
      -Wl,--wrap=cm_plat_random >>"$work/log" 2>&1
}
if echo "$pools" | grep -q lto && ! build_lto; then
  tail -n 20 "$work/log"
  echo "FAIL build: the build with link-time optimization failed"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi

# The table of the page, out of budget.txt.
page_table() {
  awk 'BEGIN {
      print "| operation | 64 MiB | 1 GiB | 1 GiB, default buffer | 1 GiB, LTO | wanted |"
      print "|---|---|---|---|---|---|"
      names = "hit,read_many,run,absent,miss,pin,bracket,fill,fill_run"
      texts = "hit,block of `cm_read_many`,block of a long read,absent block," \
        "the same with its miss,pin and unpin,bracket of one block,fill of one block," \
        "block of a fill of 32"
      n = split(names, name, ","); split(texts, text, ",")
    }
    $2 == "S3R" { at[$1 " " $3 " " $4] = int($5 + 0.5); limit[$4] = $6 }
    function of(key) { return key in at ? at[key] : "" }
    END {
      for (i = 1; i <= n; i++)
        printf "| %s | %s | %s | %s | %s | %s |\n", text[i], of("64 none " name[i]),
          of("1024 none " name[i]), of("1024 buffer " name[i]), of("1024 lto " name[i]),
          limit[name[i]]
    }' "$table"
}

# count PROGRAM SIZE POLICY BUFFER: a line for each operation: its name, its instructions,
# nanoseconds.
count() {
  program=$1
  shift
  rm -f "$work"/calls*
  valgrind --tool=callgrind --callgrind-out-file="$work/calls" --toggle-collect=measured \
    --dump-after=measured "$program" "$@" >"$work/under" 2>"$work/err" || {
    cat "$work/err" >&2
    exit 1
  }
  "$program" "$@" >"$work/alone" || exit 1
  dump=0
  while read -r name units; do
    dump=$((dump + 1))
    echo "$name $(sed -n 's/^totals: //p' "$work/calls.$dump") ${units%% *}" \
      "$(sed -n "${dump}s/.* //p" "$work/alone")"
  done <"$work/under" | awk '{ printf "%s %.1f %s\n", $1, $2 / $3, $4 }'
}

sed -n 's/^model name[^:]*: /# the nanoseconds: /p' /proc/cpuinfo | head -n 1
compiler=$("$build/tests/bench/budget" compiler) || exit 1
beside() { # ROW...: what "count" has printed, as rows of the table
  awk -v at="$*" '
    $1 == "copy" { copy = $2 } $1 == "store" { store = $2 } $1 == "sum" { sum = $2 }
    { beside = $2 }
    $1 ~ /^(hit|read_many|run)$/ { beside -= copy }
    $1 ~ /^fill/ { beside -= at ~ / buffer$/ ? copy : store + sum } # the buffer has no sums
    { printf "%s %s %.1f %s\n", at, $1, beside, $3 }' "$work/counts"
}
echo "$pools" | while read -r size policy buffer; do
  case $buffer in
  lto) count "$lto/budget" "$size" "$policy" none ;;
  *) count "$build/tests/bench/budget" "$size" "$policy" "$buffer" ;;
  esac >"$work/counts" </dev/null || exit 1
  beside "$size" "$policy" "$buffer"
done >"$work/found" || exit 1

page_table >"$work/page"
same=other
sed -n '/^<!-- budget -->$/,/^<!-- end of budget -->$/p' "$page" | sed '1d;$d' |
  cmp -s - "$work/page" && same=same
awk -v compiler="$compiler" -v update=$update -v page=$same '
  function row(key, n, limit, ns, word) {
    printf "%-26s %12s %7s %6s%s\n", key, n, limit, ns, word
  }
  FILENAME == ARGV[1] && $1 == "#" && $2 == "compiler:" { sub(/^# compiler: /, ""); of = $0 }
  FILENAME == ARGV[1] && $1 !~ /^#/ { was[$1 " " $2 " " $3 " " $4] = $5; most[$4] = $6; next }
  FILENAME == ARGV[1] { next }
  FNR == 1 && update == "no" { row("# MiB policy buffer what", "instructions", "limit", "ns", "") }
  {
    key = $1 " " $2 " " $3 " " $4; n = $5; word = ""
    if (update == "no" && of == compiler) {
      if (!(key in was)) why = "is not in budget.txt"
      else if (n > was[key] * 1.03) why = "takes " n " instructions, and " was[key] " before"
      else if (n < was[key] * 0.97) why = "takes " n " instructions, and budget.txt says " \
        was[key] ": run budget.sh --update"
      else why = ""
      if (why == "") passed++
      else { failed++; fails = fails "FAIL " key ": " why "\n" }
    }
    row(key, n, ($4 in most ? most[$4] : "-"), $6, word)
  }
  END {
    if (update == "yes") exit
    if (page == "same") passed++
    else { failed++; fails = fails "FAIL docs/performance.md has other numbers than budget.txt: " \
      "run budget.sh --update\n" }
    printf "%s", fails
    if (of != compiler) {
      print "skip budget: the table is that of " of ", and this is " compiler
      skipped = 1
    }
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    exit failed > 0
  }' "$table" "$work/found" >"$work/table"
status=$?
if [ $update = no ]; then
  cat "$work/table"
  exit $status
fi
{
  sed -n '/^#/p' "$table" | grep -v '^# compiler: ' | sed '/^# MiB/d'
  echo "# compiler: $compiler"
  printf '%-26s %12s %7s\n' "# MiB policy buffer what" instructions limit
  cut -c 1-47 "$work/table"
} >"$work/new" && cp "$work/new" "$table"
page_table >"$work/page"
sed -i -e "/^<!-- budget -->\$/r $work/page" -e '/^<!-- budget -->$/,/^<!-- end of budget -->$/{
  /^<!--/!d
}' "$page"
echo "$table and $page were written"
