/* SPDX-License-Identifier: BSD-2-Clause
 *
 * states.c - what a crash may leave of a container of objects.
 *
 *   objects-crash [--rules adr|eadr|checkpoint] [--sequences N] [--first N] [--length L]
 *                 [--points P]
 *
 * Runs N random sequences of L puts, deletes, clears, closes, checkpoints, kills and power cuts on
 * a small pool whose stores are recorded (../crash/recorder.h). At P points of each operation, or
 * all, it builds images that a power cut there may leave, opens each of them in another boot, and
 * gets all keys. Each version of a key is another value, so an old one is seen.
 * - A get gives the version whose put has returned, or of the operation that was cut short, or
 *   nothing. After a delete or a clear that returned it gives nothing.
 * - The floor, where the CPU makes stores durable: what was there before and after an operation on
 *   another bucket, and was durable, must be there in each image. In a checkpointed pool: what was
 *   there at a checkpoint, until an operation on its bucket.
 * A sequence depends on its number alone. The last line is "objects-crash: N states, N violations".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../later.h"
#include "../model/origin.h"
#include "../os.h"
#include "media/format.h"
#include "media/stats.h"
#include "media/superblock.h"
#include "objects/place.h"
#include "state/cache_state.h"
#include "platform/platform.h"
#include "../crash/recorder.h"

#define KEYS 6u
#define LONGEST 9000u
#define POOL_BYTES (UINT64_C(1) << 20)
#define EXHAUSTIVE 256u
#define RANDOM_IMAGES 24u

enum { PUT, DELETE, CLEAR, REOPEN, CHECKPOINT_POOL, KILL, POWER_CUT };
static const char *const names[] = { "put",        "delete", "clear",    "reopen",
                                     "checkpoint", "kill",   "power cut" };

/* A version of a key is a number that never comes again; 0: it is not there. */
struct oracle {
    uint64_t ended[KEYS], began[KEYS]; /* equal: no operation on it was cut short */
    bool must[KEYS];                   /* it is there in each image */
};

struct arena {
    uint8_t *base;
    size_t used, size;
};

static struct {
    enum rules rules;
    uint8_t *pool, *image, *mapped;
    uint64_t number, versions, states, points, judged, hits, floor;
    unsigned length, sparse, boot;
    char path[512];
    struct arena live, judge;
    cm_cache *cache;
    cm_objects *objects;
    struct oracle now;
    bool kept[KEYS];   /* a checkpoint has it, and its bucket has not changed since */
    bool unsure[KEYS]; /* what is there may not be durable: its last change was cut short */
    struct rng rng, random, points_rng; /* of the sequence, the library, the images */
    const char *doing;
    size_t event;
} t;

static _Noreturn void violation(const char *what, unsigned key, uint64_t version)
{
    printf("VIOLATION: %s: key %u, version %llu; returned %llu, began %llu\n", what, key,
           (unsigned long long)version, (unsigned long long)t.now.ended[key],
           (unsigned long long)t.now.began[key]);
    printf("  sequence %llu, %s, event %zu: objects-crash --rules %s --first %llu --sequences 1 "
           "--length %u --points 0\n",
           (unsigned long long)t.number, t.doing, t.event,
           t.rules == RULES_ADR    ? "adr"
           : t.rules == RULES_EADR ? "eadr"
                                   : "checkpoint",
           (unsigned long long)t.number, t.length);
    printf("objects-crash: %llu states, 1 violations\n", (unsigned long long)t.states);
    exit(1);
}

static void must(int64_t e, const char *what)
{
    if (e < 0) {
        printf("%s: %s\n", what, cm_errname((int)e));
        violation(what, 0, 0);
    }
}

/* ---- The system below (--wrap), as in tests/crash/world.c
 * ------------------------------------------------ */

void __wrap_cm_plat_boot_id(uint8_t id[16]);
void __wrap_cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16]);
int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
bool __wrap_cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME]);
void __wrap_cm_plat_file_close(struct cm_plat_file *f);
void __real_cm_plat_file_close(struct cm_plat_file *f);
int __wrap_cm_super_open(struct cm_superblocks *s, const struct cm_super_owner *owner,
                         bool *emptied);
int __real_cm_super_open(struct cm_superblocks *s, const struct cm_super_owner *owner,
                         bool *emptied);
uint32_t __wrap_cm_region_shift(uint64_t size);
uint32_t __real_cm_region_shift(uint64_t size);
void __wrap_cm_stats_begin(const struct cm_media *m, uint32_t pid, int64_t wall_ns);
void __real_cm_stats_begin(const struct cm_media *m, uint32_t pid, int64_t wall_ns);
int __wrap_cm_plat_random(void *buf, size_t n);

void __wrap_cm_plat_boot_id(uint8_t id[16])
{
    memset(id, 0, 16);
    memcpy(id, "boot", 4);
    memcpy(id + 4, &t.boot, sizeof(t.boot));
}

void __wrap_cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16])
{
    (void)f;
    memset(id, 0xff, 16);
}

int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability)
{
    (void)align;
    f->base = t.mapped;
    *durability = CM_DURABILITY_PAGECACHE;
    return 0;
}

int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    (void)f;
    return rec_sync(offset, len ? len : POOL_BYTES);
}

bool __wrap_cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME])
{
    (void)f;
    what[0] = 0;
    return true;
}

void __wrap_cm_plat_file_close(struct cm_plat_file *f)
{
    f->base = NULL;
    __real_cm_plat_file_close(f);
}

int __wrap_cm_super_open(struct cm_superblocks *s, const struct cm_super_owner *owner,
                         bool *emptied)
{
    struct cm_super_owner o = *owner;
    o.syncs = t.rules >= RULES_PAGECACHE;
    return __real_cm_super_open(s, &o, emptied);
}

uint32_t __wrap_cm_region_shift(uint64_t size)
{
    /* In a checkpointed pool each bucket is a region of its own. Elsewhere all are in one. */
    return t.rules >= RULES_PAGECACHE ? 0 : __real_cm_region_shift(size);
}

void __wrap_cm_stats_begin(const struct cm_media *m, uint32_t pid, int64_t wall_ns)
{
    if (m->base == t.pool)
        __real_cm_stats_begin(m, pid, wall_ns);
}

int __wrap_cm_plat_random(void *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)buf)[i] = n == CM_GAP_BYTES ? 0 : (uint8_t)rng_next(&t.random);
    return 0;
}

/* A session that crashes frees nothing: its memory is dropped as a whole. */
static void *arena_alloc(void *ctx, size_t bytes)
{
    struct arena *a = ctx;
    bytes = (bytes + 63) / 64 * 64;
    if (!a->base) {
        a->size = 16u << 20;
        a->base = os_aligned(4096, a->size);
    }
    if (!a->base || a->used + bytes > a->size)
        return NULL;
    void *p = a->base + a->used;
    a->used += bytes;
    return memset(p, 0, bytes);
}

static void arena_free(void *ctx, void *p, size_t bytes)
{
    struct arena *a = ctx;
    bytes = (bytes + 63) / 64 * 64;
    if ((uint8_t *)p + bytes == a->base + a->used)
        a->used -= bytes;
}

/* ---- Sessions -------------------------------------------------------------------------------- */

static void open_session(struct arena *a, cm_cache **cache, cm_objects **objects)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_objects_options opts = CM_OBJECTS_OPTIONS_INIT;
    const bool file = t.rules >= RULES_PAGECACHE && a == &t.live;
    a->used = 0;
    o.policy = CM_POLICY_S3R;
    o.probation_bytes = CM_PROBATION_NONE;
    o.flags = CM_OPEN_NO_GUARD | CM_OPEN_NO_TUNING;
    o.memory_durability = t.rules >= RULES_PAGECACHE ? CM_DURABILITY_VOLATILE : CM_DURABILITY_DAX;
    o.alloc = arena_alloc;
    o.free = arena_free;
    o.alloc_ctx = a;
    t.mapped = a == &t.live ? t.pool : t.image;
    must(file ? cm_open(t.path, &o, cache) : cm_open_memory(t.mapped, POOL_BYTES, &o, cache),
         "the pool does not open");
    opts.objects = 12;
    opts.object_bytes = 900; /* few keys in a bucket */
    must(cm_objects_open(*cache, "c", &opts, objects), "the container does not open");
}

static void drop_session(void)
{
    if (t.rules >= RULES_PAGECACHE)
        cm_plat_file_close(&t.cache->file); /* the system drops its lock */
    t.objects = NULL;
    t.cache = NULL;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static size_t make(uint64_t key, uint64_t version, uint8_t *to)
{
    struct rng r = { key * 1000003 + version };
    const size_t len = rng_next(&r) % 2 ? 16 + rng_below(&r, 300) : 1025 + rng_below(&r, 7000);
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(version * 31 + i * key + (i >> 5));
    memcpy(to, &version, 8);
    return len;
}

/* The version that the container has of a key; 0: none. */
static uint64_t get(cm_objects *o, uint64_t key)
{
    static uint8_t buf[LONGEST], want[LONGEST];
    uint64_t version = 0;
    const int64_t n = cm_objects_get(o, &key, sizeof(key), buf, sizeof(buf), NULL);
    if (n == CM_EABSENT)
        return 0;
    must(n, "cm_objects_get");
    memcpy(&version, buf, n >= 8 ? 8 : (size_t)n);
    if (version == 0 || make(key, version, want) != (size_t)n || memcmp(buf, want, (size_t)n) != 0)
        violation("wrong bytes", (unsigned)key, version);
    return version;
}

static void check_key(cm_objects *o, const struct oracle *now, unsigned key)
{
    const uint64_t version = get(o, key);
    t.hits += version != 0;
    t.floor += now->must[key];
    if (version != 0 && version != now->ended[key] && version != now->began[key])
        violation("a version of another time", key, version);
    if (now->must[key] && version != now->ended[key])
        violation("a stored object is lost", key, version);
}

static uint64_t bucket_of(uint64_t key)
{
    struct cm_object_place p;
    (void)cm_objects_place(t.objects, &key, sizeof(key), &p);
    return p.bucket;
}

/* ---- Images ---------------------------------------------------------------------------------- */

static void judge(const struct oracle *now)
{
    cm_cache *cache;
    cm_objects *o;
    const unsigned level = rec_level(1);
    t.boot++;
    rec_begin();
    open_session(&t.judge, &cache, &o);
    for (unsigned key = 0; key < KEYS; key++)
        check_key(o, now, key);
    rec_undo();
    t.boot--;
    t.mapped = t.pool;
    rec_level(level);
    t.judged++;
}

/* Changes the image from one choice to another. */
static void choose(size_t n, uint32_t *current, const uint32_t *choice)
{
    for (size_t i = 0; i < n; i++)
        if (current[i] != choice[i])
            rep_choose(t.image, i, current[i] = choice[i]);
}

/* A random choice of all that is in doubt. */
static void choose_random(const struct doubt *d, size_t n, uint32_t *choice, struct rng *r)
{
    const uint64_t bias = rng_below(r, 3);
    for (size_t i = 0; i < n; i++) {
        const bool biased = bias && rng_below(r, 4);
        choice[i] =
            biased ? (bias == 1 ? 0 : d[i].choices - 1) : (uint32_t)rng_below(r, d[i].choices);
    }
}

/* The power is cut now: builds images, and judges them. */
static void crash_here(const struct oracle *now)
{
    size_t n;
    uint64_t combinations = 1;
    const struct doubt *d = rep_doubts(&n);
    uint32_t *current = calloc(n + 1, sizeof(*current)), *choice = calloc(n + 1, sizeof(*choice));
    if (!current || !choice)
        abort();
    t.points++;
    for (size_t i = 0; i < n && combinations <= EXHAUSTIVE; i++)
        combinations *= d[i].choices;
    rep_image_begin(t.image);
    const bool all = combinations <= EXHAUSTIVE;
    for (uint64_t k = 0; k < (all ? combinations : RANDOM_IMAGES); k++) {
        uint64_t left = k;
        for (size_t i = 0; all && i < n; left /= d[i++].choices)
            choice[i] = (uint32_t)(left % d[i].choices);
        if (!all && k == 0)
            memset(choice, 0, n * sizeof(*choice));
        for (size_t i = 0; !all && k == 1 && i < n; i++)
            choice[i] = d[i].choices - 1;
        if (!all && k > 1)
            choose_random(d, n, choice, &t.points_rng);
        choose(n, current, choice);
        t.states++;
        judge(now);
    }
    free(current);
    free(choice);
}

/* Crashes at points of the log of the operation that has run. */
static void walk(const struct oracle *inside, const struct oracle *after)
{
    size_t n;
    const struct event *e = rec_log(&n);
    for (size_t i = 0; i < n; i++) {
        t.event = i;
        if (rep_settles(&e[i]) && (t.sparse == 0 || rng_below(&t.points_rng, n) < t.sparse))
            crash_here(inside);
        rep_apply(&e[i]);
    }
    t.event = n;
    crash_here(after);
    if (rep_compare() != UINT64_MAX)
        violation("a store bypassed the persist table", 0, 0);
}

/* ---- Operations ------------------------------------------------------------------------------ */

/* What is there, and durable. `bucket`: an operation on it runs; UINT64_MAX: on all. */
static void set_must(struct oracle *o, const bool *there, uint64_t bucket)
{
    for (unsigned key = 0; key < KEYS; key++)
        o->must[key] = (t.rules < RULES_PAGECACHE || t.kept[key]) && there[key] && !t.unsure[key] &&
                       bucket != UINT64_MAX && bucket_of(key) != bucket;
}

static void look(bool *there)
{
    for (unsigned key = 0; key < KEYS; key++) {
        const uint64_t version = get(t.objects, key);
        there[key] = version != 0;
        if (version != 0 && version != t.now.ended[key] && version != t.now.began[key])
            violation("a version of another time, in the same session", key, version);
    }
}

/* Does it, and says which versions have begun. Returns the bucket; UINT64_MAX: all. */
static uint64_t run(unsigned op, unsigned key)
{
    static uint8_t value[LONGEST];
    const uint64_t k = key;
    if (op == PUT) {
        t.now.began[key] = ++t.versions;
        const size_t len = make(k, t.now.began[key], value);
        must(cm_objects_put(t.objects, &k, sizeof(k), value, len, 0), "cm_objects_put");
        return bucket_of(key);
    }
    if (op == DELETE) {
        t.now.began[key] = 0;
        const int e = cm_objects_delete(t.objects, &k, sizeof(k));
        must(e == CM_EABSENT ? 0 : e, "cm_objects_delete");
        return bucket_of(key);
    }
    if (op == CLEAR) {
        memset(t.now.began, 0, sizeof(t.now.began));
        must(cm_objects_clear(t.objects), "cm_objects_clear");
    } else if (op == REOPEN) {
        cm_objects_options opts = CM_OBJECTS_OPTIONS_INIT;
        must(cm_objects_close(t.objects), "cm_objects_close");
        must(cm_objects_open(t.cache, "c", &opts, &t.objects), "cm_objects_open");
        return UINT64_MAX - 1; /* none */
    } else if (op == CHECKPOINT_POOL && t.rules == RULES_CHECKPOINT) {
        must(cm_checkpoint(t.cache), "cm_checkpoint");
    }
    return op == CLEAR ? UINT64_MAX : UINT64_MAX - 1;
}

/* An operation that ends. */
static void step(unsigned op, unsigned key)
{
    bool before[KEYS], after[KEYS];
    struct oracle inside;
    look(before);
    rec_begin();
    const uint64_t bucket = run(op, key);
    inside = t.now;
    if (op == PUT || op == DELETE)
        t.now.ended[key] = t.now.began[key];
    else if (op == CLEAR)
        memcpy(t.now.ended, t.now.began, sizeof(t.now.ended));
    /* A delete that has found nothing stores nothing. */
    if (op == PUT || op == CLEAR || (op == DELETE && before[key]))
        for (unsigned k = 0; k < KEYS; k++)
            t.unsure[k] = t.unsure[k] && op != CLEAR && bucket_of(k) != bucket;
    look(after); /* its stores are those of a reader */
    for (unsigned k = 0; k < KEYS; k++) {
        before[k] = before[k] && after[k];
        /* What was in the bucket before is forgotten durably. */
        if (!after[k] && (bucket == UINT64_MAX || bucket_of(k) == bucket))
            t.now.ended[k] = t.now.began[k] = 0;
    }
    for (unsigned k = 0; k < KEYS; k++)
        t.kept[k] = t.kept[k] && bucket != UINT64_MAX && bucket_of(k) != bucket;
    set_must(&inside, before, bucket);
    for (unsigned k = 0; k < KEYS && op == CHECKPOINT_POOL; k++)
        t.kept[k] = t.rules == RULES_CHECKPOINT;
    set_must(&t.now, after, UINT64_MAX - 1);
    walk(&inside, &t.now);
}

/* After how many events of a log the session ends: half of the time just before one at which
 * something becomes durable, each of them as often as the others. */
static size_t choose_cut(const struct event *e, size_t n)
{
    size_t settling = 0, cut = (size_t)rng_below(&t.rng, n + 1);
    for (size_t i = 0; i < n; i++)
        settling += rep_settles(&e[i]);
    if (settling == 0 || rng_below(&t.rng, 2))
        return cut;
    uint64_t left = rng_below(&t.rng, settling);
    for (cut = 0; !rep_settles(&e[cut]) || left-- > 0;)
        cut++;
    return cut;
}

/* The process dies, or the power is cut, in the middle of an operation. The next session begins;
 * the power may be cut in its opening. */
static void die(unsigned how, unsigned op, unsigned key)
{
    size_t n, doubts;
    bool there[KEYS];
    memset(t.kept, 0, sizeof(t.kept));
    rec_begin();
    const uint64_t bucket = run(op, key);
    const struct event *e = rec_log(&n);
    const size_t cut = choose_cut(e, n);
    for (unsigned k = 0; k < KEYS; k++)
        t.unsure[k] =
            how == KILL && (t.unsure[k] || bucket == UINT64_MAX || bucket_of(k) == bucket);
    for (size_t i = 0; i < cut; i++)
        rep_apply(&e[i]);
    drop_session();
    if (how == KILL) {
        rec_rewind();
    } else {
        const struct doubt *d = rep_doubts(&doubts);
        uint32_t *choice = calloc(doubts + 1, sizeof(*choice));
        if (!choice)
            abort();
        choose_random(d, doubts, choice, &t.rng);
        rep_image_begin(t.pool);
        for (size_t i = 0; i < doubts; i++)
            rep_choose(t.pool, i, choice[i]);
        free(choice);
        rep_reset();
        t.boot++;
    }
    rec_begin();
    open_session(&t.live, &t.cache, &t.objects);
    /* Which of the two has come true is seen now. */
    for (unsigned k = 0; k < KEYS; k++) {
        const uint64_t version = get(t.objects, k);
        if (version != 0 && version != t.now.ended[k] && version != t.now.began[k])
            violation("a version of another time, in the next session", k, version);
        there[k] = version != 0;
        if (version != 0) /* if none is there, any of the two may come back after a power cut */
            t.now.ended[k] = t.now.began[k] = version;
    }
    set_must(&t.now, there, UINT64_MAX - 1);
    walk(&t.now, &t.now);
}

static void run_sequence(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    o.max_files = 80; /* a session may take a data file */
    t.rng.s = t.number * 77 + 5;
    t.points_rng.s = t.number;
    t.random.s = 46;
    t.boot = 1;
    t.versions = 0;
    memset(&t.now, 0, sizeof(t.now));
    memset(t.unsure, 0, sizeof(t.unsure));
    memset(t.kept, 0, sizeof(t.kept));
    memset(t.pool, 0, POOL_BYTES);
    must(cm_format_memory(t.pool, POOL_BYTES, &o), "cm_format_memory");
    struct cm_geometry geo;
    must(cm_format_plan(POOL_BYTES, o.max_files, 0, &geo), "cm_format_plan");
    const struct range payload = { geo.slot_offset, POOL_BYTES };
    for (unsigned i = 0; i < 2; i++) {
        rec_level(i);
        rec_attach(i ? t.image : t.pool, POOL_BYTES, CM_STATS_OFFSET,
                   CM_STATS_OFFSET + CM_STATS_BYTES, &payload, 1, t.rules);
    }
    rec_level(0);
    unsigned key = 0;
    bool died = false;
    t.doing = "open";
    open_session(&t.live, &t.cache, &t.objects);
    if (t.rules == RULES_CHECKPOINT)
        must(cm_checkpoint(t.cache), "cm_checkpoint");
    walk(&t.now, &t.now);
    for (unsigned i = 0; i < t.length; i++) {
        const bool again = died && rng_below(&t.rng, 2); /* deletes what was cut short */
        const uint64_t dice = again ? 22 : rng_below(&t.rng, 40);
        key = again ? key : (unsigned)rng_below(&t.rng, KEYS);
        died = dice >= 36;
        const unsigned op = dice < 22   ? PUT
                            : dice < 30 ? DELETE
                            : dice < 31 ? CLEAR
                            : dice < 33 ? REOPEN
                            : dice < 36 ? CHECKPOINT_POOL
                            : dice < 38 ? KILL
                                        : POWER_CUT;
        t.doing = names[op];
        if (op >= KILL)
            die(op, rng_below(&t.rng, 8) == 0 ? CLEAR : rng_below(&t.rng, 3) ? PUT : DELETE, key);
        else
            step(op, key);
    }
    drop_session();
}

int main(int argc, char **argv)
{
    uint64_t sequences = 20, first = 0;
    t.length = 30;
    t.sparse = 6;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rules") == 0)
            t.rules = strcmp(argv[i + 1], "adr") == 0    ? RULES_ADR
                      : strcmp(argv[i + 1], "eadr") == 0 ? RULES_EADR
                                                         : RULES_CHECKPOINT;
        else if (strcmp(argv[i], "--sequences") == 0)
            sequences = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--first") == 0)
            first = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--length") == 0)
            t.length = (unsigned)strtoul(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--points") == 0)
            t.sparse = (unsigned)strtoul(argv[i + 1], NULL, 0);
    }
    t.pool = os_aligned(4096, POOL_BYTES);
    t.image = os_aligned(4096, POOL_BYTES);
    if (!t.pool || !t.image || !os_make_file(t.path, sizeof(t.path), "objects-crash") ||
        os_resize(t.path, POOL_BYTES) != 0)
        return 2;
    for (t.number = first; t.number < first + sequences; t.number++)
        run_sequence();
    (void)remove(t.path);
    printf("# %llu points, %llu objects got, %llu of them had to be there\n",
           (unsigned long long)t.points, (unsigned long long)t.hits, (unsigned long long)t.floor);
    printf("objects-crash: %llu states, 0 violations\n", (unsigned long long)t.states);
    return t.hits == 0 || (t.rules < RULES_PAGECACHE && t.floor == 0);
}
