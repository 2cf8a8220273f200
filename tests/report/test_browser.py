"""The page in a real browser (Debian's chromium): no console errors, the script runs, tables sort,
nothing overflows on a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from sbiwb.report.page import page
from tests.report.reading import facts

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--allow-file-access-from-files",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=3000",
    "--dump-dom",
]
FRAME = """<!doctype html><iframe src="report.html" style="width:{width}px;height:900px;border:0"></iframe><script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument, told = {{}};
  told.ready = Number(page.documentElement.dataset.ready);
  told.wide = page.documentElement.scrollWidth;
  const table = page.querySelector("table.verdicts"), effect = table.tHead.rows[0].cells[4];
  const column = (at) => [...table.tBodies[0].rows].map((row) => Number(row.cells[at].dataset.v || NaN));
  effect.querySelector("button").click();
  told.rising = [effect.getAttribute("aria-sort"), column(4)];
  effect.querySelector("button").click();
  told.falling = [effect.getAttribute("aria-sort"), column(4)];
  const field = page.querySelector("input.filter");
  field.value = "FAIL heap";
  field.dispatchEvent(new Event("input"));
  told.filtered = [...table.tBodies[0].rows].filter((row) => !row.hidden).length;
  page.defaultView.dispatchEvent(new Event("beforeprint"));
  told.folded = page.querySelectorAll("details:not([open])").length;
  document.body.textContent = "told:" + JSON.stringify(told);
}};
</script>"""


@pytest.fixture(scope="module", params=[360, 1280])
def visit(request, tmp_path_factory):
    """Width, what the page did, and what the console said."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(
        page(
            facts(
                [f"a_long_name_of_weights[{at}]" for at in range(20)],
                bad="a_long_name_of_weights[3]",
            )
        )
    )
    (folder / "frame.html").write_text(FRAME.format(width=request.param))
    command = [
        CHROMIUM,
        *OPTIONS,
        f"--user-data-dir={folder}/profile",
        f"file://{folder}/frame.html",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r"told:(\{.*\})", done.stdout)
    assert found, done.stdout[:500] + done.stderr[-2000:]
    return (
        request.param,
        json.loads(found[1].replace("&amp;", "&")),
        [line for line in done.stderr.splitlines() if "CONSOLE" in line],
    )


def test_the_page_runs_without_a_word_in_the_console(visit):
    _, told, console = visit
    assert console == []
    assert told["ready"] > 10


def test_nothing_but_boxes_scrolls_sideways(visit):
    width, told, _ = visit
    assert told["wide"] <= width


def test_tables_sort_with_missing_values_last(visit):
    _, told, _ = visit
    order, rising = told["rising"]
    assert (order, rising[-1]) == ("ascending", None)  # NaN is null in JSON
    assert rising[:-1] == sorted(rising[:-1])
    order, falling = told["falling"]
    assert (order, falling[-1]) == ("descending", None)
    assert falling[:-1] == sorted(falling[:-1], reverse=True)
    assert len(falling) == 41


def test_the_filter_keeps_what_has_all_words(visit):
    assert visit[1]["filtered"] == 2


def test_everything_is_unfolded_for_print(visit):
    assert visit[1]["folded"] == 0
