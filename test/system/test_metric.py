# SPDX-License-Identifier: PostgreSQL
"""What is measured on a running instance is there as series, named and labelled as docs/52-otel-mapping.md says, and
stays so when the worker and the server that derive it are killed."""
import re
import urllib.parse

from conftest import TOP

PAGE = (TOP / "docs" / "52-otel-mapping.md").read_text(encoding="utf-8")
OPTIONAL = {"server_port", "otel_name"}


def table(heading):
    """First cells of a table of the page, without their quotes."""
    section = PAGE.split("## " + heading + "\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.M)


def get(stack, path, **query):
    status, answer = stack.api("GET", path + "?" + urllib.parse.urlencode(query))[:2]
    assert status == 200, answer
    return answer


def series(stack, **query):
    items, after = [], {}
    while True:
        answer = get(stack, "/v1/metrics/series", **query, **after)
        items += answer["items"]
        if answer["next"] is None:
            return items
        after = {"after": answer["next"]}


def test_names_and_labels_are_those_of_the_page(stack):
    stack.wait_for(lambda: any(s["name"] == "probectl_probe_rtt_avg_ms" for s in series(stack)), 60, "series")
    found = series(stack)
    labels = set(table("Labels"))
    fixed = {name for name in table("Series") if "<" not in name}
    assert labels and fixed
    for s in found:
        have = set(s["labels"])
        assert labels - OPTIONAL <= have <= labels, s
        assert re.fullmatch(r"probectl_probe_[A-Za-z0-9_]+", s["name"]), s
    assert fixed <= {s["name"] for s in found}
    # Every metric of the newest results has its series, and every series a metric or a row of the page.
    latest = get(stack, "/v1/results/latest")["items"]
    cleaned = {(r["test_id"], "probectl_probe_" + re.sub("[^A-Za-z0-9]", "_", name), name)
               for r in latest for name in r["metrics"]}
    made = {(s["labels"]["test_id"], s["name"]) for s in found}
    assert cleaned and {(test, name) for test, name, _ in cleaned} <= made
    for s in found:
        if "otel_name" in s["labels"]:
            name = s["labels"]["otel_name"]
            assert not re.fullmatch("[A-Za-z0-9.]+", name) or name in ("success", "duration.seconds"), s


def counts(stack):
    """Runs stored, and samples of the series every run has."""
    return stack.sql("""
        SELECT (SELECT count(*) FROM probectl.result),
               (SELECT sum(samples)::bigint FROM probectl.metric_series s JOIN probectl.metric_hot h USING (tenant_id, series_id) WHERE s.name = 'probectl_probe_success'),
               (SELECT sum(samples)::bigint FROM probectl.metric_series s JOIN probectl.metric_chunk c USING (tenant_id, series_id) WHERE s.name = 'probectl_probe_success' AND c.level = 0)""")[0]


def complete(stack):
    runs, hot, chunks = counts(stack)
    return runs > 0 and runs == (hot or 0) + (chunks or 0)


def test_each_run_is_one_sample_after_kills(stack):
    """The worker is ended, then the server killed, while agents go on: in the end as many samples as runs."""
    for _ in range(5):
        before = counts(stack)[0]
        stack.sql("SELECT pg_terminate_backend(pid) FROM probectl.workers() WHERE name = 'derive' AND pid IS NOT NULL")
        stack.wait_for(lambda: counts(stack)[0] > before, 60, "more runs")
    stack.kill9("postgres")
    stack.wait_healthy()
    before = counts(stack)[0]
    stack.wait_for(lambda: counts(stack)[0] > before, 60, "runs after the server came back")
    stack.wait_for(lambda: complete(stack), 30, "a sample of each run")


def test_query_shows_what_was_measured(stack):
    answer = get(stack, "/v1/metrics/query", name="probectl_probe_success", function="count", step=60)
    assert answer["collector_running"] is True
    assert answer["items"] and all(s["points"] for s in answer["items"]), answer
