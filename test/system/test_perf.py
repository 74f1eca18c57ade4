# SPDX-License-Identifier: PostgreSQL
"""The perf harness as a smoke test: every result is in its tenant once, every question gets its tenant's rows alone, and
neither is slower than floors so low that only a change of order falls below them. The figures are printed;
what they should be is for `make bench` and a quiet machine."""
import json

import pytest

# An order of magnitude below what a loaded machine of two cores gives.
FLOORS = {"results_per_s": 3000, "pooled_p95_ms": 250}


@pytest.fixture(scope="module")
def bench(stack):
    def run(name, *options):
        done = stack.cli("bench", name, *options, timeout=170)
        figures = json.loads(done.stdout.splitlines()[-1])
        print(json.dumps(figures))
        return figures

    return run


def test_ingest_end_to_end(bench):
    figures = bench("ingest", "--seconds", "2")
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    assert figures["results_per_s"] >= FLOORS["results_per_s"]


def test_pooled_tables(bench):
    figures = bench("pooled", "--seconds", "2")
    assert figures["violations"] == 0
    assert figures["p95_ms"] <= FLOORS["pooled_p95_ms"]


def test_an_installation_of_a_size(bench):
    figures = bench("tier", "--tier", "S", "--seconds", "5")
    assert (figures["lost"], figures["duplicated"], figures["misplaced"]) == (0, 0, 0)
    assert figures["stored"] > 0


def test_a_quiet_tenant_beside_a_flood(bench):
    figures = bench("fairness", "--seconds", "2")
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    assert figures["flood_results_per_s"] > 10 * figures["quiet_results_per_s"]
