/* SPDX-License-Identifier: BSD-2-Clause
 *
 * uring_abi.h - the kernel's formats of FUSE over io_uring (Linux 6.14), which older headers lack.
 *
 * The layouts are fixed: linux/fuse.h and linux/io_uring.h of Linux 6.14. Names are our own, so
 * that newer headers may be there as well. Used by uring.c.
 */
#ifndef CACHEMAX_MOUNT_URING_ABI_H
#define CACHEMAX_MOUNT_URING_ABI_H

#include <linux/fuse.h>
#include <stddef.h>
#include <stdint.h>

/* Of INIT. */
#define ABI_INIT_EXT (1u << 30)             /* flags: flags2 counts */
#define ABI_MAX_PAGES (1u << 22)            /* flags: max_pages counts */
#define ABI_OVER_IO_URING (1u << (41 - 32)) /* flags2 */

/* A command for /dev/fuse, in an SQE of 128 bytes. */
#define ABI_OP_URING_CMD 46
#define ABI_REGISTER 1         /* these buffers take requests of queue `qid` */
#define ABI_COMMIT_AND_FETCH 2 /* the answer to `commit_id` is there; the next request, please */

struct abi_command {
    uint64_t flags, commit_id;
    uint16_t qid;
    uint8_t unused[6];
};

struct abi_sqe { /* io_uring_sqe with IORING_SETUP_SQE128 */
    uint8_t opcode, flags;
    uint16_t ioprio;
    int32_t fd;
    uint32_t cmd_op, pad;
    uint64_t addr; /* two iovecs: the headers, and what follows them */
    uint32_t len;
    uint32_t rw_flags;
    uint64_t user_data;
    uint64_t unused;
    union {
        struct abi_command command;
        uint8_t bytes[80];
    };
};
_Static_assert(sizeof(struct abi_sqe) == 128 && offsetof(struct abi_sqe, command) == 48,
               "the kernel's format");

struct abi_headers { /* fuse_uring_req_header */
    union {
        struct fuse_in_header in;
        struct fuse_out_header out;
        uint8_t bytes[128];
    } in_out;
    uint8_t op_in[128]; /* the first part after the header, such as fuse_read_in */
    struct {
        uint64_t flags, commit_id;
        uint32_t payload_size; /* of what follows, in and out */
        uint32_t pad;
        uint64_t reserved;
    } entry;
};
_Static_assert(sizeof(struct abi_headers) == 288, "the kernel's format");

/* Of io_uring_setup(). */
#define ABI_SQE128 (1u << 10)
#define ABI_SINGLE_ISSUER (1u << 12)
#define ABI_DEFER_TASKRUN (1u << 13)
#define ABI_NO_SQARRAY (1u << 16)

#endif
