# SPDX-License-Identifier: PostgreSQL
"""The audit chains against whoever can write to their tables: every edit of stored rows is found and the first
bad event named, here by audit_verify() and elsewhere by probectl-audit-verify from an export. What the
tests expect of hashes is computed from the description of the canonical form alone."""
import contextlib
import hashlib
import json
import os
import random
import subprocess
import threading
import time

import psycopg2
import pytest

from conftest import BIN

VERIFIER = str(BIN / "probectl-audit-verify")
EDITS = {"tenant": 6000, "pruned": 2500, "provider": 1500}
COLUMNS = "seq, (extract(epoch FROM at - '2000-01-01 00:00:00+00') * 1000000)::bigint, actor, action, target, outcome, data::text, prev_hash, hash"


def event_hash(stream, seq, at, actor, action, target, outcome, data, prev):
    parts = ["probectl.audit.v1", stream, seq, at, actor, action, target, outcome, data, prev]
    form = b""
    for part in parts:
        raw = part.to_bytes(8, "big", signed=True) if isinstance(part, int) else part.encode() if isinstance(part, str) else bytes(part)
        form += len(raw).to_bytes(8, "big") + raw
    return hashlib.sha256(form).digest()


def append(stack, tenant, count, clock=None):
    stack.sql("BEGIN; SET LOCAL probectl.clock = '%s'; SELECT probectl_internal.tenant_bind('%s');"
              " SELECT probectl_internal.audit_append('thing.change', 'thing ' || i, (ARRAY['ok','denied','failed'])[1 + mod(i, 3)],"
              " json_build_object('n', 9007199254740993 + i, 'text', 'ünï \"q\" \\ ' || i)) FROM generate_series(1, %d) i; COMMIT"
              % (clock or "", tenant, count))


def bound(stack, tenant, statement, clock=None):
    """Runs a statement bound to the tenant, keeping the superuser's role; rows of it."""
    with contextlib.closing(stack.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SET LOCAL probectl.clock = '%s'" % (clock or ""))
        cursor.execute("SELECT probectl_internal.tenant_bind(%s)", (tenant,))
        cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
        cursor.execute("COMMIT")
        return rows


def make_tenant(stack, slug):
    return stack.sql("SELECT probectl.tenant_create(%s, %s)", (slug, slug))[0][0]


class Chain:
    """Where a chain is stored, and a copy of what is in it."""

    def __init__(self, stack, tenant=None):
        self.stack, self.tenant = stack, tenant
        prefix = "probectl." if tenant else "probectl_internal.provider_"
        self.events, self.heads, self.checkpoints = prefix + "audit_event", prefix + "audit_head", prefix + "audit_checkpoint"
        self.where = "tenant_id = '%s'" % tenant if tenant else "true"
        self.key = "tenant_id, " if tenant else ""
        self.stream = tenant or "provider"
        self.rows = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in
                     stack.sql("SELECT %s FROM %s WHERE %s ORDER BY seq" % (COLUMNS, self.events, self.where))]
        self.by_seq = {row[0]: row for row in self.rows}
        self.first, self.last = self.rows[0][0], self.rows[-1][0]
        self.points = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in stack.sql(
            "SELECT size, prev_size, head_hash, root, frontier, signature, public_key FROM %s WHERE %s ORDER BY size"
            % (self.checkpoints, self.where))]
        self.head = stack.sql("SELECT seq, pruned_seq FROM %s WHERE %s" % (self.heads, self.where))[0]

    def verdict(self, connection, edit):
        """(ok, first_bad, reason) after the edit, which is undone; None when the table refuses the edit."""
        verify = ("SELECT probectl.enter_tenant('%s'); SELECT ok, first_bad, reason FROM probectl.audit_verify()" % self.tenant
                  if self.tenant else "SELECT ok, first_bad, reason FROM probectl.provider_audit_verify()")
        with connection.cursor() as cursor:
            try:
                cursor.execute("BEGIN; SET LOCAL session_replication_role = replica; %s; %s" % (edit, verify))
                return cursor.fetchone()
            except (psycopg2.errors.IntegrityError, psycopg2.errors.NumericValueOutOfRange, psycopg2.errors.DatetimeFieldOverflow):
                return None
            finally:
                cursor.execute("ROLLBACK")


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def bytea(value):
    return "'\\x%s'::bytea" % value.hex()


def other_bytes(rng, value):
    """Bytes that differ: a bit, the length, everything."""
    how = rng.randrange(4)
    if how == 0 or not value:
        return value + bytes([rng.randrange(256)])
    if how == 1:
        return value[:rng.randrange(len(value))]
    if how == 2:
        return value[::-1] if value[::-1] != value else value + b"x"
    at = rng.randrange(len(value))
    return value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1:]


def other_text(rng, text):
    at = rng.randrange(len(text) + 1)
    return rng.choice([text[:at] + rng.choice("abz 0\u00e9") + text[at:], text + " ", " " + text, text.swapcase() if text.swapcase() != text else text + "x",
                       text[:max(at - 1, 0)] + text[at:] if at else text + "!"])


# Each makes (SQL, first bad event or None where any will do) from the copy.

def edit_text(rng, chain):
    row = rng.choice(chain.rows)
    column = rng.randrange(2, 5)
    name = ("actor", "action", "target")[column - 2]
    return "UPDATE %s SET %s = %s WHERE %s AND seq = %d" % (chain.events, name, quoted(other_text(rng, row[column])), chain.where, row[0]), row[0]


def edit_outcome(rng, chain):
    row = rng.choice(chain.rows)
    outcome = rng.choice([o for o in ("ok", "denied", "failed") if o != row[5]])
    return "UPDATE %s SET outcome = '%s' WHERE %s AND seq = %d" % (chain.events, outcome, chain.where, row[0]), row[0]


def edit_data(rng, chain):
    row = rng.choice(chain.rows)
    data = rng.choice([row[6] + " ", "\n" + row[6], row[6].replace(":", ": ", 1) if ":" in row[6] else "[]", '{"n": %d}' % rng.getrandbits(60), "null",
                       row[6].replace("900719925474099", "900719925474090", 1) if "900719925474099" in row[6] else "1"])
    return "UPDATE %s SET data = %s WHERE %s AND seq = %d" % (chain.events, quoted(data), chain.where, row[0]), row[0]


def edit_time(rng, chain):
    row = rng.choice(chain.rows)
    shift = rng.choice([-1, 1]) * rng.choice([1, 1000, 1000000, 3600000000, rng.randrange(1, 10 ** 15)])
    return "UPDATE %s SET at = at + interval '%d us' WHERE %s AND seq = %d" % (chain.events, shift, chain.where, row[0]), row[0]


def edit_hash(rng, chain):
    row = rng.choice(chain.rows)
    column = rng.choice([7, 8])
    return "UPDATE %s SET %s = %s WHERE %s AND seq = %d" % (
        chain.events, ("prev_hash", "hash")[column - 7], bytea(other_bytes(rng, row[column])), chain.where, row[0]), row[0]


def edit_shift(rng, chain):
    """Characters moved from a field to its neighbour: the concatenation stays the same."""
    row = rng.choice(chain.rows)
    n = rng.randrange(1, len(row[2]))
    return "UPDATE %s SET actor = left(actor, -%d), action = right(actor, %d) || action WHERE %s AND seq = %d" % (chain.events, n, n, chain.where, row[0]), row[0]


def edit_seq(rng, chain):
    row = rng.choice(chain.rows)
    to = chain.last + rng.randrange(1, 1000)
    return "UPDATE %s SET seq = %d WHERE %s AND seq = %d" % (chain.events, to, chain.where, row[0]), row[0]


def edit_delete(rng, chain):
    seq = rng.choice([chain.first, chain.last, rng.randint(chain.first, chain.last)])
    return "DELETE FROM %s WHERE %s AND seq = %d" % (chain.events, chain.where, seq), seq


def edit_delete_range(rng, chain):
    low = rng.choice([chain.first, rng.randint(chain.first, chain.last)])
    high = rng.choice([chain.last, rng.randint(low, chain.last)])
    return "DELETE FROM %s WHERE %s AND seq BETWEEN %d AND %d" % (chain.events, chain.where, low, high), low


def edit_swap(rng, chain):
    a, b = sorted(rng.sample(range(chain.first, chain.last + 1), 2))
    away = chain.last + 5
    return ("UPDATE {0} SET seq = {3} WHERE {1} AND seq = {2}; UPDATE {0} SET seq = {2} WHERE {1} AND seq = {4}; UPDATE {0} SET seq = {4} WHERE {1} AND seq = {3}"
            .format(chain.events, chain.where, a, away, b)), a


def edit_swap_words(rng, chain):
    """What two events say changes places, their hashes stay."""
    a, b = sorted(rng.sample(range(chain.first, chain.last + 1), 2))
    one, two = chain.by_seq[a], chain.by_seq[b]
    if one[4] == two[4]:
        return None
    sql = "UPDATE %s SET target = CASE seq WHEN %d THEN %s ELSE %s END WHERE %s AND seq IN (%d, %d)"
    return sql % (chain.events, a, quoted(two[4]), quoted(one[4]), chain.where, a, b), a


def edit_duplicate(rng, chain):
    seq, to = rng.choice(chain.rows)[0], chain.last + rng.choice([1, 1, rng.randrange(2, 100)])
    columns = chain.key + "at, actor, action, target, outcome, data, prev_hash, hash"
    return "INSERT INTO %s (seq, %s) SELECT %d, %s FROM %s WHERE %s AND seq = %d" % (
        chain.events, columns, to, columns, chain.events, chain.where, seq), chain.last + 1


def edit_forge(rng, chain):
    """A well-made event nobody appended."""
    seq, at, actor, action, target, outcome, data, prev, hash_ = chain.rows[-1]
    made = event_hash(chain.stream, seq + 1, at, actor, action, "forged %d" % rng.randrange(10 ** 6), outcome, data, hash_)
    return "INSERT INTO %s (%sseq, at, actor, action, target, outcome, data, prev_hash, hash) SELECT %sseq + 1, at, actor, action, 'forged', outcome, data, hash, %s FROM %s WHERE %s AND seq = %d" % (
        chain.events, chain.key, chain.key, bytea(made), chain.events, chain.where, seq), chain.last + 1


def edit_insert_below(rng, chain):
    """An event where retention has cut."""
    if chain.first == 1:
        return None
    to = rng.randrange(1, chain.first)
    columns = chain.key + "at, actor, action, target, outcome, data, prev_hash, hash"
    return "INSERT INTO %s (seq, %s) SELECT %d, %s FROM %s WHERE %s AND seq = %d" % (
        chain.events, columns, to, columns, chain.events, chain.where, chain.first), to


def edit_rewrite(rng, chain):
    """History written anew from one event on with every hash and the head made again: only what was signed tells."""
    signed = chain.points[-1][0]
    start = rng.randint(max(chain.first, signed - 20), signed)
    prev, sql = chain.by_seq[start][7], []
    for seq in range(start, chain.last + 1):
        row = chain.by_seq[seq]
        target = row[4] + "!" if seq == start else row[4]
        made = event_hash(chain.stream, seq, row[1], row[2], row[3], target, row[5], row[6], prev)
        sql.append("UPDATE %s SET target = %s, prev_hash = %s, hash = %s WHERE %s AND seq = %d" % (
            chain.events, quoted(target), bytea(prev), bytea(made), chain.where, seq))
        prev = made
    sql.append("UPDATE %s SET hash = %s WHERE %s" % (chain.heads, bytea(prev), chain.where))
    return "; ".join(sql), min(p[0] for p in chain.points if p[0] >= start)


def edit_cut(rng, chain):
    """The newest events gone and the head set back to match; a checkpoint remains."""
    keep = rng.randint(chain.first, chain.points[-1][0] - 1)
    return "DELETE FROM %s WHERE %s AND seq > %d; UPDATE %s SET seq = %d, hash = %s WHERE %s" % (
        chain.events, chain.where, keep, chain.heads, keep, bytea(chain.by_seq[keep][8]), chain.where), keep + 1


def edit_checkpoint(rng, chain):
    point = rng.choice(chain.points)
    column = rng.randrange(8)
    name = ("size", "prev_size", "head_hash", "root", "frontier", "signature", "public_key", "at")[column]
    if column < 2:
        value = str(max(column ^ 1, point[column] + rng.choice([-1, 1]) * rng.randrange(1, 50)))
        if value == str(point[column]):
            return None
    else:
        value = "at + interval '%d us'" % rng.choice([-1, 1, 10 ** 9]) if column == 7 else bytea(other_bytes(rng, point[column]))
    return "UPDATE %s SET %s = %s WHERE %s AND size = %d" % (chain.checkpoints, name, value, chain.where, point[0]), None if column == 0 else point[0]


def edit_checkpoint_delete(rng, chain):
    point = rng.choice(chain.points)[0]
    return "DELETE FROM %s WHERE %s AND size = %d" % (chain.checkpoints, chain.where, point), point


def edit_checkpoint_copy(rng, chain):
    columns = chain.key + "prev_size, at, head_hash, root, frontier, signature, public_key"
    return "INSERT INTO %s (size, %s) SELECT size + %d, %s FROM %s WHERE %s AND size = %d" % (
        chain.checkpoints, columns, rng.randrange(1, 100), columns, chain.checkpoints, chain.where, rng.choice(chain.points)[0]), None


def edit_head(rng, chain):
    change, bad = rng.choice([
        ("seq = seq + %d" % rng.randrange(1, 9), chain.last + 1), ("seq = seq - %d" % rng.randrange(1, 9), None),
        ("hash = sha256(hash || '%d')" % rng.randrange(999), chain.last), ("hash = ''", chain.last), ("hash = hash || '1'", chain.last),
        ("pruned_seq = pruned_seq + %d" % rng.randrange(1, 99), None), ("pruned_seq = pruned_seq - %d" % rng.randrange(1, 99), None),
        ("pruned_hash = sha256(pruned_hash || '%d')" % rng.randrange(999), None), ("pruned_hash = ''", None),
        ("pruned_frontier = pruned_frontier || '1'", None), ("pruned_frontier = decode(repeat('ab', length(pruned_frontier) + 32), 'hex')", None),
        ("checkpoint_size = checkpoint_size + %d" % rng.randrange(1, 99), None), ("checkpoint_size = checkpoint_size - %d" % rng.randrange(1, 99), None)])
    return "UPDATE %s SET %s WHERE %s" % (chain.heads, change, chain.where), bad


def edit_head_delete(rng, chain):
    return "DELETE FROM %s WHERE %s" % (chain.heads, chain.where), None


EVENT_EDITS = [edit_text, edit_outcome, edit_data, edit_time, edit_hash, edit_shift, edit_seq, edit_delete, edit_delete_range, edit_swap,
               edit_swap_words, edit_duplicate, edit_forge, edit_insert_below, edit_cut, edit_checkpoint, edit_checkpoint_delete,
               edit_checkpoint_copy, edit_head, edit_head_delete]


@pytest.fixture(scope="module")
def chains(stack):
    """A tenant's chain with signed and unsigned events, one that was pruned, the provider's."""
    day = 86400
    stamp = lambda ago: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - ago))
    tenant = make_tenant(stack, "tampered")
    for _ in range(5):
        append(stack, tenant, 37)
        bound(stack, tenant, "SELECT probectl.audit_checkpoint()")
    append(stack, tenant, 11)
    pruned = make_tenant(stack, "pruned")
    for days in (9, 7, 5, 3):
        append(stack, pruned, 41, stamp(days * day))
        bound(stack, pruned, "SELECT probectl.audit_checkpoint()", stamp(days * day))
    gone = bound(stack, pruned, "SELECT probectl.audit_prune('6 days')")[0][0]
    assert gone > 80
    append(stack, pruned, 60)
    bound(stack, pruned, "SELECT probectl.audit_checkpoint()")
    for _ in range(3):
        stack.sql("SELECT probectl_internal.provider_audit_append('platform.change', 'thing ' || i, 'ok', '{\"n\": 9007199254740993}') FROM generate_series(1, 23) i")
        stack.sql("SELECT probectl_internal.provider_audit_checkpoint_make()")
    stack.sql("SELECT probectl_internal.provider_audit_append('platform.change', 'unsigned', 'ok', '{}')")
    return {"tenant": Chain(stack, tenant), "pruned": Chain(stack, pruned), "provider": Chain(stack)}


def test_the_stored_hashes_are_those_of_the_canonical_form(chains):
    for chain in chains.values():
        for row in chain.rows:
            assert event_hash(chain.stream, *row[:8]) == row[8], row


def test_pruning_leaves_a_chain_that_verifies(chains):
    chain = chains["pruned"]
    assert chain.first > 80 and chain.head[1] == chain.first - 1
    with contextlib.closing(chain.stack.connect()) as connection:
        assert chain.verdict(connection, "SELECT 1") == (True, None, None)


@pytest.mark.parametrize("name", EDITS)
def test_every_random_edit_of_stored_rows_is_found(chains, name):
    seed = int(os.environ.get("AUDIT_SEED", random.SystemRandom().randrange(10 ** 9)))
    print("AUDIT_SEED=%d" % seed)
    rng, chain = random.Random(seed), chains[name]
    done, missed, misnamed = {}, [], []
    began = time.monotonic()
    with contextlib.closing(chain.stack.connect()) as connection:
        assert chain.verdict(connection, "SELECT 1") == (True, None, None)
        while sum(done.values()) < EDITS[name]:
            maker = edit_rewrite if rng.randrange(100) == 0 else rng.choice(EVENT_EDITS)
            made = maker(rng, chain)
            verdict = made and chain.verdict(connection, made[0])
            if not verdict:
                continue        # not possible here, or refused by a constraint
            done[maker.__name__] = done.get(maker.__name__, 0) + 1
            if verdict[0] is not False:
                missed.append((made, verdict))
            elif made[1] is not None and verdict[1] != made[1]:
                misnamed.append((made, verdict))
        assert chain.verdict(connection, "SELECT 1") == (True, None, None)
    print("%d edits in %.1f s: %s" % (sum(done.values()), time.monotonic() - began, done))
    assert not missed, missed[:5]
    assert not misnamed, misnamed[:5]
    assert len(done) == len(EVENT_EDITS) + 1 - (chain.first == 1), done


def test_a_row_moved_to_another_chain_is_missed_in_one_and_found_in_the_other(stack, chains):
    rng = random.Random(7)
    other = Chain(stack, make_tenant(stack, "receiver"))
    chain = chains["tenant"]
    with contextlib.closing(stack.connect()) as connection:
        for _ in range(100):
            seq = rng.choice(chain.rows)[0]
            to = other.last + rng.choice([1, rng.randrange(1, 50)])
            move = "UPDATE %s SET tenant_id = '%s', seq = %d WHERE %s AND seq = %d" % (chain.events, other.tenant, to, chain.where, seq)
            assert chain.verdict(connection, move)[:2] == (False, seq)
            assert other.verdict(connection, move)[:2] == (False, other.last + 1)
        # ... and in the place of one that is there.
        for _ in range(100):
            seq, to = rng.choice(chain.rows)[0], rng.choice(other.rows)[0]
            move = "DELETE FROM %s WHERE %s AND seq = %d; UPDATE %s SET tenant_id = '%s', seq = %d WHERE %s AND seq = %d" % (
                chain.events, other.where, to, chain.events, other.tenant, to, chain.where, seq)
            assert chain.verdict(connection, move)[:2] == (False, seq)
            assert other.verdict(connection, move)[:2] == (False, to)


# ---- elsewhere: the export and its verifier ----------------------------------------------------------


def check(text, *options):
    done = subprocess.run([VERIFIER, *options], input=text.encode() if isinstance(text, str) else text, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def key(stack):
    return stack.cli("audit", "key").stdout.strip()


def whose(slug):
    """Words that name a chain on the command line; None is the provider's."""
    return ["--tenant", slug] if slug else ["--provider"]


@pytest.mark.parametrize("slug", ["tampered", "pruned", None])
def test_an_export_is_verified_without_the_database(stack, chains, key, slug):
    text = stack.cli("audit", "export", *whose(slug)).stdout
    lines = text.splitlines()
    code, out, err = check(text, "--key", key)
    events = [json.loads(line) for line in lines if '"kind":"event"' in line]
    assert (code, err) == (0, ""), (out, err)
    assert out.startswith("ok: %d events" % len(events))
    # Numbers keep their digits, text its characters.
    if slug:
        assert any("9007199254740994" in e["data_text"] and "\u00fcn\u00ef" in e["data_text"] for e in events)
    else:
        assert all(e["stream"] == "provider" for e in events)
        assert any("9007199254740993" in e["data_text"] for e in events)
    # Without a key it says so, with another one it fails.
    code, out, err = check(text)
    assert code == 0 and "WARNING" in err
    assert check(text, "--key", "00" * 32)[0] == 1
    assert check(text, "--key", "xx")[0] == 2
    # A line gone, twice, or in another place is found at the event where that shows.
    rng = random.Random(3)
    for _ in range(60):
        at = rng.randrange(len(lines) - 1)
        code, out, err = check("\n".join(lines[:at] + lines[at + 1:]) + "\n", "--key", key)
        assert code in (1, 2) and (out.startswith("bad: event ") or err), (at, out, err)
        b = rng.randrange(len(lines))
        if at != b:
            swapped = list(lines)
            swapped[at], swapped[b] = swapped[b], swapped[at]
            assert check("\n".join(swapped) + "\n", "--key", key)[0] in (1, 2)
        if '"kind":"checkpoint"' not in lines[at]:
            assert check("\n".join(lines[:at + 1] + lines[at:]) + "\n", "--key", key)[0] in (1, 2)
    # Every byte counts.
    for _ in range(200):
        at = rng.randrange(len(text.encode()))
        raw = bytearray(text.encode())
        raw[at] ^= 1 << rng.randrange(7)
        code, out, err = check(bytes(raw), "--key", key)
        assert code in (1, 2), (at, bytes(raw[max(0, at - 40):at + 40]), out)


def test_an_event_that_was_changed_is_named(stack, chains, key):
    lines = stack.cli("audit", "export", "--tenant", "tampered").stdout.splitlines()
    index = [i for i, line in enumerate(lines) if '"seq":50,' in line][0]
    lines[index] = lines[index].replace('"outcome":"', '"outcome":"x', 1)
    assert check("\n".join(lines) + "\n", "--key", key)[:2] == (1, "bad: event 50: the event was changed\n")


def test_an_export_is_resumed(stack, key, tmp_path):
    tenant = make_tenant(stack, "resumed")
    path = tmp_path / "resumed.jsonl"
    for round_ in range(4):
        after = []
        if round_:
            done = [line for line in path.read_text().splitlines() if '"kind":"event"' in line]
            after = ["--after", str(json.loads(done[-1])["seq"])]
        err = stack.cli("audit", "export", "--tenant", "resumed", "--output", str(path), *after).stderr
        assert "go on later with --after" in err
        code, out, err = check(path.read_text(), "--key", key)
        assert code == 0, (round_, out, err)
        append(stack, tenant, 6000 if round_ == 1 else 5)       # 6000: more than a page
    # Nothing new: nothing is lost or doubled either.
    assert stack.sql("SELECT count(*) FROM probectl.audit_event WHERE tenant_id = %s", (tenant,))[0][0] > 6000


def test_the_provider_chain_is_exported_in_pages_and_resumed(stack, chains, key, tmp_path):
    path = tmp_path / "platform.jsonl"
    stack.cli("audit", "export", "--provider", "--output", str(path))
    for _ in range(3):
        last = json.loads([line for line in path.read_text().splitlines() if '"kind":"event"' in line][-1])
        stack.sql("SELECT probectl_internal.provider_audit_append('platform.change', 'thing ' || i, 'ok', '{}') FROM generate_series(1, 5100) i")
        stack.cli("audit", "export", "--provider", "--output", str(path), "--after", str(last["seq"]))
        code, out, err = check(path.read_text(), "--key", key)
        assert (code, err) == (0, ""), (out, err)
    assert stack.cli("audit", "export", "--provider", "--tenant", "tampered", check=False).returncode == 2


def test_every_page_size_exports_the_same_chain(stack, chains, key):
    for page in (1, 2, 7, 37, 50, 1000):
        for slug in ("tampered", "pruned"):
            chain = chains["tenant" if slug == "tampered" else "pruned"]
            after, lines = 0, []
            while True:
                rows = [line for line, in bound(stack, chain.tenant, "SELECT probectl.audit_export(%d, %d)" % (after, page))]
                seqs = [json.loads(line)["seq"] for line in rows if '"kind":"event"' in line]
                lines += rows
                if not seqs:
                    break
                after = seqs[-1]
            code, out, err = check("\n".join(lines) + "\n", "--key", key)
            assert code == 0 and out.startswith("ok: %d events" % len(chain.rows)), (page, slug, out, err)


def test_proofs_hold_and_changed_ones_do_not(stack, chains, key, tmp_path):
    rng = random.Random(11)
    for slug, name in (("tampered", "tenant"), ("pruned", "pruned"), (None, "provider")):
        stack.cli("audit", "export", *whose(slug))          # signs it to its end
        chain = Chain(stack, chains[name].tenant)
        sizes = [p[0] for p in chain.points]
        proofs = [("inclusion", str(rng.choice(chain.rows)[0])) for _ in range(6)]
        proofs += [("inclusion", str(chain.first)), ("inclusion", str(chain.last))]
        proofs += [("consistency", str(a), str(b)) for a in sizes for b in sizes if a <= b][:12]
        for words in proofs:
            text = stack.cli("audit", "proof", *words, *whose(slug)).stdout
            path = tmp_path / "proof.json"
            path.write_text(text)
            code, out, err = check("", "--key", key, "--" + words[0], str(path))
            assert (code, out) == (0, "ok: the proof holds\n"), (words, out, err)
            other = "consistency" if words[0] == "inclusion" else "inclusion"
            assert check("", "--key", key, "--" + other, str(path))[0] in (1, 2)
            for _ in range(15):
                raw = bytearray(text.encode())
                at = rng.randrange(len(raw) - 1)
                raw[at] ^= 1 << rng.randrange(7)
                path.write_bytes(bytes(raw))
                assert check("", "--key", key, "--" + words[0], str(path))[0] in (1, 2), (words, at, bytes(raw))
            proof = json.loads(text)
            for nodes in (proof["proof"][1:], proof["proof"] + ["00" * 32], proof["proof"][::-1]):
                if nodes != proof["proof"]:
                    path.write_text(json.dumps({**proof, "proof": nodes}))
                    assert check("", "--key", key, "--" + words[0], str(path))[0] in (1, 2), (words, nodes)
    done = stack.cli("audit", "proof", "inclusion", "999999", "--tenant", "tampered", check=False)
    assert done.returncode == 1 and done.stderr
    assert stack.cli("audit", "proof", "inclusion", "x", check=False).returncode == 2
    # Gone with retention.
    assert stack.cli("audit", "proof", "inclusion", "3", "--tenant", "pruned", check=False).returncode == 1


@pytest.mark.parametrize("text, where", [
    ("", "empty"), ("{}\n", ":1:"), ("[1]\n", ":1:"), ("\n", ":1:"), ("{\"kind\":\"start\"", "cut off"), ("x" * 100 + "\n", ":1:"),
    ("[" * 5000 + "\n", ":1:"), ("{\"kind\":\"event\"}\n", "start"), ("{\"kind\":\"start\"}\0\n", "cut off"), (b"\xff\xfe\n", ":1:"),
    ("\"" + "a" * (17 << 20) + "\"\n", "16 MiB")], ids=range(11))
def test_what_is_no_export_is_refused_with_the_line(text, where):
    code, out, err = check(text)
    assert code == 2 and where in err and not out


def test_the_command_says_what_was_tampered_with(stack, key):
    tenant = make_tenant(stack, "broken")
    append(stack, tenant, 30)
    assert stack.cli("audit", "verify", "--tenant", "broken").stdout.startswith("ok: ")
    assert stack.cli("audit", "verify", "--provider").stdout.startswith("ok: ")
    stack.sql("BEGIN; SET LOCAL session_replication_role = replica; UPDATE probectl.audit_event SET target = 'nothing' WHERE seq = 20"
              " AND tenant_id = '%s'; COMMIT" % tenant)
    done = stack.cli("audit", "verify", "--tenant", "broken", check=False)
    assert (done.returncode, done.stdout) == (1, "bad: event 20: the event was changed\n")
    assert stack.cli("audit", "verify", "--tenant", "nobody", check=False).returncode == 1
    assert stack.cli("audit", "shred", check=False).returncode == 2


def test_nobody_rewrites_history_in_sql(stack, chains):
    """Not even the superuser, as long as the triggers are on."""
    for chain in chains.values():
        for table in (chain.events, chain.checkpoints):
            column = "actor" if table == chain.events else "root"
            for statement in ("UPDATE %s SET %s = %s" % (table, column, column), "DELETE FROM %s" % table, "TRUNCATE %s" % table):
                with pytest.raises(psycopg2.Error) as refusal:
                    stack.sql(statement)
                assert refusal.value.pgcode == "PC403", statement


def test_what_was_refused_is_in_the_chain(stack):
    """The refusal rolls its transaction back; the record of it does not."""
    tenant = make_tenant(stack, "refused")
    for _ in range(3):
        with contextlib.closing(stack.connect()) as connection, connection.cursor() as cursor, pytest.raises(psycopg2.Error):
            cursor.execute("BEGIN")
            cursor.execute("SELECT probectl.enter_tenant(%s)", (tenant,))
            cursor.execute("LISTEN elsewhere")
    count = lambda: stack.sql("SELECT count(*) FROM probectl.audit_event WHERE tenant_id = %s AND outcome = 'denied' AND action = 'sql.refused'", (tenant,))[0][0]
    stack.wait_for(lambda: count() == 3, 30, "the record of what was refused")
    # A credential that is none: the provider's chain.
    before = stack.sql("SELECT count(*) FROM probectl_internal.provider_audit_event WHERE action = 'credential.enter'")[0][0]
    with pytest.raises(psycopg2.Error):
        stack.sql("SELECT probectl.enter_session('pct_nonsense')", user="probectl_gateway")
    stack.wait_for(lambda: stack.sql("SELECT count(*) FROM probectl_internal.provider_audit_event WHERE action = 'credential.enter'"
                                     " AND outcome = 'denied'")[0][0] > before, 30, "the record of the refusal")
    assert bound(stack, tenant, "SELECT ok FROM probectl.audit_verify()") == [(True,)]


def test_writers_with_savepoints_leave_one_chain(stack):
    """Eight writers in one tenant, savepoints kept and rolled back, whole transactions rolled back, checkpoints between."""
    tenant = make_tenant(stack, "crowded")
    start = stack.sql("SELECT seq FROM probectl.audit_head WHERE tenant_id = %s", (tenant,))[0][0]
    kept, errors = [], []

    def write(number):
        rng = random.Random(number)
        try:
            with contextlib.closing(stack.connect()) as connection, connection.cursor() as cursor:
                for round_ in range(25):
                    names, inner = [], []
                    cursor.execute("BEGIN")
                    cursor.execute("SELECT probectl_internal.tenant_bind(%s)", (tenant,))
                    for step in range(rng.randrange(1, 6)):
                        name = "%d.%d.%d" % (number, round_, step)
                        inside = rng.random() < 0.6
                        if inside:
                            cursor.execute("SAVEPOINT s")
                        cursor.execute("SELECT probectl_internal.audit_append('crowd', %s, 'ok', '{}')", (name,))
                        if inside and rng.random() < 0.5:
                            cursor.execute("ROLLBACK TO s")
                        else:
                            names.append(name)
                        if inside:
                            cursor.execute("RELEASE s")
                    if rng.random() < 0.2:
                        cursor.execute("SELECT probectl.audit_checkpoint()")
                    if rng.random() < 0.8:
                        cursor.execute("COMMIT")
                        kept.extend(names)
                    else:
                        cursor.execute("ROLLBACK")
        except Exception as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not errors, errors
    rows = stack.sql("SELECT seq, target FROM probectl.audit_event WHERE tenant_id = %s AND action = 'crowd' ORDER BY seq", (tenant,))
    assert [seq for seq, _ in rows] == list(range(start + 1, start + 1 + len(kept)))
    assert sorted(target for _, target in rows) == sorted(kept)
    assert bound(stack, tenant, "SELECT ok, events FROM probectl.audit_verify()") == [(True, start + len(kept))]


def test_appending_and_changing_the_tenant_do_not_deadlock(stack):
    """Both take the tenant's row first, then its chain."""
    tenant, errors = make_tenant(stack, "locked"), []

    def work(statement):
        try:
            for _ in range(40):
                bound(stack, tenant, statement)
        except psycopg2.Error as error:
            errors.append(error)

    append_one = "SELECT probectl_internal.audit_append('a', 'b', 'ok', '{}')"
    workers = [threading.Thread(target=work, args=(sql,)) for sql in
               [append_one, "WITH t AS MATERIALIZED (SELECT FROM probectl.tenant WHERE tenant_id = '%s' FOR UPDATE) %s FROM (SELECT count(*) FROM t) x"
                % (tenant, append_one)] * 3]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors, errors
    assert bound(stack, tenant, "SELECT ok FROM probectl.audit_verify()") == [(True,)]


def test_five_thousand_appends_in_one_transaction_stay_linear(stack):
    tenant = make_tenant(stack, "many")

    def took(count, savepoints=False):
        statement = ("DO $$ BEGIN FOR i IN 1..%d LOOP BEGIN PERFORM probectl_internal.audit_append('many', 'x', 'ok', '{}');"
                     " EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$" if savepoints else
                     "SELECT max(probectl_internal.audit_append('many', 'x', 'ok', '{}')) FROM generate_series(1, %d)") % count
        began = time.process_time_ns(), time.monotonic()
        bound(stack, tenant, statement)
        return time.monotonic() - began[1]

    for savepoints in (False, True):
        took(500, savepoints)
        small, large = min(took(500, savepoints) for _ in range(5)), min(took(5000, savepoints) for _ in range(3))
        assert large < 10 * small * 3 + 0.1, (savepoints, small, large)
    assert bound(stack, tenant, "SELECT ok FROM probectl.audit_verify()") == [(True,)]
