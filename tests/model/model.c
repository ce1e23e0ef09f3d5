/* SPDX-License-Identifier: BSD-2-Clause
 *
 * model.c - random API sequences against a naive model, one thread.
 *
 *   model [--ops N] [--seed S] [--slots N] [--verbose]
 *
 * Every byte that a read returns is compared with the origin's present content. Blocks under an
 * open bracket must miss. Sessions end in clean closes, process crashes and power cuts (which
 * revert unsynced origin content). A failure prints the seed and the operation number; these two
 * replay it. The last lines print counts. Hits have a minimum, so that a cache that always misses
 * fails, too.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/cache_state.h"
#include "../os.h"
#include "model.h"

struct model t;

void fail(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "FAILED at operation %llu of seed %llu: ", (unsigned long long)t.op,
            (unsigned long long)t.seed);
    vfprintf(stderr, format, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

void trace(const char *format, ...)
{
    va_list ap;
    if (!t.verbose)
        return;
    va_start(ap, format);
    printf("%llu: ", (unsigned long long)t.op);
    vprintf(format, ap);
    printf("\n");
    va_end(ap);
}

void must(int e, const char *what)
{
    if (e < 0)
        fail("%s: %s", what, cm_errname(e));
}

/* ---- Memory that a crashed session leaves behind --------------------------------------------- */

struct chunk {
    struct chunk *next, *prev;
    uint64_t pad[6];
};
static struct chunk chunks = { &chunks, &chunks, { 0 } };

static void *arena_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    struct chunk *c = os_aligned(64, (sizeof(*c) + bytes + 63) / 64 * 64);
    if (!c)
        return NULL;
    memset(c, 0, sizeof(*c) + bytes);
    c->next = chunks.next;
    c->prev = &chunks;
    c->next->prev = c;
    chunks.next = c;
    return c + 1;
}

static void arena_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    (void)bytes;
    struct chunk *c = (struct chunk *)p - 1;
    c->prev->next = c->next;
    c->next->prev = c->prev;
    os_aligned_free(c);
}

static void arena_drop(void)
{
    while (chunks.next != &chunks)
        arena_free(NULL, chunks.next + 1, 0);
}

/* ---- Sessions -------------------------------------------------------------------------------- */

/* Takes out one of the earlier validators of file i (-1: of any file), or returns NULL. */
static struct old *take_old(int i)
{
    struct old *o = &t.old[rng_below(&t.rng, MAX_OLD)];
    if (!o->used || (i >= 0 && o->file != i))
        return NULL;
    o->used = rng_below(&t.rng, 4) == 0; /* it may be presented twice */
    return o;
}

/* File i (-1: every file) was changed without notice: validators taken before no longer tell the
 * truth. */
static void drop_old(int i)
{
    for (int k = 0; k < MAX_OLD; k++)
        t.old[k].used = t.old[k].used && i >= 0 && t.old[k].file != i;
}

/* The validator of file i now. Some programs do not know the size. */
static cm_validator validator_of(int i)
{
    cm_validator v = ofile_validator(&t.origin[i], t.tick);
    if (rng_below(&t.rng, 3) == 0)
        v.size = CM_SIZE_UNKNOWN;
    return v;
}

static void look_up(int i)
{
    const cm_validator now = ofile_validator(&t.origin[i], t.tick);
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_validator v = CM_VALIDATOR_INIT;
    int r = cm_file_lookup(t.cache, &t.origin[i].id, &v, &info);
    if (r != CM_EABSENT)
        must(r, "cm_file_lookup");
    if (r == 0 && v.racy == 0 && v.size != CM_SIZE_UNKNOWN && v.size != now.size &&
        memcmp(v.proof, now.proof, sizeof(v.proof)) == 0)
        fail("file %d: its present version has a wrong size", i);
}

static void open_file(int i)
{
    look_up(i);
    t.sole[i] = rng_below(&t.rng, 2);
    cm_validator v = validator_of(i);
    cm_file_info info = { .struct_size = sizeof(info) };
    struct old *old = take_old(i);
    if (old)
        v = old->v;
    must(cm_file_open(t.cache, &t.origin[i].id, rng_below(&t.rng, 20) ? &v : NULL,
                      t.sole[i] ? CM_SOLE_WRITER : 0, &t.file[i]),
         "cm_file_open");
    must(cm_file_get_info(t.file[i], &info), "cm_file_get_info");
    t.kept += info.kept;
    trace("open file %d sole %d kept %u inc %llu", i, t.sole[i], info.kept,
          (unsigned long long)info.incarnation);
}

static void open_pool(void)
{
    cm_options o = CM_OPTIONS_INIT;
    o.flags = CM_OPEN_NO_GUARD; /* a crashed session never removes its ranges */
    o.memory_durability = CM_DURABILITY_DAX;
    o.verify = (uint32_t)rng_below(&t.rng, 2);
    static const uint64_t waiting[] = { CM_PROBATION_NONE, 3 * BLOCK, 40 * BLOCK };
    o.probation_bytes = waiting[rng_below(&t.rng, 3)];
    static const uint64_t longest[] = { 0, 2, 5 };
    o.read_size_max = longest[rng_below(&t.rng, 3)] * CM_BLOCK_SIZE;
    o.join_timeout_ns = 1; /* what it would wait for is a request of this thread */
    o.alloc = arena_alloc;
    o.free = arena_free;
    must(cm_open_memory(t.pool, t.pool_bytes, &o, &t.cache), "cm_open_memory");
    /* Sessions are too short for CM_POLICY_AUTO to choose this rule: all blocks that waited go to
     * the pool. */
    if (o.probation_bytes != CM_PROBATION_NONE && rng_below(&t.rng, 2))
        cm_ring_rule(&t.cache->policy.ring, t.cache->policy.ring.slots / 10, 1, false);
    t.cache->boot_wall_ns = t.boot_tick * TICK_NS;
    t.mode = CM_NORMAL;
    for (int i = 0; i < FILES; i++)
        open_file(i);
}

/* Drops all that a session knew. What it wrote to pool and origin stays. */
static void lose_session(void)
{
    arena_drop();
    t.cache = NULL;
    memset(t.file, 0, sizeof(t.file));
    memset(t.bypassed, 0, sizeof(t.bypassed));
    for (int i = 0; i < MAX_BRACKETS; i++)
        t.bracket[i].used = false;
    for (int i = 0; i < MAX_MISSES; i++)
        t.pending[i].used = false;
    for (int i = 0; i < MAX_PINS; i++)
        t.pin[i].used = false;
    for (int i = 0; i < MAX_ASKED; i++)
        t.asked[i].used = false;
}

/* Makes the pool look as if another boot had begun. */
static void change_boot(void)
{
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        struct cm_super *sb = (struct cm_super *)(void *)(t.pool + i * CM_SUPER_STRIDE);
        sb->boot_id[0] ^= 0x55;
        sb->failed_boot_id[0] ^= 0x55;
        sb->xxh3 = cm_format_super_sum(sb);
    }
}

static void op_crash(void)
{
    trace("process crash");
    lose_session();
    doubt_names();
    t.crashes++;
    open_pool();
}

static void op_power_cut(void)
{
    trace("power cut");
    lose_session();
    doubt_names();
    drop_old(-1); /* the clock starts anew */
    for (int i = 0; i < FILES; i++)
        ofile_power_cut(&t.origin[i], &t.rng);
    change_boot();
    t.boot_tick = ++t.tick;
    t.tick++;
    t.cuts++;
    open_pool();
}

static void unpin(struct pinned *p)
{
    const uint8_t *want = p->copy;
    for (int i = 0; i < p->n; i++) {
        if (memcmp(p->iov[i].base, want, p->iov[i].len))
            fail("pinned bytes changed");
        want += p->iov[i].len;
    }
    must(cm_unpin(&p->pins), "cm_unpin");
    p->used = false;
}

static void end_bracket(struct bracket *b);

static void op_close(void)
{
    bool busy = false;
    for (int i = 0; i < MAX_ASKED; i++)
        busy |= t.asked[i].used;
    for (int i = 0; i < MAX_BRACKETS; i++)
        busy |= t.bracket[i].used;
    for (int i = 0; i < MAX_PINS; i++)
        busy |= t.pin[i].used;
    if (busy && cm_close(t.cache) != CM_EBUSY)
        fail("cm_close with open brackets, pins or requests did not say CM_EBUSY");
    for (int i = 0; i < MAX_ASKED; i++)
        cancel_asked(&t.asked[i]);
    for (int i = 0; i < MAX_BRACKETS; i++)
        if (t.bracket[i].used)
            end_bracket(&t.bracket[i]);
    for (int i = 0; i < MAX_PINS; i++)
        if (t.pin[i].used)
            unpin(&t.pin[i]);
    trace("clean close");
    must(cm_close(t.cache), "cm_close");
    if (chunks.next != &chunks)
        fail("cm_close leaked memory");
    lose_session();
    t.closes++;
    open_pool();
}

static void op_reopen_file(void)
{
    int i = (int)rng_below(&t.rng, FILES);
    for (int b = 0; b < MAX_BRACKETS; b++)
        if (t.bracket[b].used && t.bracket[b].file == i)
            return;
    for (int a = 0; a < MAX_ASKED; a++)
        if (t.asked[a].file == i)
            cancel_asked(&t.asked[a]);
    trace("close file %d", i);
    must(cm_file_close(t.file[i]), "cm_file_close");
    t.bypassed[i] = false;
    for (int m = 0; m < MAX_MISSES; m++)
        if (t.pending[m].used && t.pending[m].file == i)
            t.pending[m].used = false;
    if (rng_below(&t.rng, 3) == 0) { /* a change while no session runs */
        struct ofile *o = &t.origin[i];
        uint64_t offset, len;
        random_range(i, &offset, &len);
        if (offset < o->size)
            ofile_write(o, &t.rng, t.tick, offset, len < o->size - offset ? len : o->size - offset);
        drop_old(i);
        t.tick += (int64_t)rng_below(&t.rng, 2); /* decides whether the next validator is racy */
    }
    open_file(i);
}

/* ---- Reading --------------------------------------------------------------------------------- */

void random_range(int i, uint64_t *offset, uint64_t *len)
{
    const struct ofile *o = &t.origin[i];
    uint64_t span = o->size + 2 * BLOCK;
    if (rng_below(&t.rng, 4)) /* mostly the same few blocks */
        span = span < 6 * BLOCK ? span : 6 * BLOCK;
    *offset = rng_below(&t.rng, span);
    if (rng_below(&t.rng, 2))
        *offset -= *offset % BLOCK;
    *len = 1 + rng_below(&t.rng, rng_below(&t.rng, 8) ? 4 * BLOCK : BUF - BLOCK);
    if (rng_below(&t.rng, 2))
        *len = (*len + BLOCK - 1) / BLOCK * BLOCK;
}

/* Blocks under an open bracket must not be served. */
static void check_brackets(int i, uint64_t offset, uint64_t got)
{
    for (int b = 0; got && b < MAX_BRACKETS; b++) {
        const struct bracket *k = &t.bracket[b];
        if (!k->used || k->file != i || k->kind == APPEND || k->kind == TOUCH)
            continue;
        uint64_t first = k->offset / BLOCK * BLOCK;
        uint64_t end =
            k->kind == TRUNCATE ? UINT64_MAX : (k->offset + k->len + BLOCK - 1) / BLOCK * BLOCK;
        if (offset < end && offset + got > first)
            fail("file %d: hit at %llu+%llu under an open bracket", i, (unsigned long long)offset,
                 (unsigned long long)got);
    }
}

void check_bytes(int i, uint64_t offset, const uint8_t *got, uint64_t n, const char *what)
{
    const struct ofile *o = &t.origin[i];
    if (offset + n > o->size && n > 0)
        fail("%s: file %d: %llu bytes at %llu, past the end %llu", what, i, (unsigned long long)n,
             (unsigned long long)offset, (unsigned long long)o->size);
    for (uint64_t k = 0; k < n; k++)
        if (got[k] != o->data[offset + k])
            fail("%s: file %d: wrong byte at %llu", what, i, (unsigned long long)(offset + k));
}

static void keep_miss(int i, const cm_miss *miss)
{
    struct pending *p = &t.pending[rng_below(&t.rng, MAX_MISSES)];
    p->used = true;
    p->read = false;
    p->file = i;
    p->miss = *miss;
}

static void check_miss(int i, uint64_t offset, uint64_t len, int64_t n, const cm_miss *miss)
{
    const struct ofile *o = &t.origin[i];
    uint64_t pos = offset + (uint64_t)n;
    if ((uint64_t)n == len)
        return;
    if (miss->len == 0) {
        if (!(miss->flags & CM_MISS_EOF) || pos < o->size)
            fail("file %d: read of %llu at %llu ended at %llu without a reason", i,
                 (unsigned long long)len, (unsigned long long)offset, (unsigned long long)pos);
        return;
    }
    if (miss->offset % BLOCK || miss->offset > pos || miss->offset + BLOCK <= pos)
        fail("file %d: miss at %llu for position %llu", i, (unsigned long long)miss->offset,
             (unsigned long long)pos);
}

static void op_read(void)
{
    int i = (int)rng_below(&t.rng, FILES);
    uint64_t offset, len;
    cm_miss miss;
    random_range(i, &offset, &len);
    int64_t n = cm_read(t.file[i], offset, t.buf, len, &miss);
    must((int)(n < 0 ? n : 0), "cm_read");
    trace("read file %d %llu+%llu: %lld", i, (unsigned long long)offset, (unsigned long long)len,
          (long long)n);
    check_bytes(i, offset, t.buf, (uint64_t)n, "cm_read");
    check_brackets(i, offset, (uint64_t)n);
    check_miss(i, offset, len, n, &miss);
    if ((t.mode == CM_BYPASS || t.bypassed[i]) && n > 0)
        fail("hit in bypass mode or after a failed fsync");
    t.reads++;
    t.hits += n > 0;
    if ((uint64_t)n < len && miss.len > 0 && rng_below(&t.rng, 2))
        keep_miss(i, &miss);
}

static void op_read_through(void)
{
    int i = (int)rng_below(&t.rng, FILES);
    uint64_t offset, len;
    random_range(i, &offset, &len);
    uint8_t *to = t.buf + (rng_below(&t.rng, 2) ? 0 : 7);
    int64_t n = cm_read_through(t.file[i], offset, to, len, ofile_read, &t.origin[i]);
    trace("read through file %d %llu+%llu: %lld", i, (unsigned long long)offset,
          (unsigned long long)len, (long long)n);
    const struct ofile *o = &t.origin[i];
    uint64_t want = offset >= o->size ? 0 : o->size - offset < len ? o->size - offset : len;
    if (n != (int64_t)want)
        fail("cm_read_through file %d %llu+%llu gave %lld, want %llu", i,
             (unsigned long long)offset, (unsigned long long)len, (long long)n,
             (unsigned long long)want);
    check_bytes(i, offset, to, (uint64_t)n, "cm_read_through");
}

/* ---- Pins ------------------------------------------------------------------------------------ */

static void op_pin(void)
{
    struct pinned *p = &t.pin[rng_below(&t.rng, MAX_PINS)];
    int i = (int)rng_below(&t.rng, FILES);
    uint64_t offset, len;
    cm_miss miss;
    if (p->used) {
        unpin(p);
        return;
    }
    random_range(i, &offset, &len);
    int64_t n = cm_pin_range(t.file[i], offset, len, p->iov, 8, &p->n, &p->pins, &miss);
    must((int)(n < 0 ? n : 0), "cm_pin_range");
    trace("pin file %d %llu+%llu: %lld", i, (unsigned long long)offset, (unsigned long long)len,
          (long long)n);
    check_brackets(i, offset, (uint64_t)n);
    uint64_t done = 0;
    for (int k = 0; k < p->n; k++) {
        check_bytes(i, offset + done, p->iov[k].base, p->iov[k].len, "cm_pin_range");
        memcpy(p->copy + done, p->iov[k].base, p->iov[k].len);
        done += p->iov[k].len;
    }
    if (done != (uint64_t)n)
        fail("pinned pieces add up to %llu, not %lld", (unsigned long long)done, (long long)n);
    p->used = p->pins.n > 0;
}

/* The cached bytes of the blocks [first, end), as cm_file_ranges() says. */
static uint64_t cached_bytes(int i, uint64_t first, uint64_t end)
{
    uint64_t bytes = 0, from = first * BLOCK;
    for (cm_range r; from < end * BLOCK && cm_file_ranges(t.file[i], from, &r, 1) == 1;) {
        if (r.len == 0 || r.offset < from || r.offset + r.len > t.origin[i].size)
            fail("file %d: no such run of cached bytes", i);
        check_brackets(i, r.offset, r.len);
        from = r.offset + r.len;
        if (r.offset < end * BLOCK)
            bytes += (from < end * BLOCK ? from : end * BLOCK) - r.offset;
    }
    return bytes;
}

static void op_drop(void)
{
    int i = (int)rng_below(&t.rng, FILES);
    uint64_t offset, len;
    random_range(i, &offset, &len);
    const uint64_t first = offset / BLOCK, end = (offset + len - 1) / BLOCK + 1;
    const uint64_t want = cached_bytes(i, first, end);
    int64_t n = cm_drop(t.file[i], offset, len);
    trace("drop file %d %llu+%llu: %lld", i, (unsigned long long)offset, (unsigned long long)len,
          (long long)n);
    if (n != (int64_t)want || cached_bytes(i, first, end) != 0)
        fail("cm_drop: file %d: %lld bytes, %llu were cached", i, (long long)n,
             (unsigned long long)want);
}

static int cancel_later(void *left, uint64_t done, uint64_t total)
{
    if (done > total)
        fail("cm_warm: %llu of %llu bytes", (unsigned long long)done, (unsigned long long)total);
    return (*(uint64_t *)left)-- == 0;
}

/* What it stores is looked at by the reads that follow. */
static void op_warm(void)
{
    int i = (int)rng_below(&t.rng, FILES);
    uint64_t offset, len, left = rng_below(&t.rng, 8);
    cm_warm_options o = CM_WARM_OPTIONS_INIT;
    cm_warm_report r = { .struct_size = sizeof(r) };
    random_range(i, &offset, &len);
    if (rng_below(&t.rng, 4) == 0)
        len = CM_ALL;
    o.flags = rng_below(&t.rng, 2) ? CM_WARM_VERIFY : 0;
    o.progress = cancel_later;
    o.progress_ctx = &left;
    const int e = cm_warm(t.file[i], offset, len, &o, ofile_read, &t.origin[i], &r);
    trace("warm file %d %llu+%llu: %d, end %llu", i, (unsigned long long)offset,
          (unsigned long long)len, e, (unsigned long long)r.end);
    must(e == CM_ECANCELED ? 0 : e, "cm_warm");
    const struct ofile *f = &t.origin[i];
    const uint64_t end = len > CM_ALL - offset ? CM_ALL : offset + len;
    if (r.end < offset || r.end > end || r.stored > r.read ||
        (e == 0 && r.end < end && r.end < f->size))
        fail("cm_warm file %d %llu+%llu: %d, end %llu", i, (unsigned long long)offset,
             (unsigned long long)len, e, (unsigned long long)r.end);
    if (r.differed || r.undecided || (t.mode != CM_NORMAL && r.stored > 0))
        fail("cm_warm: %llu bytes stored, %llu differ", (unsigned long long)r.stored,
             (unsigned long long)(r.differed + r.undecided));
    t.warmed += r.stored;
}

/* ---- Writing --------------------------------------------------------------------------------- */

bool file_has_bracket(int i)
{
    for (int b = 0; b < MAX_BRACKETS; b++)
        if (t.bracket[b].used && t.bracket[b].file == i)
            return true;
    return false;
}

static void op_begin(void)
{
    struct bracket *b = &t.bracket[rng_below(&t.rng, MAX_BRACKETS)];
    if (b->used)
        return;
    memset(b, 0, sizeof(*b));
    b->file = (int)rng_below(&t.rng, FILES);
    const struct ofile *o = &t.origin[b->file];
    uint64_t dice = rng_below(&t.rng, 50); /* 0: the write fails */
    b->kind = dice < 6 ? WRITE : dice < 7 ? APPEND : dice < 9 ? TRUNCATE : TOUCH;
    random_range(b->file, &b->offset, &b->len);
    if (b->kind == TRUNCATE)
        b->offset = rng_below(&t.rng, rng_below(&t.rng, 3) ? o->size + 1 : o->max + 1);
    if (b->kind == WRITE && b->offset + b->len > o->max)
        return;
    switch (b->kind) {
    case WRITE:
        must(cm_write_begin(t.file[b->file], b->offset, b->len, &b->w), "cm_write_begin");
        break;
    case APPEND:
        must(cm_write_begin(t.file[b->file], CM_APPEND, b->len, &b->w), "cm_write_begin append");
        break;
    case TRUNCATE:
        must(cm_truncate_begin(t.file[b->file], b->offset, &b->w), "cm_truncate_begin");
        break;
    case TOUCH:
        must(cm_write_begin(t.file[b->file], 0, 0, &b->w), "cm_write_begin empty");
        break;
    }
    b->used = true;
    trace("begin kind %d file %d %llu+%llu", (int)b->kind, b->file, (unsigned long long)b->offset,
          (unsigned long long)b->len);
}

static void write_origin(struct bracket *b)
{
    struct ofile *o = &t.origin[b->file];
    note_change(b->file);
    trace("origin write kind %d file %d", (int)b->kind, b->file);
    b->written = true;
    switch (b->kind) {
    case WRITE:
        ofile_write(o, &t.rng, t.tick, b->offset, b->len);
        break;
    case APPEND:
        if (o->size + b->len <= o->max)
            ofile_write(o, &t.rng, t.tick, o->size, b->len);
        break;
    case TRUNCATE:
        ofile_truncate(o, t.tick, b->offset);
        break;
    case TOUCH:
        o->stamp = t.tick;
        break;
    }
}

static void op_write_origin(void)
{
    struct bracket *b = &t.bracket[rng_below(&t.rng, MAX_BRACKETS)];
    if (b->used && !b->written)
        write_origin(b);
}

static void end_bracket(struct bracket *b)
{
    if (!b->written && rng_below(&t.rng, 4))
        write_origin(b);
    cm_validator v = validator_of(b->file);
    trace("end file %d", b->file);
    must(cm_write_end(t.file[b->file], &b->w, rng_below(&t.rng, 3) ? &v : NULL), "cm_write_end");
    if (cm_write_end(t.file[b->file], &b->w, NULL) != CM_EBRACKET)
        fail("a bracket could be ended twice");
    b->used = false;
}

static void op_end(void)
{
    struct bracket *b = &t.bracket[rng_below(&t.rng, MAX_BRACKETS)];
    if (b->used)
        end_bracket(b);
}

static void op_sync(void)
{
    int i = (int)rng_below(&t.rng, FILES);
    cm_sync s;
    must(cm_sync_begin(t.file[i], &s), "cm_sync_begin");
    uint64_t dice = rng_below(&t.rng, 50); /* 0: the sync fails */
    /* A bracket that begins and writes during the sync. The sync may or may not cover it. */
    struct bracket *b = &t.bracket[0];
    bool before = rng_below(&t.rng, 2);
    if (before && dice)
        ofile_sync(&t.origin[i]);
    if (rng_below(&t.rng, 3) == 0 && b->used && b->file == i && !b->written)
        write_origin(b);
    if (!before && dice)
        ofile_sync(&t.origin[i]);
    if (rng_below(&t.rng, 4) == 0) { /* begins and ends during the sync: nothing is proved */
        struct bracket k = { .file = i, .kind = WRITE, .len = 1 };
        must(cm_write_begin(t.file[i], 0, 1, &k.w), "cm_write_begin beside a sync");
        write_origin(&k);
        must(cm_write_end(t.file[i], &k.w, NULL), "cm_write_end beside a sync");
    }
    cm_validator v = validator_of(i);
    trace("sync file %d ok %d", i, dice != 0);
    must(cm_sync_end(t.file[i], &s, dice != 0, rng_below(&t.rng, 2) ? &v : NULL), "cm_sync_end");
    t.bypassed[i] |= dice == 0; /* until the boot ends */
    t.origin[i].failed |= dice == 0;
}

static void op_foreign(void)
{
    int i = (int)rng_below(&t.rng, FILES);
    struct ofile *o = &t.origin[i];
    uint64_t offset, len;
    random_range(i, &offset, &len);
    if (offset + len > o->max)
        return;
    trace("foreign write file %d %llu+%llu", i, (unsigned long long)offset,
          (unsigned long long)len);
    note_change(i);
    if (rng_below(&t.rng, 4) == 0) {
        ofile_truncate(o, t.tick, offset);
        must(cm_invalidate(t.file[i], offset, CM_ALL), "cm_invalidate all");
    } else if (rng_below(&t.rng, 2) || file_has_bracket(i) || t.sole[i]) {
        ofile_write(o, &t.rng, t.tick, offset, len);
        must(cm_invalidate(t.file[i], offset, len), "cm_invalidate");
    } else {
        t.tick++; /* a new stamp, so that the validator shows the change */
        ofile_write(o, &t.rng, t.tick, offset, len);
        if (rng_below(&t.rng, 2)) { /* an own write must not hide the foreign one */
            struct bracket k = { .used = true, .file = i, .kind = TOUCH };
            must(cm_write_begin(t.file[i], 0, 0, &k.w), "cm_write_begin empty");
            t.tick++;
            end_bracket(&k);
        }
        cm_validator v = validator_of(i);
        if (cm_file_revalidate(t.file[i], &v) != 0)
            fail("revalidation without brackets was ignored");
    }
}

static void op_revalidate(void)
{
    int i = (int)rng_below(&t.rng, FILES);
    cm_validator v = validator_of(i);
    int r = cm_file_revalidate(t.file[i], &v);
    trace("revalidate file %d racy %u: %d", i, v.racy, r);
    must(r, "cm_file_revalidate");
    if (r != (file_has_bracket(i) ? CM_IGNORED : 0))
        fail("revalidation gave %d", r);
}

static void op_take_validator(void)
{
    struct old *o = &t.old[rng_below(&t.rng, MAX_OLD)];
    o->used = true;
    o->file = (int)rng_below(&t.rng, FILES);
    o->v = validator_of(o->file);
}

/* Presents a validator late. Much may have happened since it was taken. */
static void op_late_validator(void)
{
    struct old *o = take_old(-1);
    cm_file *again;
    if (!o)
        return;
    int r = rng_below(&t.rng, 2) ? cm_file_revalidate(t.file[o->file], &o->v) : -1;
    trace("late validator of file %d: %d", o->file, r);
    if (r >= 0)
        return;
    must(cm_file_open(t.cache, &t.origin[o->file].id, &o->v, t.sole[o->file] ? CM_SOLE_WRITER : 0,
                      &again),
         "cm_file_open with a late validator");
    must(cm_file_close(again), "cm_file_close");
}

static void op_rare(void)
{
    int i = (int)rng_below(&t.rng, FILES);
    switch (rng_below(&t.rng, 4)) {
    case 0:
        trace("forget file %d", i);
        must(cm_forget(t.cache, &t.origin[i].id), "cm_forget");
        end_name(i);
        break;
    case 1:
        trace("abort file %d", i);
        for (int b = 0; b < MAX_BRACKETS; b++)
            if (t.bracket[b].used && t.bracket[b].file == i)
                t.bracket[b].used = false;
        must(cm_file_abort(t.file[i]), "cm_file_abort");
        break;
    case 2:
        t.mode = (int)rng_below(&t.rng, 3);
        trace("mode %d", t.mode);
        must(cm_set_mode(t.cache, t.mode), "cm_set_mode");
        break;
    default:
        must(cm_file_advise(t.file[i], (int)rng_below(&t.rng, 2) * CM_ADVISE_KEEP), "advise");
        (void)cm_checkpoint(t.cache); /* promotes */
    }
}

static void op_check(void)
{
    cm_check_report r = { .struct_size = sizeof(r) };
    int e = cm_check(t.cache, rng_below(&t.rng, 2) ? CM_CHECK_REPAIR : 0, NULL, NULL, &r);
    if (e != 0 || r.bad_headers + r.bad_payload + r.duplicates + r.bad_cells + r.torn_records)
        fail("cm_check found damage: %d, headers %llu payload %llu duplicates %llu cells %llu "
             "records %llu",
             e, (unsigned long long)r.bad_headers, (unsigned long long)r.bad_payload,
             (unsigned long long)r.duplicates, (unsigned long long)r.bad_cells,
             (unsigned long long)r.torn_records);
}

/* ---- The run --------------------------------------------------------------------------------- */

static void step(void)
{
    static const struct {
        unsigned weight;
        void (*op)(void);
    } ops[] = {
        { 400, op_read },
        { 100, op_read_through },
        { 300, op_request },
        { 300, op_read_origin },
        { 400, op_fill },
        { 60, op_pin },
        { 10, op_drop },
        { 5, op_warm },
        { 25, op_begin },
        { 50, op_write_origin },
        { 60, op_end },
        { 30, op_sync },
        { 10, op_foreign },
        { 40, op_revalidate },
        { 15, op_reopen_file },
        { 3, op_rare },
        { 2, op_close },
        { 2, op_crash },
        { 3, op_power_cut },
        { 1, op_check },
        { 10, op_name },
        { 20, op_take_validator },
        { 15, op_late_validator },
    };
    unsigned total = 0;
    for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++)
        total += ops[i].weight;
    unsigned dice = (unsigned)rng_below(&t.rng, total);
    size_t i = 0;
    while (dice >= ops[i].weight)
        dice -= ops[i++].weight;
    ops[i].op();
    if (rng_below(&t.rng, t.op / 4096 % 2 ? 12 : 400) == 0) /* a fine and a coarse clock in turn */
        t.tick++;
    if (t.mode != CM_NORMAL && rng_below(&t.rng, 20) == 0) {
        t.mode = CM_NORMAL;
        must(cm_set_mode(t.cache, t.mode), "cm_set_mode");
    }
}

static void set_up(uint64_t slots)
{
    t.pool_bytes = cm_pool_size_min() + 2 * BLOCK + (slots - 64) * (BLOCK + 64) / BLOCK * BLOCK;
    t.pool = os_aligned(BLOCK, t.pool_bytes);
    t.buf = os_aligned(BLOCK, BUF + BLOCK);
    if (!t.pool || !t.buf)
        abort();
    memset(t.pool, 0xa5, t.pool_bytes);
    cm_create_options named = CM_CREATE_OPTIONS_INIT;
    named.flags = CM_CREATE_NAMES;
    must(cm_format_memory(t.pool, t.pool_bytes, &named), "cm_format_memory");
    for (int i = 0; i < FILES; i++) {
        ofile_init(&t.origin[i], (uint64_t)i, i == 0 ? 700 * BLOCK : 40 * BLOCK);
        ofile_write(&t.origin[i], &t.rng, t.tick, 0,
                    1 + rng_below(&t.rng, t.origin[i].max - BLOCK));
        ofile_sync(&t.origin[i]);
    }
    for (int i = 0; i < MAX_MISSES; i++)
        t.pending[i].data = os_aligned(BLOCK, BUF);
    for (int i = 0; i < MAX_PINS; i++)
        t.pin[i].copy = malloc(BUF);
    for (int i = 0; i < MAX_ASKED; i++)
        t.asked[i].buf = os_aligned(BLOCK, BUF + BLOCK);
    t.tick += 2;
    t.boot_tick = t.tick;
    open_pool();
}

static void tear_down(void)
{
    lose_session();
    for (int i = 0; i < FILES; i++)
        ofile_free(&t.origin[i]);
    for (int i = 0; i < MAX_MISSES; i++)
        os_aligned_free(t.pending[i].data);
    for (int i = 0; i < MAX_PINS; i++)
        free(t.pin[i].copy);
    for (int i = 0; i < MAX_ASKED; i++)
        os_aligned_free(t.asked[i].buf);
    os_aligned_free(t.buf);
    os_aligned_free(t.pool);
}

int main(int argc, char **argv)
{
    uint64_t ops = 100000, slots = 96;
    t.seed = cm_now();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0)
            t.verbose = true;
        else if (strcmp(argv[i], "--ops") == 0 && i + 1 < argc)
            ops = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            t.seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--slots") == 0 && i + 1 < argc)
            slots = strtoull(argv[++i], NULL, 10);
        else
            return fprintf(stderr, "usage: model [--ops N] [--seed S] [--slots N] [--verbose]\n"),
                   2;
    }
    t.rng.s = t.seed;
    t.tick = 1000000;
    printf("model: seed %llu, %llu operations, %llu slots\n", (unsigned long long)t.seed,
           (unsigned long long)ops, (unsigned long long)slots);
    set_up(slots < 64 ? 64 : slots);
    for (t.op = 0; t.op < ops; t.op++)
        step();
    printf(
        "model: %llu reads, %.1f %% with hits; %llu fills stored, %llu refused; %llu closes, %llu "
        "crashes, %llu power cuts; %llu files kept warm; %llu requests; %llu bytes warmed\n",
        (unsigned long long)t.reads, 100.0 * (double)t.hits / (double)(t.reads + !t.reads),
        (unsigned long long)t.stored, (unsigned long long)t.refused, (unsigned long long)t.closes,
        (unsigned long long)t.crashes, (unsigned long long)t.cuts, (unsigned long long)t.kept,
        (unsigned long long)t.asked_done, (unsigned long long)t.warmed);
    if (ops >= 50000 && (t.hits * 10 < t.reads || t.kept == 0 || t.asked_done == 0 ||
                         t.warmed == 0 || t.names == 0))
        fail("too few hits: a cache that always misses must not pass");
    tear_down();
    return 0;
}
