# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
#
# lib.sh NAME [BUILD_DIR] - sourced by the test of examples/NAME: $build, $program, troubled, and
# all of ../tool/lib.sh. Ends the test with status 77 if the program is not there.

: "${2:?usage: $1-test.sh BUILD_DIR}"
example=$1 build=$(realpath "$2")
tests=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
program=$build/examples/$1/$1
[ -x "$program" ] || {
  echo "skip $1: it is not built"
  exit 77
}
# shellcheck source=../tool/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tool/lib.sh"

# troubled: makes ./troubled, the program with what NAME-trouble.c has in place of the library's.
untroubled="no shared library, or one of a sanitizer, which would have to come first"
can_be_troubled()
{
  [ -e "$build/src/libcachemax.so" ] && ! grep -Eq '__(asan|tsan)_init' "$build/src/libcachemax.so"
}
troubled()
{
  "${CC:-cc}" -std=c11 -Wall -Wextra -Werror -I"$tests/../../include" -o troubled \
    "$tests/../../examples/$example/$example.c" "$tests/$example-trouble.c" \
    "$build/src/libcachemax.so" -Wl,-rpath,"$build/src" -ldl
}

# short_reads: makes ./short.so. With it and SHORT=FILE a read of more than a block of FILE gives
# half of it, and each third read is interrupted.
short_reads()
{
  cat >short.c <<'END'
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
ssize_t pread(int fd, void *p, size_t n, off_t at)
{
    static int calls;
    struct stat it, named;
    if (fstat(fd, &it) == 0 && stat(getenv("SHORT"), &named) == 0 && it.st_ino == named.st_ino) {
        if (++calls % 3 == 0) {
            errno = EINTR;
            return -1;
        }
        if (n > 4096)
            n = n / 2 & ~(size_t)4095;
    }
    return syscall(SYS_pread64, fd, p, n, at);
}
ssize_t pread64(int fd, void *p, size_t n, off_t at) { return pread(fd, p, n, at); }
END
  "${CC:-cc}" -shared -fPIC -o short.so short.c
}
