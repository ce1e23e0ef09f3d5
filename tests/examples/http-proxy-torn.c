/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http-proxy-torn.c - torn.c of examples/http-proxy, with a clock that the test sets: which objects
 * are passed on without the cache, and for how long. Run by http-proxy-test.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <torn.h>

#define SECOND UINT64_C(1000000000)

static const cm_file_id one = { 1, 2 }, other = { 1, 3 };
static uint64_t now = 1000 * SECOND;

static void is(int line, const char *what, uint64_t got, uint64_t wanted)
{
    if (got == wanted)
        return;
    printf("line %d: %s is %llu, not %llu\n", line, what, (unsigned long long)got,
           (unsigned long long)wanted);
    exit(1);
}
#define IS(what, wanted) is(__LINE__, #what, what, wanted)

/* 0: an ETag that is not known */
static void breaks(struct torn *t, const cm_file_id *id, char had, char has, uint64_t came_at)
{
    cm_validator v = CM_VALIDATOR_INIT, w = CM_VALIDATOR_INIT;

    cm_validator_set_proof(&v, &had, 1);
    if (has)
        cm_validator_set_proof(&w, &has, 1);
    torn_note(t, id, v.proof, w.proof, came_at, now);
}

/* Seconds for which a request that comes now is passed on. */
static uint64_t window(const struct torn *t, const cm_file_id *id)
{
    uint64_t at = now;

    while (torn_passes(t, id, at) && at < now + 2000 * SECOND)
        at += SECOND;
    return (at - now) / SECOND;
}

/* It breaks off at each change, and is never passed on. */
static void test_changes(void)
{
    struct torn t = { 0 };

    IS(torn_knows(&t, &one), false);
    for (char version = 'a'; version < 'z'; version++) {
        const uint64_t began = now;
        for (int i = 0; i < 3; i++) { /* responses that have begun before */
            now += SECOND;
            breaks(&t, &one, version, (char)(version + 1), began);
            IS(window(&t, &one), 0);
        }
        IS(torn_knows(&t, &one), true);
        IS(torn_knows(&t, &other), false);
    }
}

/* Each break off by chance makes the time without them twice as long. */
static void test_two_etags(bool known)
{
    static const unsigned wanted[] = { 10, 20, 40, 80, 160, 300, 300, 300 };
    struct torn t = { 0 };

    breaks(&t, &one, 'a', known ? 'b' : 0, now);
    IS(window(&t, &one), 0);
    now += SECOND;
    if (!known) { /* an answer 412 without an ETag */
        breaks(&t, &one, 'b', 0, now - 1);
        IS(window(&t, &one), 0);
    }
    for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        now += SECOND;
        breaks(&t, &one, i % 3 ? 'a' : 'b', !known ? 0 : i % 3 ? 'b' : 'a', now - 1);
        IS(window(&t, &one), wanted[i]);
        IS(window(&t, &other), 0);
        breaks(&t, &one, 'a', 'b', now - SECOND); /* of a request from before: counts once */
        IS(window(&t, &one), wanted[i]);
        now += wanted[i] * SECOND;
        IS(torn_passes(&t, &one, now - 1), true);
        IS(torn_passes(&t, &one, now), false);
    }
    now += TORN_ROW_NS + 1;
    breaks(&t, &one, 'a', 'b', now - 1);
    IS(window(&t, &one), 10);
}

/* HEAD has always one, and GET always the other. */
static void test_by_method(void)
{
    struct torn t = { 0 };

    breaks(&t, &one, 'a', 0, now - 1);
    now += SECOND;
    breaks(&t, &one, 'a', 0, now - 1);
    IS(window(&t, &one), 10);
    breaks(&t, &other, 'a', 'b', now - 1); /* takes its place */
    IS(window(&t, &one) + window(&t, &other), 0);
}

int main(void)
{
    test_changes();
    test_two_etags(true);
    test_two_etags(false);
    test_by_method();
    return 0;
}
