/* SPDX-License-Identifier: BSD-2-Clause
 *
 * stage.c - see stage.h.
 *
 * Owns: the pool of a run, its origin files, and the table of what each call may return.
 *
 * Who: scenes.c, faults.c.
 */
#include "stage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../later.h"

struct stage stage;

static const struct {
    const char *call;
    int codes[40]; /* the last one is 0 */
} documented[] = {
#include "codes.inc"
};

_Noreturn void wrong(const char *what, const char *call, int64_t result)
{
    printf("WRONG %s: %s", call, what);
    if (result != 0)
        printf(" (%" PRId64 ", %s)", result, cm_errname((int)result));
    printf("\n");
    (void)fflush(stdout);
    _exit(1);
}

static bool reads_origin(const char *call)
{
    return strncmp(call, "cm_read_through", 15) == 0 || strcmp(call, "cm_warm") == 0 ||
           strcmp(call, "cm_request_end") == 0;
}

static bool counts(const char *call)
{
    static const char *const calls[] = { "cm_read",         "cm_read_whole",  "cm_read_many",
                                         "cm_read_through", "cm_pin_range",   "cm_file_ranges",
                                         "cm_file_cached",  "cm_drop",        "cm_request_end",
                                         "cm_objects_get",  "cm_objects_read" };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (strcmp(call, calls[i]) == 0)
            return true;
    return strcmp(call, "cm_read_through_version") == 0 || strcmp(call, "cm_objects_next") == 0;
}

int64_t did(const char *call, int64_t result)
{
    if (result == 0 || (result > 0 && counts(call)) ||
        (result == ORIGIN_FAILED && reads_origin(call) && inject.count[INJECT_origin] > 0))
        return result;
    if (strcmp(call, "cm_warm") == 0 && result >= CM_NOT_STORED_STALE)
        return result; /* any of these: its comment names only some */
    for (size_t i = 0; i < sizeof(documented) / sizeof(documented[0]); i++) {
        if (strcmp(documented[i].call, call) != 0)
            continue;
        for (const int *c = documented[i].codes; *c; c++)
            if (*c == result && *c != CM_EINVAL)
                return result;
        wrong("not documented", call, result);
    }
    wrong("no comment in the header", call, result);
}

static void note(void *ctx, int level, const char *text)
{
    (void)ctx;
    (void)text;
    stage.warned += level <= CM_LOG_WARNING;
    stage.told += level == CM_LOG_INFO;
}

cm_options usual(void)
{
    cm_options o = CM_OPTIONS_INIT;
    o.flags = CM_OPEN_NO_TUNING;
    o.policy = CM_POLICY_GCLOCK;
    o.probation_bytes = CM_PROBATION_NONE;
    o.join_timeout_ns = 2000000;
    o.log = note;
    return o;
}

bool make_pool(const char *path, uint64_t size, uint32_t flags)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    o.size = size;
    o.flags = flags;
    o.log = note;
    return DO(cm_create, path, &o) == 0;
}

bool open_pool(const cm_options *o)
{
    const unsigned before = stage.warned, told = stage.told;
    cm_cache *const none = stage.cache;
    const int64_t e = DO(cm_open, stage.pool, o, &stage.cache);
    if (e == 0)
        return true;
    if (stage.cache != none)
        wrong("the handle was set", "cm_open", 0);
    /* The owner of a pool is told once as an error. */
    if (o->log && stage.warned == before && (e != CM_EOWNED || stage.told == told))
        wrong("no line of the log says why", "cm_open", 0);
    return false;
}

cm_validator validator_of(const struct origin *o)
{
    return validator_of_version(o->size, o->version);
}

void attach(unsigned i, uint32_t flags)
{
    const cm_file_id id = { 1, stage.origin[i].number };
    if (!stage.cache)
        return;
    for (unsigned tries = 0; tries < 3; tries++) {
        const cm_validator v = validator_of(&stage.origin[i]);
        if (DO(cm_file_open, stage.cache, &id, &v, flags, &stage.file[i]) == 0)
            return;
        if (stage.file[i] == NULL)
            return;
        close_file(i); /* CM_IGNORED */
    }
}

void close_file(unsigned i)
{
    if (stage.file[i] && DO(cm_file_close, stage.file[i]) == CM_EBUSY)
        wrong("brackets are open", "cm_file_close", CM_EBUSY);
    stage.file[i] = NULL;
}

void close_pool(void)
{
    for (unsigned i = 0; i < FILES; i++)
        close_file(i);
    if (stage.cache && DO(cm_close, stage.cache) == CM_EBUSY)
        wrong("something is in use", "cm_close", CM_EBUSY);
    stage.cache = NULL;
}

/* ---- Origin ---------------------------------------------------------------------------------- */

static uint64_t word_of(const struct origin *o, uint64_t block)
{
    return (o->number * UINT64_C(0x9e3779b97f4a7c15) + block * 1000003 + o->tag[block]) *
           UINT64_C(0xd1342543de82ef95);
}

static size_t make_bytes(const struct origin *o, uint64_t off, uint8_t *buf, size_t len)
{
    if (off >= o->size)
        return 0;
    if (len > o->size - off)
        len = (size_t)(o->size - off);
    for (size_t i = 0; i < len; i++) {
        const uint64_t at = off + i;
        buf[i] = (uint8_t)((word_of(o, at / BLK) + at % BLK * 31) >> 24);
    }
    return len;
}

int64_t read_origin(void *ctx, uint64_t off, void *buf, size_t len)
{
    if (inject_fails(INJECT_origin))
        return ORIGIN_FAILED;
    return (int64_t)make_bytes(ctx, off, buf, len);
}

void judge(const char *call, const struct origin *o, uint64_t offset, const void *buf, int64_t n)
{
    static uint8_t want[(BLOCKS + 1) * CM_BLOCK_SIZE];
    const size_t whole = make_bytes(o, offset, want, sizeof(want) - CM_BLOCK_SIZE);
    if (n <= 0)
        return;
    if ((uint64_t)n > whole)
        wrong("bytes behind the end", call, n);
    for (int64_t i = 0; i < n; i++)
        if (want[i] != ((const uint8_t *)buf)[i])
            wrong("wrong bytes", call, i);
}

void change(struct origin *o, uint64_t offset, uint64_t len)
{
    for (uint64_t b = offset / BLK; b < BLOCKS && b * BLK < offset + len; b++)
        o->tag[b]++;
    if (offset + len > o->size)
        o->size = offset + len;
    o->version++;
}

void resize_origin(struct origin *o, uint64_t size)
{
    /* What is cut off is other bytes when the file is long again. */
    for (uint64_t b = size / BLK; b < BLOCKS; b++)
        o->tag[b]++;
    o->size = size;
    o->version++;
}

/* ---- What programs do ------------------------------------------------------------------------ */

static uint8_t buffer[(BLOCKS + 1) * CM_BLOCK_SIZE];

int64_t look(cm_file *f, const struct origin *o, uint64_t offset, uint64_t len)
{
    if (!f)
        return 0;
    const int64_t n = DO(cm_read, f, offset, buffer, (size_t)len, NULL);
    judge("cm_read", o, offset, buffer, n);
    return n;
}

void read_and_fill(unsigned i, uint64_t offset, uint64_t len)
{
    struct origin *const o = &stage.origin[i];
    for (unsigned turns = 0; stage.file[i] && len > 0 && turns < 2 * BLOCKS; turns++) {
        cm_miss m = CM_MISS_INIT;
        int64_t n = DO(cm_read, stage.file[i], offset, buffer, (size_t)len, &m);
        judge("cm_read", o, offset, buffer, n);
        if (n < 0 || m.len == 0)
            return;
        const uint64_t wanted = (m.len + BLK - 1) / BLK * BLK;
        n = read_origin(o, m.offset, buffer, (size_t)wanted);
        if (n <= 0)
            return;
        if (!(m.flags & CM_MISS_NOFILL))
            (void)DO(cm_fill, stage.file[i], &m, buffer, (size_t)n,
                     (uint64_t)n < wanted ? CM_FILL_EOF : 0);
        const uint64_t end = m.offset + (uint64_t)n;
        if (end >= offset + len || end <= offset)
            return;
        len -= end - offset;
        offset = end;
    }
}

void read_through(unsigned i, uint64_t offset, uint64_t len)
{
    struct origin *const o = &stage.origin[i];
    if (!stage.file[i])
        return;
    const uint64_t failed = inject.failed;
    const int64_t n =
        DO(cm_read_through, stage.file[i], offset, buffer, (size_t)len, read_origin, o);
    judge("cm_read_through", o, offset, buffer, n);
    const uint64_t there = o->size > offset ? o->size - offset : 0;
    if (n < 0 && failed == inject.failed && inject.kind != INJECT_NONE && !inject.forever)
        wrong("a read fails for nothing", "cm_read_through", n);
    if (n >= 0 && (uint64_t)n != (there < len ? there : len))
        wrong("a short read", "cm_read_through", n);
}

void write_origin(unsigned i, uint64_t offset, uint64_t len)
{
    cm_bracket w;
    struct origin *const o = &stage.origin[i];
    if (!stage.file[i] || DO(cm_write_begin, stage.file[i], offset, len, &w) != 0)
        return;
    change(o, offset, len);
    (void)look(stage.file[i], o, offset, len);
    const cm_validator v = validator_of(o);
    (void)DO(cm_write_end, stage.file[i], &w, &v);
}

/* ---- Afterwards ------------------------------------------------------------------------------ */

/* Everything is read, twice; it is cached then, if the pool is in use at all. `young`: a session in
 * which nothing has failed. */
static void works(bool young)
{
    const unsigned warned = stage.warned;
    for (unsigned i = 0; i < FILES; i++) {
        cm_file_info info = CM_FILE_INFO_INIT;
        const struct origin *const o = &stage.origin[i];
        if (!stage.file[i])
            continue;
        (void)look(stage.file[i], o, 0, o->size);
        read_through(i, 0, o->size);
        read_through(i, 0, o->size);
        write_origin(i, BLK, BLK);
        read_through(i, 0, o->size);
        if (DO(cm_file_get_info, stage.file[i], &info) != 0)
            wrong("no information", "cm_file_get_info", 0);
        (void)look(stage.file[i], o, 0, o->size);
        /* Not all: the pool may think that slots are empty that are not. */
        const int64_t n = DO(cm_file_cached, stage.file[i], 0, CM_ALL);
        if (young && !info.bypassed && n < (int64_t)o->size / 2 && stage.warned == warned)
            wrong("hardly anything is cached, and nothing says why", "cm_file_cached", n);
    }
}

static void first_of_all(cm_cache *c)
{
    cm_stats_data s = CM_STATS_INIT;
    cm_info info = CM_INFO_INIT;
    if (DO(cm_get_info, c, &info) != 0 || DO(cm_stats, c, &s) != 0)
        wrong("the pool says nothing of itself", "cm_get_info", 0);
}

/* A container takes a value, and gives it back. */
static void objects_work(void)
{
    static const uint8_t value[300] = { 1, 2, 3 };
    uint8_t got[sizeof(value)];
    const uint64_t key = 77;
    if (DO(cm_objects_open, stage.cache, "c", NULL, &stage.objects) != 0)
        wrong("a container is not opened", "cm_objects_open", 0);
    if (DO(cm_objects_put, stage.objects, &key, sizeof(key), value, sizeof(value), 0) == 0 &&
        (DO(cm_objects_get, stage.objects, &key, sizeof(key), got, sizeof(got), NULL) !=
             (int64_t)sizeof(value) ||
         memcmp(got, value, sizeof(value)) != 0))
        wrong("another value", "cm_objects_get", 0);
    if (DO(cm_objects_close, stage.objects) != 0)
        wrong("a container is not closed", "cm_objects_close", 0);
    stage.objects = NULL;
}

void aftermath(void)
{
    inject.on = false;
    if (stage.reader) {
        if (DO(cm_close, stage.reader) == CM_EBUSY)
            wrong("something is in use", "cm_close", CM_EBUSY);
        stage.reader = NULL;
    }
    if (stage.objects && DO(cm_objects_close, stage.objects) == CM_EBUSY)
        wrong("something is in use", "cm_objects_close", CM_EBUSY);
    stage.objects = NULL;
    if (stage.cache)
        works(false);
    close_pool();
    const cm_options o = usual();
    if (!open_pool(&o)) {
        (void)unlink(stage.pool);
        if (!make_pool(stage.pool, SMALL, 0) || !open_pool(&o))
            wrong("a new pool cannot be made", "cm_create", 0);
    }
    first_of_all(stage.cache);
    for (unsigned i = 0; i < FILES; i++) {
        attach(i, CM_SOLE_WRITER);
        if (!stage.file[i])
            wrong("a file is not attached", "cm_file_open", 0);
    }
    works(true);
    objects_work();
    cm_check_report r = CM_CHECK_REPORT_INIT;
    if (DO(cm_check, stage.cache, 0, NULL, NULL, &r) == CM_DAMAGED)
        wrong("damage is left", "cm_check", CM_DAMAGED);
    close_pool();
}
