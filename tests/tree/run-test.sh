#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# run-test.sh - tests/run.sh says what it builds, and how far the build is; need.sh says how far apt
# is. The build, apt, and the clock that waits between two lines, are scripts. The last line is "N
# passed, N failed, N skipped".
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-run-test.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
says() { # NAME PATTERN: in what run.sh said
  if grep -q -- "$2" "$work/said"; then
    passed=$((passed + 1)) && echo "ok $1"
  else
    failed=$((failed + 1)) && echo "FAIL $1: $(head -c 500 "$work/said" | tr '\n' ' ')"
  fi
}
program() { # NAME: its text is the input
  { echo '#!/bin/sh' && cat; } >"$work/bin/$1" && chmod +x "$work/bin/$1"
}
real=$(command -v sleep)
mkdir "$work/bin"
echo 'echo install ok installed' | program dpkg-query # of each package: nothing is installed here
echo "exec '$real' 0.05" | program sleep
# Each waits until its line was said.
program meson <<END
until grep -q 'native: configuring' '$work/said'; do '$real' 0.05; done
END
program ninja <<END
echo '[1/4] one'
echo '[3/4] three'
until grep -q 'native: step 3 of 4' '$work/said'; do '$real' 0.05; done
exit 1
END
PATH=$work/bin:$PATH CM_BUILD=$work/b timeout 120 sh "$here/../run.sh" no-such-suite \
  >"$work/said" 2>&1
status=$?
says "what is built, and that a filter does not count" \
  "^building native in $work/b (all of it, whatever the filter)"
says "that it is configured" '^  build native: configuring, [0-9]* s$'
says "the steps" '^  build native: step 3 of 4, about [0-9]* s left$'
echo "status $status" >>"$work/said"
says "that it failed" '^build native: FAILED$'
says "by the status, too" '^status 1$'

# quickstart.sh ends at the first error (set -e). apt may say nothing for longer than a line takes.
echo 'exit 1' | program dpkg-query
echo 'exec "$@"' | program sudo
program apt-get <<END
for i in \$(seq 200); do
  ! grep -q 'installing: 30 s' '$work/said' || break
  '$real' 0.05
done
echo '0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.'
echo 'Unpacking one'
for i in \$(seq 200); do
  ! grep -q 'step 1 of 2' '$work/said' || break
  '$real' 0.05
done
END
PATH=$work/bin:$PATH timeout 60 sh -c "set -eu; . '$here/../../examples/need.sh'; need one" \
  >"$work/said" 2>&1
says "that packages are installed, while apt says nothing" '^  installing: 30 s$'
says "the steps of an installation" '^  installing: step 1 of 2, about [0-9]* s left$'
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
