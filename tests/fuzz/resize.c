/* SPDX-License-Identifier: BSD-2-Clause
 *
 * resize.c - fuzz target: a changed pool in a file, which is looked at, resized, opened and used.
 *
 * As pool.c, with the parts of the library that need a file: cm_pool_info(), cm_pool_stats(),
 * cm_resize() and cm_open(). What was right before must be right or gone afterwards.
 */
#include "world.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEPS 24u

static char dir[64], path[96];

static void remove_all(void)
{
    (void)unlink(path);
    (void)rmdir(dir);
}

/* In memory if there is such a place: nothing here is about disks. */
static void make_place(void)
{
    if (dir[0])
        return;
    (void)snprintf(dir, sizeof(dir), "%s/cachemax-fuzz-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_CHECK(mkdtemp(dir) != NULL);
    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    FUZZ_CHECK(atexit(remove_all) == 0);
}

static void write_pool(const struct world *w)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    FUZZ_CHECK(fd >= 0 && write(fd, w->base, (size_t)w->bytes) == (ssize_t)w->bytes);
    (void)close(fd);
}

static void look(void)
{
    static cm_stats_data stats;
    cm_info info = CM_INFO_INIT;

    memset(&stats, 0, sizeof(stats));
    stats.struct_size = sizeof(stats);
    (void)cm_pool_info(path, &info);
    (void)cm_pool_stats(path, &stats);
}

/* The session of a program; the pool is where the file is mapped. */
static void use(struct world *w, struct fuzz_input *in, unsigned steps)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    FUZZ_CHECK(fd >= 0 && fstat(fd, &st) == 0);
    w->bytes = (uint64_t)st.st_size;
    w->base = mmap(NULL, (size_t)w->bytes, PROT_READ, MAP_SHARED, fd, 0);
    (void)close(fd);
    FUZZ_CHECK(w->base != MAP_FAILED);
    if (cm_open(path, &w->o, &w->c) == 0) {
        for (unsigned k = 0; k < steps; k++)
            world_step(w, in);
        world_close(w);
    }
    (void)munmap(w->base, (size_t)w->bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    struct fuzz_input in = { data, size };
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    cm_resize_report report = CM_RESIZE_REPORT_INIT;
    uint8_t steps;

    make_place();
    world_begin(&w, world_choose(&in));
    steps = take_byte(&in);
    world_options(&w, &in, 0);
    w.o.memory_durability = 0;
    world_damage(&w, &in, 12);
    write_pool(&w);
    look();
    o.seal = w.o.seal;
    o.size = cm_pool_size_min() + take_byte(&in) * UINT64_C(4096);
    if (steps & 0x80)
        FUZZ_CHECK(cm_resize(path, &o, &report) != CM_EINVAL);
    use(&w, &in, steps % STEPS);
    return 0;
}
