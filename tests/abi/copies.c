/* SPDX-License-Identifier: BSD-2-Clause
 *
 * copies.c - two copies of the library in one process, as when a program and its plugin each bring
 * their own.
 *
 *   copies LIBRARY
 *
 * The shared library is loaded twice, from two files. Each copy has its own pool. Neither opens the
 * other's, both survive damage of their pools (whichever was loaded or closed first), and faults of
 * the program go to the handler of the program. The program also has functions with names of the
 * library; no copy may call them. Prints "ok NAME" or "FAIL NAME" and a summary as the last line.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cachemax.h"

#define POOL_BYTES (UINT64_C(2) << 20)
#define BLOCK CM_BLOCK_SIZE
#define ENDS 65536 /* where a pool is cut off: its index is there, its blocks are not */

static unsigned passed, failed;
static char dir[256];
static const char *now_in; /* which of the orders */

static void check(const char *name, int good)
{
    *(good ? &passed : &failed) += 1;
    printf("%s %s: %s\n", good ? "ok" : "FAIL", now_in, name);
}

/* ---- What the program has of the same names -------------------------------------------------- */

static void called(const char *name)
{
    fprintf(stderr, "FAIL %s of the program was called by a copy of the library\n", name);
    abort();
}

uint64_t cm_now(void)
{
    called("cm_now");
    return 0;
}

int64_t cm_read(cm_file *file, uint64_t offset, void *buf, size_t len, cm_miss *miss)
{
    (void)file, (void)offset, (void)buf, (void)len, (void)miss;
    called("cm_read");
    return -1;
}

int cm_fill(cm_file *file, const cm_miss *miss, const void *data, size_t len, uint32_t flags)
{
    (void)file, (void)miss, (void)data, (void)len, (void)flags;
    called("cm_fill");
    return -1;
}

const char *cm_strerror(int code)
{
    (void)code;
    called("cm_strerror");
    return "";
}

int64_t cm_read_through_version(cm_file *file, uint64_t offset, void *buf, size_t len,
                                uint64_t *incarnation, cm_origin_read_fn origin_read, void *ctx)
{
    (void)file, (void)offset, (void)buf, (void)len, (void)incarnation, (void)origin_read, (void)ctx;
    called("cm_read_through_version");
    return -1;
}

/* ---- A copy ---------------------------------------------------------------------------------- */

struct copy {
    void *library;
    char file[512], pool[512];
    cm_cache *cache;
    cm_file *f;
    int (*create)(const char *, const cm_create_options *);
    int (*open)(const char *, const cm_options *, cm_cache **);
    int (*close)(cm_cache *);
    int (*resize)(const char *, const cm_resize_options *, cm_resize_report *);
    int (*file_open)(cm_cache *, const cm_file_id *, const cm_validator *, uint32_t, cm_file **);
    int64_t (*read)(cm_file *, uint64_t, void *, size_t, cm_miss *);
    int (*fill)(cm_file *, const cm_miss *, const void *, size_t, uint32_t);
    int64_t (*through)(cm_file *, uint64_t, void *, size_t, cm_origin_read_fn, void *);
};

static void copy_file(const char *from, const char *to)
{
    char bytes[65536];
    size_t n;
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    while (in && out && (n = fread(bytes, 1, sizeof(bytes), in)) > 0)
        if (fwrite(bytes, 1, n, out) != n)
            exit(1);
    if (!in || !out || fclose(in) || fclose(out))
        exit(1);
}

static void symbol(struct copy *c, const char *name, void *to)
{
    void *p = dlsym(c->library, name);
    if (!p) {
        fprintf(stderr, "FAIL no %s in %s\n", name, c->file);
        exit(1);
    }
    memcpy(to, &p, sizeof(p));
}

static void load(struct copy *c, const char *name)
{
    (void)snprintf(c->file, sizeof(c->file), "%s/%s.so", dir, name);
    (void)snprintf(c->pool, sizeof(c->pool), "%s/%s.pool", dir, name);
    c->library = dlopen(c->file, RTLD_NOW | RTLD_LOCAL);
    if (!c->library) {
        fprintf(stderr, "FAIL %s\n", dlerror());
        exit(1);
    }
    symbol(c, "cm_create", &c->create);
    symbol(c, "cm_open", &c->open);
    symbol(c, "cm_close", &c->close);
    symbol(c, "cm_resize", &c->resize);
    symbol(c, "cm_file_open", &c->file_open);
    symbol(c, "cm_read", &c->read);
    symbol(c, "cm_fill", &c->fill);
    symbol(c, "cm_read_through", &c->through);
}

static int open_it(struct copy *c, const char *pool, uint32_t flags, cm_cache **cache)
{
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = CM_PROBATION_NONE;
    o.flags = flags;
    return c->open(pool, &o, cache);
}

static int64_t origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    memset(buf, *(const char *)ctx, len);
    (void)offset;
    return (int64_t)len;
}

static void begin(struct copy *c, char content)
{
    static char buf[BLOCK] __attribute__((aligned(4096)));
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    const cm_file_id id = { 1, 2 };
    o.size = POOL_BYTES;
    (void)unlink(c->pool);
    check("a pool is made", c->create(c->pool, &o) == 0);
    check("it is opened", open_it(c, c->pool, 0, &c->cache) == 0);
    check("a file is opened", c->file_open(c->cache, &id, NULL, 0, &c->f) == 0);
    check("a block is read through",
          c->through(c->f, 0, buf, BLOCK, origin, &content) == BLOCK && buf[7] == content);
    check("it hits", c->read(c->f, 0, buf, BLOCK, NULL) == BLOCK && buf[7] == content);
}

/* How many bytes the copy's block has; -1: wrong ones. */
static int64_t block_of(struct copy *c, char content)
{
    static char buf[BLOCK] __attribute__((aligned(4096)));
    const int64_t n = c->read(c->f, 0, buf, BLOCK, NULL);
    return n > 0 && buf[7] != content ? -1 : n;
}

/* ---- Faults ---------------------------------------------------------------------------------- */

static volatile sig_atomic_t faults;
static char *own_page; /* of the program, behind the end of its file */

static void on_fault(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)context;
    faults++;
    if ((char *)info->si_addr != own_page ||
        mmap(own_page, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED)
        _exit(9);
}

static void install(void)
{
    struct sigaction a = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
    (void)sigemptyset(&a.sa_mask);
    (void)sigaction(SIGBUS, &a, NULL);
}

static void own_fault(void)
{
    FILE *f = tmpfile();
    faults = 0;
    own_page = f ? mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, fileno(f), 0) : MAP_FAILED;
    if (own_page == MAP_FAILED)
        exit(1);
    check("a fault of the program goes to its handler",
          *(volatile char *)own_page == 0 && faults == 1);
    (void)munmap(own_page, BLOCK);
    (void)fclose(f);
}

/* ---- One order ------------------------------------------------------------------------------- */

static void refuse(struct copy *c, struct copy *other)
{
    cm_cache *cache;
    cm_resize_options bigger = CM_RESIZE_OPTIONS_INIT;
    bigger.size = 2 * POOL_BYTES;
    check("the other copy's pool is refused", open_it(c, other->pool, 0, &cache) == CM_EOWNED);
    check("it cannot be given another size", c->resize(other->pool, &bigger, NULL) == CM_EOWNED);
    check("nor opened twice", open_it(c, c->pool, 0, &cache) == CM_EOWNED);
}

static int close_cut_off(struct copy *c)
{
    return c->close(c->cache) == CM_ETRUNCATED;
}

/* `first` is opened first. */
static void run(struct copy *first, struct copy *second, int close_first)
{
    struct copy *stays = close_first ? second : first, *goes = close_first ? first : second;
    cm_cache *cache;
    begin(first, 'a');
    begin(second, 'b');
    refuse(first, second);
    refuse(second, first);
    own_fault();
    check("both hit", block_of(first, 'a') == BLOCK && block_of(second, 'b') == BLOCK);
    if (truncate(goes->pool, ENDS))
        exit(1);
    check("a damaged pool misses", block_of(goes, goes == first ? 'a' : 'b') == 0);
    check("the other one hits", block_of(stays, stays == first ? 'a' : 'b') == BLOCK);
    check("one is closed", close_cut_off(goes) && dlclose(goes->library) == 0);
    check("the other one hits", block_of(stays, stays == first ? 'a' : 'b') == BLOCK);
    own_fault();
    if (truncate(stays->pool, ENDS))
        exit(1);
    check("it survives damage", block_of(stays, stays == first ? 'a' : 'b') == 0);
    check("it is closed", close_cut_off(stays));
    (void)unlink(goes->pool);
    load(goes, goes == first ? "one" : "two");
    begin(goes, 'c');
    check("a pool that is closed can be opened by the other copy",
          goes->close(goes->cache) == 0 && open_it(stays, goes->pool, 0, &cache) == 0 &&
              stays->close(cache) == 0);
    own_fault();
}

int main(int argc, char **argv)
{
    static const char *const order[] = { "one, two; two is closed", "one, two; one is closed",
                                         "two, one; one is closed", "two, one; two is closed" };
    char name[512];
    const char *temp = getenv("TMPDIR");
    (void)snprintf(dir, sizeof(dir), "%s/cachemax-copies.XXXXXX", temp ? temp : "/tmp");
    if (argc != 2 || !mkdtemp(dir))
        return fprintf(stderr, "usage: copies LIBRARY\n"), 2;
    for (int i = 0; i < 2; i++) {
        (void)snprintf(name, sizeof(name), "%s/%s.so", dir, i ? "two" : "one");
        copy_file(argv[1], name);
    }
    for (unsigned i = 0; i < 4; i++) { /* each in a process in which no copy is loaded yet */
        int status = 0;
        (void)fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            struct copy one = { 0 }, two = { 0 };
            now_in = order[i];
            install();
            load(&one, "one");
            load(&two, "two");
            check("they are two", (void *)one.open != (void *)two.open);
            run(i < 2 ? &one : &two, i < 2 ? &two : &one, i % 2);
            (void)fflush(stdout);
            _exit(failed > 0);
        }
        now_in = order[i];
        check("all of it", child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
    for (int i = 0; i < 4; i++) {
        static const char *const left[] = { "one.so", "two.so", "one.pool", "two.pool" };
        (void)snprintf(name, sizeof(name), "%s/%s", dir, left[i]);
        (void)unlink(name);
    }
    (void)rmdir(dir);
    printf("%u passed, %u failed, 0 skipped\n", passed, failed);
    return failed > 0;
}
