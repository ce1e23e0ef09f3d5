/* SPDX-License-Identifier: BSD-2-Clause
 *
 * page-store.c - eight threads read and write the pages of one file, as a database does.
 *
 * What it shows: reads through the pool, writes inside brackets, syncs inside sync brackets, and a
 * validator of its own. All pages stay right through kill -9, and the cache stays warm.
 *
 * How to run it:
 *
 *     cachemax create POOL --size 64M     # once
 *     page-store POOL FILE SECONDS        # kill it with -9 if you like, and run it again
 *
 * FILE is made at the first run: 2048 pages of 8 KiB. Each has its number, a version and a
 * checksum. At the start the program reads all of them, checks them and prints which share came
 * from the pool. Then it reads and writes at random. FILE.acks has the newest version of each page
 * that was acknowledged; a page that is older is an error. Exit status 1: a page was wrong.
 *
 * How it works:
 * - Locks of pages are the store's own: a reader must not meet half of a write. The library only
 *   promises that after cm_write_begin() nobody gets the old bytes again.
 * - kill -9 can cut a write in the middle. So each thread writes a page to its place in
 *   FILE.journal first. The next start writes these pages again. (To survive a power cut, too, the
 *   journal would have to be synced before the page is written.)
 * - The validator says which writes the pool knows. All writes of this program stand in brackets,
 *   so a number that never changes would do. But when the pool cannot be opened, the program
 *   writes without brackets. So it counts a generation up first, and blocks of the older one are
 *   forgotten at the next attach. Nobody else may write FILE, ever. Without that promise take the
 *   validator of cm_identify_with(): the file is then cold after a kill, because its times changed
 *   after the last validator.
 *
 * Read next: docs/embedding.md, "Write", and include/cachemax.h, "Writing: brackets".
 */
#include <cachemax.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 8192, PAGES = 2048, THREADS = 8, LOCKS = 64, SYNC_EVERY = 500 };

struct page {
    uint64_t sum; /* of all that follows */
    uint64_t number, version;
    uint64_t data[PAGE / 8 - 3];
};

/* FILE.acks, mapped: the kernel keeps it when the process is killed. */
static struct acks {
    uint64_t generation; /* counted up before writes that the pool does not see */
    _Atomic uint64_t version[PAGES];
} * acks;
static int store = -1, journal = -1;
static cm_file *file; /* NULL: no cache */
static pthread_rwlock_t locks[LOCKS];
static atomic_bool stop, wrong;
static atomic_uint writes;
static int seconds;

static uint64_t sum_of(const struct page *p)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a, by words */
    const uint64_t *word = &p->number;
    for (size_t i = 0; i < PAGE / 8 - 1; i++)
        h = (h ^ word[i]) * 1099511628211u;
    return h;
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "page-store: %s: %s\n", what, why);
    atomic_store(&wrong, true);
    atomic_store(&stop, true);
}

static bool write_all(int fd, const void *buf, size_t len, off_t at)
{
    ssize_t n = 0;
    for (size_t done = 0; done<len; done += n> 0 ? (size_t)n : 0) {
        n = pwrite(fd, (const char *)buf + done, len - done, at + (off_t)done);
        if (n < 0 && errno != EINTR)
            return false;
    }
    return true;
}

static int64_t origin_read(void *ctx, uint64_t off, void *buf, size_t len)
{
    size_t done = 0;
    (void)ctx;
    while (done < len) {
        ssize_t n = pread(store, (char *)buf + done, len - done, (off_t)(off + done));
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return -1000 - errno; /* the library's own errors are above */
        done += n > 0 ? (size_t)n : 0;
    }
    return (int64_t)done;
}

/* ---- Pages: the caller holds the lock ------------------------------------------------------ */

static bool page_read(uint64_t number, struct page *p)
{
    uint64_t newest = atomic_load(&acks->version[number]);
    int64_t n = CM_EINVAL;
    if (file)
        n = cm_read_through(file, number * PAGE, p, PAGE, origin_read, NULL);
    if (n < 0 && n >= -1000) /* trouble with the cache */
        n = origin_read(NULL, number * PAGE, p, PAGE);
    if (n < 0)
        fail("cannot read", strerror((int)(-1000 - n)));
    else if (n != PAGE || p->sum != sum_of(p) || p->number != number)
        fail("wrong page", n == PAGE ? "its checksum or its number" : "it is short");
    else if (p->version < newest)
        fail("wrong page", "it is older than what was acknowledged");
    else
        return true;
    return false;
}

/* Writes the page to its place in the file, inside a bracket. */
static bool page_place(const struct page *p)
{
    cm_bracket w;
    int e = file ? cm_write_begin(file, p->number * PAGE, PAGE, &w) : 0;
    if (e < 0) { /* do not write: old data could come back */
        fail("the page is not written; delete the pool", cm_strerror(e));
        return false;
    }
    bool ok = write_all(store, p, PAGE, (off_t)(p->number * PAGE));
    int error = errno;
    if (file)
        cm_write_end(file, &w, NULL); /* also if the write failed */
    if (!ok)
        fail("cannot write", strerror(error));
    return ok;
}

static bool page_write(struct page *p, unsigned thread)
{
    p->version++;
    p->data[p->version % (PAGE / 8 - 3)] = p->version;
    p->sum = sum_of(p);
    if (!write_all(journal, p, PAGE, (off_t)thread * PAGE)) {
        fail("cannot write the journal", strerror(errno));
        return false;
    }
    if (!page_place(p))
        return false;
    atomic_store(&acks->version[p->number], p->version); /* from here on nobody may see an older */
    return true;
}

/* What a killed process was writing. A page in the journal that is not whole was not begun. */
static bool recover(void)
{
    struct page p;
    for (unsigned i = 0; i < THREADS; i++)
        if (pread(journal, &p, PAGE, (off_t)i * PAGE) == PAGE && p.sum == sum_of(&p) &&
            p.number < PAGES && p.version >= atomic_load(&acks->version[p.number]) &&
            !page_place(&p))
            return false;
    return true;
}

/* ---- Threads ------------------------------------------------------------------------------- */

static void validator_now(cm_validator *v)
{
    *v = (cm_validator)CM_VALIDATOR_INIT;
    cm_validator_set_proof(v, &acks->generation, sizeof(acks->generation));
    v->taken_at = cm_now();
    v->size = (uint64_t)PAGES * PAGE;
}

/* Syncs the store. Writes may go on meanwhile; it is a proof only if none does. */
static void store_sync(bool last)
{
    cm_sync s;
    cm_validator after;
    bool begun = file && cm_sync_begin(file, &s) == 0;
    bool ok = fsync(store) == 0;
    if (!ok)
        fail("cannot sync", strerror(errno));
    validator_now(&after);
    if (begun)
        cm_sync_end(file, &s, ok, last ? &after : NULL);
}

static void *check_all(void *arg)
{
    struct page p;
    for (uint64_t i = (uint64_t)(uintptr_t)arg; i < PAGES && !atomic_load(&stop); i += THREADS)
        page_read(i, &p); /* nobody writes yet: no locks */
    return NULL;
}

static void *work(void *arg)
{
    unsigned thread = (unsigned)(uintptr_t)arg;
    uint64_t random = (uint64_t)time(NULL) * THREADS + thread;
    struct page p;
    while (!atomic_load(&stop)) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t number = (random >> 33) % PAGES;
        bool change = (random >> 60) == 0; /* one of 16 */
        pthread_rwlock_t *lock = &locks[number % LOCKS];
        change ? pthread_rwlock_wrlock(lock) : pthread_rwlock_rdlock(lock);
        bool ok = page_read(number, &p);
        if (ok && change)
            ok = page_write(&p, thread);
        pthread_rwlock_unlock(lock);
        if (ok && change && atomic_fetch_add(&writes, 1) % SYNC_EVERY == SYNC_EVERY - 1)
            store_sync(false);
    }
    return NULL;
}

static void run_threads(void *(*what)(void *))
{
    pthread_t t[THREADS];
    unsigned n = 0;
    while (n < THREADS && !pthread_create(&t[n], NULL, what, (void *)(uintptr_t)n))
        n++;
    if (n < THREADS)
        fail("threads", "cannot begin all");
    if (what == work) {
        for (int i = 0; i < seconds * 10 && !atomic_load(&stop); i++)
            nanosleep(&(struct timespec){ 0, 100000000 }, NULL);
        atomic_store(&stop, true);
    }
    while (n > 0)
        pthread_join(t[--n], NULL);
}

/* ---- Open, close --------------------------------------------------------------------------- */

static bool store_open(const char *path)
{
    char name[4096];
    struct page p = { 0 };
    store = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store < 0)
        return false;
    if (flock(store, LOCK_EX | LOCK_NB) < 0) { /* a kill releases it */
        errno = errno == EWOULDBLOCK ? ETXTBSY : errno;
        return false;
    }
    snprintf(name, sizeof(name), "%s.journal", path);
    journal = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    snprintf(name, sizeof(name), "%s.acks", path);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (journal < 0 || fd < 0 || ftruncate(fd, sizeof(*acks)) < 0)
        return false;
    acks = mmap(NULL, sizeof(*acks), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (acks == MAP_FAILED)
        return false;
    if (acks->generation > 0)
        return true;
    for (p.number = 0; p.number < PAGES; p.number++) { /* a new store */
        p.sum = sum_of(&p);
        if (!write_all(store, &p, PAGE, (off_t)(p.number * PAGE)))
            return false;
    }
    acks->generation = (uint64_t)time(NULL); /* not that of an earlier store of this name */
    return true;
}

static cm_cache *attach(const char *pool)
{
    cm_cache *cache = NULL;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    int e = cm_open(pool, NULL, &cache);
    if (e >= 0) {
        cm_identify_options sole = CM_IDENTIFY_OPTIONS_INIT;
        sole.flags = CM_IDENTIFY_SOLE_WRITER;
        e = cm_identify_with(store, &sole, &id, &v); /* only the id of it is used */
    }
    if (e >= 0) {
        validator_now(&v);
        e = cm_file_open(cache, &id, &v, CM_SOLE_WRITER, &file);
    }
    if (e < 0) {
        fprintf(stderr, "page-store: %s: %s; going on without it\n", pool, cm_strerror(e));
        acks->generation++;
        /* On the disk before any write: a power cut must not take it back and leave the write. */
        if (msync(acks, sizeof(*acks), MS_SYNC) < 0)
            fail("cannot sync the generation; nothing is written", strerror(errno));
    }
    return cache;
}

static void print_share(cm_cache *cache)
{
    cm_stats_data s = { .struct_size = sizeof(s) };
    if (file && cm_stats(cache, &s) == 0 && s.hit_blocks + s.miss_blocks > 0)
        printf("checked %d pages: %" PRIu64 " %% of the blocks came from the pool\n", PAGES,
               100 * s.hit_blocks / (s.hit_blocks + s.miss_blocks));
    else
        printf("checked %d pages without the pool\n", PAGES);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 4 || (seconds = atoi(argv[3])) < 0) {
        fprintf(stderr, "usage: page-store POOL FILE SECONDS\n");
        return 2;
    }
    for (int i = 0; i < LOCKS; i++)
        if (pthread_rwlock_init(&locks[i], NULL))
            return 1;
    if (!store_open(argv[2])) {
        fail(argv[2], errno == ETXTBSY ? "another process uses it" : strerror(errno));
        return 1;
    }
    cm_cache *cache = attach(argv[1]);
    if (!atomic_load(&stop) && recover()) {
        run_threads(check_all);
        print_share(cache);
    }
    if (!atomic_load(&stop))
        run_threads(work);
    store_sync(true);
    printf("wrote %u pages\n", atomic_load(&writes));
    if (file)
        cm_file_close(file);
    int e = cache ? cm_close(cache) : 0;
    if (e < 0)
        fprintf(stderr, "page-store: %s: %s\n", argv[1], cm_strerror(e));
    return atomic_load(&wrong) ? 1 : 0;
}
