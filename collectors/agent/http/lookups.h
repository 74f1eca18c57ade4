/* SPDX-License-Identifier: PostgreSQL
 *
 * lookups.h -- algorithms of OpenSSL that were looked up before.
 *
 * libssl and the provider name their digests, MACs and key derivations anew in every handshake, some
 * fifty times, and OpenSSL 3.0 looks each name up under locks; so it does with the names of a kind of
 * key. What a name means does not change while the agent runs: it loads no provider and sets no
 * properties. So the first answer is kept. It is the library's, and holds a reference like any other.
 *
 * The linker leads the library's calls to here (--wrap, see sources.mk); there is nothing to call.
 */
#ifndef PCTL_AGENT_HTTP_LOOKUPS_H
#define PCTL_AGENT_HTTP_LOOKUPS_H

#define LOOKUPS_MAX       24 /* later ones are looked up each time */
#define LOOKUPS_NAME_MAX  32
#define LOOKUPS_NAMES_MAX 8 /* of one kind of key */

#endif
