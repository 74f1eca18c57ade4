/* SPDX-License-Identifier: PostgreSQL
 *
 * uuid.h -- UUIDs (RFC 9562) from the kernel's random numbers, and from names.
 */
#ifndef PCTL_LIB_UUID_H
#define PCTL_LIB_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UUID_BYTES 16
#define UUID_TEXT  37 /* 36 characters and a NUL */

void uuid_v4(uint8_t out[UUID_BYTES]);

/* Ordered by time: 48 bits of Unix milliseconds, then random. */
void uuid_v7(uint8_t out[UUID_BYTES]);

/* From a name, the same for the same name (version 8: SHA-256, first 16 bytes). */
void uuid_from_name(uint8_t out[UUID_BYTES], const void *name, size_t len);

/* Lower case. */
void uuid_print(const uint8_t uuid[UUID_BYTES], char out[UUID_TEXT]);

/* Exactly 8-4-4-4-12 lower- or upper-case digits. */
bool uuid_parse(const char *text, uint8_t out[UUID_BYTES]);

void uuid_v4_text(char out[UUID_TEXT]);
void uuid_v7_text(char out[UUID_TEXT]);

#endif
