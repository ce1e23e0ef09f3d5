/* SPDX-License-Identifier: BSD-2-Clause
 *
 * served.c - the files that clients have open, and the writes that the service does not see.
 *
 * Owns: a record for each file that a session has open; the look at the outside writes that each
 * answer needs (docs/decisions/service.md).
 *
 * Who: session.c, run.c. From any thread.
 */
#include "served.h"

#include <stdlib.h>

#define TICKET_NS UINT64_C(10000000000)     /* the origin may be a slow disk that many read */
#define TICKET_LEAST_NS UINT64_C(100000000) /* one that is fast may wait for its disk, too */

/* ---- Files ----------------------------------------------------------------------------------- */

/* The service's lock is held. */
static struct served **find(struct service *s, const cm_file_id *id)
{
    struct served **p = &s->file[outside_hash(id) / 2 % SERVED_CHAINS];

    while (*p && ((*p)->id.hi != id->hi || (*p)->id.lo != id->lo))
        p = &(*p)->next;
    return p;
}

/* *full: too many files are open. */
static struct served *use(struct service *s, const cm_file_id *id, bool *full)
{
    struct served **p, *f;

    os_lock(&s->lock);
    p = find(s, id);
    *full = s->handles >= s->files_max;
    f = *full ? NULL : *p;
    if (!f && !*full && (f = calloc(1, sizeof(*f))) != NULL) {
        f->id = *id;
        f->hash = outside_hash(id);
        os_mutex_begin(&f->lock);
        /* A claim that is there now may be of an older life. One of this life costs some answers.
         */
        atomic_store(&f->watched, outside_is_claimed(s->outside, f->hash));
        *p = f;
    }
    if (f) {
        f->refs++;
        s->handles++;
    }
    os_unlock(&s->lock);
    return f;
}

static void leave(struct service *s, struct served *f)
{
    struct served **p;

    os_lock(&s->lock);
    s->handles--;
    if (--f->refs == 0) {
        p = find(s, &f->id);
        *p = f->next;
        os_mutex_end(&f->lock);
        free(f);
    }
    os_unlock(&s->lock);
}

/* Forgets the file if it was written outside since the service knows. The file's lock is held: else
 * an older number could replace a newer one. */
static void catch_up(struct service *s, struct served *f)
{
    const uint64_t begun = outside_begun(s->outside, f->hash);

    if (begun == atomic_load(&f->number))
        return;
    (void)cm_invalidate(f->cf, 0, CM_ALL);
    atomic_store(&f->number, begun);
}

void service_catch_up(struct service *s, struct served *f)
{
    os_lock(&f->lock);
    catch_up(s, f);
    os_unlock(&f->lock);
}

/* The file's lock is held, else what service_watch() has set since the look would be lost. */
static void look_outside(struct service *s, struct served *f)
{
    if (atomic_load(&f->watched) && !outside_is_claimed(s->outside, f->hash))
        atomic_store(&f->watched, false);
    catch_up(s, f);
}

bool service_may_answer(struct service *s, struct served *f, uint64_t number, bool may_wait)
{
    if (outside_quiet(s->outside, f->hash, number) && !atomic_load(&f->watched))
        return true;
    if (may_wait || (s->hello_flags & CMP_RING_WRITES)) {
        os_lock(&f->lock);
        look_outside(s, f);
        os_unlock(&f->lock);
    } else {
        atomic_store(&f->behind, true);
        atomic_store(&s->behind, true);
    }
    return false;
}

/* The first file of a chain that is behind; it stays until leave(). NULL: none. */
static struct served *take_behind(struct service *s, unsigned chain)
{
    struct served *f;

    os_lock(&s->lock);
    f = s->file[chain];
    while (f && !atomic_exchange(&f->behind, false))
        f = f->next;
    if (f) {
        f->refs++;
        s->handles++;
    }
    os_unlock(&s->lock);
    return f;
}

void service_catch_up_all(struct service *s)
{
    struct served *f;

    if (!atomic_exchange(&s->behind, false))
        return;
    for (unsigned i = 0; i < SERVED_CHAINS; i++)
        while ((f = take_behind(s, i)) != NULL) {
            os_lock(&f->lock);
            if (f->opens > 0)
                look_outside(s, f);
            os_unlock(&f->lock);
            leave(s, f);
        }
}

void service_watch(struct served *f)
{
    os_lock(&f->lock);
    atomic_store(&f->watched, true);
    os_unlock(&f->lock);
}

/* The file's lock is held, and clients have it open. If they have written it and have not proved
 * yet which version that is, the next validator would be taken for that of their writes. That may
 * be wrong if one of them claims to be a sole writer and is not any more: a mount that has lost its
 * name lives on for a moment. So a newcomer finds nothing cached that its own validator does not
 * prove. */
static void forget_unproved(struct served *f)
{
    cm_file_info info = CM_FILE_INFO_INIT;

    if (cm_file_get_info(f->cf, &info) != 0 || info.want_validator || info.racy)
        (void)cm_invalidate(f->cf, 0, CM_ALL);
}

int service_judged(cm_file *cf, int e)
{
    if (e == CM_IGNORED)
        (void)cm_invalidate(cf, 0, CM_ALL);
    return e;
}

int service_open(struct service *s, const struct cmp_open *m, const cm_validator *v,
                 struct served **served, cm_file **cf)
{
    const cm_file_id id = { .hi = m->id_hi, .lo = m->id_lo };
    struct served *f;
    bool full;
    int e;

    if (m->flags & ~s->flags)
        return CM_EINVAL;
    *served = f = use(s, &id, &full);
    if (full)
        atomic_fetch_add(&s->no_room, 1);
    if (!f)
        return full ? CMP_FULL : CM_ENOMEM;
    os_lock(&f->lock);
    if (f->opens > 0) {
        catch_up(s, f);
        forget_unproved(f);
    }
    e = cm_file_open(s->cache, &id, v, m->flags, cf);
    (void)service_judged(*cf, e);
    /* The first one that opens the file brings its number: what is cached is what its validator
     * shows. Later ones leave the number as it is. Their validator may prove nothing (a bracket is
     * open), and then what is cached is older than their number. */
    if (e >= 0 && f->opens++ == 0) {
        f->cf = *cf;
        atomic_store(&f->number, m->outside);
    }
    os_unlock(&f->lock);
    if (e < 0)
        leave(s, f);
    return e;
}

bool service_sync_failed(void *arg, const cm_file_id *id)
{
    const struct service *s = arg;
    cm_validator v = CM_VALIDATOR_INIT; /* it proves nothing */
    cm_sync sync;
    cm_file *cf;
    int e;

    if ((id->hi | id->lo) == 0)
        return true; /* no file */
    v.taken_at = cm_now();
    if (cm_file_open(s->cache, id, &v, 0, &cf) < 0)
        return false;
    e = cm_sync_begin(cf, &sync);
    if (e == 0)
        e = cm_sync_end(cf, &sync, false, NULL);
    (void)cm_file_close(cf);
    return e >= 0;
}

void service_close(struct service *s, struct served *f, cm_file *cf)
{
    os_lock(&f->lock);
    (void)cm_file_close(cf);
    f->opens--;
    os_unlock(&f->lock);
    leave(s, f);
}

uint32_t service_files(struct service *s)
{
    uint32_t n;

    os_lock(&s->lock);
    n = s->handles;
    os_unlock(&s->lock);
    return n;
}

void service_begin(struct service *s, cm_cache *cache, struct outside *outside, uint64_t life)
{
    cm_info info = CM_INFO_INIT;

    *s =
        (struct service){ .cache = cache, .outside = outside, .life = life, .emptied = UINT64_MAX };
    s->has_names = outside_is_space(outside, os_process_space());
    s->data_max = CMP_DATA_MAX;
    s->open_max = s->files_max = 65536;
    s->ticket_ns = TICKET_NS;
    s->ticket_least_ns = TICKET_LEAST_NS;
    s->flags = CM_SOLE_WRITER | CM_ORIGIN_VOLATILE;
    os_mutex_begin(&s->lock);
    /* A bracket waits for a sync only in a pool that takes checkpoints. */
    if (cm_get_info(cache, &info) == 0 &&
        (info.durability == CM_DURABILITY_DAX || info.durability == CM_DURABILITY_VOLATILE))
        s->hello_flags = CMP_RING_WRITES;
}

void service_end(struct service *s)
{
    os_mutex_end(&s->lock);
}
