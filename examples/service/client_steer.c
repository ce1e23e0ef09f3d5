/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_steer.c - what a program asks about files and the pool, and keeping files there.
 *
 * Owns: nothing. These calls have no meaning without the service, so they say when it is away. None
 * waits longer than the time-out of the client.
 *
 * Who: programs, by cachemax_client.h; client_warm.c.
 */
#include "client_file.h"

/* Asks by a link of the client, which is released; NULL: there is none. The result, or why there is
 * none. */
static int ask_by(cmc_client *k, struct link *l, const struct request *q, struct answer *a)
{
    int64_t result = LINK_LOST;

    if (!l)
        return client_away(k);
    if (link_steers(l)) {
        link_settle(l); /* what was filled before counts */
        result = link_ask(l, q, a);
    }
    link_drop(l);
    return result == LINK_LOST ? CMC_AWAY : (int)result;
}

/* Asks for a file. */
static int ask_of(cmc_file *f, struct request *q, struct answer *a)
{
    struct link *l = client_hold(f, &q->file);
    const int why = l ? 0 : client_why_not(f);

    return why < 0 ? why : ask_by(client_of(f), l, q, a);
}

int cmc_file_cached(cmc_file *f, uint64_t offset, uint64_t len, uint64_t *bytes, int *kept)
{
    const struct cmp_count m = { .offset = offset, .len = len };
    struct request q = { .command = CMP_COUNT, .body = &m, .body_len = sizeof(m) };
    struct cmp_count_reply r = { .cached = 0 };
    struct answer a = { .body = &r, .body_room = sizeof(r) };
    int e;

    if (!f || !bytes || len > CMP_COUNT_MAX || offset > (uint64_t)INT64_MAX - len)
        return CM_EINVAL;
    e = ask_of(f, &q, &a);
    *bytes = r.cached < len ? r.cached : len;
    if (kept)
        *kept = r.kept == 1;
    return e;
}

int cmc_file_set_keep(cmc_file *f, int keep)
{
    const struct cmp_keep m = { .keep = keep != 0 };
    struct request q = { .command = CMP_KEEP, .body = &m, .body_len = sizeof(m) };
    struct answer a = { .body = NULL };

    return f ? ask_of(f, &q, &a) : CM_EINVAL;
}

int cmc_file_refused(cmc_file *f)
{
    return f ? client_why_not(f) : CM_EINVAL;
}

int cmc_files(cmc_client *k, uint32_t *open, uint32_t *most)
{
    const struct request q = { .command = CMP_FILES };
    struct cmp_files_reply r = { .open = 0 };
    struct answer a = { .body = &r, .body_room = sizeof(r) };
    struct link *l = k && open && most ? client_link(k) : NULL;
    int64_t e = LINK_LOST;

    if (!k || !open || !most)
        return CM_EINVAL;
    if (l)
        e = link_tells_files(l) ? link_ask(l, &q, &a) : CM_ENOTSUP;
    if (l)
        link_drop(l);
    *open = r.open;
    *most = r.max;
    return e == LINK_LOST ? CMC_AWAY : (int)e;
}

int cmc_look_up(cmc_client *k, const cm_file_id *id)
{
    struct cmp_look_up m = { .id_hi = 0 };
    const struct request q = { .command = CMP_LOOK_UP, .body = &m, .body_len = sizeof(m) };
    struct answer a = { .body = NULL };

    if (!k || !id || (id->hi | id->lo) == 0)
        return CM_EINVAL;
    m = (struct cmp_look_up){ .id_hi = id->hi, .id_lo = id->lo };
    return ask_by(k, client_link(k), &q, &a);
}

int cmc_pool(cmc_client *k, cm_info *info)
{
    const struct request q = { .command = CMP_POOL };
    struct cmp_pool_reply r = { .size = 0 };
    struct answer a = { .body = &r, .body_room = sizeof(r) };
    cm_info i; /* what else the program has there stays */
    int e;

    if (!k || !info || !client_can_give(info))
        return CM_EINVAL;
    e = ask_by(k, client_link(k), &q, &a);
    if (e < 0)
        return e;
    (void)client_take(&i, sizeof(i), info);
    i.size = r.size;
    i.slots = r.slots;
    i.used_slots = r.used;
    i.mode = r.mode;
    i.kept_files = r.kept_files;
    i.kept_bytes = r.kept_bytes;
    i.kept_max = r.kept_max;
    memcpy(i.uuid, r.uuid, sizeof(i.uuid));
    client_give(info, &i, sizeof(i));
    return 0;
}
