# SPDX-License-Identifier: PostgreSQL
"""Random hostile statements over everything the catalog holds.

A grammar of SQL whose leaves are the real tables, partitions, columns and functions, of the extension and of the
server. It knows nothing of what is permitted: that is for the server to say. Statements name other
tenants' identifiers only where an attacker may know them (seed.KNOWN), so whatever secret comes back was
told by the server. The same seed gives the same statements.
"""
import random

import seed

# Would disturb the run rather than the boundary: they wait, take memory, or end our own sessions.
LEFT_OUT = {"pg_sleep", "pg_sleep_for", "pg_sleep_until", "repeat", "lpad", "rpad", "generate_series", "pg_terminate_backend",
            "pg_cancel_backend", "worker_wake", "array_fill", "pg_stat_reset", "pg_log_backend_memory_contexts",
            "generate_subscripts", "pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared",
            "operator_signin", "password_hash", "password_verify", "pg_nextoid"}
SETTINGS = ["force_parallel_mode = on", "parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0",
            "enable_hashjoin = off", "enable_seqscan = off", "enable_mergejoin = off", "jit = on", "jit_above_cost = 0", "plan_cache_mode = force_generic_plan",
            "row_security = off", "role = none", "role = probectl_owner", "session_authorization = default", "search_path = probectl",
            "probectl.tenant_id = '%(other)s'", "probectl.clock = '2100-01-01'", "session_replication_role = replica", "debug_print_plan = on",
            "client_min_messages = debug5", "work_mem = '64kB'", "constraint_exclusion = off", "check_function_bodies = off",
            "default_transaction_isolation = serializable", "transform_null_equals = on", "application_name = 'x'", "trace_sort = on"]
CATALOGS = ["pg_class", "pg_stats", "pg_statistic", "pg_stat_activity", "pg_stat_user_tables", "pg_stat_all_indexes", "pg_statio_user_tables",
            "pg_locks", "pg_prepared_statements", "pg_cursors", "pg_settings", "pg_authid", "pg_roles", "pg_policy", "pg_policies", "pg_proc",
            "pg_attribute", "pg_stats_ext", "pg_statistic_ext_data", "pg_largeobject", "pg_database", "pg_stat_database", "pg_shdepend",
            "pg_description", "pg_sequences", "pg_matviews", "pg_file_settings", "pg_hba_file_rules", "pg_config", "pg_shmem_allocations",
            "information_schema.tables", "information_schema.columns", "information_schema.role_table_grants", "pg_toast.pg_toast_1255",
            "pg_prepared_xacts", "pg_inherits", "pg_index", "pg_trigger", "pg_constraint", "pg_backend_memory_contexts", "pg_stat_progress_copy"]
CASTS = ["integer", "bigint", "numeric", "uuid", "date", "timestamptz", "interval", "inet", "jsonb", "json", "xml", "regclass", "regproc", "regtype", "regrole",
         "bytea", "boolean", "point", "tsvector", "tsquery", "int4range", "text[]", "bit(8)", "pg_lsn", "name", "xid", "oid", "money", "macaddr"]
TEXT_SHAPES = ["%s", "upper(%s)", "lower(%s)", "reverse(%s)", "initcap(%s)", "encode(convert_to(%s, 'UTF8'), 'hex')", "encode(convert_to(%s, 'UTF8'), 'base64')",
               "md5(%s)", "quote_literal(%s)", "format('%%s', %s)", "substr(%s, 1, 12)", "split_part(%s, '-', 1)", "regexp_replace(%s, 'x', '')", "to_json(%s)::text",
               "xmlforest(%s AS x)::text", "(xmlelement(name r, %s))::text", "array_to_string(ARRAY[%s], ',')", "translate(%s, 'q', 'q')", "concat('x', %s)", "(row(%s))::text",
               "to_tsvector('simple', %s)::text", "left(%s, 200)", "'x' || %s", "(jsonb_build_object('k', %s))::text", "ltrim(%s)", "btrim(%s)", "overlay(%s placing 'x' from 40)"]
LOCKS = ["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"]


class Catalog:
    """What there is, read once."""

    def __init__(self, rows):
        self.tables, self.columns, self.keys = [], {}, {}
        for name, column, kind, key in rows("""SELECT format('%I.%I', n.nspname, c.relname), a.attname, a.atttypid::regtype::text,
                EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND a.attnum = ANY (i.indkey::int2[]))
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
                WHERE n.nspname IN ('probectl', 'probectl_internal', 'probectl_api') AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND a.attnum > 0
                AND NOT a.attisdropped ORDER BY 1, a.attnum"""):
            if name not in self.columns:
                self.tables.append(name)
                self.columns[name], self.keys[name] = [], []
            self.columns[name].append((column, kind))
            if key:
                self.keys[name].append(column)
        self.leaves = {name for name, in rows("""SELECT format('%I.%I', c.relnamespace::regnamespace, c.relname) FROM pg_class c
                WHERE c.relispartition AND c.relkind IN ('r', 'p') AND c.relnamespace = 'probectl'::regnamespace""")}
        self.roots = [name for name in self.tables if name not in self.leaves]
        self.tenant = [name for name in self.roots if any(column == "tenant_id" for column, _ in self.columns[name])]
        # What an ordinary principal can read gives the deeper statements something to chew on.
        self.read = [name for name, in rows("""SELECT format('%I.%I', c.relnamespace::regnamespace, c.relname) FROM pg_class c
                WHERE c.relnamespace = 'probectl'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                AND has_table_privilege('probectl_app', c.oid, 'SELECT') ORDER BY 1""")]
        self.functions = [(name, kinds or [], ours, kind) for name, kinds, ours, kind in rows("""
                SELECT format('%I.%I', n.nspname, p.proname), p.proargtypes::regtype[]::text[], n.nspname ~ '^probectl', p.prokind
                FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                WHERE n.nspname IN ('pg_catalog', 'probectl', 'probectl_internal', 'probectl_api', 'information_schema') AND p.prokind IN ('f', 'a', 'w', 'p')
                AND p.prorettype NOT IN ('trigger'::regtype, 'internal'::regtype, 'event_trigger'::regtype) AND NOT 'internal'::regtype = ANY (p.proargtypes::regtype[])
                ORDER BY p.oid""") if name.split(".")[1] not in LEFT_OUT]
        self.ours = [f for f in self.functions if f[2]]
        self.talking = [f for f in self.functions if not f[2] and any(f[0].split(".")[1].startswith(p) for p in (
            "pg_", "lo_", "lo", "has_", "txid", "current_", "set_config", "query_to", "table_to", "schema_to", "database_to", "cursor_to", "row_", "json", "xml",
            "obj_description", "col_description", "ts_stat", "nextval", "currval", "lastval", "to_reg", "inet_", "currtid", "setseed"))]
        self.routes = rows("SELECT method, path FROM probectl.api_route ORDER BY path, method")


class Grammar:
    def __init__(self, catalog, number, me):
        self.c, self.r, self.me = catalog, random.Random(number), me
        self.other = [letter for letter in seed.LETTERS if letter != me]
        self.depth = 0

    # ---- leaves ------------------------------------------------------------------------------
    def pick(self, things):
        return things[int(self.r.random() * len(things))]

    def chance(self, p):
        return self.r.random() < p

    def known(self):
        """An identifier of somebody else that the attacker knows, or a guess."""
        letter = self.pick(self.other)
        return self.pick([seed.TENANT[letter], seed.TENANT[letter], seed.KNOWN[letter] + "-0000-7000-8000-000000000001",
                          "%s-%04x-4%03x-8%03x-%012x" % (seed.KNOWN[letter], self.r.getrandbits(16), self.r.getrandbits(12), self.r.getrandbits(12), self.r.getrandbits(48))])

    def table(self):
        x = self.r.random()
        return self.pick(self.c.read) if x < 0.8 else self.pick(self.c.roots) if x < 0.88 else self.pick(self.c.tables) if x < 0.96 else self.pick(CATALOGS)

    def columns(self, table):
        return self.c.columns.get(table) or [("oid", "oid"), ("ctid", "tid"), ("tableoid", "oid")]

    def column(self, table, alias):
        if self.chance(0.04):
            return "%s.%s" % (alias, self.pick(["ctid", "xmin", "xmax", "tableoid", "cmin"]))
        return "%s.%s" % (alias, self.pick(self.columns(table))[0])

    def constant(self, kind):
        if kind == "uuid":
            return "'%s'::uuid" % self.known()
        if kind in ("integer", "bigint", "smallint", "numeric", "double precision", "real", "oid", "xid", "xid8"):
            return "(%d)::%s" % (self.pick([0, 1, 2, 3, -1, 7, 100, 1259]), "text::" + kind if kind.startswith("xid") else kind)
        if kind == "boolean":
            return self.pick(["true", "false"])
        if kind in ("jsonb", "json"):
            return "'%s'::%s" % (self.pick(['{}', '{"test_id":"%s"}' % self.known(), '{"tenant_id":"%s","limit":"100"}' % self.known(), '[]', 'null']), kind)
        if kind == "regclass":
            return "'%s'::regclass" % self.pick(self.c.tables)
        if kind in ("text[]",):
            return "ARRAY['admin','%s']" % self.known()
        if kind == "bytea":
            return "'\\x00ff'::bytea"
        if kind in ("timestamp with time zone", "timestamp without time zone", "date"):
            return "now()::%s" % kind
        if kind == "interval":
            return "'1 day'::interval"
        if kind in ("text", "name", "character varying", "cstring", "\"char\"", "unknown"):
            return "'%s'::%s" % (self.pick([self.known(), "probectl.test", "probectl.result", "select * from probectl.test", "select name from probectl.tenant", "admin", "SELECT",
                                            "role", "none", "probectl_owner", "probectl.tenant_id", "/etc/passwd", "a", "probectl", "*", "%", "test.read", "c"]),
                                 "text" if kind in ("unknown", "cstring") else kind)
        if kind in ("anyelement", "any", "anynonarray", "\"any\"", "anycompatible", "anyarray", "anycompatiblearray", "record"):
            return self.pick(["1", "'x'::text", "ARRAY[1,2]", "ARRAY['x']", "row(1,2)"])
        other = {"tid": "(0,1)", "refcursor": "c", "pg_lsn": "0/1", "pg_snapshot": "1:2:", "txid_snapshot": "1:2:", "regproc": "now", "regtype": "int4", "regrole": "probectl_owner",
                 "pg_mcv_list": None, "xml": "<x/>", "jsonpath": "$", "inet": "127.0.0.1", "text[]": "{}", "int4range": "[1,2)", "integer[]": "{1}", "regnamespace": "probectl"}.get(kind)
        return "'%s'::%s" % (other, kind) if other else "NULL::%s" % kind

    # ---- expressions -------------------------------------------------------------------------
    def text(self, table, alias):
        inner = self.column(table, alias) + "::text"
        if self.chance(0.1):
            inner = "(%s)::text" % alias
        for _ in range(1 if self.chance(0.8) else 2):
            inner = self.pick(TEXT_SHAPES) % inner
        return inner

    def raising(self, table, alias):
        """An expression whose error text would carry the value."""
        x = self.text(table, alias)
        return self.pick(["(%s)::%s" % (x, self.pick(CASTS)), "('x' || %s)::int" % x, "CASE WHEN length(%s) > %d THEN 1/0 ELSE 1 END" % (x, self.r.randrange(40)),
                          "1 / (length(%s) - %d)" % (x, self.r.randrange(40)), "to_date(%s, 'YYYYMMDD')" % x, "(ARRAY[1])[(%s)::int]" % x, "to_number(%s, '9')" % x,
                          "jsonb_path_query_first('{}', (%s)::jsonpath)" % x, "regexp_matches(%s, %s)" % (x, x), "xmlparse(document %s)" % x, "set_bit('\\x00'::bytea, length(%s), 1)" % x,
                          "('{' || %s)::int[]" % x, "make_date(length(%s), 13, 1)" % x, "current_setting(%s)" % x, "to_regclass(%s)::text::int" % x, "sqrt(-length(%s))" % x,
                          "date_trunc(%s, now())" % x, "encode('', %s)" % x, "decode(%s, 'hex')" % x, "chr(-length(%s))" % x, "json_object(ARRAY[%s])" % x])

    def call(self, table=None, alias=None, choice=None):
        name, kinds, _, kind = choice or self.pick(self.pick([self.c.ours, self.c.talking, self.c.talking, self.c.functions]))
        args = []
        for k in kinds:
            if table and k in ("text", "anyelement", "\"any\"") and self.chance(0.6):
                args.append(self.text(table, alias))
            else:
                args.append(self.constant(k))
        return "%s(%s)%s" % (name, ", ".join(args), " OVER ()" if kind == "w" else "")

    def expression(self, table, alias):
        x = self.r.random()
        if x < 0.35:
            return self.column(table, alias)
        if x < 0.6:
            return self.text(table, alias)
        if x < 0.72:
            return self.raising(table, alias)
        if x < 0.85:
            return self.call(table, alias)
        if x < 0.92:
            return self.pick(["to_jsonb(%s)", "row_to_json(%s)", "(%s)::text", "hstore(%s)", "json_agg(%s) OVER ()", "jsonb_populate_record(NULL::probectl.test, to_jsonb(%s))"]) % alias
        if self.depth < 2:
            return "(%s)" % self.select(limit="1", columns=1)
        return self.pick(["count(*) OVER ()", "max(%s::text) OVER ()", "lag(%s::text) OVER (ORDER BY 1)", "first_value(%s::text) OVER ()", "ntile(3) OVER (ORDER BY %s::text)", "string_agg(%s::text, ',') OVER ()"]
                         ).replace("%s", self.column(table, alias))

    def predicate(self, table, alias):
        x = self.r.random()
        names = [n for n, _ in self.columns(table)]
        if x < 0.2 and "tenant_id" in names:
            return self.pick(["%s.tenant_id = '%s'", "%s.tenant_id <> '%s'", "%s.tenant_id IS DISTINCT FROM '%s'", "%s.tenant_id IN ('%s')", "(%s.tenant_id = '%s') IS NOT NULL", "NOT (%s.tenant_id = '%s')",
                              "%s.tenant_id::text LIKE left('%s', 4) || '%%'"]) % (alias, self.known())
        if x < 0.4:
            return "%s::text %s %s" % (self.column(table, alias), self.pick(["<>", ">", "~", "LIKE", "NOT LIKE", "!~~*", "<"]), self.pick(["''", "'%'", "'.*'", "'z%'", "'q'"]))
        if x < 0.5:
            return "(%s) IS %sNULL" % (self.raising(table, alias), self.pick(["", "NOT "]))
        if x < 0.58:
            return "(%s) IS NOT NULL" % self.call(table, alias)
        if x < 0.7 and self.depth < 2:
            return "%sEXISTS (%s)" % (self.pick(["", "NOT "]), self.select(limit="3"))
        if x < 0.8:
            return "(%s OR %s)" % (self.predicate(table, alias), self.pick(["true", "false", "1 = 1"]))
        return self.pick(["true", "1 = 1", "random() >= 0", "NOT false", "%s IS NOT NULL" % alias])

    # ---- statements --------------------------------------------------------------------------
    def source(self, names):
        """One item of FROM; names gets (table, alias)."""
        alias = "t%d" % len(names) + ("x" * self.depth)
        x = self.r.random()
        table = self.table()
        names.append((table, alias))
        if x < 0.75 or self.depth >= 2:
            return "%s%s %s%s" % ("ONLY " if self.chance(0.05) else "", table, alias, " TABLESAMPLE SYSTEM (100)" if self.chance(0.03) else "")
        if x < 0.85:
            return "(SELECT * FROM %s LIMIT 9) %s" % (table, alias)
        if x < 0.95 and len(names) > 1:
            outer = names[-2]
            return "LATERAL (SELECT q.* FROM %s q WHERE q IS DISTINCT FROM %s LIMIT 3) %s" % (table, outer[1], alias)
        names[-1] = ("", alias)
        return "LATERAL %s %s" % (self.call(), alias)

    def select(self, limit=None, columns=None):
        self.depth += 1
        names = []
        sources = self.source(names)
        for _ in range(self.pick([0, 0, 0, 1, 1, 2])):
            join = self.pick([" CROSS JOIN ", " LEFT JOIN ", " FULL JOIN ", " NATURAL JOIN ", ", "])
            sources += join + self.source(names) + (" ON %s" % self.pick(["true", "false", "1 = 1"]) if join in (" LEFT JOIN ", " FULL JOIN ") else "")
        table, alias = self.pick(names)
        items = ["*"] if columns is None and self.chance(0.25) else [self.expression(table, alias) for _ in range(columns or self.pick([1, 1, 2, 3]))]
        sql = "SELECT %s%s FROM %s" % ("DISTINCT " if self.chance(0.05) else "", ", ".join(items), sources)
        if self.chance(0.6):
            sql += " WHERE " + self.predicate(*self.pick(names))
        if self.chance(0.05):
            sql += " ORDER BY 1"
        self.depth -= 1
        return "%s LIMIT %s" % (sql, limit or self.pick(["5", "20", "40"]))

    def aggregate(self):
        table = self.table()
        item = self.pick(["count(*)", "count(DISTINCT t.*)", "string_agg(%s, ',')", "json_agg(t)", "xmlagg(xmlelement(name x, %s))", "max(%s)", "array_agg(%s)", "jsonb_object_agg(%s, 1)",
                          "mode() WITHIN GROUP (ORDER BY %s)", "percentile_disc(0.5) WITHIN GROUP (ORDER BY %s)", "bool_or(%s > '')", "every(%s > '')", "rank('x') WITHIN GROUP (ORDER BY %s)"])
        item = item.replace("%s", self.text(table, "t"))
        sql = "SELECT %s FROM %s t" % (item, table)
        if self.chance(0.5):
            sql += " WHERE " + self.predicate(table, "t")
        if self.chance(0.4):
            sql += " GROUP BY %s" % self.pick(["()", "GROUPING SETS ((), (%s))" % self.column(table, "t"), "ROLLUP (%s)" % self.column(table, "t"), self.column(table, "t")])
        return sql + " LIMIT 40"

    def sets(self):
        table = self.table()
        column = self.column(table, "x")
        return "SELECT %s::text FROM %s x %s SELECT %s FROM %s y LIMIT 40" % (column, table, self.pick(["UNION", "UNION ALL", "EXCEPT", "INTERSECT", "EXCEPT ALL"]),
                                                                             "y::text", self.table())

    def cte(self):
        table = self.table()
        x = self.r.random()
        if x < 0.3:
            return "WITH RECURSIVE w AS (SELECT x::text AS v, 1 AS n FROM %s x UNION ALL SELECT v, n + 1 FROM w WHERE n < 2) SELECT * FROM w LIMIT 30" % table
        if x < 0.6:
            return "WITH w AS (%s) SELECT (w)::text FROM w" % self.dml(returning=True)
        return "WITH w AS %s(%s) SELECT w.*, %s FROM w, %s t LIMIT 20" % (self.pick(["", "MATERIALIZED ", "NOT MATERIALIZED "]), self.select(), self.expression(table, "t"), table)

    def writable(self):
        return self.pick(self.c.tenant) if self.chance(0.8) else self.pick(self.c.tables)

    def target(self):
        return "probectl.test" if self.chance(0.55) else self.writable()

    def dml(self, returning=None):
        table = self.target()
        names = self.columns(table)
        column, kind = self.pick(names)
        back = " RETURNING %s" % self.pick(["*", "(t)::text", self.expression(table, "t")]) if returning or self.chance(0.6) else ""
        x = self.r.random()
        if x < 0.25:
            return "UPDATE %s t SET %s = %s WHERE %s%s" % (table, column, self.pick([self.constant(kind), column, "DEFAULT", "(SELECT max(x.%s) FROM %s x)" % (column, table)]), self.predicate(table, "t"), back)
        if x < 0.35:
            return "UPDATE %s t SET %s = u.%s FROM %s u WHERE %s%s" % (table, column, column, table, self.predicate(table, "u"), back)
        if x < 0.5:
            return "DELETE FROM %s t WHERE %s%s" % (table, self.predicate(table, "t"), back)
        if x < 0.58:
            return "DELETE FROM %s t USING %s u WHERE %s%s" % (table, self.table(), self.predicate(table, "t"), back)
        if x < 0.7 and not returning:
            return "MERGE INTO %s t USING %s u ON %s WHEN MATCHED THEN %s WHEN NOT MATCHED THEN DO NOTHING" % (
                table, self.table(), self.pick(["true", "t.tenant_id = '%s'" % self.known(), "false"]), self.pick(["DELETE", "UPDATE SET %s = %s" % (column, self.constant(kind)), "DO NOTHING"]))
        some = [c for c in names if c[0] != "tenant_id"][: self.r.randrange(1, 6)]
        given = [("tenant_id", "'%s'" % self.known())] if self.chance(0.6) else []
        given += [(n, self.constant(k)) for n, k in some]
        conflict = ""
        if self.chance(0.5):
            keys = self.c.keys.get(table) or [column]
            conflict = " ON CONFLICT %s" % self.pick(["DO NOTHING", "(%s) DO NOTHING" % ", ".join(keys), "(tenant_id, name) DO UPDATE SET target = excluded.target",
                                                       "(%s) DO UPDATE SET %s = excluded.%s WHERE %s" % (", ".join(keys), column, column, "true")])
        if table == "probectl.test" and self.chance(0.5):
            given = [(n, v) for n, v in given if n in ("tenant_id", "test_id")] + [("name", "'n%d'" % self.r.randrange(99)), ("type", "'icmp'"), ("target", "'x'")]
            if self.chance(0.5):
                given.append((self.pick(["agent_id", "project_id"]), "'%s'" % self.known()))
        return "INSERT INTO %s AS t (%s) VALUES (%s)%s%s" % (table, ", ".join(n for n, _ in given), ", ".join(v for _, v in given), conflict, back)

    def lock(self):
        table = self.table()
        return "SELECT %s FROM %s t WHERE %s FOR %s%s" % (self.expression(table, "t"), table, self.predicate(table, "t"), self.pick(LOCKS), self.pick([" SKIP LOCKED", " NOWAIT"]))

    def function(self):
        x = self.r.random()
        if x < 0.45:
            return "SELECT * FROM %s f LIMIT 40" % self.call(choice=self.pick([f for f in self.c.ours]) if x < 0.25 else None)
        if x < 0.7:
            table = self.table()
            return "SELECT %s FROM %s t LIMIT 10" % (self.call(table, "t", choice=self.pick(self.c.functions)), table)
        return "SELECT %s" % self.call(choice=self.pick(self.pick([self.c.ours, self.c.functions, self.c.talking])))

    def route(self):
        method, path = self.pick(self.c.routes)
        params = "'%s'" % "{%s}" % ", ".join('"%s": "%s"' % (part.strip("{}"), self.known()) for part in path.split("/") if part.startswith("{"))
        body = self.pick(["{}", '{"name": "x", "type": "icmp", "target": "x", "agent_id": "%s"}' % self.known(), '{"tenant_id": "%s"}' % self.known(), '{"name": "x", "type": "icmp", "target": "127.0.0.1", "project_id": "%s"}' % self.known()])
        query = self.pick(["{}", '{"agent_id": "%s"}' % self.known(), '{"test_id": "%s", "limit": "5"}' % self.known(), '{"after": "%s"}' % self.known(), '{"limit": "1000"}'])
        return "SELECT * FROM probectl.api_call('%s', '%s', %s, '%s', '%s')" % (method, path, params, query, body)

    def block(self):
        table = self.table()
        x = self.r.random()
        if x < 0.25:
            return "DO $$ DECLARE r record; BEGIN FOR r IN SELECT (t)::text AS v FROM %s t LOOP RAISE NOTICE '%%', r.v; END LOOP; END $$" % table
        if x < 0.5:
            return "DO $$ BEGIN BEGIN PERFORM %s FROM %s t; EXCEPTION WHEN OTHERS THEN RAISE WARNING '%% %%', SQLERRM, SQLSTATE; END; PERFORM %s FROM %s t; END $$" % (
                self.raising(table, "t"), table, self.expression(table, "t"), table)
        if x < 0.75:
            return "DO $$ BEGIN EXECUTE %s; EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION 'inner: %%', SQLERRM; END $$" % ("$q$%s$q$" % self.pick([self.select(), self.utility(), self.dml(), self.function()]))
        return ("DO $$ DECLARE c refcursor; r record; d text; BEGIN OPEN c FOR %s; FETCH c INTO r; RAISE NOTICE '%%', r; CLOSE c; "
                "EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL; RAISE NOTICE '%% %%', SQLERRM, d; END $$" % self.select())

    def utility(self):
        table = self.table()
        return self.pick(["EXPLAIN %s" % self.select(), "EXPLAIN (ANALYZE, VERBOSE, BUFFERS) %s" % self.select(), "EXPLAIN (FORMAT json) EXECUTE s1", "SET LOCAL %s" % self.setting(), "SET %s" % self.setting(),
                          "RESET ALL", "RESET role", "SET ROLE probectl_owner", "SET LOCAL SESSION AUTHORIZATION probectl_worker", "LISTEN probectl_event", "NOTIFY probectl_event, 'x'", "TRUNCATE %s" % table,
                          "LOCK TABLE %s IN ACCESS SHARE MODE" % table, "ANALYZE %s" % table, "CREATE TEMP TABLE tt AS SELECT * FROM %s" % table, "CREATE TEMP VIEW tv AS SELECT * FROM %s" % table,
                          "PREPARE pp AS SELECT * FROM %s" % table, "DECLARE cc CURSOR WITH HOLD FOR SELECT * FROM %s" % table, "ALTER TABLE %s DISABLE ROW LEVEL SECURITY" % table, "ALTER TABLE %s NO FORCE ROW LEVEL SECURITY" % table,
                          "CREATE POLICY p ON %s USING (true)" % table, "DROP POLICY tenant_isolation ON %s" % table, "GRANT ALL ON %s TO PUBLIC" % table, "ALTER TABLE %s OWNER TO probectl_app" % table,
                          "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS 'SELECT 1::text'", "COMMENT ON TABLE %s IS 'x'" % table, "VACUUM %s" % table, "CLUSTER %s" % table, "REINDEX TABLE %s" % table,
                          "CREATE STATISTICS st ON tenant_id, ctid FROM %s" % table, "SHOW ALL", "SHOW probectl.tenant_id", "SHOW data_directory", "DISCARD ALL", "PREPARE TRANSACTION 'x'", "LOAD 'auto_explain'",
                          "CREATE EXTENSION dblink", "CREATE RULE r AS ON SELECT TO %s DO INSTEAD SELECT 1" % table, "CREATE TRIGGER t BEFORE INSERT ON %s EXECUTE FUNCTION suppress_redundant_updates_trigger()" % table,
                          "REFRESH MATERIALIZED VIEW %s" % table, "CHECKPOINT", "ALTER SYSTEM SET work_mem = 64", "SECURITY LABEL ON TABLE %s IS 'x'" % table, "DO LANGUAGE internal 'x'", "SET CONSTRAINTS ALL DEFERRED",
                          "SELECT * INTO TEMP ti FROM %s" % table, "CREATE TABLE tc (LIKE %s INCLUDING ALL)" % table, "CREATE TABLE ti () INHERITS (%s)" % table, "IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z", "ALTER ROLE probectl_app BYPASSRLS"])

    def setting(self):
        return self.pick(SETTINGS) % {"other": self.known()}

    def catalog(self):
        table = self.pick(CATALOGS)
        return self.pick(["SELECT * FROM %s LIMIT 5", "SELECT count(*) FROM %s", "SELECT (x)::text FROM %s x LIMIT 5", "TABLE %s LIMIT 3", "SELECT 1 WHERE EXISTS (SELECT FROM %s)", "SELECT t.*, x.* FROM probectl.test t LEFT JOIN %s x ON true LIMIT 5"]) % table

    def copy(self):
        table = self.table()
        return self.pick(["COPY %s TO STDOUT" % table, "COPY (%s) TO STDOUT" % self.select(), "COPY (%s) TO STDOUT WITH (FORMAT csv, HEADER)" % self.aggregate(), "COPY (%s) TO STDOUT" % self.dml(returning=True),
                          "COPY %s FROM STDIN" % table, "COPY %s TO PROGRAM 'cat'" % table, "COPY %s FROM '/etc/passwd'" % table])

    def simple(self):
        return "%s; %s" % (self.select(), self.pick([self.select(), self.dml(), self.utility(), "SELECT * FROM probectl.tenant"]))

    def nested(self):
        q = self.pick(["SELECT * FROM %s" % self.table(), "SELECT name FROM probectl.tenant", "SELECT * FROM pg_class"])
        return self.pick(["SELECT query_to_xml('%s', true, false, '')", "SELECT * FROM ts_stat('%s')", "SELECT query_to_xml_and_xmlschema('%s', true, true, '')", "SELECT ts_rewrite('a'::tsquery, '%s')",
                          "SELECT (xpath('//x', query_to_xml('%s', false, true, '')))::text", "SELECT query_to_xmlschema('%s', true, false, '')", "SELECT * FROM crosstab('%s')", "SELECT * FROM dblink('', '%s') d (x text)"]) % q


# kind: weight, operation. Weights are shares of a run.
KINDS = [("select", 20), ("aggregate", 8), ("sets", 4), ("cte", 6), ("dml", 16), ("lock", 5), ("function", 18), ("route", 5), ("block", 5), ("utility", 5), ("catalog", 3), ("nested", 2), ("copy", 2), ("simple", 1)]
BAG = [name for name, weight in KINDS for _ in range(weight)]
OPERATIONS = {"copy": "C", "simple": "Q"}


def cursor_group(g, mark):
    """Cursors that scroll, move and are read again after a savepoint."""
    out = ["K\t%s\tcursor\t-1\tDECLARE c%d SCROLL CURSOR FOR %s" % (mark, n, g.select()) for n in range(2)]
    out += ["S\t%s\tcursor\t-1\t%s" % (mark, sql) for sql in ("FETCH ALL FROM c0 /* %s */" % out[0].split(" FOR ", 1)[1].replace("*/", ""), "MOVE BACKWARD ALL IN c0", "FETCH FIRST FROM c0", "FETCH 3 FROM c1", "FETCH BACKWARD 2 FROM c1", "CLOSE c1",
                                                              "UPDATE probectl.test SET name = 'x' WHERE CURRENT OF c0 RETURNING *")]
    return out


def allowed(context, sql):
    """A worker without a tenant may enter any and follows everybody's ledger; that is not an attack."""
    if "\n" in sql:
        return False
    if any(secret in sql.lower() for letter in seed.MARK for secret in (seed.MARK[letter], seed.SECRET_ID.get(letter, seed.MARK[letter]))):
        raise AssertionError("a statement names a secret: " + sql)
    if context.startswith("worker, no"):
        return "enter_tenant" not in sql and "tenant_bind" not in sql and "ledger" not in sql
    if context.endswith("unbound"):
        return not any(word in sql for word in ("set_config", "SET ", "RESET", "DISCARD", "pg_advisory", "pg_try_advisory", "LISTEN", "tenants_to_keep"))
    return True


def script(catalog, number, contexts, count, limits):
    """Lines for one connection. contexts: (name, letter or None, entering SQL, parties whose secrets may not be seen)."""
    order = random.Random(number)
    lines, prepared, made, turn = [], [], 0, 0
    for n in range(12):
        g = Grammar(catalog, number * 1000 + n, "a")
        sql = "SELECT (t)::text FROM %s t LIMIT 20" % g.pick(catalog.read) if n % 3 else g.select()
        lines.append("P\t%s\tprepared\t-1\ts%d\x01%s" % ("abcp", n, sql))
        prepared.append(sql)
    while made < count:
        name, letter, enter, forbid = contexts[turn % len(contexts)]
        turn += 1
        g = Grammar(catalog, number * 100003 + turn, letter or "a")
        lines.append("T\t%s\tenter\t-1\t%s" % (forbid, enter))
        parallel = order.random() < 0.15
        if parallel:
            lines += ["K\t%s\tparallel\t-1\tSET LOCAL %s" % (forbid, s) for s in SETTINGS[:4]]
        for _ in range(24):
            kind = g.pick(BAG)
            sql = getattr(g, kind)()
            if "\t" in sql or not allowed(name, sql):
                continue
            lines.append("%s\t%s\t%s\t-1\t%s" % (OPERATIONS.get(kind, "S"), forbid, "parallel" if parallel and kind in ("select", "aggregate") else kind, sql))
            made += 1
        # Whatever a bound tenant does to all rows reaches its own at most.
        if letter:
            table = g.pick(catalog.tenant)
            most = limits.get(table, {}).get(letter, -1)
            lines.append("S\t%s\tcounts\t%d\t%s" % (forbid, most, g.pick(["UPDATE %s SET tenant_id = tenant_id", "DELETE FROM %s", "SELECT FROM %s", "SELECT FROM %s FOR UPDATE"]) % table))
            made += 1
        for n in [n for n in (g.r.randrange(12) for _ in range(3)) if allowed(name, prepared[n])]:
            lines.append("X\t%s\tprepared\t-1\ts%d" % (forbid, n))
            made += 1
        if order.random() < 0.1:
            group = cursor_group(g, forbid)
            if all(allowed(name, line) for line in group[:2]):
                lines += group
                made += len(group)
        lines.append("E\t%s\tend\t-1\tROLLBACK" % forbid)
    return "\n".join(lines) + "\n"
