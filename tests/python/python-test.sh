#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# python-test.sh BUILD - examples/python: its wheels are built and installed without a network, the
# README's commands, its program and cat.py run, then python-test.py, file-test.py, errors-test.py,
# version-test.py, fsspec-test.py, web-test.py and requests-test.py. Python is Debian's, because its
# packages are used. The last line is "N passed, N failed, N skipped"; status 77 if nothing can run.
# CM_CHECKS=REGEX picks checks of the seven.
set -u
: "${1:?usage: python-test.sh BUILD}"
build=$(realpath "$1")
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(realpath "$here/../..")
python=/usr/bin/python3
export PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH
passed=0 failed=0 skipped=0
none() {
  echo "skip python: $1"
  echo "0 passed, 0 failed, 1 skipped"
  exit 77
}
for module in cffi setuptools wheel venv pip; do
  $python -c "import $module" 2>/dev/null || none "$python has no $module"
done
[ -f "$build/src/libcachemax.so.0" ] || none "no shared library in this build"
command -v pkg-config >/dev/null || none "no pkg-config here"
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-python.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
ok() { passed=$((passed + 1)) && echo "ok $1"; }
fail() { failed=$((failed + 1)) && echo "FAIL $1: $2"; }
check() { # NAME COMMAND...
  name=$1
  shift
  if "$@" >"$work/out" 2>&1; then
    ok "$name"
  else
    fail "$name" "$(tail -n 3 "$work/out" | tr '\n' ' ')"
  fi
}

# ---- Wheels -------------------------------------------------------------------------------------

# copy NAME: of the source, because setuptools writes into it.
copy() {
  mkdir -p "$work/$1/examples" &&
    (cd "$top" && cp -r LICENSE meson.build include packaging src "$work/$1") &&
    cp -r "$top/examples/python" "$top/examples/seal" "$work/$1/examples/"
}
# The README's commands, as they stand there. pkg-config finds no library: it is in the wheel.
installing() {
  copy whole &&
    awk '/^```/ { inside = $0 == "```sh" && !done; done += inside; next } inside' \
      "$top/examples/python/README.md" >"$work/whole/commands" &&
    [ "$(grep -c 'examples/python$' "$work/whole/commands")" = 1 ] &&
    (cd "$work/whole" && PKG_CONFIG_LIBDIR=$work PKG_CONFIG_PATH='' CFLAGS=-O0 sh -e commands) &&
    "$venv/python" -c 'import cachemax'
}
linked() {
  copy linked &&
    PKG_CONFIG_PATH=$build/meson-uninstalled "$venv/pip" wheel -q --no-index --no-deps \
      --no-build-isolation -w "$work/linked" "$work/linked/examples/python" &&
    "$venv/pip" install -q --no-index --no-deps --force-reinstall "$work/linked"/cachemax-*.whl
}
no_names() { # that another copy in the process could take calls of
  set -- "$work/whole/venv"/lib/python3*/site-packages/cachemax/_*.so
  nm -D --defined-only "$1" | grep -v ' PyInit_' && return 1
  readelf -d "$1" | grep -q NODELETE
}
program() { # FILE: its first program in Python
  awk '/^```/ { inside = $0 == "```python" && !done; done += inside; next } inside' "$1"
}
same_program() {
  program "$top/README.md" >"$work/first" && program "$top/examples/python/README.md" |
    cmp "$work/first" -
}
readme() { # NAME: the first program of README.md, with the wheel NAME
  program "$top/examples/python/README.md" |
    sed "s|/mnt/pmem/pool|$work/$1/pool|; s|/mnt/slow/data|$work/file|" >"$work/program.py" &&
    grep -q "$work/$1/pool" "$work/program.py" &&
    echo "assert data == open('$work/file', 'rb').read()" >>"$work/program.py" &&
    "$venv/python" "$work/program.py"
}
venv=$work/whole/venv/bin
check "the README's commands install it" installing
check "the project's README has the same program" same_program
head -c 3000001 "$build/src/libcachemax.a" >"$work/file"
check "a wheel with the library in it: the README's program" readme whole
check "a wheel with the library in it keeps its names to itself" no_names
# pkg-config finds neither library there.
no_keys() {
  head -c 32 /dev/urandom >"$work/key"
  chmod 600 "$work/key"
  ! "$venv/python" -c "import cachemax; cachemax.open('$work/no', 1 << 20, key_file='$work/key')" \
    2>"$work/said" && grep -q 'built without OpenSSL' "$work/said" && [ ! -e "$work/no" ]
}
check "a wheel without OpenSSL takes no keys" no_keys
check "a wheel that is linked" linked
export LD_LIBRARY_PATH="$build/src"
check "a wheel that is linked: the README's program" readme linked

# ---- cat.py -------------------------------------------------------------------------------------

run=$venv/python
cat_says() { # NAME POOL TEXT: the content is right, and the last line on stderr is TEXT
  if "$run" "$top/examples/python/cat.py" "$work/file" "$2" >"$work/out" 2>"$work/err" &&
    cmp -s "$work/file" "$work/out" && [ "$(tail -n 1 "$work/err")" = "cat.py: $3" ]; then
    ok "$1"
  else
    fail "$1" "$(cat "$work/err")"
  fi
}
blocks=$((($(wc -c <"$work/file") + 4095) / 4096))
"$run" "$top/examples/python/cat.py" "$work/no-file" "$work/none" >/dev/null 2>"$work/err"
if [ $? = 1 ] && ! grep -q Traceback "$work/err"; then
  ok "cat.py: a missing file"
else
  fail "cat.py: a missing file" "$(tail -n 1 "$work/err")"
fi
cat_says "cat.py: a new pool" "$work/pool" "0 blocks from the pool"
"$run" -c 'import sys, cachemax
with cachemax.open(sys.argv[1], create_size=1 << 20) as cache:
    sys.exit(10 * (cache.file(sys.argv[2]).info()["racy"] != 0))' "$work/racy" "$work/file"
if [ $? = 10 ]; then
  skipped=$((skipped + 1))
  echo "skip cat.py: a warm pool: the file system of $work does not show who writes"
else
  cat_says "cat.py: a warm pool" "$work/pool" "$blocks blocks from the pool"
fi
cat_says "cat.py: without a pool" "$work/none/pool" \
  "'$work/none/pool': a pool of $((64 << 20)) bytes cannot be made: no such file or directory \
(CM_ENOENT)"
head -c 3000001 /dev/zero >"$work/zeros"
says_of_output() { # NAME TEXT COMMAND...: the output fails; the last line on stderr is TEXT
  name=$1 text=$2
  shift 2
  "$@" "$run" "$top/examples/python/cat.py" "$work/zeros" "$work/pool" 2>"$work/err"
  if [ $? = 1 ] && [ "$(cat "$work/err")" = "cat.py: standard output: $text" ]; then
    ok "$name"
  else
    fail "$name" "$(tail -n 1 "$work/err")"
  fi
}
reader_leaves() {
  mkfifo "$work/pipe" && { head -c 10 <"$work/pipe" >/dev/null & } && "$@" >"$work/pipe"
}
says_of_output "cat.py: its reader leaves" "Broken pipe" reader_leaves
if [ -e /dev/full ]; then
  full() { "$@" >/dev/full; }
  says_of_output "cat.py: a full disk" "No space left on device" full
fi
closed() { "$@" >&-; }
says_of_output "cat.py: no output" "it is closed" closed
# The second read fails: the rest comes from the file. So do the calls at the end.
trouble='import cachemax, runpy, sys
sys.argv[:] = sys.argv[1:]
read, calls = cachemax.File.read, []
def failing(file, size):
    calls.append(size)
    return cachemax._check(-3 if len(calls) == 2 else 0, "pool") or read(file, size)
cachemax.File.read = failing
close = cachemax.Cache.close
def failing_close(cache):
    close(cache)
    cachemax._check(-3, "pool")
cachemax.Cache.close = failing_close
cachemax.Cache.stats = failing_close
runpy.run_path(sys.argv[0], run_name="__main__")'
if "$run" -c "$trouble" "$top/examples/python/cat.py" "$work/file" "$work/pool" >"$work/out" \
  2>"$work/err" && cmp -s "$work/file" "$work/out" &&
  [ "$(grep -c '(CM_EIO)$' "$work/err")" = 3 ] && ! grep -q Traceback "$work/err"; then
  ok "cat.py: trouble with the cache in the middle"
else
  fail "cat.py: trouble with the cache in the middle" "$(tail -n 1 "$work/err")"
fi

# ---- Calls, fsspec ------------------------------------------------------------------------------

for test in python file errors version fsspec web requests; do
  mkdir "$work/$test-test"
  "$run" "$here/$test-test.py" "$work/$test-test" >"$work/out" 2>"$work/err"
  status=$?
  grep -E '^(ok|FAIL|skip) ' "$work/out"
  # shellcheck disable=SC2046 # three numbers
  set -- $(sed -n '$s/ passed, \| failed, \| skipped/ /gp' "$work/out")
  passed=$((passed + ${1:-0})) failed=$((failed + ${2:-0})) skipped=$((skipped + ${3:-0}))
  [ $status = 0 ] || cat "$work/err"
  [ $# = 3 ] || fail "$test-test.py" "it died with status $status"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
