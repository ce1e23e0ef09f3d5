# SPDX-License-Identifier: BSD-2-Clause
#
# need.sh - sourced by quickstart.sh and tests/run.sh: installs Debian packages that are missing.

# need PACKAGE...: installs what is not there; returns 1, having said what to do, when it cannot.
need() {
  missing=
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
  done
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "missing:$missing (names of Debian packages); install their like and run this again" >&2
    return 1
  fi
  sudo=
  if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    if ! command -v sudo >/dev/null; then
      echo "missing:$missing; as root: apt-get install$missing" >&2
      return 1
    fi
  fi
  echo "installing:$missing"
  # shellcheck disable=SC2086 # a list
  { $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing ||
    { $sudo apt-get update -qq &&
      $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; }
  } >"${TMPDIR:-/tmp}/cachemax-apt.$$" 2>&1 || {
    tail -n 5 "${TMPDIR:-/tmp}/cachemax-apt.$$" >&2
    echo "could not install:$missing" >&2
    return 1
  }
  rm -f "${TMPDIR:-/tmp}/cachemax-apt.$$"
}
