# SPDX-License-Identifier: PostgreSQL
"""Three tenants and a provider whose every value is a secret that is recognised wherever it turns up.

What there is to fill is read from the catalog: each column of each tenant table that takes a text, a
document, bytes or a number gets its tenant's canary. A column that refuses it (a check, a list of
words) keeps an ordinary value and is listed. Identifiers get a prefix of their tenant; a quarter of them gets
another one that an attacker is supposed to know (KNOWN), so that statements can name what is not
theirs without naming a secret.
"""
import base64

import rig

LETTERS = "abc"
MARK = {"a": "zqamzqam", "b": "zqbmzqbm", "c": "zqcmzqcm", "p": "zqpmzqpm"}
NUMBER = {"a": 810463927, "b": 920573816, "c": 730682594, "p": 640791583}
SECRET_ID = {"a": "a5c0ffaa", "b": "b5c0ffbb", "c": "c5c0ffcc"}
KNOWN = {"a": "a0a0a0a0", "b": "b0b0b0b0", "c": "c0c0c0c0"}
TENANT = {letter: KNOWN[letter] + "-0000-7000-8000-00000000000" + letter for letter in LETTERS}
ROWS = 12
SCHEMAS = "('probectl', 'probectl_internal', 'probectl_api')"
# Values a column needs because a trigger, an expression or a hash makes sense of it.
TOLD = {"tenant_user.email": "'u' || i || '@example.net'", "credential.kind": "'token'", "role.permissions": "'{}'::text[]",
        "agent_certificate.not_after": "now() + interval '1 day'",
        "agent_certificate.serial": "'abc' || md5(random()::text)::text COLLATE \"C\"",
        "access_policy.permission": "'test.read'", "metric_chunk.level": "i % 3", "break_glass_grant.state": "'requested'",
        "break_glass_grant.reason": "'a reason that is long enough ' || i", "audit_checkpoint.prev_size": "i - 1", "audit_checkpoint.size": "i",
        "credential.hash": "sha256(convert_to(random()::text, 'UTF8'))"}
KEEP = {"tenant_user.issuer", "tenant_user.status", "audit_head", "audit_checkpoint", "tenant_quota.limit_value", "tenant_quota.used", "tenant_budget",
        "credential.revoked_at", "credential.expires_at", "agent.revoked_at", "agent_certificate.revoked_at",
        "agent_certificate.serial", "role.permissions", "credential.scopes", "access_policy.permission", "role.slug"}


def tables(conn):
    return rig.rows(conn, """SELECT c.oid, c.relname FROM pg_class c WHERE c.relnamespace = 'probectl'::regnamespace
        AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped) ORDER BY c.oid""")


def columns(conn, oid):
    return rig.rows(conn, """SELECT a.attname, a.atttypid::regtype::text, a.attnotnull, a.atthasdef,
        EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype IN ('p', 'f') AND a.attnum = ANY (k.conkey))
          OR EXISTS (SELECT FROM pg_partitioned_table p WHERE p.partrelid = a.attrelid AND a.attnum = ANY (p.partattrs::int2[])),
        (SELECT (regexp_match(pg_get_constraintdef(k.oid), '= ANY \\(ARRAY\\[''([^'']*)'''))[1] FROM pg_constraint k
          WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum] AND pg_get_constraintdef(k.oid) ~ '= ANY \\(ARRAY' LIMIT 1),
        EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND a.attnum = ANY (i.indkey::int2[]))
        FROM pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum""", (oid,))


def ordinary(table, name, kind, first_word):
    told = TOLD.get("%s.%s" % (table, name))
    if told:
        return told
    if first_word:
        return "'%s'" % first_word
    return {"uuid": "gen_random_uuid()", "text": "'t' || i", "boolean": "true", "interval": "'1 hour'::interval",
            "timestamp with time zone": "now() - i * interval '1 minute'", "date": "current_date", "bytea": "sha256(convert_to('x' || i, 'UTF8'))",
            "jsonb": "jsonb_build_object('k', i)", "json": "json_build_object('k', i)", "text[]": "ARRAY['x' || i]",
            "uuid[]": "ARRAY[gen_random_uuid()]", "bytea[]": "'{}'::bytea[]", "inet": "'192.0.2.1'::inet", "oid": "0::oid"}.get(kind, "(i + 100)::%s" % kind)


def filler(conn, oid, table, letter):
    """INSERT of ROWS rows: required columns, and whatever a foreign key leads to."""
    given = {"tenant_id": "'%s'::uuid" % TENANT[letter]}
    sources = ""
    keys = rig.rows(conn, """SELECT k.confrelid::regclass::text, array_agg(x.attname::text ORDER BY u.n), array_agg(y.attname::text ORDER BY u.n), bool_and(x.attnotnull)
        FROM pg_constraint k, unnest(k.conkey, k.confkey) WITH ORDINALITY u (here, far, n), pg_attribute x, pg_attribute y
        WHERE k.conrelid = %s AND k.contype = 'f' AND k.conparentid = 0 AND cardinality(k.conkey) > 1 AND x.attrelid = k.conrelid
        AND x.attnum = u.here AND y.attrelid = k.confrelid AND y.attnum = u.far GROUP BY k.oid""", (oid,))
    for n, (target, here, far, required) in enumerate(keys):
        if not required:
            continue
        sources += (" JOIN (SELECT *, row_number() OVER () AS n, count(*) OVER () AS m FROM %s WHERE tenant_id = '%s') f%d ON f%d.n = 1 + i %% f%d.m"
                    % (target, TENANT[letter], n, n, n))
        for mine, theirs in zip(here, far):
            given.setdefault(mine, "f%d.%s" % (n, theirs))
    for name, kind, required, default, _, word, _ in columns(conn, oid):
        if name in given or not required or (default and kind != "uuid"):
            continue
        given[name] = ordinary(table, name, kind, word)
    if table == "credential":
        sources += " JOIN LATERAL (SELECT user_id FROM probectl.tenant_user u WHERE u.tenant_id = '%s' LIMIT 1) o ON true" % TENANT[letter]
        given.update(user_id="o.user_id", expires_at="now() + interval '1 day'")
    if table == "role_binding":
        sources += " JOIN (SELECT user_id, row_number() OVER () AS n FROM probectl.tenant_user u WHERE u.tenant_id = '%s') o ON o.n = i" % TENANT[letter]
        given.update(user_id="o.user_id")
    return "INSERT INTO probectl.%s (%s) SELECT %s FROM generate_series(1, %d) i%s ON CONFLICT DO NOTHING" % (
        table, ", ".join(given), ", ".join(given.values()), ROWS, sources)


def canaries(kind, mark, number, name):
    unique = "substr(md5(ctid::text || tableoid::text), 1, 10)"
    return {"text": ["'%s' || %s" % (mark, unique), "'%s' || %s || '@%s.example'" % (mark, unique, mark), "'https://%s.example/'" % mark],
            "jsonb": ["%s || jsonb_build_object('%s', '%s', 'n', %d)" % (name, mark, mark, number), "jsonb_build_object('k', '%s')" % mark],
            "json": ["json_build_object('k', '%s', 'n', %d)" % (mark, number)],
            "bytea": ["convert_to('%s', 'UTF8') || decode(md5(ctid::text), 'hex')" % (mark * 2), "convert_to('%s', 'UTF8')" % (mark * 4)],
            "text[]": ["%s || '%s'::text" % (name, mark), "ARRAY['{\"t\":1,\"latency_ms\":%d,\"ok\":true}']" % number],
            "integer": [str(number)], "bigint": [str(number) + "0001"], "numeric": [str(number)], "double precision": ["%d.5" % number]}.get(kind, [])


def mark_columns(conn, letter):
    """Puts the canary wherever it is taken; returns (taken, refused) as lists of table.column."""
    taken, refused = [], []
    for oid, table in tables(conn):
        for name, kind, _, _, key, _, _ in columns(conn, oid):
            full = "%s.%s" % (table, name)
            if key or table in KEEP or full in KEEP or not canaries(kind, "x", 1, name):
                continue
            for candidate in canaries(kind, MARK[letter], NUMBER[letter], name):
                if rig.refused(conn, "UPDATE probectl.%s SET %s = %s WHERE tenant_id = '%s'" % (table, name, candidate, TENANT[letter])) is None:
                    taken.append(full)
                    break
            else:
                refused.append(full)
    return taken, refused


def move_identifiers(conn, old, letter):
    """Gives a tenant its well-known identifier, and every identifier in its rows the prefix."""
    mapped = ("CASE WHEN %%s = '%s' THEN '%s' ELSE ((CASE WHEN right(%%s::text, 1) < '4' THEN '%s' ELSE '%s' END) || substr(%%s::text, 9))::uuid END"
              % (old, TENANT[letter], KNOWN[letter], SECRET_ID[letter]))
    for oid, table in tables(conn):
        sets = ["%s = %s" % (name, mapped.replace("%s", name)) for name, kind, *_ in columns(conn, oid) if kind == "uuid"]
        rig.rows(conn, "UPDATE probectl.%s SET %s WHERE tenant_id = '%s'" % (table, ", ".join(sets), old))
    for table, column in rig.rows(conn, """SELECT c.oid::regclass::text, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relnamespace = 'probectl_internal'::regnamespace AND c.relkind = 'r' AND a.atttypid = 'uuid'::regtype"""):
        rig.rows(conn, "UPDATE %s SET %s = '%s' WHERE %s = '%s'" % (table, column, TENANT[letter], column, old))


def people(conn, letter):
    """What is made through the functions: users, groups, roles, places, tests, credentials."""
    out = {}
    with rig.inside(conn, TENANT[letter]):
        admin = rig.value(conn, "SELECT probectl.user_create('admin@%s.example', 'Admin', 'admin')" % letter)
        viewer = rig.value(conn, "SELECT probectl.user_create('viewer@%s.example', 'Viewer', 'viewer')" % letter)
        group = rig.value(conn, "SELECT probectl.group_create('group')")
        rig.rows(conn, "SELECT probectl.group_set_member(%s, %s, true)", (group, viewer))
        service = rig.value(conn, "SELECT probectl.service_account_create('service', 'viewer')")
        rig.rows(conn, "INSERT INTO probectl.test (name, type, target) SELECT 'test ' || i, 'icmp', 'host ' || i FROM generate_series(1, 30) i")
        out.update(admin=admin, viewer=viewer, service=service)
    return out


def tokens(conn, letter):
    """Credentials, made last: their text carries the tenant's identifier."""
    with rig.inside(conn, TENANT[letter]):
        who = {row[1]: row[0] for row in rig.rows(conn, "SELECT user_id, split_part(issuer, ' ', 2) FROM probectl.tenant_user WHERE issuer ~ '^keep '")}
        out = {name: rig.value(conn, "SELECT probectl.api_token_create('t', %s, '1 day')", (who[name],)) for name in who}
        out["session"] = rig.value(conn, "SELECT probectl.signin_link_create(%s)", (who["admin"],))
    with rig.transaction(conn):
        out["session"] = rig.value(conn, "SELECT session FROM probectl.signin_redeem(%s, 'x')", (out["session"],))
    return out


def operator(conn):
    """An operator with a live session, and texts of the provider that no tenant may see."""
    rig.rows(conn, """INSERT INTO probectl_internal.provider_operator (operator_id, email, role, status, password, sealed_totp)
        SELECT gen_random_uuid(), '%s@example.net', 'admin', 'active', '%s', t.sealed FROM probectl_internal.totp_make() t ON CONFLICT DO NOTHING""" % (MARK["p"], MARK["p"]))
    secret, digest = rig.rows(conn, "SELECT secret, hash FROM probectl_internal.operator_mint('pos_')")[0]
    rig.rows(conn, "INSERT INTO probectl_internal.provider_session SELECT %s, operator_id, now(), now() + interval '1 day' FROM probectl_internal.provider_operator", (digest,))
    rig.rows(conn, "SELECT probectl_internal.provider_audit_append('%s', '%s', 'ok', '{\"k\": \"%s\"}')" % ((MARK["p"],) * 3))
    return secret


def make(conn):
    """Fills a fresh database. Returns tokens by tenant and a report of what holds a canary."""
    out = {}
    rig.rows(conn, "SELECT probectl.ca_init()")
    for letter in LETTERS:
        made = str(rig.value(conn, "SELECT probectl.tenant_create('%s-slug', '%s name')" % (letter, letter)))
        rig.rows(conn, "SET session_replication_role = replica")
        move_identifiers(conn, made, letter)
        rig.rows(conn, "SET session_replication_role = origin")
        who = people(conn, letter)
        rig.rows(conn, "SET session_replication_role = replica")
        for _ in range(3):
            for oid, table in tables(conn):
                if rig.value(conn, "SELECT count(*) FROM probectl.%s WHERE tenant_id = '%s'" % (table, TENANT[letter])) < 4:
                    said = rig.refused(conn, filler(conn, oid, table, letter))
                    if said:
                        out.setdefault("unfilled", {})["%s of %s" % (table, letter)] = said
        move_identifiers(conn, TENANT[letter], letter)
        # A name of one's own for the two people who get tokens.
        for name in ("admin", "viewer"):
            rig.rows(conn, "UPDATE probectl.tenant_user SET issuer = 'keep %s' WHERE user_id::text LIKE '%%%s'" % (name, str(who[name])[9:]))
        taken, kept = mark_columns(conn, letter)
        rig.rows(conn, "SET session_replication_role = origin")
        out[letter] = {"taken": taken, "kept": kept}
    rig.rows(conn, "UPDATE probectl_internal.tenant_registry SET name = 'known', slug = 'known-' || left(tenant_id::text, 1)")
    for letter in LETTERS:
        out[letter]["tokens"] = tokens(conn, letter)
    out["operator"] = operator(conn)
    out["rows"] = {table: {letter: rig.value(conn, "SELECT count(*) FROM probectl.%s WHERE tenant_id = '%s'" % (table, TENANT[letter]))
                           for letter in LETTERS} for _, table in tables(conn)}
    rig.rows(conn, "ANALYZE")
    return out


def forms(letter):
    """The secrets of a party as they may come back: as they are, backwards, in hex, in base64, without hyphens."""
    mark = MARK[letter]
    out = [mark, mark[::-1], mark.encode().hex(), str(NUMBER[letter])]
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + mark.encode() * 3).decode()
        out.append(coded.replace("=", "")[4:14].lower())
    if letter in SECRET_ID:
        out.append(SECRET_ID[letter])
    return out
