# SPDX-License-Identifier: PostgreSQL
"""What is measured on a running instance is there as series, named and labelled as docs/52-otel-mapping.md says, and
stays so when the worker and the server that derive it are killed."""
import json
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
               (SELECT sum(c.samples)::bigint FROM probectl.metric_hot h, LATERAL probectl_internal.metric_hot_content(h.data) c JOIN probectl.metric_series s USING (series_id) WHERE s.tenant_id = h.tenant_id AND s.name = 'probectl_probe_success'),
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


def test_a_paused_test_ends_its_series(stack):
    """Paused and deleted at the API: the series says since when, its last point that it ended; resumed, it goes on."""
    status, made = stack.api("POST", "/v1/tests", {"name": "comes and goes", "type": "tcp", "target": stack.ingest_listen, "interval_seconds": 5,
                                                   "params": {"allow_private_targets": True}})
    assert status == 201, made
    path, match = "/v1/tests/" + made["test_id"], '{test_id="%s"}' % made["test_id"]

    def mine():
        return series(stack, name="probectl_probe_success", match=match)

    def last_point():
        item, = get(stack, "/v1/metrics/query", name="probectl_probe_success", match=match, step=60)["items"]
        return item["points"][-1]

    stack.wait_for(mine, 60, "the series")
    assert mine()[0]["ended_at"] is None and "ended" not in last_point()
    assert stack.api("PATCH", path, {"enabled": False})[0] == 200
    assert mine()[0]["ended_at"] is not None
    # A run under way may come yet; then it ends again.
    stack.wait_for(lambda: last_point().get("ended") is True, 60, "the end")
    assert stack.api("PATCH", path, {"enabled": True})[0] == 200
    stack.wait_for(lambda: mine()[0]["ended_at"] is None, 60, "it goes on")
    assert stack.api("DELETE", path)[0] == 204
    stack.wait_for(lambda: mine()[0]["ended_at"] is not None and last_point().get("ended") is True, 60, "the end")


def test_the_command_line_asks_like_the_page(stack):
    answer = json.loads(stack.cli("api", "GET", "/v1/metrics/query?name=probectl_probe_rtt_avg_ms&function=quantile&q=0.9&top=1").stdout)
    assert answer["relative_error"] == 0 and len(answer["items"]) == 1 and answer["next"] is None
    item = answer["items"][0]
    assert all(p["min"] <= p["value"] <= p["max"] for p in item["points"] if p["samples"])
    answer = get(stack, "/v1/metrics/query", name="probectl_probe_rtt_avg_ms", **{"with": item["series_id"]})
    assert any(i["series_id"] == item["series_id"] for i in answer["items"])
    # So far back there are no samples, and a rate needs them.
    status, refused = stack.api("GET", "/v1/metrics/query?name=probectl_probe_success&start=2020-01-01T00:00:00Z&end=2021-01-01T00:00:00Z&step=86400&function=rate")
    assert status == 422 and refused["error"]["field"] == "start", refused
