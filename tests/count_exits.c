/* SPDX-License-Identifier: BSD-2-Clause
 *
 * count_exits.c - a process that ends with _exit(), or by a signal that it sends to itself, leaves
 * its counters, as one that ends with exit() does.
 *
 * tests/coverage.sh links this into every program, with --wrap=_exit and --wrap=raise. A process
 * that the signal of another one ends leaves none.
 */
void __gcov_dump(void);
_Noreturn void __real__exit(int status);
int __real_raise(int number);
_Noreturn void __wrap__exit(int status);
int __wrap_raise(int number);

void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}

int __wrap_raise(int number)
{
    __gcov_dump();
    return __real_raise(number);
}
