/* SPDX-License-Identifier: BSD-2-Clause
 *
 * object-store.c - objects under keys, in a store that is far away: threads read them through a
 * pool, and a writer replaces them.
 *
 *     object-store FOLDER POOL SECONDS     # kill it with -9 if you like, and run it again
 *
 * It shows ids that are made of keys, an origin that is no file of the system, versions as proofs,
 * a writer inside brackets, and objects that others replace. POOL is made if it is not there.
 *
 * FOLDER plays the far store. It knows three requests, and each takes 5 ms: HEAD tells the version
 * and the size of an object, GET reads bytes of one version, PUT replaces an object as a whole. At
 * the start the program reads all objects and prints how many requests that took: 48 HEADs, and
 * GETs of what the pool does not have. Then it reads and replaces at random. Exit status 1: a byte
 * was wrong.
 * - The proof of an object is its version, as the ETag of a web server is. The pool keeps an object
 *   while the store tells the same version of it. So others may replace objects, too, and a second
 *   process may run without the pool.
 * - GET reads the version that is attached, or fails. Else bytes of a newer version would be stored
 *   as those of the old one.
 * - What others replace is seen at the next attach, or when a GET fails. Until then the program
 *   reads the old object, whole. If that is too late, present a validator more often
 *   (cm_file_revalidate), or give the objects a time to live (cm_file_set_ttl).
 * - An object stays attached. Attach it once, not for each read.
 *
 * Read next: docs/embedding.md, "Attach files"; examples/http-proxy does this with HTTP.
 */
#define _XOPEN_SOURCE 700 /* pread, realpath */
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OBJECTS = 48, THREADS = 4, SIZE_MAX_OF_OBJECT = 200000, GONE = -1001, FAILED = -1002 };

struct object {
    char key[PATH_MAX + 32]; /* with the store's name: a pool may serve several stores */
    pthread_rwlock_t lock;   /* a reader must not meet half of a PUT: of what follows, too */
    cm_file *file;           /* NULL: no cache */
    uint64_t version, size;  /* that HEAD, or the PUT, told */
};
static struct object objects[OBJECTS];
static cm_cache *cache;                  /* NULL: there is none */
static atomic_uint asked, got, replaced; /* HEADs, GETs, PUTs */
static atomic_bool stop;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "object-store: %s: %s\n", what, why);
    exit(1); /* like a kill: it does no harm */
}

/* ---- The far store: a file for each object, its version first ------------------------------- */

enum { HEAD_BYTES = 8 };

static int far_open(const char *key, uint64_t *version)
{
    nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    int fd = open(key, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && pread(fd, version, HEAD_BYTES, 0) == HEAD_BYTES)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool far_head(const char *key, uint64_t *version, uint64_t *size)
{
    struct stat st;
    int fd = far_open(key, version);
    bool ok = fd >= 0 && fstat(fd, &st) == 0;
    if (fd >= 0)
        close(fd);
    *size = ok ? (uint64_t)st.st_size - HEAD_BYTES : 0;
    atomic_fetch_add(&asked, 1);
    return ok;
}

/* The callback of cm_read_through(). The bytes read, fewer only at the end; GONE: the store has
 * another version. Its own errors are below -1000, the library's are above. */
static int64_t far_get(void *ctx, uint64_t off, void *buf, size_t len)
{
    const struct object *o = ctx;
    uint64_t version;
    size_t done = 0;
    ssize_t n = 1;
    int fd = far_open(o->key, &version);
    atomic_fetch_add(&got, 1);
    if (fd < 0)
        return FAILED;
    while (version == o->version && done < len && n > 0) {
        n = pread(fd, (char *)buf + done, len - done, (off_t)(HEAD_BYTES + off + done));
        done += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    return version != o->version ? GONE : n < 0 ? FAILED : (int64_t)done;
}

/* What an object holds follows from its version, so readers can tell whether it is right. */
static unsigned char byte_of(uint64_t version, uint64_t at)
{
    return (unsigned char)((version >> 10) * 31 + at * 7 + (at >> 12));
}

/* Tells the new version and size, as stores do. */
static bool far_put(const char *key, uint64_t *version, uint64_t *size)
{
    static _Thread_local unsigned char body[SIZE_MAX_OF_OBJECT];
    char new[PATH_MAX + 64];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *version = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    *size = SIZE_MAX_OF_OBJECT / 2 + *version / 1000 % (SIZE_MAX_OF_OBJECT / 2);
    for (uint64_t at = 0; at < *size; at++)
        body[at] = byte_of(*version, at);
    snprintf(new, sizeof(new), "%s.%ld", key, (long)getpid());
    int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, version, HEAD_BYTES) == HEAD_BYTES &&
              write(fd, body, *size) == (ssize_t)*size;
    ok = fd >= 0 && close(fd) == 0 && ok && rename(new, key) == 0;
    nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    atomic_fetch_add(&replaced, 1);
    return ok;
}

/* ---- Objects through the pool ---------------------------------------------------------------- */

static cm_validator validator_of(const struct object *o, uint64_t asked_at)
{
    cm_validator v = CM_VALIDATOR_INIT;
    cm_validator_set_proof(&v, &o->version, sizeof(o->version));
    v.taken_at = asked_at; /* before the store was asked */
    v.size = o->size;
    v.changed_ns = CM_CHANGED_LONG_AGO; /* a power cut of this machine takes nothing from it */
    return v;
}

/* Tells the pool which version of the object the store had at `asked_at`. Another one than before:
 * the pool forgets the object. Its lock is held for writing, or nobody else has it yet. */
static void present(struct object *o, uint64_t asked_at)
{
    cm_file_id id;
    int e = 0;
    cm_validator v = validator_of(o, asked_at);
    cm_file_id_set_key(&id, o->key, strlen(o->key));
    if (o->file)
        e = cm_file_revalidate(o->file, &v);
    else if (cache)
        e = cm_file_open(cache, &id, &v, 0, &o->file);
    if (e == CM_EFORGET)
        fail("delete the pool", cm_strerror(e));
    if (e < 0)
        fprintf(stderr, "object-store: %s: %s; going on without the pool\n", o->key,
                cm_strerror(e));
}

static void look(struct object *o)
{
    uint64_t asked_at = cm_now();
    if (!far_head(o->key, &o->version, &o->size))
        fail(o->key, "the store does not have it");
    present(o, asked_at);
}

/* Reads the whole object, and checks each byte. */
static void get(struct object *o)
{
    static _Thread_local unsigned char buf[SIZE_MAX_OF_OBJECT];
    int64_t n = CM_EINVAL;
    pthread_rwlock_rdlock(&o->lock);
    if (o->file)
        n = cm_read_through(o->file, 0, buf, sizeof(buf), far_get, o);
    if (n < 0 && n >= -1000) /* no cache, or trouble with it */
        n = far_get(o, 0, buf, sizeof(buf));
    if (n >= 0 && (uint64_t)n != o->size)
        fail(o->key, "its length is wrong");
    for (int64_t at = 0; at < n; at++)
        if (buf[at] != byte_of(o->version, (uint64_t)at))
            fail(o->key, "a byte is wrong");
    pthread_rwlock_unlock(&o->lock);
    if (n == GONE) { /* somebody has replaced it: next time it is the new one */
        pthread_rwlock_wrlock(&o->lock);
        look(o);
        pthread_rwlock_unlock(&o->lock);
    } else if (n < 0)
        fail(o->key, "the store does not answer");
}

static void put(struct object *o)
{
    cm_bracket w;
    pthread_rwlock_wrlock(&o->lock);
    int e = o->file ? cm_write_begin(o->file, 0, CM_ALL, &w) : 0;
    if (e < 0) /* do not write: old data could come back */
        fail("the object is not replaced; delete the pool", cm_strerror(e));
    bool ok = far_put(o->key, &o->version, &o->size);
    if (o->file)
        cm_write_end(o->file, &w, NULL); /* also when the write failed */
    if (!ok)
        fail(o->key, "it cannot be replaced");
    present(o, cm_now()); /* after the bracket: only a sole writer may give it to its end */
    pthread_rwlock_unlock(&o->lock);
}

/* ---- The program ----------------------------------------------------------------------------- */

static void *work(void *arg)
{
    uint64_t random = (uint64_t)time(NULL) * THREADS + (uintptr_t)arg;
    while (!atomic_load(&stop)) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        struct object *o = &objects[(random >> 33) % OBJECTS];
        if (arg) {
            get(o);
            continue;
        }
        put(o); /* the first thread, some times a second */
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    }
    return NULL;
}

static void log_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    (void)level;
    fprintf(stderr, "object-store: %s\n", text);
}

static void pool_open(const char *path)
{
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options options = CM_OPTIONS_INIT;
    create.size = 64 << 20;
    create.log = options.log = log_line; /* says why there is no cache */
    int e = cm_create(path, &create);
    if (e == 0 || e == CM_EEXIST)
        e = cm_open(path, &options, &cache);
    if (e < 0)
        fprintf(stderr, "object-store: %s: %s; going on without it\n", path, cm_strerror(e));
}

static void objects_open(const char *folder)
{
    char store[PATH_MAX];
    struct stat st;
    if ((mkdir(folder, 0700) < 0 && errno != EEXIST) || !realpath(folder, store))
        fail(folder, strerror(errno));
    for (unsigned i = 0; i < OBJECTS; i++) {
        struct object *o = &objects[i];
        pthread_rwlock_init(&o->lock, NULL);
        snprintf(o->key, sizeof(o->key), "%s/photo-%u", store, i);
        if (stat(o->key, &st) < 0 && !far_put(o->key, &o->version, &o->size))
            fail(o->key, "it cannot be made");
        look(o);
    }
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
        fprintf(stderr, "usage: object-store FOLDER POOL SECONDS\n");
        return 2;
    }
    pool_open(argv[2]);
    objects_open(argv[1]);
    for (unsigned i = 0; i < OBJECTS; i++)
        get(&objects[i]);
    printf("read %d objects: %u HEADs, %u GETs\n", OBJECTS, asked, got);
    fflush(stdout);
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i))
            fail("threads", "cannot begin all");
    sleep((unsigned)atoi(argv[3]));
    atomic_store(&stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("replaced %u objects; %u HEADs, %u GETs in all\n", replaced, asked, got);
    if (cache && (e = cm_close(cache)) < 0) /* closes the files, too */
        fprintf(stderr, "object-store: %s: %s\n", argv[2], cm_strerror(e));
    return 0;
}
