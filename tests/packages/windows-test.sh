#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# windows-test.sh - the packages for Windows (packaging/windows.sh): built, installed under Wine
# with its own installer, used, and removed without a trace; and the programmer's one: a program
# that is linked with the DLL and with the static library.
#
# The last line is "N passed, N failed, N skipped".
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
wine=$top/tests/cross/wine-run
passed=0 failed=0
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-windows-test.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@" >out 2>&1 </dev/null; then
    passed=$((passed + 1)) && echo "ok $name"
  else
    failed=$((failed + 1)) && echo "FAIL $name: $(tail -n 5 out | tr '\r\n' '  ')"
  fi
}
end() {
  echo "$passed passed, $failed failed, 0 skipped"
  [ $failed = 0 ]
  exit
}

check "both are built" sh "$top/packaging/windows.sh" "$work"
[ $failed = 0 ] || end
msi=$(echo cachemax-*.msi) zip=$(echo cachemax-*.zip)
unpacked=${zip%.zip}

# ---- for programmers ----------------------------------------------------------------------------
python3 -m zipfile -e "$zip" .
check "it has the documentation" test -f "$unpacked/docs/windows.md"
check "its links lead somewhere" python3 "$top/tests/packages/links.py" "$unpacked"
check "it has the examples" test -s "$unpacked/examples/object-store/object-store.c"
check "lines end as there" grep -q "$(printf 'Windows\r$')" "$unpacked/docs/windows.md"
cat >main.c <<'END'
#include <cachemax.h>
#include <stdio.h>

int main(void)
{
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options options = CM_OPTIONS_INIT;
    cm_cache *cache;
    int rc;

    create.size = 16 << 20;
    rc = cm_create("pool", &create);
    if (rc == 0)
        rc = cm_open("pool", &options, &cache);
    if (rc == 0)
        rc = cm_close(cache);
    printf("%s\n", cm_strerror(rc));
    return rc == 0 && remove("pool") == 0 ? 0 : 1;
}
END
link_with() { # OUT STATIC
  local flags
  flags=$(PKG_CONFIG_LIBDIR=$unpacked/lib/pkgconfig pkg-config $2 --define-prefix --cflags --libs \
    cachemax) || return
  # shellcheck disable=SC2086 # words
  x86_64-w64-mingw32-gcc ${2:+-static} main.c $flags -o "$1"
}
check "a program is linked with the DLL" link_with shared.exe ''
cp "$unpacked/bin/libcachemax-0.dll" .
check "it runs" "$wine" shared.exe
rm libcachemax-0.dll
check "and not without it" sh -c "! '$wine' shared.exe"
check "a program is linked with the static library" link_with static.exe --static
check "it runs alone" "$wine" static.exe

# ---- without meson ------------------------------------------------------------------------------
# Exactly what docs/windows.md says: the words in `` of that paragraph.
by_hand() (
  what='' except=' ' flags='' libs='' files=''
  for word in $(sed -n '/^\*\*Without meson\*\*/,/^$/p' "$top/docs/windows.md" | tr '\n' ' ' |
    grep -o '`[^`]*`' | tr -d '`'); do
    case $word in
    *.S) files="$files $word" ;;
    src/*) [ "$what" ] && except="$except$word " || what=$word ;;
    -*) flags="$flags $word" ;;
    xxhash.h) flags="$flags -isystem $work/xxhash" ;;
    *) libs="$libs -l$word" ;;
    esac
  done
  cd "$top" || exit
  for file in $what; do
    for word in $except; do
      # shellcheck disable=SC2254 # patterns
      case $file in $word | $word/*) continue 2 ;; esac
    done
    files="$files $file"
  done
  # shellcheck disable=SC2086 # words
  x86_64-w64-mingw32-gcc -std=gnu11 $flags $files "$work/main.c" \
    $libs -o "$work/by-hand.exe"
)
mkdir xxhash && cp /usr/include/xxhash.h xxhash/
check "without meson: the files that docs/windows.md names" by_hand
check "its program runs" "$wine" by-hand.exe

# ---- the installer ------------------------------------------------------------------------------
# The paths of the system, as its settings have them.
system_path() {
  "$wine" reg query 'HKLM\System\CurrentControlSet\Control\Session Manager\Environment' /v PATH
}
has_path() { system_path | tr -d '\r' | grep -q 'Program Files.cachemax'; }
program='C:\Program Files\cachemax\cachemax.exe'
check "nothing is installed before" sh -c "! '$wine' '$program' --version"
check "it is installed" "$wine" msiexec /i "$msi" /qn
check "the command runs" "$wine" "$program" --version
check "the service's program, too" "$wine" "${program%.exe}-service.exe" --version
check "a command finds it by its path" has_path
check "a pool is made and opened" sh -c "'$wine' '$program' create pool --size 16M &&
  '$wine' '$program' info pool && rm pool"
# Another build of the same version is another product for the system: its code is another one.
products() { # how many
  "$wine" reg query 'HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall' /s |
    grep -c 'DisplayName.*cachemax'
}
one_product() { [ "$(products)" = 1 ]; }
again=again.msi
cp "$msi" $again
code=$(python3 -c 'import uuid; print(str(uuid.uuid4()).upper())')
msibuild $again -q "UPDATE \`Property\` SET \`Value\` = '{$code}' \
WHERE \`Property\` = 'ProductCode'"
msibuild $again -s cachemax libcachemax 'x64;1033' "{$code}"
check "it is one product" one_product
check "another build of this version is installed" "$wine" msiexec /i $again /qn
check "in the place of the first one" one_product
msi=$again
check "its command runs" "$wine" "$program" --version
check "a command finds it by its path still" has_path
all_64_bit() { # msidbComponentAttributes64bit: 256
  [ "$(msiinfo export "$msi" Component | tail -n +4 | awk -F '\t' '{ print $4 }' | sort -u)" = 256 ]
}
check "its parts are of a system of 64 bits" all_64_bit
check "it is removed" "$wine" msiexec /x "$msi" /qn
check "no program is left" sh -c "! '$wine' '$program' --version"
no_path() { ! has_path; }
check "no path is left" no_path
end
