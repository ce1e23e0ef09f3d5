/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kill.c - kills a program that puts, deletes and gets objects, and starts it again, many times.
 *
 * usage: objects-kill [--cycles N] [--seed S] [--dir DIR]
 * In each of N cycles (20) a child opens the pool in DIR (a new directory in /dev/shm), judges all
 * keys, and then works with four threads until it is killed by SIGKILL at a random instant. What
 * the child has begun and what has returned is in memory that it shares with its parent.
 * - A get gives the version of the last put that returned, or of one that was begun after it, or
 *   nothing. After a delete that returned it gives nothing older than that.
 * - The floor: of the keys that were at rest when the child was killed, 95 in 100 must be there.
 * Each eighth cycle begins with a new pool, in turn a large one and a small one that evicts all the
 * time and has no floor. The last line is "N passed, N failed, 0 skipped".
 */
#include <cachemax_objects.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEYS = 4000, WRITERS = 2, READERS = 2, LONGEST = 20000, WRONG = 3, ENDED = 4 };

/* Versions of a key: odd ones are puts, even ones deletes. */
struct key {
    uint64_t began, ended;
};

static struct shared {
    struct key key[KEYS];
    uint64_t gets, hits, puts, ready;
    char wrong[200];
} * s;

static cm_objects *objects;

static uint64_t mix(uint64_t x) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t load(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void wrong(const char *what, uint64_t key, uint64_t version)
{
    snprintf(s->wrong, sizeof(s->wrong), "%s: key %llu, version %llu, began %llu, ended %llu", what,
             (unsigned long long)key, (unsigned long long)version,
             (unsigned long long)s->key[key].began, (unsigned long long)s->key[key].ended);
    _exit(WRONG);
}

/* ---- Values ---------------------------------------------------------------------------------- */

static size_t make(uint64_t key, uint64_t version, unsigned char *to)
{
    const uint64_t r = mix(key * 1000003 + version);
    const size_t len = 16 + (r % 8 ? r % 400 : r % (LONGEST - 16));
    memcpy(to, &key, 8);
    memcpy(to + 8, &version, 8);
    for (size_t i = 16; i < len; i++)
        to[i] = (unsigned char)(r >> i % 57) ^ (unsigned char)i;
    return len;
}

/* Gets a key and judges it. True: it is there. */
static bool judge(uint64_t key)
{
    unsigned char buf[LONGEST], want[LONGEST];
    uint64_t version;
    const uint64_t ended = load(&s->key[key].ended);
    const int64_t n = cm_objects_get(objects, &key, sizeof(key), buf, sizeof(buf), NULL);
    const uint64_t began = load(&s->key[key].began);
    if (n == CM_EABSENT)
        return false;
    if (n < 16 || n > LONGEST)
        wrong(n < 0 ? cm_strerror((int)n) : "a wrong length", key, 0);
    memcpy(&version, buf + 8, 8);
    if (make(key, version, want) != (size_t)n || memcmp(buf, want, (size_t)n) != 0)
        wrong("wrong bytes", key, version);
    if (version % 2 == 0 || version < ended || version > began)
        wrong("a version of another time", key, version);
    return true;
}

/* ---- The child ------------------------------------------------------------------------------- */

static void *write_all(void *arg)
{
    unsigned char value[LONGEST];
    uint64_t r = mix((uint64_t)getpid() * WRITERS + (uintptr_t)arg);
    for (;;) {
        r = mix(r);
        const uint64_t key = r % (KEYS / WRITERS) * WRITERS + (uintptr_t)arg;
        const bool put = (r >> 40) % 8 != 0;
        uint64_t version = s->key[key].began + 1;
        version += (version % 2 != 0) != put;
        __atomic_store_n(&s->key[key].began, version, __ATOMIC_SEQ_CST);
        const size_t len = make(key, version, value);
        const int e = put ? cm_objects_put(objects, &key, sizeof(key), value, len, 0)
                          : cm_objects_delete(objects, &key, sizeof(key));
        if (e < 0 && e != CM_EABSENT)
            wrong(cm_strerror(e), key, version);
        __atomic_store_n(&s->key[key].ended, version, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&s->puts, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *read_all(void *arg)
{
    uint64_t r = mix((uint64_t)getpid() * 77 + (uintptr_t)arg);
    for (;;) {
        r = mix(r);
        const bool hit = judge(r % KEYS);
        __atomic_fetch_add(&s->gets, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&s->hits, hit, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* All keys, after a kill. `large`: with a floor. */
static void judge_all(bool large)
{
    unsigned rest = 0, there = 0;
    for (uint64_t key = 0; key < KEYS; key++) {
        const bool hit = judge(key);
        if (s->key[key].began == s->key[key].ended && s->key[key].ended % 2) {
            rest++;
            there += hit;
        }
    }
    if (large && there < rest - rest / 20) {
        snprintf(s->wrong, sizeof(s->wrong), "only %u of %u objects are there", there, rest);
        _exit(WRONG);
    }
}

static void child(const char *pool, bool large)
{
    pthread_t t[WRITERS + READERS];
    cm_cache *cache;
    cm_objects_options opts = CM_OBJECTS_OPTIONS_INIT;
    opts.objects = KEYS;
    opts.object_bytes = 300;
    int e = cm_open(pool, NULL, &cache);
    if (e == 0)
        e = cm_objects_open(cache, "killed", &opts, &objects);
    if (e) {
        snprintf(s->wrong, sizeof(s->wrong), "open: %s", cm_strerror(e));
        _exit(WRONG);
    }
    judge_all(large);
    __atomic_store_n(&s->ready, 1, __ATOMIC_SEQ_CST);
    for (uintptr_t i = 0; i < WRITERS + READERS; i++)
        if (pthread_create(&t[i], NULL, i < WRITERS ? write_all : read_all, (void *)i) != 0)
            _exit(ENDED);
    for (;;)
        pause();
}

/* ---- The parent ------------------------------------------------------------------------------ */

static void new_pool(const char *pool, bool large)
{
    cm_create_options c = CM_CREATE_OPTIONS_INIT;
    unlink(pool);
    memset(s->key, 0, sizeof(s->key));
    c.size = (uint64_t)(large ? 64 : 2) << 20;
    c.flags = CM_CREATE_SPARSE;
    const int e = cm_create(pool, &c);
    if (e) {
        fprintf(stderr, "%s: %s\n", pool, cm_strerror(e));
        exit(2);
    }
}

/* False: the child found something wrong. */
static bool cycle(const char *pool, bool large, uint64_t r)
{
    int status;
    s->ready = 0;
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0)
        child(pool, large);
    if (pid < 0)
        perror("fork"), exit(2);
    /* One kill in four may come before it is ready. */
    for (unsigned i = 0; r % 4 && i < 60000 && !load(&s->ready) && !s->wrong[0]; i++)
        usleep(1000);
    usleep((useconds_t)(r / 4 % 100000));
    kill(pid, SIGKILL);
    if (waitpid(pid, &status, 0) != pid)
        perror("waitpid"), exit(2);
    return !WIFEXITED(status) && s->wrong[0] == 0;
}

int main(int argc, char **argv)
{
    uint64_t cycles = 20, seed = 1, passed = 0;
    char dir[400] = "/dev/shm/cachemax-kill-XXXXXX", pool[450];
    bool own = true;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--cycles") == 0)
            cycles = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--dir") == 0 && snprintf(dir, sizeof(dir), "%s", argv[i + 1]))
            own = false;
    }
    if (own && !mkdtemp(dir))
        perror(dir), exit(2);
    snprintf(pool, sizeof(pool), "%s/objects", dir);
    s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED)
        perror("mmap"), exit(2);
    bool ok = true;
    for (uint64_t i = 0; i < cycles && ok; i++) {
        const bool large = i / 8 % 2 == 0;
        if (i % 8 == 0)
            new_pool(pool, large);
        ok = cycle(pool, large, mix(seed + i));
        passed += ok;
        if (!ok)
            printf("FAIL cycle %llu: %s\n", (unsigned long long)i,
                   s->wrong[0] ? s->wrong : "the program ended by itself");
    }
    printf("%llu kills: %llu changes, %llu gets, %llu hits\n", (unsigned long long)passed,
           (unsigned long long)s->puts, (unsigned long long)s->gets, (unsigned long long)s->hits);
    unlink(pool);
    if (own)
        rmdir(dir);
    printf("%llu passed, %d failed, 0 skipped\n", (unsigned long long)passed, !ok);
    return !ok;
}
