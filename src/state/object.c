/* SPDX-License-Identifier: BSD-2-Clause
 *
 * object.c - the table of attached files.
 *
 * Owns: one object per id, found by a hash; their memory, in slabs that live as long as the cache;
 * the handles that stand for them. It also owns the time that a closed file leaves behind for its
 * next attach: a validator that was taken before this time proves nothing.
 *
 * Locks: files_lock.
 * Who: api/, state/.
 */
#include "state/object.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SLAB_FILES 63u

struct cm_file_slab {
    struct cm_file_slab *next;
    struct cm_object object[SLAB_FILES];
};

static uint64_t chain_number(const struct cm_cache *c, const cm_file_id *id)
{
    return XXH3_64bits_withSeed(id, sizeof(*id), c->media.hash_seed) % CM_FILE_HASH;
}

struct cm_object **cm_object_chain(struct cm_cache *c, const cm_file_id *id)
{
    return &c->file_hash[chain_number(c, id)];
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
    memset(f, 0, sizeof(*f));
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
    for (unsigned i = 0; i < CM_FILE_HASH && !busy; i++)
        for (struct cm_object *f = c->file_hash[i]; f && !busy; f = f->next) {
            cm_lock_acquire(&f->lock);
            busy = f->open_brackets > 0;
            cm_lock_release(&f->lock);
        }
    cm_lock_release(&c->files_lock);
    return busy;
}

/* Files lock held. The floor_ns of a file at its attach. It cannot be 0: the object that knew of
 * the file's brackets may be gone, and an owner before this session may have written until it
 * ended. */
uint64_t cm_object_floor(const struct cm_cache *c, const cm_file_id *id)
{
    uint64_t left = c->file_floor[chain_number(c, id)];
    return left > c->opened_ns ? left : c->opened_ns;
}

/* Files lock held. */
void cm_object_leave_floor(struct cm_cache *c, const cm_file_id *id, uint64_t floor_ns)
{
    uint64_t *left = &c->file_floor[chain_number(c, id)];
    if (*left < floor_ns)
        *left = floor_ns;
}
