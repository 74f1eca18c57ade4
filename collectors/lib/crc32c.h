/* SPDX-License-Identifier: PostgreSQL
 *
 * crc32c.h -- CRC-32C (Castagnoli, RFC 3720 appendix B.4) of files we write.
 */
#ifndef PCTL_LIB_CRC32C_H
#define PCTL_LIB_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Start with crc 0; feeding the result back in continues over more bytes. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* The table-driven form, whatever the processor can do: tests compare the two. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
