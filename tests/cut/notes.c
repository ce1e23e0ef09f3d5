/* SPDX-License-Identifier: BSD-2-Clause
 *
 * notes.c - what must hit after a power cut: who writes it down, and what follows for a place in
 * the log of the disk's writes.
 *
 * A block must hit if it was cached when the last checkpoint began that ended before the place; if
 * all changes of its region that began before the checkpoint were synced before it; and if none has
 * begun since. Files that nobody writes have no changes. The lines of the notes, in this order:
 *
 *   begin KIND NUMBER BLOCKS...   a checkpoint begins; the blocks that are cached and synced
 *   end POSITION                  it has ended; the length of the log
 *   change POSITION NUMBER FIRST END   blocks of an exclusive file are about to change
 */
#include "store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static FILE *notes;
static const char *log_name;
static pthread_mutex_t line = PTHREAD_MUTEX_INITIALIZER;

void notes_open(const char *log, const char *name)
{
    log_name = log;
    notes = fopen(name, "w");
    if (!notes)
        die(name);
}

void notes_close(void)
{
    if (fclose(notes) != 0)
        die("notes");
}

static long long position(void)
{
    struct stat st;

    if (stat(log_name, &st) != 0)
        die(log_name);
    return (long long)st.st_size;
}

void note_change(struct file *f, uint64_t first, uint64_t end)
{
    if (f->kind != OWN)
        return;
    pthread_mutex_lock(&line);
    fprintf(notes, "change %lld %u %" PRIu64 " %" PRIu64 "\n", position(), f->number, first, end);
    pthread_mutex_unlock(&line);
}

static void note_cached(struct file *f)
{
    struct blocks b;

    pthread_mutex_lock(&f->lock);
    cached(f, &b);
    for (unsigned n = 0; n < BLOCKS; n++)
        if (f->changed[n / REGION_BLOCKS] > f->synced)
            take_block(&b, n, false);
    pthread_mutex_lock(&line);
    fprintf(notes, "begin %u %u", f->kind, f->number);
    for (unsigned i = 0; i < BLOCKS / 64; i++)
        fprintf(notes, " %" PRIx64, b.word[i]);
    fputc('\n', notes);
    pthread_mutex_unlock(&line);
    pthread_mutex_unlock(&f->lock);
}

void note_checkpoint_begins(void)
{
    for (unsigned k = 0; k < KINDS; k++)
        for (unsigned i = 0; i < FILES && k != SOLE; i++)
            note_cached(&files[k][i]);
}

void note_checkpoint_ended(void)
{
    pthread_mutex_lock(&line);
    fprintf(notes, "end %lld\n", position());
    pthread_mutex_unlock(&line);
}

/* ---- Reading --------------------------------------------------------------------------------- */

static void changed(struct floor *f, unsigned number, uint64_t first, uint64_t end)
{
    const uint64_t from = first / REGION_BLOCKS * REGION_BLOCKS;
    const uint64_t to = (end + REGION_BLOCKS - 1) / REGION_BLOCKS * REGION_BLOCKS;

    for (uint64_t b = from; b < to && b < BLOCKS; b++)
        take_block(&f->of[OWN][number], b, false);
    f->changes[number]++;
}

void floor_at(const char *name, long long place, struct floor *sure)
{
    struct floor latest; /* as of the checkpoint that began last */
    struct blocks *b;
    unsigned k, number;
    uint64_t first, end;
    long long at;
    char word[8];

    notes = fopen(name, "r");
    if (!notes)
        die(name);
    memset(sure, 0, sizeof(*sure));
    memset(&latest, 0, sizeof(latest));
    while (fscanf(notes, "%7s", word) == 1) {
        if (word[0] == 'b') {
            if (fscanf(notes, "%u %u", &k, &number) != 2 || k >= KINDS || number >= FILES)
                die("notes");
            b = &latest.of[k][number];
            for (unsigned i = 0; i < BLOCKS / 64; i++)
                if (fscanf(notes, "%" SCNx64, &b->word[i]) != 1)
                    die("notes");
            latest.changes[number] = 0;
        } else if (word[0] == 'e') {
            if (fscanf(notes, "%lld", &at) != 1)
                die("notes");
            if (at <= place)
                *sure = latest;
        } else {
            if (fscanf(notes, "%lld %u %" SCNu64 " %" SCNu64, &at, &number, &first, &end) != 4 ||
                number >= FILES)
                die("notes");
            if (at < place) {
                changed(sure, number, first, end);
                changed(&latest, number, first, end);
            }
        }
    }
    fclose(notes);
}
