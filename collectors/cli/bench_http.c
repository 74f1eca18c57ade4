/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_http.c -- what a waterfall costs: the agent's canary and blackbox_exporter one after the
 * other against the same nginx on loopback, plain and with a full TLS handshake each.
 *
 * CPU is that of the measuring process; that of nginx stands beside it, because a machine has to have both. On loopback the kernel does a part of the server's work in the
 * calls of the client, so that is in it, too, for both alike. nginx has to be installed; blackbox_exporter
 * is left out when it is not.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/bench_peer.h"
#include "cli/proc.h"
#include "cli/util.h"

#define RUNS_DEFAULT    20000
#define RUNS_MAX        60000
#define TLS_SHARE       4 /* a handshake takes longer: so many times fewer */
#define BLACKBOX_PROBES 1000
#define AT_ONCE         "64"

static const char *const nginx_names[] = {"/usr/sbin/nginx", "/usr/bin/nginx", NULL};
static const char *const openssl_names[] = {"/usr/bin/openssl", NULL};

struct web
{
	pid_t pid;
	uint16_t plain, tls;
	const char *folder, *ca_file;
};

static void
write_file(const char *path, const char *text)
{
	struct util_error err;

	if (!util_write(path, text, strlen(text), 0600, getuid(), getgid(), &err))
		util_fail(EXIT_CANNOT, "bench http: %s", err.text);
}

/* A certificate that is its own CA: P-256, as most of the web has by now. */
static void
certificate_make(const struct web *web)
{
	const char *argv[] = {peer_installed(openssl_names),
	                      "req",
	                      "-x509",
	                      "-newkey",
	                      "ec",
	                      "-pkeyopt",
	                      "ec_paramgen_curve:P-256",
	                      "-nodes",
	                      "-days",
	                      "2",
	                      "-subj",
	                      "/CN=bench",
	                      "-addext",
	                      "subjectAltName=IP:127.0.0.1",
	                      "-keyout",
	                      util_fmt("%s/key.pem", web->folder),
	                      "-out",
	                      web->ca_file,
	                      NULL};

	if (!argv[0])
		util_fail(EXIT_CANNOT, "bench http: openssl is not installed");
	peer_run(argv, web->folder);
}

/* Without session tickets: no run resumes, so they would be made and read for nothing. */
static struct web
web_start(const char *folder)
{
	struct web web = {
	    .plain = peer_free_port(), .folder = folder, .ca_file = util_fmt("%s/cert.pem", folder)};
	const char *conf = util_fmt("%s/nginx.conf", folder);
	const char *log = util_fmt("%s/nginx.log", folder);
	const char *argv[] = {peer_installed(nginx_names), "-e", log, "-c", conf, NULL};
	char *text;

	if (!argv[0])
		util_fail(EXIT_CANNOT, "bench http: nginx is not installed: apt-get install nginx-light");
	certificate_make(&web);
	do
		web.tls = peer_free_port();
	while (web.tls == web.plain);
	text = util_fmt("%sdaemon off; master_process off; pid %s/pid; error_log %s;\n"
	                "events { worker_connections 4096; }\nhttp { access_log off;\n",
	                geteuid() == 0 ? "user root; " : "", folder, log);
	for (const char *const *kind =
	         (const char *const[]){"client_body", "proxy", "fastcgi", "uwsgi", "scgi", NULL};
	     *kind; kind++)
		text = util_fmt("%s%s_temp_path %s/%s;\n", text, *kind, folder, *kind);
	text = util_fmt(
	    "%sserver { listen 127.0.0.1:%u backlog=4096; return 200 hello; }\n"
	    "server { listen 127.0.0.1:%u ssl backlog=4096; return 200 hello;\n"
	    "ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_conf_command NumTickets 0;\n"
	    "ssl_certificate %s; ssl_certificate_key %s/key.pem; } }\n",
	    text, web.plain, web.tls, web.ca_file, folder);
	write_file(conf, text);
	web.pid = peer_launch(argv, util_fmt("%s/nginx.out", folder));
	peer_wait(web.plain, "nginx");
	peer_wait(web.tls, "nginx");
	return web;
}

static const char *
web_url(const struct web *web, bool tls)
{
	return util_fmt("http%s://127.0.0.1:%u/", tls ? "s" : "", tls ? web->tls : web->plain);
}

/* ---- ours ---- */

static double
web_cpu_us(const struct web *web)
{
	int64_t rss, cpu_us = 0;

	proc_usage(web->pid, &rss, &cpu_us);
	return (double) cpu_us;
}

struct figures
{
	double us, server_us, per_second;
};

static struct figures
measure_ours(const struct web *web, bool tls, int64_t runs)
{
	const char *list = util_fmt("%s/targets", web->folder), *url = web_url(web, tls);
	const char *argv[] = {peer_agent(), "--once",
	                      "http",       util_fmt("@%s", list),
	                      "--json",     "--summary",
	                      "--at-once",  AT_ONCE,
	                      "--param",    util_fmt("ca_file=%s", web->ca_file),
	                      NULL};
	FILE *f = fopen(list, "w");
	struct peer_outcome outcome;
	struct figures figures;
	double server_us;
	json_t *summary;

	for (int64_t i = 0; f && i < runs; i++)
		fprintf(f, "%s\n", url);
	if (!f || fclose(f) != 0)
		util_fail(EXIT_CANNOT, "bench http: cannot write %s: %s", list, strerror(errno));
	server_us = web_cpu_us(web);
	outcome = peer_run(argv, web->folder);
	server_us = web_cpu_us(web) - server_us;
	summary = json_loads(proc_last_line(outcome.output), 0, NULL);
	if (json_integer_value(json_object_get(summary, "ok")) != (json_int_t) runs)
		util_fail(EXIT_CANNOT, "bench http: the agent got %lld answers of %lld: %s",
		          (long long) json_integer_value(json_object_get(summary, "ok")), (long long) runs,
		          proc_last_line(outcome.output));
	figures = (struct figures){
	    .us = outcome.cpu_us / (double) runs,
	    .server_us = server_us / (double) runs,
	    .per_second = (double) runs / json_number_value(json_object_get(summary, "seconds"))};
	json_decref(summary);
	return figures;
}

/* ---- blackbox_exporter ---- */

static double
measure_blackbox(const struct web *web, const char *program, bool tls)
{
	const char *modules = util_fmt("modules:\n  http:\n    prober: http\n    http:\n"
	                               "      preferred_ip_protocol: ip4\n      tls_config:\n"
	                               "        ca_file: %s\n",
	                               web->ca_file);
	struct peer_blackbox blackbox = peer_blackbox_start(program, web->folder, modules);

	for (int i = 0; i < BLACKBOX_PROBES; i++)
		if (!peer_blackbox_probe(blackbox.port, "http", web_url(web, tls)))
			util_fail(EXIT_CANNOT, "bench http: blackbox_exporter did not probe");
	return peer_blackbox_stop(&blackbox) / BLACKBOX_PROBES;
}

/* ---- the run ---- */

static void
add(json_t *out, const char *name, double value)
{
	json_object_set_new(out, name, json_real(value));
}

static void
run(const struct bench_env *env, json_t *out)
{
	int64_t runs = env->rows ? env->rows : RUNS_DEFAULT;
	const char *blackbox = peer_installed(peer_blackbox_names);
	char folder[] = "/tmp/pctl-bench-XXXXXX";
	struct figures plain, tls;
	struct util_error err;
	const char *argv[] = {"/bin/rm", "-r", folder, NULL};
	struct web web;

	if (runs < TLS_SHARE || runs > RUNS_MAX)
		util_fail(EXIT_USAGE, "bench http: --rows is %d to %d waterfalls", TLS_SHARE, RUNS_MAX);
	if (!mkdtemp(folder))
		util_fail(EXIT_CANNOT, "could not make %s: %s", folder, strerror(errno));
	web = web_start(folder);
	fprintf(stderr, "bench: %lld waterfalls, %lld with TLS\n", (long long) runs,
	        (long long) (runs / TLS_SHARE));
	plain = measure_ours(&web, false, runs);
	tls = measure_ours(&web, true, runs / TLS_SHARE);
	add(out, "us_per_waterfall", plain.us);
	add(out, "server_us_per_waterfall", plain.server_us);
	add(out, "waterfalls_per_s", plain.per_second);
	add(out, "us_per_tls_waterfall", tls.us);
	add(out, "server_us_per_tls_waterfall", tls.server_us);
	add(out, "tls_waterfalls_per_s", tls.per_second);
	if (blackbox)
	{
		fprintf(stderr, "bench: blackbox_exporter\n");
		add(out, "blackbox_us_per_waterfall", measure_blackbox(&web, blackbox, false));
		add(out, "blackbox_us_per_tls_waterfall", measure_blackbox(&web, blackbox, true));
	}
	else
		fprintf(stderr, "bench: blackbox_exporter is not installed: no figures of it\n");
	kill(web.pid, SIGTERM);
	waitpid(web.pid, NULL, 0);
	if (!proc_run(argv, NULL, NULL, &err))
		fprintf(stderr, "bench: %s stays: %s\n", folder, err.text);
}

const struct bench bench_http = {
    .name = "http",
    .summary = "processor time of HTTP waterfalls, plain and TLS, beside blackbox_exporter",
    .alone = true,
    .run = run,
};
