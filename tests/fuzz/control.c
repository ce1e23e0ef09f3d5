/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control.c - fuzz target: both ends of a mount's control socket.
 *
 * The first byte says which end. The mount's: the head of a request. The command's: the answer, in
 * pieces as the input says. What the command takes from it must be bounded, and strings must end.
 */
#include "fuzz.h"

#include "tool/control/control.h"

#include "control_head.h"

static struct fuzz_input *answer;

int __wrap_os_send(intptr_t stream, const void *data, size_t len); /* NOLINT: the linker's names */
int64_t __wrap_os_receive(intptr_t stream, void *buf, size_t len, int seconds,
                          int *error);      /* NOLINT */
void __wrap_os_disconnect(intptr_t stream); /* NOLINT */

int __wrap_os_send(intptr_t stream, const void *data, size_t len) /* NOLINT */
{
    (void)stream, (void)data, (void)len;
    return 0;
}

int64_t __wrap_os_receive(intptr_t stream, void *buf, size_t len, int seconds,
                          int *error) /* NOLINT */
{
    const uint8_t *bytes;
    const size_t piece = 1 + take_byte(answer);
    const size_t n = take_bytes(answer, piece < len ? piece : len, &bytes);

    (void)stream, (void)seconds;
    *error = 0;
    if (n > 0)
        memcpy(buf, bytes, n);
    return (int64_t)n;
}

void __wrap_os_disconnect(intptr_t stream) /* NOLINT */
{
    (void)stream;
}

static void on_is(void *ctx, const char *name, const char *value)
{
    struct control_quota q;
    struct control_limit limit = { 0 };
    uint64_t number;

    (void)ctx;
    FUZZ_CHECK(strlen(name) + strlen(value) < sizeof(((struct control *)0)->in));
    (void)control_number(value, &number);
    if (control_quota(value, &q))
        FUZZ_CHECK(q.path > value && q.path <= value + strlen(value));
    control_limit_take(&limit, value);
    FUZZ_CHECK(memchr(limit.path, 0, sizeof(limit.path)) != NULL);
}

static int on_at(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx;
    return done > total;
}

static void ask(struct fuzz_input *in)
{
    static struct control c;
    const struct control_listener listener = { .is = on_is, .at = on_at };
    struct control_end end;

    answer = in;
    memset(&c, 0, sizeof(c));
    c.open = true;
    for (unsigned i = 0; i < 3 && c.open; i++)
        if (control_ask(&c, "cached", 0, "a/path", OS_FOREVER, &listener, &end) == 0)
            FUZZ_CHECK(memchr(end.text, 0, sizeof(end.text)) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = { data, size };
    struct control_head h;
    char *line;

    if (take_byte(&in) & 1) {
        ask(&in);
        return 0;
    }
    line = malloc(in.left + 1);
    FUZZ_CHECK(line != NULL);
    memcpy(line, in.at, in.left);
    line[in.left] = '\0';
    if (control_head_read(line, &h)) {
        FUZZ_CHECK(h.len < 4096 && memchr(h.verb, 0, sizeof(h.verb)) && h.verb[0]);
        FUZZ_CHECK(strspn(h.verb, "abcdefghijklmnopqrstuvwxyz0123456789") == strlen(h.verb));
    }
    free(line);
    return 0;
}
