/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_config.c - the configuration file of the service: what it may say, and what the service says
 * if it may not. Each message has the file, the line and what should be there.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

#include "../os.h"
#include "../../examples/service/config.h"

static char path[512];
static struct config config;
static char why[512];

/* Reads a configuration of `n` bytes. */
static bool reads_bytes(const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    CHECK(f != NULL && fwrite(text, 1, n, f) == n && fclose(f) == 0);
    memset(&config, 0x55, sizeof(config));
    memset(why, 0, sizeof(why));
    return config_read(&config, path, why);
}
static bool reads(const char *text)
{
    return reads_bytes(text, strlen(text));
}

/* It is refused. Line 0: the message names no line. */
static bool is_refused(const char *text, size_t n, unsigned line, const char *wrong)
{
    char want[1100];
    if (line > 0)
        (void)snprintf(want, sizeof(want), "%s:%u: %s", path, line, wrong);
    else
        (void)snprintf(want, sizeof(want), "%s: %s", path, wrong);
    if (reads_bytes(text, n))
        return false;
    if (strcmp(why, want) != 0)
        printf("# \"%s\", not \"%s\"\n", why, want);
    return strcmp(why, want) == 0;
}
#define REFUSED(text, line, wrong) CHECK(is_refused(text, strlen(text), line, wrong))

#define BOTH "pool = /p\nsocket = /s\n"
#define ZERO_BYTE "there is a zero byte; save the file as UTF-8, not as UTF-16 (\"Unicode\")"
#define QUOTES "write it without quotes, also if there are blanks in it"
#define KEY_VALUE "it should be \"KEY = VALUE\""
#define NO_KEY "no option has this name: see cachemax-service(1), docs/service.md"
#define ABSOLUTE "pool: it must be an absolute path"
#define CLIENTS "clients: it must be a number from 1 to 1000"
#define FILES "files: it must be a number from 1 to 10000000"

static void set_up(void)
{
    if (!path[0])
        CHECK(os_make_file(path, sizeof(path), "config"));
}

static void test_values(void)
{
    set_up();
    CHECK(reads(BOTH));
    CHECK(strcmp(config.pool, "/p") == 0 && strcmp(config.socket, "/s") == 0);
    CHECK_EQ(config.clients, 64);
    CHECK_EQ(config.files, 65536);
    CHECK(reads("files = 10000000\nclients = 1000\nsocket = /s\npool = /p\n"));
    CHECK_EQ(config.clients, 1000);
    CHECK_EQ(config.files, 10000000);
    CHECK(strcmp(config.key_file, "") == 0);
    CHECK(reads(BOTH "key_file = /k\n") && strcmp(config.key_file, "/k") == 0);
    REFUSED(BOTH "key_file = k\n", 3, "key_file: it must be an absolute path");
    CHECK(reads(BOTH "clients = 1\nfiles = 0001"));
    CHECK_EQ(config.clients, 1);
    CHECK_EQ(config.files, 1);
}

/* Blanks, comments, empty lines, ends of lines, no end of the last one. */
static void test_layout(void)
{
    static const char *const same[] = {
        "pool=/a b\nsocket=/s",
        "\n\n  pool\t= \t/a b \t\n\t\nsocket =/s\n\n",
        "# first\npool = /a b # a comment\n   # pool = /other\nsocket = /s #\n#",
        "pool = /a b\r\nsocket = /s\r\n",
        "\xef\xbb\xbfpool = /a b\nsocket = /s\n", /* the mark of an editor */
        "\xef\xbb\xbf# first\npool = /a b\nsocket = /s\n",
        "\r\npool = /a b\r\n# a comment\r\nsocket = /s # another\r\n",
    };
    set_up();
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        CASE("i %zu", i);
        CHECK(reads(same[i]));
        CHECK(strcmp(config.pool, "/a b") == 0 && strcmp(config.socket, "/s") == 0);
    }
    /* A path is bytes: what is no UTF-8 stays as it is. What follows the first "=" is the value. */
    CHECK(reads("pool = /\xff\xfe\x80=x\nsocket = /\xc3\xbc\n"));
    CHECK(strcmp(config.pool, "/\xff\xfe\x80=x") == 0 && strcmp(config.socket, "/\xc3\xbc") == 0);
}

static void test_lines(void)
{
    static const char zero[] = "pool = /p\nsocket = /s\0x\n", last[] = "pool = /p\nsocket = /s\0";
    static const char utf16[] = "\xff\xfep\0o\0o\0l\0 \0=\0";
    set_up();
    REFUSED("pool\n", 1, KEY_VALUE);
    REFUSED(BOTH "clients 7\n", 3, KEY_VALUE);
    REFUSED(BOTH "clients # = 7\n", 3, KEY_VALUE);
    REFUSED("# a comment\n\nColour = red\n", 3, NO_KEY);
    REFUSED(BOTH "Pool = /p\n", 3, NO_KEY);
    REFUSED(BOTH " = 7\n", 3, NO_KEY);
    REFUSED(BOTH "cl\xff = 7\n", 3, NO_KEY);
    REFUSED(BOTH "socket = /s\n", 3, "socket: it was there before");
    REFUSED("clients = 7\nclients = 8\n", 2, "clients: it was there before");
    CHECK(is_refused(zero, sizeof(zero) - 1, 2, ZERO_BYTE));
    CHECK(is_refused(last, sizeof(last) - 1, 2, ZERO_BYTE));
    /* An editor of Windows has saved it as "Unicode". */
    CHECK(is_refused(utf16, sizeof(utf16) - 1, 1, ZERO_BYTE));
    REFUSED("", 0, "\"pool = FILE\" is missing");
    REFUSED("# nothing\n", 0, "\"pool = FILE\" is missing");
    REFUSED("socket = /s\n", 0, "\"pool = FILE\" is missing");
    REFUSED("pool = /p\nclients = 3", 0, "\"socket = PATH\" is missing");
}

static void test_numbers(void)
{
    static const char *const bad[] = { "",    "0",   "1001", "-1",         "+5",
                                       "5 5", "0x5", "5k",   "4294967297", "99999999999999999999",
                                       "1e2", "7,5", "many", "\xff" };
    char text[200];
    set_up();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CASE("\"%s\"", bad[i]);
        (void)snprintf(text, sizeof(text), BOTH "\nclients = %s\n", bad[i]);
        REFUSED(text, 4, CLIENTS);
    }
    REFUSED("files = 0\n" BOTH, 1, FILES);
    REFUSED("files = 10000001\n" BOTH, 1, FILES);
    REFUSED("files =\n" BOTH, 1, FILES);
}

static void test_paths(void)
{
    static char text[4096];
    set_up();
    REFUSED("pool = p\n", 1, ABSOLUTE);
    REFUSED("pool =\n", 1, ABSOLUTE);
    REFUSED("pool = /p\nsocket = ./s\n", 2, "socket: it must be an absolute path");
    REFUSED(BOTH "folder = \"/a b\"\n", 3, "folder: " QUOTES);
    REFUSED("pool = \"/p\"\n", 1, "pool: " QUOTES);
    for (unsigned n = 1023; n <= 1024; n++) { /* of the path */
        CASE("%u", n);
        memset(text, 'x', sizeof(text));
        memcpy(text, "pool = /", 8);
        strcpy(text + 7 + n, "\nsocket = /s\n");
        if (n == 1023) {
            CHECK(reads(text));
            CHECK_EQ(strlen(config.pool), n);
        } else {
            REFUSED(text, 1, "pool: the path is too long");
        }
    }
    for (unsigned n = 2047; n <= 2048; n++) { /* of a line, which is a comment */
        CASE("%u", n);
        memset(text, '#', sizeof(text));
        strcpy(text + n, "\n" BOTH);
        if (n == 2047)
            CHECK(reads(text));
        else
            REFUSED(text, 1, "the line is too long");
        text[n] = 0; /* the same without an end of the line */
        REFUSED(text, n == 2047 ? 0 : 1,
                n == 2047 ? "\"pool = FILE\" is missing" : "the line is too long");
    }
}

#define MARK "\xef\xbb\xbf"
/* The lines of a folder leave the file. All others stay, to the byte. */
static void test_remove(void)
{
    static const struct {
        const char *text, *rest; /* NULL: it has no such line */
    } one[] = {
        { BOTH "folder = /d\n", BOTH },
        { "folder=/d # ours\r\n" BOTH, BOTH },
        { MARK "folder = /d\n" BOTH, MARK BOTH },
        { MARK "folder = /d", MARK },
        { MARK BOTH "\tfolder = /d\n# folder = /d\n", MARK BOTH "# folder = /d\n" },
        { MARK "# folder = /d\n" BOTH, NULL },
        { BOTH MARK "folder = /d\n", NULL },
        { BOTH "folder = /de\n", NULL },
        { "", NULL },
    };
    char want[1100];
    set_up();
    for (size_t i = 0; i < sizeof(one) / sizeof(one[0]); i++) {
        const char *const rest = one[i].rest ? one[i].rest : one[i].text;
        char got[512];
        size_t n;
        FILE *f;
        CASE("i %zu", i);
        (void)reads(one[i].text);
        CHECK_EQ(config_remove_folder(path, "/d", why), one[i].rest != NULL);
        (void)snprintf(want, sizeof(want), "%s: it has no line \"folder = /d\"", path);
        if (!one[i].rest)
            CHECK(strcmp(why, want) == 0);
        f = fopen(path, "rb");
        REQUIRE(f != NULL);
        n = fread(got, 1, sizeof(got), f);
        CHECK_EQ(fclose(f), 0);
        CHECK(n == strlen(rest) && memcmp(got, rest, n) == 0);
    }
}

/* The file is not there, or is none. */
static void test_no_file(void)
{
    char dir[512];
    set_up();
    CHECK_EQ(remove(path), 0);
    CHECK(!config_read(&config, path, why));
    CHECK(strncmp(why, path, strlen(path)) == 0);
    CHECK(strcmp(why + strlen(path), ": No such file or directory") == 0);
    REQUIRE(os_make_dir(dir, sizeof(dir), NULL, "config"));
    CHECK(!config_read(&config, dir, why));
    CHECK(strncmp(why, dir, strlen(dir)) == 0 && why[strlen(dir)] == ':');
    CHECK(os_remove_dir(dir));
    memset(dir, 'x', sizeof(dir) - 1); /* a long name is cut, its reason is not */
    dir[sizeof(dir) - 1] = 0;
    CHECK(!config_read(&config, dir, why));
    CHECK(strlen(why) > 302 && memcmp(why + 300, ": ", 2) == 0);
}

static const struct harness_test tests[] = {
    TEST(values), TEST(layout), TEST(lines),   TEST(numbers),
    TEST(paths),  TEST(remove), TEST(no_file),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
