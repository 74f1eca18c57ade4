/* SPDX-License-Identifier: PostgreSQL
 *
 * test_resolver.c -- DNS messages in hex, the two files, the cache, and look-ups.
 *
 * The name server of the live tests runs on the same loop, on a free port of 127.0.0.1, over UDP and
 * TCP; what it says to a name is written in the name.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "agent/dnscache.h"
#include "agent/dnswire.h"
#include "agent/probe.h"
#include "agent/resolvconf.h"
#include "lib/buf.h"

/* ---- messages ---- */

static void
test_names(void **state)
{
	struct dns_name name;
	char text[300];

	assert_true(dns_name_parse("Www.Example.net", &name));
	assert_int_equal(name.len, 17);
	assert_memory_equal(name.bytes,
	                    "\x03www\x07"
	                    "example\x03net",
	                    17);
	assert_true(dns_name_parse("example.net.", &name));
	assert_int_equal(name.len, 13);
	assert_false(dns_name_parse("", &name));
	assert_false(dns_name_parse(".", &name));
	assert_false(dns_name_parse("a..b", &name));
	assert_false(dns_name_parse(".a", &name));
	memset(text, 'a', 64);
	text[64] = '\0';
	assert_false(dns_name_parse(text, &name)); /* a label of 64 */
	assert_true(dns_name_parse(text + 1, &name));
	for (size_t i = 0; i < 254; i++)
		text[i] = i % 2 ? '.' : 'a';
	text[253] = '\0'; /* 127 labels of one letter: 255 bytes with the root */
	assert_true(dns_name_parse(text, &name));
	assert_int_equal(name.len, 255);
	memcpy(text + 252, "aa", 3);
	assert_false(dns_name_parse(text, &name));
}

/* An answer under construction. Flags and counts are set by the caller. */
struct message
{
	struct buf b;
};

static void
begin(struct message *m, uint16_t id, uint16_t flags, const char *name, uint16_t type, int answers,
      int authorities)
{
	struct dns_name wire;

	buf_init(&m->b, 4096);
	buf_put_be16(&m->b, id);
	buf_put_be16(&m->b, flags);
	buf_put_be16(&m->b, 1);
	buf_put_be16(&m->b, (uint16_t) answers);
	buf_put_be16(&m->b, (uint16_t) authorities);
	buf_put_be16(&m->b, 0);
	assert_true(dns_name_parse(name, &wire));
	buf_put(&m->b, wire.bytes, wire.len);
	buf_put_be16(&m->b, type);
	buf_put_be16(&m->b, 1);
}

/* owner NULL: a pointer to the question's name at offset 12. */
static void
record(struct message *m, const char *owner, uint16_t type, uint32_t ttl, const void *data,
       size_t len)
{
	struct dns_name wire;

	if (owner)
	{
		assert_true(dns_name_parse(owner, &wire));
		buf_put(&m->b, wire.bytes, wire.len);
	}
	else
		buf_put_be16(&m->b, 0xc00c);
	buf_put_be16(&m->b, type);
	buf_put_be16(&m->b, 1);
	buf_put_be32(&m->b, ttl);
	buf_put_be16(&m->b, (uint16_t) len);
	buf_put(&m->b, data, len);
}

static void
alias(struct message *m, const char *owner, uint32_t ttl, const char *target)
{
	struct dns_name wire;

	assert_true(dns_name_parse(target, &wire));
	record(m, owner, 5, ttl, wire.bytes, wire.len);
}

static void
soa(struct message *m, uint32_t ttl, uint32_t minimum)
{
	uint8_t data[2 + 20] = {0};

	for (int i = 0; i < 4; i++)
		data[18 + i] = (uint8_t) (minimum >> (24 - 8 * i));
	record(m, "example.net", 6, ttl, data, sizeof(data));
}

static enum dns_verdict
verdict(struct message *m, uint16_t id, const char *name, uint16_t type, struct dns_answer *answer)
{
	struct dns_name wire;

	assert_true(dns_name_parse(name, &wire));
	dns_answer_read(m->b.data, m->b.len, id, &wire, type, answer);
	return answer->verdict;
}

static void
test_addresses(void **state)
{
	struct message m;
	struct dns_answer answer;

	begin(&m, 7, 0x8180, "WWW.example.net", DNS_TYPE_A, 3, 0);
	record(&m, NULL, DNS_TYPE_A, 300, "\xc0\0\2\1", 4);
	record(&m, NULL, DNS_TYPE_A, 60, "\xc0\0\2\2", 4);
	record(&m, "other.net", DNS_TYPE_A, 1, "\xc0\0\2\3", 4); /* not what was asked for */
	assert_int_equal(verdict(&m, 7, "www.EXAMPLE.net", DNS_TYPE_A, &answer), DNS_ADDRESSES);
	assert_int_equal(answer.count, 2);
	assert_int_equal(answer.ttl, 60);
	assert_memory_equal(answer.addresses[1], "\xc0\0\2\2", 4);
	/* another id, name, type: not the answer */
	assert_int_equal(verdict(&m, 8, "www.example.net", DNS_TYPE_A, &answer), DNS_FOREIGN);
	assert_int_equal(verdict(&m, 7, "ww.example.net", DNS_TYPE_A, &answer), DNS_FOREIGN);
	assert_int_equal(verdict(&m, 7, "www.example.net", DNS_TYPE_AAAA, &answer), DNS_FOREIGN);
	m.b.data[2] &= 0x7f; /* a question */
	assert_int_equal(verdict(&m, 7, "www.example.net", DNS_TYPE_A, &answer), DNS_FOREIGN);
	m.b.data[2] |= 0x82; /* truncated */
	assert_int_equal(verdict(&m, 7, "www.example.net", DNS_TYPE_A, &answer), DNS_TRUNCATED);
	buf_free(&m.b);
}

static void
test_alias_chain(void **state)
{
	struct message m;
	struct dns_answer answer;

	/* in the wrong order, with a TTL in the chain below that of the address */
	begin(&m, 1, 0x8180, "a.net", DNS_TYPE_AAAA, 3, 0);
	record(&m, "c.net", DNS_TYPE_AAAA, 900, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	alias(&m, "b.net", 30, "c.net");
	alias(&m, NULL, 600, "b.net");
	assert_int_equal(verdict(&m, 1, "a.net", DNS_TYPE_AAAA, &answer), DNS_ADDRESSES);
	assert_int_equal(answer.ttl, 30);
	buf_free(&m.b);

	begin(&m, 1, 0x8180, "a.net", DNS_TYPE_A, 2, 0); /* a ring */
	alias(&m, NULL, 600, "b.net");
	alias(&m, "b.net", 600, "a.net");
	assert_int_equal(verdict(&m, 1, "a.net", DNS_TYPE_A, &answer), DNS_MALFORMED);
	buf_free(&m.b);
}

static void
test_absence(void **state)
{
	struct message m;
	struct dns_answer answer;

	begin(&m, 1, 0x8183, "no.example.net", DNS_TYPE_A, 0, 1);
	soa(&m, 100, 40);
	assert_int_equal(verdict(&m, 1, "no.example.net", DNS_TYPE_A, &answer), DNS_NXDOMAIN);
	assert_int_equal(answer.ttl, 40);
	buf_free(&m.b);
	begin(&m, 1, 0x8180, "v4.example.net", DNS_TYPE_AAAA, 0, 1);
	soa(&m, 100000, 200000);
	assert_int_equal(verdict(&m, 1, "v4.example.net", DNS_TYPE_AAAA, &answer), DNS_NODATA);
	assert_int_equal(answer.ttl, DNS_NEGATIVE_MAX);
	buf_free(&m.b);
	begin(&m, 1, 0x8182, "x.net", DNS_TYPE_A, 0, 0);
	assert_int_equal(verdict(&m, 1, "x.net", DNS_TYPE_A, &answer), DNS_SERVFAIL);
	assert_int_equal(answer.ttl, 0);
	buf_free(&m.b);
	begin(&m, 1, 0x8183, "x.net", DNS_TYPE_A, 0, 0); /* no SOA: not to be kept */
	assert_int_equal(verdict(&m, 1, "x.net", DNS_TYPE_A, &answer), DNS_NXDOMAIN);
	assert_int_equal(answer.ttl, 0);
	buf_free(&m.b);
}

static void
test_hostile(void **state)
{
	struct message m;
	struct dns_answer answer;
	size_t whole;

	/* every cut of a good answer is foreign (in the question) or malformed, never addresses */
	begin(&m, 1, 0x8180, "x.net", DNS_TYPE_A, 1, 0);
	record(&m, NULL, DNS_TYPE_A, 300, "\xc0\0\2\1", 4);
	whole = m.b.len;
	for (m.b.len = 0; m.b.len < whole; m.b.len++)
	{
		verdict(&m, 1, "x.net", DNS_TYPE_A, &answer);
		assert_true(answer.verdict == DNS_FOREIGN || answer.verdict == DNS_MALFORMED);
		assert_int_equal(answer.count, 0);
	}
	buf_free(&m.b);
	/* a pointer to itself, and one forward */
	for (uint16_t target = 23; target <= 30; target += 7)
	{
		begin(&m, 1, 0x8180, "x.net", DNS_TYPE_A, 1, 0);
		buf_put_be16(&m.b, 0xc000 | target);
		for (int i = 0; i < 20; i++)
			buf_put_u8(&m.b, 0xc0);
		assert_int_equal(verdict(&m, 1, "x.net", DNS_TYPE_A, &answer), DNS_MALFORMED);
		buf_free(&m.b);
	}
	/* an address of the wrong size */
	begin(&m, 1, 0x8180, "x.net", DNS_TYPE_A, 1, 0);
	record(&m, NULL, DNS_TYPE_A, 300, "\xc0\0\2\1\0", 5);
	assert_int_equal(verdict(&m, 1, "x.net", DNS_TYPE_A, &answer), DNS_MALFORMED);
	buf_free(&m.b);
	/* more addresses than there is room for */
	begin(&m, 1, 0x8180, "x.net", DNS_TYPE_A, 40, 0);
	for (int i = 0; i < 40; i++)
		record(&m, NULL, DNS_TYPE_A, 300, "\xc0\0\2\1", 4);
	assert_int_equal(verdict(&m, 1, "x.net", DNS_TYPE_A, &answer), DNS_ADDRESSES);
	assert_int_equal(answer.count, DNS_ADDRESSES_MAX);
	buf_free(&m.b);
	/* a CNAME whose data goes on behind the name */
	begin(&m, 1, 0x8180, "x.net", DNS_TYPE_A, 1, 0);
	record(&m, NULL, 5, 300, "\1y\0zz", 5);
	assert_int_equal(verdict(&m, 1, "x.net", DNS_TYPE_A, &answer), DNS_MALFORMED);
	buf_free(&m.b);
}

/* ---- files ---- */

static void
test_resolv_conf(void **state)
{
	static const char text[] = "# comment\n"
	                           "nameserver 192.0.2.53 # first\n"
	                           "nameserver 2001:db8::53\r\n"
	                           "nameserver not-an-address\n"
	                           "nameserver 192.0.2.54\n"
	                           "nameserver 192.0.2.55\n"
	                           "domain old.example\n"
	                           "search one.example two.example. bad..example\n"
	                           "options ndots:2 timeout:100 attempts:0 edns0 rotate\n"
	                           "sortlist 1.2.3.4\n"
	                           "options attempts:3";
	struct resolvconf conf;
	char address[64];

	resolvconf_parse(&conf, text, sizeof(text) - 1, 5353);
	assert_int_equal(conf.server_count, 3);
	probe_address_text(&conf.servers[1].addr, address, sizeof(address));
	assert_string_equal(address, "2001:db8::53");
	assert_int_equal(ntohs(((struct sockaddr_in *) &conf.servers[0].addr)->sin_port), 5353);
	assert_int_equal(conf.search_count, 2);
	assert_string_equal(conf.search[1], "two.example");
	assert_int_equal(conf.ndots, 2);
	assert_int_equal(conf.timeout, RESOLVCONF_TIMEOUT_MAX);
	assert_int_equal(conf.attempts, 3);
	assert_true(conf.rotate);
	resolvconf_parse(&conf, "", 0, 53);
	probe_address_text(&conf.servers[0].addr, address, sizeof(address));
	assert_string_equal(address, "127.0.0.1");
	assert_int_equal(conf.ndots, 1);
	assert_false(conf.rotate);
}

static void
test_hosts_file(void **state)
{
	static const char text[] = "127.0.0.1 localhost\n192.0.2.9\tWeb web.example.net # alias\n"
	                           "::1 localhost\nnonsense web\n192.0.2.10";
	struct hosts hosts;

	assert_true(hosts_parse(&hosts, text, sizeof(text) - 1));
	assert_int_equal(hosts.count, 4);
	assert_string_equal(hosts.entries[1].name, "web");
	assert_string_equal(hosts.entries[2].name, "web.example.net");
	assert_int_equal(hosts.entries[3].address.addr.ss_family, AF_INET6);
	hosts_free(&hosts);
}

static void
test_literals(void **state)
{
	struct resolver_address address;
	char text[64];

	assert_true(resolver_literal("192.0.2.1", &address));
	assert_true(resolver_literal("fe80::1%1", &address));
	probe_address_text(&address.addr, text, sizeof(text));
	assert_string_equal(text, "fe80::1%1");
	assert_true(resolver_literal("::ffff:192.0.2.1", &address));
	assert_false(resolver_literal("192.0.2", &address));
	assert_false(resolver_literal("0x7f.1", &address));
	assert_false(resolver_literal("2130706433", &address));
	assert_false(resolver_literal("fe80::1%", &address));
	assert_false(resolver_literal("fe80::1%nosuch0", &address));
	assert_false(resolver_literal("", &address));
}

/* ---- cache ---- */

static void
test_cache(void **state)
{
	struct dnscache *cache = dnscache_new();
	struct dns_answer in = {.verdict = DNS_ADDRESSES, .ttl = 60, .count = 2}, out;
	struct dns_name name;
	char text[32];

	memcpy(in.addresses[1], "\xc0\0\2\2", 4);
	dns_name_parse("a.net", &name);
	dnscache_put(cache, &name, DNS_TYPE_A, &in, 1000);
	assert_true(dnscache_get(cache, &name, DNS_TYPE_A, &out, 1059));
	assert_int_equal(out.count, 2);
	assert_int_equal(out.ttl, 1);
	assert_memory_equal(out.addresses[1], "\xc0\0\2\2", 4);
	assert_false(dnscache_get(cache, &name, DNS_TYPE_AAAA, &out, 1000));
	assert_false(dnscache_get(cache, &name, DNS_TYPE_A, &out, 1060));
	in.ttl = 0;
	dnscache_put(cache, &name, DNS_TYPE_A, &in, 1000);
	assert_false(dnscache_get(cache, &name, DNS_TYPE_A, &out, 1000));

	/* full: the longest unused goes */
	in.ttl = 60;
	for (int i = 0; i <= DNSCACHE_ENTRIES_MAX; i++)
	{
		snprintf(text, sizeof(text), "n%d.net", i);
		dns_name_parse(text, &name);
		dnscache_put(cache, &name, DNS_TYPE_A, &in, 1000);
		dns_name_parse("n0.net", &name);
		assert_true(dnscache_get(cache, &name, DNS_TYPE_A, &out, 1000));
	}
	dns_name_parse("n1.net", &name);
	assert_false(dnscache_get(cache, &name, DNS_TYPE_A, &out, 1000));
	dns_name_parse("n2.net", &name);
	assert_true(dnscache_get(cache, &name, DNS_TYPE_A, &out, 1000));
	dnscache_free(cache);
}

/* ---- look-ups ---- */

struct lab
{
	struct event_base *base;
	struct resolver *resolver;
	int udp, tcp;
	uint16_t port;
	struct event *udp_event, *tcp_event;
	char hosts[64], resolv[64];
	unsigned questions; /* that reached the server */
	struct resolver_answer answer;
	int calls;
};

/* What the server says to a name: the first label is the order. */
static bool
reply(struct lab *lab, const uint8_t *query, size_t len, bool over_tcp, struct message *m)
{
	char order[64] = "", name[256] = "";
	uint16_t id, type;
	struct cursor c;
	uint8_t label;

	lab->questions++;
	cursor_init(&c, query, len);
	id = cursor_be16(&c);
	cursor_skip(&c, 10);
	while ((label = cursor_u8(&c)) != 0)
	{
		size_t used = strlen(name);

		cursor_copy(&c, name + used, label);
		name[used + label] = '.';
		if (order[0] == '\0')
			memcpy(order, name, label);
	}
	type = cursor_be16(&c);
	assert_false(c.failed);
	if (strcmp(order, "silent") == 0)
		return false;
	if (strcmp(order, "broken") == 0 || strcmp(order, "spoof") == 0)
	{
		/* spoof: an answer with a wrong id first, then nothing */
		begin(m, strcmp(order, "spoof") ? id : (uint16_t) (id + 1),
		      strcmp(order, "spoof") ? 0x8182 : 0x8180, name, type, strcmp(order, "spoof") ? 0 : 1,
		      0);
		if (strcmp(order, "spoof") == 0)
			record(m, NULL, type, 60, "\xc0\0\2\x66", 4);
		return true;
	}
	if (strcmp(order, "big") == 0 && !over_tcp)
	{
		begin(m, id, 0x8380, name, type, 0, 0);
		return true;
	}
	if (strcmp(order, "web") == 0 && strstr(name, "found") == NULL)
	{
		begin(m, id, 0x8183, name, type, 0, 0);
		return true;
	}
	if (strcmp(order, "no") == 0)
	{
		begin(m, id, 0x8183, name, type, 0, 1);
		soa(m, 60, 60);
		return true;
	}
	if (type == DNS_TYPE_AAAA)
	{
		if (strcmp(order, "halfsilent") == 0)
			return false;
		begin(m, id, 0x8180, name, type, 0, 1); /* exists, without such an address */
		soa(m, 60, 60);
		return true;
	}
	begin(m, id, 0x8180, name, type, 1, 0);
	record(m, NULL, type, 60, "\xc0\0\2\7", 4);
	return true;
}

static void
on_udp(evutil_socket_t fd, short what, void *arg)
{
	uint8_t data[512];
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *) &from, &len);
	struct message m;

	if (n > 0 && reply(arg, data, (size_t) n, false, &m))
	{
		sendto(fd, m.b.data, m.b.len, 0, (struct sockaddr *) &from, len);
		buf_free(&m.b);
	}
}

static void
on_tcp_question(evutil_socket_t fd, short what, void *arg)
{
	uint8_t data[514], length[2];
	ssize_t n = read(fd, data, sizeof(data)); /* the question comes in one piece */
	struct message m;

	if (n > 2 && reply(arg, data + 2, (size_t) n - 2, true, &m))
	{
		length[0] = (uint8_t) (m.b.len >> 8);
		length[1] = (uint8_t) m.b.len;
		assert_true(write(fd, length, 2) == 2);
		assert_true(write(fd, m.b.data, m.b.len) == (ssize_t) m.b.len);
		buf_free(&m.b);
	}
	close(fd);
}

static void
on_tcp(evutil_socket_t fd, short what, void *arg)
{
	struct lab *lab = arg;
	int c = accept(fd, NULL, NULL);

	assert_true(c >= 0);
	assert_int_equal(event_base_once(lab->base, c, EV_READ, on_tcp_question, lab, NULL), 0);
}

/* Replaced by a rename, so that size, time or inode differ whatever the clock's grain. */
static void
put_file(const char *path, const char *text)
{
	char next[80];
	FILE *f;

	snprintf(next, sizeof(next), "%s.new", path);
	f = fopen(next, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(rename(next, path), 0);
}

static void
lab_open(struct lab *lab, const char *resolv)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct resolver_options options = {lab->hosts, lab->resolv, 0};

	memset(lab, 0, sizeof(*lab));
	lab->tcp = rig_listen(AF_INET, 4, &lab->port);
	lab->udp = socket(AF_INET, SOCK_DGRAM, 0);
	addr.sin_port = htons(lab->port);
	assert_int_equal(bind(lab->udp, (struct sockaddr *) &addr, sizeof(addr)), 0);
	lab->base = event_base_new();
	lab->udp_event = event_new(lab->base, lab->udp, EV_READ | EV_PERSIST, on_udp, lab);
	lab->tcp_event = event_new(lab->base, lab->tcp, EV_READ | EV_PERSIST, on_tcp, lab);
	event_add(lab->udp_event, NULL);
	event_add(lab->tcp_event, NULL);
	snprintf(lab->hosts, sizeof(lab->hosts), "/tmp/probectl-test-hosts-%d", (int) getpid());
	snprintf(lab->resolv, sizeof(lab->resolv), "/tmp/probectl-test-resolv-%d", (int) getpid());
	put_file(lab->hosts, "192.0.2.9 Web.local\n");
	put_file(lab->resolv, resolv);
	options.port = lab->port;
	lab->resolver = resolver_new(lab->base, &options);
	assert_non_null(lab->resolver);
}

static void
lab_close(struct lab *lab)
{
	resolver_free(lab->resolver);
	event_free(lab->udp_event);
	event_free(lab->tcp_event);
	event_base_free(lab->base);
	close(lab->udp);
	close(lab->tcp);
	unlink(lab->hosts);
	unlink(lab->resolv);
}

static void
on_answer(const struct resolver_answer *answer, void *arg)
{
	struct lab *lab = arg;

	lab->answer = *answer;
	lab->calls++;
	event_base_loopbreak(lab->base);
}

static const char *
look_up(struct lab *lab, const char *name, enum resolver_family family)
{
	static char text[64];

	lab->calls = 0;
	assert_non_null(resolver_resolve(lab->resolver, name, family, on_answer, lab));
	assert_int_equal(lab->calls, 0);
	event_base_dispatch(lab->base);
	assert_int_equal(lab->calls, 1);
	if (lab->answer.error != ERROR_NONE)
	{
		assert_int_equal(lab->answer.count, 0);
		assert_true(lab->answer.message[0] != '\0');
		return error_type_name(lab->answer.error);
	}
	assert_true(lab->answer.count > 0);
	probe_address_text(&lab->answer.addresses[0].addr, text, sizeof(text));
	return text;
}

static const char one_server[] = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

static void
test_look_ups(void **state)
{
	struct lab lab;

	lab_open(&lab, one_server);
	assert_string_equal(look_up(&lab, "192.0.2.1", RESOLVER_ANY), "192.0.2.1");
	assert_string_equal(look_up(&lab, "::1", RESOLVER_ANY), "::1");
	assert_string_equal(look_up(&lab, "::1", RESOLVER_IPV4), "config_error");
	assert_string_equal(look_up(&lab, "WEB.local", RESOLVER_ANY), "192.0.2.9");
	assert_string_equal(look_up(&lab, "localhost", RESOLVER_IPV4), "127.0.0.1");
	assert_string_equal(look_up(&lab, "x.localhost", RESOLVER_IPV6), "::1");
	assert_int_equal(lab.questions, 0);
	assert_string_equal(look_up(&lab, "yes.example.net", RESOLVER_ANY), "192.0.2.7");
	assert_int_equal(lab.questions, 2); /* A and AAAA */
	assert_string_equal(look_up(&lab, "YES.example.net.", RESOLVER_ANY), "192.0.2.7");
	assert_int_equal(lab.questions, 2); /* both were kept, also the absence */
	assert_string_equal(look_up(&lab, "yes.example.net", RESOLVER_IPV6), "dns_nxdomain");
	assert_int_equal(lab.questions, 2);
	assert_string_equal(look_up(&lab, "no.example.net", RESOLVER_ANY), "dns_nxdomain");
	assert_string_equal(look_up(&lab, "broken.example.net", RESOLVER_ANY), "dns_servfail");
	assert_string_equal(look_up(&lab, "silent.example.net", RESOLVER_IPV4), "dns_timeout");
	assert_string_equal(look_up(&lab, "spoof.example.net", RESOLVER_IPV4), "dns_timeout");
	assert_string_equal(look_up(&lab, "a..b", RESOLVER_ANY), "dns_nxdomain");
	lab_close(&lab);
}

static void
test_truncated_answer_goes_to_tcp(void **state)
{
	struct lab lab;

	lab_open(&lab, one_server);
	assert_string_equal(look_up(&lab, "big.example.net", RESOLVER_IPV4), "192.0.2.7");
	assert_int_equal(lab.questions, 2); /* UDP, then TCP */
	lab_close(&lab);
}

/* A server that is not there is passed over at once, by its ICMP error. */
/* options rotate: two servers share the work; without it the first has it all. */
static void
test_servers_take_turns(void **state)
{
	static const char *const files[] = {
	    "nameserver 127.0.0.1\nnameserver 127.0.0.2\n",
	    "nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions rotate\n"};

	for (int rotate = 0; rotate < 2; rotate++)
	{
		struct sockaddr_in addr = {.sin_family = AF_INET,
		                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
		struct lab lab, second = {0};
		struct event *event;
		char name[64];

		lab_open(&lab, files[rotate]);
		second.udp = socket(AF_INET, SOCK_DGRAM, 0);
		addr.sin_port = htons(lab.port);
		assert_int_equal(bind(second.udp, (struct sockaddr *) &addr, sizeof(addr)), 0);
		event = event_new(lab.base, second.udp, EV_READ | EV_PERSIST, on_udp, &second);
		event_add(event, NULL);
		for (int i = 0; i < 6; i++)
		{
			snprintf(name, sizeof(name), "yes.n%d.example.net", i);
			assert_string_equal(look_up(&lab, name, RESOLVER_ANY), "192.0.2.7");
		}
		assert_int_equal(lab.questions, rotate ? 6 : 12); /* A and AAAA each */
		assert_int_equal(second.questions, rotate ? 6 : 0);
		event_free(event);
		close(second.udp);
		lab_close(&lab);
	}
}

static void
test_next_server(void **state)
{
	struct lab lab;

	lab_open(&lab, "nameserver 127.0.0.53\nnameserver 127.0.0.1\noptions timeout:5 attempts:1\n");
	assert_string_equal(look_up(&lab, "yes.example.net", RESOLVER_ANY), "192.0.2.7");
	lab_close(&lab);
}

/* One family answers, the other does not: that is not waited for. */
static void
test_silent_family(void **state)
{
	struct lab lab;
	int64_t began = probe_now();

	lab_open(&lab, "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n");
	assert_string_equal(look_up(&lab, "halfsilent.example.net", RESOLVER_ANY), "192.0.2.7");
	assert_true(probe_now() - began < 2000000000);
	lab_close(&lab);
}

static void
test_search_list(void **state)
{
	struct lab lab;

	lab_open(&lab, "nameserver 127.0.0.1\nsearch nowhere.example found.example\n");
	assert_string_equal(look_up(&lab, "web", RESOLVER_IPV4), "192.0.2.7");
	assert_int_equal(lab.questions, 2);
	assert_string_equal(look_up(&lab, "web.", RESOLVER_IPV4), "dns_nxdomain");
	assert_int_equal(lab.questions, 3); /* the search list is not for it */
	assert_string_equal(look_up(&lab, "web.sub", RESOLVER_IPV4), "192.0.2.7");
	assert_int_equal(lab.questions, 6); /* as it is, then both domains */
	lab_close(&lab);
}

static void
test_files_are_read_again(void **state)
{
	struct lab lab;

	lab_open(&lab, "nameserver 127.0.0.53\noptions attempts:1\n");
	assert_string_equal(look_up(&lab, "yes.example.net", RESOLVER_ANY), "dns_timeout");
	put_file(lab.resolv, one_server);
	assert_string_equal(look_up(&lab, "yes.example.net", RESOLVER_ANY), "192.0.2.7");
	assert_string_equal(look_up(&lab, "new.local", RESOLVER_ANY), "192.0.2.7");
	put_file(lab.hosts, "192.0.2.11 new.local\n");
	assert_string_equal(look_up(&lab, "new.local", RESOLVER_ANY), "192.0.2.11");
	unlink(lab.hosts);
	assert_string_equal(look_up(&lab, "new.local", RESOLVER_ANY), "192.0.2.7");
	lab_close(&lab);
}

static void
test_cancel(void **state)
{
	struct lab lab;
	struct resolver_query *query;

	lab_open(&lab, one_server);
	query = resolver_resolve(lab.resolver, "silent.example.net", RESOLVER_ANY, on_answer, &lab);
	resolver_cancel(query);
	/* what is left at the end is abandoned with the resolver */
	assert_non_null(
	    resolver_resolve(lab.resolver, "silent.example.net", RESOLVER_ANY, on_answer, &lab));
	event_base_loop(lab.base, EVLOOP_NONBLOCK);
	assert_int_equal(lab.calls, 0);
	lab_close(&lab);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_alias_chain),
	    cmocka_unit_test(test_absence),
	    cmocka_unit_test(test_hostile),
	    cmocka_unit_test(test_resolv_conf),
	    cmocka_unit_test(test_hosts_file),
	    cmocka_unit_test(test_literals),
	    cmocka_unit_test(test_cache),
	    cmocka_unit_test(test_look_ups),
	    cmocka_unit_test(test_truncated_answer_goes_to_tcp),
	    cmocka_unit_test(test_next_server),
	    cmocka_unit_test(test_servers_take_turns),
	    cmocka_unit_test(test_silent_family),
	    cmocka_unit_test(test_search_list),
	    cmocka_unit_test(test_files_are_read_again),
	    cmocka_unit_test(test_cancel),
	};

	return cmocka_run_group_tests_name("resolver", tests, NULL, NULL);
}
