/* SPDX-License-Identifier: PostgreSQL
 *
 * auth.h -- credentials of a request, and the doors to get one: sign-in and enrolment.
 */
#ifndef PCTL_GATEWAY_AUTH_H
#define PCTL_GATEWAY_AUTH_H

#include <stdbool.h>

#define AUTH_TOKEN_MAX 512

struct conn;

struct auth_credential
{
	char token[AUTH_TOKEN_MAX + 1];
	bool cookie; /* sent by a browser on its own, so other sites can make it do so */
};

/* From Authorization: Bearer, else from the cookie. False: answered 401. */
bool auth_credential_of(struct conn *c, struct auth_credential *cred);

/* From Authorization alone, Bearer or Basic with the token as password: for programs, which no other site can make send it.
 * False: answered 401. */
bool auth_credential_of_program(struct conn *c, struct auth_credential *cred);

/* Whether a request that changes something comes from our own page. A bearer token cannot be
 * sent by another site; a cookie can. False: answered 403 or 415. */
bool auth_change_allowed(struct conn *c, const struct auth_credential *cred);

void auth_signin(struct conn *c);
void auth_signout(struct conn *c);
void auth_enroll(struct conn *c);

void auth_start(void);
void auth_stop(void);

#endif
