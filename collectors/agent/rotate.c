/* SPDX-License-Identifier: PostgreSQL
 *
 * rotate.c -- see rotate.h; the two calls are those of proto/probectl/agent/v1/agent.proto.
 *
 *     resting --due--> challenge --> certificate --> installed, resting
 *        ^                 |             |
 *        +---- backoff ----+-------------+        after the end: enrolling, when there is a token
 *
 * The new key lives in memory until its certificate is there, then both and the CA go to disk as
 * one directory. An answer that is lost costs a certificate nobody has the key of, nothing more.
 * Times are the wall clock's, since that is what a certificate is about; a timer of a minute at
 * most notices when it was set.
 */
#include "agent/rotate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/forward.h"
#include "agent/join.h"
#include "agent/settings.h"
#include "lib/backoff.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/grpc.h"
#include "lib/identity.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/metrics.h"
#include "probectl/agent/v1/agent.pb-c.h"

#define LOOK_MS       60000 /* the wall clock may be set */
#define LOOK_ENDED_MS 5000  /* after the end: is there a token? */
#define RETRY_MIN_MS  5000
#define RETRY_MAX_MS  300000
#define SIGNATURE_MAX 256
#define PROOF_DOMAIN  "probectl.rotate.v1"

enum rotate_state
{
	ROTATE_RESTING,
	ROTATE_CHALLENGE,
	ROTATE_CERTIFICATE,
};

struct rotate
{
	struct rotate_options o;
	enum rotate_state state;
	struct event *timer, *watch;
	struct backoff backoff;
	int64_t due;      /* Unix seconds */
	int64_t retry_at; /* monotonic ns; not before it */
	bool wanted;      /* due or asked for, and not done */
	bool ended_told;
	char *key; /* the new one, PEM */
	struct join *join;
	struct timespec token_refused; /* change time of the token file that was refused */
	bool env_refused;
};

enum
{
	ROW_NOT_AFTER,
	ROW_DONE,
	ROW_FAILED,
	ROW_COUNT,
};

static struct metric rows[ROW_COUNT] = {
    [ROW_NOT_AFTER] = METRIC_GAUGE("probectl_agent_certificate_not_after_seconds", NULL,
                                   "End of the certificate in use, Unix time."),
    [ROW_DONE] = METRIC_COUNTER("probectl_agent_rotations_total", "outcome=\"success\"",
                                "Attempts to get a new certificate."),
    [ROW_FAILED] = METRIC_COUNTER("probectl_agent_rotations_total", "outcome=\"failure\"",
                                  "Attempts to get a new certificate."),
};

static void look(struct rotate *r);

void
rotate_metrics(void)
{
	metrics_register(rows, ROW_COUNT);
}

static int64_t
unix_now(void)
{
	return clock_unix_nano() / NANO_PER_SECOND;
}

static uint32_t
random_number(void)
{
	uint32_t random;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint32_t) clock_mono_nano();
	return random;
}

int64_t
rotate_due(const struct identity *identity, uint32_t random)
{
	int64_t life = identity->not_after - identity->not_before, spread = life / ROTATE_SPREAD;

	return identity->not_before + life * 2 / 3 - spread +
	       (spread > 0 ? (int64_t) random % (2 * spread + 1) : 0);
}

static void
time_text(int64_t unix_seconds, char *out, size_t len)
{
	time_t t = (time_t) unix_seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(out, len, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, len, "%" PRId64, unix_seconds);
}

/* ---- what is on disk ---- */

/* A new certificate: the clock of its life starts, the link follows. */
static void
identity_taken(struct rotate *r)
{
	char until[32], err[512];

	r->due = rotate_due(r->o.identity, random_number());
	r->wanted = r->ended_told = false;
	r->retry_at = 0;
	backoff_init(&r->backoff, RETRY_MIN_MS, RETRY_MAX_MS, 0);
	metric_set(&rows[ROW_NOT_AFTER], r->o.identity->not_after);
	time_text(r->o.identity->not_after, until, sizeof(until));
	log_info("identity", r->o.identity->agent_id, "certificate %s is in use, it ends at %s",
	         r->o.identity->serial, until);
	if (!forward_identity(r->o.forward, err, sizeof(err)))
		log_error("identity", r->o.identity->cert_file, "not taken for the link: %s", err);
}

void
rotate_reload(struct rotate *r)
{
	struct identity *now = r->o.identity, found;
	char err[512];

	if (identity_load(r->o.settings->identity_dir, &found, err, sizeof(err)) != IDENTITY_OK)
	{
		log_warning("identity", NULL, "%s; the one in use stays", err);
		return;
	}
	if (strcmp(found.serial, now->serial) == 0 && strcmp(found.version, now->version) == 0)
		return;
	if (strcmp(found.agent_id, now->agent_id) != 0 || strcmp(found.tenant_id, now->tenant_id) != 0)
	{
		log_error(
		    "identity", found.agent_id,
		    "the identity in %s is another agent's than %s, which runs; stopping, so that the "
		    "next start is that agent",
		    r->o.settings->identity_dir, now->agent_id);
		r->o.stranger(r->o.arg);
		return;
	}
	*now = found;
	identity_taken(r);
	look(r);
}

/* Whatever moved in the directory, current is read again; the events themselves do not matter. */
static void
on_watch(evutil_socket_t fd, short what, void *arg)
{
	char events[4096] __attribute__((aligned(8)));

	while (read(fd, events, sizeof(events)) > 0)
		;
	rotate_reload(arg);
}

static void
watch_start(struct rotate *r)
{
	const char *dir = r->o.settings->identity_dir;
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0 || inotify_add_watch(fd, dir, IN_MOVED_TO | IN_CREATE | IN_ONLYDIR) < 0)
	{
		log_warning("identity", dir, "changes are seen at SIGHUP only: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	r->watch = event_new(r->o.base, fd, EV_READ | EV_PERSIST, on_watch, r);
	if (!r->watch || event_add(r->watch, NULL) != 0)
		log_fatal("identity", NULL, "out of memory for an event");
}

/* ---- the two calls ---- */

static void
rest(struct rotate *r)
{
	crypto_wipe(r->key);
	free(r->key);
	r->key = NULL;
	r->state = ROTATE_RESTING;
}

static void
failed(struct rotate *r, const char *why)
{
	int64_t wait = backoff_down(&r->backoff, clock_mono_nano(), random_number());

	rest(r);
	metric_add(&rows[ROW_FAILED], 1);
	r->retry_at = clock_mono_nano() + wait * NANO_PER_MS;
	log_warning("identity", r->o.identity->agent_id,
	            "no new certificate: %s; next attempt in %" PRId64 " ms", why, wait);
	look(r);
}

static void
refused(struct rotate *r, int status, const char *text)
{
	char why[400];

	snprintf(why, sizeof(why), "%s%s%s", grpc_status_name(status), *text ? ": " : "", text);
	failed(r, why);
}

/* NULL, or why the certificate is not the one that was asked for. */
static const char *
certificate_wrong(const struct rotate *r, const char *pem)
{
	char tenant_id[37], agent_id[37], err[256];
	struct crypto_cert cert;

	if (!crypto_cert_parse(pem, &cert, err, sizeof(err)) || !crypto_key_matches(r->key, pem))
		return "the certificate is not for the new key";
	if (cert.uri_count != 1 || !crypto_spiffe_parse(cert.uris[0], tenant_id, agent_id) ||
	    strcmp(tenant_id, r->o.identity->tenant_id) != 0 ||
	    strcmp(agent_id, r->o.identity->agent_id) != 0)
		return "the certificate names another agent";
	if (cert.not_after <= unix_now())
		return "the certificate has ended by this machine's clock";
	return NULL;
}

static void
certificate_came(int status, const char *text, const uint8_t *data, size_t len, void *arg)
{
	struct rotate *r = arg;
	Probectl__Agent__V1__RotateResponse *answer = NULL;
	char err[512] = "the answer cannot be read";
	const char *wrong = err;

	if (status != GRPC_OK)
	{
		refused(r, status, text);
		return;
	}
	answer = probectl__agent__v1__rotate_response__unpack(NULL, len, data);
	if (answer)
		wrong = certificate_wrong(r, answer->certificate_pem);
	if (!wrong && !crypto_roots_known(answer->ca_bundle_pem, r->o.identity->ca_file))
		wrong = "it comes with a root that is not trusted here; a new root takes enrolling again";
	if (!wrong && !identity_install(r->o.settings->identity_dir, r->key, answer->certificate_pem,
	                                answer->ca_bundle_pem, err, sizeof(err)))
		wrong = err;
	if (answer)
		probectl__agent__v1__rotate_response__free_unpacked(answer, NULL);
	if (wrong)
	{
		failed(r, wrong);
		return;
	}
	rest(r);
	metric_add(&rows[ROW_DONE], 1);
	rotate_reload(r);
}

/* The text that the proto names, signed by the key in use. */
static bool
proof_make(const struct rotate *r, const char *challenge, uint8_t *proof, size_t *len, char *err,
           size_t errlen)
{
	uint8_t digest[CRYPTO_SHA256_BYTES];
	char text[1024], hex[2 * CRYPTO_SHA256_BYTES + 1];
	char *old = identity_key(r->o.identity, err, errlen);
	bool ok = false;
	int n;

	if (!old)
		return false;
	snprintf(err, errlen, "the proof cannot be made");
	if (crypto_key_fingerprint(r->key, digest))
	{
		for (size_t i = 0; i < sizeof(digest); i++)
			snprintf(hex + 2 * i, 3, "%02x", digest[i]);
		n = snprintf(text, sizeof(text), PROOF_DOMAIN "\n%s\n%s\n", challenge, hex);
		ok = n > 0 && (size_t) n < sizeof(text) && crypto_sign(old, text, proof, len);
	}
	crypto_wipe(old);
	free(old);
	return ok;
}

static void
certificate_ask(struct rotate *r, char *challenge)
{
	Probectl__Agent__V1__RotateRequest request = PROBECTL__AGENT__V1__ROTATE_REQUEST__INIT;
	uint8_t proof[SIGNATURE_MAX];
	char err[512] = "a key cannot be made";
	char *csr = NULL;

	r->key = crypto_key_new();
	if (r->key)
		csr = crypto_csr_new(r->key, err, sizeof(err));
	request.csr_pem = csr;
	request.challenge = challenge;
	request.proof.data = proof;
	request.proof.len = sizeof(proof);
	if (!csr || !proof_make(r, challenge, proof, &request.proof.len, err, sizeof(err)))
		failed(r, err);
	else
	{
		r->state = ROTATE_CERTIFICATE;
		if (!forward_call(r->o.forward, "Rotate", &request.base, certificate_came, r))
			failed(r, "the link takes no call");
	}
	free(csr);
}

static void
challenge_came(int status, const char *text, const uint8_t *data, size_t len, void *arg)
{
	struct rotate *r = arg;
	Probectl__Agent__V1__RotateResponse *answer;

	if (status != GRPC_OK)
	{
		refused(r, status, text);
		return;
	}
	answer = probectl__agent__v1__rotate_response__unpack(NULL, len, data);
	if (answer && answer->challenge[0])
		certificate_ask(r, answer->challenge);
	else
		failed(r, "the challenge cannot be read");
	if (answer)
		probectl__agent__v1__rotate_response__free_unpacked(answer, NULL);
}

/* Without a link nothing happens: rotate_linked comes. */
static void
begin(struct rotate *r)
{
	Probectl__Agent__V1__RotateRequest request = PROBECTL__AGENT__V1__ROTATE_REQUEST__INIT;

	r->state = ROTATE_CHALLENGE;
	if (!forward_call(r->o.forward, "Rotate", &request.base, challenge_came, r))
		r->state = ROTATE_RESTING;
}

/* ---- after the end ---- */

/* Whether there is a token that was not refused yet. */
static bool
token_there(struct rotate *r, struct timespec *changed)
{
	const char *file = r->o.settings->enroll_token_file;
	struct stat st;

	memset(changed, 0, sizeof(*changed));
	if (!r->o.settings->enroll_server)
		return false;
	if (getenv("PROBECTL_ENROLL_TOKEN") && !r->env_refused)
		return true;
	if (!file || stat(file, &st) != 0)
		return false;
	*changed = st.st_ctim;
	return changed->tv_sec != r->token_refused.tv_sec ||
	       changed->tv_nsec != r->token_refused.tv_nsec;
}

static void
on_joined(const char *why_not, void *arg)
{
	struct rotate *r = arg;
	struct timespec changed;

	r->join = NULL;
	if (!why_not)
	{
		rotate_reload(r);
		return;
	}
	log_error("enroll", r->o.settings->enroll_server, "%s; put a new join token into %s", why_not,
	          r->o.settings->enroll_token_file ? r->o.settings->enroll_token_file
	                                           : "enroll.token_file");
	if (getenv("PROBECTL_ENROLL_TOKEN"))
		r->env_refused = true;
	else if (token_there(r, &changed))
		r->token_refused = changed;
}

static void
ended(struct rotate *r)
{
	const struct settings *s = r->o.settings;
	struct timespec changed;
	char when[32], err[512];

	if (!r->ended_told)
	{
		time_text(r->o.identity->not_after, when, sizeof(when));
		log_error(
		    "identity", r->o.identity->cert_file,
		    "the certificate ended at %s: measuring goes on and results are kept, but the "
		    "control plane takes none. Enrol again: put a new join token for agent %s into %s",
		    when, r->o.identity->agent_id,
		    s->enroll_token_file ? s->enroll_token_file
		                         : "a file, and set enroll.token_file and enroll.server");
		r->ended_told = true;
	}
	if (r->join || !token_there(r, &changed))
		return;
	r->join = join_start(r->o.base, r->o.resolver, s, on_joined, r, err, sizeof(err));
	if (r->join)
		log_info("enroll", s->enroll_server, "enrolling again with a join token");
	else
	{
		log_error("enroll", s->enroll_server, "%s", err);
		r->token_refused = changed;
	}
}

/* ---- time ---- */

static void
look_in(struct rotate *r, int64_t ms)
{
	struct timeval delay = clock_timeval(ms * NANO_PER_MS);

	event_add(r->timer, &delay);
}

static void
look(struct rotate *r)
{
	int64_t now = unix_now(), wait = LOOK_MS, left;

	if (now >= r->o.identity->not_after)
	{
		ended(r);
		look_in(r, LOOK_ENDED_MS);
		return;
	}
	if (now >= r->due)
		r->wanted = true;
	left = r->wanted ? (r->retry_at - clock_mono_nano() + NANO_PER_MS - 1) / NANO_PER_MS
	                 : (r->due - now) * 1000;
	if (r->wanted && left <= 0 && r->state == ROTATE_RESTING)
		begin(r);
	if (left > 0 && left < wait)
		wait = left;
	left = (r->o.identity->not_after - now) * 1000;
	look_in(r, left < wait ? left : wait);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	look(arg);
}

/* ---- interface ---- */

void
rotate_linked(struct rotate *r)
{
	if (r->state == ROTATE_RESTING)
		look(r);
}

void
rotate_now(struct rotate *r)
{
	log_info("identity", r->o.identity->agent_id, "a new certificate is wanted");
	r->wanted = true;
	r->retry_at = 0;
	look(r);
}

struct rotate *
rotate_new(const struct rotate_options *options)
{
	struct rotate *r = mem_alloc(sizeof(*r));

	r->o = *options;
	r->due = rotate_due(r->o.identity, random_number());
	backoff_init(&r->backoff, RETRY_MIN_MS, RETRY_MAX_MS, 0);
	metric_set(&rows[ROW_NOT_AFTER], r->o.identity->not_after);
	r->timer = evtimer_new(r->o.base, on_timer, r);
	if (!r->timer)
		log_fatal("identity", NULL, "out of memory for a timer");
	watch_start(r);
	look(r);
	return r;
}

void
rotate_free(struct rotate *r)
{
	if (!r)
		return;
	join_free(r->join);
	rest(r);
	event_free(r->timer);
	if (r->watch)
	{
		close(event_get_fd(r->watch));
		event_free(r->watch);
	}
	free(r);
}
