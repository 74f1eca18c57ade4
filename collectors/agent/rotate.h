/* SPDX-License-Identifier: PostgreSQL
 *
 * rotate.h -- keeps the agent's identity alive.
 *
 * Two thirds into the life of the certificate, a little earlier or later for each agent, a new key
 * is made and the control plane signs it over the link that the old one holds. When the
 * link could not be had until the end, a join token in enroll.token_file enrols again. An identity
 * that another program puts into the directory is taken as well. The rest of the agent sees
 * one thing: *identity changes, and the link is made again with it.
 */
#ifndef PCTL_AGENT_ROTATE_H
#define PCTL_AGENT_ROTATE_H

#include <stdint.h>

struct event_base;
struct forward;
struct identity;
struct resolver;
struct rotate;
struct settings;

struct rotate_options
{
	struct event_base *base;
	struct resolver *resolver;
	const struct settings *settings;
	struct forward *forward;
	struct identity *identity;

	/* The directory holds the identity of another agent now; it was not taken. */
	void (*stranger)(void *arg);
	void *arg;
};

struct rotate *rotate_new(const struct rotate_options *options);
void rotate_free(struct rotate *r);

/* The link is up. */
void rotate_linked(struct rotate *r);

/* A person wants it at once. */
void rotate_now(struct rotate *r);

/* Looks into the identity directory again. */
void rotate_reload(struct rotate *r);

/* Unix seconds at which the certificate is to be replaced: two thirds into its life, up to
 * ROTATE_SPREAD of the life to either side as random says. */
#define ROTATE_SPREAD 24
int64_t rotate_due(const struct identity *identity, uint32_t random);

/* Registers the rows of this module with lib/metrics. */
void rotate_metrics(void);

#endif
