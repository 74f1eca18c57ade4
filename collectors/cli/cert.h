/* SPDX-License-Identifier: PostgreSQL
 *
 * cert.h -- the certificate of the servers (ingest and gateway) of this machine.
 *
 * The key is made here and never leaves pki/; the database, which holds the CA,
 * signs a request.
 */
#ifndef PCTL_CLI_CERT_H
#define PCTL_CLI_CERT_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "cli/home.h"

/* CA (made when absent) and its public files pki/ca.pem and pki/ca-bundle.pem. */
void cert_authority(const struct home *home, PGconn *conn);

/*
 * pki/server.pem and server.key: kept while they verify against the CA, cover the
 * names of this machine and have more than a third of their life left; made anew
 * otherwise. True when they are new.
 */
bool cert_server(const struct home *home, PGconn *conn);

/* Days until the server certificate ends; negative when it has ended or is absent. */
int cert_days_left(const struct home *home);

#endif
