/* SPDX-License-Identifier: BSD-2-Clause
 *
 * parts.h - the places in a pool of 64 MiB with names that grew four times, written down once: as
 * format.h. Size, slots, stripe_buckets, index_first, memo_offset, word; of the first slot of the
 * part the offset of its header and of its payload.
 */
/* clang-format off */
{ 68157440, 16186, 579, 1038784, 67379200, UINT64_C(0x4100000005a), 67371008, 67477504 },
{ 136318976, 32525, 1162, 1055168, 69206016, UINT64_C(0x8201000012e), 68681728, 69394432 },
{ 536879104, 128885, 4604, 2120192, 141467648, UINT64_C(0x200020000599), 138383360, 142188544 },
{ 943730688, 226259, 8081, 8378944, 543617024, UINT64_C(0x3840300007a3), 540499968, 544886784 },
/* clang-format on */
