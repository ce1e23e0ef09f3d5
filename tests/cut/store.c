/* SPDX-License-Identifier: BSD-2-Clause
 *
 * store.c - a program that uses the library and loses its power or its life, and looks what is
 * left. Here: what its parts share.
 *
 *   store work DIR LOG NOTES SECONDS SEED POOL_MIB PERIOD_MS hot|uniform
 *   store judge DIR NOTES POSITION
 *   store killed DIR KILLS SEED hot|uniform
 *
 * Both the pool and the files that are cached lie in DIR, on one file system. So a power cut takes
 * a part of both, and the truth afterwards is what the file system says.
 *
 * `work` (work.c) reads, writes, syncs, truncates, makes and deletes files in 8 threads, and makes
 * a checkpoint every PERIOD_MS. It ends without a close. LOG is the log of the disk's writes. What
 * must survive goes to NOTES, with the length of the log (notes.c).
 * `judge` (judge.c) compares all that hits with the files, and tells what hits. POSITION is where
 * the log was cut.
 * `killed` (killed.c) kills such a program KILLS times and judges after each.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const kind_name[KINDS] = { "still", "exclusive", "sole" };
static const uint32_t kind_flags[KINDS] = { 0, CM_EXCLUSIVE, CM_SOLE_WRITER };

cm_cache *cache;
struct file files[KINDS][FILES];
char dir[512];

_Noreturn void die(const char *what)
{
    printf("FAILED: %s: %s\n", what, strerror(errno));
    exit(1);
}

void must(int64_t e, const char *what)
{
    if (e < 0) {
        printf("FAILED: %s: %s\n", what, cm_errname((int)e));
        exit(1);
    }
}

static void say(void *ctx, int level, const char *line)
{
    (void)ctx;
    if (level <= CM_LOG_WARNING)
        printf("# %s\n", line);
}

uint64_t next_random(uint64_t *s)
{
    uint64_t z = (*s += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void path_of(char *path, size_t n, enum kind kind, unsigned number)
{
    (void)snprintf(path, n, "%s/%s%u", dir, kind_name[kind], number);
}

void make_pool(uint64_t mib)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    char path[600];

    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    o.size = mib << 20;
    must(cm_create(path, &o), "cm_create");
}

void open_pool(void)
{
    cm_options o = CM_OPTIONS_INIT;
    char path[600];

    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    o.flags = CM_OPEN_ANY_OWNER;
    o.probation_bytes = CM_PROBATION_NONE;
    o.log = say;
    must(cm_open(path, &o, &cache), "cm_open");
}

cm_validator identify(struct file *f)
{
    static const uint64_t version = 1;
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    cm_validator v = CM_VALIDATOR_INIT;

    o.volume_id = "the disk"; /* its copies are on other loop devices */
    o.flags = f->kind == STILL ? 0 : CM_IDENTIFY_SOLE_WRITER;
    must(cm_identify_with(f->fd, &o, &f->id, &v), "cm_identify_with");
    if (f->kind == OWN)
        cm_validator_set_proof(&v, &version, sizeof(version));
    return v;
}

void attach(struct file *f)
{
    const cm_validator v = identify(f);

    must(cm_file_open(cache, &f->id, &v, kind_flags[f->kind], &f->cf), "cm_file_open");
}

void sync_file(struct file *f)
{
    cm_sync s;
    uint64_t seen;

    pthread_mutex_lock(&f->lock); /* no change has begun and not ended */
    must(cm_sync_begin(f->cf, &s), "cm_sync_begin");
    seen = f->changes;
    pthread_mutex_unlock(&f->lock);
    if (fsync(f->fd) != 0)
        die("fsync");
    must(cm_sync_end(f->cf, &s, 1, NULL), "cm_sync_end");
    pthread_mutex_lock(&f->lock);
    f->synced = seen > f->synced ? seen : f->synced;
    pthread_mutex_unlock(&f->lock);
    atomic_fetch_add(&syncs, 1);
}

void cached(struct file *f, struct blocks *b)
{
    uint8_t buf[BLOCK] __attribute__((aligned(4096)));

    for (uint64_t n = 0; n < BLOCKS; n++)
        take_block(b, n, cm_read(f->cf, n * BLOCK, buf, BLOCK, NULL) > 0);
}

static int work(char **arg)
{
    struct work w = { .hot = strcmp(arg[7], "hot") == 0, .before = note_change };
    const unsigned period_ms = (unsigned)strtoul(arg[6], NULL, 10);
    const unsigned long all_ms = strtoul(arg[3], NULL, 10) * 1000;
    cm_stats_data s = { .struct_size = sizeof(s) };

    w.seed = strtoull(arg[4], NULL, 10);
    (void)snprintf(dir, sizeof(dir), "%s", arg[0]);
    make_files(&w.seed);
    make_pool(strtoull(arg[5], NULL, 10));
    open_pool();
    sleep(3); /* until no time is racy */
    attach_files();
    notes_open(arg[1], arg[2]);
    work_begin(&w);
    for (unsigned long ms = 0; ms < all_ms; ms += period_ms) {
        note_checkpoint_begins();
        must(cm_checkpoint(cache), "cm_checkpoint");
        note_checkpoint_ended();
        usleep(period_ms * 1000);
    }
    work_end();
    notes_close();
    must(cm_stats(cache, &s), "cm_stats");
    printf("writes %lu syncs %lu checkpoints %llu page_syncs %llu brackets %llu\n",
           atomic_load(&writes), atomic_load(&syncs), (unsigned long long)s.checkpoints,
           (unsigned long long)s.page_syncs, (unsigned long long)s.brackets);
    fflush(stdout);
    _exit(0); /* as after a kill */
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 10 && strcmp(argv[1], "work") == 0)
        return work(argv + 2);
    if (argc == 5 && strcmp(argv[1], "judge") == 0)
        return judge(argv + 2);
    if (argc == 6 && strcmp(argv[1], "killed") == 0)
        return killed(argv + 2);
    fprintf(stderr, "usage: store work DIR LOG NOTES SECONDS SEED POOL_MIB PERIOD_MS hot|uniform\n"
                    "       store judge DIR NOTES POSITION\n"
                    "       store killed DIR KILLS SEED hot|uniform\n");
    return 1;
}
