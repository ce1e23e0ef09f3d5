/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handles.c - files opened by handle (name_to_handle_at), as an NFS server does it.
 *
 * Usage: handles DIR bare|mount
 * After unlink, rename, reuse of a name and eviction from the kernel's memory a handle must open
 * its own file or nothing. Every file holds its own name, so that another one is recognized. On
 * "mount" ESTALE is right whenever the kernel may have forgotten the file. Needs root; status 77:
 * handles cannot be opened here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 300

struct handle {
    struct file_handle h;
    unsigned char bytes[MAX_HANDLE_SZ];
};
enum outcome { OWN, STALE, OTHER, FAILED, OUTCOMES };
static const char *const outcome_name[] = { "own file", "ESTALE", "ANOTHER FILE", "other error" };
static int dirfd_, failures;
static bool on_mount;

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void make(const char *name)
{
    int fd = openat(dirfd_, name, O_CREAT | O_EXCL | O_WRONLY, 0644);

    if (fd < 0 || write(fd, name, strlen(name)) < 0 || close(fd) < 0)
        die(name);
}

static void take(const char *name, struct handle *h)
{
    int mount_id;

    h->h.handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(dirfd_, name, &h->h, &mount_id, 0) < 0)
        die("name_to_handle_at");
}

static enum outcome open_it(struct handle *h, const char *content)
{
    char buf[256] = "";
    int fd = open_by_handle_at(dirfd_, &h->h, O_RDONLY);
    ssize_t n;

    if (fd < 0 && errno == ESTALE)
        return STALE;
    n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return FAILED;
    return strcmp(buf, content) ? OTHER : OWN;
}

static void drop_caches(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

    sync();
    for (int i = 0; i < 2; i++)
        if (fd < 0 || write(fd, "2", 1) != 1)
            die("drop_caches");
    close(fd);
    usleep(100000); /* the mount hears of it a moment later */
}

/* `want` on the bare file system; the mount may say ESTALE besides when `evicted`. */
static void judge(const char *what, const int n[OUTCOMES], enum outcome want, bool evicted)
{
    bool ok = true;

    for (int o = 0; o < OUTCOMES; o++)
        ok = ok && (!n[o] || o == (int)want || (o == STALE && on_mount && evicted));
    for (int o = 0; !ok && o < OUTCOMES; o++)
        if (n[o])
            fprintf(stderr, "%s: %d times %s\n", what, n[o], outcome_name[o]);
    failures += !ok;
}

static void one(const char *what, struct handle *h, const char *content, enum outcome want,
                bool evicted)
{
    int n[OUTCOMES] = { 0 };

    n[open_it(h, content)]++;
    judge(what, n, want, evicted);
}

static void single_files(void)
{
    struct handle h;
    int fd;

    make("a");
    take("a", &h);
    fd = openat(dirfd_, "a", O_RDONLY);
    if (open_it(&h, "a") == FAILED)
        exit(77);
    one("an open file", &h, "a", OWN, false);
    if (renameat(dirfd_, "a", dirfd_, "b") < 0)
        die("rename");
    one("renamed", &h, "a", OWN, false);
    drop_caches();
    one("renamed, caches dropped, open", &h, "a", OWN, false);
    unlinkat(dirfd_, "b", 0);
    one("unlinked while open", &h, "a", OWN, true);
    close(fd);
    drop_caches();
    one("unlinked", &h, "a", STALE, true);
    make("again");
    one("unlinked, another file made", &h, "a", STALE, true);
    unlinkat(dirfd_, "again", 0);
}

static void name_of(char *to, const char *prefix, int i)
{
    snprintf(to, 64, "%s-%d", prefix, i);
}

/* All are forgotten; others take their place in memory, then on the disk. */
static void many_files(void)
{
    static struct handle h[FILES];
    int n[OUTCOMES] = { 0 }, gone[OUTCOMES] = { 0 };
    char name[64], other[64];
    struct stat st;

    for (int i = 0; i < FILES; i++) {
        name_of(name, "old", i);
        make(name);
        take(name, &h[i]);
        name_of(other, "other", i);
        make(other);
    }
    drop_caches();
    for (int i = 0; i < FILES; i++) {
        name_of(other, "other", i);
        fstatat(dirfd_, other, &st, 0);
    }
    for (int i = 0; i < FILES; i++) {
        name_of(name, "old", i);
        n[open_it(&h[i], name)]++;
    }
    judge("forgotten by the kernel, others looked up", n, OWN, true);
    for (int i = 0; i < FILES; i++) {
        name_of(name, "old", i);
        unlinkat(dirfd_, name, 0);
    }
    drop_caches();
    for (int i = 0; i < FILES; i++) {
        name_of(other, "new", i);
        make(other);
    }
    for (int i = 0; i < FILES; i++) {
        name_of(name, "old", i);
        gone[open_it(&h[i], name)]++;
    }
    judge("unlinked, as many made", gone, STALE, true);
}

static void directories(void)
{
    struct handle h;
    int fd;

    if (mkdirat(dirfd_, "d", 0755) < 0)
        die("mkdir");
    make("d/f");
    take("d", &h);
    fd = open_by_handle_at(dirfd_, &h.h, O_RDONLY | O_DIRECTORY);
    if (fd < 0 || faccessat(fd, "f", R_OK, 0) < 0) {
        fprintf(stderr, "a directory: %s\n", strerror(errno));
        failures++;
    }
    close(fd);
    unlinkat(dirfd_, "d/f", 0);
    unlinkat(dirfd_, "d", AT_REMOVEDIR);
    fd = open_by_handle_at(dirfd_, &h.h, O_RDONLY | O_DIRECTORY);
    if (fd >= 0 || errno != ESTALE) {
        fprintf(stderr, "a removed directory: %s\n", fd < 0 ? strerror(errno) : "opened");
        failures++;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    on_mount = !strcmp(argv[2], "mount");
    dirfd_ = open(argv[1], O_RDONLY | O_DIRECTORY);
    if (dirfd_ < 0)
        die(argv[1]);
    single_files();
    many_files();
    directories();
    return failures != 0;
}
