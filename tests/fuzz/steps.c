/* SPDX-License-Identifier: BSD-2-Clause
 *
 * steps.c - one call of the library, with arguments of the input, and what the model says to it.
 *
 * After an error of a call that announces a write nothing is written, as cachemax.h says.
 */
#include "world.h"

/* The place of a block that the model knows, and a length; within the file. */
struct piece {
    uint64_t off;
    size_t len;
};
static struct piece take_piece(const struct world_file *f, struct fuzz_input *in)
{
    const uint8_t block = take_byte(in), how = take_byte(in);
    const uint64_t off = block % WORLD_BLOCKS * f->stride * BLK;
    size_t len = how & 1 ? BLK : 1 + how * 37u;

    if ((how & 2) && f->stride == 1)
        len = BLK * (1 + how / 16);
    if (how & 4)
        return (struct piece){ off + how, len < BLK ? len : BLK - how };
    return (struct piece){ off, len < WORLD_READ_MAX ? len : WORLD_READ_MAX };
}

static void read_whole(struct world *w, uint64_t file, struct fuzz_input *in)
{
    const struct piece p = take_piece(&w->file[file], in);
    uint8_t *const buf = world_buffer_end - p.len;
    const int64_t n = cm_read_whole(w->file[file].f, p.off, buf, p.len, take_byte(in) & 1);

    FUZZ_CHECK(n <= (int64_t)p.len);
    if (n > 0)
        world_check(w, file, p.off, buf, (uint64_t)n);
}

static void read_many(struct world *w, uint64_t file, struct fuzz_input *in)
{
    enum { PIECES = 6 };
    uint8_t *const buf = world_buffer_end - PIECES * BLK;
    uint8_t *at[PIECES];
    cm_read_vec v[PIECES];

    for (unsigned i = 0; i < PIECES; i++) {
        const struct piece p = take_piece(&w->file[file], in);

        v[i] = (cm_read_vec)CM_READ_VEC_INIT;
        v[i].offset = p.off;
        v[i].len = p.len < BLK ? p.len : BLK;
        v[i].buf = at[i] = buf + i * BLK;
    }
    (void)cm_read_many(w->file[file].f, v, PIECES);
    for (unsigned i = 0; i < PIECES; i++) {
        FUZZ_CHECK(v[i].result <= (int64_t)v[i].len);
        if (v[i].result > 0)
            world_check(w, file, v[i].offset, at[i], (uint64_t)v[i].result);
    }
}

static void pin(struct world *w, uint64_t file, struct fuzz_input *in)
{
    const struct piece p = take_piece(&w->file[file], in);
    cm_pins pins;
    cm_iovec iov[4];
    int n = 0;
    uint64_t at = p.off;
    int64_t got;

    memset(&pins, 0, sizeof(pins));
    got = cm_pin_range(w->file[file].f, p.off, p.len, iov, 4, &n, &pins, NULL);
    FUZZ_CHECK(got <= (int64_t)p.len);
    for (int i = 0; got > 0 && i < n; i++) {
        world_check(w, file, at, iov[i].base, iov[i].len);
        at += iov[i].len;
    }
    FUZZ_CHECK(got <= 0 || at - p.off == (uint64_t)got);
    if (pins.n > 0)
        FUZZ_CHECK(cm_unpin(&pins) == 0);
}

static void read_through(struct world *w, uint64_t file, struct fuzz_input *in)
{
    const struct piece p = take_piece(&w->file[file], in);
    struct world_place at = { w, file };
    uint8_t *const buf = world_buffer_end - p.len;
    world_remember(w);
    const int64_t n = cm_read_through(w->file[file].f, p.off, buf, p.len, world_origin, &at);

    FUZZ_CHECK(n <= (int64_t)p.len);
    if (n > 0)
        world_check(w, file, p.off, buf, (uint64_t)n);
}

static void request(struct world *w, uint64_t file, struct fuzz_input *in)
{
    const struct piece p = take_piece(&w->file[file], in);
    struct world_place at = { w, file };
    cm_request r = CM_REQUEST_INIT;
    cm_piece piece;
    int e;
    int64_t n;

    r.offset = p.off;
    r.len = p.len;
    r.buf = world_buffer_end - p.len;
    world_remember(w);
    if (cm_request_begin(w->file[file].f, &r) != 0)
        return;
    for (unsigned i = 0; i < 100 && (e = cm_request_step(&r, &piece)) != 0; i++)
        if (e == CM_REQUEST_READ)
            (void)cm_request_complete(&r, &piece,
                                      world_origin(&at, piece.offset, piece.buf, piece.len));
    n = cm_request_end(&r);
    FUZZ_CHECK(n != CM_EBUSY && n <= (int64_t)p.len);
    if (n > 0)
        world_check(w, file, p.off, world_buffer_end - p.len, (uint64_t)n);
}

static void begin_write(struct world *w, uint64_t file, struct fuzz_input *in)
{
    struct world_file *const f = &w->file[file];
    const struct piece p = take_piece(f, in);
    const unsigned k = take_byte(in) % WORLD_BRACKETS;
    const bool all = take_byte(in) % 8 == 1;

    if (f->is_open[k] || p.off + p.len > f->size)
        return;
    if (cm_write_begin(f->f, p.off, all ? CM_ALL : p.len, &f->bracket[k]) != 0)
        return;
    f->is_open[k] = true;
    f->tag++;
    world_change(f, p.off, all ? CM_ALL : p.len);
}

static void end_write(struct world *w, uint64_t file, struct fuzz_input *in)
{
    struct world_file *const f = &w->file[file];
    const unsigned k = take_byte(in) % WORLD_BRACKETS;
    const cm_validator v = world_validator(w, file);

    if (!f->is_open[k])
        return;
    f->is_open[k] = false;
    (void)cm_write_end(f->f, &f->bracket[k], take_byte(in) & 1 ? &v : NULL);
}

static void truncate_it(struct world *w, uint64_t file, struct fuzz_input *in)
{
    struct world_file *const f = &w->file[file];
    const struct piece p = take_piece(f, in);
    cm_bracket b;

    if (p.off >= f->size || cm_truncate_begin(f->f, p.off, &b) != 0)
        return;
    world_change(f, p.off, CM_ALL);
    f->size = p.off;
    f->tag++;
    const cm_validator v = world_validator(w, file);
    (void)cm_write_end(f->f, &b, take_byte(in) & 1 ? &v : NULL);
}

/* Somebody else writes the file. */
static void outside(struct world *w, uint64_t file, struct fuzz_input *in)
{
    struct world_file *const f = &w->file[file];
    const struct piece p = take_piece(f, in);

    if (p.off + p.len > f->size || (f->f && cm_invalidate(f->f, p.off, p.len) != 0))
        return;
    world_change(f, p.off, p.len);
    f->tag++;
    if (f->f && (take_byte(in) & 1)) {
        const cm_validator v = world_validator(w, file);

        (void)cm_file_revalidate(f->f, &v);
    }
}

static void sync_it(struct world *w, uint64_t file, struct fuzz_input *in)
{
    const cm_validator v = world_validator(w, file);
    const uint8_t how = take_byte(in);
    cm_sync s;

    if (cm_sync_begin(w->file[file].f, &s) == 0)
        (void)cm_sync_end(w->file[file].f, &s, how % 8 != 1, how & 8 ? &v : NULL);
}

static void warm(struct world *w, uint64_t file, struct fuzz_input *in)
{
    const struct piece p = take_piece(&w->file[file], in);
    struct world_place at = { w, file };

    (void)cm_warm(w->file[file].f, p.off, p.len, NULL, world_origin, &at, NULL);
}

/* A late fill, with what the origin has now. It counts only if nothing was stored or written since.
 */
static void fill_late(struct world *w, uint64_t file)
{
    struct world_file *const f = &w->file[file];
    struct world_place at = { w, file };
    uint8_t block[CM_BLOCK_SIZE];
    const int64_t n = f->miss.len > 0 ? world_origin(&at, f->miss.offset, block, BLK) : 0;

    if (n > 0)
        (void)cm_fill(f->f, &f->miss, block, (size_t)n, n < (int64_t)BLK ? CM_FILL_EOF : 0);
}

/* What is known of it, and what hardly changes anything. */
static void ask(struct world *w, uint64_t file, struct fuzz_input *in)
{
    struct world_file *const f = &w->file[file];
    const struct piece p = take_piece(f, in);
    const uint8_t what = take_byte(in);
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_range ranges[4];

    switch (what % 10) {
    case 0:
        (void)cm_file_get_info(f->f, &info);
        FUZZ_CHECK(memchr(info.name, 0, sizeof(info.name)) != NULL);
        break;
    case 1:
        (void)cm_file_ranges(f->f, p.off, ranges, 4);
        break;
    case 2:
        (void)cm_file_cached(f->f, what & 16 ? 0 : p.off, what & 16 ? CM_ALL : p.len);
        break;
    case 3:
        (void)cm_drop(f->f, p.off, what & 16 ? CM_ALL : p.len);
        break;
    case 4:
        (void)cm_file_set_keep(f->f, what & 16 ? 1 : 0);
        break;
    case 5:
        (void)cm_file_set_group(f->f, what / 16);
        break;
    case 6:
        (void)cm_group_set_quota(w->c, what / 16, p.off);
        break;
    case 7:
        (void)cm_file_set_name(f->f, what & 16 ? "a/name" : "");
        break;
    case 8:
        (void)cm_file_advise(f->f, what / 16 % 4);
        break;
    default:
        if (what & 16)
            (void)cm_file_set_ttl(f->f, what & 32 ? 1 : UINT64_C(1) << 40);
        else
            fill_late(w, file);
    }
}

static void of_file(struct world *w, uint64_t file, unsigned what, struct fuzz_input *in)
{
    struct piece p;

    switch (what) {
    case 0:
    case 1:
        p = take_piece(&w->file[file], in);
        world_read(w, file, p.off, p.len, take_byte(in) & 3);
        break;
    case 2:
        read_whole(w, file, in);
        break;
    case 3:
        pin(w, file, in);
        break;
    case 4:
        read_through(w, file, in);
        break;
    case 5:
        request(w, file, in);
        break;
    case 6:
        begin_write(w, file, in);
        break;
    case 7:
        end_write(w, file, in);
        break;
    case 8:
        truncate_it(w, file, in);
        break;
    case 9:
        sync_it(w, file, in);
        break;
    case 10:
        warm(w, file, in);
        break;
    case 11:
        read_many(w, file, in);
        break;
    default:
        ask(w, file, in);
    }
}

static void detach(struct world_file *f, bool abort_it)
{
    for (unsigned k = 0; k < WORLD_BRACKETS && !abort_it; k++)
        if (f->is_open[k])
            (void)cm_write_end(f->f, &f->bracket[k], NULL);
    if (abort_it)
        (void)cm_file_abort(f->f);
    memset(f->is_open, 0, sizeof(f->is_open));
    (void)cm_file_close(f->f);
    f->f = NULL;
    f->miss.len = 0;
}

static void list_files(struct world *w, uint32_t flags)
{
    cm_file_iter *it;
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_validator v = CM_VALIDATOR_INIT;

    if (cm_files_begin(w->c, flags, &it) != 0)
        return;
    while (cm_files_next(it, &v, &info) > 0)
        FUZZ_CHECK(memchr(info.name, 0, sizeof(info.name)) != NULL);
    cm_files_end(it);
}

static void of_pool(struct world *w, uint64_t file, struct fuzz_input *in)
{
    const uint8_t what = take_byte(in);
    const cm_file_id id = world_id(file);
    cm_check_report report = CM_CHECK_REPORT_INIT;
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_info pool = CM_INFO_INIT;
    cm_validator v = CM_VALIDATOR_INIT;
    static cm_stats_data stats;

    switch (what % 8) {
    case 0:
        (void)cm_check(w->c, what / 8 & 3, NULL, NULL, &report);
        break;
    case 1:
        (void)cm_get_info(w->c, &pool);
        break;
    case 2:
        stats.struct_size = sizeof(stats);
        (void)cm_stats(w->c, &stats);
        break;
    case 3:
        list_files(w, what / 8 & 1);
        break;
    case 4:
        (void)cm_file_lookup(w->c, &id, &v, &info);
        break;
    case 5:
        (void)(what & 8 ? cm_forget_gone(w->c, &id) : cm_forget(w->c, &id));
        break;
    case 6:
        (void)cm_checkpoint(w->c);
        break;
    default:
        (void)cm_set_mode(w->c, what / 8 % 3);
    }
}

void world_step(struct world *w, struct fuzz_input *in)
{
    const uint8_t what = take_byte(in);
    const uint64_t file = what % WORLD_FILES;
    struct world_file *const f = &w->file[file];
    const unsigned step = what / WORLD_FILES % 20;

    if (step >= 18)
        of_pool(w, file, in);
    else if (step == 17)
        outside(w, file, in);
    else if (!f->f)
        world_attach(w, file, take_byte(in) & 7);
    else if (step == 16)
        detach(f, take_byte(in) % 4 == 1);
    else
        of_file(w, file, step, in);
    w->remembers = false;
}
