/* SPDX-License-Identifier: BSD-2-Clause
 *
 * storm.c - the driver on an emulated Filter Manager (fltmgr.h), and the real service: threads that
 * read and change files, while the service is killed, stopped and started again, and refuses what
 * it is asked now and then. No reader may see what was changed before.
 *
 *   storm SERVICE [--operations N] [--threads N] [--troubles N] [--seed N]
 *
 * THE FILES are in memory, and are the file system below the filter. Each block holds its file's
 * number and a version. Every change gives the blocks that it touches the next version, under the
 * file's lock: a write, a truncation (the blocks are absent), a store through a mapping. What a
 * reader may see: a version that is not older than the last one whose change had ended when the
 * read began, and not newer than the last one that had begun when it ended. As in NTFS, a file's
 * times move when a writer closes it, and not with each write.
 *
 * OPERATIONS open, read, write, append, truncate, send control codes that write, overwrite, map and
 * store, lose what the disk does not take, lock, sync, close, delete and make again, delete while
 * others have it open. Each goes through the driver's callbacks, as programs, the memory manager
 * and the lazy writer do it: with and without an IRP, with ends in other threads at a raised IRQL,
 * by programs that are killed meanwhile.
 *
 * In the end the driver is unloaded while all goes on.
 *
 * The last line is "filter: N operations, ..., N wrong, N slow, N faults". Exits 0 if nothing was
 * wrong, nothing took longer than the driver's time-outs allow, and the Filter Manager found no
 * fault.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cachemax.h"
#include "cachemax_protocol.h"
#include "filter_shell.h"
#include "fltmgr.h"
#include "line.h"
#include "os.h"
#include "place.h"

#define FILES 24u
#define BLOCKS 64u /* of a file, at most */
#define BLOCK 4096u
#define TIMEOUT_MS 400u /* the driver's 2 s, in a hurry */
#define HURRY 20u       /* percent */
#define THREADS_MAX 64u
#define POOL_BYTES (256u << 20) /* many stripes: a bracket keeps the fills of its own out */
#define SLOTS 16u               /* of the written-set: small, so that it gets full */
#define DEVICE "\\Device\\HarddiskVolume3"
#define RULES "folder=" DEVICE "\\data\0pool=\\Device\\HarddiskVolume5"

/* Readers together, a writer alone. */
struct use {
    os_mutex lock;
    os_cond free;
    unsigned users;
};
/* A version: even, a block of data; odd, the block is absent. */
struct block {
    uint64_t file, version, fills[BLOCK / 8 - 2];
};
struct file {
    struct fm_file stream; /* first */
    WCHAR name[64];
    struct use in_use;   /* the stream: alone when it is deleted or nobody is to have it open */
    PFILE_OBJECT handle; /* is open all the time */
    _Atomic bool mapped; /* for stores */
    _Atomic bool held;   /* mapped, or byte ranges are locked: until it is closed */
    os_mutex lock;       /* the file system's, for the content */
    struct block block[BLOCKS];
    uint32_t blocks; /* size */
    uint64_t id;     /* another one after each deletion */
    uint64_t change; /* of the journal */
    bool written;    /* since the last close */
    bool deleted;
    uint64_t begun[BLOCKS], absent[BLOCKS]; /* lock: the last version, and the last odd one */
    _Atomic uint64_t ended[BLOCKS];         /* the last version whose change has ended */
};
static struct file files[FILES];
static _Atomic uint64_t ids = 1;
static _Atomic unsigned long wrong, done, slow;
static _Atomic bool over, enough;
static unsigned long wanted = 100000;

/* ---- Chance, and who uses a file ------------------------------------------------------------- */

/* Marsaglia's xorshift64. */
static uint32_t below(uint64_t *rng, uint32_t n)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return (uint32_t)(*rng >> 32) % n;
}

static void use(struct use *u, bool alone)
{
    os_lock(&u->lock);
    while (alone ? u->users > 0 : u->users == UINT32_MAX)
        os_cond_wait(&u->free, &u->lock);
    u->users = alone ? UINT32_MAX : u->users + 1;
    os_unlock(&u->lock);
}

static void leave(struct use *u)
{
    os_lock(&u->lock);
    u->users = u->users == UINT32_MAX ? 0 : u->users - 1;
    os_cond_wake_all(&u->free);
    os_unlock(&u->lock);
}

/* ---- The file system ------------------------------------------------------------------------- */

/* Locked. Gives blocks the next version. */
static void change_blocks(struct file *f, uint32_t from, uint32_t to, bool absent)
{
    for (uint32_t b = from; b < to; b++) {
        const uint64_t next = f->begun[b] + 1 + ((f->begun[b] & 1) == (absent ? 1u : 0u));

        f->begun[b] = next;
        if (next & 1)
            f->absent[b] = next;
        f->block[b].file = f->id;
        f->block[b].version = next;
        memset(f->block[b].fills, (int)(next & 0xff), sizeof(f->block[b].fills));
    }
    f->written = true;
}

static void end_blocks(struct file *f, uint32_t from, uint32_t to, const uint64_t *version)
{
    for (uint32_t b = from; b < to; b++) {
        uint64_t old = atomic_load(&f->ended[b]);

        while (old < version[b] && !atomic_compare_exchange_weak(&f->ended[b], &old, version[b]))
            ;
    }
}

static uint32_t read_below(struct fm_file *s, uint64_t off, uint32_t len, void *to)
{
    struct file *const f = (struct file *)s;
    uint64_t size;

    os_lock(&f->lock);
    size = f->blocks * (uint64_t)BLOCK;
    len = off >= size ? 0 : size - off < len ? (uint32_t)(size - off) : len;
    memcpy(to, (const uint8_t *)f->block + off, len);
    os_unlock(&f->lock);
    return len;
}

static void facts(struct fm_file *s, struct fm_facts *to)
{
    struct file *const f = (struct file *)s;

    os_lock(&f->lock);
    *to = (struct fm_facts){ .volume = 7, .id = { f->id }, .size = f->blocks * (uint64_t)BLOCK };
    to->created = INT64_C(116444736000000000) + 10000000;
    to->written = to->changed = to->created + (int64_t)f->change;
    to->usn = 1 + f->change;
    to->usn_version = 3;
    to->deleted = f->deleted;
    os_unlock(&f->lock);
}

/* A writer closes the file: only now its times move. */
static void clean_up(struct fm_file *s, PFILE_OBJECT o)
{
    struct file *const f = (struct file *)s;

    os_lock(&f->lock);
    if (o->WriteAccess) {
        f->change += f->written;
        f->written = false;
    }
    f->deleted = o->DeletePending;
    os_unlock(&f->lock);
}

/* ---- What a reader may see ------------------------------------------------------------------- */

static void complain(const struct file *f, uint32_t b, const char *what, uint64_t got, uint64_t low,
                     uint64_t high)
{
    if (atomic_fetch_add(&wrong, 1) < 20)
        printf("WRONG file %u block %u: %s: %llu, not %llu to %llu\n", (unsigned)(f - files), b,
               what, (unsigned long long)got, (unsigned long long)low, (unsigned long long)high);
}

static void check_block(const struct file *f, uint32_t b, const struct block *got, uint64_t low,
                        uint64_t high)
{
    if (got->file != f->id)
        complain(f, b, "another file's", got->file, f->id, f->id);
    else if (got->version < low || got->version > high || (got->version & 1))
        complain(f, b, "its version", got->version, low, high);
    else if (((const uint8_t *)got->fills)[0] != (uint8_t)(got->version & 0xff) ||
             memcmp(got->fills, &got->fills[1], sizeof(got->fills) - 8) != 0)
        complain(f, b, "torn", got->version, low, high);
}

/* A read of `blocks` from `from` on has given `n` bytes. */
static void check_read(struct file *f, uint32_t from, uint32_t blocks, const struct block *got,
                       uint32_t n, const uint64_t *low)
{
    uint64_t high[BLOCKS], absent[BLOCKS];

    os_lock(&f->lock);
    memcpy(high, f->begun, sizeof(high));
    memcpy(absent, f->absent, sizeof(absent));
    os_unlock(&f->lock);
    if (n % BLOCK)
        complain(f, from, "bytes", n, 0, blocks * BLOCK);
    for (uint32_t i = 0; i < blocks; i++) {
        const uint32_t b = from + i;

        if (i < n / BLOCK)
            check_block(f, b, &got[i], low[b], high[b]);
        else if (absent[b] < low[b])
            complain(f, b, "absent", absent[b], low[b], high[b]);
    }
}

static bool is_up(void)
{
    bool up;

    port_env.lock(NULL);
    up = driver.core.greeted;
    port_env.unlock(NULL);
    return up;
}

/* ---- Operations ------------------------------------------------------------------------------ */

static void too_long(uint64_t began)
{
    if (place_now_ns() - began > 20 * (uint64_t)TIMEOUT_MS * 1000000u)
        atomic_fetch_add(&slow, 1);
}

/* A handle for an operation: the one that is always open, or a new one. */
static PFILE_OBJECT handle(struct file *f, bool writes, uint64_t *rng)
{
    const bool direct = !writes && below(rng, 4) == 0;

    if (below(rng, 8))
        return f->handle;
    return fm_open_how(&f->stream, writes, FILE_OPENED,
                       direct ? FO_NO_INTERMEDIATE_BUFFERING : FO_SYNCHRONOUS_IO, FM_PLAIN);
}

static void end_handle(const struct file *f, PFILE_OBJECT o)
{
    if (o != f->handle)
        fm_close(o);
}

static const struct fm_how *how(uint64_t *rng)
{
    static const struct fm_how ways[] = { { 0 }, { .dispatch = TRUE }, { .fast = TRUE } };
    static const uint8_t often[] = { 0, 0, 0, 1, 1, 1, 1, 2 };

    return &ways[often[below(rng, 8)]];
}

/* The program is killed while it waits for the service, now and then. The thread is another one's
 * afterwards. */
static void may_die(bool dies)
{
    fm_me()->dying = dies;
    fm_me()->terminating = FALSE;
}

static void do_read(struct file *f, uint64_t *rng)
{
    static const struct fm_how paging = { .irp_flags = IRP_PAGING_IO | IRP_NOCACHE };
    static _Thread_local struct block buf[BLOCKS];
    const uint32_t from = below(rng, BLOCKS);
    const uint32_t blocks = 1 + below(rng, below(rng, 4) ? 2 : BLOCKS - from) % (BLOCKS - from);
    PFILE_OBJECT const o = handle(f, false, rng);
    uint64_t low[BLOCKS];
    bool by_driver;
    ULONG n;

    for (uint32_t b = 0; b < BLOCKS; b++)
        low[b] = atomic_load(&f->ended[b]);
    may_die(below(rng, 200) == 0);
    (void)fm_read(o, from * (int64_t)BLOCK, blocks * BLOCK, buf, &n, &by_driver,
                  below(rng, 64) ? how(rng) : &paging);
    may_die(false);
    check_read(f, from, blocks, buf, n, low);
    end_handle(f, o);
}

/* Changes blocks of the file below, as a file system does: all of it at a time. */
static void change_below(struct file *f, uint32_t from, uint32_t to, bool absent, uint64_t *version)
{
    os_lock(&f->lock);
    if (absent) {
        to = f->blocks > from ? f->blocks : from;
        f->blocks = f->blocks > from ? from : f->blocks;
    } else {
        change_blocks(f, f->blocks, from > f->blocks ? from : f->blocks, false);
        f->blocks = f->blocks > to ? f->blocks : to;
    }
    change_blocks(f, from, to, absent);
    memcpy(version, f->begun, sizeof(f->begun));
    os_unlock(&f->lock);
}

/* The same at the end of the file. */
static void append_below(struct file *f, uint32_t *from, uint32_t *to, uint64_t *version)
{
    os_lock(&f->lock);
    *to = f->blocks + (*to - *from);
    *from = f->blocks;
    *to = *to > BLOCKS ? BLOCKS : *to;
    change_blocks(f, *from, *to, false);
    f->blocks = *to;
    memcpy(version, f->begun, sizeof(f->begun));
    os_unlock(&f->lock);
}

/* A change below the filter. */
struct change {
    struct file *f;
    uint64_t *rng;
    uint32_t begin, from, to;
    bool absent, appends;
    uint64_t version[BLOCKS];
};

static NTSTATUS change(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    struct change *const c = ctx;

    (void)o;
    if (below(c->rng, 32) == 0)
        place_sleep_us(below(c->rng, 2000));
    else if (below(c->rng, 100) == 0) /* over the end of a life and the begin of another */
        place_sleep_us(below(c->rng, 300000));
    if (c->appends) {
        append_below(c->f, &c->from, &c->to, c->version);
        c->begin = c->from;
    } else {
        os_lock(&c->f->lock);
        c->begin =
            c->f->blocks < c->from ? c->f->blocks : c->from; /* what lies before it appears, too */
        os_unlock(&c->f->lock);
        change_below(c->f, c->from, c->to, c->absent, c->version);
    }
    if (below(c->rng, 32) == 0)
        place_sleep_us(below(c->rng, 2000));
    *information = (c->to - c->from) * BLOCK;
    return STATUS_SUCCESS;
}

static void do_write(struct file *f, bool quiet, uint64_t *rng)
{
    const uint32_t from = below(rng, BLOCKS), n = 1 + below(rng, 3);
    struct change c = { .f = f, .rng = rng, .from = from };
    PFILE_OBJECT const o = quiet ? f->handle : handle(f, true, rng);
    const bool may_wait = below(rng, 200);
    const int64_t places[] = { -1, -2, from * (int64_t)BLOCK },
                  at = places[below(rng, 8) ? 2 : below(rng, 2)];

    c.appends = at == -1;
    c.to = from + n > BLOCKS ? BLOCKS : from + n;
    fm_me()->apcs_disabled = !may_wait;
    may_die(below(rng, 200) == 0);
    if (NT_SUCCESS(fm_write(o, at, (c.to - from) * BLOCK, change, &c, how(rng))))
        end_blocks(f, c.begin, c.to, c.version);
    may_die(false);
    fm_me()->apcs_disabled = FALSE;
    end_handle(f, o);
}

static void do_truncate(struct file *f, uint64_t *rng)
{
    const uint32_t to = BLOCKS / 2 + below(rng, BLOCKS / 2);
    struct change c = { .f = f, .rng = rng, .from = to, .to = to, .absent = true };

    (void)fm_set(f->handle, FileEndOfFileInformation, to * (uint64_t)BLOCK, change, &c, FM_PLAIN);
    end_blocks(f, to, BLOCKS, c.version);
}

static NTSTATUS move_times(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    struct file *const f = ctx;

    (void)o, (void)information;
    os_lock(&f->lock);
    f->change++;
    os_unlock(&f->lock);
    return STATUS_SUCCESS;
}

/* An attribute is set: the times move at once, and the content stays. */
static void do_attributes(struct file *f, uint64_t *rng)
{
    PFILE_OBJECT const o = handle(f, false, rng);

    may_die(below(rng, 50) == 0);
    (void)fm_set(o, FileBasicInformation, 0, move_times, f, FM_PLAIN);
    may_die(false);
    end_handle(f, o);
}

/* A control code that writes: an offloaded write, or one that the driver does not know. Where it
 * has an output buffer, it has more flags. */
static void do_control(struct file *f, uint64_t *rng)
{
    static const struct fm_how plain = { 0 }, with_output = { .irp_flags = 0x70 };
    const uint32_t from = below(rng, BLOCKS), n = 1 + below(rng, 3);
    struct change c = { .f = f, .rng = rng, .from = from };

    c.to = from + n > BLOCKS ? BLOCKS : from + n;
    if (NT_SUCCESS(fm_control(f->handle, CTL_CODE(9, below(rng, 2) ? 154 : 999, 0, 2), change, &c,
                              below(rng, 2) ? &plain : &with_output)))
        end_blocks(f, c.begin, c.to, c.version);
}

/* The open of this thread that empties its file; NULL: it is another one. */
static _Thread_local struct change *empties;

static void empty_below(struct fm_file *s, PFILE_OBJECT o)
{
    struct change *const c = empties;

    (void)s, (void)o;
    if (!c)
        return;
    change_below(c->f, 0, 0, true, c->version);
    end_blocks(c->f, 0, BLOCKS, c->version); /* nobody reads what was before, also not meanwhile */
    if (below(c->rng, 4) == 0)
        place_sleep_us(below(c->rng, 20000));
}

static void do_overwrite(struct file *f, uint64_t *rng)
{
    struct change c = { .f = f, .rng = rng };
    PFILE_OBJECT o;

    empties = &c;
    o = fm_open(&f->stream, false, FILE_OVERWRITTEN);
    empties = NULL;
    fm_close(o);
}

/* A store through a mapping, or what the system gives up: nobody sees it. Both need pages of the
 * file, and the driver relies on that (rule C1). */
static void do_store(struct file *f, uint64_t *rng)
{
    uint64_t version[BLOCKS];
    uint32_t b;

    if (!fm_has_pages(&f->stream) && atomic_fetch_add(&wrong, 1) == 0)
        printf("WRONG a store without pages of the file: this test's own fault\n");
    os_lock(&f->lock);
    b = f->blocks ? below(rng, f->blocks) : BLOCKS;
    if (b < BLOCKS)
        change_blocks(f, b, b + 1, false);
    memcpy(version, f->begun, sizeof(version));
    os_unlock(&f->lock);
    if (b < BLOCKS)
        end_blocks(f, b, b + 1, version);
}

/* The mapping lasts until the file is closed. */
static void do_map(struct file *f)
{
    if (!NT_SUCCESS(fm_section(f->handle, SyncTypeCreateSection, PAGE_READWRITE)))
        return;
    atomic_store(&f->held, true);
    atomic_store(&f->mapped, true);
}

static NTSTATUS no_disk(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    return (NTSTATUS)0xC0000185; /* STATUS_IO_DEVICE_ERROR */
}

/* The lazy writer's write fails. Where the system gives up then what it could not write, nobody
 * sees it: as with a store. Without pages of the file it is another driver's write (rule C1), and
 * there is nothing to give up. Looked for first: pages that come later are no harm, but the driver
 * may have found none. */
static void do_lose(struct file *f, uint64_t *rng)
{
    const struct fm_how how = { .irp_flags = IRP_PAGING_IO, .dispatch = below(rng, 2) == 0 };
    const bool pages = fm_has_pages(&f->stream);

    (void)fm_write(f->handle, 0, BLOCK, no_disk, NULL, &how);
    atomic_store(&f->held, true);
    if (pages)
        atomic_store(&f->mapped, true);
}

static void do_lock(struct file *f)
{
    (void)fm_lock(f->handle);
    atomic_store(&f->held, true);
}

static void open_again(struct file *f, ULONG outcome)
{
    f->handle = fm_open_how(&f->stream, true, outcome, 0, FM_PLAIN); /* many use it at a time */
    f->handle->DeleteAccess = TRUE;
}

/* Nobody has it open any more; fills may be on their way. */
static void close_all(struct file *f)
{
    fm_close(f->handle);
    while (fm_objects(&f->stream) > 0)
        place_sleep_us(1000);
    atomic_store(&f->held, false);
    atomic_store(&f->mapped, false);
}

/* The file is deleted, and another one is made in its place. Nobody uses it meanwhile. */
static void do_delete(struct file *f)
{
    uint64_t version[BLOCKS];

    if (f->handle) {
        f->handle->DeletePending = TRUE;
        close_all(f);
    }
    f->id = atomic_fetch_add(&ids, 1);
    f->deleted = false;
    change_below(f, 0, BLOCKS, false, version);
    end_blocks(f, 0, BLOCKS, version);
    open_again(f, FILE_CREATED);
}

/* The file loses its name while others have it open, and use it as before. */
static void do_unlink(struct file *f)
{
    PFILE_OBJECT const o = fm_open(&f->stream, false, FILE_OPENED);

    if (!o)
        return;
    o->DeleteAccess = TRUE;
    o->DeletePending = TRUE;
    fm_close(o);
}

static void operate(struct file *f, uint32_t what, bool quiet, uint64_t *rng)
{
    if (atomic_load(&f->mapped) && below(rng, 4) == 0)
        do_store(f, rng);
    if (what < 800)
        do_read(f, rng);
    else if (what < 935)
        do_write(f, quiet, rng);
    else if (what < 940)
        do_control(f, rng);
    else if (what < 950)
        do_truncate(f, rng);
    else if (what < 951)
        do_map(f);
    else if (what < 952)
        do_lose(f, rng);
    else if (what < 953)
        do_lock(f);
    else if (what < 970)
        (void)fm_flush(f->handle, NULL, NULL, FM_PLAIN);
    else if (what < 975)
        do_overwrite(f, rng);
    else if (what < 980)
        do_unlink(f);
    else if (what < 986)
        do_attributes(f, rng);
    else
        fm_close(fm_open(&f->stream, true, FILE_OPENED));
}

/* Every other file is *quiet*: it is written only while the service is away, and not closed then.
 * So its times do not tell, and a service that comes back takes it for warm. */
static void operation(struct file *f, uint64_t *rng)
{
    const bool quiet = (f - files) % 2;
    const uint32_t what = !quiet    ? below(rng, 1000)
                          : is_up() ? 10 + below(rng, 790)
                                    : 600 + below(rng, 350);
    const bool alone = what < 2 || (!quiet && atomic_load(&f->held) && below(rng, 64) == 0);

    use(&f->in_use, alone);
    if (alone && what < 1) {
        do_delete(f);
    } else if (alone) {
        close_all(f);
        open_again(f, FILE_OPENED);
    } else {
        operate(f, what, quiet, rng);
    }
    leave(&f->in_use);
}

/* Without the service they work slower, so that most of the operations meet it. */
static void work(void *seed)
{
    uint64_t rng = (uintptr_t)seed;

    while (!atomic_load(&enough) && !atomic_load(&wrong)) {
        const uint64_t began = place_now_ns();

        if (!is_up())
            place_sleep_us(5000);

        atomic_fetch_add(&done, 1);
        operation(&files[below(&rng, 1 + below(&rng, FILES))], &rng); /* some more than others */
        too_long(began);
    }
}

/* ---- The service ----------------------------------------------------------------------------- */

static const char *service_program;
static place_process service;

/* A service without memory refuses now and then: a bracket, or to forget. Forgetting may take long.
 */
static bool refuses(unsigned command)
{
    static _Atomic uint64_t messages;
    uint64_t rng = atomic_fetch_add(&messages, 1) * UINT64_C(0x9e3779b97f4a7c15) + 1;
    const bool forgets = command == CMP_FORGET || command == CMP_FORGET_ALL;

    (void)below(&rng, 2);
    if (forgets && below(&rng, 4) == 0)
        place_sleep_us(below(&rng, 50000));
    return (forgets && below(&rng, 20) == 0) ||
           (command == CMP_WRITE_BEGIN && below(&rng, 100) == 0);
}

static int take(void *life, const void *message, ULONG n, void *reply, ULONG room, uint64_t ns)
{
    struct cmp_head h;

    memcpy(&h, message, sizeof(h));
    if (refuses(h.command) && room >= sizeof(h)) {
        h.bytes = sizeof(h);
        h.result = CM_ENOMEM;
        memcpy(reply, &h, sizeof(h));
        return (int)sizeof(h);
    }
    return line_ask((uint32_t)(uintptr_t)life, message, n, reply, room, ns);
}
_Static_assert(LINE_LATE == FM_LATE && LINE_CUT == FM_CUT && UINT64_MAX == FM_FOREVER, "line.h");

static void cut(void *life)
{
    line_hang_up((uint32_t)(uintptr_t)life);
}

/* Connects the driver's port with the service again and again. */
static void connect_again(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        const uint32_t life = line_connect();
        const struct fm_service s = { (void *)(uintptr_t)life, take, cut };
        struct fm_connection *c = NULL;

        if (life == 0) {
            place_sleep_us(5000);
            continue;
        }
        if (!NT_SUCCESS(fm_connect(&s, RULES, sizeof(RULES), &c)))
            line_hang_up(life); /* messages of the last one are still on their way */
        line_wait(life);
        if (c)
            fm_disconnect(c);
    }
}

/* Until the filter answers reads from the service. */
static void wait_up(void)
{
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;

    while (!is_up() && !atomic_load(&wrong)) {
        place_sleep_us(1000);
        if (place_now_ns() > until && atomic_fetch_add(&wrong, 1) == 0)
            printf("WRONG the driver has not come back to its service\n");
    }
}

/* One of: it is stopped for longer than anybody waits; it ends, or is killed, and comes again. */
static void trouble(uint64_t *rng)
{
    const uint32_t what = below(rng, 4);

    if (what == 0) {
        place_suspend(service);
        place_sleep_us(TIMEOUT_MS * 1000 + 100000);
        place_resume(service);
        return;
    }
    if (what == 1) {
        place_end(service);
        (void)place_await(service);
    } else {
        place_kill(service);
    }
    place_sleep_us(below(rng, 20000));
    service = place_start(service_program);
}

static void print_counts(unsigned troubles)
{
    static const char *const name[FC_COUNTERS] = { "hits",  "misses",    "passed",
                                                   "fills", "brackets",  "outside",
                                                   "late",  "forgotten", "forgot-all" };

    printf("filter: %lu operations, %u troubles of the service", atomic_load(&done), troubles);
    for (unsigned i = 0; i < FC_COUNTERS; i++)
        printf(", %s %llu", name[i], (unsigned long long)driver.core.counter[i]);
    printf("; %lu wrong, %lu slow, %u faults\n", atomic_load(&wrong), atomic_load(&slow),
           fm_faults());
}

/* Operations and troubles go on until there were enough of both. */
static unsigned run(unsigned threads, unsigned troubles, uint64_t seed)
{
    struct os_thread t[THREADS_MAX], connector;
    uint64_t rng = seed * 2654435761u + 1;
    unsigned had = 0;

    if (!os_thread_begin(&connector, connect_again, NULL))
        abort();
    wait_up();
    for (unsigned i = 0; i < threads; i++)
        if (!os_thread_begin(&t[i], work, (void *)(uintptr_t)(seed * THREADS_MAX + i + 1)))
            abort();
    while (!atomic_load(&wrong) && (atomic_load(&done) < wanted || had < troubles)) {
        place_sleep_us(1000);
        if (had < troubles && atomic_load(&done) * (troubles + 1) / wanted > had) {
            trouble(&rng);
            had++;
            wait_up();
        }
    }
    fm_unload(); /* while all goes on */
    atomic_store(&enough, true);
    for (unsigned i = 0; i < threads; i++)
        os_thread_join(&t[i]);
    atomic_store(&over, true);
    place_end(service);
    (void)place_await(service);
    os_thread_join(&connector);
    return had;
}

static bool take_option(const char *name, const char *value, unsigned *threads, unsigned *troubles,
                        uint64_t *seed)
{
    const uint64_t n = strtoull(value, NULL, 10);

    if (!strcmp(name, "--operations"))
        wanted = (unsigned long)n;
    else if (!strcmp(name, "--threads") && n > 0 && n <= THREADS_MAX)
        *threads = (unsigned)n;
    else if (!strcmp(name, "--troubles"))
        *troubles = (unsigned)n;
    else if (!strcmp(name, "--seed"))
        *seed = n;
    else
        return false;
    return true;
}

/* The driver is there before its volume is mounted. */
static void load(void)
{
    fm_begin();
    fm_hurry(HURRY);
    if (!NT_SUCCESS(fm_load(true)))
        place_die("DriverEntry");
    fc_set_init(&driver.core.written, driver.written, SLOTS);
    line_init(place_socket);
    for (unsigned i = 0; i < FILES; i++) {
        struct file *const f = &files[i];
        static const char name[] = DEVICE "\\data\\f";

        for (unsigned n = 0; n < sizeof(name) - 1; n++)
            f->name[n] = (WCHAR)name[n];
        f->name[sizeof(name) - 1] = (WCHAR)('a' + i);
        f->stream = (struct fm_file){ .name = f->name, .device = sizeof(DEVICE) - 1 };
        f->stream.read = read_below;
        f->stream.facts = facts;
        f->stream.cleanup = clean_up;
        f->stream.opens = empty_below;
        os_mutex_begin(&f->in_use.lock);
        os_cond_begin(&f->in_use.free);
        os_mutex_begin(&f->lock);
        do_delete(f);
    }
}

static void close_files(void)
{
    for (unsigned i = 0; i < FILES; i++)
        close_all(&files[i]);
    fm_end();
}

int main(int argc, char **argv)
{
    unsigned threads = 8, troubles = 20;
    uint64_t seed = place_now_ns() % 1000000;
    bool ok = argc >= 2 && argc % 2 == 0;

    for (int i = 2; ok && i < argc; i += 2)
        ok = take_option(argv[i], argv[i + 1], &threads, &troubles, &seed);
    if (!ok) {
        fprintf(stderr, "usage: storm SERVICE [--operations N] [--threads N] [--troubles N] "
                        "[--seed N]\n");
        return 2;
    }
    printf("filter: seed %llu\n", (unsigned long long)seed);
    place_make(POOL_BYTES);
    load();
    service_program = argv[1];
    service = place_start(service_program);
    troubles = run(threads, troubles, seed);
    close_files();
    place_clean();
    print_counts(troubles);
    return atomic_load(&wrong) || atomic_load(&slow) || fm_faults() ? 1 : 0;
}
