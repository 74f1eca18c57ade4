/* SPDX-License-Identifier: PostgreSQL
 *
 * test_grpc.c -- framing, and the client against a server that is a forked child.
 *
 * The server is nghttp2 and OpenSSL without any of the code under test. The path of a call says
 * what becomes of it:
 *
 *   /t/Echo    every message comes back; status 0 when the client is done
 *   /t/Fail    no message, status 9 "stale epoch, 5 < 7"
 *   /t/Silent  nothing, ever
 *   /t/Long    a message over the client's limit
 *   /t/Cut     status 0 in the middle of a message
 *   /t/Http    HTTP 503 without any gRPC
 *   /t/Away    GOAWAY, then the call is served
 *   /t/Die     the connection is closed
 */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <event2/event.h>
#include <nghttp2/nghttp2.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "lib/crypto.h"
#include "lib/grpc.h"

/* ---- framing ---- */

struct seen
{
	size_t count, bytes;
	bool stop;
};

static bool
count_message(void *arg, const uint8_t *data, size_t len)
{
	struct seen *seen = arg;

	seen->count++;
	seen->bytes += len;
	return !seen->stop;
}

static void
messages_come_whole_however_they_are_cut(void **state)
{
	const uint8_t wire[] = {0, 0, 0, 0, 2, 'h', 'i', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'x'};

	for (size_t piece = 1; piece <= sizeof(wire); piece++)
	{
		struct grpc_reader r;
		struct seen seen = {0};

		grpc_reader_init(&r, 100);
		for (size_t at = 0; at < sizeof(wire); at += piece)
			assert_null(grpc_reader_feed(&r, wire + at,
			                             piece < sizeof(wire) - at ? piece : sizeof(wire) - at,
			                             count_message, &seen));
		assert_int_equal(seen.count, 3);
		assert_int_equal(seen.bytes, 3);
		assert_true(grpc_reader_idle(&r));
		grpc_reader_free(&r);
	}
}

static void
what_is_not_grpc_is_refused(void **state)
{
	const uint8_t compressed[] = {1, 0, 0, 0, 0}, unknown[] = {9, 0, 0, 0, 0};
	const uint8_t longer[] = {0, 0, 0, 0, 101};
	struct seen seen = {0};
	struct grpc_reader r;

	grpc_reader_init(&r, 100);
	assert_string_equal(grpc_reader_feed(&r, compressed, 5, count_message, &seen),
	                    "a compressed message");
	grpc_reader_free(&r);
	assert_string_equal(grpc_reader_feed(&r, unknown, 5, count_message, &seen),
	                    "a message with an unknown flag");
	grpc_reader_free(&r);
	/* Refused by its header: nothing is kept for what would follow. */
	assert_string_equal(grpc_reader_feed(&r, longer, 5, count_message, &seen),
	                    "a message longer than the limit");
	assert_int_equal(seen.count, 0);
	grpc_reader_free(&r);
}

/* ---- the server ---- */

struct served
{
	char path[32];
	uint8_t data[4096];
	size_t len, sent;
	bool done;        /* the client has sent its end */
	int status;       /* grpc-status; -1 = none */
	const char *http; /* :status */
	const char *text;
	bool silent, started;
};

struct server
{
	SSL *ssl;
	nghttp2_session *session;
	bool die;
};

static ssize_t
server_send(nghttp2_session *session, const uint8_t *data, size_t len, int flags, void *arg)
{
	struct server *server = arg;
	int n = SSL_write(server->ssl, data, (int) len);

	return n > 0 ? n : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static ssize_t
server_provide(nghttp2_session *session, int32_t stream, uint8_t *to, size_t len, uint32_t *flags,
               nghttp2_data_source *source, void *arg)
{
	struct served *s = source->ptr;
	char status[8];
	nghttp2_nv trailers[2] = {
	    {(uint8_t *) "grpc-status", (uint8_t *) status, 11, 0, NGHTTP2_NV_FLAG_NONE},
	    {(uint8_t *) "grpc-message", (uint8_t *) s->text, 12, s->text ? strlen(s->text) : 0,
	     NGHTTP2_NV_FLAG_NONE},
	};

	if (len > s->len - s->sent)
		len = s->len - s->sent;
	memcpy(to, s->data + s->sent, len);
	s->sent += len;
	if (s->sent == s->len && s->done)
	{
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (s->status >= 0)
		{
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			trailers[0].valuelen = (size_t) snprintf(status, sizeof(status), "%d", s->status);
			nghttp2_submit_trailer(session, stream, trailers, s->text ? 2 : 1);
		}
	}
	else if (len == 0)
		return NGHTTP2_ERR_DEFERRED;
	return (ssize_t) len;
}

static void
server_put(struct served *s, const void *data, size_t len)
{
	memcpy(s->data + s->len, data, len);
	s->len += len;
}

/* What the path asks for, when its headers are in. */
static void
server_decide(struct server *server, struct served *s, int32_t stream)
{
	static const uint8_t longer[] = {0, 0, 16, 0, 0}, half[] = {0, 0, 0, 0, 9, 'x'};
	nghttp2_nv headers[2] = {
	    {(uint8_t *) ":status", (uint8_t *) "200", 7, 3, NGHTTP2_NV_FLAG_NONE},
	    {(uint8_t *) "content-type", (uint8_t *) "application/grpc", 12, 16, NGHTTP2_NV_FLAG_NONE},
	};
	nghttp2_data_provider provider = {.source.ptr = s, .read_callback = server_provide};

	if (strcmp(s->path, "/t/Silent") == 0)
		s->silent = true;
	else if (strcmp(s->path, "/t/Fail") == 0)
	{
		s->status = 9;
		s->text = "stale epoch, 5 %3C 7";
		s->done = true;
	}
	else if (strcmp(s->path, "/t/Long") == 0)
		server_put(s, longer, sizeof(longer));
	else if (strcmp(s->path, "/t/Cut") == 0)
	{
		server_put(s, half, sizeof(half));
		s->done = true;
	}
	else if (strcmp(s->path, "/t/Http") == 0)
	{
		headers[0].value = (uint8_t *) "503";
		s->status = -1;
		s->done = true;
	}
	else if (strcmp(s->path, "/t/Away") == 0)
		nghttp2_submit_goaway(server->session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_NO_ERROR, NULL,
		                      0);
	else if (strcmp(s->path, "/t/Die") == 0)
		server->die = true;
	if (!s->silent && !server->die)
		nghttp2_submit_response(server->session, stream, headers, 2, &provider);
	s->started = true;
}

static int
server_begin(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	if (frame->hd.type == NGHTTP2_HEADERS)
		nghttp2_session_set_stream_user_data(session, frame->hd.stream_id,
		                                     calloc(1, sizeof(struct served)));
	return 0;
}

static int
server_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
              size_t namelen, const uint8_t *value, size_t valuelen, uint8_t flags, void *arg)
{
	struct served *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (s && namelen == 5 && memcmp(name, ":path", 5) == 0 && valuelen < sizeof(s->path))
		memcpy(s->path, value, valuelen);
	return 0;
}

static int
server_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct served *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (!s)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && !s->started)
		server_decide(arg, s, frame->hd.stream_id);
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		s->done = true;
	if (!s->silent)
		nghttp2_session_resume_data(session, frame->hd.stream_id);
	return 0;
}

static int
server_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
            size_t len, void *arg)
{
	struct served *s = nghttp2_session_get_stream_user_data(session, stream);

	if (s && s->status == 0 && strcmp(s->path, "/t/Long") != 0 && s->len + len < sizeof(s->data))
		server_put(s, data, len);
	return 0;
}

static void __attribute__((noreturn)) server_run(int listener, const char *pem)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	nghttp2_session_callbacks *callbacks;
	struct server server = {0};
	uint8_t bytes[16384];
	int n;

	SSL_CTX_use_certificate_chain_file(ctx, pem);
	SSL_CTX_use_PrivateKey_file(ctx, pem, SSL_FILETYPE_PEM);
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_send_callback(callbacks, server_send);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, server_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, server_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, server_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, server_data);
	nghttp2_session_server_new(&server.session, callbacks, &server);
	nghttp2_submit_settings(server.session, NGHTTP2_FLAG_NONE, NULL, 0);
	server.ssl = SSL_new(ctx);
	SSL_set_fd(server.ssl, accept(listener, NULL, NULL));
	if (SSL_accept(server.ssl) != 1)
		_exit(0);
	nghttp2_session_send(server.session);
	while (!server.die && (n = SSL_read(server.ssl, bytes, sizeof(bytes))) > 0 &&
	       nghttp2_session_mem_recv(server.session, bytes, (size_t) n) >= 0 &&
	       nghttp2_session_send(server.session) == 0)
		;
	_exit(0);
}

/* ---- the rig ---- */

struct rig
{
	char *dir;
	char pem[512];
	int listener;
	pid_t pid;
	struct sockaddr_in addr;
	struct event_base *base;
	struct ssl_ctx_st *ctx;
	struct grpc_conn *conn;
	bool up, down, close_in_callback;
	char why[256];
	struct call_seen
	{
		struct grpc_call *call;
		size_t messages, bytes;
		bool closed;
		int status;
		char text[256];
		struct rig *rig;
	} calls[4];
};

/* A key and a certificate for 127.0.0.1 in one file. */
static void
make_pem(const char *path)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
	FILE *f = fopen(path, "we");

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
	                           (const unsigned char *) "unit", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_set_pubkey(x, key);
	X509_add_ext(x, names, -1);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	assert_non_null(f);
	PEM_write_X509(f, x);
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	X509_EXTENSION_free(names);
	X509_free(x);
	EVP_PKEY_free(key);
}

static void
rig_up(void *arg)
{
	((struct rig *) arg)->up = true;
}

static void
rig_down(void *arg, const char *why)
{
	struct rig *rig = arg;

	assert_false(rig->down);
	rig->down = true;
	snprintf(rig->why, sizeof(rig->why), "%s", why);
	if (rig->close_in_callback)
	{
		grpc_close(rig->conn);
		rig->conn = NULL;
	}
}

static void
call_message(void *arg, const uint8_t *data, size_t len)
{
	struct call_seen *seen = arg;

	seen->messages++;
	seen->bytes += len;
}

static void
call_closed(void *arg, int status, const char *text)
{
	struct call_seen *seen = arg;

	assert_false(seen->closed);
	seen->closed = true;
	seen->call = NULL;
	seen->status = status;
	snprintf(seen->text, sizeof(seen->text), "%s", text);
}

static const struct grpc_call_ops call_ops = {call_message, call_closed};

static void
rig_connect(struct rig *rig, const char *host, int connect_ms)
{
	static const struct grpc_conn_ops ops = {rig_up, rig_down};
	const struct grpc_options options = {
	    .host = host, .connect_ms = connect_ms, .message_max = 1000};
	char err[256];

	rig->conn = grpc_connect(rig->base, rig->ctx, (struct sockaddr *) &rig->addr, sizeof(rig->addr),
	                         &options, &ops, rig, err, sizeof(err));
	if (!rig->conn)
		fail_msg("%s", err);
}

static int
rig_setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct crypto_client client = {.min13 = true, .alpn = NULL};
	socklen_t len = sizeof(rig->addr);
	char err[256];

	rig->dir = unit_dir();
	snprintf(rig->pem, sizeof(rig->pem), "%s/server.pem", rig->dir);
	make_pem(rig->pem);
	rig->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rig->addr.sin_family = AF_INET;
	rig->addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(rig->listener, (struct sockaddr *) &rig->addr, len), 0);
	assert_int_equal(listen(rig->listener, 8), 0);
	assert_int_equal(getsockname(rig->listener, (struct sockaddr *) &rig->addr, &len), 0);
	rig->pid = fork();
	if (rig->pid == 0)
		server_run(rig->listener, rig->pem);
	rig->base = event_base_new();
	client.ca_file = rig->pem;
	rig->ctx = crypto_client_ctx(&client, err, sizeof(err));
	assert_non_null(rig->ctx);
	*state = rig;
	return 0;
}

static int
rig_teardown(void **state)
{
	struct rig *rig = *state;

	grpc_close(rig->conn);
	crypto_ctx_free(rig->ctx);
	event_base_free(rig->base);
	kill(rig->pid, SIGKILL);
	waitpid(rig->pid, NULL, 0);
	close(rig->listener);
	unit_dir_remove(rig->dir);
	free(rig);
	return 0;
}

/* Turns the loop until the flag is set; 10 s at most. */
static void
rig_wait(struct rig *rig, const bool *flag)
{
	const struct timeval limit = {.tv_sec = 10};

	event_base_loopexit(rig->base, &limit);
	while (!*flag && !event_base_got_exit(rig->base))
		event_base_loop(rig->base, EVLOOP_ONCE);
	assert_true(*flag);
}

static struct call_seen *
rig_call(struct rig *rig, int index, const char *path, int timeout_ms)
{
	struct call_seen *seen = &rig->calls[index];

	seen->rig = rig;
	seen->call = grpc_call(rig->conn, path, timeout_ms, &call_ops, seen);
	assert_non_null(seen->call);
	return seen;
}

static struct rig *
rig_ready(void **state)
{
	struct rig *rig = *state;

	rig_connect(rig, "127.0.0.1", 5000);
	rig_wait(rig, &rig->up);
	return rig;
}

/* ---- the client ---- */

static void
streams_and_unary_calls_share_a_connection(void **state)
{
	struct rig *rig = rig_ready(state);
	struct call_seen *a = rig_call(rig, 0, "/t/Echo", 0), *b = rig_call(rig, 1, "/t/Echo", 5000);

	assert_true(grpc_send(a->call, "one", 3, false));
	assert_true(grpc_send(b->call, "unary", 5, true));
	assert_false(grpc_send(b->call, "more", 4, true)); /* it said that was the last */
	rig_wait(rig, &b->closed);
	assert_int_equal(b->status, GRPC_OK);
	assert_int_equal(b->bytes, 5);
	assert_false(a->closed);
	assert_true(grpc_send(a->call, "two", 3, false));
	assert_true(grpc_send(a->call, "", 0, true));
	rig_wait(rig, &a->closed);
	assert_int_equal(a->status, GRPC_OK);
	assert_int_equal(a->messages, 3);
	assert_int_equal(a->bytes, 6);
}

static void
a_status_comes_with_its_message(void **state)
{
	struct rig *rig = rig_ready(state);
	struct call_seen *a = rig_call(rig, 0, "/t/Fail", 5000);

	grpc_send(a->call, "x", 1, true);
	rig_wait(rig, &a->closed);
	assert_int_equal(a->status, GRPC_FAILED_PRECONDITION);
	assert_string_equal(a->text, "stale epoch, 5 < 7");
	assert_string_equal(grpc_status_name(a->status), "failed precondition");
}

static void
bad_answers_are_errors_of_the_call_only(void **state)
{
	struct rig *rig = rig_ready(state);
	struct call_seen *a = rig_call(rig, 0, "/t/Long", 5000), *b = rig_call(rig, 1, "/t/Cut", 5000),
	                 *c = rig_call(rig, 2, "/t/Http", 5000);

	grpc_send(a->call, "x", 1, true);
	grpc_send(b->call, "x", 1, true);
	grpc_send(c->call, "x", 1, true);
	rig_wait(rig, &a->closed);
	rig_wait(rig, &b->closed);
	rig_wait(rig, &c->closed);
	assert_int_equal(a->status, GRPC_INTERNAL);
	assert_non_null(strstr(a->text, "longer than the limit"));
	assert_int_equal(b->status, GRPC_INTERNAL);
	assert_int_equal(c->status, GRPC_UNAVAILABLE);
	assert_false(rig->down);
	a = rig_call(rig, 3, "/t/Echo", 5000);
	grpc_send(a->call, "still there", 11, true);
	rig_wait(rig, &a->closed);
	assert_int_equal(a->status, GRPC_OK);
}

static void
a_deadline_ends_the_call_and_not_the_connection(void **state)
{
	struct rig *rig = rig_ready(state);
	struct call_seen *a = rig_call(rig, 0, "/t/Silent", 50), *b;

	grpc_send(a->call, "x", 1, true);
	rig_wait(rig, &a->closed);
	assert_int_equal(a->status, GRPC_DEADLINE_EXCEEDED);
	b = rig_call(rig, 1, "/t/Echo", 5000);
	grpc_send(b->call, "x", 1, true);
	rig_wait(rig, &b->closed);
	assert_int_equal(b->status, GRPC_OK);
	/* A deadline that passes before anything was sent. */
	a = rig_call(rig, 2, "/t/Silent", 1);
	rig_wait(rig, &a->closed);
	assert_int_equal(a->status, GRPC_DEADLINE_EXCEEDED);
}

static void
a_cancelled_call_says_nothing_more(void **state)
{
	struct rig *rig = rig_ready(state);
	struct call_seen *a = rig_call(rig, 0, "/t/Echo", 5000), *b = rig_call(rig, 1, "/t/Echo", 5000);

	grpc_send(a->call, "x", 1, true);
	grpc_cancel(a->call);
	grpc_send(b->call, "x", 1, true);
	rig_wait(rig, &b->closed);
	assert_false(a->closed);
	assert_int_equal(a->messages, 0);
}

static void
a_lost_connection_closes_calls_first(void **state)
{
	struct rig *rig = rig_ready(state);
	struct call_seen *a = rig_call(rig, 0, "/t/Silent", 0), *b = rig_call(rig, 1, "/t/Die", 0);

	rig->close_in_callback = true;
	grpc_send(a->call, "x", 1, false);
	grpc_send(b->call, "x", 1, false);
	rig_wait(rig, &rig->down);
	assert_true(a->closed && b->closed);
	assert_int_equal(a->status, GRPC_UNAVAILABLE);
	assert_null(rig->conn);
}

static void
going_away_finishes_what_is_under_way(void **state)
{
	struct rig *rig = rig_ready(state);
	struct call_seen *a = rig_call(rig, 0, "/t/Away", 5000);

	grpc_send(a->call, "last words", 10, true);
	rig_wait(rig, &a->closed);
	assert_int_equal(a->status, GRPC_OK);
	assert_int_equal(a->bytes, 10);
	rig_wait(rig, &rig->down);
	assert_null(grpc_call(rig->conn, "/t/Echo", 0, &call_ops, &rig->calls[1]));
}

static void
the_wrong_server_is_refused(void **state)
{
	struct rig *rig = *state;

	rig_connect(rig, "127.0.0.2", 5000);
	rig_wait(rig, &rig->down);
	assert_false(rig->up);
	assert_non_null(strstr(rig->why, "certificate is refused"));
}

static void
a_server_that_does_not_answer_times_out(void **state)
{
	struct rig *rig = *state;
	int sink = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(rig->addr);

	/* Listens, never accepts: the connection is made, the handshake is not. */
	rig->addr.sin_port = 0;
	assert_int_equal(bind(sink, (struct sockaddr *) &rig->addr, len), 0);
	assert_int_equal(listen(sink, 1), 0);
	getsockname(sink, (struct sockaddr *) &rig->addr, &len);
	rig_connect(rig, "127.0.0.1", 100);
	rig_wait(rig, &rig->down);
	assert_string_equal(rig->why, "TLS handshake timed out");
	close(sink);
}

static void
a_closed_port_is_refused(void **state)
{
	struct rig *rig = *state;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(rig->addr);

	/* A port that was ours a moment ago and that nobody listens on. */
	rig->addr.sin_port = 0;
	assert_int_equal(bind(fd, (struct sockaddr *) &rig->addr, len), 0);
	getsockname(fd, (struct sockaddr *) &rig->addr, &len);
	rig->close_in_callback = true;
	rig_connect(rig, "127.0.0.1", 5000);
	rig_wait(rig, &rig->down);
	assert_string_equal(rig->why, strerror(ECONNREFUSED));
	close(fd);
}

int
main(void)
{
#define LIVE(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(messages_come_whole_however_they_are_cut),
	    cmocka_unit_test(what_is_not_grpc_is_refused),
	    LIVE(streams_and_unary_calls_share_a_connection),
	    LIVE(a_status_comes_with_its_message),
	    LIVE(bad_answers_are_errors_of_the_call_only),
	    LIVE(a_deadline_ends_the_call_and_not_the_connection),
	    LIVE(a_cancelled_call_says_nothing_more),
	    LIVE(a_lost_connection_closes_calls_first),
	    LIVE(going_away_finishes_what_is_under_way),
	    LIVE(the_wrong_server_is_refused),
	    LIVE(a_server_that_does_not_answer_times_out),
	    LIVE(a_closed_port_is_refused),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("grpc", tests, NULL, NULL);
}
