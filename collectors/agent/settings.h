/* SPDX-License-Identifier: PostgreSQL
 *
 * settings.h -- what an agent can be told (docs/81-contracts.md section 2).
 */
#ifndef PCTL_AGENT_SETTINGS_H
#define PCTL_AGENT_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/confine.h"
#include "agent/tests.h"
#include "lib/conf.h"

#define SETTINGS_A2A_RATE_DEFAULT 2000

struct label
{
	char *key;
	char *value;
};

struct settings
{
	char *grpc_addr;
	char *identity_dir;
	char *enroll_server;
	char *enroll_token_file;
	char *enroll_ca_file;
	char *spool_dir;
	int64_t spool_max_records;
	int64_t spool_max_bytes;
	int64_t spool_max_age; /* ms */
	int spool_policy;      /* enum spool_policy */
	bool tests_from_control;
	int64_t tests_concurrency;
	int64_t tests_packets; /* a second; 0 = no limit */
	bool a2a_enabled;
	char *a2a_listen;
	char *a2a_advertise;
	char *a2a_allow;
	int64_t a2a_rate; /* answers a second */
	struct test_list canaries;
	char *echo_listen;
	int64_t echo_rate;
	char *hostname;
	struct label *labels;
	size_t label_count;
	int64_t heartbeat_interval; /* ms */
	char *user;
	char *status_socket;
	int seccomp; /* enum confine_mode */
	int log_level;
};

extern const struct conf_key settings_keys[];
extern const size_t settings_key_count;

/* Of the key seccomp. */
extern const enum confine_mode settings_seccomp_default;

/* Across keys. */
bool settings_check(const void *settings, struct conf_error *err);

/* agent.hostname, or the system's name when that is not set. */
const char *settings_hostname(const struct settings *s);

/* "host:port" or "[v6]:port". */
bool settings_host_port(const char *text, char *host, size_t hostlen, uint16_t *port);

#endif
