/* SPDX-License-Identifier: BSD-2-Clause
 *
 * hashes.h - sets of 64-bit hashes, in memory and in files.
 */
#ifndef HASHES_H
#define HASHES_H

#include <stdbool.h>
#include <stdint.h>

/* A set; all zero is an empty one. */
struct hashes {
    uint64_t *at; /* open addressing; zero: free */
    uint64_t size, used;
};

/* False: it was in the set already. */
bool hashes_add(struct hashes *h, uint64_t hash);
/* Writes the set to a file, sorted, and empties it. */
void hashes_save(struct hashes *h, const char *path);
/* Merges sorted files into one with the distinct hashes. Returns how many they are. */
uint64_t hashes_merge(const char *out, char **in, unsigned n);

#endif
