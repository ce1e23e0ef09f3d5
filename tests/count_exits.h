/* SPDX-License-Identifier: BSD-2-Clause
 *
 * count_exits.h - a process that ends with _exit(), or by a signal that it sends to itself, leaves
 * its counters, as one that ends with exit() does.
 *
 * tests/coverage.sh has this file included before each file of C. A process that the signal of
 * another one ends leaves none.
 */
#if !defined(CM_COUNT_EXITS_H) && !defined(__ASSEMBLER__)
#define CM_COUNT_EXITS_H

#include <signal.h>
#include <unistd.h>

void __gcov_dump(void);

__attribute__((unused)) static _Noreturn inline void counted_exit(int status)
{
    __gcov_dump();
    _exit(status);
}
#define _exit(status) counted_exit(status)

__attribute__((unused)) static inline int counted_raise(int number)
{
    __gcov_dump();
    return raise(number);
}
#define raise(number) counted_raise(number)

#endif
