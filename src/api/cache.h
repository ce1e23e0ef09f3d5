/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cache.h - what the parts of the public API share.
 */
#ifndef CM_CACHE_H
#define CM_CACHE_H

#include "state/object.h"

/* Was the cache opened in this process? 0 or CM_EFORKED. */
static inline int cm_cache_here(const cm_cache *c)
{
    return c->fork_count != cm_plat_fork_count_now() ? CM_EFORKED : 0;
}
/* Is the cache open, in this process? 0, CM_EHANDLE or CM_EFORKED. `changes`: for a call that
 * changes something. Also CM_EREADONLY. */
static inline __attribute__((always_inline)) int cm_cache_state_for(const cm_cache *c, bool changes)
{
    if (!c)
        return CM_EHANDLE;
    const uint32_t magic = at_load_relaxed(&c->magic);
    if (magic != CM_CACHE_MAGIC && (magic != CM_CACHE_SHARED_MAGIC || changes))
        return magic == CM_CACHE_SHARED_MAGIC ? CM_EREADONLY : CM_EHANDLE;
    return cm_cache_here(c);
}
static inline int cm_cache_state(const cm_cache *c)
{
    return cm_cache_state_for(c, false);
}
/* May thread t, which is the calling one, call into a cache that is open? 0 or CM_ECALLBACK. */
static inline int cm_enter_thread(const cm_cache *c, const struct cm_plat_thread *t)
{
    for (const struct cm_callback *f = t->callback; f; f = f->outer)
        if (f->cache == c)
            return CM_ECALLBACK;
    return 0;
}
/* Both, for the calling thread. */
static inline int cm_enter_cache(const cm_cache *c)
{
    int e = cm_cache_state(c);
    return e ? e : cm_enter_thread(c, cm_plat_thread());
}

/* Both, for a call that needs the tables of files. Also CM_EREADONLY. */
static inline int cm_enter_files(const cm_cache *c)
{
    int e = cm_enter_cache(c);
    return e == 0 && c->readonly ? CM_EREADONLY : e;
}
/* Both, for a call that changes something. Also CM_EREADONLY. */
static inline int cm_enter_owner(const cm_cache *c)
{
    int e = cm_cache_state_for(c, true);
    e = e ? e : cm_enter_thread(c, cm_plat_thread());
    return e == 0 && c->readonly ? CM_EREADONLY : e;
}
/* The object that a handle stands for. 0, or why the call is refused. */
static inline int cm_enter_file(const cm_file *file, struct cm_object **f)
{
    *f = cm_object_of(file);
    return cm_object_attached(*f, file) ? cm_enter_cache((*f)->cache) : CM_EHANDLE;
}

/* The same, for a call that changes something. Also CM_EREADONLY. */
static inline int cm_enter_change(const cm_file *file, struct cm_object **f)
{
    *f = cm_object_of(file);
    if (!cm_object_attached(*f, file))
        return CM_EHANDLE;
    int e = cm_cache_state_for((*f)->cache, true);
    return e ? e : cm_enter_thread((*f)->cache, cm_plat_thread());
}

/* The largest offset, and the largest end of a range. */
#define CM_OFFSET_MAX ((CM_BLOCK_MAX + 1) * CM_BLOCK_SIZE - 1)
static inline int cm_check_range(uint64_t offset, uint64_t len)
{
    static_assert(CM_OFFSET_MAX == UINT64_MAX >> 1, "two numbers of 62 bits have no larger sum");
    if ((offset | len) >> 62 == 0)
        return 0; /* nearly always */
    return offset > CM_OFFSET_MAX || len > CM_OFFSET_MAX - offset ? CM_ERANGE : 0;
}

/* `n` bytes, and the rest of their last block. */
static inline uint64_t cm_whole_blocks(uint64_t n)
{
    return (n + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
}

/* ---- validator.c ----------------------------------------------------------------------------- */

/* Takes a validator of any version. false: it is refused, and a line of the log says why, with the
 * name of the call. `must_prove`: one without a proof is refused, too. */
bool cm_take_validator(struct cm_cache *c, const char *call, cm_validator *v,
                       const cm_validator *given, bool must_prove);
/* The same for an id. */
bool cm_take_id(struct cm_cache *c, const char *call, const cm_file_id *id);

/* ---- structs.c ------------------------------------------------------------------------------- */

/* Copies an options struct of any version. A shorter one comes from an older caller. If it is
 * longer than ours, the rest must be zero. A struct_size of 0 is that of the first release: no
 * struct has grown since, as structs.c checks. `from` may be NULL: all zero. CM_EINVAL. */
int cm_take_options(void *to, size_t size, const void *from);
/* At file scope: so large was the struct in the first release, where pointers have 64 bits. */
#define CM_FIRST_SIZE(type, bytes)                                                                 \
    static_assert(sizeof(type) == (bytes) || sizeof(void *) != 8,                                  \
                  #type " has grown: a struct_size of 0 means less")
/* Copies a seal, which may be NULL: all zero. CM_EINVAL, and a line of the log. */
int cm_take_seal(cm_seal *to, const cm_seal *from, cm_log_fn log, void *log_ctx);

#define CM_STRUCT_MAX 4096u /* a struct_size beyond this is not one */
/* Copies a result to a caller whose struct may be shorter or longer. The part that both have is
 * copied, and the rest of the caller's is zeroed. struct_size then says how much was copied.
 * A struct_size of 0 is that of the first release. CM_EINVAL: the caller did not set struct_size.
 */
int cm_give_result(void *to, const void *from, uint32_t size);
/* Will cm_give_result() take it? `to` may be NULL: no. */
bool cm_can_give_result(const void *to);
/* Are all n words zero? */
bool cm_all_zero(const uint64_t *v, size_t n);

/* ---- cache.c --------------------------------------------------------------------------------- */

/* Opens a pool and locks it as its owner does, but changes nothing in it. End it with
 * cm_cache_destroy(). Errors as cm_open(). */
int cm_open_unchanged(const char *path, const cm_options *opts, cm_cache **cache);
/* Releases what an open cache holds. It does not change the pool's state. */
void cm_cache_destroy(cm_cache *c);
/* Writes the reason to the log, as a line, and returns `code`. `log` may be NULL. */
int cm_refuse(cm_log_fn log, void *ctx, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The line for CM_EINVAL of a pool's file. The path comes last: a long one is cut. */
#define CM_WRONG_PATH "the path of the pool is too long, or its file system takes no such name: %s"
/* Writes a line to the log of an open cache. No lock is held. */
void cm_log(const struct cm_cache *c, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- memory.c -------------------------------------------------------------------------------- */

/* Allocates the tables of an open cache. CM_ENOMEM: some may be there. */
int cm_cache_alloc_parts(cm_cache *c);
/* Frees them. */
void cm_cache_free_parts(cm_cache *c);
/* Bytes of DRAM that an open pool takes, without the probation buffer. */
uint64_t cm_cache_dram_bytes(const struct cm_geometry *g);

/* ---- resident.c ------------------------------------------------------------------------------ */

/* Does what CM_OPEN_PREFAULT and CM_OPEN_LOCK say, for all metadata of the pool `what`. CM_ENOMEM.
 */
int cm_cache_all_resident(cm_cache *c, const char *what);
/* The same for the tables of a part. */
int cm_cache_make_resident(cm_cache *c, const struct cm_geometry *g, unsigned part);
/* Takes back what CM_OPEN_LOCK did. */
void cm_cache_unlock(cm_cache *c);

/* ---- grow.c ---------------------------------------------------------------------------------- */

/* A growth has begun, maybe in another session, and it will not end: takes back what the file has
 * too much of. If that fails, it stays for the next growth or open. */
void cm_grow_take_back(cm_cache *c);

/* ---- info.c ---------------------------------------------------------------------------------- */

/* Is a file too small for the superblocks and the stats page? */
bool cm_file_too_small(const struct cm_plat_file *f);
/* Was such a file cut off (CM_ETRUNCATED), or never a pool (CM_ENOTPOOL)? */
int cm_judge_small_file(struct cm_plat_file *f);
/* A look at a pool beside its owner: is its length another one than when the file was opened? Then
 * the pool has grown since, or a growth was taken back, and the next look agrees with itself. At
 * most CM_LOOKS of them: it may go on. */
bool cm_file_length_changed(struct cm_plat_file *f);
#define CM_LOOKS 16
/* Has the path another file now, or none? Then a resize has replaced the pool since the file was
 * opened, and removes the old superblocks, if it was not killed; or somebody has deleted it. The
 * next look finds what is there now. Who has the lock of the file, and asks then, is the only owner
 * of the path. False if there is no file. */
bool cm_file_replaced(const struct cm_plat_file *f, const char *path);

#define CM_LOST_PAGES "%s: its volume lost what the last owner wrote (a sync failed): emptied"

/* ---- trouble.c ------------------------------------------------------------------------------- */

/* Why a pool that has its space lacks room all the same. */
#define CM_COPIES                                                                                  \
    "copy-on-write volumes, and volumes with a snapshot or a reflink copy of the pool, need new "  \
    "space for each rewrite"

/* Logs what is new: trouble with the whole pool once, damage as cm_say_damage(). No lock is held.
 */
void cm_say_trouble(cm_cache *c);
/* Has it happened, and not been said (enum cm_say)? From now on it is said: one thread gets true.
 */
bool cm_is_unsaid(uint32_t *flag);
static inline void cm_report_trouble(cm_cache *c)
{
    if ((at_load_relaxed(&c->broken) | at_load_relaxed(&c->failing) | at_load_relaxed(&c->suspect) |
         at_load_relaxed(&c->older) | at_load_relaxed(&c->unsettled)) &
        CM_SAY_DUE)
        cm_say_trouble(c);
}
/* The same if `e`, with which a public call ends, is an error. Returns e. */
static inline int cm_report_error(cm_cache *c, int e)
{
    if (__builtin_expect(e < 0, 0))
        cm_report_trouble(c);
    return e;
}
/* Returns 0 if the file has its full size, or if there is no file. Else CM_ETRUNCATED: the first
 * such call logs it and empties the pool. No lock is held. */
int cm_cache_whole(struct cm_cache *c);
/* The pool is mapped, and has its memory: from here on a call notices that the file was cut, as far
 * as a load of its last page tells (cm_media_uncut). Without a guard none does. */
void cm_end_begin(struct cm_cache *c);
/* The same for the length that it has grown to. */
void cm_end_grow(struct cm_cache *c, const struct cm_geometry *to);
/* Logs damage that was noted: of each kind the first event at once, later ones at most once a
 * minute. `all`: also what the minute holds back. No lock is held. */
void cm_say_damage(struct cm_cache *c, bool all);
/* The superblocks of the pool `what` are of no use to an open: says why. `e`: what
 * cm_super_read_sealed() returned. */
void cm_say_unusable(const struct cm_cache *c, const char *what, int e);
/* After CM_EVERSION: the version of the format that the pool at `base` has, or 0. */
uint32_t cm_other_version(const uint8_t *base);
/* What the system has refused to the open of the pool `what`, as a line of the log, unless e is 0.
 * Returns e. */
int cm_say_refused(const cm_cache *c, const char *what, const char *refused, int e);
/* Logs, once, that the handler of the fault guard is not that of the process any more. No lock is
 * held. */
void cm_say_guard(cm_cache *c);
/* The pool's lock was refused: logs who holds it, as far as that can be found out. Says the same
 * as an error once only: a process may wait for the pool, and try again and again. */
void cm_say_owner(struct cm_cache *c, const char *path);
/* The lock was taken: from here on it is news again. */
void cm_owner_has_gone(const char *path);

#endif
