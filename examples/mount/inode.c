/* SPDX-License-Identifier: BSD-2-Clause
 *
 * inode.c - the inode table: (st_dev, st_ino, node of FUSE) -> struct inode.
 *
 * Owns every struct inode and its O_PATH descriptor. The descriptor keeps the origin's inode alive,
 * so a pair (device, number) in the table never means two files. There are two exceptions. A FUSE
 * server may give one number to two files: there the server's node counts, too. And on some file
 * systems names with one number need not be one file (number_doubtful): there each name of a file
 * with several names has its own inode. These are `linked`: nothing of them is in the pool,
 * and the kernel asks for their attributes every time. So they agree as well as they do without the
 * mount.
 *
 * The kernel gets the address of the struct as the node id. The address may be used again, so the
 * kernel also gets a generation: a file handle (name_to_handle_at, NFS) that outlives its inode
 * opens nothing. With several DIRs the root is a directory that nobody sees. Its children are the
 * DIRs, by their numbers from 1. `nlookup` counts what the kernel was given and has not forgotten.
 * `refs` counts holds of this process, plus one for nlookup > 0. One mutex guards the table and the
 * counts. Nothing that can wait is done under it. Any thread may call.
 */
#include "mount.h"
#include "relief.h"

#include <stdio.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static struct {
    pthread_mutex_t lock;
    struct inode **bucket;
    size_t mask;
    uint64_t count;
    uint64_t far;        /* of these, on a device that may wait */
    uint32_t generation; /* of the next inode; starts at random, for handles of an earlier mount */
    size_t clock;        /* bucket where the search for idle names goes on */
    struct inode root;
    struct inode **top; /* of each place; NULL: it has lost its mount */
} table = { .lock = PTHREAD_MUTEX_INITIALIZER };

static size_t slot_of(dev_t dev, ino_t ino)
{
    uint64_t h = ((uint64_t)ino ^ ((uint64_t)dev << 32)) * 0x9E3779B97F4A7C15u;
    return (size_t)(h >> 20) & table.mask;
}

/* A directory that is not shown has no children, so the others are on the device of their DIR. */
static void init_inode(struct inode *i, const struct stat *st, int fd, struct device *device,
                       const struct inode *parent)
{
    *i = (struct inode){ .dev = st->st_dev,
                         .ino = st->st_ino,
                         .device = device,
                         .number = number_of(device, st->st_ino),
                         .barred = mnt.opt.one_file_system && S_ISDIR(st->st_mode) && parent &&
                                   device != parent->device,
                         .place = parent ? parent->place : 0,
                         .type = st->st_mode & S_IFMT,
                         .fd = fd,
                         .refs = 1,
                         .rfd = -1 };
    pthread_mutex_init(&i->lock, NULL);
}

/* 0: the kernel does not say, or the C library does not know the call. Never waits. */
static uint64_t mount_of(int fd)
{
#ifdef STATX_MNT_ID
    struct statx sx = { .stx_mask = 0 };

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &sx) == 0 &&
        (sx.stx_mask & STATX_MNT_ID))
        return sx.stx_mnt_id;
#endif
    (void)fd;
    return 0;
}

/* Flags belong to the mount, not to the device: two mounts of one file system may differ, and DIR's
 * own file system may be bound below DIR with other flags. An inode on its parent's mount has the
 * parent's flags; that mount cannot go away while the parent is held. For other inodes the kernel
 * is asked. Our mount itself has the flags of DIR. */
static void set_limits(struct inode *i, const struct inode *parent)
{
    i->mount = mount_of(i->fd);
    if (parent && i->mount && i->mount == parent->mount)
        i->limits = atomic_load(&parent->limits);
    else
        i->limits = number_limits(i->fd) & ~mnt.opt.place[i->place].limits;
}

static void insert(struct inode *i)
{
    size_t s = slot_of(i->dev, i->ino);

    i->hash_next = table.bucket[s];
    table.bucket[s] = i;
    table.count++;
    table.far += number_far(i->device);
}

static void unhash(struct inode *i)
{
    struct inode **p = &table.bucket[slot_of(i->dev, i->ino)];

    while (*p != i)
        p = &(*p)->hash_next;
    *p = i->hash_next;
    table.count--;
    table.far -= number_far(i->device);
}

/* Doubles the buckets. If that fails, it stays small, which is no error. */
static void grow(void)
{
    size_t old = table.mask + 1;
    struct inode **from = table.bucket, **to = calloc(old * 2, sizeof(*to));

    if (!to)
        return;
    table.bucket = to;
    table.mask = old * 2 - 1;
    table.count = table.far = 0;
    for (size_t s = 0; s < old; s++)
        for (struct inode *i = from[s], *next; i; i = next) {
            next = i->hash_next;
            insert(i);
        }
    free(from);
}

/* It is held for as long as it has its mount. 0 or errno. */
static int init_top(struct inode *i, unsigned place)
{
    struct place *const p = &mnt.opt.place[place];
    struct device *device;
    struct stat st;

    if (fstat(p->fd, &st) < 0)
        return errno;
    device = place == 0 ? number_init(&st, p->fd) : number_device(NULL, &st, p->fd);
    if (!device)
        return ENOMEM;
    init_inode(i, &st, p->fd, device, NULL);
    i->place = place;
    i->top = true;
    i->generation = table.generation++;
    p->limits = number_limits(p->fd);
    set_limits(i, NULL);
    table.top[place] = i;
    insert(i);
    return 0;
}

/* The root that nobody sees. It is in no bucket: the directory that lends it its attributes may be
 * found by its own name, too. 0 or errno. */
static int init_hidden(void)
{
    const int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    int err;

    if (fd < 0)
        return errno;
    if (fstat(fd, &st) < 0) {
        err = errno;
        close(fd);
        return err;
    }
    init_inode(&table.root, &st, fd, table.top[0]->device, NULL);
    table.root.barred = true;
    return 0;
}

int inode_init(void)
{
    int err = 0;

    table.mask = (1u << 12) - 1;
    table.bucket = calloc(table.mask + 1, sizeof(*table.bucket));
    table.top = calloc(mnt.opt.places, sizeof(struct inode *));
    if (getrandom(&table.generation, sizeof(table.generation), GRND_NONBLOCK) < 0)
        table.generation = (uint32_t)cm_now();
    if (!table.bucket || !table.top)
        return ENOMEM;
    for (unsigned k = 0; k < mnt.opt.places && !err; k++) {
        struct inode *i = mnt.opt.places == 1 ? &table.root : malloc(sizeof(*i));
        err = i ? init_top(i, k) : ENOMEM;
    }
    if (!err && mnt.opt.places > 1)
        err = init_hidden();
    table.root.nlookup = 1;
    return err;
}

struct inode *inode_of(fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? &table.root : (struct inode *)(uintptr_t)ino;
}

/* Held, or NULL. Table lock held. */
static struct inode *find(const struct stat *st, uint64_t node)
{
    for (struct inode *i = table.bucket[slot_of(st->st_dev, st->st_ino)]; i; i = i->hash_next)
        if (i->ino == st->st_ino && i->dev == st->st_dev && i->node == node) {
            i->refs++;
            return i;
        }
    return NULL;
}

/* Any inode of that number that is `linked`, or any that is not. Table lock held. */
static struct inode *of_number(const struct stat *st, bool linked)
{
    for (struct inode *i = table.bucket[slot_of(st->st_dev, st->st_ino)]; i; i = i->hash_next)
        if (i->ino == st->st_ino && i->dev == st->st_dev && atomic_load(&i->linked) == linked)
            return i;
    return NULL;
}

/* *node: what must be equal in addition to the numbers. True: each of the file's names has its
 * own inode. The file is `at` in dirfd, and `name` in parent. */
static bool node_of(const struct device *d, const struct stat *st, int dirfd, const char *at,
                    const struct inode *parent, const char *name, uint64_t *node)
{
    const bool known = number_node(d, dirfd, at, node), directory = S_ISDIR(st->st_mode);
    uint64_t h = *node ^ parent->number ^ (uint64_t)parent->generation << 32;

    if (known && !(number_doubtful(d) && !directory && st->st_nlink > 1))
        return false;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001B3u;
    *node = h ^ h >> 32;
    return !directory;
}

/* If one of its mounts forbids something, it is forbidden. */
static void limit(struct inode *i, unsigned long limits)
{
    if (limits & ~atomic_load(&i->limits))
        atomic_fetch_or(&i->limits, limits);
}

static void note_names(struct inode *i, const struct stat *st)
{
    if (S_ISREG(st->st_mode) && st->st_nlink > 1)
        atomic_store(&i->several, true);
}

/* A known inode, held, or NULL. The name is no mount point. */
static struct inode *find_known(const struct stat *st, struct inode *parent, const char *name)
{
    struct inode *i;
    uint64_t node;

    if (st->st_dev != parent->dev)
        return NULL;
    (void)node_of(parent->device, st, parent->fd, name, parent, name, &node);
    pthread_mutex_lock(&table.lock);
    i = find(st, node);
    pthread_mutex_unlock(&table.lock);
    if (i) {
        limit(i, atomic_load(&parent->limits));
        note_names(i, st);
    }
    return i;
}

/* `made`: this process has just made it there, so it is on the mount of its parent. */
static struct inode *add(int fd, const struct stat *st, struct inode *parent, const char *name,
                         bool made)
{
    struct inode *fresh = malloc(sizeof(*fresh)), *i;
    struct device *device = fresh ? number_device(parent->device, st, fd) : NULL;
    uint64_t count;
    bool linked;

    if (!device) {
        close(fd);
        free(fresh);
        errno = ENOMEM;
        return NULL;
    }
    init_inode(fresh, st, fd, device, parent);
    if (made) {
        fresh->mount = parent->mount;
        fresh->limits = atomic_load(&parent->limits);
    } else {
        set_limits(fresh, parent);
    }
    note_names(fresh, st);
    linked = node_of(device, st, fd, "", parent, name, &fresh->node);
    pthread_mutex_lock(&table.lock);
    i = find(st, fresh->node);
    if (!i) {
        if (table.count > table.mask)
            grow();
        fresh->generation = table.generation++;
        /* Somebody may still write through the other name. */
        fresh->linked = linked || of_number(st, true);
        insert(fresh);
    }
    count = table.count;
    pthread_mutex_unlock(&table.lock);
    if (!i) {
        relief_throttle(count);
        return fresh;
    }
    limit(i, atomic_load(&fresh->limits));
    close(fd);
    number_put(device);
    pthread_mutex_destroy(&fresh->lock);
    free(fresh);
    return i;
}

/* Of a directory that is shown empty. The root that nobody sees does have children. */
static struct inode *child_of_barred(const struct inode *parent, const char *name, struct stat *st)
{
    const bool numbered = *name >= '1' && strspn(name, "0123456789") == strlen(name);
    const unsigned long k = numbered ? strtoul(name, NULL, 10) : 0;
    struct inode *i = NULL;
    int err;

    pthread_mutex_lock(&table.lock);
    if (parent == &table.root && k >= 1 && k <= mnt.opt.places)
        i = table.top[k - 1];
    if (i)
        i->refs++;
    pthread_mutex_unlock(&table.lock);
    err = i ? inode_stat(i, st) : ENOENT;
    if (i && err) {
        inode_put(i);
        i = NULL;
    }
    errno = err;
    return i;
}

struct inode *inode_child(struct inode *parent, const char *name, struct stat *st)
{
    struct inode *i = NULL;
    int fd;

    if (parent->barred)
        return child_of_barred(parent, name, st);
    /* A known inode costs one system call: an inode in the table is alive, so the numbers that were
     * just read belong to it. */
    if (fstatat(parent->fd, name, st, AT_SYMLINK_NOFOLLOW) < 0)
        return NULL;
    number_look_at_mounts();
    if (!number_is_point(name))
        i = find_known(st, parent, name);
    if (i) {
        number_show(i, st);
        return i;
    }
    fd = relief_open(parent->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (fstatat(fd, "", st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0) {
        int err = errno;
        close(fd);
        errno = err;
        return NULL;
    }
    i = add(fd, st, parent, name, false);
    if (i)
        number_show(i, st);
    return i;
}

/* Turns a hold into one lookup of the kernel. */
static void count_lookup(struct inode *i, struct inode *parent, const char *name)
{
    char *copy = name ? strdup(name) : NULL, *old;

    pthread_mutex_lock(&table.lock);
    if (i->nlookup++ > 0)
        i->refs--;
    assert(i->refs > 0);
    i->parent = parent;
    old = i->name;
    i->name = copy;
    pthread_mutex_unlock(&table.lock);
    free(old);
}

void inode_moved(struct inode *parent, const char *name)
{
    struct stat st;
    struct inode *i = inode_child(parent, name, &st);
    char *copy = i ? strdup(name) : NULL;

    pthread_mutex_lock(&table.lock);
    if (copy && i->nlookup > 0) {
        char *old = i->name;
        i->parent = parent;
        i->name = copy;
        copy = old;
    }
    pthread_mutex_unlock(&table.lock);
    free(copy);
    if (i)
        inode_put(i);
}

/* A held inode, to the kernel. */
static void give(struct inode *i, struct inode *parent, const char *name,
                 struct fuse_entry_param *e)
{
    count_lookup(i, parent, name);
    e->attr_timeout = coherence_shown(i, &e->attr);
    e->ino = (uintptr_t)i;
    e->generation = i->generation;
}

int inode_entry(struct inode *parent, const char *name, struct fuse_entry_param *e)
{
    struct inode *i;

    *e = (struct fuse_entry_param){ .entry_timeout = mnt.opt.entry_timeout };
    i = inode_child(parent, name, &e->attr);
    if (!i)
        return errno;
    if (i->top && !parent->barred) { /* a bind mount of a DIR inside itself, or inside another */
        inode_put(i);
        return ELOOP;
    }
    coherence_follow_local(i);
    give(i, parent, name, e);
    return 0;
}

/* Held, for an answer to the kernel. NULL: errno says why. */
static struct inode *add_open(int fd, struct inode *parent, const char *name,
                              struct fuse_entry_param *e)
{
    const int path = relief_open(AT_FDCWD, procpath(fd).s, O_PATH | O_CLOEXEC);

    *e = (struct fuse_entry_param){ .entry_timeout = mnt.opt.entry_timeout };
    if (path < 0)
        return NULL;
    if (fstat(fd, &e->attr) < 0) {
        int err = errno;
        close(path);
        errno = err;
        return NULL;
    }
    return add(path, &e->attr, parent, name, true);
}

int inode_made(struct inode *parent, const char *name, int fd, struct fuse_entry_param *e)
{
    struct inode *i = add_open(fd, parent, name, e);

    if (!i)
        return errno;
    number_show(i, &e->attr);
    give(i, parent, name, e);
    return 0;
}

int inode_unnamed(struct inode *parent, int fd, struct fuse_entry_param *e)
{
    static _Atomic unsigned made;
    char name[16]; /* that no file has */
    struct inode *i;

    snprintf(name, sizeof(name), "/%u", atomic_fetch_add(&made, 1));
    i = add_open(fd, parent, name, e);
    if (!i)
        return errno;
    atomic_store(&i->unlinked, true); /* nothing of it is cached until it has a name */
    number_show(i, &e->attr);
    give(i, parent, NULL, e);
    return 0;
}

void inode_hold(struct inode *i)
{
    pthread_mutex_lock(&table.lock);
    assert(i->refs > 0);
    i->refs++;
    pthread_mutex_unlock(&table.lock);
}

static void drop(struct inode *i, uint64_t lookups, bool *last_lookup)
{
    bool dead = false;

    pthread_mutex_lock(&table.lock);
    if (lookups) {
        assert(i->nlookup >= lookups);
        i->nlookup -= lookups;
        *last_lookup = i->nlookup == 0;
    } else {
        assert(i->refs > 0);
        dead = --i->refs == 0;
        if (dead)
            unhash(i);
    }
    pthread_mutex_unlock(&table.lock);
    if (!dead)
        return;
    assert(!i->cf && !i->users && i != &table.root);
    close(i->fd);
    number_put(i->device);
    free(i->name);
    pthread_mutex_destroy(&i->lock);
    free(i);
}

void inode_put(struct inode *i)
{
    drop(i, 0, NULL);
}

void inode_forget(fuse_ino_t ino, uint64_t n)
{
    struct inode *i = inode_of(ino);
    bool last = false;

    if (i == &table.root || !n)
        return;
    drop(i, n, &last);
    if (!last)
        return;
    /* The reference for nlookup > 0 is still ours. */
    if (!number_far(i->device)) {
        if (keeper_has(i)) /* if somebody else has removed it, its room would stay taken */
            file_gone(i);
        file_detach_idle(i);
    } else if (i->cf && !keeper_has(i)) { /* closing it may wait, and nobody must wait for that */
        keeper_detach(i);
    }
    inode_put(i);
}

bool inode_known(struct inode *i)
{
    bool known;

    pthread_mutex_lock(&table.lock);
    known = i->nlookup > 0;
    pthread_mutex_unlock(&table.lock);
    return known;
}

int inode_stat(struct inode *i, struct stat *st)
{
    if (fstatat(i->fd, "", st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return errno;
    note_names(i, st);
    number_show(i, st);
    return 0;
}

double inode_attr_timeout(struct inode *i)
{
    return atomic_load(&i->linked) ? 0 : mnt.opt.attr_timeout;
}

/* Not under a lock. */
static void link_now(struct inode *i)
{
    file_detach_linked(i);
    /* Only attributes: the kernel waits for nobody then. It drops pages if these have changed. */
    fuse_lowlevel_notify_inval_inode(mnt.se, (uintptr_t)i, -1, 0);
}

void inode_gets_name(struct inode *i)
{
    if (number_doubtful(i->device) && !atomic_exchange(&i->linked, true))
        link_now(i);
}

void inode_changes(struct inode *i)
{
    struct inode *other;
    struct stat st;

    if (!atomic_load(&i->linked) || fstatat(i->fd, "", &st, AT_EMPTY_PATH) < 0)
        return;
    do {
        pthread_mutex_lock(&table.lock);
        if (st.st_ino != i->ino || st.st_dev != i->dev) { /* copied up: it is now a separate file */
            unhash(i);
            i->dev = st.st_dev;
            i->ino = st.st_ino;
            insert(i);
        }
        other = of_number(&st, false);
        if (other) {
            other->refs++;
            atomic_store(&other->linked, true);
        }
        pthread_mutex_unlock(&table.lock);
        if (other) {
            link_now(other);
            inode_put(other);
        }
    } while (other);
}

struct inode *inode_top(const struct inode *i)
{
    struct inode *top;

    pthread_mutex_lock(&table.lock);
    top = table.top[i->place];
    if (top)
        top->refs++;
    pthread_mutex_unlock(&table.lock);
    return top;
}

bool inode_places_doubtful(void)
{
    bool doubtful = false;

    pthread_mutex_lock(&table.lock);
    for (unsigned k = 0; k < mnt.opt.places; k++)
        doubtful |= table.top[k] && number_doubtful(table.top[k]->device);
    pthread_mutex_unlock(&table.lock);
    return doubtful;
}

bool inode_left(const struct inode *i)
{
    bool left;

    pthread_mutex_lock(&table.lock);
    left = !table.top[i->place];
    pthread_mutex_unlock(&table.lock);
    return left;
}

void inode_leave(unsigned place)
{
    char name[16];
    struct inode *top;

    snprintf(name, sizeof(name), "%u", place + 1);
    fuse_lowlevel_notify_inval_entry(mnt.se, FUSE_ROOT_ID, name, strlen(name));
    pthread_mutex_lock(&table.lock);
    top = table.top[place];
    table.top[place] = NULL;
    pthread_mutex_unlock(&table.lock);
    if (top)
        inode_put(top);
}

uint64_t inode_number_above(const struct inode *i, ino_t listed)
{
    uint64_t number = 0;

    pthread_mutex_lock(&table.lock);
    /* It may have been moved there, and not been looked up since. */
    const struct inode *top = table.top[i->place];
    if (top && (i->parent == top || (i->dev == top->dev && listed == top->ino)))
        number = top->number;
    pthread_mutex_unlock(&table.lock);
    return number;
}

uint64_t inode_count(void)
{
    uint64_t n;

    pthread_mutex_lock(&table.lock);
    n = table.count;
    pthread_mutex_unlock(&table.lock);
    return n;
}

bool inode_each(bool far, void (*fn)(struct inode *i, void *ctx), void *ctx)
{
    struct inode **v;
    size_t n = 0;

    pthread_mutex_lock(&table.lock);
    v = malloc(table.count * sizeof(*v));
    for (size_t s = 0; v && s <= table.mask; s++)
        for (struct inode *i = table.bucket[s]; i; i = i->hash_next)
            if (number_far(i->device) == far) {
                i->refs++;
                v[n++] = i;
            }
    pthread_mutex_unlock(&table.lock);
    if (!v)
        say(CM_LOG_ERROR, "out of memory: files are not looked at");
    for (size_t k = 0; k < n; k++) {
        fn(v[k], ctx);
        inode_put(v[k]);
    }
    free(v);
    return v != NULL;
}

size_t inode_idle_names(bool far, struct idle_name *v, size_t n)
{
    size_t found = 0;

    pthread_mutex_lock(&table.lock);
    for (size_t k = 0; (!far || table.far) && k <= table.mask && found < n; k++) {
        struct inode *i = table.bucket[table.clock++ & table.mask];
        for (; i && found < n; i = i->hash_next) {
            /* One reference in addition to the lookups: idle and attached. More: in use. */
            if (!i->nlookup || i->refs > 2 || !i->name || S_ISDIR(i->type) ||
                number_far(i->device) != far)
                continue;
            v[found].parent = i->parent == &table.root ? FUSE_ROOT_ID : (uintptr_t)i->parent;
            v[found].name = strdup(i->name);
            found += v[found].name != NULL;
        }
    }
    pthread_mutex_unlock(&table.lock);
    return found;
}

struct procpath procpath(int fd)
{
    struct procpath p;
    char digits[12], *w = p.s;
    unsigned n = 0, v = (unsigned)fd;

    memcpy(w, "/proc/self/fd/", 14);
    w += 14;
    do
        digits[n++] = (char)('0' + v % 10);
    while (v /= 10);
    while (n)
        *w++ = digits[--n];
    *w = '\0';
    return p;
}

void close_from(unsigned first)
{
    struct rlimit rl = { .rlim_cur = 1024 };

#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0u, 0u) == 0)
        return;
#endif
    getrlimit(RLIMIT_NOFILE, &rl);
    for (rlim_t fd = first; fd < rl.rlim_cur && fd <= INT_MAX; fd++)
        close((int)fd);
}

bool path_of_fd(int fd, char *path, size_t size)
{
    const ssize_t n = readlink(procpath(fd).s, path, size - 1);

    path[n < 0 ? 0 : n] = '\0';
    return n >= 0;
}
