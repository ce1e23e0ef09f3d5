/* SPDX-License-Identifier: BSD-2-Clause
 *
 * soak.c - users of a mount for soak.sh: readers of a large tree, and makers of small files.
 *
 *   soak make DIRECTORY FILES KIB     makes FILES files of KIB KiB
 *   soak read DIRECTORY FILES KIB     reads them at random, until SIGTERM
 *   soak churn DIRECTORY              makes, renames, reads and removes small files, until SIGTERM
 *
 * What a file contains follows from its number, so every byte that is read is compared. The last
 * line is "soak: N operations, D differences"; an operation is one call. Exit status: 0, 1 at the
 * first difference or error, 3 if the file system was gone (a kill of the mount).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define CALL_MAX (256u << 10)
#define PAGE 4096u
#define PER_DIRECTORY 16 /* files of the tree */
#define ALIVE 200        /* small files at a time */
#define SMALL_MAX 20000
#define EXIT_GONE 3

static _Alignas(PAGE) uint8_t buf[CALL_MAX];
static uint64_t operations, state;
static int top; /* the directory */
static volatile sig_atomic_t stopped;

static void on_term(int sig)
{
    (void)sig;
    stopped = 1;
}

static _Noreturn void end(int status)
{
    printf("soak: %llu operations, %d differences\n", (unsigned long long)operations, status == 1);
    exit(status);
}

static _Noreturn void wrong(const char *name, const char *what, int64_t at)
{
    const int error = errno;
    struct statfs s;

    if (fstatfs(top, &s) < 0 && (errno == ENOTCONN || errno == ECONNABORTED))
        end(EXIT_GONE);
    fprintf(stderr, "soak: %s: %s", name, what);
    if (at >= 0)
        fprintf(stderr, " at offset %lld", (long long)at);
    else
        fprintf(stderr, ": %s", strerror(error));
    fputc('\n', stderr);
    end(1);
}

static uint64_t any(void)
{
    state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = state;
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static int64_t below(int64_t n)
{
    return (int64_t)(any() % (uint64_t)n);
}

/* ---- Content --------------------------------------------------------------------------------- */

static uint8_t byte_of(uint64_t number, int64_t at)
{
    uint64_t z = number * UINT64_C(0xD6E8FEB86659FD93) + (uint64_t)at / 8 + 1;

    z = (z ^ z >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return (uint8_t)((z ^ z >> 32) >> at % 8 * 8);
}

static void put(uint64_t number, int64_t at, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        buf[i] = byte_of(number, at + i);
}

static void compare(const char *name, uint64_t number, int64_t at, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (buf[i] != byte_of(number, at + i))
            wrong(name, "a wrong byte", at + i);
}

/* ---- The tree -------------------------------------------------------------------------------- */

static void tree_name(char name[32], int64_t number)
{
    snprintf(name, 32, "d%d/f%d", (int)(number / PER_DIRECTORY), (int)number);
}

static void make_tree(int64_t files, int64_t size)
{
    char name[32];

    for (int64_t f = 0; f < files; f++) {
        tree_name(name, f);
        *strchr(name, '/') = 0;
        mkdirat(top, name, 0755);
        tree_name(name, f);
        const int fd = openat(top, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        for (int64_t at = 0; at < size; at += CALL_MAX) {
            const int64_t n = size - at < CALL_MAX ? size - at : CALL_MAX;
            put((uint64_t)f, at, n);
            if (write(fd, buf, (size_t)n) != n)
                wrong(name, "cannot be written", -1);
        }
        close(fd);
    }
}

static void read_at(int fd, const char *name, int64_t number, int64_t at, int64_t len, int64_t size)
{
    const int64_t n = pread(fd, buf, (size_t)len, at), should = size - at < len ? size - at : len;

    operations++;
    if (n < 0)
        wrong(name, "cannot be read", -1);
    if (n != should)
        wrong(name, "the end is wrong", n);
    compare(name, (uint64_t)number, at, n);
}

static void read_tree(int64_t files, int64_t size)
{
    static const int64_t lengths[] = { PAGE, PAGE, 16384, 65536 };
    char name[32];

    while (!stopped) {
        /* Some files are read more often than others. */
        const int64_t number = below(2) ? below(files) : below(files / 8 + 1);
        const bool direct = below(3) == 0;
        tree_name(name, number);
        const int fd = openat(top, name, O_RDONLY | (direct ? O_DIRECT : 0));
        operations++;
        if (fd < 0)
            wrong(name, "cannot be opened", -1);
        if (below(4) == 0) {
            for (int64_t at = 0; at < size; at += CALL_MAX / 2)
                read_at(fd, name, number, at, CALL_MAX / 2, size);
        } else {
            for (int n = 0; n < 16; n++)
                read_at(fd, name, number, below(size), 1 + below(lengths[below(4)]), size);
        }
        if (below(2)) {
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            operations++;
        }
        close(fd);
        operations++;
    }
}

/* ---- Small files ----------------------------------------------------------------------------- */

static struct small {
    uint64_t number; /* 0: none */
    int64_t size;
    int renamed;
} alive[ALIVE];

static void small_name(char name[32], int place)
{
    snprintf(name, 32, "s%d%s", place, alive[place].renamed ? ".new" : "");
}

static void make_small(int place)
{
    static uint64_t made;
    struct small *s = &alive[place];
    char name[32];

    *s = (struct small){ (uint64_t)getpid() << 32 | ++made, below(SMALL_MAX), 0 };
    small_name(name, place);
    const int fd = openat(top, name, O_RDWR | O_CREAT | O_EXCL, 0644);
    if (fd < 0)
        wrong(name, "cannot be made", -1);
    put(s->number, 0, s->size);
    if (write(fd, buf, (size_t)s->size) != s->size)
        wrong(name, "cannot be written", -1);
    if (close(fd) < 0)
        wrong(name, "cannot be closed", -1);
    operations += 3;
}

static void read_small(int place)
{
    const struct small *s = &alive[place];
    struct stat st;
    char name[32];

    small_name(name, place);
    if (fstatat(top, name, &st, 0) < 0)
        wrong(name, "has no attributes", -1);
    if (st.st_size != s->size)
        wrong(name, "the size is wrong", st.st_size);
    const int fd = openat(top, name, O_RDONLY);
    if (fd < 0)
        wrong(name, "cannot be opened", -1);
    read_at(fd, name, (int64_t)s->number, 0, SMALL_MAX, s->size);
    close(fd);
    operations += 3;
}

static void rename_small(int place)
{
    char name[32], to[32];

    small_name(name, place);
    alive[place].renamed = !alive[place].renamed;
    small_name(to, place);
    if (renameat(top, name, top, to) < 0)
        wrong(name, "cannot be renamed", -1);
    operations++;
}

static void remove_small(int place)
{
    char name[32];

    small_name(name, place);
    if (unlinkat(top, name, 0) < 0)
        wrong(name, "cannot be removed", -1);
    alive[place].number = 0;
    operations++;
}

/* Calls `each` for every name. Gives how many there are. */
static int list(void (*each)(const char *name))
{
    const int fd = openat(top, ".", O_RDONLY | O_DIRECTORY);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    int n = 0;

    if (!d)
        wrong(".", "cannot be listed", -1);
    while (errno = 0, (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.') {
            n++;
            if (each)
                each(e->d_name);
        }
    if (errno)
        wrong(".", "cannot be listed", -1);
    closedir(d);
    operations++;
    return n;
}

static void remove_left(const char *name)
{
    unlinkat(top, name, 0);
}

static void churn(void)
{
    int wanted = 0;

    list(remove_left); /* what a kill left */
    while (!stopped) {
        const int place = (int)below(ALIVE);
        if (!alive[place].number) {
            make_small(place);
            wanted++;
        } else if (below(3) == 0) {
            remove_small(place);
            wanted--;
        } else if (below(4) == 0) {
            rename_small(place);
        } else {
            read_small(place);
        }
        if (below(500) == 0 && list(NULL) != wanted)
            wrong(".", "the number of files is wrong", wanted);
    }
}

int main(int argc, char **argv)
{
    struct sigaction term = { .sa_handler = on_term };
    const char *what = argc > 1 ? argv[1] : "";
    const bool tree = argc == 5 && (!strcmp(what, "make") || !strcmp(what, "read"));

    if (!tree && !(argc == 3 && !strcmp(what, "churn"))) {
        fprintf(stderr, "usage: soak make|read DIRECTORY FILES KIB, soak churn DIRECTORY\n");
        return 2;
    }
    sigaction(SIGTERM, &term, NULL);
    top = open(argv[2], O_RDONLY | O_DIRECTORY);
    if (top < 0) {
        perror(argv[2]);
        return 2;
    }
    state = (uint64_t)getpid();
    puts("soak: at work");
    fflush(stdout);
    if (!strcmp(what, "make"))
        make_tree(atoll(argv[3]), atoll(argv[4]) << 10);
    else if (tree)
        read_tree(atoll(argv[3]), atoll(argv[4]) << 10);
    else
        churn();
    end(0);
}
