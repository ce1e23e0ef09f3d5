/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell.c - the shell of the driver for Windows: each of its callbacks, on an emulated Filter
 * Manager (tests/filter/fltmgr.h), with a service that the test makes up.
 *
 * The service caches what it is sent, and forgets what it is told to. It believes any validator:
 * so whatever the driver does not tell it shows as old bytes.
 */
#include "harness.h"

#include <stdlib.h>

#include "../filter/fltmgr.h"
#include "cachemax.h"
#include "cachemax_protocol.h"
#include "driver_rules.h"
#include "filter_shell.h"
#include "os.h"

#define BLOCK 4096u
#define BLOCKS 8u
#define FILES 4u
#define LOG_MAX 512u

/* ---- The service ----------------------------------------------------------------------------- */

struct cached {
    uint64_t id_hi, id_lo;
    bool has[BLOCKS];
    uint8_t data[BLOCKS][BLOCK];
    uint64_t from; /* tickets below are void */
};
static struct {
    os_mutex lock; /* all that follows */
    struct cached file[FILES];
    uint16_t asked[LOG_MAX];
    uint8_t body[LOG_MAX][96]; /* begins of bodies */
    unsigned n;
    uint64_t ticket;
    bool silent;
    uint16_t refuse;
    bool cut;
} service;

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

static void answer_read(struct cached *c, const struct cmp_read *m, struct cmp_head *h,
                        uint8_t *body, uint32_t *n)
{
    struct cmp_read_reply r = { .version = 1 };
    uint32_t got = 0;
    const uint64_t size = BLOCKS * BLOCK;
    while (got < m->len && m->offset + got < size && c->has[(m->offset + got) / BLOCK]) {
        const uint64_t at = m->offset + got;
        uint32_t part = BLOCK - (uint32_t)(at % BLOCK);
        part = part < m->len - got ? part : m->len - got;
        memcpy(body + sizeof(r) + got, &c->data[at / BLOCK][at % BLOCK], part);
        got += part;
    }
    if (got < m->len && m->offset + got >= size) {
        r.flags = CMP_AT_END;
    } else if (got < m->len) {
        r.ticket = ++service.ticket;
        r.miss_offset = (m->offset + got) / BLOCK * BLOCK;
        r.miss_len = BLOCK;
    }
    h->result = (int32_t)got;
    memcpy(body, &r, sizeof(r));
    *n = (uint32_t)sizeof(r) + got;
}

/* A ticket is for the block of its number's remainder: the test reads one block at a time. */
static uint64_t block_of[1024];

static void answer(struct cmp_head *h, const uint8_t *in, uint32_t in_n, uint8_t *body, uint32_t *n)
{
    const struct cmp_hello_reply hello = { .life = 1,
                                           .block = BLOCK,
                                           .data_max = 2 * BLOCK,
                                           .flags = CMP_STEERS | CMP_FORGETS_ALL,
                                           .pool = { 3 } };
    const struct cmp_token_reply token = { .token = 77 };
    const struct cmp_open_reply opened = { .size = 1 };
    struct cached *const c = h->file ? &service.file[h->file - 1] : NULL;
    union {
        struct cmp_open open;
        struct cmp_read read;
        struct cmp_fill fill;
        struct cmp_forget forget;
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
        block_of[service.ticket % 1024] = (m.read.offset + (uint32_t)h->result) / BLOCK;
        break;
    case CMP_FILL:
        *n = 0;
        if (m.fill.ticket < c->from)
            break;
        c->has[block_of[m.fill.ticket % 1024]] = true;
        memcpy(c->data[block_of[m.fill.ticket % 1024]], in + sizeof(m.fill), BLOCK);
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
        drop(c);
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
    return result;
}

static void cut(void *ctx)
{
    (void)ctx;
    os_lock(&service.lock);
    service.cut = true;
    os_unlock(&service.lock);
}

static const struct fm_service our_service = { .take = take, .cut = cut };
static struct fm_connection *connection;
#define DEVICE "\\Device\\HarddiskVolume3"
#define RULES "folder=" DEVICE "\\data\0exclude=*.tmp\0pool=\\Device\\HarddiskVolume5"

static NTSTATUS connect_with(const char *rules, size_t bytes)
{
    os_lock(&service.lock);
    service.cut = service.silent = false;
    os_unlock(&service.lock);
    return fm_connect(&our_service, rules, (USHORT)bytes, &connection);
}

static void connect_service(void)
{
    CHECK_EQ(connect_with(RULES, sizeof(RULES)), STATUS_SUCCESS);
    fm_settle(); /* it was greeted */
}

static void end_service(void)
{
    cut(NULL);
    fm_disconnect(connection);
}

/* How often that command was asked since request `from`. */
static unsigned times(unsigned from, uint16_t command)
{
    unsigned n = 0;
    os_lock(&service.lock);
    for (unsigned i = from; i < service.n; i++)
        n += service.asked[i % LOG_MAX] == command;
    os_unlock(&service.lock);
    return n;
}

/* The body of the last request of that kind. */
static const void *body_of(uint16_t command)
{
    for (unsigned i = service.n; i > 0; i--)
        if (service.asked[(i - 1) % LOG_MAX] == command)
            return service.body[(i - 1) % LOG_MAX];
    harness_fail(__FILE__, __LINE__, "it was not asked");
    return service.body[0];
}

/* ---- A file ---------------------------------------------------------------------------------- */

struct file {
    struct fm_file f;
    uint8_t data[BLOCKS * BLOCK];
    uint64_t id, size;
    bool deleted;
};
static struct file file;

static ULONG read_file(struct fm_file *f, uint64_t off, ULONG n, void *to)
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

static void make_file(struct file *x, const WCHAR *name, uint64_t id)
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

static uint8_t buf[BLOCKS * BLOCK];
static ULONG got;
static bool by_driver;

static NTSTATUS read_how(PFILE_OBJECT o, int64_t off, ULONG n, const struct fm_how *how)
{
    memset(buf, 0, sizeof(buf));
    return fm_read(o, off, n, buf, &got, &by_driver, how);
}

/* Reads block 1, and waits for the fill. Answered by the driver? */
static bool hits(PFILE_OBJECT o)
{
    CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(got, BLOCK);
    CHECK_EQ(buf[0], file.data[BLOCK]);
    fm_settle();
    return by_driver;
}

static bool warm(PFILE_OBJECT o)
{
    (void)hits(o);
    return hits(o);
}

/* What the file system does of a write to block 1, and what the service was told until then. */
static unsigned begun, ended;
static NTSTATUS change(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)o;
    begun = times(0, CMP_WRITE_BEGIN) + times(0, CMP_TRUNCATE_BEGIN);
    ended = times(0, CMP_WRITE_END);
    memset(file.data + BLOCK, ++file.data[BLOCK], BLOCK);
    *information = BLOCK;
    return ctx ? *(const NTSTATUS *)ctx : STATUS_SUCCESS;
}

/* ---- Begin and end of a test ----------------------------------------------------------------- */

static void begin_without_service(void)
{
    static bool made;
    if (!made)
        os_mutex_begin(&service.lock);
    made = true;
    os_lock(&service.lock);
    memset(service.file, 0, sizeof(service.file));
    service.n = 0;
    service.ticket = 1;
    service.refuse = 0;
    service.silent = service.cut = false;
    os_unlock(&service.lock);
    make_file(&file, NAME_W, 9);
    fm_begin();
    CHECK_EQ(fm_load(true), STATUS_SUCCESS);
    connection = NULL;
}

static void begin(void)
{
    begin_without_service();
    connect_service();
}

static void end(void)
{
    if (connection)
        end_service();
    connection = NULL;
    fm_unload();
    fm_end();
    CHECK_EQ(fm_faults(), 0);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void test_loads(void)
{
    fm_begin();
    unsigned failed = 0;
    for (unsigned skip = 0; skip < 20; skip++) {
        CASE("allocation %u fails", skip);
        fm_starve(skip, 1);
        if (NT_SUCCESS(fm_load(true))) {
            fm_starve(0, 0);
            fm_unload();
        } else {
            failed++;
        }
        fm_end();
        CHECK_EQ(fm_faults(), 0);
    }
    CHECK(failed > 3);
    begin_without_service();
    CHECK_EQ(fm_would_attach(FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_NTFS), STATUS_SUCCESS);
    CHECK_EQ(fm_would_attach(FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_REFS), STATUS_SUCCESS);
    CHECK_EQ(fm_would_attach(FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_FAT),
             STATUS_FLT_DO_NOT_ATTACH);
    CHECK_EQ(fm_would_attach(0x14, FLT_FSTYPE_NTFS), STATUS_FLT_DO_NOT_ATTACH); /* a network */
    end();
}

/* A volume that was in use before: all is forgotten. */
static void test_late(void)
{
    begin_without_service();
    fm_unload();
    CHECK_EQ(fm_load(false), STATUS_SUCCESS);
    connect_service();
    CHECK_EQ(times(0, CMP_FORGET_ALL), 1);
    end();
    begin();
    CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
    end();
}

static void test_connects(void)
{
    static const struct {
        const char *rules;
        size_t bytes;
    } bad[] = {
        { NULL, 0 },
        { "folder=x", 8 }, /* does not end */
        { "folder=\\Device\\H\0", 18 },
        { "what=\\Device\\H", 15 },
        { "pool=", 6 },
    };
    begin_without_service();
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CASE("i %u", i);
        CHECK_EQ(connect_with(bad[i].rules, bad[i].bytes), STATUS_INVALID_PARAMETER);
    }
    connect_service();
    CHECK_EQ(times(0, CMP_HELLO), 1);
    struct fm_connection *const one = connection;
    CHECK_EQ(connect_with(RULES, sizeof(RULES)), STATUS_CONNECTION_COUNT_LIMIT);
    connection = one;
    end_service();
    connect_service();
    CHECK_EQ(times(0, CMP_HELLO), 2);
    end();
}

static bool name_of(const char *path, char to[DRIVER_NAME_MAX])
{
    if (path[0] == 'Q')
        return false;
    snprintf(to, DRIVER_NAME_MAX, "%s%s", path[0] == 'P' ? "\\Device\\HarddiskVolume5" : DEVICE,
             path + 2);
    return true;
}

/* The driver takes the rules that the service writes. */
static void test_rules_of_the_service(void)
{
    static char text[DRIVER_RULES_MAX];
    struct folders f = { .folder = { "C:\\other", "Q:\\data", "C:\\data" }, .count = 3 };
    const char *left_out;
    char why[256];
    f.exclude[f.excludes++] = "*.tmp";
    const uint32_t n = driver_rules(&f, "P:\\a\\pool", name_of, text, &left_out, why);
    CHECK(n > 0 && left_out == f.folder[1]);
    begin_without_service();
    CHECK_EQ(connect_with(text, n), STATUS_SUCCESS);
    fm_settle();
    PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    fm_close(o);
    fm_settle();
    file.f.name = u"\\Device\\HarddiskVolume5\\data\\file";
    o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(!warm(o));
    fm_close(o);
    end();
    CHECK_EQ(driver_rules(&f, "Q:\\pool", name_of, text, &left_out, why), 0);
    CHECK(strstr(why, "Q:\\pool: the system does not say") != NULL);
    static char long_name[DRIVER_NAME_MAX];
    memset(long_name, 'x', DRIVER_NAME_MAX - 40);
    for (f.count = 0; f.count < 9; f.count++)
        f.folder[f.count] = long_name;
    CHECK_EQ(driver_rules(&f, "P:\\pool", name_of, text, &left_out, why), 0);
}

/* A service that cannot be greeted for want of memory is refused, and may come again. */
static void test_connects_without_memory(void)
{
    begin_without_service();
    unsigned refused = 0;
    for (unsigned skip = 0; skip < 4; skip++) {
        CASE("allocation %u fails", skip);
        fm_starve(skip, 1);
        if (NT_SUCCESS(connect_with(RULES, sizeof(RULES)))) {
            fm_settle();
            end_service();
        } else {
            refused++;
        }
    }
    CHECK(refused > 0);
    fm_starve(0, 0);
    connect_service();
    end();
}

/* ---- Reads ----------------------------------------------------------------------------------- */

static void test_reads(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(!hits(o));
    CHECK_EQ(times(0, CMP_FILL), 1);
    CHECK(hits(o));
    CHECK_EQ(o->CurrentByteOffset.QuadPart, 2 * BLOCK);
    CHECK_EQ(times(0, CMP_OPEN), 1);
    CHECK_EQ(read_how(o, BLOCK + 5, 100, FM_PLAIN), STATUS_SUCCESS);
    CHECK(by_driver && got == 100 && buf[99] == 'b' && buf[100] == 0);
    CHECK_EQ(o->CurrentByteOffset.QuadPart, BLOCK + 105);
    CHECK_EQ(read_how(o, BLOCK, BLOCK, &(const struct fm_how){ .mdl = TRUE }), STATUS_SUCCESS);
    CHECK(by_driver && buf[0] == 'b');
    CHECK_EQ(read_how(o, BLOCK, BLOCK, &(const struct fm_how){ .fast = TRUE }), STATUS_SUCCESS);
    CHECK(by_driver && buf[0] == 'b');
    CHECK_EQ(read_how(o, 3 * BLOCK, BLOCK, &(const struct fm_how){ .dispatch = TRUE }),
             STATUS_SUCCESS);
    fm_settle();
    CHECK_EQ(read_how(o, 3 * BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK(by_driver && buf[0] == 'd');
    CHECK_EQ(read_how(o, BLOCKS * BLOCK, BLOCK, FM_PLAIN), STATUS_END_OF_FILE);
    CHECK(by_driver && got == 0);
    fm_close(o);
    fm_settle();
    CHECK_EQ(times(0, CMP_CLOSE), 1); /* nobody uses it */
    end();
}

static const struct fm_how paging = { .irp_flags = IRP_PAGING_IO };
static const struct fm_how sync_paging = { .irp_flags = IRP_SYNCHRONOUS_PAGING_IO };
static const struct fm_how transacted = { .transaction = &buf };
static const struct fm_how mdl_read = { .minor = 2 };

/* None of these is asked for. */
static void test_reads_that_pass(void)
{
    const struct {
        struct fm_thread t;
        const struct fm_how *how;
        int64_t off;
        ULONG n;
    } c[] = {
        { { 0 }, &paging, BLOCK, BLOCK },
        { { 0 }, &sync_paging, BLOCK, BLOCK },
        { { 0 }, &transacted, BLOCK, BLOCK },
        { { 0 }, &mdl_read, BLOCK, BLOCK },
        { { .process = FM_SERVICE }, FM_PLAIN, BLOCK, BLOCK },
        { { .irql = APC_LEVEL }, FM_PLAIN, BLOCK, BLOCK },
        { { .apcs_disabled = TRUE }, FM_PLAIN, BLOCK, BLOCK },
        { { .top = (PIRP)1 }, FM_PLAIN, BLOCK, BLOCK },
        { { 0 }, FM_PLAIN, -2, BLOCK },
        { { 0 }, FM_PLAIN, BLOCK, 0 },
    };
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        CASE("i %u", i);
        const unsigned from = service.n;
        o->CurrentByteOffset.QuadPart = BLOCK;
        *fm_me() = c[i].t;
        CHECK_EQ(read_how(o, c[i].off, c[i].n, c[i].how), STATUS_SUCCESS);
        *fm_me() = (struct fm_thread){ 0 };
        CHECK(!by_driver && got == c[i].n);
        fm_settle();
        CHECK_EQ(service.n, from);
    }
    CHECK(hits(o));
    fm_close(o);
    end();
}

/* A handle without the system's cache: whole blocks. */
static void test_non_cached(void)
{
    begin();
    PFILE_OBJECT const o =
        fm_open_how(&file.f, false, FILE_OPENED, FO_NO_INTERMEDIATE_BUFFERING, FM_PLAIN);
    CHECK(warm(o));
    CHECK_EQ(read_how(o, BLOCK + 512, 512, FM_PLAIN), STATUS_SUCCESS);
    CHECK(!by_driver);
    fm_close(o);
    end();
}

/* A file whose last block is not whole. */
static void test_tail(void)
{
    begin();
    file.size = BLOCK + 100;
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(got, 100);
    fm_settle();
    struct cmp_fill m;
    memcpy(&m, body_of(CMP_FILL), sizeof(m));
    CHECK_EQ(m.flags, CMP_FILL_EOF);
    fm_close(o);
    end();
}

/* The handle is closed before the fill could read: nothing is sent. */
static void test_closed_at_once(void)
{
    begin();
    for (unsigned i = 0; i < 50; i++) {
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(read_how(o, (i % BLOCKS) * BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(buf[0], file.data[(i % BLOCKS) * BLOCK]);
        fm_close(o);
    }
    end();
}

/* ---- Streams --------------------------------------------------------------------------------- */

static void test_streams(void)
{
#define V u"\\Device\\HarddiskVolume3"
    static const struct {
        const WCHAR *name;
        ULONG attributes;
        bool paging, cached;
    } c[] = {
        { V u"\\data\\x", 0, false, true },
        { V u"\\DATA\\sub\\x", 0, false, true },
        { V u"\\data\\x", FILE_ATTRIBUTE_DIRECTORY, false, false },
        { V u"\\data\\x", FILE_ATTRIBUTE_ENCRYPTED, false, false },
        { V u"\\data\\x", FILE_ATTRIBUTE_OFFLINE, false, false },
        { V u"\\data\\x", FILE_ATTRIBUTE_RECALL_ON_OPEN, false, false },
        { V u"\\data\\x", FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS, false, false },
        { V u"\\data\\x", 0, true, false },
        { V u"\\data\\x:alternate", 0, false, false },
        { V u"\\data\\x.tmp", 0, false, false },
        { V u"\\other\\x", 0, false, false },
        { V u"\\data\\ntuser.dat", 0, false, false },
        { u"\\Device\\HarddiskVolume5\\data\\x", 0, false, false },
        { V u"\\data\\\xd800", 0, false, false }, /* no Unicode */
        { V u"\\data\\\u00e4", 0, false, true },
    };
    for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        CASE("i %u", i);
        begin();
        file.f.name = c[i].name;
        file.f.attributes = c[i].attributes;
        file.f.paging = c[i].paging;
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
        CHECK_EQ(warm(o), c[i].cached);
        const unsigned from = service.n;
        (void)fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN);
        CHECK_EQ(times(from, CMP_WRITE_BEGIN), c[i].cached);
        CHECK(!hits(o));
        fm_close(o);
        end();
    }
}

/* A file that the file system has no contexts for is not cached, and works. */
static void test_no_contexts(void)
{
    begin();
    file.f.no_contexts = TRUE;
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(!warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(fm_section(o, SyncTypeCreateSection, PAGE_READWRITE), STATUS_SUCCESS);
    fm_close(o);
    end();
}

/* Another service brings other rules. */
static void test_other_rules(void)
{
    static const char other[] = "folder=" DEVICE "\\elsewhere\0pool=\\Device\\HarddiskVolume5";
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    end_service();
    CHECK_EQ(connect_with(other, sizeof(other)), STATUS_SUCCESS);
    fm_settle();
    CHECK(!warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    end_service();
    connect_service();
    CHECK(!hits(o)); /* it is not what was there before the write */
    CHECK(warm(o));
    fm_close(o);
    end();
}

/* ---- Changes --------------------------------------------------------------------------------- */

static const struct fm_how at_dispatch = { .dispatch = TRUE };
static const struct fm_how stuck = { .dispatch = TRUE, .stuck = TRUE };
static const struct fm_how fast = { .fast = TRUE };

/* The bracket begins before the write and ends after it, however the write ends. */
static void test_writes(void)
{
    static const struct fm_how *const how[] = { FM_PLAIN, &at_dispatch, &stuck, &fast };
    static const NTSTATUS fails = STATUS_UNSUCCESSFUL;
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
        CHECK(warm(o));
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, how[i]), STATUS_SUCCESS);
        CHECK(begun == 1 && ended == 0);
        if (how[i] != &stuck)
            CHECK_EQ(times(0, CMP_WRITE_END), 1); /* before the caller hears of it */
        fm_settle();
        CHECK_EQ(times(0, CMP_WRITE_END), 1);
        struct cmp_range range;
        memcpy(&range, body_of(CMP_WRITE_BEGIN), sizeof(range));
        CHECK(range.offset == BLOCK && range.len == BLOCK);
        CHECK(!hits(o));
        CHECK(hits(o));
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, (void *)(uintptr_t)&fails, how[i]), fails);
        fm_settle();
        CHECK_EQ(times(0, CMP_WRITE_END), 2);
        CHECK_EQ(fm_write(o, -1, BLOCK, change, NULL, how[i]), STATUS_SUCCESS); /* at the end */
        fm_settle();
        memcpy(&range, body_of(CMP_WRITE_BEGIN), sizeof(range));
        CHECK(range.offset == 0 && range.len == UINT64_MAX);
        fm_close(o);
        end();
    }
}

/* What may not wait is outside: the service is told by another thread, and the file passes. */
static void test_writes_that_may_not_wait(void)
{
    static const struct fm_thread t[] = { { .irql = APC_LEVEL },
                                          { .apcs_disabled = TRUE },
                                          { .top = (PIRP)1 } };
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        CHECK(warm(o));
        const unsigned from = service.n;
        *fm_me() = t[i];
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
        *fm_me() = (struct fm_thread){ 0 };
        CHECK(!hits(o) || times(from, CMP_FORGET) > 0);
        CHECK_EQ(times(from, CMP_WRITE_BEGIN), 0);
    }
    const unsigned from = service.n;
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, NULL, NULL, &paging), STATUS_SUCCESS);
    CHECK_EQ(service.n, from);
    fm_close(o);
    end();
}

static void test_sizes(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_set(o, FileEndOfFileInformation, 4711, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(begun == 1 && ended == 0);
    struct cmp_truncate m;
    memcpy(&m, body_of(CMP_TRUNCATE_BEGIN), sizeof(m));
    CHECK_EQ(m.size, 4711);
    CHECK(!hits(o));
    CHECK_EQ(fm_set(o, FileAllocationInformation, 1, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(fm_set(o, FileValidDataLengthInformation, 1, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(times(0, CMP_WRITE_BEGIN), 2);
    CHECK_EQ(times(0, CMP_WRITE_END), 3);
    CHECK_EQ(fm_set(o, FileBasicInformation, 1, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(fm_set(o, FileRenameInformation, 1, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(times(0, CMP_WRITE_BEGIN), 2);
    fm_close(o);
    end();
}

/* The lazy writer tells how far the file's data are on the disk. Nothing changes by that. */
static void test_advances(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    fm_me()->top = (PIRP)1;
    CHECK_EQ(fm_set(o, FileEndOfFileInformation, 5 * BLOCK, NULL, NULL,
                    &(const struct fm_how){ .advance = TRUE }),
             STATUS_SUCCESS);
    fm_me()->top = NULL;
    CHECK(hits(o));
    fm_close(o);
    end();
}

#define SET_ZERO_DATA CTL_CODE(9, 50, 0, 2)
#define SET_ENCRYPTION CTL_CODE(9, 53, 3, 0)
#define GET_COMPRESSION CTL_CODE(9, 15, 0, 0)

static void test_controls(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_control(o, SET_ZERO_DATA, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(begun == 1 && ended == 0);
    CHECK_EQ(times(0, CMP_WRITE_END), 1);
    CHECK(!hits(o));
    const unsigned from = service.n;
    CHECK_EQ(fm_control(o, GET_COMPRESSION, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(fm_control(o, FSCTL_READ_FILE_USN_DATA, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(service.n, from);
    fm_close(o);
    end();
}

static NTSTATUS encrypt(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    file.f.attributes |= FILE_ATTRIBUTE_ENCRYPTED;
    return STATUS_SUCCESS;
}

/* A file that is encrypted while it is open is not cached any more. */
static void test_encrypts(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_control(o, SET_ENCRYPTION, encrypt, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(!warm(o));
    fm_close(o);
    end();
}

static NTSTATUS change_volume(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    fm_settle();
    (void)warm(ctx); /* what was there before the write */
    return change(NULL, o, information);
}

/* A write to the volume may change any file. */
static void test_volume(void)
{
    static const struct fm_how *const how[] = { FM_PLAIN, &at_dispatch, &stuck };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED), v = fm_open_volume();
        CHECK(warm(o));
        CHECK_EQ(fm_write(v, 0, BLOCK, change_volume, o, how[i]), STATUS_SUCCESS);
        if (how[i] == &stuck)
            fm_settle();
        CHECK(!hits(o));
        CHECK(warm(o));
        fm_close(v);
        fm_close(o);
        end();
    }
}

static void test_flushes(void)
{
    static const NTSTATUS fails = STATUS_UNSUCCESSFUL;
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    struct cmp_end m;
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        CHECK_EQ(fm_flush(o, change, i ? (void *)(uintptr_t)&fails : NULL, FM_PLAIN),
                 i ? fails : STATUS_SUCCESS);
        CHECK_EQ(times(0, CMP_SYNC_BEGIN), i + 1);
        CHECK_EQ(times(0, CMP_SYNC_END), i + 1);
        memcpy(&m, body_of(CMP_SYNC_END), sizeof(m));
        CHECK(m.token == 77 && m.ok == !i);
    }
    fm_close(o);
    end();
}

/* ---- What the cache cannot keep up with ------------------------------------------------------ */

/* Stores through a section are not seen: the file passes until nobody uses it. */
static void test_sections(void)
{
    begin();
    PFILE_OBJECT o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_section(o, SyncTypeOther, PAGE_READWRITE), STATUS_SUCCESS);
    CHECK_EQ(fm_section(o, SyncTypeCreateSection, 2 /* PAGE_READONLY */), STATUS_SUCCESS);
    CHECK(hits(o));
    CHECK_EQ(fm_section(o, SyncTypeCreateSection, PAGE_READWRITE), STATUS_SUCCESS);
    memset(file.data + BLOCK, 'x', BLOCK);
    CHECK(!hits(o) && !hits(o));
    memset(file.data + BLOCK, 'y', BLOCK);
    fm_close(o);
    fm_settle();
    o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(!hits(o));
    CHECK(hits(o));
    CHECK_EQ(fm_section(o, SyncTypeCreateSection, PAGE_READWRITE), STATUS_SUCCESS);
    CHECK(hits(o)); /* a handle that may not write */
    fm_close(o);
    end();
}

/* A mapping that is older than the service. */
static void test_mapped_before(void)
{
    begin();
    file.f.mapped_before = TRUE;
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(!warm(o));
    fm_close(o);
    end();
}

static void test_pages(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    (void)fm_pages(o);
    CHECK(!warm(o));
    fm_close(o);
    fm_settle();
    PFILE_OBJECT const again = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(again));
    (void)fm_write(again, BLOCK, BLOCK, change, NULL, &mdl_read);
    CHECK(!warm(again));
    fm_close(again);
    end();
}

static void test_locks(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    (void)fm_lock(o);
    CHECK(!warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(begun, 1); /* writes are told all the same */
    fm_close(o);
    end();
}

static void test_transactions(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    PFILE_OBJECT const t = fm_open_how(&file.f, true, FILE_OPENED, 0, &transacted);
    CHECK(!warm(o));
    fm_close(t);
    fm_close(o);
    end();
}

/* ---- Opens and closes ------------------------------------------------------------------------ */

/* CreateFile(GENERIC_READ, CREATE_ALWAYS) empties a file by a handle that may only read. */
static void test_overwrites(void)
{
    static const ULONG outcome[] = { FILE_OVERWRITTEN, FILE_SUPERSEDED };
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        memset(file.data, 'z', sizeof(file.data));
        PFILE_OBJECT const w = fm_open(&file.f, i / 2, outcome[i % 2]);
        CHECK(!hits(o));
        CHECK(warm(o));
        fm_close(w);
        fm_close(o);
        end();
    }
}

static void delete_at_cleanup(struct fm_file *f, PFILE_OBJECT o)
{
    (void)o;
    ((struct file *)f)->deleted = true;
}

static void test_closes(void)
{
    begin();
    PFILE_OBJECT o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    fm_close(o);
    fm_settle();
    CHECK_EQ(times(0, CMP_REVALIDATE), 0); /* nothing was written */
    o = fm_open(&file.f, true, FILE_OPENED);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_close(o);
    fm_settle();
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    file.f.cleanup = delete_at_cleanup;
    fm_close(o);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET), 1);
    struct cmp_forget m;
    memcpy(&m, body_of(CMP_FORGET), sizeof(m));
    CHECK_EQ(m.gone, 1);
    end();
}

/* Each operation with each allocation failing, or three in a row, on a file that is warm and was
 * just opened: what is read is right, and nothing is left behind. */
static void without_memory(unsigned what, unsigned skip, unsigned fail)
{
    PFILE_OBJECT o = fm_open(&file.f, true, FILE_OPENED);
    NTSTATUS s = STATUS_SUCCESS;
    CHECK(warm(o));
    fm_close(o);
    fm_settle();
    fm_starve(skip, fail);
    if (what == 7)
        memset(file.data + BLOCK, 'z', BLOCK);
    o = fm_open(&file.f, what != 1, what == 7 ? FILE_OVERWRITTEN : FILE_OPENED);
    if (what == 0)
        s = fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN);
    else if (what == 1)
        CHECK_EQ(read_how(o, 2 * BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    else if (what == 2)
        s = fm_write(o, BLOCK, BLOCK, change, NULL, &at_dispatch);
    else if (what == 3)
        s = fm_write(o, BLOCK, BLOCK, change, NULL, &stuck);
    else if (what == 4)
        s = fm_set(o, FileEndOfFileInformation, 5 * BLOCK, change, NULL, FM_PLAIN);
    else if (what == 5)
        s = fm_flush(o, NULL, NULL, FM_PLAIN);
    else if (what == 6 && NT_SUCCESS(fm_section(o, SyncTypeCreateSection, PAGE_READWRITE)))
        memset(file.data + BLOCK, 'x', BLOCK);
    fm_starve(0, 0);
    CHECK(NT_SUCCESS(s) || s == STATUS_INSUFFICIENT_RESOURCES);
    (void)warm(o);
    fm_close(o);
}

static void test_without_memory(void)
{
    for (unsigned what = 0; what < 8; what++)
        for (unsigned skip = 0; skip < 32; skip++) {
            CASE("operation %u, allocation %u fails", what, skip / 2);
            begin();
            CALL(without_memory(what, skip / 2, skip % 2 ? 3 : 1));
            end();
        }
}

/* A program that deletes opens the file for nothing else. */
static void test_deletes(void)
{
    begin();
    PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    fm_close(o);
    fm_settle();
    o = fm_open(&file.f, false, FILE_OPENED);
    o->DeleteAccess = TRUE;
    file.f.cleanup = delete_at_cleanup;
    fm_close(o);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET), 1);
    end();
}

/* ---- A service that comes and goes ----------------------------------------------------------- */

/* What was written without a service is forgotten when one comes. */
static void test_without_service(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    end_service();
    CHECK(!hits(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    connect_service();
    CHECK_EQ(times(0, CMP_FORGET), 1);
    CHECK(!hits(o));
    CHECK(hits(o));
    fm_close(o);
    end();
}

/* The system has started, and the driver sees each volume from its mount on. What is written before
 * the first service comes is forgotten then, as the writer has not closed it yet: its times are the
 * old ones. */
static void test_before_the_first_service(void)
{
    begin();
    PFILE_OBJECT o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    fm_close(o);
    end_service();
    fm_unload();
    CHECK_EQ(fm_load(true), STATUS_SUCCESS);
    o = fm_open(&file.f, true, FILE_OPENED);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    const unsigned from = service.n;
    CHECK(!hits(o));
    connect_service();
    CHECK_EQ(times(from, CMP_FORGET), 1);
    CHECK_EQ(times(from, CMP_FORGET_ALL), 0);
    CHECK(!hits(o));
    CHECK(hits(o));
    fm_close(o);
    end();
}

/* Byte ranges that are locked when nobody asks for them are known later. */
static void test_locked_before(void)
{
    begin_without_service();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    (void)fm_lock(o);
    connect_service();
    CHECK(!warm(o));
    fm_close(o);
    end();
}

/* A service whose rules are refused changes nothing of that. */
static void test_refused_service(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    end_service();
    connection = NULL;
    CHECK_EQ(connect_with("what=x", 7), STATUS_INVALID_PARAMETER);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    connect_service();
    CHECK(!hits(o));
    CHECK(warm(o));
    fm_close(o);
    end();
}

/* A reply that does not come closes the driver's end. The service closes its own later. */
static void test_late_reply(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    os_lock(&service.lock);
    service.silent = true;
    os_unlock(&service.lock);
    CHECK(!hits(o));
    CHECK(fm_is_cut(connection));
    CHECK(!hits(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    end_service();
    connect_service();
    CHECK(!hits(o));
    CHECK(hits(o));
    fm_close(o);
    end();
}

static NTSTATUS change_and_lose(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    end_service();
    connect_service();
    return change(ctx, o, information);
}

/* The life ends in a bracket, and another one begins. */
static void test_lost_bracket(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change_and_lose, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    CHECK(!hits(o));
    CHECK(hits(o));
    fm_close(o);
    end();
}

/* ---- The end of the filter ------------------------------------------------------------------- */

static NTSTATUS detach(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o;
    fm_detach();
    *information = BLOCK;
    return STATUS_SUCCESS;
}

/* The filter leaves the volume while an operation is on its way. */
static void test_detaches(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, detach, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    CHECK_EQ(times(0, CMP_WRITE_END), 1);
    CHECK(!hits(o));
    fm_attach(false);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET_ALL), 1);
    CHECK(warm(o));
    fm_close(o);
    end();
}

static ULONG detaching_read(struct fm_file *f, uint64_t off, ULONG n, void *to)
{
    f->read = read_file;
    fm_detach();
    return read_file(f, off, n, to);
}

static void test_detaches_in_a_read(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    file.f.read = detaching_read;
    CHECK(!hits(o));
    fm_close(o);
    end();
}

static NTSTATUS unload(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o;
    fm_unload();
    *information = BLOCK;
    return STATUS_SUCCESS;
}

/* The driver is unloaded while a write is on its way. */
static void test_unloads(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, unload, NULL, FM_PLAIN), STATUS_SUCCESS);
    cut(NULL);
    fm_disconnect(connection);
    fm_close(o);
    fm_end();
    CHECK_EQ(fm_faults(), 0);
}

/* ---- The emulation itself -------------------------------------------------------------------- */

/* It notices what it says that it notices. */
static void test_emulation(void)
{
    FAST_MUTEX m;
    fm_begin();
    fm_forgive(true);
    struct fm_thread *const t = fm_me();
    unsigned n = 0;
    PFLT_PORT none = NULL;
    t->irql = DISPATCH_LEVEL;
    ExInitializeFastMutex(&m);
    ExAcquireFastMutex(&m);
    CHECK_EQ(fm_faults(), ++n);
    CHECK_EQ(KeGetCurrentIrql(), APC_LEVEL);
    ExReleaseFastMutex(&m);
    CHECK_EQ(KeGetCurrentIrql(), DISPATCH_LEVEL);
    static const struct fm_thread wrong[] = { { .irql = APC_LEVEL }, { .apcs_disabled = TRUE },
                                              { .top = (PIRP)1 },    { .process = FM_SERVICE },
                                              { .paging = TRUE },    { .connecting = TRUE },
                                              { .locks = 1 } };
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CASE("i %u", i);
        *t = wrong[i];
        (void)FltSendMessage(NULL, &none, buf, 1, NULL, NULL, NULL);
        CHECK_EQ(fm_faults(), ++n);
    }
    *t = (struct fm_thread){ 0 };
    (void)FltSendMessage(NULL, &none, buf, 1, NULL, NULL, NULL);
    CHECK_EQ(fm_faults(), n);
    PVOID const p = ExAllocatePoolWithTag(NonPagedPoolNx, 10, 5);
    ExFreePoolWithTag(p, 6);
    CHECK_EQ(fm_faults(), ++n);
    ExFreePoolWithTag(p, 5);
    CHECK_EQ(fm_faults(), n);
    fm_forgive(false);
}

static const struct harness_test tests[] = {
    TEST(emulation),
    TEST(loads),
    TEST(late),
    TEST(connects),
    TEST(connects_without_memory),
    TEST(rules_of_the_service),
    TEST(reads),
    TEST(reads_that_pass),
    TEST(non_cached),
    TEST(tail),
    TEST(closed_at_once),
    TEST(streams),
    TEST(no_contexts),
    TEST(other_rules),
    TEST(without_memory),
    TEST(writes),
    TEST(writes_that_may_not_wait),
    TEST(sizes),
    TEST(controls),
    TEST(advances),
    TEST(encrypts),
    TEST(volume),
    TEST(flushes),
    TEST(deletes),
    TEST(sections),
    TEST(mapped_before),
    TEST(pages),
    TEST(locks),
    TEST(transactions),
    TEST(overwrites),
    TEST(closes),
    TEST(without_service),
    TEST(before_the_first_service),
    TEST(locked_before),
    TEST(refused_service),
    TEST(late_reply),
    TEST(lost_bracket),
    TEST(detaches),
    TEST(detaches_in_a_read),
    TEST(unloads),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
