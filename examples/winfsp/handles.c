/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handles.c - which files are open.
 *
 * Owns: the list of them. Who: cache.c, ops.c. Every thread.
 *
 * FUSE knows it, too. But WinFsp closes no file that is open when the mount ends, and nor does
 * Linux. And WinFsp does not say which handle sets a time.
 */
#include "handles.h"

#include "lock.h"

static struct handle *first; /* under the lock */

static bool is_of(const struct handle *h, const cm_file_id *id)
{
    return h->id.hi == id->hi && h->id.lo == id->lo && (id->hi != 0 || id->lo != 0);
}

static void has_names(struct handle *h)
{
    atomic_store(&h->linked, true);
    atomic_store(&h->told, true);
}

/* Those that are in the list may have seen names since h has looked for them, and could not tell
 * it. The names may be gone. */
void handles_add(struct handle *h)
{
    lock_take();
    for (const struct handle *o = first; o; o = o->next)
        if (is_of(o, &h->id) && atomic_load(&o->told))
            has_names(h);
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

void handles_set_times(const cm_file_id *id, const api_timespec tv[2])
{
    lock_take();
    for (struct handle *h = first; h; h = h->next)
        if (is_of(h, id) && atomic_load(&h->changed))
            (void)origin_set_times_of(h->f, tv);
    lock_give();
}

void handles_have_names(const cm_file_id *id)
{
    lock_take();
    for (struct handle *h = first; h; h = h->next)
        if (is_of(h, id))
            has_names(h);
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
