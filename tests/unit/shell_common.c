/* SPDX-License-Identifier: BSD-2-Clause
 *
 * shell_common.c - a service and a file that test_shell makes up (shell_common.h).
 *
 * Owns: what the service has cached, and the file's content.
 */
#include "shell_common.h"

#include <stdlib.h>

const struct fm_how paging = { .irp_flags = IRP_PAGING_IO };
const struct fm_how sync_paging = { .irp_flags = IRP_PAGING_IO | IRP_SYNCHRONOUS_PAGING_IO };
const struct fm_how transacted = { .transaction = &buf };
const struct fm_how mdl_read = { .minor = 2 };
const struct fm_how at_dispatch = { .dispatch = TRUE };

/* ---- The service ----------------------------------------------------------------------------- */

struct service service;

static struct cached *cached_of(uint64_t hi, uint64_t lo)
{
    for (unsigned i = 0; i < FILES; i++) {
        struct cached *const c = &service.file[i];
        if (!c->id_hi && !c->id_lo) {
            c->id_hi = hi;
            c->id_lo = lo;
        }
        if (c->id_hi == hi && c->id_lo == lo)
            return c;
    }
    abort();
}

static void drop(struct cached *c)
{
    memset(c->has, 0, sizeof(c->has));
    c->from = service.ticket + 1;
}

/* What is missing, of each ticket. */
static uint64_t block_of[1024];

static void answer_read(struct cached *c, const struct cmp_read *m, struct cmp_head *h,
                        uint8_t *body, uint32_t *n)
{
    struct cmp_read_reply r = { .version = 1 };
    uint32_t n_got = 0;
    const uint64_t size = BLOCKS * BLOCK;
    while (n_got < m->len && m->offset + n_got < size && c->has[(m->offset + n_got) / BLOCK]) {
        const uint64_t at = m->offset + n_got;
        uint32_t part = BLOCK - (uint32_t)(at % BLOCK);
        part = part < m->len - n_got ? part : m->len - n_got;
        memcpy(body + sizeof(r) + n_got, &c->data[at / BLOCK][at % BLOCK], part);
        n_got += part;
    }
    if (n_got < m->len && m->offset + n_got >= size) {
        r.flags = CMP_AT_END;
    } else if (n_got < m->len) {
        r.miss_offset = (m->offset + n_got) / BLOCK * BLOCK;
        r.miss_len = BLOCK;
        if (c->brackets == 0) {
            r.ticket = ++service.ticket;
            block_of[r.ticket % 1024] = r.miss_offset / BLOCK;
        }
    }
    h->result = (int32_t)n_got;
    memcpy(body, &r, sizeof(r));
    *n = (uint32_t)sizeof(r) + n_got;
}

#define EMPTY 78u /* the token of a bracket without a length: nothing is forgotten */
#define APPEND 79u

/* The blocks that a range touches. */
static void drop_range(struct cached *c, const struct cmp_range *range)
{
    for (uint64_t b = 0; b < BLOCKS; b++)
        if ((b + 1) * BLOCK > range->offset && range->len > 0 &&
            b * BLOCK <= range->offset + (range->len - 1))
            c->has[b] = false;
}

/* While one is open nothing is filled. So what it touches is cold at its end. An append forgets
 * nothing. */
static void answer_bracket(struct cached *c, uint16_t command, const struct cmp_range *range,
                           const struct cmp_end *end, struct cmp_token_reply *token)
{
    if (command == CMP_WRITE_BEGIN && range->len == 0) {
        token->token = EMPTY;
    } else if (command != CMP_WRITE_END) {
        const bool appends = command == CMP_WRITE_BEGIN && range->offset == CM_APPEND;
        c->brackets++;
        token->token = appends ? APPEND : token->token;
        c->from = service.ticket + 1;
        if (command == CMP_TRUNCATE_BEGIN)
            drop(c);
        else if (!appends)
            drop_range(c, range);
    } else if (end->token != EMPTY) {
        CHECK(c->brackets > 0);
        c->brackets--;
        c->from = service.ticket + 1;
    }
}

static void answer(struct cmp_head *h, const uint8_t *in, uint32_t in_n, uint8_t *body, uint32_t *n)
{
    const struct cmp_hello_reply hello = { .life = 1,
                                           .block = BLOCK,
                                           .data_max = 2 * BLOCK,
                                           .flags = CMP_STEERS | CMP_FORGETS_ALL,
                                           .pool = { 3 } };
    struct cmp_token_reply token = { .token = 77 };
    const struct cmp_open_reply opened = { .size = 1 };
    struct cached *const c = h->file ? &service.file[h->file - 1] : NULL;
    union {
        struct cmp_open open;
        struct cmp_read read;
        struct cmp_fill fill;
        struct cmp_forget forget;
        struct cmp_range range;
        struct cmp_end end;
    } m;
    int data;
    memcpy(&m, in, in_n < sizeof(m) ? in_n : sizeof(m));
    *n = cmp_body(h->command, 1, &data);
    switch (h->command) {
    case CMP_HELLO:
        memcpy(body, &hello, sizeof(hello));
        break;
    case CMP_OPEN:
        h->file = (uint32_t)(cached_of(m.open.id_hi, m.open.id_lo) - service.file) + 1;
        memcpy(body, &opened, sizeof(opened));
        break;
    case CMP_READ:
        answer_read(c, &m.read, h, body, n);
        break;
    case CMP_FILL:
        *n = 0;
        if (m.fill.ticket < c->from)
            break;
        c->has[block_of[m.fill.ticket % 1024]] = true;
        memcpy(c->data[block_of[m.fill.ticket % 1024]], in + sizeof(m.fill), in_n - sizeof(m.fill));
        break;
    case CMP_FORGET:
        drop(cached_of(m.forget.id_hi, m.forget.id_lo));
        break;
    case CMP_FORGET_ALL:
        for (unsigned i = 0; i < FILES; i++)
            drop(&service.file[i]);
        break;
    case CMP_WRITE_BEGIN:
    case CMP_TRUNCATE_BEGIN:
    case CMP_WRITE_END:
        answer_bracket(c, h->command, &m.range, &m.end, &token);
        /* fall through */
    default:
        memcpy(body, &token, *n < sizeof(token) ? *n : sizeof(token));
    }
}

static int take(void *ctx, const void *message, ULONG bytes, void *reply, ULONG room, uint64_t ns)
{
    const uint8_t *const body = (const uint8_t *)message + sizeof(struct cmp_head);
    static uint8_t out[CMP_MESSAGE_MAX];
    const uint32_t in_n = bytes - (uint32_t)sizeof(struct cmp_head);
    struct cmp_head h;
    uint32_t n = 0;
    int result;
    (void)ctx, (void)ns;
    CHECK_EQ(cmp_check(message, bytes, 0), CMP_SOUND);
    memcpy(&h, message, sizeof(h));
    if (service.slow == h.command)
        os_sleep_ms(20);
    if (service.before)
        service.before(h.command);
    os_lock(&service.lock);
    service.asked[service.n % LOG_MAX] = h.command;
    memcpy(service.body[service.n++ % LOG_MAX], body, in_n < 96 ? in_n : 96);
    if (service.refuse == h.command)
        h.result = CM_ENOMEM;
    else if (!service.silent && !service.cut)
        answer(&h, body, in_n, out, &n);
    h.bytes = (uint32_t)sizeof(h) + n;
    result = service.cut ? FM_CUT : service.silent ? FM_LATE : room == 0 ? 0 : (int)h.bytes;
    if (result > 0) {
        CHECK(h.bytes <= room);
        memcpy(reply, &h, sizeof(h));
        memcpy((uint8_t *)reply + sizeof(h), out, n);
    }
    os_unlock(&service.lock);
    if (service.after)
        service.after(h.command);
    return result;
}

void cut(void *ctx)
{
    (void)ctx;
    os_lock(&service.lock);
    service.cut = true;
    os_unlock(&service.lock);
}

static const struct fm_service our_service = { .take = take, .cut = cut };
struct fm_connection *connection;

NTSTATUS connect_with(const char *rules, size_t bytes)
{
    os_lock(&service.lock);
    service.cut = service.silent = false;
    for (unsigned i = 0; i < FILES; i++) { /* of the last connection */
        if (service.file[i].brackets > 0)
            drop(&service.file[i]);
        service.file[i].brackets = 0;
    }
    os_unlock(&service.lock);
    return fm_connect(&our_service, rules, (USHORT)bytes, &connection);
}

void connect_service(void)
{
    CHECK_EQ(connect_with(RULES, sizeof(RULES)), STATUS_SUCCESS);
    fm_settle(); /* it was greeted */
}

void end_service(void)
{
    cut(NULL);
    fm_disconnect(connection);
}

/* How often that command was asked since request `from`. */
unsigned times(unsigned from, uint16_t command)
{
    unsigned n = 0;
    os_lock(&service.lock);
    for (unsigned i = from; i < service.n; i++)
        n += service.asked[i % LOG_MAX] == command;
    os_unlock(&service.lock);
    return n;
}

bool has_content(void)
{
    bool has = false;
    os_lock(&service.lock);
    for (unsigned i = 0; i < FILES; i++)
        for (unsigned k = 0; k < BLOCKS; k++)
            has = has || service.file[i].has[k];
    os_unlock(&service.lock);
    return has;
}

/* The body of the last request of that kind. */
const void *body_of(uint16_t command)
{
    for (unsigned i = service.n; i > 0; i--)
        if (service.asked[(i - 1) % LOG_MAX] == command)
            return service.body[(i - 1) % LOG_MAX];
    harness_fail(__FILE__, __LINE__, "it was not asked");
    return service.body[0];
}

/* ---- A file ---------------------------------------------------------------------------------- */

struct file file;

ULONG read_file(struct fm_file *f, uint64_t off, ULONG n, void *to)
{
    struct file *const x = (struct file *)f;
    n = off >= x->size ? 0 : x->size - off < n ? (ULONG)(x->size - off) : n;
    memcpy(to, x->data + off, n);
    return n;
}

/* Its times never move: what is not told is not seen. */
static void facts(struct fm_file *f, struct fm_facts *to)
{
    struct file *const x = (struct file *)f;
    *to = (struct fm_facts){ .volume = 7, .id = { x->id }, .size = x->size, .usn = 5 };
    to->created = to->written = to->changed = INT64_C(116444736000000000) + 10000000;
    to->usn_version = 3;
    to->deleted = x->deleted;
}

void make_file(struct file *x, const WCHAR *name, uint64_t id)
{
    memset(x, 0, sizeof(*x));
    x->f = (struct fm_file){ .name = name, .device = sizeof(DEVICE) - 1 };
    x->f.read = read_file;
    x->f.facts = facts;
    x->id = id;
    x->size = BLOCKS * BLOCK;
    for (unsigned i = 0; i < BLOCKS; i++)
        memset(x->data + i * BLOCK, 'a' + (int)i, BLOCK);
}

#define NAME_W u"\\Device\\HarddiskVolume3\\data\\file"

uint8_t buf[BLOCKS * BLOCK];
ULONG got;
bool by_driver;

NTSTATUS read_how(PFILE_OBJECT o, int64_t off, ULONG n, const struct fm_how *how)
{
    memset(buf, 0, sizeof(buf));
    return fm_read(o, off, n, buf, &got, &by_driver, how);
}

/* Reads block 1, and waits for the fill. Answered by the driver? */
bool hits(PFILE_OBJECT o)
{
    CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(got, BLOCK);
    CHECK_EQ(buf[0], file.data[BLOCK]);
    fm_settle();
    return by_driver;
}

bool warm(PFILE_OBJECT o)
{
    (void)hits(o);
    return hits(o);
}

/* What the file system does of a write to block 1, and what the service was told until then. */
unsigned begun, ended;
NTSTATUS change(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)o;
    begun = times(0, CMP_WRITE_BEGIN) + times(0, CMP_TRUNCATE_BEGIN);
    ended = times(0, CMP_WRITE_END);
    memset(file.data + BLOCK, ++file.data[BLOCK], BLOCK);
    *information = BLOCK;
    return ctx ? *(const NTSTATUS *)ctx : STATUS_SUCCESS;
}

/* ---- Begin and end of a test ----------------------------------------------------------------- */

void begin_without_service(void)
{
    static bool made;
    if (!made)
        os_mutex_begin(&service.lock);
    made = true;
    os_lock(&service.lock);
    memset(service.file, 0, sizeof(service.file));
    service.n = 0;
    service.ticket = 1;
    service.refuse = service.slow = 0;
    service.silent = service.cut = false;
    service.before = service.after = NULL;
    os_unlock(&service.lock);
    make_file(&file, NAME_W, 9);
    fm_begin();
    CHECK_EQ(fm_load(true), STATUS_SUCCESS);
    connection = NULL;
}

void begin(void)
{
    begin_without_service();
    connect_service();
}

void end(void)
{
    if (connection)
        end_service();
    connection = NULL;
    fm_unload();
    fm_end();
    CHECK_EQ(fm_faults(), 0);
}
