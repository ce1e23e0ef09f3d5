/* SPDX-License-Identifier: BSD-2-Clause
 *
 * through.c - reads a file through a service, and writes it to the standard output.
 *
 *   through FILE SOCKET
 *
 * Shows all that reading needs of cachemax_client.h. The second run finds everything in the pool of
 * the service, as long as that has room. Without a service it reads the file all the same. A
 * program that also writes puts each of its writes between cmc_write_begin() and cmc_write_end();
 * examples/page-store shows the same brackets with a pool of its own.
 */
#define _XOPEN_SOURCE 700 /* pread */
#include <cachemax_client.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int64_t read_origin(void *fd, uint64_t off, void *buf, size_t len)
{
    /* On a local file system it is short only at the end of the file; elsewhere read on. */
    const ssize_t n = pread(*(int *)fd, buf, len, (off_t)off);
    return n < 0 ? -1001 : n; /* the library's own errors are above */
}

/* The client asks for the file's validator whenever it meets a new service. */
static int identify(void *fd, cm_validator *v)
{
    cm_file_id id;
    return cm_identify(*(int *)fd, &id, v);
}

/* NULL: there is no cache for this file, and why. */
static cmc_file *open_file(const char *socket, int *fd, cmc_client **client)
{
    const struct cmc_options o = { .where = socket };
    cm_validator v = CM_VALIDATOR_INIT;
    cmc_file *file = NULL;
    cm_file_id id;
    char why[256] = "";
    int e = cm_identify(*fd, &id, &v);

    if (e == 0)
        e = cmc_connect(&o, client, why);
    if (e == 0)
        e = cmc_file_open(*client, &id, 0, identify, fd, &file);
    if (e < 0)
        fprintf(stderr, "no cache: %s\n", *why ? why : cm_strerror(e));
    else if (!cmc_is_connected(*client))
        fprintf(stderr, "%s: no service there now\n", socket);
    return file;
}

int main(int argc, char **argv)
{
    static _Alignas(CM_BLOCK_SIZE) char buf[1 << 20];
    cmc_client *client = NULL;
    cmc_file *file;
    uint64_t at = 0;
    int64_t n;
    int fd;

    if (argc != 3) {
        fprintf(stderr, "usage: through FILE SOCKET\n");
        return 1;
    }
    fd = open(argv[1], O_RDONLY);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    file = open_file(argv[2], &fd, &client);
    do {
        n = file ? cmc_read_through(file, at, buf, sizeof(buf), read_origin, &fd)
                 : read_origin(&fd, at, buf, sizeof(buf));
        at += n > 0 ? (uint64_t)n : 0;
    } while (n > 0 && fwrite(buf, 1, (size_t)n, stdout) == (size_t)n);
    /* Before any other call, which may change errno. */
    if (n >= 0 && (ferror(stdout) || fflush(stdout) != 0))
        perror("standard output");
    if (n < 0)
        fprintf(stderr, "%s: reading failed\n", argv[1]);
    cmc_file_close(file);
    cmc_disconnect(client);
    close(fd);
    return n < 0 || ferror(stdout);
}
