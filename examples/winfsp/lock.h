/* SPDX-License-Identifier: BSD-2-Clause
 *
 * lock.h - the lock of the list of open files.
 */
#ifndef CACHEMAX_WINFSP_LOCK_H
#define CACHEMAX_WINFSP_LOCK_H

void lock_take(void);
void lock_give(void);

#endif
