/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_client_place.c - where a client finds its service, how often it looks, and what it says of a
 * file when it opens it there.
 *
 * The service is made up: client_service.h.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

#include "../../examples/service/os.h"

#include "../../examples/service/client.c"
#include "../../examples/service/client_link.c"
#include "../../examples/service/client_read.c"
#include "../../examples/service/client_steer.c"
#include "../../examples/service/client_through.c"
#undef BLOCK
#include "../../examples/service/client_warm.c"
#include "../../examples/service/failed_posix.c"
#include "../../examples/service/client_socket.c"
#include "../../examples/service/outside_file.c"

#include "client_service.h"

static char home[PATH_MAX];

static void go_home(void)
{
    CHECK_EQ(chdir(home), 0);
}

/* A relative name, and then the program goes elsewhere. It finds the next service all the same, and
 * a sync that failed is noted where that one looks. */
static void test_relative(void)
{
    struct cmc_options o = { .timeout_ms = 60000 };
    char list[120], why[256];
    cmc_client *k;
    cmc_bracket s;
    service_up(false);
    const char *dir = getenv("TMPDIR");
    REQUIRE(getcwd(home, sizeof(home)) != NULL);
    REQUIRE(chdir(dir ? dir : "/tmp") == 0);
    o.where = strrchr(where, '/') + 1;
    REQUIRE(cmc_connect(&o, &k, why) == 0);
    cmc_file *f = open_here(k);
    CHECK_EQ(chdir("/"), 0);
    (void)lose(k->link);
    REQUIRE(cmc_is_connected(k));
    CHECK_EQ(k->links, 2);
    service_down();
    (void)lose(k->link);
    CHECK_EQ(cmc_sync_begin(f, &s), 0);
    CHECK_EQ(cmc_sync_end(f, &s, 0, NULL), CMC_UNTOLD);
    snprintf(list, sizeof(list), "%s.failed", where);
    CHECK_EQ(unlink(list), 0);
    cmc_file_close(f);
    cmc_disconnect(k);
    go_home();
}

/* Relative names that there can be no socket of: below a directory with a long name, and one that
 * is gone. */
static void test_relative_to_nothing(void)
{
    const struct cmc_options o = { .where = "s", .timeout_ms = 100 };
    char path[PATH_MAX], why[256];
    cmc_client *k;
    for (unsigned gone = 0; gone < 2; gone++) {
        CASE("gone %u", gone);
        const char *dir = getenv("TMPDIR");
        snprintf(path, sizeof(path), "%s/%0*d", dir ? dir : "/tmp", gone ? 1 : 110, (int)getpid());
        REQUIRE(getcwd(home, sizeof(home)) != NULL);
        REQUIRE(mkdir(path, 0700) == 0 && chdir(path) == 0);
        if (gone)
            CHECK_EQ(rmdir(path), 0);
        CHECK_EQ(cmc_connect(&o, &k, why), gone ? CM_ENOENT : CM_EINVAL);
        CHECK(strstr(why, gone ? "s: No such file or directory" : "too long") != NULL);
        go_home();
        if (!gone)
            CHECK_EQ(rmdir(path), 0);
    }
}

/* What the program claims of a file reaches the service: to drop a claim may be wrong. */
static void test_flags(void)
{
    const uint32_t flags[] = { 0, CM_SOLE_WRITER, CM_ORIGIN_VOLATILE,
                               CM_SOLE_WRITER | CM_ORIGIN_VOLATILE };
    const cm_file_id id = { .lo = 1 };
    service_up(false);
    cmc_client *k = connect_here();
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        cmc_file *f;
        REQUIRE(cmc_file_open(k, &id, flags[i], identify, NULL, &f) == 0);
        CHECK_EQ(opened_with, flags[i]);
        cmc_file_close(f);
    }
    cmc_disconnect(k);
    service_down();
}

/* Somebody writes the file, and tells nobody, while a client takes its validator. */
static int identify_slowly(void *arg, cm_validator *v)
{
    outside_begin(table_file.at, *(const uint64_t *)arg);
    outside_end(table_file.at, *(const uint64_t *)arg);
    return identify(NULL, v);
}

/* The validator may be older than that write. So the open says how many there were before. */
static void test_open_number(void)
{
    const cm_file_id id = { .lo = 1 };
    uint64_t hash = outside_hash(&id);
    cmc_file *f;
    service_up(false);
    cmc_client *k = connect_here();
    for (unsigned before = 0; before < 3; before++) {
        CASE("before %u", before);
        CHECK_EQ(outside_ended(table_file.at, hash), before);
        REQUIRE(cmc_file_open(k, &id, 0, identify_slowly, &hash, &f) == 0);
        CHECK_EQ(opened_outside, before);
        cmc_file_close(f);
    }
    CHECK_EQ(handles, 3);
    cmc_disconnect(k);
    service_down();
}

/* A service that has too many clients is asked less and less often, up to half a minute; one that
 * is away as often as before. */
static void test_crowded(void)
{
    cmc_client k = { .crowd_ns = RETRY_NS };
    for (unsigned i = 0; i < 12; i++) {
        CASE("i %u", i);
        const uint64_t more = RETRY_NS << i, wait = more < CROWD_NS ? more : CROWD_NS;
        const uint64_t began = os_now_ns();
        settle_link(&k, NULL, CMC_CROWDED, 0);
        CHECK(k.retry_at >= began + RETRY_NS + wait);
        CHECK(k.retry_at <= os_now_ns() + RETRY_NS + wait);
        CHECK_EQ(client_away(&k), CMC_CROWDED);
    }
    settle_link(&k, NULL, CMC_AWAY, 5);
    CHECK(k.retry_at <= os_now_ns() + RETRY_NS + 5 * RETRY_PART);
    const uint64_t began = os_now_ns();
    settle_link(&k, NULL, CMC_CROWDED, 0);
    CHECK(k.retry_at >= began + 2 * RETRY_NS);
    CHECK(k.retry_at <= os_now_ns() + 2 * RETRY_NS);
}

static const struct harness_test tests[] = {
    TEST(relative), TEST(relative_to_nothing), TEST(flags), TEST(open_number), TEST(crowded),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
