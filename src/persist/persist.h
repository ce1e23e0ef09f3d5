/* SPDX-License-Identifier: BSD-2-Clause
 *
 * persist.h - every access to pool memory.
 *
 * Stores, non-temporal copies, flushes and fences go through one table of operations. An open
 * chooses the table once (cm_persist_choose). Tests can put a recorder in its place. Loads and
 * copies out of the pool go through the guarded routines below. When the media is unreadable
 * (poison, truncated file, hole on a full volume), all of them return CM_EIO, and the process does
 * not die. What an operation did before the fault stays done: a failed copy or write may be
 * partial.
 *
 * Memory order: loads acquire, and stay behind seq_cst operations of their thread (a pin and then a
 * look at w0: pin.h). Stores release, compare-and-swap is a full barrier. A fence orders
 * non-temporal copies and flushes before every later store, for other threads and for the media. It
 * does not keep later loads back (an x86 SFENCE does not): use at_fence_seq_cst() for that.
 *
 * Exceptions: in a build with ThreadSanitizer, or for a CPU without a back end of its own, the
 * routines are plain C with atomics, and there is no guard (cm_guard_available() is false).
 */
#ifndef CM_PERSIST_H
#define CM_PERSIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/platform.h"

#define CM_CACHE_LINE 64u

typedef int (*cm_persist_copy_fn)(void *ctx, void *dst, const void *src, size_t n);
struct cm_persist_ops {
    const char *flush_name; /* like cm_info.flush */
    const char *copy_name;  /* like cm_info.copy */
    bool flushes;           /* `flush` writes lines back; false: it does nothing */
    /* 8-byte store, release. 0 or CM_EIO. */
    int (*store64)(void *ctx, uint64_t *p, uint64_t v);
    /* 1 swapped, 0 *p differs from expected, CM_EIO. Full barrier. */
    int (*cas64)(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired);
    /* Ordinary stores of n bytes, in words of 8. n is a multiple of 8, dst is aligned to 8. */
    int (*write)(void *ctx, void *dst, const void *src, size_t n);
    /* Non-temporal copy; dst aligned to 64, n a multiple of 64, src unaligned. Durable after the
     * next fence without a flush. */
    cm_persist_copy_fn copy;
    /* Starts to write back the lines of [p, p+n). That is done after the same thread's next fence.
     */
    int (*flush)(void *ctx, const void *p, size_t n);
    void (*fence)(void *ctx);
};

enum cm_flush_need {
    CM_FLUSH_LINES, /* DAX: stores reach the media through flushes */
    CM_FLUSH_NONE   /* page cache, volatile memory: flush does nothing, fences remain */
};

/* The best operations that this CPU has, detected once at run time. Never NULL. */
const struct cm_persist_ops *cm_persist_choose(enum cm_flush_need need);
/* A table whose stores are all refused with CM_EIO: for a pool that another process owns. */
const struct cm_persist_ops *cm_persist_readonly(void);
/* Every table that this CPU can run, best first; NULL from the first index beyond them on. The
 * tables for CM_FLUSH_NONE do not flush. */
const struct cm_persist_ops *cm_persist_variant(size_t i);

/* Routines that do what `copy` of the table does, through the CPU's caches: NULL from the first
 * index beyond them on, and for a table that flushes or is not this CPU's. *name may be NULL. */
cm_persist_copy_fn cm_persist_cached_copy(const struct cm_persist_ops *ops, size_t i,
                                          const char **name);

/* Guarded loads. Each returns 0 or CM_EIO. They are safe on any address that is or was mapped, if
 * its range was registered with cm_guard_add. */
int cm_guard_load64(const uint64_t *p, uint64_t *v);               /* acquire */
int cm_guard_load_words(const uint64_t *p, uint64_t *v, size_t n); /* n words, each acquire */
/* Loads a byte, and needs only to know whether that can be done. Relaxed. */
int cm_guard_touch(const uint8_t *p);
/* Compares the upper 22 bits of eight words, a whole cache line, with `tag`. Returns a bit for each
 * that is equal, or CM_EIO. *word: the first of them, loaded once more (it may have changed);
 * unchanged if there is none. */
int cm_guard_find(const uint64_t *line, uint64_t tag, uint64_t *word);
#define CM_GUARD_TAG_SHIFT 42u
/* The same in n > 0 lines, one behind the other: line[i] is searched for the upper 22 bits of
 * hash[i]. word[i]: the first that is equal, loaded once more, or 0. 0 or CM_EIO. */
int cm_guard_find_each(const uint64_t *line, const uint64_t *hash, uint64_t *word, size_t n);
/* Plain copy out of the pool, any alignment. It may race with a writer: the caller checks for that
 * afterwards (slot.c). */
int cm_guard_copy(void *dst, const void *src, size_t n);
/* A copy of data behind a header. 1: the header's first word has CM_GUARD_VALID, its second and
 * third are `w1` and `w2`, and the first is the same before and after the copy. 0: one of these is
 * not so, and dst may hold anything. Or CM_EIO. Made for data of which only the first lines are in
 * the CPU's caches or prefetched. n is at least CM_GUARD_TAKE_MIN. */
typedef int (*cm_guard_take_fn)(const uint64_t *header, const void *src, void *dst, size_t n,
                                uint64_t w1, uint64_t w2);
#define CM_GUARD_VALID (UINT64_C(1) << 31)
#define CM_GUARD_TAKE_MIN 128u
/* Every such routine that this CPU can run, best first; NULL from the first index beyond them on.
 * *name may be NULL. */
cm_guard_take_fn cm_guard_take_variant(size_t i, const char **name);
/* The best one, as a table of CPUs says. NULL: there is none, and the caller takes these steps
 * singly. */
cm_guard_take_fn cm_guard_take_choose(void);
/* Does it wait for the first line before it copies the others? Then as much as possible of the data
 * should have been prefetched. Else the copy itself requests lines as fast as prefetches do. */
bool cm_guard_take_waits(cm_guard_take_fn take);
/* Two looks at n > 0 headers of four words that lie one behind the other. Between the looks the
 * caller copies their data; then comes an acquire fence. Both return how many of the first headers
 * are right, or CM_EIO. Before the copy a header is right if its first word has CM_GUARD_VALID, its
 * second is key[0], and its third is key[1] plus CM_GUARD_NEXT for each header in front of it.
 * w0[i]: its first word. After the copy it is right if it still has that first word. */
int cm_guard_look_before(const uint64_t *header, size_t n, const uint64_t key[2], uint64_t *w0);
int cm_guard_look_after(const uint64_t *header, size_t n, const uint64_t *w0);
#define CM_GUARD_NEXT (UINT64_C(1) << 13)
/* *p += v, relaxed: for statistics only, which need no durability. */
int cm_guard_add64(uint64_t *p, uint64_t v);
/* The same, for a word that only the calling thread adds to. It has no locked instruction, behind
 * which no later load begins before all earlier stores are done. */
int cm_guard_add64_own(uint64_t *p, uint64_t v);
/* Two such words: p[0] += v, p[1] += w. */
int cm_guard_add64_own2(uint64_t *p, uint64_t v, uint64_t w);

/* Registers or removes an address range for the guard. Registering installs the process-wide fault
 * handler (platform.h). In a build without a guard it does nothing and succeeds. */
int cm_guard_add(const void *base, size_t len);
void cm_guard_remove(const void *base);
/* False: a fault in pool memory ends the process in this build. */
bool cm_guard_available(void);

/* The routines that cm_guard_copy() chooses from, best first; NULL beyond them. *name may be NULL.
 */
typedef int (*cm_guard_copy_fn)(void *dst, const void *src, size_t n);
cm_guard_copy_fn cm_guard_copy_variant(size_t i, const char **name);

/* From the back end, to persist.c only: where its guarded code lies. False: it has none. */
bool cm_guard_code(struct cm_plat_guard_code *code);

#endif
