/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handles.c - which files are open, and which were seen with several names.
 *
 * Owns: the list of the former, and a mark for each of the latter. Who: cache.c, ops.c. Every
 * thread.
 *
 * FUSE knows it, too. But WinFsp closes no file that is open when the mount ends, and nor does
 * Linux. And WinFsp does not say which handle sets a time.
 */
#include "handles.h"

#include "lock.h"

#include <string.h>

static struct handle *first; /* under the lock */

/* Under the lock, too. Who has opened a file by a name that is gone may write it still, and nobody
 * tells when he closes it. So a mark stays until the mount ends: four bits for each id, which is a
 * hash. That takes 1 MiB, however many files there are. Others may have the same bits, and pass
 * although they need not: about 2 % of them when a million files are marked. */
#define MARKS 4u
static uint64_t marks[(1u << 23) / 64];

static uint64_t *mark_of(const cm_file_id *id, unsigned k, uint64_t *bit)
{
    const uint32_t at = (uint32_t)((k < 2 ? id->hi : id->lo) >> k % 2 * 32) % (1u << 23);

    *bit = UINT64_C(1) << at % 64;
    return &marks[at / 64];
}

static bool is_marked(const cm_file_id *id)
{
    uint64_t bit;
    bool is = id->hi != 0 || id->lo != 0;

    for (unsigned k = 0; is && k < MARKS; k++)
        is = *mark_of(id, k, &bit) & bit;
    return is;
}

static bool is_of(const struct handle *h, const cm_file_id *id)
{
    return h->id.hi == id->hi && h->id.lo == id->lo && (id->hi != 0 || id->lo != 0);
}

static void has_names(struct handle *h)
{
    atomic_store(&h->linked, true);
    atomic_store(&h->told, true);
}

void handles_begin(void)
{
    memset(marks, 0, sizeof(marks));
}

/* Others may have seen names since h has looked for them, and could not tell it. If it is another
 * file that has the mark, h has told nobody so far. */
void handles_add(struct handle *h)
{
    lock_take();
    if (is_marked(&h->id))
        atomic_store(&h->linked, true);
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
    uint64_t bit;

    lock_take();
    for (unsigned k = 0; k < MARKS && (id->hi != 0 || id->lo != 0); k++)
        *mark_of(id, k, &bit) |= bit;
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
