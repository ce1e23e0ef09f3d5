#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# packages-test.sh BUILD [--clean | --builds | --debian] - what others build with and install.
#
# - CMakeLists.txt compiles the same files as meson.build, and a program can take it in with
#   FetchContent, and with meson as a subproject, as docs/embedding.md says.
# - meson builds with link-time optimization.
# - The programs of packaging/ say what they are for.
# - Each call of the library has a manual page (packaging/man3.py), with an example.
# - The Debian packages: built (packaging/deb.sh), judged by lintian, installed, used as a
#   programmer would (packaging/debian/tests/build-and-read), and removed without a trace. That
#   happens in a copy of this system (an overlay, so that nothing here changes); with --clean in a
#   new system that debootstrap makes, which has Debian's smallest set only, and takes minutes.
#
# --debian leaves out what comes before the Debian packages, and --builds leaves out these.
# BUILD is a native build. The last line is "N passed, N failed, N skipped".
set -u
: "${1:?usage: packages-test.sh BUILD [--clean | --builds | --debian]}"
build=$(realpath "$1")
only='' clean=''
case ${2:-} in
'') ;;
--clean) clean=$2 ;;
--builds | --debian) only=$2 ;;
*)
  echo "packages-test.sh: no such option: $2" >&2
  exit 2
  ;;
esac
top=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=../../examples/need.sh
. "$top/examples/need.sh"
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
passed=0 failed=0 skipped=0 root=''
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-packages.XXXXXX") || exit 1
cleanup() {
  local at
  for at in dev/pts dev proc ''; do
    [ -z "$root" ] || umount -l "$root/$at" 2>/dev/null
  done
  umount -l "$work/layer" 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT
check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@" >"$work/out" 2>&1; then
    passed=$((passed + 1)) && echo "ok $name"
  else
    failed=$((failed + 1)) && echo "FAIL $name: $(tail -n 5 "$work/out" | tr '\n' ' ')"
  fi
}
skip() { skipped=$((skipped + 1)) && echo "skip $1: $2"; }
end() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ $failed = 0 ]
  exit
}

# ---- CMake --------------------------------------------------------------------------------------

# Relative to src/, one a line.
of_meson() {
  python3 -c '
import json, os, subprocess, sys
build, top = sys.argv[1:]
said = subprocess.check_output(["meson", "introspect", "--targets", build])
names = set()
for target in json.loads(said):
    if target["name"] == "cachemax" and target["type"].endswith("library"):
        for part in target["target_sources"]:
            names.update(os.path.relpath(s, top + "/src") for s in part.get("sources", []))
print("\n".join(sorted(names)))' "$build" "$top"
}
of_cmake() {
  python3 -c '
import json, os, sys
build, top = sys.argv[1:]
for command in json.load(open(build + "/compile_commands.json")):
    print(os.path.relpath(command["file"], top + "/src"))' "$work/cmake" "$top" | sort
}
same_files() {
  of_meson >"$work/meson.list" && of_cmake >"$work/cmake.list" && [ -s "$work/meson.list" ] &&
    diff "$work/meson.list" "$work/cmake.list"
}
# block KIND: the block of that kind in docs/embedding.md.
block() { sed -n '/^```'"$1"'$/,/^```$/p' "$top/docs/embedding.md" | sed '/^```/d'; }
program() { # DIR: the README's, and this source where a block looks for it
  mkdir -p "$work/$1" &&
    sed -n '/^```c$/,/^```$/p' "$top/README.md" | sed '/^```/d' >"$work/$1/main.c"
}
wrapped() { # as with CC="ccache gcc"
  CC="env gcc" cmake -S "$top" -B "$work/wrapped" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON &&
    ! grep '"command".*\.S"' "$work/wrapped/compile_commands.json" | grep -v 'env  *gcc '
}
# Alone it is optimized unless a type says otherwise; a project around it decides for itself.
types() {
  grep '"command"' "$work/cmake/compile_commands.json" | grep -q ' -O[23]' &&
    cmake -S "$top" -B "$work/debug" -DCMAKE_BUILD_TYPE=Debug \
      -DCMAKE_EXPORT_COMPILE_COMMANDS=ON &&
    ! grep ' -O[23]' "$work/debug/compile_commands.json" &&
    grep '^CMAKE_BUILD_TYPE:[A-Z]*=$' "$work/fetch/build/CMakeCache.txt"
}
fetched() {
  program fetch && ln -s "$top" "$work/fetch/cachemax" &&
    { printf 'cmake_minimum_required(VERSION 3.16)\nproject(program C)\n' && block cmake; } \
      >"$work/fetch/CMakeLists.txt" &&
    cmake -S "$work/fetch" -B "$work/fetch/build" &&
    cmake --build "$work/fetch/build" -j2 && [ -x "$work/fetch/build/program" ]
}
# No tests and no front ends are built. Meson says what is wrong with a subproject as a warning.
subproject() {
  program sub && mkdir "$work/sub/subprojects" && ln -s "$top" "$work/sub/subprojects/cachemax" &&
    { echo "project('program', 'c')" && block meson; } >"$work/sub/meson.build" &&
    meson setup "$work/sub/build" "$work/sub" --force-fallback-for=cachemax \
      --fatal-meson-warnings &&
    ninja -C "$work/sub/build" && [ -x "$work/sub/build/program" ] &&
    ! ninja -C "$work/sub/build" -t targets all | grep -E 'subprojects/cachemax/(tests|examples)'
}
if [ "$only" = --debian ]; then
  :
elif need cmake >/dev/null 2>&1; then
  check "CMakeLists.txt: configures" cmake -S "$top" -B "$work/cmake" \
    -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
  check "CMakeLists.txt: CC with a wrapper, also for assembly" wrapped
  check "CMakeLists.txt: the files of meson.build" same_files
  check "CMakeLists.txt: FetchContent, and the README's program" fetched
  check "CMakeLists.txt: build types" types
else
  skip CMake "cmake cannot be installed"
fi
[ "$only" = --debian ] || check "meson: a subproject, and the README's program" subproject
# As some distributions build. The tests are not built.
optimized() (
  meson setup "$work/optimized" "$top" --buildtype=release -Db_lto=true -Db_ndebug=true \
    -Dexamples=disabled -Dwerror=true && ! ls "$work"/optimized/tests/* &&
    ninja -C "$work/optimized" -j2 && cd "$work/optimized" &&
    src/tool/cachemax create pool --size 16M &&
    src/tool/cachemax cat src/tool/cachemax --pool pool | cmp - src/tool/cachemax &&
    src/tool/cachemax check pool
)
[ "$only" = --debian ] ||
  check "meson: link-time optimization, and no assertions" optimized

# ---- The programs of packaging/ -----------------------------------------------------------------

# They say what they are for, refuse an option that they do not know, and make nothing then.
usage_of() ( # PROGRAM
  run=python3 name=${1##*/}
  [ "${name##*.}" = py ] || run='sh'
  rm -rf "$work/empty" && mkdir "$work/empty" && cd "$work/empty" || exit
  for option in --help -h; do
    "$run" "$1" "$option" >"$work/said" 2>&1 && grep -q "^\(usage: \)\?$name " "$work/said" ||
      { echo "$option: $(head -c 200 "$work/said")" && exit 1; }
  done
  for option in --nothing '--nothing x' ''; do
    # shellcheck disable=SC2086 # words
    "$run" "$1" $option >"$work/said" 2>&1
    [ $? = 2 ] && grep -q "$name" "$work/said" || { echo "'$option': no usage" && exit 1; }
  done
  [ -z "$(ls -A .)" ] || { ls -A . && exit 1; }
)
for program in "$top"/packaging/*.py "$top"/packaging/*.sh; do
  check "packaging/${program##*/}: --help, and what it does not know" usage_of "$program"
done

# ---- Manual pages of the calls ------------------------------------------------------------------

python3 "$top/packaging/man3.py" "$work/man3"
all_documented() {
  sed -n 's/^ *\(cm_[a-z_]*\);$/\1.3/p' "$top/src/cachemax.map" | sort >"$work/exported"
  [ -s "$work/exported" ] &&
    diff "$work/exported" <(cd "$work/man3" && printf '%s\n' cm_*.3 | sort)
}
no_warnings() {
  local page said=''
  for page in "$work"/man3/*.3; do
    said=$said$(groff -man -ww -Tutf8 "$page" 2>&1 >/dev/null)
  done
  [ -z "$said" ] || { echo "$said"; return 1; }
}
# What fills a struct with its defaults needs none, and these are questions of one line.
with_example() {
  local without
  without=$(cd "$work/man3" && grep -L '^\.SH EXAMPLE' cm_*.3 |
    grep -vE '_init\.3$|^cm_(version_number|validator_equal)\.3$')
  [ -z "$without" ] || { echo "no example: $without"; return 1; }
}
# Each code that a call's text names is explained under ERRORS.
errors_explained() {
  local page code missing=''
  for page in "$work"/man3/cm_*.3; do
    for code in $(sed '/^\.SH ERRORS/,$d' "$page" | grep -oE '\bCM_E[A-Z]+' |
      grep -vE '^CM_E(XCLUSIVE|RRNAME)$' | sort -u); do # no errors
      sed -n '/^\.SH ERRORS/,/^\.SH EXAMPLE/p' "$page" | grep -q "$code" ||
        missing="$missing ${page##*/}:$code"
    done
  done
  [ -z "$missing" ] || { echo "not explained:$missing"; return 1; }
}
# On a terminal of 80 columns, but for what is code.
readable() {
  local wide
  if grep -l 'reading this file' "$work"/man3/*.3; then return 1; fi
  tr '\n' ' ' <"$work/man3/cm_read_through.3" | grep -q 'than len), CM_ERANGE, CM_ENOMEM (no' ||
    { echo "errors without commas"; return 1; }
  wide=$(awk '/^\.ft CW/ { code = 1 } /^\.ft$/ { code = 0 } code && length > 90' \
    "$work/man3/cachemax.3")
  [ -z "$wide" ] || { echo "wide: $wide"; return 1; }
}
# The line of apropos: what the call does, and nothing that needs the comment before it.
named() {
  local wrong
  wrong=$(cd "$work/man3" && grep -hA1 '^\.SH NAME' cm_*.3 |
    grep -E '\\- (The same|Returns [0-9]|[a-z_]+ [0-9]+$)')
  [ -z "$wrong" ] || { echo "says too little: $wrong"; return 1; }
}
check "manual pages: all that the library exports" all_documented
check "manual pages: the name says what the call does" named
check "manual pages: lists and tables can be read" readable
check "manual pages: the errors that the text names" errors_explained
if command -v groff >/dev/null || need groff-base >/dev/null 2>&1; then
  check "manual pages: groff warns of nothing" no_warnings
else
  skip "manual pages: groff warns of nothing" "no groff here"
fi
check "manual pages: with an example" with_example
# Those that are written, too.
lint() { mandoc -T lint -W warning "$work"/man3/*.3 "$top"/docs/*.1; }
if command -v mandoc >/dev/null || need mandoc >/dev/null 2>&1; then
  check "manual pages: mandoc warns of nothing" lint
else
  skip "manual pages: mandoc warns of nothing" "no mandoc here"
fi

# ---- Debian packages ----------------------------------------------------------------------------

[ "$only" != --builds ] || end
if ! command -v dpkg-buildpackage >/dev/null && ! need dpkg-dev >/dev/null 2>&1; then
  skip "Debian packages" "no dpkg-buildpackage here"
  end
fi
# The names that a shell makes of its last line are those of the packages.
built() {
  local word
  # Git takes the checkout for that of another user, as where root builds in it.
  GIT_TEST_ASSUME_DIFFERENT_OWNER=1 sh "$top/packaging/deb.sh" "$work/it's all" >"$work/said" ||
    return
  mv "$work/it's all" "$work/debs" && eval "set -- $(tail -n 1 "$work/said")" &&
    [ "$1 $2" = "apt install" ] && shift 2 && [ $# -gt 5 ] || return
  for word in "$@"; do
    case $word in "$work/it's all/"*.deb) ;; *) echo "no package: $word" && return 1 ;; esac
  done
}
check "Debian packages: are built" built
[ -d "$work/debs" ] || end
if need lintian >/dev/null 2>&1; then
  check "Debian packages: lintian finds nothing" \
    lintian --allow-root --tag-display-limit 0 --fail-on error,warning "$work"/debs/*.changes
else
  skip "Debian packages: lintian" "it cannot be installed"
fi
# A copy of this system: what is written stays in the layer.
copy_of_system() {
  mkdir "$work/layer" "$work/root"
  mount -t tmpfs none "$work/layer" && mkdir "$work/layer/upper" "$work/layer/work" &&
    mount -t overlay -o "lowerdir=/,upperdir=$work/layer/upper,workdir=$work/layer/work" none \
      "$work/root"
}
new_system() {
  mkdir "$work/root"
  # The same release: its libraries are those that the packages were built with.
  need debootstrap && debootstrap --variant=minbase \
    "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work/root" &&
    in_root apt-get -q update
}
# Without ccache: what it keeps would be left over.
in_root() { PATH=/usr/sbin:/usr/bin:/sbin:/bin CCACHE_DISABLE=1 chroot "$root" "$@"; }
prepare() {
  root=$work/root
  mount --bind /proc "$root/proc" && mount --bind /dev "$root/dev" &&
    mkdir -p "$root/packages" && cp "$work"/debs/*.deb "$root/packages" &&
    rm "$root"/packages/*dbgsym* &&
    cp "$top/packaging/debian/tests/build-and-read" "$root/packages" &&
    printf '#!/bin/sh\necho "$@" >>/packages/asked\nexit 101\n' \
      >"$root/usr/sbin/policy-rc.d" && # no daemon starts
    chmod +x "$root/usr/sbin/policy-rc.d"
}
# What the system has beside the caches and logs of its package manager. Of a copy: beside the names
# that it had before.
names() {
  (cd "$work/layer/upper" 2>/dev/null || cd "$root" || exit
    find . -xdev \( -path ./tmp -o -path ./packages -o -path ./proc -o -path ./dev -o \
      -path ./var/cache -o -path ./var/log -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o \
      -path ./root \) -prune -o -print) | sort |
    if [ -d "$work/layer/upper" ]; then
      while read -r name; do [ -e "/$name" ] || [ -L "/$name" ] || echo "$name"; done
    else
      cat
    fi
}
install_them() { in_root sh -c 'apt-get -q -y --no-install-recommends install /packages/*.deb'; }
remove_them() { # in a new system also what came with them
  # shellcheck disable=SC2086 # one word or none
  in_root sh -c 'apt-get -q -y ${1:+--autoremove} purge $(
    dpkg-query -W -f "\${Package} " "*cachemax*")' - $clean
}
# What the manual pages and the headers name.
docs() {
  local name at=$root/usr/share/doc/cachemax
  { grep -ohE '\b(docs|examples)/[a-z-]+(\.md)?' "$top"/docs/*.1 &&
    grep -ohE '\bdocs/[a-z-]+\.md' "$top"/include/*.h "$top"/examples/service/cachemax_client.h; } |
    sort -u | while read -r name; do
      [ -s "$at/$name" ] || { echo "no $at/$name" && return 1; }
    done && [ -s "$at/examples/grafana/cachemax.json" ] &&
    [ -s "$at/examples/object-store/object-store.c" ]
}
# In what the packages have: the system may have documents of others there.
links() {
  local package
  mkdir "$work/unpacked" || return
  for package in "$work"/debs/*.deb; do
    dpkg-deb -x "$package" "$work/unpacked" || return
  done
  python3 "$top/tests/packages/links.py" "$work/unpacked"
}
# Units that are enabled, as systemctl enables them. The system seems to run systemd, and
# policy-rc.d notes what is asked of it.
units() {
  local wants=$root/etc/systemd/system/multi-user.target.wants unit
  mkdir -p "$wants" "$root/run/systemd/system" && rm -f "$root/packages/asked" || return
  for unit in cachemax-service cachemax-mount@; do
    [ -s "$root/lib/systemd/system/$unit.service" ] &&
      ln -s "/lib/systemd/system/$unit.service" "$wants/${unit/@/@srv-data}.service" || return
  done
}
# The new service is started where the old one runs. Nothing is done to a mount.
upgrade_units() {
  in_root sh -c 'dpkg -i /packages/cachemax-mount_*.deb /packages/cachemax-service_*.deb' &&
    cat "$root/packages/asked" &&
    [ "$(cat "$root/packages/asked")" = "cachemax-service.service try-restart" ] &&
    [ -L "$root/etc/systemd/system/multi-user.target.wants/cachemax-mount@srv-data.service" ] &&
    [ -L "$root/etc/systemd/system/multi-user.target.wants/cachemax-service.service" ]
}
stop_units() {
  rm -f "$root/packages/asked"
  in_root dpkg --remove cachemax-mount cachemax-service && sort "$root/packages/asked" &&
    [ "$(sort "$root/packages/asked" | tr '\n' ' ')" = \
      "cachemax-mount@*.service stop cachemax-service.service stop " ]
  local status=$?
  rmdir -p --ignore-fail-on-non-empty "$root/run/systemd/system"
  return $status
}
if [ "$(id -u)" != 0 ]; then
  skip "Debian packages: installed" "needs root"
  end
fi
if [ "$clean" = --clean ]; then
  root=$work/root
  check "a new system" new_system
elif ! copy_of_system >"$work/out" 2>&1; then
  skip "Debian packages: installed" "no overlay over this system: $(tail -n 1 "$work/out")"
  end
fi
check "a system to install in" prepare
check "what the programmer's tools need" in_root sh -c \
  'command -v gcc make cmake meson pkg-config python3 fusermount3 >/dev/null ||
  apt-get -q -y --no-install-recommends install gcc libc6-dev make cmake meson pkg-config python3 \
    fuse3'
names >"$work/before"
check "Debian packages: are installed" install_them
check "Debian packages: a program, the command, Python" in_root sh /packages/build-and-read
check "Debian packages: the manual pages" in_root sh -c \
  'for p in man1/cachemax.1 man1/cachemax-mount.1 man1/cachemax-service.1 man1/cachemax-dash.1 \
    man3/cm_open.3; do test -s "$(readlink -f /usr/share/man/$p.gz)" || exit 1; done'
check "Debian packages: what the pages name is there" docs
check "Debian packages: links in documents lead somewhere" links
check "Debian packages: units that are enabled" units
check "Debian packages: an upgrade leaves a mount alone" upgrade_units
check "Debian packages: a removal stops what runs" stop_units
check "Debian packages: are removed" remove_them
names >"$work/after"
check "Debian packages: nothing is left" diff "$work/before" "$work/after"
end
