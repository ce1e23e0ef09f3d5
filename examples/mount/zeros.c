/* SPDX-License-Identifier: BSD-2-Clause
 *
 * zeros.c - zeros that the kernel has behind the end of a file, where others may have written.
 *
 * WHERE THEY ARE. A page that was read up to the end of the file has zeros behind it. When the
 * kernel writes a page of a mapping, it first puts zeros behind the end that it knows. A truncation
 * does the same. Nobody wrote these zeros. While the kernel keeps the end, nobody sees them. When
 * it learns a longer end, they are content: readers see them, and the next write of that page puts
 * them over what others have appended at the origin.
 *
 * So of each file that others may write the range of such zeros is known here. It grows with each
 * READ that ends early, each WRITE of a mapped page that ends inside a page, and each truncation.
 * It ends where a READ brings the page anew, where the mount itself has made the file longer from
 * there on, and when the kernel has dropped all pages. It may be larger than need be.
 *
 * One WRITE does not say where its zeros begin: the kernel puts them behind the end of that moment,
 * and cuts the WRITE at the end that it knows when it sends it. So while it is told a longer end,
 * the range begins at the old one, whatever is read (zeros_hold).
 *
 * 1. The kernel learns no end behind the begin of that range before it has dropped its pages
 *    (coherence.c).
 * 2. Of a page of a mapping that it writes all the same, the zeros inside that range stay away from
 *    the origin (zeros_skip). What else a program has stored there is written. So nothing that
 *    others have appended is lost, in whatever order drops, stores and answers come. A zero that a
 *    program has stored there is lost if others have written that byte.
 *
 * OTHERS TRUNCATE while a page is read. The READ ends early. The kernel takes its end, unless it
 * was told something about the file after it had sent the READ: then it keeps the longer end, and
 * the page has zeros in front of it. So such a page is dropped (is_cut). Who has waited for just
 * that READ has got the zeros; nobody gets them later.
 *
 * Without the helper process (direct.c) no pages are dropped, and nothing of this is done.
 *
 * Owns: inode.zeros, under a lock of its own that is held for no call. Who: all that answer
 * requests; the notifiers (direct.c) say when pages were dropped.
 */
#include "mount.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t page_end(uint64_t at)
{
    static _Atomic uint64_t size; /* the same in each thread */
    uint64_t page = atomic_load_explicit(&size, memory_order_relaxed);

    if (!page) {
        page = (uint64_t)sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&size, page, memory_order_relaxed);
    }
    return (at + page - 1) / page * page;
}

static bool counts(const struct inode *i)
{
    return others_write() && atomic_load(&i->pages) && direct_on();
}

/* Lock held. */
static void put_range(struct inode *i, uint64_t from, uint64_t to)
{
    const bool any = from < to;

    i->zeros.from = any ? from : 0;
    i->zeros.to = any ? to : 0;
    atomic_store(&i->zeros.any, any);
}

/* Lock held. */
static void add(struct inode *i, uint64_t from, uint64_t to)
{
    struct zeros *const z = &i->zeros;

    if (from >= to)
        return;
    z->notes++;
    if (z->from < z->to)
        put_range(i, from < z->from ? from : z->from, to > z->to ? to : z->to);
    else
        put_range(i, from, to);
}

uint64_t zeros_notes(struct inode *i)
{
    uint64_t notes;

    if (!counts(i))
        return 0;
    pthread_mutex_lock(&lock);
    notes = i->zeros.notes;
    pthread_mutex_unlock(&lock);
    return notes;
}

void zeros_told(struct inode *i, uint64_t end)
{
    atomic_store(&i->told_size, (off_t)end);
    atomic_fetch_add(&i->tells, 1);
}

/* Lock held. Does a READ that ends there leave zeros in front of the end that the kernel knows?
 * When the kernel sent it, nobody knows here; so the answer is yes, once. Of a page that the kernel
 * asks for after the drop it takes the end, until it is told something again. */
static bool is_cut(struct inode *i, uint64_t end)
{
    const uint64_t tells = atomic_load(&i->tells);
    const bool cut = end < (uint64_t)atomic_load(&i->told_size) && i->zeros.dropped_at != tells;

    if (cut)
        i->zeros.dropped_at = tells;
    return cut;
}

/* The range may be larger than need be: the mount itself may have made the file longer at the same
 * time. The zeros that a program stores there must not be lost. So the page goes, and the next READ
 * of it says where it ends. */
static void drop_doubtful(struct inode *i, bool doubtful)
{
    if (doubtful)
        direct_drop(i);
}

void zeros_read(struct inode *i, uint64_t notes, uint64_t off, uint64_t n, uint64_t size)
{
    struct zeros *const z = &i->zeros;
    bool doubtful = false;

    if (!counts(i) || (n >= size && !atomic_load(&z->any)))
        return;
    pthread_mutex_lock(&lock);
    /* These pages are new. But something may have come since the bytes were read. */
    if (off <= z->from && off + n > z->from) {
        doubtful = z->held || z->notes != notes;
        if (!doubtful)
            put_range(i, off + n, z->to);
    }
    if (n < size) {
        doubtful |= z->notes != notes && off + n < (uint64_t)atomic_load(&i->told_size);
        doubtful |= is_cut(i, off + n);
        add(i, off + n, page_end(off + size));
    }
    pthread_mutex_unlock(&lock);
    drop_doubtful(i, doubtful);
}

void zeros_written(struct inode *i, uint64_t end)
{
    bool doubtful;

    if (!counts(i))
        return;
    pthread_mutex_lock(&lock);
    add(i, end, page_end(end));
    doubtful = end < page_end(end) && end < (uint64_t)atomic_load(&i->told_size);
    pthread_mutex_unlock(&lock);
    drop_doubtful(i, doubtful);
}

void zeros_behind(struct inode *i, uint64_t end)
{
    if (!counts(i))
        return;
    pthread_mutex_lock(&lock);
    add(i, end, page_end(end));
    pthread_mutex_unlock(&lock);
}

void zeros_shorter(struct inode *i, uint64_t end, uint64_t begun)
{
    pthread_mutex_lock(&lock);
    if (atomic_load(&i->changes_begun) == begun)
        add(i, end, page_end(end));
    pthread_mutex_unlock(&lock);
}

void zeros_hold(struct inode *i, uint64_t end)
{
    uint64_t told;

    pthread_mutex_lock(&lock);
    told = (uint64_t)atomic_load(&i->told_size);
    add(i, told, page_end(told));
    if (end > told)
        zeros_told(i, end);
    i->zeros.held = true;
    pthread_mutex_unlock(&lock);
}

void zeros_release(struct inode *i)
{
    pthread_mutex_lock(&lock);
    i->zeros.held = false;
    pthread_mutex_unlock(&lock);
}

bool zeros_before(struct inode *i, uint64_t end)
{
    bool before;

    if (!atomic_load(&i->zeros.any) || !counts(i))
        return false;
    pthread_mutex_lock(&lock);
    before = i->zeros.from < i->zeros.to && i->zeros.from < end;
    pthread_mutex_unlock(&lock);
    return before;
}

/* The page of the old end has zeros up to the new one. If others have appended there, these are as
 * all others. If nobody has, the origin has the same. */
void zeros_longer(struct inode *i, uint64_t start, uint64_t before, uint64_t end)
{
    struct zeros *const z = &i->zeros;
    uint64_t told;

    if (!others_write())
        return;
    pthread_mutex_lock(&lock);
    told = (uint64_t)atomic_load(&i->told_size);
    if (before != UINT64_MAX && before > told && start > told && end > told)
        add(i, told, page_end(told));
    if (end > told) {
        zeros_told(i, end);
        z->notes++;
    }
    if (before < start)
        start = before;
    if (start <= z->from && end > z->from)
        put_range(i, end, z->to);
    pthread_mutex_unlock(&lock);
}

void zeros_dropped(struct inode *i, uint64_t notes)
{
    if (!atomic_load(&i->zeros.any))
        return;
    pthread_mutex_lock(&lock);
    if (i->zeros.notes == notes)
        put_range(i, 0, 0);
    pthread_mutex_unlock(&lock);
}

size_t zeros_skip(struct inode *i, uint64_t off, const char *buf, size_t *size)
{
    uint64_t from, to;
    size_t n = 0;

    if (!atomic_load(&i->zeros.any) || !counts(i))
        return 0;
    pthread_mutex_lock(&lock);
    from = i->zeros.from;
    to = i->zeros.to;
    pthread_mutex_unlock(&lock);
    if (off + *size <= from || off >= to)
        return 0;
    if (off < from) { /* first what is before it */
        *size = (size_t)(from - off);
        return 0;
    }
    while (n < *size && off + n < to && buf[n] == 0)
        n++;
    if (n == 0) { /* up to the next zero */
        size_t stored = 1;
        while (stored < *size && off + stored < to && buf[stored] != 0)
            stored++;
        *size = stored;
    }
    return n;
}
