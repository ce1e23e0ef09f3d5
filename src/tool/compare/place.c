/* SPDX-License-Identifier: BSD-2-Clause
 *
 * place.c - the directory of "cachemax compare" on one volume.
 *
 * Owns its content: a mark, a file of random bytes, a pool. The mark is made first and removed
 * last, and nobody else can open it while a run is under way. So a directory without a mark is not
 * ours and is not touched, one with a mark that can be held was left by a killed run, and only
 * files that a run makes are removed. A directory with other files stays.
 *
 * Who: here.c.
 */
#include "tool/compare/compare.h"
#include "tool/os.h"

#include <stdlib.h>
#include <string.h>

#define NAME "cachemax-compare.d"
#define PIECE ((size_t)1 << 20)

static int name_all(struct compare_place *p, const char *parent)
{
    p->parent = parent;
    p->held = -1;
    if (strlen(parent) > COMPARE_PATH - 80) {
        tool_message(parent, "the name is too long");
        return TOOL_FAILED;
    }
    (void)snprintf(p->dir, sizeof(p->dir), "%s/" NAME, parent);
    (void)snprintf(p->mark, sizeof(p->mark), "%s/" NAME "/made-by-cachemax-compare", parent);
    (void)snprintf(p->data, sizeof(p->data), "%s/" NAME "/data", parent);
    (void)snprintf(p->pool, sizeof(p->pool), "%s/" NAME "/pool", parent);
    if (os_is_directory(parent))
        return TOOL_OK;
    tool_message(parent, "there is no such directory");
    return TOOL_FAILED;
}

void place_end(struct compare_place *p)
{
    char unfinished[COMPARE_PATH];
    int error;

    if (p->held == -1)
        return;
    (void)snprintf(unfinished, sizeof(unfinished), "%s.cachemax-new", p->pool);
    (void)os_remove_file(p->data);
    (void)os_remove_file(p->pool);
    (void)os_remove_file(unfinished); /* of a create that was killed */
    os_close_file(p->held);
    p->held = -1;
    (void)os_remove_file(p->mark);
    error = os_remove_directory(p->dir);
    if (error != 0)
        tool_message(p->dir, "cannot be removed: %s; look what is in it, and remove it yourself",
                     os_error_text(error));
}

/* Removes the directory of a killed run. TOOL_OK if there is none any more. */
static int sweep(struct compare_place *p)
{
    int error;

    if (!os_is_directory(p->dir))
        return TOOL_OK;
    error = os_hold_file(p->mark, false, &p->held);
    if (error != 0) {
        tool_message(p->dir,
                     "is in use by another 'cachemax compare', or was made by somebody else: %s",
                     os_error_text(error));
        return TOOL_FAILED;
    }
    place_end(p);
    return os_is_directory(p->dir) ? TOOL_FAILED : TOOL_OK;
}

int place_clean(struct compare_place *p, const char *parent)
{
    int rc = name_all(p, parent);

    if (rc == TOOL_OK && !os_is_directory(p->dir))
        tool_message(parent, "nothing of 'cachemax compare' is there");
    return rc == TOOL_OK ? sweep(p) : rc;
}

int place_begin(struct compare_place *p, const char *parent)
{
    int error, rc = name_all(p, parent);

    if (rc == TOOL_OK)
        rc = sweep(p);
    if (rc != TOOL_OK)
        return rc;
    error = os_make_directory(p->dir);
    if (error != 0) {
        tool_message(p->dir, "cannot be made: %s", os_error_text(error));
        return TOOL_FAILED;
    }
    error = os_hold_file(p->mark, true, &p->held);
    if (error != 0) {
        tool_message(p->mark, "cannot be made: %s", os_error_text(error));
        (void)os_remove_directory(p->dir);
        return TOOL_FAILED;
    }
    return TOOL_OK;
}

static int fill(FILE *file, uint64_t bytes)
{
    uint64_t state = cm_now() * 2 + 1, *piece = malloc(PIECE);
    bool well = piece != NULL;

    for (uint64_t done = 0; well && done < bytes && !os_interrupted(); done += PIECE) {
        for (size_t i = 0; i < PIECE / sizeof(*piece); i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece[i] = state;
        }
        well = fwrite(piece, 1, PIECE, file) == PIECE;
    }
    free(piece);
    return well ? TOOL_OK : TOOL_FAILED;
}

int place_write(const struct compare_place *p, uint64_t bytes)
{
    FILE *file;
    intptr_t f;
    int error = os_make_file(p->data, &file), rc;

    if (error != 0) {
        tool_message(p->data, "cannot be made: %s", os_error_text(error));
        return TOOL_FAILED;
    }
    rc = fill(file, bytes);
    if (fclose(file) != 0 || rc != TOOL_OK) {
        tool_message(p->data, "cannot be written; is the volume full?");
        return TOOL_FAILED;
    }
    error = os_open_file(p->data, &f);
    if (error == 0) {
        error = os_sync_file(f);
        os_close_file(f);
    }
    if (error == 0)
        return TOOL_OK;
    tool_message(p->data, "cannot be brought to its volume");
    return TOOL_FAILED;
}
