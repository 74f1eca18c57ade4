/* SPDX-License-Identifier: PostgreSQL
 *
 * api.h -- what a request means: credentials, routes, answers.
 */
#ifndef PCTL_GATEWAY_API_H
#define PCTL_GATEWAY_API_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"

struct conn;
struct site;

/* Takes the complete request of a connection and answers it, now or later. */
void api_handle(struct conn *c);

/* {"error":{...}}: code NULL = the status's own, field NULL or "" = none. */
void api_error_body(struct buf *out, int status, const char *code, const char *message,
                    const char *field, const char *request_id);

/* Web files from now on; the earlier ones are freed. */
void api_set_site(struct site *site);

/* Whether an address is an origin ("https://host:port"), what public_url must be. */
bool api_is_origin(const char *url);

void api_start(void);
void api_stop(void);

#endif
