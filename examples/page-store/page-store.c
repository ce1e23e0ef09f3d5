/* SPDX-License-Identifier: BSD-2-Clause
 *
 * page-store.c - eight threads read and write the pages of one file, as a database does.
 *
 *     cachemax create POOL --size 64M     # once
 *     page-store FILE POOL SECONDS        # kill it with -9 if you like, and run it again
 *
 * It shows reads through the pool, writes inside brackets, syncs inside sync brackets, and a
 * validator of its own. All pages stay right through kill -9, and the cache stays warm.
 *
 * FILE is made at the first run, if it is not there, or empty: 2048 pages, each with its number, a
 * version and a checksum. Any other file is refused, and stays as it is. At the start the program
 * reads all pages through the pool, compares them with FILE, and prints how many came from the
 * pool. Then it reads and writes at random. Exit status 1: a page was wrong.
 * - Locks of pages are the store's own: a reader must not meet half of a write. The library only
 *   promises that after cm_write_begin() nobody gets the old bytes again.
 * - A page is 4 KiB, at a multiple of that: Linux does not cut such a write when the process is
 *   killed. (A power cut may. Databases have a journal for that.)
 * - The validator says which writes the pool knows. All writes stand in brackets, so a number that
 *   never changes would do. But a pool does not see what is written without it, or with another
 *   one. So the program counts a generation up first, and the older blocks are forgotten. (Delete
 *   the pool if it, or FILE, was restored from a copy: no number shows that.) Nobody else may write
 *   FILE, so a lock keeps out a second process. Without that promise take the validator of
 *   cm_identify_with(): the file is then cold after a kill, because its times changed.
 *
 * Read next: docs/embedding.md, "Write", and include/cachemax.h, "Writing: brackets".
 */
#define _XOPEN_SOURCE 700 /* pread, read-write locks */
#include <cachemax.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = CM_BLOCK_SIZE, PAGES = 2048, THREADS = 8, LOCKS = 64, SYNC_EVERY = 500 };

#define NEW ".page-store.new" /* behind the name of a store that is being made */

struct page {
    uint64_t sum; /* of all that follows */
    uint64_t number, version;
    uint64_t data[PAGE / 8 - 3];
};

static struct page head; /* behind the pages: the generation of FILE, and the uuid of its pool */
static uint64_t versions[PAGES];
static int store;
static cm_file *file; /* NULL: no cache */
static pthread_rwlock_t locks[LOCKS];
static atomic_bool stop;
static atomic_uint writes;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "page-store: %s: %s\n", what, why);
    exit(1); /* like a kill: it does no harm */
}

static uint64_t sum_of(const struct page *p)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a, by words */
    for (const uint64_t *word = &p->number; word < (const uint64_t *)(p + 1); word++)
        h = (h ^ *word) * 1099511628211u;
    return h;
}

/* ---- Pages: the caller holds the lock ------------------------------------------------------ */

static int64_t origin_read(void *ctx, uint64_t off, void *buf, size_t len)
{
    (void)ctx;
    for (size_t done = 0;;) { /* a server may give less, or a signal interrupt it */
        const ssize_t n = pread(store, (char *)buf + done, len - done, (off_t)(off + done));
        if (n < 0 && errno != EINTR)
            return -1000 - errno; /* the library's own errors are above */
        if (n == 0 || (n > 0 && (done += (size_t)n) == len))
            return (int64_t)done; /* less than len: the file ends here */
    }
}

/* Reads a page and checks it. */
static void page_read(uint64_t number, struct page *p)
{
    int64_t n = CM_EINVAL;
    if (file)
        n = cm_read_through(file, number * PAGE, p, PAGE, origin_read, NULL);
    if (n < 0 && n >= -1000) /* no cache, or trouble with it */
        n = origin_read(NULL, number * PAGE, p, PAGE);
    if (n < 0)
        fail("cannot read", strerror((int)(-1000 - n)));
    if (n != PAGE || p->sum != sum_of(p) || p->number != number)
        fail("wrong page", "its length, its checksum or its number");
    if (p->version != versions[number])
        fail("wrong page", "it is not the newest; delete POOL if it, or FILE, was restored from "
                           "a copy");
}

static void page_place(struct page *p)
{
    p->sum = sum_of(p);
    if (pwrite(store, p, PAGE, (off_t)(p->number * PAGE)) != PAGE)
        fail("cannot write", strerror(errno));
}

static void page_write(struct page *p)
{
    cm_bracket w;
    int e = file ? cm_write_begin(file, p->number * PAGE, PAGE, &w) : 0;
    if (e < 0) /* do not write: old data could come back */
        fail("the page is not written; delete the pool", cm_strerror(e));
    p->version++;
    p->data[p->version % (PAGE / 8 - 3)] = p->version;
    page_place(p);
    if (file)
        cm_write_end(file, &w, NULL);
    versions[p->number] = p->version; /* from here on nobody may see an older one */
}

/* ---- The validator ------------------------------------------------------------------------- */

static cm_validator validator_now(void)
{
    cm_validator v = CM_VALIDATOR_INIT;
    cm_validator_set_proof(&v, &head.version, sizeof(head.version));
    v.taken_at = cm_now();
    v.size = (PAGES + 1) * (uint64_t)PAGE;
    return v;
}

/* Syncs the store. Writes may go on meanwhile. It proves the regions of the file in which no write
 * was open when it began, and none has begun since. */
static void store_sync(void)
{
    cm_sync s;
    bool begun = file && cm_sync_begin(file, &s) == 0;
    bool ok = fsync(store) == 0;
    int error = errno;
    cm_validator after = validator_now();
    if (begun)
        cm_sync_end(file, &s, ok, &after);
    if (!ok)
        fail("cannot sync", strerror(error));
}

/* Is on the disk before the first write: a power cut must not take back the generation alone. */
static void next_generation(const void *uuid)
{
    head.version++;
    memcpy(head.data, uuid, 16);
    page_place(&head);
    if (fsync(store) < 0)
        fail("cannot sync the generation; nothing is written", strerror(errno));
}

static cm_cache *attach(const char *pool)
{
    cm_cache *cache = NULL;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_identify_options sole = CM_IDENTIFY_OPTIONS_INIT;
    cm_info info = { .struct_size = sizeof(info) };
    sole.flags = CM_IDENTIFY_SOLE_WRITER;
    int e = cm_open(pool, NULL, &cache);
    if (e == 0)
        e = cm_identify_with(store, &sole, &id, &v); /* only the id of it is used */
    if (e == 0 && (e = cm_get_info(cache, &info)) == 0 && memcmp(head.data, info.uuid, 16) != 0)
        next_generation(info.uuid);
    v = validator_now();
    if (e == 0)
        e = cm_file_open(cache, &id, &v, CM_SOLE_WRITER, &file);
    if (e < 0) {
        fprintf(stderr, "page-store: %s: %s; going on without it\n", pool, cm_strerror(e));
        next_generation("without a pool!");
    }
    return cache;
}

/* ---- The store ----------------------------------------------------------------------------- */

/* Makes a new store, under another name first: a kill leaves no half of one. The caller has the
 * lock of an empty file of this name. */
static void store_make(const char *path)
{
    char name[PATH_MAX + sizeof(NEW)], real[PATH_MAX];
    struct page p = { 0 };
    if (!realpath(path, real)) /* rename() would put it in place of a link */
        fail(path, strerror(errno));
    snprintf(name, sizeof(name), "%s" NEW, real);
    store = open(name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (store < 0 || flock(store, LOCK_EX | LOCK_NB) < 0)
        fail(name, strerror(errno));
    for (; p.number < PAGES; p.number++)
        page_place(&p);
    head.number = PAGES;
    head.version = (uint64_t)time(NULL) << 32; /* not that of an earlier store of this name */
    page_place(&head);
    if (fsync(store) < 0 || rename(name, real) < 0)
        fail(name, strerror(errno));
}

static bool is_store(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_size == (PAGES + 1) * (off_t)PAGE &&
           pread(store, &head, PAGE, (off_t)PAGES * PAGE) == PAGE && head.number == PAGES &&
           head.sum == sum_of(&head);
}

static void store_open(const char *path)
{
    struct stat st, named;
    store = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store < 0 || flock(store, LOCK_EX | LOCK_NB) < 0) /* until this process ends */
        fail(path, errno == EWOULDBLOCK ? "another process uses it" : strerror(errno));
    if (fstat(store, &st) < 0 || stat(path, &named) < 0 || st.st_ino != named.st_ino)
        fail(path, "another process has just made it; run this once more");
    if (S_ISREG(st.st_mode) && st.st_size == 0)
        store_make(path);
    else if (!is_store(&st))
        fail(path, "is no store of page-store; it is left as it is: name another file");
}

static void *work(void *arg)
{
    uint64_t random = (uint64_t)time(NULL) * THREADS + (uintptr_t)arg;
    struct page p;
    while (!atomic_load(&stop)) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t number = (random >> 33) % PAGES;
        bool change = (random >> 60) == 0; /* one of 16 */
        pthread_rwlock_t *lock = &locks[number % LOCKS];
        change ? pthread_rwlock_wrlock(lock) : pthread_rwlock_rdlock(lock);
        page_read(number, &p);
        if (change)
            page_write(&p);
        pthread_rwlock_unlock(lock);
        if (change && atomic_fetch_add(&writes, 1) % SYNC_EVERY == SYNC_EVERY - 1)
            store_sync();
    }
    return NULL;
}

static void check_all(cm_cache *cache)
{
    struct page p;
    cm_stats_data s = { .struct_size = sizeof(s) };
    for (uint64_t i = 0; i < PAGES; i++) {
        uint64_t number = i * 1031 % PAGES; /* not in order: nothing is read ahead */
        if (origin_read(NULL, number * PAGE, &p, PAGE) == PAGE)
            versions[number] = p.version;
        page_read(number, &p); /* nobody writes yet: no lock */
    }
    if (cache)
        cm_stats(cache, &s);
    printf("checked %d pages: %d came from the pool\n", PAGES, (int)s.hit_blocks);
    fflush(stdout);
}

static bool is_number(const char *text)
{
    const size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits < 10 && !text[digits];
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    int e;
    if (argc != 4 || !is_number(argv[3])) {
        fprintf(stderr, "usage: page-store FILE POOL SECONDS\n");
        return 2;
    }
    store_open(argv[1]);
    cm_cache *cache = attach(argv[2]);
    check_all(cache);
    for (unsigned i = 0; i < LOCKS; i++)
        pthread_rwlock_init(&locks[i], NULL);
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i))
            fail("threads", "cannot begin all");
    sleep((unsigned)atoi(argv[3]));
    atomic_store(&stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    store_sync();
    printf("wrote %u pages\n", atomic_load(&writes));
    if (cache && (e = cm_close(cache)) < 0) /* closes the file, too */
        fprintf(stderr, "page-store: %s: %s\n", argv[2], cm_strerror(e));
    return 0;
}
