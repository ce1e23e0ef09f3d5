/* SPDX-License-Identifier: BSD-2-Clause
 *
 * inject.c - see inject.h.
 *
 * Owns: the counts of one run. One thread calls the library.
 *
 * Who: the programs of tests/faults.
 */
#include "inject.h"

struct inject inject = { .kind = INJECT_NONE };
struct held held;

const char *const inject_name[INJECT_COUNT] = {
#define X(name) #name,
    INJECT_KINDS(X)
#undef X
};

bool inject_fails(enum inject_kind kind)
{
    if (!inject.on)
        return false;
    const uint64_t n = ++inject.count[kind];
    if (kind != inject.kind || n < inject.at || (n > inject.at && !inject.forever))
        return false;
    inject.failed++;
    return true;
}
