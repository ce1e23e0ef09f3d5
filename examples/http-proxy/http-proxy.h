/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http-proxy.h - what the files of the proxy share: http-proxy.c speaks HTTP with clients, object.c
 * has the cache, origin.c asks the origin server.
 */
#ifndef HTTP_PROXY_H
#define HTTP_PROXY_H

#include <cachemax.h>
#include <curl/curl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#define ETAG_BYTES 256
#define CODING_BYTES 64
#define FIELD_BYTES 8192

/* Bytes that the origin sent. Many are in a file, few in memory. */
struct body {
    atomic_uint users; /* responses that read it */
    FILE *file;        /* NULL: they are in text */
    int error;         /* errno: why the file did not take all */
    char *text;
    size_t len;
};

/* What the origin answered. */
struct answer {
    bool reached;   /* the request was sent; else there is no connection */
    bool timed_out; /* it took too long: to ask again would take as long once more */
    bool no_room;   /* for what it sends; here, so that the same holds */
    bool unwanted;  /* it was given up: no client waits for it any more */
    long status;
    char etag[ETAG_BYTES];     /* "": none */
    char coding[CODING_BYTES]; /* Content-Encoding; "": none */
    char field[FIELD_BYTES];   /* the value of origin_field(); "": none, or too long */
    bool no_store;
    bool open_end;       /* the body ends with the connection: who knows whether it is whole? */
    uint64_t fresh;      /* for so many seconds, by Cache-Control, Age, Date */
    bool has_part;       /* status 206, and it says for sure which part of the object it is: */
    uint64_t from, part; /* ... the first byte, and how many */
    uint64_t total;      /* bytes of the object, also with status 416, or CM_SIZE_UNKNOWN */
    size_t got;          /* bytes of a part */
    bool slow;           /* the rest of the part would take long: it was given up */
    uint64_t took_ns;    /* from the first byte of a part to its last */
    struct body *body;   /* all of the object; NULL: not asked for, or the answer is a part */
};

/* To the origin, for one thread. HEAD has a connection of its own: some servers send a body all the
 * same, maybe later, and the next request there would take it for its answer. So a connection is
 * for the HEADs of one object: whenever the body comes, it is never the answer for another one. */
struct link {
    CURL *get, *head;
    cm_file_id head_of; /* the object that the connection of `head` is for */
};

/* A request of a client. */
struct request {
    struct MHD_Connection *connection;
    char *uri;
    uintptr_t target; /* where libmicrohttpd has it */
    struct link *link;
    int client; /* the client's socket */
    bool seen;
    bool is_head;
    bool no_chunks;     /* the client needs the length of a body, to know that it is whole */
    uint64_t came_at;   /* cm_now() */
    uint64_t looked_at; /* ... when origin.c looked whether a client waits */
    /* object.c: */
    cm_file_id id;
    struct request *next; /* one of an object with the same lock */
    bool asks;            /* the origin about the object; others wait for that */
    uint64_t reads_at;    /* cm_now() when the piece that it reads was wanted */
    /* The origin sends the object slowly: it is asked for so many bytes at a time. 0: for as many
     * as the library wants. All requests of the object are told. */
    _Atomic uint64_t most;
    /* What the object was when the request came. The response is of this version. */
    cm_file *file; /* NULL: not attached */
    cm_validator validator;
    char etag[ETAG_BYTES]; /* "": only its hash is known, in the validator */
    /* The validator of this object for this ETag, when a response of it broke off. No proof: not
     * known. */
    cm_validator other;
    uint64_t incarnation, size;
    bool sized;      /* a GET has told this size, too */
    int64_t failure; /* not 0: the origin is not asked again for this response */
    /* What the origin sent, if it was all of the object. Or what it said to a HEAD, if that means
     * that the object is not CACHED. */
    struct answer whole;
};

/* http-proxy.c: is its client still there, and does the proxy go on? */
bool request_is_alive(const struct request *r);
/* Not if its conditions say that it has the object, or wants another one (object_has_etag()), nor
 * if it is a HEAD, and the size is known. */
bool request_wants_body(const struct request *r);

/* object.c: the calls of the library. */
extern cm_cache *cache; /* NULL: none */
enum { CACHED = 1, WHOLE = 2 };
/* Once, before all others. */
void object_begin(void);
/* How to answer a request: CACHED: with object_read(). WHOLE: with all that the origin sends, and
 * without the cache. Another number: with this status of HTTP, and with r->whole.field. */
int object_open(struct request *r);
/* Up to len bytes at `at`. 0: the object ends there. Negative: the response must end early. */
int64_t object_read(struct request *r, uint64_t at, void *buf, size_t len);
void object_close(struct request *r);
/* Is this the ETag of its version? Also if only a hash of that is known. */
bool object_has_etag(const struct request *r, const char *etag);
/* Does a client wait for what the origin sends? Maybe another one, if that is for the cache. */
bool object_is_wanted(struct request *r);

/* origin.c: */
extern const char *origin_url; /* http://HOST:PORT */
#define LEAST 4096u            /* bytes that origin_get() waits for, however slow they come */
/* Says on standard error what is wrong with a URI, of which it shows the path only: the query of a
 * signed URL is a secret. It is silent for 5 seconds after each line. */
__attribute__((format(printf, 2, 3))) void origin_log(const char *uri, const char *format, ...);
/* What may be over soon: no answer (0), errors of the server, a timeout, too many requests. Not a
 * method that it does not know (501). */
bool origin_is_trouble(long status);
bool origin_is_redirection(long status);
/* The name of the field without which a status says too little; NULL: none. */
const char *origin_field(long status);
/* Each returns true if the origin gave a complete answer, with whatever status. Else standard
 * error has a line why, unless nobody wanted it any more. So it has of a status that is trouble. */
bool origin_head(struct request *r, struct answer *a);
/* At most len bytes from `off` on, into buf. If they come slowly, it gives up when LEAST are there
 * (a->slow). If the origin sends the whole object all the same (status 200), that is a->body. If
 * `etag` is not "", the status is 412 when the object has another one. */
bool origin_get(struct request *r, const char *etag, uint64_t off, void *buf, size_t len,
                struct answer *a);
/* All of it, as a->body. */
bool origin_whole(struct request *r, struct answer *a);
/* Up to len bytes of a body at `at`. 0: it ends there. Negative: its file cannot be read. */
int64_t origin_body_read(const struct body *b, uint64_t at, void *buf, size_t len);
/* Frees a body that an answer had, if no other response reads it. NULL: nothing. */
void origin_body_free(struct body *b);

#endif
