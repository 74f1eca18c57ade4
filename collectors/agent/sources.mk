# SPDX-License-Identifier: PostgreSQL
#
# Fully static and without NSS: agent/resolver reads hosts and resolv.conf itself. One file a
# line; canaries after the core.
agent_SRCS = \
	agent/main.c \
	agent/settings.c \
	agent/privilege.c \
	agent/confine.c \
	agent/sched.c \
	agent/tests.c \
	agent/bundle.c \
	agent/forward.c \
	agent/join.c \
	agent/rotate.c \
	agent/probe.c \
	agent/pace.c \
	agent/guard.c \
	agent/stamp.c \
	agent/stats.c \
	agent/result.c \
	agent/dnswire.c \
	agent/dnscache.c \
	agent/resolvconf.c \
	agent/resolver.c \
	agent/once.c \
	agent/sweep.c \
	agent/canary.c \
	agent/icmp/wire.c \
	agent/icmp/filter.c \
	agent/icmp/cmd.c \
	agent/icmp/engine.c \
	agent/icmp/run.c \
	agent/icmp/result.c \
	agent/tcp/cmd.c \
	agent/tcp/run.c \
	agent/tcp/result.c \
	agent/udp/frame.c \
	agent/udp/cmd.c \
	agent/udp/run.c \
	agent/udp/result.c \
	agent/udp/echo.c \
	agent/http/url.c \
	agent/http/parse.c \
	agent/http/h2.c \
	agent/http/rules.c \
	agent/http/certs.c \
	agent/http/chains.c \
	agent/http/lookups.c \
	agent/http/staple.c \
	agent/http/verify.c \
	agent/http/tls.c \
	agent/http/cmd.c \
	agent/http/run.c \
	agent/http/result.c \
	agent/a2a/txstamp.c \
	agent/a2a/wire.c \
	agent/a2a/track.c \
	agent/a2a/clock.c \
	agent/a2a/reflector.c \
	agent/a2a/meet.c \
	agent/a2a/cmd.c \
	agent/a2a/run.c \
	agent/a2a/result.c \
	agent/dns/name.c \
	agent/dns/msg.c \
	agent/dns/xfer.c \
	agent/dns/doh.c \
	agent/dns/crypt.c \
	agent/dns/denial.c \
	agent/dns/rrset.c \
	agent/dns/trust.c \
	agent/dns/chain.c \
	agent/dns/walk.c \
	agent/dns/anchor.c \
	agent/dns/cmd.c \
	agent/dns/run.c \
	agent/dns/result.c

agent_LIBS = -lldns -lnghttp2 -levent_core -lssl -lcrypto -lprotobuf-c -lyaml -ljansson -lz -lm
# Calls inside OpenSSL that go through agent/http/certs.c and lookups.c. Only in a static program is that
# the library; in a dynamic one it is what the agent itself calls.
agent_LDFLAGS = $(WRAPPED:%=-Wl,--wrap=%)
WRAPPED = \
	d2i_X509 \
	EVP_MD_fetch \
	EVP_MAC_fetch \
	EVP_KDF_fetch \
	EVP_KEYMGMT_names_do_all
# The sanitizers' run time needs a dynamic program.
ifndef SANITIZE
agent_LDFLAGS += -static
endif
