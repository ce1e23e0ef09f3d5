/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handles.c - which files are open.
 *
 * Owns: the list of them. Who: ops.c. Every thread.
 *
 * FUSE knows it, too. But WinFsp closes no file that is open when the mount ends, and nor does
 * Linux.
 */
#include "handles.h"

#include "lock.h"

static struct handle *first; /* under the lock */

void handles_add(struct handle *h)
{
    lock_take();
    h->next = first;
    h->link = &first;
    if (first)
        first->link = &h->next;
    first = h;
    lock_give();
}

void handles_remove(struct handle *h)
{
    lock_take();
    *h->link = h->next;
    if (h->next)
        h->next->link = h->link;
    lock_give();
}

struct handle *handles_any(void)
{
    struct handle *h;

    lock_take();
    h = first;
    lock_give();
    return h;
}
