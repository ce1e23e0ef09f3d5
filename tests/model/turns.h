/* SPDX-License-Identifier: BSD-2-Clause
 *
 * turns.h - makes every atomic access, guarded load and lock of the library a step of turns.c or of
 * schedules.c.
 *
 * Included in front of each source of the library (-include). The code does the same as without it.
 * But before each step another thread may be let run, and a thread that finds a lock taken lets
 * others run until the lock is free.
 */
#ifndef CM_TESTS_TURNS_H
#define CM_TESTS_TURNS_H

#include "platform/lock.h"
#include "persist/persist.h"
#include "weak.h"

void turns_step(void);
void turns_acquire(struct cm_lock *l);
bool turns_try(struct cm_lock *l);
void turns_release(struct cm_lock *l);
void turns_wait(const uint32_t *word, uint32_t expected);
int turns_load64(const uint64_t *p, uint64_t *v);
int turns_load_words(const uint64_t *p, uint64_t *v, size_t n);
int turns_find(const uint64_t *line, uint64_t tag, uint64_t *word);
int turns_find_each(const uint64_t *line, const uint64_t *hash, uint64_t *word, size_t n);
int turns_look_before(const uint64_t *header, size_t n, const uint64_t key[2], uint64_t *w0);
int turns_look_after(const uint64_t *header, size_t n, const uint64_t *w0);
int turns_copy(void *dst, const void *src, size_t n);
void turns_fence(void);
void turns_fence_seq_cst(void);
/* The calling thread cannot go on while *word is `unlike`: lets others run. */
void turns_wait_for(const uint32_t *word, uint32_t unlike);
/* steps.c calls these three. What a thread did outside of the run: copies 'c', acquire fences 'f',
 * loads of one word 'l', of several 'w'. [p, p+n) is being written back, and is durable after the
 * thread's next fence. Such a fence. */
void turns_did(char what);
void turns_flushed(const void *p, size_t n);
void turns_fenced(void);

struct cm_cache;
/* steps.c: from now on every persistent store, flush and fence of this cache is a step. */
void turns_begin_steps(struct cm_cache *c);
void turns_end_steps(struct cm_cache *c);

#ifndef TURNS_ITSELF
#undef at_load_relaxed
#undef at_load_acquire
#undef at_load_seq_cst
#undef at_store_relaxed
#undef at_store_release
#undef at_store_seq_cst
#undef at_add_relaxed
#undef at_add_acq_rel
#undef at_sub_acq_rel
#undef at_swap_acq_rel
#undef at_add_seq_cst
#undef at_or_acq_rel
#undef at_and_release
#undef at_and_acq_rel
#undef at_cas_acq_rel
#undef at_cas_seq_cst
#undef at_or_relaxed
#undef at_fence_acquire
#undef at_fence_seq_cst
/* A step, the access itself, and what a weak memory makes of it. */
#define TURNS_LOAD(p, order, weak)                                                                 \
    __extension__({                                                                                \
        turns_step();                                                                              \
        __auto_type turns_l_ = __atomic_load_n((p), order);                                        \
        weak_loaded((p), &turns_l_, sizeof(turns_l_), weak);                                       \
        turns_l_;                                                                                  \
    })
#define TURNS_STORE(p, v, order, weak)                                                             \
    __extension__({                                                                                \
        turns_step();                                                                              \
        weak_storing((p), sizeof(*(p)));                                                           \
        __atomic_store_n((p), (v), order);                                                         \
        weak_stored((p), sizeof(*(p)), weak);                                                      \
    })
#define TURNS_UPDATE(how, p, v, order, weak)                                                       \
    __extension__({                                                                                \
        turns_step();                                                                              \
        __auto_type turns_u_ = how((p), (v), order);                                               \
        weak_updated((p), &turns_u_, sizeof(turns_u_), weak);                                      \
        turns_u_;                                                                                  \
    })
#define TURNS_CAS(p, e, d, order, failure, weak)                                                   \
    __extension__({                                                                                \
        turns_step();                                                                              \
        const bool turns_c_ = __atomic_compare_exchange_n((p), (e), (d), 0, order, failure);       \
        weak_updated((p), (e), sizeof(*(p)), weak);                                                \
        turns_c_;                                                                                  \
    })
#define at_load_relaxed(p) TURNS_LOAD(p, __ATOMIC_RELAXED, WEAK_RELAXED)
#define at_load_acquire(p) TURNS_LOAD(p, __ATOMIC_ACQUIRE, WEAK_ACQUIRE)
#define at_load_seq_cst(p) TURNS_LOAD(p, __ATOMIC_SEQ_CST, WEAK_SEQ_CST)
#define at_store_relaxed(p, v) TURNS_STORE(p, v, __ATOMIC_RELAXED, WEAK_RELAXED)
#define at_store_release(p, v) TURNS_STORE(p, v, __ATOMIC_RELEASE, WEAK_RELEASE)
#define at_store_seq_cst(p, v) TURNS_STORE(p, v, __ATOMIC_SEQ_CST, WEAK_SEQ_CST)
#define at_add_relaxed(p, v) TURNS_UPDATE(__atomic_fetch_add, p, v, __ATOMIC_RELAXED, WEAK_RELAXED)
#define at_add_acq_rel(p, v) TURNS_UPDATE(__atomic_fetch_add, p, v, __ATOMIC_ACQ_REL, WEAK_ACQ_REL)
#define at_add_seq_cst(p, v) TURNS_UPDATE(__atomic_fetch_add, p, v, __ATOMIC_SEQ_CST, WEAK_SEQ_CST)
#define at_sub_acq_rel(p, v) TURNS_UPDATE(__atomic_fetch_sub, p, v, __ATOMIC_ACQ_REL, WEAK_ACQ_REL)
#define at_or_relaxed(p, v) TURNS_UPDATE(__atomic_fetch_or, p, v, __ATOMIC_RELAXED, WEAK_RELAXED)
#define at_or_acq_rel(p, v) TURNS_UPDATE(__atomic_fetch_or, p, v, __ATOMIC_ACQ_REL, WEAK_ACQ_REL)
#define at_and_acq_rel(p, v) TURNS_UPDATE(__atomic_fetch_and, p, v, __ATOMIC_ACQ_REL, WEAK_ACQ_REL)
#define at_and_release(p, v) TURNS_UPDATE(__atomic_fetch_and, p, v, __ATOMIC_RELEASE, WEAK_RELEASE)
#define at_swap_acq_rel(p, v)                                                                      \
    TURNS_UPDATE(__atomic_exchange_n, p, v, __ATOMIC_ACQ_REL, WEAK_ACQ_REL)
#define at_cas_acq_rel(p, e, d) TURNS_CAS(p, e, d, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE, WEAK_ACQ_REL)
#define at_cas_seq_cst(p, e, d) TURNS_CAS(p, e, d, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST, WEAK_SEQ_CST)
/* Weaker than the library needs: for tests/crash/orders.py. */
#define at_sub_relaxed(p, v) TURNS_UPDATE(__atomic_fetch_sub, p, v, __ATOMIC_RELAXED, WEAK_RELAXED)
#define at_and_relaxed(p, v) TURNS_UPDATE(__atomic_fetch_and, p, v, __ATOMIC_RELAXED, WEAK_RELAXED)
#define at_swap_relaxed(p, v)                                                                      \
    TURNS_UPDATE(__atomic_exchange_n, p, v, __ATOMIC_RELAXED, WEAK_RELAXED)
#define at_cas_relaxed(p, e, d) TURNS_CAS(p, e, d, __ATOMIC_RELAXED, __ATOMIC_RELAXED, WEAK_RELAXED)
#define at_fence_acquire() turns_fence()
#define at_fence_seq_cst() turns_fence_seq_cst()
#define cm_lock_acquire(l) turns_acquire(l)
#define cm_lock_try(l) turns_try(l)
#define cm_lock_release(l) turns_release(l)
#define cm_plat_wait(word, expected) turns_wait((word), (expected))
#define cm_plat_wait_until(word, expected, deadline) (turns_wait((word), (expected)), true)
#define cm_plat_wake_all(word) ((void)(word))
#define cm_guard_load64(p, v) turns_load64((p), (v))
#define cm_guard_load_words(p, v, n) turns_load_words((p), (v), (n))
#define cm_guard_find(line, tag, word) turns_find((line), (tag), (word))
#define cm_guard_find_each(line, hash, word, n) turns_find_each((line), (hash), (word), (n))
#define cm_guard_look_before(header, n, key, w0) turns_look_before((header), (n), (key), (w0))
#define cm_guard_look_after(header, n, w0) turns_look_after((header), (n), (w0))
#define cm_guard_copy(dst, src, n) turns_copy((dst), (src), (n))
#endif

#endif
