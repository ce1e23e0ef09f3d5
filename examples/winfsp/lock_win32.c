/* SPDX-License-Identifier: BSD-2-Clause
 *
 * lock_win32.c - a lock, on Windows.
 *
 * Owns: it. Who: handles.c.
 */
#include "lock.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

static SRWLOCK lock = SRWLOCK_INIT;

void lock_take(void)
{
    AcquireSRWLockExclusive(&lock);
}

void lock_give(void)
{
    ReleaseSRWLockExclusive(&lock);
}
