/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_operations.c - the operations of sequences, and how one of them runs: alone, beside another
 * one, or with something in it that fails.
 */
#include "world_parts.h"

#include "protocol/lookup.h"
#include "media/file_table.h"
#include "state/settle.h"

#define FAR_NS (INT64_C(1) << 60) /* no run takes as long */

/* ---- Operations ------------------------------------------------------------------------------ */

int fill(int f, unsigned first, unsigned n)
{
    cm_miss miss;
    uint64_t offset = block_number(f, first) * BLOCK;
    int64_t got = cm_read(w.file[f], offset, w.buf, (size_t)n * BLOCK, &miss);
    always(got, "cm_read");
    if (miss.len == 0)
        return 0;
    uint64_t len = (miss.len + BLOCK - 1) / BLOCK * BLOCK;
    int64_t r = read_origin(&f, miss.offset, w.buf, len);
    if (r <= 0)
        return 0;
    int e = cm_fill(w.file[f], &miss, w.buf, (size_t)r, r % BLOCK ? CM_FILL_EOF : 0);
    always(e, "cm_fill");
    return e;
}

static void op_fill_a0(void)
{
    fill(FILE_A, 0, 1);
}
static void op_fill_a(void)
{
    for (unsigned i = 0; i < 6; i += 2) {
        fill(FILE_A, i, 2);
        checkpoint();
    }
}
static void op_fill_b1(void)
{
    fill(FILE_B, 1, 1);
}
static void op_fill_b_tail(void)
{
    fill(FILE_B, 2, 2);
}
static void op_fill_z(void);
int __real_cm_guard_copy(void *dst, const void *src, size_t n);
int __wrap_cm_guard_copy(void *dst, const void *src, size_t n);
int __wrap_cm_guard_copy(void *dst, const void *src, size_t n)
{
    if (rec_load_fails())
        return CM_EIO;
    size_t half = w.torn && n >= BLOCK ? BLOCK / 2 : 0; /* of the first block */
    int e = __real_cm_guard_copy(dst, src, half);
    if (half) {
        uint8_t *buf = w.buf;
        w.torn = false;
        w.buf = w.other_buf;
        op_fill_z();
        w.buf = buf;
    }
    return e ? e
             : __real_cm_guard_copy((uint8_t *)dst + half, (const uint8_t *)src + half, n - half);
}
/* Without this wrapper the copy would be one piece, and nothing could come in its middle. */
cm_guard_take_fn __wrap_cm_guard_take_choose(void);
cm_guard_take_fn __wrap_cm_guard_take_choose(void)
{
    return NULL;
}
/* In pools as small as these every block is in the sample of the curve. The simulation of other
 * sizes, which changes DRAM only, would take 40 % of the time. */
void __wrap_cm_sample_read(struct cm_cache *c, const struct cm_key *k, bool again, bool missed);
void __wrap_cm_sample_read(struct cm_cache *c, const struct cm_key *k, bool again, bool missed)
{
    (void)c, (void)k, (void)again, (void)missed;
}
/* A block is evicted while it is copied, and its slot is filled again. */
static void read_torn(size_t len)
{
    static uint8_t want[2 * BLOCK] __attribute__((aligned(4096)));
    w.cache->opts.verify = CM_VERIFY_NEVER;
    /* So that earlier reads do not protect it from eviction. */
    for (uint64_t s = 0; s < POOL_SLOTS; s++)
        cm_ring_set(&w.cache->policy.ring, s, 0);
    w.torn = true;
    int64_t n = cm_read(w.file[FILE_A], 0, w.buf, len, NULL);
    w.torn = false;
    w.cache->opts.verify = CM_VERIFY_ALWAYS;
    always(n, "cm_read");
    origin_of(&w.now, FILE_A, 0, want, len);
    if (memcmp(w.buf, want, (size_t)n) != 0)
        always(CM_EIO, "a torn copy");
}
static void op_read_torn(void)
{
    read_torn(BLOCK);
}
/* The same for two blocks in one copy. */
static void op_read_torn_run(void)
{
    read_torn(2 * BLOCK);
}
static void op_read_a(void)
{
    always(cm_read(w.file[FILE_A], 0, w.buf, 6 * BLOCK, NULL), "cm_read");
}
static void churn(unsigned first, unsigned end)
{
    int f = FILE_C;
    for (unsigned i = first; i < end; i++) {
        /* It would wait for the flight of the outer operation, which runs in the same thread. */
        if (w.beside)
            fill(f, i, 1);
        else
            always(cm_read_through(w.file[f], i * BLOCK, w.buf, BLOCK, read_origin, &f), "churn");
        checkpoint();
    }
}
void op_churn_low(void)
{
    churn(0, 16);
}
void op_churn_high(void)
{
    churn(16, 40);
}
/* Stores as many blocks as fit beside A's first block. */
static void op_crowd(void)
{
    for (unsigned i = 0; i < 15; i++) {
        fill(FILE_Z, i, 1);
        checkpoint();
    }
}
static void op_fill_z(void)
{
    fill(FILE_Z, 15, 1);
}
void op_overflow(void)
{
    for (unsigned i = 0; i < Z_BLOCKS; i++) {
        fill(FILE_Z, i, 1);
        checkpoint();
    }
}

static void write_a(uint64_t offset, uint64_t len)
{
    ofile_write(&w.now.file[FILE_A], &w.rng, w.now.tick, offset, len);
    mark();
}

static void write_bracket(uint64_t offset, uint64_t len, bool validate)
{
    cm_bracket k;
    must(cm_write_begin(w.file[FILE_A], offset, len, &k), "cm_write_begin");
    write_a(offset, len);
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    must(cm_write_end(w.file[FILE_A], &k, validate ? &v : NULL), "cm_write_end");
}
static void op_write_adopt(void)
{
    write_bracket(100, 50, true);
}
static void op_write_plain(void)
{
    write_bracket(0, 2 * BLOCK, false);
}
static void op_begin(void)
{
    if (w.bracket)
        return;
    must(cm_write_begin(w.file[FILE_A], BLOCK, BLOCK, &w.open), "cm_write_begin");
    w.bracket = true;
    w.written = false;
}
static void op_write_open(void)
{
    if (w.bracket && !w.written)
        write_a(BLOCK, BLOCK);
    w.written = w.bracket;
}
void end_open(bool validate)
{
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    if (w.bracket)
        must(cm_write_end(w.file[FILE_A], &w.open, validate ? &v : NULL), "cm_write_end");
    w.bracket = false;
}
static void op_end_adopt(void)
{
    end_open(true);
}
static void op_end_plain(void)
{
    end_open(false);
}
static void op_append(void)
{
    cm_bracket k;
    struct ofile *o = &w.now.file[FILE_A];
    if (o->size + 600 > o->max)
        return;
    must(cm_write_begin(w.file[FILE_A], CM_APPEND, 600, &k), "append");
    write_a(o->size, 600);
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    must(cm_write_end(w.file[FILE_A], &k, &v), "cm_write_end");
}
static void truncate_a(uint64_t size)
{
    cm_bracket k;
    must(cm_truncate_begin(w.file[FILE_A], size, &k), "cm_truncate_begin");
    ofile_truncate(&w.now.file[FILE_A], w.now.tick, size);
    mark();
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    must(cm_write_end(w.file[FILE_A], &k, &v), "cm_write_end");
}
static void op_shrink(void)
{
    truncate_a(BLOCK + 100);
}
static void op_grow(void)
{
    truncate_a(5 * BLOCK);
}
static void op_large(void)
{
    cm_bracket k;
    must(cm_write_begin(w.file[FILE_A], 0, UINT64_C(65) << 20, &k), "large");
    write_a(0, 10);
    must(cm_write_end(w.file[FILE_A], &k, NULL), "cm_write_end");
}
static void op_sync(void)
{
    cm_sync s;
    must(cm_sync_begin(w.file[FILE_A], &s), "cm_sync_begin");
    ofile_sync(&w.now.file[FILE_A]);
    mark();
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    must(cm_sync_end(w.file[FILE_A], &s, 1, &v), "cm_sync_end");
}
/* A bracket that begins and ends while the sync runs: the sync proves nothing about it. */
static void op_sync_beside(void)
{
    cm_sync s;
    must(cm_sync_begin(w.file[FILE_A], &s), "cm_sync_begin");
    ofile_sync(&w.now.file[FILE_A]);
    mark();
    write_bracket(200, 20, false);
    must(cm_sync_end(w.file[FILE_A], &s, 1, NULL), "cm_sync_end");
}
static void op_write_sync(void)
{
    write_bracket(0, 2 * BLOCK, false);
    checkpoint();
    w.now.tick++; /* else the validator would be racy, and prove nothing after a crash */
    op_sync();
}
static void op_sync_failed(void)
{
    cm_sync s;
    w.tangled = w.tangled || w.was_nameless;
    must(cm_sync_begin(w.file[FILE_A], &s), "cm_sync_begin");
    must(cm_sync_end(w.file[FILE_A], &s, 0, NULL), "cm_sync_end");
    w.now.file[FILE_A].failed = true; /* from here on: who dies before it has told nobody */
    mark();
}
/* Another program writes B. Fills that were read before are void from the moment the cache knows.
 * Nothing is promised between the change and that moment, so the two are one step here. */
static void foreign_write_b(void)
{
    w.now.tick++;
    ofile_write(&w.now.file[FILE_B], &w.rng, w.now.tick, 10, 50);
    w.now.tick++;
    w.now.unnoticed = true;
}
/* From here on no crash brings the old bytes back, even if it takes the stamps. */
static void noticed_b(void)
{
    w.now.unnoticed = false;
    mark();
}
/* The same, but no stamp shows it: only the caller knows. */
static void rewrite_b(void)
{
    struct ofile *o = &w.now.file[FILE_B];
    ofile_write(o, &w.rng, o->stamp, 0, 2 * BLOCK);
    ofile_sync(o);
    mark();
}
static void op_invalidate(void)
{
    must(cm_invalidate(w.file[FILE_B], 0, BLOCK), "cm_invalidate");
    foreign_write_b();
    noticed_b();
}
static void op_revalidate_b(void)
{
    foreign_write_b();
    cm_validator v = validator_of(&w.now, FILE_B, w.now.tick);
    mark();
    must(cm_file_revalidate(w.file[FILE_B], &v), "cm_file_revalidate");
    noticed_b();
}
static void op_revalidate_a(void)
{
    w.now.tick++;
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    must(cm_file_revalidate(w.file[FILE_A], &v), "cm_file_revalidate");
}
static void op_forget_a(void)
{
    must(cm_forget(w.cache, &w.id[FILE_A]), "cm_forget");
}
static void op_rewrite_b(void)
{
    cm_sync s;
    must(cm_invalidate(w.file[FILE_B], 0, 2 * BLOCK), "cm_invalidate");
    rewrite_b();
    must(cm_sync_begin(w.file[FILE_B], &s), "cm_sync_begin");
    must(cm_sync_end(w.file[FILE_B], &s, 1, NULL), "cm_sync_end");
}
static void op_forget_b(void)
{
    must(cm_forget(w.cache, &w.id[FILE_B]), "cm_forget");
    rewrite_b();
}
static void detach(int f)
{
    must(cm_file_close(w.file[f]), "cm_file_close");
    w.file[f] = NULL;
}
void forget_closed_b(void)
{
    must(cm_forget(w.cache, &w.id[FILE_B]), "cm_forget");
    w.forgotten[FILE_B] = true;
    checkpoint();
    rewrite_b();
}
static void op_forget_closed(void)
{
    detach(FILE_B);
    forget_closed_b();
    attach(FILE_B, false);
}
static void op_reattach(void)
{
    if (w.bracket)
        return;
    detach(FILE_A);
    attach(FILE_A, true);
}
/* A program that does not know A's size attaches it anew. A fill up to the end tells it. */
static void op_unsized(void)
{
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    if (w.bracket)
        return;
    detach(FILE_A);
    v.size = CM_SIZE_UNKNOWN;
    must(cm_file_open(w.cache, &w.id[FILE_A], &v, CM_SOLE_WRITER, &w.file[FILE_A]), "open");
    w.vague[FILE_A] = false;
    fill(FILE_A, (unsigned)(w.now.file[FILE_A].size / BLOCK), 1);
    look_at_size();
}
void visit(uint64_t stranger)
{
    cm_file_id id = { STRANGERS, stranger };
    cm_validator v = validator_of_version(1, 5);
    cm_file *f;
    must(cm_file_open(w.cache, &id, &v, 0, &f), "cm_file_open");
    must(cm_file_close(f), "cm_file_close");
}
static void give_name(int f, unsigned i)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    int e = cm_file_set_name(w.file[f], known_name(f, i));
    always(e, "cm_file_set_name");
    must(cm_file_get_info(w.file[f], &info), "cm_file_get_info");
    if (w.failing || w.beside ? !is_name(f, info.name)
                              : e == 0 && strcmp(info.name, known_name(f, i)) != 0)
        w.wrong = "a wrong name";
}
/* A and B are renamed, A twice. */
static void op_name(void)
{
    give_name(FILE_A, 0);
    checkpoint();
    give_name(FILE_B, 1);
    give_name(FILE_A, 1);
}
/* What is said of a file ends the next time. It stands in the record, beside what else a crash is
 * judged by. */
static void keep(int f)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    must(cm_file_get_info(w.file[f], &info), "cm_file_get_info");
    const int e = cm_file_set_keep(w.file[f], !info.keep);
    if (e != CM_EKEEP)
        must(e, "cm_file_set_keep");
    /* Where that is synced, all that was said before is on the disk, too. */
    const bool synced = e == 0 && at_load_relaxed(&w.cache->settling.on) == CM_SETTLING_ON;
    w.kept_attr[f] = attr_bit(f) | (synced ? 0 : w.kept_attr[f]);
}
static void op_keep(void)
{
    keep(FILE_A);
}
static void op_keep_b(void)
{
    keep(FILE_B);
}
static void op_group(void)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    must(cm_file_get_info(w.file[FILE_A], &info), "cm_file_get_info");
    must(cm_file_set_group(w.file[FILE_A], !info.group), "cm_file_set_group");
    w.kept_attr[FILE_A] |= attr_bit(FILE_A);
}
static void op_ttl(void)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    must(cm_file_get_info(w.file[FILE_A], &info), "cm_file_get_info");
    must(cm_file_set_ttl(w.file[FILE_A], info.expires_ns ? 0 : FAR_NS), "cm_file_set_ttl");
}
static bool has_record(const cm_file_id *id)
{
    struct cm_record_set b;
    bool found = false;
    cm_record_load(&w.cache->media, id, &b);
    for (unsigned i = 0; i < b.n; i++)
        found |= cm_record_names(&b, i, id);
    return found;
}
/* Other files come, until one of them gets the record of a file that is not open. The number is
 * limited: a record of a failed sync stays. */
static void push_out(const cm_file_id *id)
{
    for (uint64_t i = 1000; has_record(id) && i < 1200; i++) { /* all have the same two buckets */
        visit(i);
        checkpoint();
    }
}
static void op_evict_a(void)
{
    if (w.bracket)
        return;
    detach(FILE_A);
    checkpoint();
    push_out(&w.id[FILE_A]);
    attach(FILE_A, true);
}
static void op_evict_b(void)
{
    detach(FILE_B);
    checkpoint();
    push_out(&w.id[FILE_B]);
    forget_closed_b();
    attach(FILE_B, false);
}
/* Files with names get the records of A, and A gets one of theirs. */
static void op_evict_named(void)
{
    if (w.bracket)
        return;
    detach(FILE_A);
    for (uint64_t i = 1000; has_record(&w.id[FILE_A]) && i < 1200; i++) {
        cm_file_id id = { STRANGERS, i };
        cm_validator v = validator_of_version(1, 5);
        cm_file *f;
        must(cm_file_open(w.cache, &id, &v, 0, &f), "cm_file_open");
        always(cm_file_set_name(f, "stranger"), "cm_file_set_name");
        must(cm_file_close(f), "cm_file_close");
        checkpoint();
    }
    attach(FILE_A, true);
}
static void op_offline(void)
{
    detach(FILE_B);
    foreign_write_b();
    mark();
    const bool recorded = has_record(&w.id[FILE_B]); /* else nothing shows the change */
    attach(FILE_B, false);
    if (recorded)
        noticed_b();
}
static void op_abort(void)
{
    must(cm_file_abort(w.file[FILE_A]), "cm_file_abort");
    w.bracket = false;
}

/* From here on another thread runs all operations. */
static void op_thread(void)
{
    cm_plat_thread()->number++;
}
/* The cache finds A's first block damaged. */
static void op_drop(void)
{
    struct cm_key k =
        cm_region_key(cm_object_of(w.file[FILE_A]), cm_object_of(w.file[FILE_A])->incarnation, 0);
    struct cm_header h;
    uint64_t slot;
    uint32_t valid;
    bool busy;
    enum cm_found r = cm_lookup_pin(w.cache, &k, &slot, &valid, &busy);
    if (r != CM_FOUND_HIT && r != CM_FOUND_BUFFERED)
        return;
    cm_lookup_unpin(w.cache, slot);
    if (slot >= POOL_SLOTS) /* the block waits in DRAM */
        return;
    if (cm_slot_header(&w.cache->media, slot, &h) == CM_SLOT_HIT)
        cm_step_drop(w.cache, slot, &k, h.w0);
}
/* The program drops blocks of A, to make room. */
static void op_drop_range(void)
{
    always(cm_drop(w.file[FILE_A], 0, 2 * BLOCK), "cm_drop");
}
/* The pool empties itself while it is open, as after a sync that failed, or where a block could not
 * be forgotten. The files get their records again when they are closed. */
static void op_emptied(void)
{
    end_open(false);
    must(cm_settle_failed(w.cache), "cm_settle_failed");
    for (int f = 0; f < FILES; f++) {
        w.kept_attr[f] |= 1; /* nothing: a crash of the system may take the rest of its record */
        detach(f);
    }
    attach_all(&nothing);
}
static void op_check(void)
{
    cm_check_report c = { .struct_size = sizeof(c) };
    must(cm_check(w.cache, 0, NULL, NULL, &c), "cm_check");
}
static void op_repair(void)
{
    cm_check_report c = { .struct_size = sizeof(c) };
    must(cm_check(w.cache, CM_CHECK_REPAIR, NULL, NULL, &c), "cm_check");
}
static void op_many_files(void)
{
    for (uint64_t i = 1; i <= 10; i++)
        visit(i);
}
static void op_pin(void)
{
    cm_iovec iov[4];
    cm_pins pins;
    int n;
    const int64_t got = cm_pin_range(w.file[FILE_A], 0, 2 * BLOCK, iov, 4, &n, &pins, NULL);
    if (got != CM_ENOTSUP) /* as of a sealed pool: nothing is pinned */
        must(got, "cm_pin_range");
    op_churn_low();
    if (got >= 0 && pins.n)
        must(cm_unpin(&pins), "cm_unpin");
}

/* The next operation runs in another thread, at the n-th fence of the operation after it. */
static void beside_at(unsigned n)
{
    w.arm = n;
    w.inner = NULL;
}
/* The pool grows, as long as it may. */
static void op_grow_pool(void)
{
    const uint64_t now = w.cache->media.geo.pool_size;
    if (w.room == w.bytes)
        return;
    for (unsigned i = 0; i < GROWTHS; i++)
        if (w.grown[i] > now) {
            must(cm_grow(w.cache, w.grown[i], NULL), "cm_grow");
            return;
        }
}

static void op_beside_1(void)
{
    beside_at(1);
}
static void op_beside_2(void)
{
    beside_at(2);
}
static void op_beside_3(void)
{
    beside_at(3);
}

static const struct {
    const char *name;
    void (*op)(void);
    enum { PLAIN, ALONE, FORGETS, ARMS } kind; /* ALONE, FORGETS: never beside another one */
} ops[] = {
    { "fill-a0", op_fill_a0, PLAIN },
    { "fill-a", op_fill_a, PLAIN },
    { "fill-b1", op_fill_b1, PLAIN },
    { "fill-b-tail", op_fill_b_tail, PLAIN },
    { "read-a", op_read_a, PLAIN },
    { "churn-low", op_churn_low, PLAIN },
    { "churn-high", op_churn_high, PLAIN },
    { "overflow", op_overflow, PLAIN },
    { "write-adopt", op_write_adopt, PLAIN },
    { "write-plain", op_write_plain, PLAIN },
    { "begin", op_begin, PLAIN },
    { "write-open", op_write_open, PLAIN },
    { "end-adopt", op_end_adopt, PLAIN },
    { "end-plain", op_end_plain, PLAIN },
    { "append", op_append, PLAIN },
    { "shrink", op_shrink, PLAIN },
    { "grow", op_grow, PLAIN },
    { "large", op_large, PLAIN },
    { "sync", op_sync, PLAIN },
    { "sync-beside", op_sync_beside, PLAIN },
    { "sync-failed", op_sync_failed, PLAIN },
    { "invalidate", op_invalidate, PLAIN },
    { "revalidate-a", op_revalidate_a, PLAIN },
    { "revalidate-b", op_revalidate_b, PLAIN },
    { "forget-a", op_forget_a, PLAIN },
    { "forget-closed", op_forget_closed, FORGETS },
    { "reattach", op_reattach, ALONE },
    { "unsized", op_unsized, ALONE },
    { "offline", op_offline, ALONE },
    { "abort", op_abort, ALONE },
    { "close", op_close, ALONE },
    { "process-crash", op_process_crash, ALONE },
    { "check", op_check, PLAIN },
    { "repair", op_repair, PLAIN },
    { "many-files", op_many_files, PLAIN },
    { "pin", op_pin, PLAIN },
    { "write-sync", op_write_sync, PLAIN },
    { "forget-b", op_forget_b, PLAIN },
    { "rewrite-b", op_rewrite_b, PLAIN },
    { "format", op_format, ALONE },
    { "damage-repair", op_damage_repair, ALONE },
    { "drop-range", op_drop_range, PLAIN },
    { "pool-checkpoint", op_pool_checkpoint, PLAIN },
/* The operations from here on are not in all sequences up to a length: that would take too long. */
#define FIRST_RARE "fill-z"
    { FIRST_RARE, op_fill_z, PLAIN },
    { "drop", op_drop, PLAIN },
    { "emptied", op_emptied, ALONE },
    { "crowd", op_crowd, PLAIN },
    { "thread", op_thread, PLAIN },
    { "read-torn", op_read_torn, ALONE },
    { "read-torn-run", op_read_torn_run, ALONE },
    { "close-unsynced", op_close_unsynced, ALONE },
    { "elsewhere", op_elsewhere, ALONE },
    { "elsewhere-failed", op_elsewhere_failed, ALONE },
    { "elsewhere-attached", op_elsewhere_attached, ALONE },
    { "elsewhere-nameless", op_elsewhere_nameless, ALONE },
    { "nameless", op_nameless, ALONE },
    { "put-back", op_put_back, ALONE },
    { "write-back-failed", op_write_back_failed, ALONE },
    { "power-cut", op_power_cut, ALONE },
    { "evict-a", op_evict_a, ALONE },
    { "evict-b", op_evict_b, FORGETS },
    { "name", op_name, PLAIN },
    { "keep", op_keep, PLAIN },
    { "keep-b", op_keep_b, PLAIN },
    { "group", op_group, PLAIN },
    { "ttl", op_ttl, PLAIN },
    { "evict-named", op_evict_named, ALONE },
    { "grow-pool", op_grow_pool, PLAIN },
    { "beside-1", op_beside_1, ARMS },
    { "beside-2", op_beside_2, ARMS },
    { "beside-3", op_beside_3, ARMS },
};

unsigned world_ops(void)
{
    return sizeof(ops) / sizeof(*ops);
}

unsigned world_usual_ops(void)
{
    unsigned n = 0;
    while (strcmp(ops[n].name, FIRST_RARE) != 0)
        n++;
    return n;
}

const char *world_op_name(unsigned op)
{
    return ops[op].name;
}

/* Would another thread have to wait for a lock? */
static bool locked(void)
{
    const cm_cache *c = w.cache;
    uint32_t any =
        c->settling.lock.word | c->files_lock.word | c->super.lock.word | c->policy.ring.lock.word;
    for (uint64_t s = 0; s < c->media.geo.stripes; s++)
        any |= c->stripes[s].lock.word;
    for (int f = 0; f < FILES; f++)
        any |= cm_object_of(w.file[f])->lock.word;
    return any != 0;
}

static void run_inner(void)
{
    void (*inner)(void) = w.inner;
    uint8_t *buf = w.buf;
    struct cm_plat_thread *t = cm_plat_thread(), outer = *t;
    w.inner = NULL;
    rec_at_fence(0, NULL);
    w.buf = w.other_buf;
    t->number++;
    t->callback = NULL;
    w.beside = true;
    inner();
    w.beside = false;
    *t = outer;
    w.buf = buf;
}

static void at_fence(void)
{
    if (!locked()) /* else it would wait, at least until the next fence */
        run_inner();
}

void world_op(unsigned op)
{
    w.tangled = false;
    w.forgets = ops[op].kind == FORGETS;
    if (ops[op].kind == ALONE || w.forgets)
        w.arm = 0;
    if (w.arm == 0 || ops[op].kind == ARMS) {
        ops[op].op();
        return;
    }
    if (!w.inner) {
        w.inner = ops[op].op;
        return;
    }
    w.tangled = true;
    rec_at_fence(w.arm, at_fence);
    w.arm = 0;
    ops[op].op();
    if (w.inner)
        run_inner();
    rec_at_fence(0, NULL);
}

bool world_op_failing(unsigned op, unsigned n)
{
    if (w.arm != 0 || ops[op].kind == ARMS) { /* an operation beside another one cannot give up */
        world_op(op);
        return false;
    }
    rec_fail_at(n);
    w.failing = true;
    if (setjmp(w.give_up) == 0)
        world_op(op);
    w.failing = false;
    bool failed = rec_failed();
    rec_fail_at(0);
    if (!failed)
        return false;
    if (!w.cache)
        open_or_format(ops[op].op == op_format);
    for (int f = 0; f < FILES; f++) {
        if (!w.file[f])
            attach(f, f == FILE_A);
        w.vague[f] = true;
    }
    return true;
}

const char *world_wrong(void)
{
    return w.wrong;
}

bool world_tangled(void)
{
    return w.tangled;
}
