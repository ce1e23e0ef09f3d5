/* SPDX-License-Identifier: BSD-2-Clause
 *
 * object.c - the table of attached files.
 *
 * Owns: one object per id, found by a hash; their memory, in slabs that live as long as the cache;
 * the handles that stand for them. It also owns the time that a closed file leaves behind for its
 * next attach: a validator that was taken before this time proves nothing.
 *
 * Locks: files_lock.
 * Who: api/, protocol/, state/.
 */
#include "state/object.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SLAB_FILES 63u
#define LEFT_WAYS 16u
#define LEFT_GROUPS 128u

struct cm_file_slab {
    struct cm_file_slab *next;
    struct cm_object object[SLAB_FILES];
};

/* Files whose floor_ns is remembered when they are not attached. Two files with one hash of the id
 * share an entry, with the later time. */
struct cm_left_group {
    struct cm_left_file {
        uint64_t hash, floor_ns;
    } file[LEFT_WAYS];
    uint64_t others_ns; /* the latest of the files that made room; for every id without an entry */
};

static uint64_t hash_of(const struct cm_cache *c, const cm_file_id *id)
{
    return XXH3_64bits_withSeed(id, sizeof(*id), c->media.hash_seed);
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

struct cm_object **cm_object_chain(struct cm_cache *c, const cm_file_id *id)
{
    return &c->file_hash[hash_of(c, id) & (c->file_chains - 1)];
}

struct cm_object *cm_object_find(struct cm_cache *c, const cm_file_id *id)
{
    for (struct cm_object *f = *cm_object_chain(c, id); f; f = f->next)
        if (f->id.hi == id->hi && f->id.lo == id->lo)
            return f;
    return NULL;
}

/* The memory of objects stays readable until cm_close, so that a handle used after its close is
 * detected and not followed. An object that has had all generations is not used again. */
void cm_object_put_free(struct cm_cache *c, struct cm_object *f)
{
    at_store_relaxed(&f->handle, 0u);
    if (f->generation == UINT16_MAX)
        return;
    f->next = NULL;
    *c->free_tail = f;
    c->free_tail = &f->next;
}

struct cm_object *cm_object_get_free(struct cm_cache *c)
{
    struct cm_object *f = c->free_files;
    c->free_files = f->next;
    if (!c->free_files)
        c->free_tail = &c->free_files;
    uint16_t generation = f->generation;
    /* Not the handle, which is 0: whoever has a stale one may be looking at it. */
    memset((uint8_t *)f + offsetof(struct cm_object, cache), 0,
           sizeof(*f) - offsetof(struct cm_object, cache));
    f->generation = generation + 1u;
    return f;
}

cm_file *cm_object_handle(const struct cm_object *f)
{
    return (cm_file *)((uintptr_t)f | (uintptr_t)f->generation << CM_ADDRESS_BITS);
}

/* Ensures that get_free finds an object, and returns with the files lock held. The allocation hook
 * runs without the lock. CM_ENOMEM: the lock is not held. */
int cm_object_lock_with_free(struct cm_cache *c)
{
    for (;;) {
        cm_lock_acquire(&c->files_lock);
        if (c->free_files)
            return 0;
        cm_lock_release(&c->files_lock);
        struct cm_file_slab *s = cm_cache_alloc(c, sizeof(*s));
        if (!s)
            return CM_ENOMEM;
        if ((uintptr_t)(s + 1) >> CM_ADDRESS_BITS) { /* no room for a generation */
            cm_cache_free(c, s, sizeof(*s));
            return CM_ENOMEM;
        }
        cm_lock_acquire(&c->files_lock);
        s->next = c->slabs;
        c->slabs = s;
        for (unsigned i = 0; i < SLAB_FILES; i++)
            cm_object_put_free(c, &s->object[i]);
        cm_lock_release(&c->files_lock);
    }
}

void cm_files_free(struct cm_cache *c)
{
    while (c->slabs) {
        struct cm_file_slab *s = c->slabs;
        c->slabs = s->next;
        cm_cache_free(c, s, sizeof(*s));
    }
}

bool cm_files_busy(struct cm_cache *c)
{
    bool busy = false;
    cm_lock_acquire(&c->files_lock);
    for (uint32_t i = 0; i < c->file_chains && !busy; i++)
        for (struct cm_object *f = c->file_hash[i]; f && !busy; f = f->next) {
            cm_lock_acquire(&f->lock);
            busy = f->open_brackets > 0;
            cm_lock_release(&f->lock);
        }
    cm_lock_release(&c->files_lock);
    return busy;
}

bool cm_files_id_of(struct cm_cache *c, uint64_t incarnation, cm_file_id *id)
{
    bool found = false;
    if (incarnation == 0 || !c->file_hash)
        return false;
    cm_lock_acquire(&c->files_lock);
    for (uint32_t i = 0; i < c->file_chains && !found; i++)
        for (const struct cm_object *f = c->file_hash[i]; f && !found; f = f->next)
            /* Relaxed: the id does not change while the file is in the chain. */
            if (at_load_relaxed(&f->incarnation) == incarnation) {
                *id = f->id;
                found = true;
            }
    cm_lock_release(&c->files_lock);
    return found;
}

size_t cm_object_left_bytes(void)
{
    return LEFT_GROUPS * sizeof(struct cm_left_group);
}

/* ---- Files that are not attached ------------------------------------------------------------- */

static struct cm_left_group *group_of(const struct cm_cache *c, uint64_t hash)
{
    return &c->left[hash % LEFT_GROUPS];
}

/* Files lock held. The floor_ns of a file at its attach. It cannot be 0: the object that knew of
 * the file's brackets may be gone, and an owner before this session may have written until it
 * ended. */
uint64_t cm_object_floor(const struct cm_cache *c, const cm_file_id *id)
{
    const uint64_t hash = hash_of(c, id);
    const struct cm_left_group *g = group_of(c, hash);
    uint64_t floor_ns = later(g->others_ns, c->opened_ns);
    for (unsigned i = 0; i < LEFT_WAYS; i++)
        if (g->file[i].hash == hash)
            floor_ns = later(floor_ns, g->file[i].floor_ns);
    return floor_ns;
}

/* Files lock held. The file of the group whose floor_ns is the earliest makes room: a validator of
 * now is later than that, so nobody will miss it. */
void cm_object_leave_floor(struct cm_cache *c, const cm_file_id *id, uint64_t floor_ns)
{
    const uint64_t hash = hash_of(c, id);
    struct cm_left_group *g = group_of(c, hash);
    struct cm_left_file *to = &g->file[0];
    for (unsigned i = 1; i < LEFT_WAYS && to->hash != hash; i++)
        if (g->file[i].hash == hash || g->file[i].floor_ns < to->floor_ns)
            to = &g->file[i];
    if (to->hash != hash) {
        g->others_ns = later(g->others_ns, to->floor_ns);
        *to = (struct cm_left_file){ .hash = hash };
    }
    to->floor_ns = later(to->floor_ns, floor_ns);
}
