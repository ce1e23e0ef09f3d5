/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control.c - the tool's end of the control socket of a mount: requests, and answers line by line.
 *
 * A socket is believed if the user of the mount, or root, is behind it: the system tells who that
 * is. What comes from there is bounded, and is never printed as it is.
 *
 * Who: control/.
 */
#include "tool/control/control.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX ".control"
#define AGAIN_SECONDS 0.2
#define POOL_SECONDS 10

const char *control_error_text(int error)
{
    switch (error) {
    case CONTROL_STRANGER:
        return "its control socket belongs to another user";
    case CONTROL_ENDED:
        return "the mount has ended, or has too much to do";
    case CONTROL_JUNK:
        return "its control socket answers something else";
    case CONTROL_STOPPED:
        return "stopped";
    case CONTROL_AWAY:
        return "the service of the mount does not answer";
    case CONTROL_CROWDED:
        return "the service of the mount has too many clients: raise \"clients\" in its "
               "configuration";
    case OS_TIMED_OUT:
        return "the mount does not answer in time";
    case OS_INTERRUPTED:
        return "interrupted";
    case CONTROL_DEAD:
    case CONTROL_TAKEN:
        return "its process is gone";
    case CONTROL_OTHER:
        return "its pool file is not at its path any more, and another mount uses the one that is "
               "there now: unmount it, and mount it with its own from where that was moved to, or "
               "with another one";
    default:
        return os_error_text(error);
    }
}

bool control_is_away(int code)
{
    return code == CONTROL_AWAY || code == CONTROL_CROWDED;
}

/* With a service the control socket is beside the service's socket, and has the device in its name,
 * because several mounts use one service. Its socket may be away. NULL: no memory. */
static char *service_socket(const struct os_mount *m)
{
    const size_t n = strlen(m->source) + sizeof(m->device) + sizeof(SUFFIX) + 1;
    char *path = malloc(n);

    if (path)
        (void)snprintf(path, n, "%s.%s" SUFFIX, m->source, m->device);
    return path;
}

/* What cannot be looked at is not gone. Nor is the pool of a service, whose socket may be. */
bool control_pool_is_gone(const struct os_mount *m)
{
    char *socket, *real = NULL;
    uint64_t id;
    int error;

    if (m->source[0] != '/' || !(socket = service_socket(m)))
        return false;
    error = os_is_socket(socket) ? 0 : os_locate(m->source, &id, &real);
    free(socket);
    free(real);
    return error && os_is_refused(error); /* there is no such file */
}

/* The control socket of a pool; free it. It is beside the pool itself, whatever links lead to it. A
 * pool that is gone has none. NULL: no memory. */
static char *control_path(const char *pool)
{
    char *real = os_real_path(pool), *path;
    const char *at = real ? real : pool;
    const size_t n = strlen(at);

    path = malloc(n + sizeof(SUFFIX));
    if (path) {
        memcpy(path, at, n);
        memcpy(path + n, SUFFIX, sizeof(SUFFIX));
    }
    free(real);
    return path;
}

/* Why nobody listens beside the pool. Of a service's pool nobody does: its socket has another name.
 * What this user may write tells only of his own mounts. */
static const char *why_no_socket(const struct os_mount *m)
{
    if (os_is_directory(m->source))
        return CONTROL_UNTOLD;

    char *const real = os_is_socket(m->source) ? NULL : os_real_path(m->source);
    char *const path = control_path(m->source);
    char parent[CONTROL_PATH_MAX];
    uint64_t size;
    const char *why =
        "its control socket is gone: unmount it and mount it again; what is cached stays";

    if (real)
        os_parent(real, parent, sizeof(parent));
    if (real && path && (os_file_size(path, &size) || os_is_directory(path)))
        why = "the file POOL.control beside its pool is no socket: delete it, then unmount it and "
              "mount it again; what is cached stays";
    else if (real && os_is_user(m->user) && os_is_directory(parent) && !os_may_write(parent))
        why = "its control socket could not be made: the directory of its pool may not be written "
              "by this user; allow that, then unmount it and mount it again";
    free(real);
    free(path);
    return why;
}

const char *control_why(const struct os_mount *m, int error)
{
    if (error <= 0 || !os_is_refused(error))
        return control_error_text(error);
    return control_pool_is_gone(m)
               ? "its pool file is not at its path any more: unmount it; if the file was moved, "
                 "mount it from there, and what is cached stays, else with another pool"
               : why_no_socket(m);
}

const char *control_after_why(int error)
{
    return error > 0 && !os_is_refused(error)
               ? ": its owner has no control socket, or you are not its user"
               : "";
}

void control_complain(const char *path, const struct os_mount *m, int error)
{
    if (control_is_dead(error) && m->point)
        tool_message(path, "the mount is dead (its process is gone): run 'fusermount3 -u %s'%s",
                     m->point, control_after_dead(m, error));
    else
        tool_message(path, "%s%s", control_why(m, error), control_after_why(error));
}

static int open_at(struct control *c, const char *path, uint64_t user)
{
    int error;

    c->open = c->met = false;
    c->have = c->used = 0;
    c->refused.code = 0;
    if (!path)
        return CONTROL_ENDED;
    error = os_connect(path, &c->stream, &c->user, &c->process);
    c->open = c->met = error == 0;
    if (error == 0 && c->user != user && c->user != 0) {
        control_close(c);
        error = CONTROL_STRANGER;
    }
    return error;
}

static int open_beside(struct control *c, const char *pool, uint64_t user)
{
    char *path = control_path(pool);
    const int error = open_at(c, path, user);

    free(path);
    return error;
}

static void on_uuid(void *ctx, const char *name, const char *value)
{
    if (!strcmp(name, "uuid"))
        (void)snprintf(ctx, CONTROL_UUID, "%s", value);
}

bool control_is_pool(const char *pool, const char uuid[CONTROL_UUID])
{
    cm_info info = { .struct_size = sizeof(info) };
    char its[CONTROL_UUID];

    if (cm_pool_info(pool, &info) != 0)
        return true;
    for (size_t i = 0; i < sizeof(info.uuid); i++)
        (void)snprintf(its + 2 * i, 3, "%02x", info.uuid[i]);
    return !strcmp(uuid, its);
}

int control_has_pool(struct control *c, const char *pool, int seconds)
{
    char uuid[CONTROL_UUID] = "";
    const struct control_listener listener = { .is = on_uuid, .ctx = uuid };
    struct control_end end = { .code = 0 };
    int error = control_ask(c, "status", 0, "", seconds, &listener, &end);

    if (error == 0 && end.code == CONTROL_CROWD)
        c->refused = end;
    if (error == 0 && end.code == 0 && !control_is_pool(pool, uuid))
        error = CONTROL_OTHER;
    if (error)
        control_close(c);
    return error;
}

int control_open(struct control *c, const char *pool, uint64_t user, int seconds)
{
    const int error = open_beside(c, pool, user);

    return error ? error : control_has_pool(c, pool, seconds);
}

static void on_mount(void *ctx, const char *name, const char *value)
{
    if (!strcmp(name, "device"))
        (void)snprintf(ctx, sizeof(((struct os_mount *)NULL)->device), "%s", value);
}

/* Beside the path of a pool there may be the socket of another mount by now, which has another pool
 * at that path. A mount that is too old to tell is believed. */
static int is_of(struct control *c, const struct os_mount *m, int seconds)
{
    char device[sizeof(m->device)] = "";
    const struct control_listener listener = { .is = on_mount, .ctx = device };
    struct control_end end = { .code = 0 };
    int error = control_ask(c, "mount", 0, "", seconds, &listener, &end);

    if (error == 0 && end.code != CM_ENOTSUP)
        c->refused = end;
    if (error == 0 && device[0] && m->device[0] && strcmp(device, m->device) != 0)
        error = CONTROL_OTHER;
    if (error)
        control_close(c);
    return error;
}

static int open_mount(struct control *c, const struct os_mount *m, int seconds)
{
    char *path = service_socket(m);
    int error;

    if (!path)
        return CONTROL_ENDED;
    error = os_is_socket(path) ? open_at(c, path, m->user) : open_beside(c, m->source, m->user);
    free(path);
    return error ? error : is_of(c, m, seconds);
}

/* Does somebody else have what the dead mount had? Who may not connect to the socket does not know;
 * he may see it by the pool. A refused connection means that it is the dead mount's own. */
static bool is_taken(const struct control *c, const struct os_mount *m, int error)
{
    cm_info info = { .struct_size = sizeof(info) };

    return c->met ||
           (!os_is_refused(error) && cm_pool_info(m->source, &info) == 0 && info.owned != 0);
}

/* When a mount is dead, another one may have its pool. It answers at its socket or does not, has
 * too many clients, or is another user's: the mount is dead all the same. */
int control_open_mount(struct control *c, const struct os_mount *m, int seconds)
{
    const int error = open_mount(c, m, seconds);

    if ((error == 0 && c->refused.code == 0) || !m->point || !os_mount_is_dead(m->point))
        return error;
    control_close(c);
    return is_taken(c, m, error) ? CONTROL_TAKEN : CONTROL_DEAD;
}

bool control_pool_is_lost(const struct os_mount *m)
{
    struct control *c;
    bool lost = control_pool_is_gone(m);

    if (lost || !(c = calloc(1, sizeof(*c))))
        return lost;
    lost = control_open_mount(c, m, POOL_SECONDS) == 0 &&
           control_has_pool(c, m->source, POOL_SECONDS) == CONTROL_OTHER;
    control_close(c);
    free(c);
    return lost;
}

bool control_is_dead(int error)
{
    return error == CONTROL_DEAD || error == CONTROL_TAKEN;
}

const char *control_after_dead(const struct os_mount *m, int error)
{
    if (control_pool_is_gone(m))
        return "; its pool file is not at its path any more, too: if it was moved, mount it from "
               "there, and what is cached stays; if it was removed, mount another pool";
    return error == CONTROL_TAKEN ? "; another mount uses its pool: mount it again with another "
                                    "one, or when that mount has ended"
                                  : ", then mount it again; what is cached stays";
}

void control_close(struct control *c)
{
    if (c->open)
        os_disconnect(c->stream);
    c->open = false;
}

void control_enough(struct control *c)
{
    os_end_sending(c->stream);
}

bool control_number(const char *text, uint64_t *value)
{
    uint64_t v = 0;
    const char *p = text;

    for (; *p >= '0' && *p <= '9'; p++) {
        const uint64_t digit = (uint64_t)(*p - '0');

        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *value = v;
    return p > text && (*p == '\0' || *p == ' ');
}

bool control_quota(const char *text, struct control_quota *q)
{
    const char *most = strchr(text, ' '), *path = most ? strchr(most + 1, ' ') : NULL;

    if (!path || !control_number(text, &q->used) || !control_number(most + 1, &q->most))
        return false;
    q->path = path + 1;
    return true;
}

void control_limit_take(struct control_limit *l, const char *text)
{
    struct control_quota q;

    if (!control_quota(text, &q))
        return;
    l->most = q.most;
    (void)snprintf(l->path, sizeof(l->path), "%s", q.path);
}

/* Undoes %xx in place. */
static void unescape(char *text)
{
    char *w = text;

    for (; *text; text++) {
        const int high = *text == '%' ? tool_hex(text[1]) : -1,
                  low = high < 0 ? -1 : tool_hex(text[2]);

        if (low < 0) {
            *w++ = *text;
        } else {
            *w++ = (char)(high * 16 + low);
            text += 2;
        }
    }
    *w = '\0';
}

/* The next line, cut off at its end. NULL: *error says why there is none. Each part of it may take
 * so many seconds, and all of it until `until`, a time of cm_now(); 0: for ever. Who answers a byte
 * a second, or lines without end, holds nobody up. */
static char *next_line(struct control *c, int seconds, uint64_t until, int *error)
{
    char *end;
    int64_t n;

    for (;;) {
        if (until && cm_now() >= until) {
            *error = OS_TIMED_OUT;
            return NULL;
        }
        end = memchr(c->in + c->used, '\n', c->have - c->used);
        if (end) {
            char *line = c->in + c->used;

            *end = '\0';
            c->used = (size_t)(end - c->in) + 1;
            return line;
        }
        memmove(c->in, c->in + c->used, c->have - c->used);
        c->have -= c->used;
        c->used = 0;
        if (c->have == sizeof(c->in)) {
            *error = CONTROL_JUNK;
            return NULL;
        }
        n = os_receive(c->stream, c->in + c->have, sizeof(c->in) - c->have, seconds, error);
        if (n == 0)
            *error = CONTROL_ENDED;
        if (n <= 0)
            return NULL;
        c->have += (size_t)n;
    }
}

/* "end CODE TEXT" */
static bool read_end(const char *line, struct control_end *end)
{
    const bool negative = *line == '-';
    uint64_t code;
    char *space = strchr(line, ' ');

    if (!space || !control_number(line + negative, &code) || code > 1000000)
        return false;
    end->code = negative ? -(int)code : (int)code;
    (void)snprintf(end->text, sizeof(end->text), "%s", space + 1);
    return true;
}

/* 0: the answer goes on; 1: that was its end; or an error. */
static int take_line(char *line, const struct control_listener *listener, struct control_end *end)
{
    uint64_t done, total;
    char *space;

    if (!strncmp(line, "end ", 4))
        return read_end(line + 4, end) ? 1 : CONTROL_JUNK;
    space =
        strchr(line + (strncmp(line, "at ", 3) == 0 || strncmp(line, "is ", 3) == 0 ? 3 : 0), ' ');
    if (!space)
        return CONTROL_JUNK;
    if (!strncmp(line, "at ", 3)) {
        if (!control_number(line + 3, &done) || !control_number(space + 1, &total))
            return CONTROL_JUNK;
        return listener && listener->at && listener->at(listener->ctx, done, total)
                   ? CONTROL_STOPPED
                   : 0;
    }
    if (strncmp(line, "is ", 3) != 0)
        return CONTROL_JUNK;
    *space = '\0';
    unescape(space + 1);
    if (listener)
        listener->is(listener->ctx, line + 3, space + 1);
    return 0;
}

int control_ask(struct control *c, const char *verb, uint64_t number, const char *path, int seconds,
                const struct control_listener *listener, struct control_end *end)
{
    char head[128];
    const int n =
        snprintf(head, sizeof(head), "cachemax 1 %s %" PRIu64 " %zu\n", verb, number, strlen(path));
    const bool endless = listener && listener->to_the_end;
    const uint64_t until =
        seconds < 0 || endless ? 0 : cm_now() + (uint64_t)seconds * UINT64_C(1000000000);
    int error = 0, done = 0;
    bool enough = false;

    if (c->refused.code) {
        *end = c->refused;
        return 0;
    }
    /* If the mount takes no more, what it has said before tells why. */
    if (os_send(c->stream, head, (size_t)n) == 0)
        (void)os_send(c->stream, path, strlen(path));
    while (error == 0 && done == 0) {
        char *line = next_line(c, seconds, until, &error);

        if (!line && error == OS_INTERRUPTED && endless && !enough) {
            enough = true;
            error = 0;
            os_forget_interrupt();
            control_enough(c);
        }
        if (line)
            done = take_line(line, listener, end);
        if (done < 0)
            error = done;
    }
    if (error)
        control_close(c);
    return error;
}

static void say_waits(struct control *c, const struct os_mount *m, struct tool_progress *progress)
{
    if (!c->waited && !progress->quiet) {
        progress_end(progress);
        tool_message(m->point,
                     "its pool gets another size at this moment; this command waits for the end");
    }
    c->waited = true;
}

int control_ask_again(struct control *c, const struct os_mount *m, const char *verb,
                      uint64_t number, const char *path, const struct control_listener *listener,
                      struct tool_progress *progress, struct control_end *end)
{
    int error = control_ask(c, verb, number, path, OS_FOREVER, listener, end);

    while (error == 0 && end->code == CONTROL_RESIZING) {
        say_waits(c, m, progress);
        if (!os_interrupted())
            os_sleep(AGAIN_SECONDS);
        error = os_interrupted() ? CONTROL_STOPPED
                                 : control_ask(c, verb, number, path, OS_FOREVER, listener, end);
    }
    return error;
}
