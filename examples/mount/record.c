/* SPDX-License-Identifier: BSD-2-Clause
 *
 * record.c - what programs read and write, for "cachemax record".
 *
 * Owns a ring of notes. Who serves a read or a write puts a note in, and one client of the control
 * socket takes them out: there is one recording at a time. A note that finds the ring full is
 * dropped and counted, so nobody waits for the client. While nobody records, a read costs one load
 * of a flag that no one writes. The ring takes no memory before the first recording.
 *
 * Files have numbers in a recording. The path of a file goes into the ring before the first note of
 * the file, and again before the next one after a change of its name. The inode remembers its
 * number and the session, which is the recording that the number belongs to.
 *
 * The ring is a queue for many writers and one reader. Each place has a turn: 2 * lap when it is
 * free for that lap, 2 * lap + 1 when it is full. A writer takes a place by moving `head`. A late
 * writer may still put in a note after the end of its recording; the next one passes over it.
 *
 * Callers: ops_*.c put in; control_ops.c serves the client.
 */
#include "control.h"
#include "mount.h"

#include <inttypes.h>
#include <stdio.h>

#define RING ((uint64_t)1 << 16)
#define NUMBER_MAX 0x7fffffffu
#define RENAMED 0x80000000u /* beside the number: its path is an old one */
#define NAP_MS 20
#define TELL_NS 100000000ull
#define LINE 8000u /* of notes to the client */

enum kind { NOTE_PATH, NOTE_READ, NOTE_WRITE };

struct note {
    uint64_t off, len, at_ns; /* since the begin */
    char *path;               /* NOTE_PATH; the reader frees it. NULL: nobody knows it */
    uint32_t session, file;
    enum kind kind;
};

static struct {
    struct {
        _Atomic uint64_t turn;
        struct note note;
    } place[RING];
    _Atomic uint64_t head;
    uint64_t tail; /* the reader's */
    _Atomic bool taken;
    _Atomic uint64_t dropped;
    _Atomic uint64_t began_ns;
    uint32_t session;      /* the last one; who has set `taken` */
    pthread_mutex_t names; /* with the next one, and for writers of inode.recorded */
    uint32_t files;
} ring = { .names = PTHREAD_MUTEX_INITIALIZER };

_Atomic uint32_t record_session;

/* ---- Putting in ------------------------------------------------------------------------------ */

/* False: the ring is full. */
static bool put(const struct note *note)
{
    /* Relaxed: the turn of the place decides whether it is the right one. */
    uint64_t at = atomic_load_explicit(&ring.head, memory_order_relaxed);

    for (;;) {
        const uint64_t lap = at / RING;
        /* Acquire: the reader has taken the note of the lap before. */
        const uint64_t turn =
            atomic_load_explicit(&ring.place[at % RING].turn, memory_order_acquire);

        if (turn < 2 * lap) /* not taken yet */
            return false;
        if (turn > 2 * lap)                                              /* another writer has it */
            at = atomic_load_explicit(&ring.head, memory_order_relaxed); /* as above */
        /* Relaxed: nothing is published by this; it only makes the place this thread's. */
        else if (atomic_compare_exchange_weak_explicit(&ring.head, &at, at + 1,
                                                       memory_order_relaxed, memory_order_relaxed))
            break;
    }
    ring.place[at % RING].note = *note;
    /* Release: the reader, who sees the turn, sees the note. */
    atomic_store_explicit(&ring.place[at % RING].turn, 2 * (at / RING) + 1, memory_order_release);
    return true;
}

/* The path below the root of the mount, as control_ops.c takes it; NULL: it has no name there. */
static char *name_of(struct inode *i)
{
    const char *const seen = mnt.opt.place[i->place].seen;
    const size_t n = seen && strcmp(seen, "/") ? strlen(seen) : 0;
    char path[PATH_MAX], *name = NULL;

    if (!seen || atomic_load(&i->unlinked) || !path_of_fd(i->fd, path, sizeof(path)) ||
        strncmp(path, seen, n) != 0 || path[n] != '/')
        return NULL;
    if (mnt.opt.places == 1)
        return strdup(path + n + 1);
    return asprintf(&name, "%u/%s", i->place + 1, path + n + 1) < 0 ? NULL : name;
}

/* The number of the file in this session, once its path is in the ring. 0: there was no room. The
 * lock is for files that are new, and is held while one path is read. */
static uint32_t number_in(struct inode *i, uint32_t session)
{
    /* Acquire: the path was put in before. */
    uint64_t is = atomic_load_explicit(&i->recorded, memory_order_acquire);
    struct note note = { .session = session, .kind = NOTE_PATH };

    if (is >> 32 == session && !(is & RENAMED))
        return (uint32_t)is;
    pthread_mutex_lock(&ring.names);
    is = atomic_load_explicit(&i->recorded, memory_order_relaxed); /* written with the lock only */
    if (is >> 32 == session && !(is & RENAMED)) {
        note.file = (uint32_t)is;
    } else {
        note.file = is >> 32 == session ? (uint32_t)is & NUMBER_MAX : ring.files + 1;
        note.path = name_of(i);
        if (note.file > NUMBER_MAX || !put(&note)) {
            free(note.path);
            note.file = 0;
        } else {
            ring.files += note.file > ring.files;
            /* Release: as the acquire above. */
            atomic_store_explicit(&i->recorded, (uint64_t)session << 32 | note.file,
                                  memory_order_release);
        }
    }
    pthread_mutex_unlock(&ring.names);
    return note.file;
}

void record_note(struct inode *i, bool write, uint64_t off, uint64_t len)
{
    /* Acquire: what the begin has set up is seen. */
    const uint32_t session = atomic_load_explicit(&record_session, memory_order_acquire);
    struct note note = { .session = session, .off = off, .len = len };

    if (!session || !len)
        return;
    note.kind = write ? NOTE_WRITE : NOTE_READ;
    note.at_ns = cm_now() - atomic_load_explicit(&ring.began_ns, memory_order_relaxed);
    note.file = number_in(i, session);
    if (!note.file || !put(&note)) /* Relaxed: a count for people. */
        atomic_fetch_add_explicit(&ring.dropped, 1, memory_order_relaxed);
}

void record_renamed(struct inode *i)
{
    if (!record_on())
        return;
    pthread_mutex_lock(&ring.names);
    /* Relaxed: written with the lock only, and who reads the old one is before the change. */
    atomic_fetch_or_explicit(&i->recorded, RENAMED, memory_order_relaxed);
    pthread_mutex_unlock(&ring.names);
}

/* ---- Taking out ------------------------------------------------------------------------------ */

static bool take(struct note *note)
{
    const uint64_t at = ring.tail, lap = at / RING;

    /* Acquire: the writer's release. */
    if (atomic_load_explicit(&ring.place[at % RING].turn, memory_order_acquire) != 2 * lap + 1)
        return false;
    *note = ring.place[at % RING].note;
    /* Release: the note was taken before the place is free. */
    atomic_store_explicit(&ring.place[at % RING].turn, 2 * (lap + 1), memory_order_release);
    ring.tail++;
    return true;
}

static bool tell_path(struct control_client *c, const struct note *note)
{
    char text[PATH_MAX + 16];

    snprintf(text, sizeof(text), "%" PRIu32 " %s", note->file, note->path ? note->path : "");
    return control_is_text(c, "file", text);
}

/* A line of notes. */
struct line {
    size_t n;
    char text[LINE + 128];
};

static bool tell_line(struct control_client *c, struct line *l)
{
    const bool told = l->n == 0 || control_is_text(c, "io", l->text);

    l->n = 0;
    return told;
}

/* Tells the client all that is there. *any: there was something. False: the client is gone. */
static bool tell_notes(struct control_client *c, bool *any)
{
    struct line line = { .n = 0 };
    struct note note;
    bool told = true;

    for (*any = false; told && take(&note); *any = true) {
        if (note.session == ring.session && note.kind == NOTE_PATH)
            told = tell_line(c, &line) && tell_path(c, &note);
        else if (note.session == ring.session)
            line.n += (size_t)sprintf(line.text + line.n,
                                      "%s%c%" PRIu32 ":%" PRIu64 ":%" PRIu64 ":%" PRIu64,
                                      line.n ? "," : "", note.kind == NOTE_READ ? 'r' : 'w',
                                      note.file, note.off, note.len, note.at_ns / 1000);
        if (note.kind == NOTE_PATH)
            free(note.path);
        if (line.n >= LINE)
            told = told && tell_line(c, &line);
    }
    return told && tell_line(c, &line);
}

static bool tell_dropped(struct control_client *c)
{
    /* Relaxed: a count for people. */
    return control_is(c, "dropped", atomic_load_explicit(&ring.dropped, memory_order_relaxed));
}

static void begin(void)
{
    struct note late;

    while (take(&late)) /* of the recording before */
        if (late.kind == NOTE_PATH)
            free(late.path);
    pthread_mutex_lock(&ring.names);
    ring.files = 0;
    pthread_mutex_unlock(&ring.names);
    /* Relaxed, both: the release below publishes them. */
    atomic_store_explicit(&ring.dropped, 0, memory_order_relaxed);
    atomic_store_explicit(&ring.began_ns, cm_now(), memory_order_relaxed);
    ring.session = ring.session == UINT32_MAX ? 1 : ring.session + 1;
    /* Release: who sees the session sees what was set up. */
    atomic_store_explicit(&record_session, ring.session, memory_order_release);
}

int record_serve(struct control_client *c, const struct control_request *r)
{
    uint64_t told_ns = 0;
    bool any, here = true;

    (void)r;
    /* Acquire, and release below: one thread has the reader's part, after the one before. */
    if (atomic_exchange_explicit(&ring.taken, true, memory_order_acquire))
        return CONTROL_ERRNO - EBUSY;
    begin();
    while (here) {
        here = tell_notes(c, &any);
        if (here && cm_now() - told_ns >= TELL_NS) {
            here = tell_dropped(c);
            told_ns = cm_now();
        }
        if (here && !control_wanted(c, any ? 0 : NAP_MS))
            break;
    }
    /* Relaxed: late notes are passed over, whenever this is seen. */
    atomic_store_explicit(&record_session, 0, memory_order_relaxed);
    if (here && tell_notes(c, &any))
        (void)tell_dropped(c);
    atomic_store_explicit(&ring.taken, false, memory_order_release);
    return 0;
}
