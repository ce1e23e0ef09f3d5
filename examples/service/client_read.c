/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_read.c - reads and fills of a client.
 *
 * Owns: nothing. A long read takes several messages. It ends before the first byte that is missing,
 * and before the first part that is of another version of the file.
 *
 * Who: programs, by cachemax_client.h; client_through.c.
 */
#include "client_file.h"

/* Does a read of [at, until) miss that? It begins in the block of the first byte that is missing,
 * and ends at the latest with the last block. Else nothing may be read or stored there: it would be
 * outside of the reader's memory. */
static bool is_within(const struct cmp_read_reply *r, uint64_t at, uint64_t until)
{
    const uint64_t last = (until - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;

    return r->miss_len > 0 && r->miss_offset == at / CM_BLOCK_SIZE * CM_BLOCK_SIZE &&
           r->miss_len <= last + CM_BLOCK_SIZE - r->miss_offset;
}

/* Reads what one message holds. Returns the bytes; *miss says what is missing, unless all of it is
 * there. *version: of the bytes and the miss; 0: it was not asked for, or is not known. */
static int64_t read_some(struct link *l, uint32_t handle, uint64_t offset, void *buf, uint32_t len,
                         uint32_t flags, cmc_miss *miss, uint64_t *version)
{
    const struct cmp_read m = { .offset = offset, .len = len, .flags = flags };
    const struct request q = {
        .command = CMP_READ, .file = handle, .body = &m, .body_len = sizeof(m)
    };
    struct cmp_read_reply r = { .version = 0 };
    struct answer a = { .body = &r, .body_room = sizeof(r), .data = buf, .data_room = len };
    int64_t n = link_ask(l, &q, &a);

    if (n < 0 || (uint64_t)n != a.data_len)
        n = 0;
    *version = r.version;
    *miss = (cmc_miss){ .offset = offset + (uint64_t)n,
                        .len = len - (uint64_t)n,
                        .flags = CM_MISS_NOFILL };
    if (a.data_len != (uint64_t)n || a.file != handle) {
        *version = 0;
        return 0;
    }
    if (r.flags & CMP_AT_END) {
        miss->flags = CM_MISS_EOF;
        miss->len = 0;
    } else if (r.ticket != 0 && n < len && is_within(&r, offset + (uint64_t)n, offset + len)) {
        *miss = (cmc_miss){ .offset = r.miss_offset,
                            .len = r.miss_len,
                            .handle = handle,
                            .ticket = r.ticket,
                            .connection = link_number(l) };
    }
    return n;
}

/* Reads up to the first byte that is missing. Returns the bytes. All of them are of one version of
 * the file, *first: a part of another one is missing, and so is what it says of the file's end. */
static int64_t read_on(struct link *l, uint32_t handle, uint64_t offset, void *buf, uint32_t len,
                       uint32_t flags, cmc_miss *miss, uint64_t *first)
{
    const uint32_t most = link_data_max(l);
    uint64_t version = 0;
    uint32_t done = 0;

    *first = 0;
    if (len > most)
        flags |= CMP_READ_VERSION;
    while (done < len) {
        const uint32_t left = len - done, some = left < most ? left : most;
        int64_t n =
            read_some(l, handle, offset + done, (uint8_t *)buf + done, some, flags, miss, &version);

        if (done == 0) {
            *first = version;
        } else if (version == 0 || version != *first) {
            *miss = (cmc_miss){ .offset = offset + done, .len = left, .flags = CM_MISS_NOFILL };
            n = 0;
        }
        done += (uint32_t)n;
        if ((uint32_t)n < some)
            break;
    }
    return done;
}

static bool is_range(uint64_t offset, uint32_t len)
{
    return offset <= (uint64_t)INT64_MAX - len;
}

/* *v: NULL: the version is not asked for. */
static int64_t read_file(cmc_file *f, uint64_t offset, void *buf, uint32_t len, cmc_miss *miss,
                         struct client_version *v)
{
    struct link *l;
    uint64_t version = 0;
    uint32_t handle;
    int64_t n = 0;

    *miss = (cmc_miss){ .offset = offset, .len = len, .flags = CM_MISS_NOFILL };
    if (v)
        *v = (struct client_version){ .connection = 0 };
    l = client_hold(f, &handle);
    if (!l)
        return 0;
    n = read_on(l, handle, offset, buf, len, v ? CMP_READ_VERSION : 0, miss, &version);
    if (v)
        *v = (struct client_version){ .connection = link_number(l), .number = version };
    link_drop(l);
    return n;
}

int64_t cmc_read(cmc_file *f, uint64_t offset, void *buf, uint32_t len, cmc_miss *miss)
{
    if (!f || !buf || !miss || !is_range(offset, len))
        return CM_EINVAL;
    return read_file(f, offset, buf, len, miss, NULL);
}

int64_t client_read(cmc_file *f, uint64_t offset, void *buf, uint32_t len, cmc_miss *miss,
                    struct client_version *v)
{
    return read_file(f, offset, buf, len, miss, v);
}

struct client_version client_version_now(cmc_file *f)
{
    struct client_version v = { .connection = 0 };
    uint32_t handle;
    struct link *l = client_hold(f, &handle);
    cmc_miss miss;

    if (!l)
        return v;
    v.connection = link_number(l);
    (void)read_some(l, handle, 0, NULL, 0, CMP_READ_VERSION, &miss, &v.number);
    link_drop(l);
    return v;
}

int64_t cmc_read_whole(cmc_file *f, uint64_t offset, void *buf, uint32_t len)
{
    cmc_miss miss = { .flags = 0 };
    struct link *l;
    uint64_t version;
    uint32_t handle;
    int64_t n = 0;

    if (!f || !buf || !is_range(offset, len))
        return CM_EINVAL;
    l = client_hold_open(f, &handle);
    if (l) {
        n = read_on(l, handle, offset, buf, len, CMP_READ_WHOLE, &miss, &version);
        link_drop(l);
    }
    return n == len || (miss.flags & CM_MISS_EOF) ? n : CM_EABSENT;
}

/* Sends a fill of its miss. Returns 0, or of CMP_WARM what the service says, or LINK_LOST. */
static int64_t send_fill(struct link *l, const struct request *q)
{
    struct answer a = { .data = NULL };

    if (q->command == CMP_WARM)
        return link_steers(l) ? link_ask(l, q, &a) : LINK_LOST;
    link_tell(l, q);
    return 0;
}

int cmc_fill(cmc_file *f, const cmc_miss *miss, const void *data, uint32_t len, uint32_t flags)
{
    const bool warm = flags & CM_FILL_WARM;
    int64_t result = CM_NOT_STORED_STALE; /* of a warming; the miss is of a link that is lost */
    struct cmp_fill m;
    struct request q;
    struct link *l;
    uint32_t handle;

    if (!f || !miss || (!data && len > 0) || flags & ~(uint32_t)(CM_FILL_EOF | CM_FILL_WARM) ||
        len > miss->len || (len % CM_BLOCK_SIZE != 0 && len != miss->len && !(flags & CM_FILL_EOF)))
        return CM_EINVAL;
    if (miss->ticket == 0)
        return warm ? CM_NOT_STORED_STALE : 0;
    l = client_hold(f, &handle);
    if (!l) {
        result = client_why_not(f);
        return !warm ? 0 : result < 0 ? (int)result : CMC_AWAY;
    }
    /* A read that does not begin at a block may miss a block more than a message has room for. */
    if (len > link_data_max(l)) {
        len = link_data_max(l) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
        flags &= ~(uint32_t)CM_FILL_EOF; /* this is not the end */
    }
    if (link_number(l) == miss->connection && handle == miss->handle) {
        m = (struct cmp_fill){ .ticket = miss->ticket,
                               .flags = flags & CM_FILL_EOF ? CMP_FILL_EOF : 0 };
        q = (struct request){ warm ? CMP_WARM : CMP_FILL, handle, &m, data, sizeof(m), len };
        result = send_fill(l, &q);
    }
    link_drop(l);
    return !warm ? 0 : result == LINK_LOST ? CMC_AWAY : (int)result;
}
