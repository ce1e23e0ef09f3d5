/* SPDX-License-Identifier: BSD-2-Clause
 *
 * media.c - damages pools as media do: bits flip, lines and pages are exchanged, land at the wrong
 * place or read as zeros; while the pool is closed, between the calls of a program, and beside
 * threads that read. Nothing may crash or hang, and no wrong byte may be served.
 *
 * media [--lives N] [--seconds N] [--seed S] [--trusting]: N pools (1000), or as many as fit into
 * that time. Each is an image of world.c, and has up to three sessions. Pool i depends on S + i
 * only, so `--lives 1 --seed` runs one again. --trusting opens the pools with CM_VERIFY_NEVER, and
 * fails if no wrong byte is found then: this test can notice one.
 *
 * Owns: the damage, its rules and its counts. Forged checks are damage.c's.
 *
 * Two rules follow from what the library does not promise (docs/decisions/silent-media.md):
 * - With CM_VERIFY_FIRST_HIT a block that was verified is believed until the pool is closed. So in
 *   such a session no payload is damaged.
 * - A cell of the index that is wrong for a bracket, and right again later, brings old bytes back.
 *   So what was wrong once in a pool's index stays wrong.
 */
#include "world.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SESSIONS = 3, STEPS = 24, READERS = 2, LOOKS = 60, PATIENCE_S = 120, WRONG = 3 };
enum way { BIT, BITS, LINE, ZEROS, EXCHANGE, MISPLACE, WAYS };
static const char *const way_name[WAYS] = { "one bit", "some bits", "a line",
                                            "zeros",   "exchanged", "misplaced" };

static uint64_t state, life;
static struct {
    uint64_t lives, sessions, refused, damages[WAYS], closed, open, beside;
} count;
/* Blocks whose bytes were compared. Readers count, too. */
static _Atomic uint64_t compared;

static uint64_t any(uint64_t n)
{
    state += UINT64_C(0x9e3779b97f4a7c15);
    return fuzz_mix(state) % n;
}

/* ---- Damage ---------------------------------------------------------------------------------- */

#define LINE_BYTES UINT64_C(64)

/* The lines of the index that are wrong already. */
static uint8_t wrong_line[CM_BLOCK_SIZE];

static bool in_index(const struct world *w, uint64_t at)
{
    return at >= w->geo.index_offset && at < w->geo.header_offset;
}

static bool may_change(const struct world *w, uint64_t at, uint64_t n, bool payload)
{
    if (!payload && at + n > w->geo.slot_offset)
        return false;
    for (uint64_t i = at; i < at + n; i += LINE_BYTES)
        if (in_index(w, i) && wrong_line[(i - w->geo.index_offset) / LINE_BYTES])
            return false;
    return true;
}

static void note(const struct world *w, uint64_t at, uint64_t n)
{
    for (uint64_t i = at; i < at + n; i += LINE_BYTES)
        if (in_index(w, i))
            wrong_line[(i - w->geo.index_offset) / LINE_BYTES] = 1;
}

/* A line in a structure, or in any page. Seldom in the superblocks: without both there is no pool.
 */
static uint64_t place(const struct world *w)
{
    const unsigned first = any(8) == 0 ? WORLD_SUPERS : WORLD_RECORDS;
    const struct world_area a =
        world_area_of(w, (enum world_areas)(first + any(WORLD_AREAS - first)));

    if (any(4) == 0 || a.n == 0)
        return any(w->bytes / LINE_BYTES) * LINE_BYTES;
    return (a.at + any(a.n) * a.item + any(a.item)) / LINE_BYTES * LINE_BYTES;
}

/* Lines of the same area as often as any others. */
static uint64_t other_place(const struct world *w, uint64_t at)
{
    for (unsigned i = 0; i < WORLD_AREAS && any(2); i++) {
        const struct world_area a = world_area_of(w, i);

        if (at >= a.at && at < a.at + a.n * a.item)
            return (a.at + any(a.n * a.item)) / LINE_BYTES * LINE_BYTES;
    }
    return place(w);
}

static void set_line(uint8_t *p, uint64_t how)
{
    for (unsigned i = 0; i < LINE_BYTES; i++)
        p[i] = how == 0 ? 0xff : (uint8_t)any(256);
}

static void exchange(uint8_t *p, uint8_t *q, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t byte = p[i];

        p[i] = q[i];
        q[i] = byte;
    }
}

/* One damage; false: the rules forbid it. */
static bool damage(struct world *w, bool payload)
{
    const enum way way = (enum way)any(WAYS);
    const uint64_t n = way <= LINE || any(3) == 0 ? LINE_BYTES : CM_BLOCK_SIZE;
    const uint64_t at = place(w) / n * n, from = other_place(w, at) / n * n;
    const bool two = way == EXCHANGE || way == MISPLACE;

    if (!may_change(w, at, n, payload) || (two && !may_change(w, from, n, payload)))
        return false;
    note(w, at, n);
    if (way == EXCHANGE)
        note(w, from, n);
    if (way == EXCHANGE)
        exchange(w->base + at, w->base + from, from == at ? 0 : n);
    else if (way == MISPLACE)
        memmove(w->base + at, w->base + from, n);
    else if (way == ZEROS)
        memset(w->base + at, 0, n);
    else if (way == LINE)
        set_line(w->base + at, any(4));
    for (uint64_t i = 0; way <= BITS && i < (way == BIT ? 1 : 2 + any(7)); i++)
        w->base[at + any(n)] ^= (uint8_t)(1u << any(8));
    count.damages[way]++;
    return true;
}

/* ---- Reads ----------------------------------------------------------------------------------- */

/* Every block that the model knows, by a call each; fills nothing. */
static void read_all(struct world *w)
{
    for (uint64_t file = 0; file < WORLD_FILES; file++) {
        struct world_file *const f = &w->file[file];

        if (!f->f)
            world_attach(w, file, file == 1 ? CM_SOLE_WRITER : 0);
        for (uint64_t i = 0; f->f && i < WORLD_BLOCKS; i++) {
            const uint64_t off = i * f->stride * BLK;
            const int64_t n = cm_read(f->f, off, world_buffer_end - BLK, BLK, NULL);

            FUZZ_CHECK(n <= (int64_t)BLK);
            if (n > 0)
                world_check(w, file, off, world_buffer_end - BLK, (uint64_t)n);
            compared += n > 0;
        }
    }
}

struct reader {
    struct world *w;
    uint64_t seed;
    _Atomic unsigned *left;
};

static void *read_beside(void *arg)
{
    const struct reader *const r = arg;
    uint8_t buf[2 * CM_BLOCK_SIZE];

    for (uint64_t i = 0; i < LOOKS; i++) {
        const uint64_t chance = fuzz_mix(r->seed + i), file = chance % WORLD_FILES;
        const struct world_file *const f = &r->w->file[file];
        const uint64_t off = (chance >> 8) % WORLD_BLOCKS * f->stride * BLK;
        const int64_t n = f->f ? cm_read(f->f, off, buf, sizeof(buf), NULL) : 0;

        FUZZ_CHECK(n <= (int64_t)sizeof(buf));
        if (n > 0)
            world_check(r->w, file, off, buf, (uint64_t)n);
        compared += n > 0;
    }
    (*r->left)--;
    return NULL;
}

/* Threads read while the media change. */
static void beside(struct world *w, bool payload)
{
    pthread_t thread[READERS];
    _Atomic unsigned left = READERS;
    struct reader r[READERS];

    for (uint64_t file = 0; file < WORLD_FILES; file++)
        if (!w->file[file].f)
            world_attach(w, file, file == 1 ? CM_SOLE_WRITER : 0);
    for (unsigned i = 0; i < READERS; i++) {
        r[i] = (struct reader){ w, any(UINT64_MAX), &left };
        FUZZ_CHECK(pthread_create(&thread[i], NULL, read_beside, &r[i]) == 0);
    }
    for (unsigned i = 0; i < 8 && left > 0; i++)
        count.beside += damage(w, payload);
    for (unsigned i = 0; i < READERS; i++)
        FUZZ_CHECK(pthread_join(thread[i], NULL) == 0);
}

/* ---- Lives of pools -------------------------------------------------------------------------- */

static void step(struct world *w)
{
    uint8_t bytes[64];
    struct fuzz_input in = { bytes, sizeof(bytes) };

    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)any(256);
    world_step(w, &in);
}

static void session(struct world *w, bool trusting)
{
    uint8_t bytes[2] = { (uint8_t)any(256), (uint8_t)any(256) };
    const bool threads = any(8) == 0;
    bool payload;

    for (uint64_t i = any(3); i > 0; i--)
        count.closed += damage(w, true);
    world_options(w, &(struct fuzz_input){ bytes, sizeof(bytes) }, CM_OPEN_READONLY);
    w->any = false;
    if (trusting || w->o.verify == CM_VERIFY_NEVER)
        w->o.verify = trusting ? CM_VERIFY_NEVER : CM_VERIFY_ALWAYS;
    payload = w->o.verify == CM_VERIFY_ALWAYS || w->seal;
    if (!world_open(w)) {
        count.refused++;
        return;
    }
    count.sessions++;
    for (uint64_t i = any(STEPS); i > 0; i--) {
        if (any(8) == 0)
            count.open += damage(w, payload);
        step(w);
    }
    if (threads)
        beside(w, payload);
    read_all(w);
    if (any(2))
        world_close(w);
    else
        world_kill(w);
}

static void live(bool trusting)
{
    static struct world w;

    state = fuzz_mix(life);
    memset(wrong_line, 0, sizeof(wrong_line));
    world_begin(&w, (enum world_image)any(WORLD_IMAGES));
    FUZZ_CHECK((w.geo.header_offset - w.geo.index_offset) / LINE_BYTES <= sizeof(wrong_line));
    (void)alarm(PATIENCE_S); /* a pool takes a millisecond */
    for (unsigned i = 0; i < SESSIONS; i++)
        session(&w, trusting);
    count.lives++;
}

/* A check failed, a signal came, or a call hung: which pool was it? */
static void tell(int sig)
{
    char text[64];
    const int n = snprintf(text, sizeof(text), "signal %d in pool --lives 1 --seed %llu\n", sig,
                           (unsigned long long)life);

    (void)!write(2, text, (size_t)n);
    _exit(sig == SIGABRT ? WRONG : 1);
}

static void print(FILE *out, uint64_t seed)
{
    uint64_t all = 0;

    for (unsigned i = 0; i < WAYS; i++)
        all += count.damages[i];
    (void)fprintf(out, "media: %llu pools from seed %llu on, %llu sessions, %llu opens refused\n",
                  (unsigned long long)count.lives, (unsigned long long)seed,
                  (unsigned long long)count.sessions, (unsigned long long)count.refused);
    (void)fprintf(out, "media: %llu damages", (unsigned long long)all);
    for (unsigned i = 0; i < WAYS; i++)
        (void)fprintf(out, "%s %s %llu", i > 0 ? "," : ":", way_name[i],
                      (unsigned long long)count.damages[i]);
    (void)fprintf(out,
                  "\nmedia: %llu while closed, %llu while open, %llu beside threads; %llu blocks "
                  "compared, 0 wrong\n",
                  (unsigned long long)count.closed, (unsigned long long)count.open,
                  (unsigned long long)count.beside, (unsigned long long)compared);
}

static bool is_noticed(void)
{
    int status = 0;
    const pid_t child = fork();

    FUZZ_CHECK(child >= 0);
    if (child == 0) {
        fuzz_quiet();
        for (; life < 1000; life++)
            live(true);
        _exit(0);
    }
    FUZZ_CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == WRONG;
}

int main(int argc, char **argv)
{
    uint64_t lives = 1000, seconds = 0, seed = 1;
    bool trusting = false;
    FILE *const out = fdopen(dup(1), "w");
    const time_t start = time(NULL);

    for (int i = 1; i < argc; i++) {
        uint64_t *const n = !strcmp(argv[i], "--lives")     ? &lives
                            : !strcmp(argv[i], "--seconds") ? &seconds
                            : !strcmp(argv[i], "--seed")    ? &seed
                                                            : NULL;
        trusting = trusting || !strcmp(argv[i], "--trusting");
        if (n && i + 1 < argc)
            *n = strtoull(argv[++i], NULL, 10);
    }
    for (int i = 0; i < 4; i++)
        (void)signal((const int[]){ SIGABRT, SIGSEGV, SIGBUS, SIGALRM }[i], tell);
    if (trusting)
        return is_noticed() ? 0 : 1;
    FUZZ_CHECK(out != NULL);
    fuzz_quiet();
    for (life = seed; seconds ? time(NULL) < start + (time_t)seconds : life < seed + lives; life++)
        live(false);
    print(out, seed);
    return fclose(out) == 0 ? 0 : 1;
}
