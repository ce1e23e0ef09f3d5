/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_mixed.c - the callbacks of the driver's shell in random order: combinations that
 * nobody has thought of. And the made-up service itself, on which these depend.
 *
 * The orders are the same in each run: work items are done before the next operation begins.
 */
#include "shell_common.h"

/* ---- The made-up service --------------------------------------------------------------------- */

/* A read that is answered, between a read that missed and its fill, does not move the fill. */
static void test_fills_after_hits(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    PFILE_OBJECT const later = fm_open_how(&file.f, false, FILE_OPENED, 0, FM_PLAIN);
    CHECK(warm(o));
    fm_hold(true);
    CHECK_EQ(read_how(later, (int64_t)3 * BLOCK, BLOCK, &at_dispatch), STATUS_SUCCESS);
    CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK(by_driver);
    fm_hold(false);
    fm_settle();
    CHECK_EQ(times(0, CMP_FILL), 2);
    CHECK(service.file[0].has[3] && !service.file[0].has[2]);
    fm_close(later);
    fm_close(o);
    end();
}

static PFILE_OBJECT reader;

static NTSTATUS read_meanwhile(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    ULONG n;
    bool by;
    CHECK_EQ(fm_read(reader, 0, BLOCK, buf, &n, &by, FM_PLAIN), STATUS_SUCCESS);
    return change(ctx, o, information);
}

/* Nothing is filled while a write is on its way. */
static void test_no_fills_in_a_bracket(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    reader = fm_open(&file.f, false, FILE_OPENED);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, read_meanwhile, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    CHECK_EQ(times(0, CMP_READ), 1);
    CHECK_EQ(times(0, CMP_FILL), 0);
    CHECK(warm(reader));
    fm_close(reader);
    fm_close(o);
    end();
}

/* ---- Random orders --------------------------------------------------------------------------- */

static uint64_t seed;

static unsigned any_of(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(seed >> 33) % n;
}

static bool one_of(unsigned n)
{
    return any_of(n) == 0;
}

static struct handle {
    PFILE_OBJECT o; /* NULL: it is closed */
    bool writes, lies, maps;
} handles[4];
static unsigned n_hits;

/* What the file system does, whatever it says of it. */
static NTSTATUS change_block(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    uint8_t *const at = file.data + BLOCK * *(const unsigned *)ctx;
    (void)o;
    memset(at, (at[0] + 1 + (int)any_of(255)) % 256, BLOCK);
    *information = BLOCK;
    return one_of(8) ? (NTSTATUS)0xC0000185 : STATUS_SUCCESS; /* STATUS_IO_DEVICE_ERROR */
}

static NTSTATUS set_attributes(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)o, (void)information;
    file.f.attributes ^= *(const ULONG *)ctx;
    return STATUS_SUCCESS;
}

static NTSTATUS set_name(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)o, (void)information;
    file.f.name = ctx;
    return STATUS_SUCCESS;
}

static void open_one(struct handle *h)
{
    const struct fm_how how = { .options = one_of(4) ? FILE_OPEN_REPARSE_POINT : 0 };
    const ULONG flags = any_of(3)   ? FO_SYNCHRONOUS_IO
                        : one_of(2) ? FO_NO_INTERMEDIATE_BUFFERING
                                    : 0;
    const bool empties = one_of(16);
    *h = (struct handle){ .writes = one_of(2), .lies = how.options != 0 };
    if (empties) {
        memset(file.data, (int)any_of(256), sizeof(file.data));
        file.f.attributes = 0;
    }
    h->o = fm_open_how(&file.f, h->writes, empties ? FILE_OVERWRITTEN : FILE_OPENED, flags, &how);
}

static void close_one(struct handle *h)
{
    fm_close(h->o);
    h->o = NULL;
}

static void close_all(struct handle *h)
{
    for (h = handles; h < handles + 4; h++)
        if (h->o)
            close_one(h);
}

static void read_some(struct handle *h)
{
    const unsigned at = any_of(3), n = any_of(4) ? 1 : 1 + any_of(3);
    if (read_how(h->o, at * BLOCK, n * BLOCK, one_of(4) ? &at_dispatch : FM_PLAIN) !=
            STATUS_SUCCESS ||
        !by_driver)
        return;
    n_hits++;
    CHECK(memcmp(buf, file.data + at * BLOCK, got) == 0);
    CHECK(!h->lies || !(file.f.attributes & FILE_ATTRIBUTE_REPARSE_POINT));
}

static void write_one(struct handle *h)
{
    unsigned at = any_of(BLOCKS);
    struct fm_how how = { .dispatch = one_of(3) };
    how.fast = !how.dispatch && one_of(3);
    if (!h->writes)
        return;
    *fm_me() = (struct fm_thread){ .top = one_of(5) ? (PIRP)1 : NULL, .terminating = one_of(9) };
    (void)fm_write(h->o, one_of(8) ? -2 : (int64_t)at * BLOCK, BLOCK, change_block, &at, &how);
    *fm_me() = (struct fm_thread){ 0 };
}

static void write_page(struct handle *h)
{
    unsigned at = any_of(BLOCKS);
    if (!file.f.sections.DataSectionObject)
        (void)fm_write(h->o, at * BLOCK, BLOCK, change_block, &at, &paging);
}

static void store(struct handle *h)
{
    for (h = handles; h < handles + 4; h++)
        if (h->o && h->maps)
            memset(file.data + any_of(BLOCKS) * BLOCK, (int)any_of(256), BLOCK);
}

static void map_it(struct handle *h)
{
    if (h->writes && one_of(4))
        h->maps = fm_section(h->o, SyncTypeCreateSection, PAGE_READWRITE) == STATUS_SUCCESS;
}

static void take_pages(struct handle *h)
{
    if (h->writes && one_of(4))
        (void)fm_pages(h->o);
}

static NTSTATUS refuse(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    return (NTSTATUS)0xC0000010; /* STATUS_INVALID_DEVICE_REQUEST */
}

/* A control code that changes the content, or the kind, and may be one that is not known. */
static void control(struct handle *h)
{
    static const struct fm_how *const how[] = { FM_PLAIN, &at_dispatch };
    const bool known = one_of(2), dispatch = one_of(3);
    ULONG kind = one_of(2) ? FILE_ATTRIBUTE_ENCRYPTED : FILE_ATTRIBUTE_REPARSE_POINT;
    unsigned at = any_of(BLOCKS);
    fm_me()->top = one_of(3) ? (PIRP)1 : NULL;
    if (!known && one_of(3))
        (void)fm_control(h->o, CTL_CODE(9, 999, 0, 0), refuse, NULL, how[dispatch]);
    else if (!one_of(3))
        (void)fm_control(h->o,
                         CTL_CODE(9,
                                  !known                             ? 999
                                  : kind == FILE_ATTRIBUTE_ENCRYPTED ? 53
                                                                     : 41,
                                  0, 0),
                         set_attributes, &kind, how[dispatch]);
    else if (h->writes)
        (void)fm_control(h->o, CTL_CODE(9, known ? 50 : 999, 0, 2), change_block, &at,
                         how[dispatch]);
    fm_me()->top = NULL;
}

static void recall_it(struct handle *h)
{
    ULONG kind = FILE_ATTRIBUTE_OFFLINE;
    (void)fm_set(h->o, FileBasicInformation, 0, set_attributes, &kind, FM_PLAIN);
}

static void rename_it(struct handle *h)
{
    static WCHAR name[3][40] = { u"\\Device\\HarddiskVolume3\\data\\file",
                                 u"\\Device\\HarddiskVolume3\\data\\file.tmp",
                                 u"\\Device\\HarddiskVolume3\\other\\file" };
    WCHAR *const to = name[any_of(3)];
    (void)fm_rename(h->o, FileRenameInformation, to + sizeof(DEVICE) - 1, set_name, to);
}

static void flush(struct handle *h)
{
    (void)fm_flush(h->o, NULL, NULL, FM_PLAIN);
}

static void change_service(struct handle *h)
{
    static const char other[] = "folder=" DEVICE "\\other\0pool=\\Device\\HarddiskVolume5";
    (void)h;
    fm_starve(0, 0);
    if (connection) {
        end_service();
        connection = NULL;
    } else if (one_of(4)) {
        CHECK_EQ(connect_with(other, sizeof(other)), STATUS_SUCCESS);
    } else {
        connect_service();
    }
}

static void change_refusals(struct handle *h)
{
    static const uint16_t what[] = { CMP_WRITE_BEGIN, CMP_OPEN, CMP_INVALIDATE, CMP_READ };
    (void)h;
    service.refuse = one_of(3) ? what[any_of(4)] : 0;
}

static const struct {
    unsigned weight;
    void (*run)(struct handle *h);
} operations_of[] = {
    { 80, read_some },     { 10, write_one },      { 6, close_one },  { 12, close_all },
    { 1, write_page },     { 2, control },         { 1, recall_it },  { 2, rename_it },
    { 1, map_it },         { 2, store },           { 1, take_pages }, { 1, flush },
    { 1, change_service }, { 1, change_refusals },
};
#define WEIGHTS 121u

static void operation(void)
{
    struct handle *const h = &handles[any_of(4)];
    unsigned k = 0, at = any_of(WEIGHTS);
    if (one_of(12))
        fm_starve(any_of(12), 1 + any_of(4));
    while (at >= operations_of[k].weight)
        at -= operations_of[k++].weight;
    if (h->o)
        operations_of[k].run(h);
    else
        open_one(h);
    fm_starve(0, 0);
    fm_settle();
    if (connection && fm_is_cut(connection)) {
        end_service();
        connection = NULL;
    }
}

/* A read that the driver answers is right, and nothing is left behind. */
static void test_mixed(void)
{
    n_hits = 0;
    for (unsigned i = 0; i < 200; i++) {
        CASE("order %u", i);
        seed = i;
        memset(handles, 0, sizeof(handles));
        begin();
        for (unsigned n = 0; n < 100; n++)
            operation();
        close_all(handles);
        service.refuse = 0;
        end();
    }
    CHECK(n_hits > 1000); /* of some 9000 reads */
}

const struct harness_test shell_mixed_tests[] = {
    TEST(fills_after_hits),
    TEST(no_fills_in_a_bracket),
    TEST(mixed),
    TEST_END,
};
