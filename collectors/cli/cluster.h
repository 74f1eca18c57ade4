/* SPDX-License-Identifier: PostgreSQL
 *
 * cluster.h -- the private PostgreSQL cluster: finding the server's programs,
 * making the data directory, its settings and who may log in as whom.
 */
#ifndef PCTL_CLI_CLUSTER_H
#define PCTL_CLI_CLUSTER_H

#include <stdbool.h>

#include "cli/home.h"

/* The envelope key, in the home: beside the data directory, so that no copy of that holds it. */
#define CLUSTER_KEY "pg/probectl.key"
#define BACKUP_KEY  "probectl.key" /* in a backup that was asked to hold it */

/* Folder of postgres and initdb; ends the process when there is none. Pool memory. */
char *cluster_programs(void);

/* Ends the process unless the extension is installed for these programs. */
void cluster_check_extension(const char *programs);

/* initdb, when there is no data directory yet. True when it made one. */
bool cluster_init(const struct home *home, const char *programs);

/* Removes a data directory that is not in use, or a part of one. */
void cluster_remove(const char *data);

/* Checks a copy of the data directory against its manifest, with a step of its own; ends the process
 * when a file is missing or differs. */
void cluster_verify(const char *programs, const char *data);

/* Writes settings, pg_hba and pg_ident. */
void cluster_configure(const struct home *home);

/* The supervisor's row for it. */
void cluster_put(const struct home *home, const char *programs);

/* Waits until it accepts connections. */
void cluster_wait(const struct home *home);

/* Database and extension, each when absent; updates the extension when it is older. */
void cluster_database(const struct home *home);

/* One column of pg_config as these programs were built; NULL when it fails. */
char *cluster_config(const char *programs, const char *option);

#endif
