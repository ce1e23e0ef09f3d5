/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fuzz.h - what the fuzz targets have in common: the input, taken piece by piece, and checks.
 *
 * A target is one file with LLVMFuzzerTestOneInput(). libFuzzer and AFL++ call it, or main.c does.
 * An input that is used up goes on with zeros, so every input means something.
 */
#ifndef CM_FUZZ_H
#define CM_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t take_byte(struct fuzz_input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static inline uint64_t take_number(struct fuzz_input *in, unsigned bytes)
{
    uint64_t v = 0;

    while (bytes-- > 0)
        v = v << 8 | take_byte(in);
    return v;
}

/* A number from 0 to n - 1. */
static inline uint64_t take_below(struct fuzz_input *in, uint64_t n)
{
    return take_number(in, n > 256 ? 3 : 1) % n;
}

/* The next `most` bytes, or fewer if the input ends before. */
static inline size_t take_bytes(struct fuzz_input *in, size_t most, const uint8_t **bytes)
{
    const size_t n = most < in->left ? most : in->left;

    *bytes = in->at;
    in->at += n;
    in->left -= n;
    return n;
}

/* splitmix64 (Steele, Lea, Flood 2014) */
static inline uint64_t fuzz_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Past stderr, which fuzz_quiet() has sent away. */
static inline void fuzz_say(const char *file, int line, const char *what)
{
    (void)dprintf(2, "%s:%d: not true: %s\n", file, line, what);
}

/* Messages of what is tested go nowhere from now on: they take longer than the rest. */
static inline void fuzz_quiet(void)
{
    static FILE *nowhere;

    if (!nowhere) {
        nowhere = fopen("/dev/null", "we");
        if (nowhere)
            stderr = stdout = nowhere;
    }
}

/* A check that fails ends the process, as a crash does: the fuzzer keeps the input. */
#define FUZZ_CHECK(x)                                                                              \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fuzz_say(__FILE__, __LINE__, #x);                                                      \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* tests/fuzz/file.c: a file in memory that has a path, for parsers that take one. */
const char *fuzz_file(const uint8_t *bytes, size_t n);

#endif
