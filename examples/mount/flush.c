/* SPDX-License-Identifier: BSD-2-Clause
 *
 * flush.c - data of programs that the kernel has not written yet, as what they store in mappings.
 *
 * Owns: the list of handles open for writing, and the count of bytes that could not be written.
 * Dirty pages of mappings are the only data that the kernel alone holds; with -o writeback those of
 * write() are, too. A file has such pages only while a handle of it is open for writing: the kernel
 * writes them when a mapping is removed, and at a close.
 *
 * An end by a signal has these steps:
 *   flush_begin   a child process asks for a sync of the whole mount, while everything is served.
 *                 The mount keeps its name until that is done, or for the time of a grace period.
 *                 It is a child, because a process that waits for pages of a mount cannot be killed
 *                 before the server answers, and the server must not wait for itself.
 *   grace period  programs with open files continue; their stores are written as always.
 *   flush_end     from now on nobody can get new pages: reads, opens and write() are refused
 *                 (loop.c asks flush_refuses). Then the pages of each listed file are taken from
 *                 the kernel, which writes dirty ones first and unmaps all. A store after that
 *                 faults, is refused its page, and ends in SIGBUS. So it cannot get lost unnoticed.
 *
 * main calls both. ops_open.c lists handles. ops_write.c reports what could not be written.
 */
#include "mount.h"

#include <sys/wait.h>

#define LOST_EVERY_NS UINT64_C(60000000000) /* between two lines of the log about one file */

static struct {
    pthread_mutex_t lock;
    struct handle *head;
    size_t count;
    bool over; /* no handle is listed any more */
} open_writers = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Atomic bool refusing;
static _Atomic uint64_t lost;

bool flush_list(struct handle *h)
{
    bool listed;

    pthread_mutex_lock(&open_writers.lock);
    listed = !open_writers.over;
    if (listed) {
        h->listed = true;
        h->prev = NULL;
        h->next = open_writers.head;
        if (h->next)
            h->next->prev = h;
        open_writers.head = h;
        open_writers.count++;
    }
    pthread_mutex_unlock(&open_writers.lock);
    return listed;
}

void flush_unlist(struct handle *h)
{
    pthread_mutex_lock(&open_writers.lock);
    if (h->listed) {
        *(h->prev ? &h->prev->next : &open_writers.head) = h->next;
        if (h->next)
            h->next->prev = h->prev;
        h->listed = false;
        open_writers.count--;
    }
    pthread_mutex_unlock(&open_writers.lock);
}

bool flush_may_hold(struct inode *i, bool new)
{
    bool found = false;

    /* A store needs a page. */
    if (!mnt.opt.writeback && !atomic_load(new ? &i->pages_read : &i->pages))
        return false;
    pthread_mutex_lock(&open_writers.lock);
    for (struct handle *h = open_writers.head; h && !found; h = h->next)
        found = h->inode == i && (h->maps || mnt.opt.writeback);
    pthread_mutex_unlock(&open_writers.lock);
    return found;
}

/* ---- The first flush ----------------------------------------------------------------------- */

/* In the child: only the directory stays open. The session and the lock of the pool must end with
 * the mount's process. */
static void sync_and_exit(int root)
{
    int fd;

    dup2(root, 0);
    close_from(1);
    fd = open("/proc/self/fd/0", O_RDONLY | O_DIRECTORY); /* answered by our loops */
    _exit(fd < 0 || syncfs(fd) < 0);
}

static pid_t flusher = -1;

void flush_begin(void)
{
    int root = place_open();
    pid_t pid = root < 0 ? -1 : fork();

    if (pid == 0)
        sync_and_exit(root);
    if (pid < 0 && root != -ENOENT)
        say(CM_LOG_WARNING, "cannot flush %s early: %s", mnt.opt.dir,
            strerror(root < 0 ? -root : errno));
    if (root >= 0)
        close(root); /* a held inode would keep the mount alive after its last user */
    flusher = pid;
}

bool flush_running(void)
{
    if (flusher > 0 && waitpid(flusher, NULL, WNOHANG) != 0)
        flusher = -1;
    return flusher > 0;
}

/* ---- The last one -------------------------------------------------------------------------- */

bool flush_refuses(void)
{
    return atomic_load(&refusing);
}

/* The inodes of all listed handles, held; NULL: there are none, or no memory. */
static struct inode **take_writers(size_t *n)
{
    struct inode **v;

    pthread_mutex_lock(&open_writers.lock);
    open_writers.over = true;
    v = open_writers.count ? malloc(open_writers.count * sizeof(struct inode *)) : NULL;
    *n = 0;
    for (struct handle *h = open_writers.head; v && h; h = h->next) {
        inode_hold(h->inode);
        v[(*n)++] = h->inode;
    }
    if (open_writers.count && !v)
        flush_incomplete("no memory");
    pthread_mutex_unlock(&open_writers.lock);
    return v;
}

void flush_end(void)
{
    struct inode **v;
    size_t n;

    /* Before the files are listed. A page that is being read at that moment is locked, and the list
     * waits for it. A later one is refused. */
    atomic_store(&refusing, true);
    v = take_writers(&n);
    for (size_t k = 0; k < n; k++) {
        int rc = wire_drop_pages(v[k]);
        if (rc < 0 && rc != -ENOENT && rc != -ENODEV) /* forgotten; the mount has just ended */
            flush_incomplete(strerror(-rc));
        inode_put(v[k]);
    }
    free(v);
}

/* ---- What was lost ------------------------------------------------------------------------- */

void flush_failed(struct inode *i, off_t off, size_t size, int err)
{
    char path[512];
    const uint64_t now = cm_now();
    uint64_t said = atomic_load(&i->lost_said_ns);
    const bool found = path_of_fd(i->fd, path, sizeof(path));

    atomic_fetch_add(&lost, size);
    direct_drop(i); /* the kernel takes its page for written, and would go on showing it */
    if (said && now - said < LOST_EVERY_NS) /* a full disk refuses each write of a long file */
        return;
    if (!atomic_compare_exchange_strong(&i->lost_said_ns, &said, now)) /* another thread says it */
        return;
    say(CM_LOG_ERROR, "%s: %zu bytes at %lld, %s, cannot be written: %s", found ? path : "a file",
        size, (long long)off,
        mnt.opt.writeback ? "which the kernel held back" : "stored in a mapping", strerror(err));
}

void flush_incomplete(const char *why)
{
    atomic_fetch_add(&lost, 1);
    say(CM_LOG_ERROR, "%s: not all that was stored in mappings may have been written: %s",
        mnt.opt.dir, why);
}

bool flush_lost(void)
{
    return atomic_load(&lost) != 0;
}
