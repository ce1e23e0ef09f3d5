/* SPDX-License-Identifier: BSD-2-Clause
 *
 * truth.c - see truth.h.
 */
#include "truth.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void truth_path(const struct setting *s, char *to, size_t size, const char *name, unsigned f)
{
    if ((size_t)snprintf(to, size, "%s/%s%u", s->dir, name, f) >= size)
        exit(2);
}

static uint64_t mix(unsigned f, uint64_t block, uint64_t version)
{
    struct rng r = { (version * FILES + f) * BLOCKS + block };
    return rng_next(&r);
}

void content_make(unsigned f, uint64_t block, uint64_t version, void *to)
{
    uint64_t word = mix(f, block, version);
    memcpy(to, &version, 8);
    for (uint64_t i = 8; i < BLOCK; i += 8) {
        memcpy((uint8_t *)to + i, &word, 8);
        word = word * UINT64_C(6364136223846793005) + 1;
    }
}

uint64_t content_version(unsigned f, uint64_t block, const void *p, uint64_t n)
{
    uint8_t want[CM_BLOCK_SIZE];
    uint64_t version = 0;
    memcpy(&version, p, n < 8 ? n : 8);
    content_make(f, block, version, want);
    return memcmp(p, want, n) == 0 ? version : 0;
}

void truth_make(struct truth *t, const struct setting *s)
{
    uint8_t block[CM_BLOCK_SIZE];
    char path[512];
    for (unsigned f = 0; f < FILES; f++) {
        uint64_t blocks = BLOCKS / 2 + f * 7;
        truth_path(s, path, sizeof(path), "origin", f);
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
        for (uint64_t b = 0; b < blocks; b++) {
            content_make(f, b, 1, block);
            if (pwrite(fd, block, BLOCK, (off_t)(b * BLOCK)) != (ssize_t)BLOCK)
                perror(path), exit(2);
        }
        if (ftruncate(fd, (off_t)(blocks * BLOCK - 1000)) != 0 || close(fd) != 0)
            perror(path), exit(2);
        t->file[f].next = 2;
    }
}

bool truth_own_validator(unsigned f)
{
    return f == 0 || f == CHANGING;
}

void truth_change_offline(struct truth *t, const struct setting *s, struct rng *r)
{
    uint8_t block[CM_BLOCK_SIZE];
    char path[512];
    unsigned f = (unsigned)rng_below(r, FILES);
    struct truth_file *x = &t->file[f];
    truth_path(s, path, sizeof(path), "origin", f);
    int fd = open(path, O_RDWR);
    uint64_t blocks = (uint64_t)lseek(fd, 0, SEEK_END) / BLOCK;
    if (!truth_own_validator(f) && blocks > 0) {
        uint64_t b = rng_below(r, blocks);
        content_make(f, b, x->next, block);
        if (pwrite(fd, block, BLOCK, (off_t)(b * BLOCK)) != (ssize_t)BLOCK)
            perror(path), exit(2);
        x->version[b] = x->next++;
        x->quiet = 0;
        memset(x->stored, 0, sizeof(x->stored));
    }
    close(fd);
}
