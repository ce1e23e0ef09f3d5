/* SPDX-License-Identifier: BSD-2-Clause
 *
 * values.c - stores and reads values that are too large for a bucket.
 *
 * Owns: the data files of a container: which of them this session writes, and which of its blocks
 * come next.
 *
 * Locks: data_lock, while a data file is chosen or forgotten; nothing for reading.
 * Who: objects/.
 */
#include "objects/values.h"

#include <string.h>

#include "api/inner.h"

#define FILE_SHIFT 56u
#define BLOCK_MASK ((UINT64_C(1) << FILE_SHIFT) - 1)
#define BLOCKS_MAX (UINT64_C(1) << 50) /* of a file, far below the largest offset */
/* A container's data files have this part of the file table at most. All of them are open while it
 * is, so no other file can have their places. */
#define SHARE 8u

static uint64_t blocks_of(uint64_t len)
{
    return (len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE;
}

/* How many bytes the longest value may have: the pool may have grown. */
static uint64_t longest(const cm_objects *o)
{
    return cm_inner_slots(o->buckets_file) / 8 * CM_BLOCK_SIZE;
}

/* Opens a data file, if the pool knows it. CM_ESEAL: nobody can tell now. */
static int open_data(cm_objects *o, uint32_t number)
{
    struct cm_data_file *d = &o->data[number];
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_file_id id;
    cm_objects_id(&id, o->name, 'd', number);
    int e = cm_file_lookup(o->cache, &id, NULL, &info);
    if (e || info.incarnation == 0)
        return e == CM_ESEAL ? e : 0;
    e = cm_objects_file(o, 'd', number, 0, &d->file);
    if (e < 0)
        d->file = NULL; /* its values are misses */
    else if (cm_file_get_info(d->file, &info) == 0)
        d->incarnation = info.incarnation;
    return e == CM_ESEAL ? e : 0;
}

/* How many data files have a record. *oldest: the one of them with the lowest incarnation. */
static uint32_t recorded(const cm_objects *o, uint32_t *oldest)
{
    uint32_t n = 0;
    *oldest = 0;
    for (uint32_t i = 0; i < CM_DATA_FILES; i++) {
        const struct cm_data_file *d = &o->data[i];
        if (!d->file || !cm_inner_recorded(d->file))
            continue;
        if (n++ == 0 || d->incarnation < o->data[*oldest].incarnation)
            *oldest = i;
    }
    return n;
}

/* The pool was larger, or an older library has used it: forgets what is too much, the oldest first.
 * If that fails, the next open does it. */
static void forget_surplus(cm_objects *o)
{
    uint32_t oldest;
    while (recorded(o, &oldest) > o->data_most) {
        cm_file_id id;
        (void)cm_file_close(o->data[oldest].file);
        o->data[oldest].file = NULL; /* its values are misses */
        cm_objects_id(&id, o->name, 'd', oldest);
        (void)cm_forget(o->cache, &id);
    }
}

int cm_values_open(cm_objects *o, uint64_t max_files)
{
    const uint64_t share = max_files / SHARE; /* 3 in the smallest pool */
    int e = 0;
    o->data_now = CM_DATA_FILES;
    o->data_most = share < CM_DATA_FILES ? (uint32_t)share : CM_DATA_FILES;
    for (uint32_t i = 0; i < CM_DATA_FILES && e == 0; i++)
        e = open_data(o, i);
    if (e) /* a file that seems to be new would be used, and what is in it forgotten */
        cm_values_close(o);
    else
        forget_surplus(o);
    return e;
}

void cm_values_close(cm_objects *o)
{
    for (uint32_t i = 0; i < CM_DATA_FILES; i++)
        if (o->data[i].file)
            (void)cm_file_close(o->data[i].file);
}

/* ---- The file that is written ---------------------------------------------------------------- */

/* Chooses a data file, and opens it: one that does not exist. Or the oldest, if there are as many
 * as may be, or a new one gets no record: after the next open nothing would lead to what is in it.
 * data_lock. */
static int choose(cm_objects *o, uint32_t *number)
{
    uint32_t i = 0;
    const uint32_t n = recorded(o, number);
    while (i < CM_DATA_FILES && o->data[i].file)
        i++;
    if (n >= o->data_most || i == CM_DATA_FILES)
        return 0;
    cm_file *file;
    const int e = cm_objects_file(o, 'd', i, 0, &file);
    if (e < 0)
        return e;
    if (n > 0 && !cm_inner_recorded(file))
        return cm_file_close(file);
    at_store_release(&o->data[i].file, file); /* pairs with the acquire in cm_values_read() */
    *number = i;
    return 0;
}

/* Gives the file a new incarnation. data_lock. */
static int renew(struct cm_data_file *d)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    int e = cm_objects_forget_all(d->file, CM_ALL);
    if (e == 0)
        e = cm_file_get_info(d->file, &info);
    if (e == 0)
        at_store_relaxed(&d->incarnation, info.incarnation); /* relaxed: each read compares it */
    return e;
}

/* The data file of this session; its number is in *number. NULL: there is none, *e says why. */
static struct cm_data_file *current(cm_objects *o, uint32_t *number, int *e)
{
    /* Acquire: pairs with the release below. Most calls find the file here. */
    *number = at_load_acquire(&o->data_now);
    if (*number < CM_DATA_FILES)
        return &o->data[*number];
    cm_lock_acquire(&o->data_lock);
    *number = at_load_relaxed(&o->data_now);
    *e = 0;
    if (*number == CM_DATA_FILES) {
        uint32_t i;
        *e = choose(o, &i);
        /* Also if it is new: what a record says that could not be read is nobody's business. */
        if (*e == 0)
            *e = renew(&o->data[i]);
        if (*e == 0) {
            *number = i;
            at_store_release(&o->data_now, i);
        }
    }
    cm_lock_release(&o->data_lock);
    if (*e)
        return NULL;
    cm_objects_tell_unrecorded(o);
    return &o->data[*number];
}

/* ---- Storing --------------------------------------------------------------------------------- */

/* The storing of a value. */
struct storing {
    cm_file *file;
    uint64_t incarnation;
    uint64_t *waited;
    bool spoiled; /* a fill was refused, and may have stored some of its blocks */
};

/* Is the first block of a part stored already? For one block a read of a byte costs less than a
 * pin, and a sealed pool has no pins. */
static int64_t look_at_one(cm_file *file, uint64_t offset, cm_miss *miss)
{
    uint8_t byte;
    const int64_t got = cm_read(file, offset, &byte, 1, miss);
    return got > 0 ? CM_BLOCK_SIZE : got;
}
static int64_t look(cm_file *file, uint64_t offset, size_t len, cm_miss *miss)
{
    cm_iovec iov;
    cm_pins pins;
    int n;
    if (len == CM_BLOCK_SIZE)
        return look_at_one(file, offset, miss);
    const int64_t got = cm_pin_range(file, offset, len, &iov, 1, &n, &pins, miss);
    if (got > 0)
        (void)cm_unpin(&pins);
    return got == CM_ENOTSUP ? look_at_one(file, offset, miss) : got;
}

/* Offers whole blocks. Returns how many bytes were stored; 0: none, and *why is the reason. */
static size_t store_some(struct storing *st, uint64_t offset, const uint8_t *data, size_t len,
                         int *why)
{
    unsigned i = 0;
    do {
        cm_miss miss = CM_MISS_INIT;
        const int64_t got = look(st->file, offset, len, &miss);
        if (got < 0 || miss.incarnation != st->incarnation) {
            *why = got < 0 ? (int)got : CM_NOT_STORED_STALE;
            return 0;
        }
        if (got > 0) { /* no other value has these blocks */
            *why = CM_NOT_STORED_PRESENT;
            return st->spoiled ? (size_t)got : 0;
        }
        const size_t some = miss.len < len ? (size_t)miss.len / CM_BLOCK_SIZE * CM_BLOCK_SIZE : len;
        *why = cm_fill(st->file, &miss, data, some, CM_FILL_WARM);
        if (*why == 0)
            return some;
        st->spoiled = true;
    } while (cm_objects_passes(st->file, *why) && cm_objects_again(i++, st->waited));
    return 0;
}

/* Stores the value in blocks of its own. */
static int store_blocks(struct storing *st, uint64_t offset, const uint8_t *value, size_t len)
{
    const size_t whole = len / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
    uint8_t tail[CM_BLOCK_SIZE];
    int why = 0;
    for (size_t done = 0, some; done < whole; done += some) {
        some = store_some(st, offset + done, value + done, whole - done, &why);
        if (some == 0)
            return why;
    }
    if (whole == len)
        return 0;
    memcpy(tail, value + whole, len - whole);
    memset(tail + (len - whole), 0, sizeof(tail) - (len - whole));
    return store_some(st, offset + whole, tail, sizeof(tail), &why) ? 0 : why;
}

/* The pool may have given the file another incarnation (it could not forget a block otherwise).
 * This session has used none of its blocks under that number. */
static bool has_moved(struct cm_data_file *d, uint64_t was)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    if (cm_file_get_info(d->file, &info) || info.incarnation == was || info.incarnation == 0)
        return false;
    at_store_relaxed(&d->incarnation, info.incarnation);
    return true;
}

int cm_values_store(cm_objects *o, const uint8_t *value, size_t len, struct cm_value_ref *ref,
                    uint64_t *waited)
{
    const uint64_t blocks = blocks_of(len);
    uint32_t number;
    int e = CM_NOT_STORED_STALE;
    if (len > longest(o))
        return CM_NOT_STORED_ROOM;
    struct cm_data_file *d = current(o, &number, &e);
    for (unsigned i = 0; d && i < 3; i++) {
        const uint64_t incarnation = at_load_relaxed(&d->incarnation);
        const uint64_t first = at_add_relaxed(&o->data_next, blocks); /* relaxed: only unique */
        if (first >= BLOCKS_MAX)
            return CM_NOT_STORED_ROOM;
        *ref = (struct cm_value_ref){ len, incarnation, first | (uint64_t)number << FILE_SHIFT };
        struct storing st = { .file = d->file, .incarnation = incarnation, .waited = waited };
        e = store_blocks(&st, first * CM_BLOCK_SIZE, value, len);
        if (e != 0)
            cm_values_drop(o, ref); /* some of it may be there */
        if (e != CM_NOT_STORED_STALE || !has_moved(d, incarnation))
            break;
    }
    return e;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* The file of a reference, which may say anything. NULL: none. */
static cm_file *file_of(cm_objects *o, const struct cm_value_ref *ref)
{
    const uint64_t number = ref->block >> FILE_SHIFT, block = ref->block & BLOCK_MASK;
    if (number >= CM_DATA_FILES || block >= BLOCKS_MAX || ref->len > longest(o))
        return NULL;
    return at_load_acquire(&o->data[number].file); /* pairs with the release in current() */
}

bool cm_values_read(cm_objects *o, const struct cm_value_ref *ref, uint64_t offset, void *buf,
                    size_t len)
{
    cm_file *file = file_of(o, ref);
    const uint64_t at = (ref->block & BLOCK_MASK) * CM_BLOCK_SIZE + offset;
    cm_miss miss;
    if (!file)
        return false;
    if (len == 0)
        return true;
    miss.struct_size = sizeof(miss);
    /* All bytes are of one incarnation, which the call tells. */
    const int64_t n = cm_read(file, at, buf, len, &miss);
    return n == (int64_t)len && miss.incarnation == ref->incarnation;
}

void cm_values_drop(cm_objects *o, const struct cm_value_ref *ref)
{
    cm_file *file = file_of(o, ref);
    const uint64_t number = ref->block >> FILE_SHIFT;
    /* Of an older incarnation nothing is there. Of this one no other value has these blocks. */
    if (file && at_load_relaxed(&o->data[number].incarnation) == ref->incarnation)
        (void)cm_drop(file, (ref->block & BLOCK_MASK) * CM_BLOCK_SIZE, ref->len);
}

int cm_values_clear(cm_objects *o)
{
    int e = 0;
    cm_lock_acquire(&o->data_lock);
    for (uint32_t i = 0; i < CM_DATA_FILES && e == 0; i++)
        if (o->data[i].file)
            e = renew(&o->data[i]);
    cm_lock_release(&o->data_lock);
    return e;
}
