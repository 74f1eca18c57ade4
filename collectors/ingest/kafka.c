/* SPDX-License-Identifier: PostgreSQL
 *
 * kafka.c -- settings of the bus as librdkafka takes them, and its queues on the event loop.
 */
#include "ingest/kafka.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "lib/log.h"

/* The value, its headers and what the protocol puts around them. */
#define KAFKA_MESSAGE_SPARE 65536

#define KAFKA_PASSWORD_MAX 1024

const char *const bus_mode_names[] = {"memory", "kafka", NULL};
const char *const bus_sasl_names[] = {"none", "plain", "scram-sha-256", "scram-sha-512", NULL};

static const char *const mechanisms[] = {
    [BUS_SASL_PLAIN] = "PLAIN",
    [BUS_SASL_SCRAM_256] = "SCRAM-SHA-256",
    [BUS_SASL_SCRAM_512] = "SCRAM-SHA-512",
};

const struct kafka_topic kafka_topics[KAFKA_TOPICS] = {
    {"network", "probectl.network.results"},   {"flow", "probectl.flow.events"},
    {"device", "probectl.device.metrics"},     {"ebpf", "probectl.ebpf.flows"},
    {"endpoint", "probectl.endpoint.results"}, {"bgp", "probectl.bgp.events"},
};

const struct kafka_topic *
kafka_topic_of_plane(const char *plane)
{
	for (int i = 0; i < KAFKA_TOPICS; i++)
		if (strcmp(kafka_topics[i].plane, plane) == 0)
			return &kafka_topics[i];
	return NULL;
}

/* ---- settings ---- */

static bool
given(const char *text)
{
	return text != NULL && text[0] != '\0';
}

/* First line of the file, into text. */
static bool
password_read(const char *path, char *text, size_t len, char *err, size_t errlen)
{
	FILE *file = fopen(path, "re");
	bool read;

	if (file == NULL)
	{
		snprintf(err, errlen, "bus.password_file: cannot read %s: %s", path, strerror(errno));
		return false;
	}
	read = fgets(text, (int) len, file) != NULL;
	fclose(file);
	text[read ? strcspn(text, "\r\n") : 0] = '\0';
	if (text[0] == '\0')
	{
		snprintf(err, errlen, "bus.password_file: the first line of %s is empty", path);
		return false;
	}
	return true;
}

static bool
files_check(const struct bus_settings *settings, char *err, size_t errlen)
{
	rd_kafka_conf_t *conf = kafka_conf(settings, err, errlen);
	rd_kafka_t *kafka;

	if (conf == NULL)
		return false;
	kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, errlen);
	if (kafka == NULL)
	{
		rd_kafka_conf_destroy(conf);
		return false;
	}
	rd_kafka_destroy(kafka);
	return true;
}

bool
kafka_check(const struct bus_settings *settings, bool files, char *err, size_t errlen)
{
	const struct
	{
		bool wrong;
		const char *text;
	} rules[] = {
	    {!given(settings->brokers), "bus.brokers is needed when bus.mode is kafka"},
	    {!given(settings->group), "bus.group must not be empty"},
	    {given(settings->cert_file) != given(settings->key_file),
	     "bus.cert_file and bus.key_file go together"},
	    {!settings->tls && (given(settings->cert_file) || given(settings->ca_file)),
	     "bus.ca_file and bus.cert_file are of no use when bus.tls is false"},
	    {settings->sasl != BUS_SASL_NONE &&
	         !(given(settings->username) && given(settings->password_file)),
	     "bus.sasl needs bus.username and bus.password_file"},
	    {settings->sasl == BUS_SASL_NONE &&
	         (given(settings->username) || given(settings->password_file)),
	     "bus.username and bus.password_file are of no use when bus.sasl is none"},
	    {settings->sasl == BUS_SASL_PLAIN && !settings->tls,
	     "bus.sasl: plain would send the password in clear; set bus.tls to true"},
	};

	if (settings->mode != BUS_KAFKA)
		return true;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (rules[i].wrong)
		{
			snprintf(err, errlen, "%s", rules[i].text);
			return false;
		}
	return !files || files_check(settings, err, errlen);
}

void
kafka_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char err[256];

	if (rd_kafka_conf_set(conf, name, value, err, sizeof(err)) != RD_KAFKA_CONF_OK)
		log_fatal("bus", NULL, "%s: %s", name, err);
}

void
kafka_set_number(rd_kafka_conf_t *conf, const char *name, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long) value);
	kafka_set(conf, name, text);
}

/* On threads of librdkafka. Its lines name brokers and topics, never credentials. */
static void
kafka_log(const rd_kafka_t *kafka, int level, const char *facility, const char *text)
{
	if (level <= LOG_ERR)
		log_limited(LOG_LEVEL_WARNING, "bus", NULL, "%s: %s", facility, text);
	else if (log_enabled(LOG_LEVEL_DEBUG))
		log_write(LOG_LEVEL_DEBUG, "bus", NULL, "%s: %s", facility, text);
}

static void
conf_tls(rd_kafka_conf_t *conf, const struct bus_settings *settings)
{
	if (given(settings->ca_file))
		kafka_set(conf, "ssl.ca.location", settings->ca_file);
	if (given(settings->cert_file))
	{
		kafka_set(conf, "ssl.certificate.location", settings->cert_file);
		kafka_set(conf, "ssl.key.location", settings->key_file);
	}
	kafka_set(conf, "ssl.endpoint.identification.algorithm", "https");
}

rd_kafka_conf_t *
kafka_conf(const struct bus_settings *settings, char *err, size_t errlen)
{
	static const char *const protocols[2][2] = {{"plaintext", "sasl_plaintext"},
	                                            {"ssl", "sasl_ssl"}};
	bool sasl = settings->sasl != BUS_SASL_NONE;
	char password[KAFKA_PASSWORD_MAX];
	rd_kafka_conf_t *conf;

	if (sasl && !password_read(settings->password_file, password, sizeof(password), err, errlen))
		return NULL;
	conf = rd_kafka_conf_new();
	rd_kafka_conf_set_log_cb(conf, kafka_log);
	kafka_set(conf, "log.connection.close", "false");
	kafka_set(conf, "client.id", "probectl-ingest");
	kafka_set(conf, "bootstrap.servers", settings->brokers);
	kafka_set(conf, "security.protocol", protocols[settings->tls][sasl]);
	kafka_set(conf, "socket.nagle.disable", "true");
	kafka_set(conf, "reconnect.backoff.max.ms", "2000");
	kafka_set(conf, "allow.auto.create.topics", "false");
	kafka_set_number(conf, "message.max.bytes", settings->record_bytes + KAFKA_MESSAGE_SPARE);
	if (settings->tls)
		conf_tls(conf, settings);
	if (sasl)
	{
		kafka_set(conf, "sasl.mechanism", mechanisms[settings->sasl]);
		kafka_set(conf, "sasl.username", settings->username);
		kafka_set(conf, "sasl.password", password);
		explicit_bzero(password, sizeof(password));
	}
	return conf;
}

/* ---- the loop ---- */

static void
wake_read(evutil_socket_t fd, short what, void *arg)
{
	struct kafka_wake *wake = arg;
	uint64_t count;

	if (read(wake->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_fatal("bus", NULL, "cannot read the wake-up counter: %s", strerror(errno));
	wake->ready(wake->arg);
}

void
kafka_wake_start(struct kafka_wake *wake, struct event_base *base, void (*ready)(void *arg),
                 void *arg)
{
	wake->ready = ready;
	wake->arg = arg;
	wake->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	wake->event = event_new(base, wake->fd, EV_READ | EV_PERSIST, wake_read, wake);
	if (wake->fd < 0 || wake->event == NULL || event_add(wake->event, NULL) != 0)
		log_fatal("bus", NULL, "cannot make its events: %s", strerror(errno));
}

void
kafka_wake_add(struct kafka_wake *wake, rd_kafka_queue_t *queue)
{
	static const uint64_t one = 1;

	rd_kafka_queue_io_event_enable(queue, wake->fd, &one, sizeof(one));
}

void
kafka_wake_stop(struct kafka_wake *wake)
{
	if (wake->event != NULL)
		event_free(wake->event);
	if (wake->fd > 0)
		close(wake->fd);
	*wake = (struct kafka_wake){.fd = -1};
}
