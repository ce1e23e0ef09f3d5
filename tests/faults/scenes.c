/* SPDX-License-Identifier: BSD-2-Clause
 *
 * scenes.c - what programs do with pools, a story each.
 *
 * Owns: the scenes. One goes on after each error as a program would: it leaves out what it cannot
 * do. So each call runs with what an earlier failure has left.
 *
 * Who: faults.c.
 */
#include "stage.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint8_t buffer[BLOCKS * CM_BLOCK_SIZE];

/* ---- Before the scene ------------------------------------------------------------------------ */

static void must(bool done)
{
    if (!done)
        _exit(1);
}

static void make(void)
{
    must(make_pool(stage.pool, SMALL, 0));
}

static void make_warm(void)
{
    const cm_options o = usual();
    must(make_pool(stage.pool, SMALL, CM_CREATE_NAMES) && open_pool(&o));
    for (unsigned i = 0; i < FILES; i++) {
        attach(i, CM_SOLE_WRITER);
        read_and_fill(i, 0, BLOCKS * BLK);
    }
}

static void make_closed(void)
{
    make_warm();
    close_pool();
}

static void make_checkpointed(void)
{
    make_warm();
    must(DO(cm_checkpoint, stage.cache) == 0);
}

/* ---- Scenes ---------------------------------------------------------------------------------- */

static int go_on(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx, (void)done, (void)total;
    return inject_fails(INJECT_progress);
}

static void run_create(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    const cm_options opts = usual();
    o.size = SMALL;
    o.progress = go_on;
    const bool made = DO(cm_create, stage.pool, &o) == 0;
    if (made != (access(stage.pool, F_OK) == 0))
        wrong("the result does not say whether there is a pool", "cm_create", !made);
    if (made && open_pool(&opts)) {
        attach(0, 0);
        read_and_fill(0, 0, 4 * BLK);
        close_pool();
    }
    o.flags = CM_CREATE_SPARSE | CM_CREATE_NAMES;
    o.progress = NULL;
    (void)DO(cm_create, stage.other, &o);
}

static void run_open(void)
{
    const cm_options o = usual();
    if (!open_pool(&o))
        return;
    for (unsigned i = 0; i < FILES; i++) {
        attach(i, 0);
        (void)look(stage.file[i], &stage.origin[i], 0, stage.origin[i].size);
        read_through(i, 0, 6 * BLK);
    }
    close_pool();
}

static void run_open_after_cut(void)
{
    stage.boot++;
    run_open();
}

static void run_files(void)
{
    const cm_options o = usual();
    if (!open_pool(&o))
        return;
    for (unsigned i = 0; i < FILES; i++) {
        cm_file_info info = CM_FILE_INFO_INIT;
        const cm_file_id id = { 1, stage.origin[i].number };
        cm_validator v = CM_VALIDATOR_INIT;
        (void)DO(cm_file_lookup, stage.cache, &id, &v, &info);
        attach(i, CM_SOLE_WRITER);
        if (!stage.file[i])
            continue;
        v = validator_of(&stage.origin[i]);
        (void)DO(cm_file_revalidate, stage.file[i], &v);
        change(&stage.origin[i], 3 * BLK, BLK); /* by somebody else */
        v = validator_of(&stage.origin[i]);
        (void)DO(cm_file_revalidate, stage.file[i], &v);
        (void)look(stage.file[i], &stage.origin[i], 0, stage.origin[i].size);
        read_and_fill(i, 0, 8 * BLK);
        close_file(i);
        attach(i, 0);
        (void)look(stage.file[i], &stage.origin[i], 0, stage.origin[i].size);
    }
    close_pool();
}

static void pin(unsigned i)
{
    cm_iovec iov[8];
    cm_pins pins = { 0 };
    cm_miss m = CM_MISS_INIT;
    int count = 0;
    uint64_t at = 0;
    if (DO(cm_pin_range, stage.file[i], 0, 8 * BLK, iov, 8, &count, &pins, &m) <= 0)
        return;
    for (int k = 0; k < count; at += iov[k++].len)
        judge("cm_pin_range", &stage.origin[i], at, iov[k].base, (int64_t)iov[k].len);
    (void)DO(cm_unpin, &pins);
}

static void request(unsigned i)
{
    cm_request r = CM_REQUEST_INIT;
    cm_piece piece;
    r.offset = 2 * BLK;
    r.buf = buffer;
    r.len = 12 * BLK;
    if (DO(cm_request_begin, stage.file[i], &r) != 0)
        return;
    for (unsigned turns = 0;; turns++) {
        const int64_t e = DO(cm_request_step, &r, &piece);
        if (e == CM_REQUEST_READ) {
            const int64_t n = read_origin(&stage.origin[i], piece.offset, piece.buf, piece.len);
            (void)DO(cm_request_complete, &r, &piece, n);
        } else if (e == 0) {
            break;
        } else if (turns > 1000000) {
            wrong("it waits for nobody", "cm_request_step", e);
        }
    }
    judge("cm_request_end", &stage.origin[i], 2 * BLK, buffer, DO(cm_request_end, &r));
}

static void run_reads(void)
{
    const cm_options o = usual();
    if (!open_pool(&o))
        return;
    attach(0, 0);
    attach(1, 0);
    read_and_fill(0, 0, 7 * BLK);
    read_through(0, 5 * BLK + 17, 6 * BLK);
    read_through(1, 0, BLOCKS * BLK);
    if (stage.file[0]) {
        uint64_t version = 0;
        cm_read_vec v[2] = { CM_READ_VEC_INIT, CM_READ_VEC_INIT };
        for (unsigned k = 0; k < 2; k++) {
            v[k].offset = k * 6 * BLK;
            v[k].buf = buffer + k * 2 * BLK;
            v[k].len = 2 * BLK;
        }
        (void)DO(cm_read_many, stage.file[0], v, 2);
        for (unsigned k = 0; k < 2; k++)
            judge("cm_read_many", &stage.origin[0], v[k].offset, v[k].buf, v[k].result);
        judge("cm_read_whole", &stage.origin[0], BLK, buffer,
              DO(cm_read_whole, stage.file[0], BLK, buffer, 2 * BLK, 0));
        judge("cm_read_through_version", &stage.origin[0], 3 * BLK, buffer,
              DO(cm_read_through_version, stage.file[0], 3 * BLK, buffer, 9 * BLK, &version,
                 read_origin, &stage.origin[0]));
        pin(0);
        request(0);
    }
    close_pool();
}

static void run_resident(void)
{
    cm_options o = usual();
    o.flags |= CM_OPEN_LOCK | CM_OPEN_PREFAULT;
    if (!open_pool(&o))
        return;
    attach(0, 0);
    read_and_fill(0, 0, 7 * BLK);
    if (stage.file[0])
        judge("cm_read_whole", &stage.origin[0], 0, buffer,
              DO(cm_read_whole, stage.file[0], 0, buffer, 4 * BLK, CM_READ_RESIDENT));
    close_pool();
}

/* Somebody else changes the origin, and the cache is told. False: it cannot forget that. */
static bool invalidate(unsigned i, uint64_t first, uint64_t n)
{
    if (!stage.file[i])
        return false;
    change(&stage.origin[i], first * BLK, n * BLK);
    const int64_t e = DO(cm_invalidate, stage.file[i], first * BLK, n * BLK);
    (void)look(stage.file[i], &stage.origin[i], 0, stage.origin[i].size);
    return e == 0;
}

static void run_writes(void)
{
    cm_bracket w[2];
    const cm_options o = usual();
    if (!open_pool(&o))
        return;
    attach(0, CM_SOLE_WRITER);
    attach(1, 0);
    write_origin(0, BLK, 2 * BLK);
    write_origin(1, 5 * BLK, 9 * BLK);
    read_and_fill(0, 0, 8 * BLK);
    if (stage.file[0] && DO(cm_write_begin, stage.file[0], 0, BLK, &w[0]) == 0) {
        if (DO(cm_write_begin, stage.file[0], 2 * BLK, BLK, &w[1]) == 0) {
            change(&stage.origin[0], 2 * BLK, BLK);
            (void)DO(cm_write_end, stage.file[0], &w[1], NULL);
        }
        change(&stage.origin[0], 0, BLK);
        read_through(0, 0, 4 * BLK);
        (void)DO(cm_write_end, stage.file[0], &w[0], NULL);
    }
    (void)invalidate(0, 4, 2);
    (void)invalidate(1, 0, 3);
    read_and_fill(0, 0, 8 * BLK);
    if (stage.file[0] && DO(cm_write_begin, stage.file[0], 6 * BLK, BLK, &w[0]) == 0) {
        change(&stage.origin[0], 6 * BLK, BLK);
        (void)DO(cm_file_abort, stage.file[0]);
        (void)look(stage.file[0], &stage.origin[0], 0, stage.origin[0].size);
    }
    write_origin(0, 0, BLOCKS * BLK - 100);
    close_pool();
}

static void run_forget(void)
{
    const cm_options o = usual();
    if (!open_pool(&o))
        return;
    attach(0, CM_SOLE_WRITER);
    for (unsigned i = 0; i < FILES; i++) {
        /* The file is gone. Another one gets its id, and by chance the same validator. */
        const cm_file_id id = { 1, stage.origin[i].number };
        for (unsigned b = 0; b < BLOCKS; b++)
            stage.origin[i].tag[b] += 7;
        const int64_t e = DO(cm_forget, stage.cache, &id);
        if (e != 0)
            stage.origin[i].version++; /* so its program must see to it */
        (void)look(stage.file[i], &stage.origin[i], 0, stage.origin[i].size);
        close_file(i);
        attach(i, 0);
        (void)look(stage.file[i], &stage.origin[i], 0, stage.origin[i].size);
    }
    (void)DO(cm_forget_gone, stage.cache, (&(cm_file_id){ 1, 99 }));
    close_pool();
}

static void run_truncate(void)
{
    cm_bracket w;
    const cm_options o = usual();
    static const uint64_t sizes[] = { 9 * BLK + 50, 3 * BLK, 14 * BLK };
    if (!open_pool(&o))
        return;
    attach(0, CM_SOLE_WRITER);
    for (unsigned i = 0; i < 3 && stage.file[0]; i++) {
        if (DO(cm_truncate_begin, stage.file[0], sizes[i], &w) != 0)
            continue;
        resize_origin(&stage.origin[0], sizes[i]);
        const cm_validator v = validator_of(&stage.origin[0]);
        (void)DO(cm_write_end, stage.file[0], &w, &v);
        read_and_fill(0, 0, BLOCKS * BLK);
    }
    if (stage.file[0] && DO(cm_write_begin, stage.file[0], CM_APPEND, 3 * BLK, &w) == 0) {
        change(&stage.origin[0], stage.origin[0].size, 3 * BLK);
        const cm_validator v = validator_of(&stage.origin[0]);
        (void)DO(cm_write_end, stage.file[0], &w, &v);
    }
    read_and_fill(0, 0, BLOCKS * BLK);
    close_pool();
}

static void sync_origin(unsigned i, int ok)
{
    cm_sync s;
    if (!stage.file[i] || DO(cm_sync_begin, stage.file[i], &s) != 0)
        return;
    const cm_validator v = validator_of(&stage.origin[i]);
    (void)DO(cm_sync_end, stage.file[i], &s, ok, &v);
    (void)look(stage.file[i], &stage.origin[i], 0, stage.origin[i].size);
}

static void run_checkpoints(void)
{
    const cm_options o = usual();
    if (!open_pool(&o))
        return;
    attach(0, CM_SOLE_WRITER);
    attach(1, CM_SOLE_WRITER);
    (void)DO(cm_checkpoint, stage.cache);
    write_origin(0, BLK, 2 * BLK);
    sync_origin(0, 1);
    (void)DO(cm_checkpoint, stage.cache);
    write_origin(1, 7 * BLK, BLK);
    (void)invalidate(0, 12, 1);
    read_and_fill(0, 0, BLOCKS * BLK);
    sync_origin(1, 0); /* it fails */
    (void)DO(cm_checkpoint, stage.cache);
    write_origin(0, BLK, BLK);
    close_pool();
}

static void run_probation(void)
{
    cm_options o = usual();
    o.policy = CM_POLICY_S3R;
    o.probation_bytes = 8 * BLK;
    if (!open_pool(&o))
        return;
    attach(0, CM_SOLE_WRITER);
    attach(1, 0);
    read_and_fill(0, 0, 12 * BLK);
    (void)look(stage.file[0], &stage.origin[0], 0, 12 * BLK);
    read_through(1, 0, 10 * BLK);
    write_origin(0, 9 * BLK, 2 * BLK);
    (void)look(stage.file[0], &stage.origin[0], 0, 12 * BLK);
    read_and_fill(0, 0, 12 * BLK);
    close_pool();
}

static void resize(uint64_t size)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    cm_resize_report r = CM_RESIZE_REPORT_INIT;
    o.size = size;
    o.progress = go_on;
    (void)DO(cm_resize, stage.pool, &o, &r);
    if (access(stage.pool, F_OK) != 0)
        wrong("the pool is gone", "cm_resize", 0);
    run_open();
}

static void run_resize(void)
{
    resize(2 * SMALL);
    resize(SMALL);
}

static void run_grow(void)
{
    cm_options o = usual();
    o.grow_max = 8 * SMALL;
    if (!open_pool(&o))
        return;
    attach(0, CM_SOLE_WRITER);
    read_and_fill(0, 0, BLOCKS * BLK);
    for (unsigned i = 1; i < 3; i++) {
        cm_grow_report r = CM_GROW_REPORT_INIT;
        (void)DO(cm_grow, stage.cache, (i + 1) * 2 * SMALL, &r);
        (void)look(stage.file[0], &stage.origin[0], 0, stage.origin[0].size);
        write_origin(0, i * BLK, 2 * BLK);
        read_and_fill(0, 0, BLOCKS * BLK);
    }
    close_pool();
    run_open();
}

static void run_shared(void)
{
    cm_options o = usual(), of_reader = usual();
    cm_file *f = NULL;
    const cm_file_id id = { 1, stage.origin[0].number };
    if (!open_pool(&o))
        return;
    attach(0, CM_SOLE_WRITER);
    read_and_fill(0, 0, 12 * BLK);
    of_reader.flags |= CM_OPEN_SHARED;
    if (DO(cm_open, stage.pool, &of_reader, &stage.reader) == 0) {
        const cm_validator v = validator_of(&stage.origin[0]);
        if (DO(cm_file_open, stage.reader, &id, &v, 0, &f) >= 0) {
            (void)look(f, &stage.origin[0], 0, 12 * BLK);
            write_origin(0, 3 * BLK, BLK);
            (void)look(f, &stage.origin[0], 0, 12 * BLK);
            if (invalidate(0, 0, BLOCKS)) /* else the reader cannot be told either */
                (void)look(f, &stage.origin[0], 0, 12 * BLK);
            (void)DO(cm_file_close, f);
        }
    }
    close_pool();
}

/* ---- Warming, names and what a pool says of itself ------------------------------------------- */

static void run_warm(void)
{
    cm_warm_options w = CM_WARM_OPTIONS_INIT;
    cm_warm_report r = CM_WARM_REPORT_INIT;
    const cm_options o = usual();
    if (!open_pool(&o))
        return;
    attach(0, CM_SOLE_WRITER);
    w.progress = go_on;
    if (stage.file[0]) {
        (void)DO(cm_warm, stage.file[0], 0, CM_ALL, &w, read_origin, &stage.origin[0], &r);
        (void)look(stage.file[0], &stage.origin[0], 0, BLOCKS * BLK);
        w.flags = CM_WARM_VERIFY;
        stage.origin[0].tag[5]++; /* and nobody says so */
        const int64_t e =
            DO(cm_warm, stage.file[0], 0, CM_ALL, &w, read_origin, &stage.origin[0], &r);
        if (e != 0)
            (void)DO(cm_invalidate, stage.file[0], 5 * BLK, BLK);
        (void)look(stage.file[0], &stage.origin[0], 0, BLOCKS * BLK);
    }
    close_pool();
}

static void run_names(void)
{
    cm_options o = usual();
    cm_file_iter *iter = NULL;
    cm_range ranges[4];
    uint64_t used = 0, most = 0;
    if (!open_pool(&o))
        return;
    (void)DO(cm_group_set_quota, stage.cache, 3, 16 * BLK);
    attach(0, CM_SOLE_WRITER);
    attach(1, 0);
    if (stage.file[0]) {
        (void)DO(cm_file_set_name, stage.file[0], "a name");
        (void)DO(cm_file_set_group, stage.file[0], 3);
        (void)DO(cm_file_set_keep, stage.file[0], 1);
        (void)DO(cm_file_set_ttl, stage.file[0], UINT64_C(3600000000000));
        (void)DO(cm_file_advise, stage.file[0], CM_ADVISE_KEEP);
        read_and_fill(0, 0, BLOCKS * BLK);
        (void)DO(cm_file_ranges, stage.file[0], 0, ranges, 4);
        (void)DO(cm_drop, stage.file[0], 2 * BLK, 3 * BLK);
        (void)DO(cm_file_cached, stage.file[0], 0, CM_ALL);
        (void)DO(cm_file_set_keep, stage.file[0], 0);
        (void)DO(cm_file_set_ttl, stage.file[0], 0);
    }
    (void)DO(cm_group_usage, stage.cache, 3, &used, &most);
    if (DO(cm_files_begin, stage.cache, CM_FILES_COUNT, &iter) == 0) {
        cm_file_info info = CM_FILE_INFO_INIT;
        while (DO(cm_files_next, iter, NULL, &info) == 0) {
        }
        cm_files_end(iter);
    }
    close_pool();
}

static void run_says(void)
{
    cm_options o = usual();
    cm_info info = CM_INFO_INIT;
    cm_stats_data s = CM_STATS_INIT;
    cm_check_report r = CM_CHECK_REPORT_INIT;
    (void)DO(cm_pool_info, stage.pool, &info);
    (void)DO(cm_pool_stats, stage.pool, &s);
    o.flags |= CM_OPEN_READONLY;
    if (open_pool(&o)) {
        (void)DO(cm_check, stage.cache, 0, go_on, NULL, &r);
        close_pool();
    }
    o = usual();
    if (!open_pool(&o))
        return;
    attach(0, 0);
    (void)DO(cm_pool_info, stage.pool, &info); /* beside the owner */
    (void)DO(cm_get_info, stage.cache, &info);
    (void)DO(cm_stats, stage.cache, &s);
    (void)DO(cm_check, stage.cache, CM_CHECK_REPAIR, go_on, NULL, &r);
    (void)DO(cm_set_mode, stage.cache, CM_FREEZE);
    read_and_fill(0, 0, 2 * BLK);
    (void)DO(cm_set_mode, stage.cache, CM_BYPASS);
    read_through(0, 0, 2 * BLK);
    (void)DO(cm_set_mode, stage.cache, CM_NORMAL);
    (void)DO(cm_set_fill_rate_limit, stage.cache, UINT64_C(1) << 40);
    close_pool();
}

static void run_identify(void)
{
    char path[300];
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    (void)snprintf(path, sizeof(path), "%s/origin", stage.dir);
    inject.on = false;
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    inject.on = true;
    (void)DO(cm_identify, fd, &id, &v);
    o.volume_id = "a volume";
    o.flags = CM_IDENTIFY_SOLE_WRITER;
    (void)DO(cm_identify_with, fd, &o, &id, &v);
    inject.on = false;
    (void)close(fd);
    inject.on = true;
}

/* ---- Memory from the program ----------------------------------------------------------------- */

static void *give(void *ctx, size_t bytes)
{
    (void)ctx;
    if (inject_fails(INJECT_hook_alloc))
        return NULL;
    void *const p = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    held.hooked += p != NULL;
    return p ? memset(p, 0, bytes) : NULL;
}

static void take_back(void *ctx, void *p, size_t bytes)
{
    (void)ctx, (void)bytes;
    held.hooked -= p != NULL;
    free(p);
}

static void run_hooks(void)
{
    cm_bracket w[2];
    cm_options o = usual();
    o.alloc = give;
    o.free = take_back;
    o.policy = CM_POLICY_AUTO;
    o.probation_bytes = 0;
    if (!open_pool(&o))
        return;
    attach(0, CM_SOLE_WRITER);
    attach(1, 0);
    read_through(0, 17, 9 * BLK);
    read_through(1, 0, BLOCKS * BLK);
    if (stage.file[0] && DO(cm_write_begin, stage.file[0], 0, BLK, &w[0]) == 0) {
        if (DO(cm_write_begin, stage.file[0], BLK, BLK, &w[1]) == 0)
            (void)DO(cm_write_end, stage.file[0], &w[1], NULL);
        (void)DO(cm_write_end, stage.file[0], &w[0], NULL);
    }
    (void)invalidate(1, 3, 2);
    if (stage.file[1])
        (void)DO(cm_file_set_keep, stage.file[1], 1);
    (void)DO(cm_checkpoint, stage.cache);
    close_pool();
}

/* ---- Objects --------------------------------------------------------------------------------- */

#define KEYS 12u
#define LONG 9000u

static uint64_t stored[KEYS]; /* the version of the last put that returned; 0: none */

static size_t make_value(unsigned key, uint64_t version, uint8_t *to)
{
    const size_t n = key % 4 == 3 ? LONG : 40 + key * 60;
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)(key * 31 + version * 7 + i);
    return n;
}

static void get(unsigned key)
{
    static uint8_t got[LONG + 1], want[LONG];
    const int64_t n = DO(cm_objects_get, stage.objects, &key, sizeof(key), got, sizeof(got), NULL);
    if (n < 0)
        return;
    if (stored[key] == 0)
        wrong("a value that was deleted", "cm_objects_get", n);
    if ((size_t)n != make_value(key, stored[key], want) || memcmp(got, want, (size_t)n) != 0)
        wrong("another value", "cm_objects_get", n);
}

static void put(unsigned key, uint64_t version)
{
    static uint8_t value[LONG];
    const size_t n = make_value(key, version, value);
    const uint64_t before = stored[key];
    stored[key] = 0;
    const int64_t e = DO(cm_objects_put, stage.objects, &key, sizeof(key), value, n, 0);
    stored[key] = e == 0 ? version : e == CM_ENOMEM ? before : 0;
}

static void run_objects(void)
{
    const cm_options o = usual();
    const cm_objects_options opts = { .struct_size = sizeof(opts), .objects = 40 };
    cm_objects_iter *iter = NULL;
    memset(stored, 0, sizeof(stored));
    if (!open_pool(&o))
        return;
    for (unsigned turn = 0; turn < 2; turn++) {
        if (DO(cm_objects_open, stage.cache, "c", &opts, &stage.objects) != 0)
            break;
        for (unsigned key = 0; key < KEYS; key++) {
            get(key);
            put(key, turn * 2 + 1);
        }
        for (unsigned key = 0; key < KEYS; key += 2)
            put(key, turn * 2 + 2);
        const unsigned gone = 5 + turn;
        const int64_t e = DO(cm_objects_delete, stage.objects, &gone, sizeof(gone));
        if (e == 0 || e == CM_EABSENT)
            stored[gone] = 0;
        for (unsigned key = 0; key < KEYS; key++)
            get(key);
        if (DO(cm_objects_begin, stage.objects, &iter) == 0) {
            uint8_t key[CM_OBJECT_KEY_MAX];
            size_t len = 0;
            while (DO(cm_objects_next, iter, key, &len, NULL) >= 0) {
            }
            cm_objects_end(iter);
        }
        if (turn == 1 && DO(cm_objects_clear, stage.objects) == 0)
            memset(stored, 0, sizeof(stored));
        for (unsigned key = 0; key < KEYS; key++)
            get(key);
        (void)DO(cm_objects_close, stage.objects);
        stage.objects = NULL;
    }
    (void)DO(cm_objects_forget, stage.cache, "c");
    close_pool();
}

const struct scene scenes[] = {
    { "create", NULL, run_create, 0 },
    { "open", make_closed, run_open, 0 },
    { "open-after-kill", make_warm, run_open, 0 },
    { "open-after-cut", make_warm, run_open_after_cut, 0 },
    { "open-after-checkpoint", make_checkpointed, run_open_after_cut, 0 },
    { "files", make_closed, run_files, 0 },
    { "reads", make, run_reads, 0 },
    { "resident", make_closed, run_resident, 0 },
    { "writes", make_closed, run_writes, 0 },
    { "writes-checkpointed", make_checkpointed, run_writes, 0 },
    { "forget", make_checkpointed, run_forget, 0 },
    { "truncate", make_closed, run_truncate, 0 },
    { "checkpoints", make_closed, run_checkpoints, 0 },
    { "probation", make, run_probation, 0 },
    { "resize", make_closed, run_resize, 0 },
    { "grow", make_closed, run_grow, 0 },
    { "shared", make_closed, run_shared, 0 },
    { "warm", make, run_warm, 0 },
    { "names", make_closed, run_names, 0 },
    { "says", make_closed, run_says, 0 },
    { "identify", make, run_identify, 1 },
    { "hooks", make_closed, run_hooks, 0 },
    { "objects", make, run_objects, 0 },
    { NULL, NULL, NULL, 0 },
};
