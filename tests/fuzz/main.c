/* SPDX-License-Identifier: BSD-2-Clause
 *
 * main.c - runs a target where there is no libFuzzer: with gcc, and in the tests.
 *
 * fuzz_TARGET FILE|DIR...: runs the inputs in these files, each once. A FILE.hex is a kept corpus
 * (corpus.py).
 * fuzz_TARGET --seconds N [--seed S] FILE|DIR...: the same, and then random changes of them for
 * about N seconds, without looking at what they reach.
 *
 * The input that is running is in the file $FUZZ_INPUT if that is set: after a crash it is there.
 */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX 65536u
#define INPUTS_MAX 4096u

struct input {
    uint8_t *bytes;
    size_t n;
};
static struct input inputs[INPUTS_MAX];
static size_t count;
static uint64_t state;

static void run(const uint8_t *bytes, size_t n)
{
    const char *const path = getenv("FUZZ_INPUT");
    /* A buffer of its size: what reads behind the end is found. */
    uint8_t *const copy = malloc(n ? n : 1);

    FUZZ_CHECK(copy != NULL);
    if (n > 0)
        memcpy(copy, bytes, n);
    if (path) {
        FILE *const f = fopen(path, "we");

        FUZZ_CHECK(f && fwrite(copy, 1, n, f) == n && fclose(f) == 0);
    }
    (void)LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static int no_input(const char *path)
{
    (void)fprintf(stderr, "%s: cannot be read, or there are too many inputs\n", path);
    return 2;
}

static struct input *new_input(void)
{
    struct input *const in = &inputs[count++];

    in->bytes = malloc(INPUT_MAX);
    FUZZ_CHECK(in->bytes != NULL);
    return in;
}

static int digit(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A kept corpus: a line has the bytes of an input in hex, and perhaps more behind a blank. */
static int add_lines(FILE *f, const char *path)
{
    int c;

    while ((c = getc(f)) != EOF) {
        struct input *in;
        bool is_text = false;

        if (count == INPUTS_MAX)
            return no_input(path);
        for (in = new_input(); c != EOF && c != '\n'; c = getc(f)) {
            const int high = digit(c);

            is_text |= c == ' ';
            if (is_text)
                continue;
            c = getc(f);
            if (high < 0 || digit(c) < 0 || in->n == INPUT_MAX)
                return no_input(path);
            in->bytes[in->n++] = (uint8_t)(high * 16 + digit(c));
        }
    }
    return 0;
}

static int add_file(const char *path)
{
    const char *const end = strrchr(path, '.');
    FILE *const f = fopen(path, "re");
    struct input *in;
    int rc = 0;

    if (!f || count == INPUTS_MAX) {
        if (f)
            (void)fclose(f);
        return no_input(path);
    }
    if (end && !strcmp(end, ".hex")) {
        rc = add_lines(f, path);
    } else {
        in = new_input();
        in->n = fread(in->bytes, 1, INPUT_MAX, f);
    }
    (void)fclose(f);
    return rc;
}

static int add(const char *path)
{
    struct stat st;
    struct dirent **names;
    int n, rc = 0;

    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return add_file(path);
    n = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char name[4096];

        if (names[i]->d_name[0] != '.' && rc == 0 &&
            snprintf(name, sizeof(name), "%s/%s", path, names[i]->d_name) < (int)sizeof(name))
            rc = add_file(name);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return rc;
}

static uint64_t below(uint64_t n)
{
    return fuzz_mix(state++) % n;
}

/* Changes it in some places; it may grow. */
static size_t change(uint8_t *p, size_t n)
{
    for (uint64_t k = 1 + below(8); k > 0; k--) {
        const uint64_t at = below(n + 1), len = below(16) + 1;

        switch (below(5)) {
        case 0: /* a byte more */
            if (n < INPUT_MAX) {
                memmove(p + at + 1, p + at, n - at);
                p[at] = (uint8_t)below(256);
                n++;
            }
            break;
        case 1: /* some bytes less */
            if (at + len <= n) {
                memmove(p + at, p + at + len, n - at - len);
                n -= len;
            }
            break;
        case 2: /* some bytes of another input */
            if (at + len <= n) {
                const struct input *const other = &inputs[below(count)];

                if (other->n >= len)
                    memcpy(p + at, other->bytes + below(other->n - len + 1), len);
            }
            break;
        case 3:
            if (at < n)
                p[at] ^= (uint8_t)(1u << below(8));
            break;
        default:
            if (at < n)
                p[at] = (uint8_t)below(256);
        }
    }
    return n;
}

static uint64_t run_changed(long seconds)
{
    static uint8_t p[INPUT_MAX];
    const time_t end = time(NULL) + seconds;
    uint64_t runs = 0;

    while (time(NULL) < end && count > 0) {
        const struct input *const in = &inputs[below(count)];

        memcpy(p, in->bytes, in->n);
        run(p, change(p, in->n));
        runs++;
    }
    return runs;
}

int main(int argc, char **argv)
{
    long seconds = 0;
    uint64_t runs;
    int rc = 0;

    for (int i = 1; i < argc && rc == 0; i++) {
        if (!strcmp(argv[i], "--seconds") && i + 1 < argc)
            seconds = strtol(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            state = fuzz_mix(strtoull(argv[++i], NULL, 10));
        else
            rc = add(argv[i]);
    }
    if (rc == 0 && count == 0) {
        (void)fprintf(stderr, "usage: %s [--seconds N [--seed S]] FILE|DIR...\n", argv[0]);
        rc = 2;
    }
    for (size_t i = 0; i < count && rc == 0; i++)
        run(inputs[i].bytes, inputs[i].n);
    runs = rc == 0 ? run_changed(seconds) : 0;
    for (size_t i = 0; i < count; i++)
        free(inputs[i].bytes);
    if (rc == 0) /* past stdout, which a target may have sent away */
        (void)dprintf(1, "%zu inputs, %llu changed ones\n1 passed, 0 failed, 0 skipped\n", count,
                      (unsigned long long)runs);
    return rc;
}
