/* SPDX-License-Identifier: PostgreSQL
 *
 * meet.c -- see meet.h.
 *
 * The reflector is open while somebody may ask it: a machine whose agent answers nobody has no port open.
 */
#include "agent/a2a/meet.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/a2a/reflector.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/uuid.h"
#include "probectl/agent/v1/agent.pb-c.h"

#define TASKS_MAX 4096 /* of one agent */

LIST_HEAD(waiter_list, meet_waiter);

struct meet
{
	struct meet_options o;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	struct reflector_prefix prefixes[REFLECTOR_PREFIXES_MAX];
	size_t prefix_count;
	struct reflector *reflector;   /* NULL while nobody may ask */
	struct meet_session *sessions; /* as an initiator, by test_id */
	size_t session_count;
	char (*answered)[37];               /* sessions as a responder */
	uint8_t (*tokens)[A2A_TOKEN_BYTES]; /* and theirs */
	size_t answered_count;
	uint64_t revision;
	struct waiter_list waiters;
};

/* ---- the reflector ---- */

static bool
reflector_start(struct meet *meet, char *err, size_t errlen)
{
	if (meet->reflector)
		return true;
	meet->reflector = reflector_open(meet->o.base, &meet->addr, meet->addr_len, meet->o.rate, err,
	                                 errlen);
	if (!meet->reflector)
		return false;
	reflector_allow(meet->reflector, meet->prefixes, meet->prefix_count);
	log_info("a2a", meet->o.listen, "answering STAMP packets on port %u%s",
	         reflector_port(meet->reflector),
	         reflector_kernel_stamps(meet->reflector) ? "" : ", without kernel timestamps");
	return true;
}

static void
reflector_stop(struct meet *meet)
{
	if (!meet->reflector || meet->prefix_count > 0)
		return;
	reflector_close(meet->reflector);
	meet->reflector = NULL;
	log_info("a2a", meet->o.listen, "nobody to answer, the port is closed");
}

/* Open while there is somebody to answer, and knowing whom. */
static void
reflector_update(struct meet *meet)
{
	char err[256];

	if (meet->answered_count == 0)
		reflector_stop(meet);
	else if (!reflector_start(meet, err, sizeof(err)))
		log_limited(LOG_LEVEL_ERROR, "a2a", meet->o.listen,
		            "%s; other agents cannot test to this one", err);
	if (meet->reflector)
		reflector_sessions(meet->reflector, (const uint8_t(*)[A2A_TOKEN_BYTES]) meet->tokens,
		                   meet->answered_count);
}

/* Who listens on all addresses of IPv4, and reaches the control plane by IPv6, is to be reached by that. */
static void
follow_link(struct meet *meet, const char *link)
{
	int family = strchr(link, ':') ? AF_INET6 : AF_INET;
	struct sockaddr_in *in4 = (struct sockaddr_in *) &meet->addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) &meet->addr;
	uint16_t port = meet->addr.ss_family == AF_INET ? in4->sin_port : in6->sin6_port;
	bool all = meet->addr.ss_family == AF_INET ? in4->sin_addr.s_addr == htonl(INADDR_ANY)
	                                           : IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);

	if (!*link || !all || meet->o.advertise || meet->prefix_count > 0 ||
	    family == meet->addr.ss_family)
		return;
	memset(&meet->addr, 0, sizeof(meet->addr));
	meet->addr.ss_family = (sa_family_t) family;
	meet->addr_len = family == AF_INET ? sizeof(*in4) : sizeof(*in6);
	if (family == AF_INET)
		in4->sin_port = port;
	else
		in6->sin6_port = port;
	reflector_close(meet->reflector);
	meet->reflector = NULL;
	reflector_update(meet);
}

/* ---- sessions ---- */

static int
compare_sessions(const void *a, const void *b)
{
	return strcmp(((const struct meet_session *) a)->test_id,
	              ((const struct meet_session *) b)->test_id);
}

static struct meet_session *
session_of(const struct meet *meet, const char *test_id)
{
	struct meet_session key;

	if (meet->session_count == 0 || strlen(test_id) >= sizeof(key.test_id))
		return NULL;
	memccpy(key.test_id, test_id, '\0', sizeof(key.test_id));
	return bsearch(&key, meet->sessions, meet->session_count, sizeof(key), compare_sessions);
}

const struct meet_session *
meet_find(const struct meet *meet, const char *test_id)
{
	const struct meet_session *session = session_of(meet, test_id);

	return session && session->port ? session : NULL;
}

void
meet_unanswered(struct meet *meet, const char *session_id)
{
	for (size_t i = 0; i < meet->session_count; i++)
		if (strcmp(meet->sessions[i].session_id, session_id) == 0 && meet->sessions[i].hosts[1][0])
			meet->sessions[i].turn = (meet->sessions[i].turn + 1) % MEET_HOSTS_MAX;
}

void
meet_wait(struct meet *meet, struct meet_waiter *waiter)
{
	LIST_INSERT_HEAD(&meet->waiters, waiter, chain);
}

void
meet_unwait(struct meet_waiter *waiter)
{
	if (!waiter->test_id)
		return;
	LIST_REMOVE(waiter, chain);
	waiter->test_id = NULL;
}

/* Who is called may end its run, and with it only its own waiter. */
static void
wake(struct meet *meet)
{
	struct meet_waiter *waiter, *next;

	for (waiter = LIST_FIRST(&meet->waiters); waiter; waiter = next)
	{
		const struct meet_session *session = meet_find(meet, waiter->test_id);

		next = LIST_NEXT(waiter, chain);
		if (!session)
			continue;
		meet_unwait(waiter);
		waiter->ready(session, waiter->arg);
	}
}

/* ---- what the control plane says ---- */

static bool
copy_id(char to[37], const char *from)
{
	uint8_t raw[UUID_BYTES];

	if (!uuid_parse(from, raw))
		return false;
	uuid_print(raw, to);
	return true;
}

static bool
take_initiator(struct meet_session *session, const Probectl__Agent__V1__MeetTask *task)
{
	memset(session, 0, sizeof(*session));
	if (!copy_id(session->session_id, task->session_id) ||
	    !copy_id(session->test_id, task->test_id) ||
	    !copy_id(session->peer_id, task->peer_agent_id) || task->port > 65535 ||
	    task->n_hosts > MEET_HOSTS_MAX || (task->port > 0 && task->n_hosts == 0))
		return false;
	for (size_t i = 0; i < task->n_hosts; i++)
		if ((size_t) snprintf(session->hosts[i], sizeof(session->hosts[i]), "%s", task->hosts[i]) >=
		    sizeof(session->hosts[i]))
			return false;
	memcpy(session->token, task->token.data, A2A_TOKEN_BYTES);
	session->port = (uint16_t) task->port;
	return true;
}

struct reading
{
	struct meet_session *sessions;
	size_t session_count;
	char (*answered)[37];
	uint8_t (*tokens)[A2A_TOKEN_BYTES];
	size_t answered_count;
};

static bool
read_tasks(const Probectl__Agent__V1__MeetTasks *tasks, struct reading *reading)
{
	for (size_t i = 0; i < tasks->n_tasks; i++)
	{
		const Probectl__Agent__V1__MeetTask *task = tasks->tasks[i];

		if (task->token.len != A2A_TOKEN_BYTES)
			return false;
		if (task->role == PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_INITIATOR)
		{
			if (!take_initiator(&reading->sessions[reading->session_count], task))
				return false;
			reading->session_count++;
		}
		else if (task->role == PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_RESPONDER &&
		         reading->answered_count < REFLECTOR_SESSIONS_MAX)
		{
			if (!copy_id(reading->answered[reading->answered_count], task->session_id))
				return false;
			memcpy(reading->tokens[reading->answered_count++], task->token.data, A2A_TOKEN_BYTES);
		}
	}
	return true;
}

/* The host in turn stays in turn while the session is the same. */
static void
keep_turns(const struct meet *meet, struct reading *reading)
{
	for (size_t i = 0; i < reading->session_count; i++)
	{
		const struct meet_session *old = session_of(meet, reading->sessions[i].test_id);

		if (old && strcmp(old->session_id, reading->sessions[i].session_id) == 0 &&
		    reading->sessions[i].hosts[1][0])
			reading->sessions[i].turn = old->turn;
	}
}

static void
apply(struct meet *meet, struct reading *reading)
{
	if (reading->session_count > 1)
		qsort(reading->sessions, reading->session_count, sizeof(*reading->sessions),
		      compare_sessions);
	keep_turns(meet, reading);
	free(meet->sessions);
	free(meet->answered);
	free(meet->tokens);
	meet->sessions = reading->sessions;
	meet->session_count = reading->session_count;
	meet->answered = reading->answered;
	meet->answered_count = reading->answered_count;
	meet->tokens = reading->tokens;
	reading->sessions = NULL;
	reading->answered = NULL;
	reading->tokens = NULL;
	reflector_update(meet);
	wake(meet);
}

static bool
take_tasks(struct meet *meet, const ProtobufCBinaryData *bytes)
{
	Probectl__Agent__V1__MeetTasks *tasks = probectl__agent__v1__meet_tasks__unpack(
	    NULL, bytes->len, bytes->data);
	struct reading reading = {0};
	bool ok;

	if (!tasks)
		return false;
	ok = tasks->n_tasks <= TASKS_MAX;
	if (ok)
	{
		reading.sessions = mem_array(tasks->n_tasks, sizeof(*reading.sessions));
		reading.answered = mem_array(tasks->n_tasks, sizeof(*reading.answered));
		reading.tokens = mem_array(tasks->n_tasks, A2A_TOKEN_BYTES);
		ok = read_tasks(tasks, &reading);
	}
	if (ok)
		apply(meet, &reading);
	free(reading.sessions);
	free(reading.answered);
	free(reading.tokens);
	probectl__agent__v1__meet_tasks__free_unpacked(tasks, NULL);
	return ok;
}

int64_t
meet_told(struct meet *meet, const uint8_t *data, size_t len)
{
	Probectl__Agent__V1__MeetResponse *response = probectl__agent__v1__meet_response__unpack(
	    NULL, len, data);
	int64_t wait = -1;

	if (!response)
		return -1;
	if (response->unchanged)
		wait = MEET_LATER_MS;
	else if (take_tasks(meet, &response->tasks))
	{
		meet->revision = response->revision;
		log_info("a2a", NULL, "%zu tests to other agents, %zu of theirs to this one",
		         meet->session_count, meet->answered_count);
		wait = MEET_SOON_MS;
	}
	probectl__agent__v1__meet_response__free_unpacked(response, NULL);
	return wait;
}

uint8_t *
meet_ask(struct meet *meet, uint32_t wait_seconds, const char *link, size_t *len)
{
	Probectl__Agent__V1__MeetRequest request = PROBECTL__AGENT__V1__MEET_REQUEST__INIT;
	char **ids = mem_array(meet->answered_count, sizeof(*ids));
	uint8_t *bytes;

	follow_link(meet, link);
	request.known_revision = meet->revision;
	request.wait_seconds = wait_seconds;
	if (meet->reflector)
	{
		request.host = (char *) (meet->o.advertise ? meet->o.advertise : link);
		request.port = reflector_port(meet->reflector);
		for (size_t i = 0; i < meet->answered_count; i++)
			ids[i] = meet->answered[i];
		request.session_ids = ids;
		request.n_session_ids = meet->answered_count;
	}
	*len = probectl__agent__v1__meet_request__get_packed_size(&request);
	bytes = mem_alloc(*len > 0 ? *len : 1);
	probectl__agent__v1__meet_request__pack(&request, bytes);
	free(ids);
	return bytes;
}

/* ---- life ---- */

struct meet *
meet_new(const struct meet_options *options, char *err, size_t errlen)
{
	struct meet *meet = mem_alloc(sizeof(*meet));
	int count = 0;

	meet->o = *options;
	LIST_INIT(&meet->waiters);
	if (options->allow)
		count = reflector_prefixes_parse(options->allow, meet->prefixes, REFLECTOR_PREFIXES_MAX,
		                                 err, errlen);
	meet->prefix_count = count > 0 ? (size_t) count : 0;
	if (count >= 0 &&
	    reflector_address_parse(options->listen, &meet->addr, &meet->addr_len, err, errlen) &&
	    (count == 0 || reflector_start(meet, err, errlen)))
		return meet;
	meet_free(meet);
	return NULL;
}

void
meet_free(struct meet *meet)
{
	if (!meet)
		return;
	reflector_close(meet->reflector);
	free(meet->sessions);
	free(meet->answered);
	free(meet->tokens);
	free(meet);
}
