"""The report's page: well formed, safe, complete, and it says what is missing."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import re
import unicodedata

import numpy as np
import pytest

from sbiwb.diagnostics import family
from sbiwb.evidence import Draws
from sbiwb.report import to_svg
from sbiwb.report._fields import Fields
from sbiwb.report._html import prose, tag
from sbiwb.report._picture import Picture, figure
from sbiwb.report._table import number, places
from sbiwb.report.page import Facts, Inferred, page
from sbiwb.report.page_checks import Number, about
from tests.report.reading import SVG, Read, facts, numbers, value

NAMES = ["mu", "sigma[0]", "sigma[1]"]
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\ud800"
BARE = Facts(
    "trial", "runs/trial", {"problem": {"parameters": {"mu": {"kind": "normal"}}}}, "name: trial\n"
)


@pytest.fixture(scope="module")
def read():
    return Read.of(page(facts(NAMES, bad="sigma[0]")))


def test_every_tag_is_closed_and_every_id_is_its_own(read):
    assert (read.unbalanced, read.open) == ([], [])
    ids = read.all("id")
    assert ids == ["advice", "data", "trust", "learned", "made"]


def test_everything_that_is_pointed_to_is_there(read):
    pointed = [address[1:] for address in read.all("href") if address.startswith("#")]
    assert pointed == ["data", "trust", "learned", "made"]
    assert set(pointed) <= set(read.all("id"))


def test_headings_go_down_one_step_at_a_time(read):
    levels = [int(tag[1]) for tag, _ in read.tags("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_nothing_is_loaded_from_anywhere(read):
    addresses = [*read.all("src"), *read.all("href"), *read.all("xlink:href"), *read.all("srcset")]
    images = ("data:image/svg+xml;base64,", "data:image/png;base64,")
    assert all(address.startswith(("#", *images)) for address in addresses)
    assert not read.tags(
        "link", "iframe", "object", "embed", "form", "base", "foreignobject", "animate", "set"
    )
    assert not re.search(r"@import|url\(|https?:", read.inside("style") + read.inside("script"))


def test_the_policy_allows_this_script_and_this_style_alone(read):
    policy = next(
        attributes["content"]
        for tag, attributes in read.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(read.inside(kind).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
        assert len(read.tags(kind)) == 1
    assert policy.startswith("default-src 'none'")
    assert not [
        attributes
        for _, attributes in read.elements
        if any(name == "style" or name.startswith("on") for name in attributes)
    ]


def test_it_has_a_language_a_title_and_words_for_every_picture(read):
    assert dict(read.elements)["html"] == {"lang": "en"}
    assert read.inside("title") == "trial: fail"
    words = [attributes["alt"] for _, attributes in read.tags("img")]
    assert len(words) == 6 and all(words)
    assert "overconfident" in next(one for one in words if one.startswith("Ranks"))


@pytest.mark.parametrize(
    ("made", "first"),
    [
        (facts(NAMES, bad="mu"), "✕ Fail 1 number fails: sbc of mu."),
        (facts(NAMES), "✓ Pass All tests pass."),
        (
            facts(NAMES, numbers=numbers(NAMES) | {"verdict": "warn", "summary": "Two warn."}),
            "! Warning Two warn.",
        ),
        (BARE, "· Not judged yet No check has looked at this posterior."),
    ],
    ids=["fail", "pass", "warn", "none"],
)
def test_the_verdict_comes_first(made, first):
    read = Read.of(page(made))
    after_title = read.text.partition(read.inside("title"))[2]
    assert after_title.strip().startswith(first)


def test_every_value_is_on_the_page(read):
    shown = read.all("data-v")
    for one in numbers(NAMES, "sigma[0]")["values"]:
        for key in ("value", "effect", "p_adjusted"):
            assert one.get(key) is None or f"{one[key]:.8g}" in shown, one
    assert "the prior has no variance" in read.text


def test_what_was_drawn_from_data_is_on_the_page(read):
    assert {"1.5", "0.25", "0.987654", "0.0123"} <= set(read.all("data-v"))
    assert "mu (mV)" in read.text
    assert "mu = 9 lies outside" in read.text


def test_how_it_was_made_is_on_the_page(read):
    for told in (
        "normal: loc 0.316228",
        "days = 14",
        "timeout 20, not finite 4",
        "torch 2.10.0",
        "abc123",
        "step 380",
        "name: trial",
        "here",
    ):
        assert told in read.text, told
    assert "biased by how likely it was" in read.text


def test_failures_that_the_data_decide_do_not_bias():
    assert "biased by how likely" not in page(facts(NAMES, failures={"not finite": 4}))


def test_findings_come_before_the_questions_with_their_keys_as_code(read):
    text = read.text
    assert (
        text.index("Too narrow")
        < text.index("Can I trust it?")
        < text.index("What did the data teach?")
    )
    assert text.index("What does it say about my data?") < text.index("How was it made?")
    assert "simulate.train" in read.inside("code")


def test_the_worst_verdict_heads_the_table(read):
    body = read.text.partition("in words")[2]
    assert body.index("overconfident") < body.index("ranks look uniform")


def test_what_is_judged_jointly_is_in_the_first_column_with_its_worst():
    made = numbers([f"p[{at}]" for at in range(50)])
    made["values"].append(
        value(
            "sbc",
            "sbc_log_gamma",
            "log q",
            -3.0,
            effect=0.2,
            p=0.0,
            p_adjusted=0.0,
            verdict="fail",
            reason="off",
        )
    )
    made["values"].append(
        value("tarp", "tarp", "all", 3.0, effect=0.01, p=0.5, p_adjusted=1.0, verdict="pass")
    )
    read = Read.of(page(facts(["p[0]"], numbers=made)))
    assert (
        next(attributes["title"] for _, attributes in read.tags("td") if "title" in attributes)
        == "log q: fail, off"
    )
    assert read.text.partition("checkother")[2].startswith("p[0]p[1]")


def test_strata_are_apart_and_unfolded_where_one_fails():
    def unfolded(made):
        return [
            attributes
            for tag, attributes in Read.of(page(made)).tags("details")
            if "open" in attributes
        ]

    assert len(unfolded(facts(NAMES, bad="mu"))) == 1
    assert not unfolded(facts(NAMES))
    assert "sbc | n 10 to 50 (321 pairs)" in page(facts(NAMES))


def test_what_is_not_done_is_told_with_its_command():
    told = Read.of(page(BARE)).inside("code")
    for verb in ("diagnose", "sample", "simulate", "train"):
        assert f"sbiwb {verb} runs/trial" in told


def test_whatever_files_say_stays_text():
    names = [EVIL, f"{EVIL}[1]"]
    made = facts(names, bad=EVIL)
    odd = numbers(names, EVIL)
    odd["values"] += [value(EVIL, EVIL, EVIL, 0.5, reason=EVIL, verdict=EVIL)]
    odd |= {
        "summary": EVIL,
        "definitions": {EVIL: EVIL, "sbc_log_gamma": EVIL},
        "prior_var_source": EVIL,
        "n": EVIL,
        "draws": EVIL,
    }
    odd["advice"] = [
        {"finding": EVIL, "where": [EVIL] * 9, "causes": [EVIL], "todo": [EVIL], "severity": EVIL}
    ]
    odd["strata"] = [{"by": EVIL, "label": "n 10 to 50", "n": EVIL}]
    hostile = dataclasses.replace(
        made,
        name=EVIL,
        path=EVIL,
        yaml=EVIL,
        numbers=odd,
        config=made.config
        | {
            "problem": made.config["problem"]
            | {"constants": {EVIL: EVIL}, "context": {EVIL: {"kind": EVIL, EVIL: [EVIL]}}}
        },
        splits={EVIL: made.splits["train"]},
        failures={EVIL: 3},
        provenance={
            "train": dict.fromkeys(
                ["finished", "host", "seed", "command", "reason", "data_hash", "weights", EVIL],
                EVIL,
            )
            | {"versions": {EVIL: EVIL}}
        },
        pictures=(
            Picture(EVIL, ".svg", SVG),
            Picture("sbc", ".svg", EVIL.encode("utf-8", "replace")),
        ),
        inferred=(
            Inferred(
                EVIL,
                {
                    "warnings": [EVIL],
                    EVIL: [{EVIL: EVIL}],
                    "rows": [{"data_set": EVIL, "name": EVIL, EVIL: 1.0}],
                },
                (Picture(EVIL, ".png", b"x"),),
            ),
        ),
        notices=(EVIL,),
    )
    plain, read = Read.of(page(made)), Read.of(page(hostile))
    page(hostile).encode()
    assert (read.unbalanced, read.open) == ([], [])
    assert len(read.tags("script")) == 1
    known = {name for _, attributes in plain.elements for name in attributes}
    assert {name for _, attributes in read.elements for name in attributes} <= known | {"title"}
    assert {tag for tag, _ in read.elements} <= {tag for tag, _ in plain.elements}
    assert read.text.count("alert(1)") > 40


def test_the_same_facts_give_the_same_page():
    assert page(facts(NAMES)) == page(facts(NAMES))


def test_many_parameters_cost_little():
    names = [f"weights[{at}]" for at in range(50)]
    large = facts(names, bad="weights[7]")
    text = page(large)
    assert len(text) < 400_000
    assert len(page(facts(NAMES))) < len(text)
    read = Read.of(text)
    assert (read.unbalanced, read.open) == ([], [])
    matrices = [
        attributes
        for tag, attributes in read.tags("table")
        if "many" in (attributes.get("class") or "")
    ]
    assert len(matrices) == 2


def test_a_large_further_picture_stays_in_its_folder():
    large = Picture("sbc_ecdf", ".svg", SVG + b" " * 400_000)
    first = Picture("sbc", ".svg", SVG + b" " * 400_000)
    text = page(facts(NAMES, pictures=(first, large)))
    assert "in diagnose/ of the run: sbc_ecdf.svg" in text
    assert text.count(first.address) == 1
    assert large.address == first.address  # the same bytes, shown once


# Pictures


def test_a_picture_is_an_image_of_its_own_with_its_size_and_words():
    """An SVG runs no script and loads nothing where it is the source of an `img`."""
    evil = b'<svg viewBox="0 0 72 36"><script>alert(1)</script></svg>'
    read = Read.of(figure(Picture("evil", ".svg", evil), alternative='"><script>', caption="<b>"))
    assert (read.unbalanced, read.open) == ([], [])
    (image,) = read.tags("img")
    assert image[1] == {
        "src": f"data:image/svg+xml;base64,{base64.b64encode(evil).decode()}",
        "alt": '"><script>',
        "width": "96",
        "height": "48",
    }
    assert read.text == "<b>"
    assert not read.tags("script", "svg")


def test_a_tall_picture_is_folded_and_a_wide_one_scrolls():
    def names(data: bytes) -> list[tuple[str, str | None]]:
        elements = Read.of(figure(Picture("p", ".svg", data), alternative="p")).elements
        return [(name, attributes.get("class")) for name, attributes in elements][:2]

    assert names(b'<svg viewBox="0 0 100 980">') == [("details", "tall"), ("summary", None)]
    assert names(b'<svg viewBox="0 0 490 100">') == [("figure", None), ("div", "paper wide")]
    assert names(b"nothing that is known") == [("figure", None), ("div", "paper")]


# Words and numbers


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (-0.01234, "−0.0123"),
        (200000, "200,000"),
        (1234.5, "1,234"),
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (1e-7, "1e−07"),
        (True, "True"),
        (3, "3"),
    ],
)
def test_numbers_for_people(given, told):
    assert number(given) == told


def test_fixed_decimals_keep_the_column_in_line():
    assert [number(one, places(0.954)) for one in (0.954, -0.2, 0.0, -0.0001)] == [
        "0.954",
        "−0.200",
        "0.000",
        "0.000",
    ]
    assert [places(scale) for scale in (0, 123.4, 1.5, 0.05, 1e-9, float("inf"))] == [
        2,
        0,
        2,
        4,
        6,
        2,
    ]


def test_text_is_escaped_and_markup_is_not():
    assert (
        tag("p", "a < b", tag("b", "&"), None, title='"', hidden=True, id=None)
        == '<p title="&#34;" hidden>a &lt; b<b>&amp;</b></p>'
    )
    assert prose(
        "set `x < 1` or train.steps to 5 %"
    ) == "set <code>x &lt; 1</code> or <code>train.steps</code> to 5&nbsp;%".replace(
        "&nbsp;", unicodedata.lookup("NO-BREAK SPACE")
    )


def test_checks_are_known_by_kind_however_they_are_named():
    assert about("sbc | n 10 to 50") == about("sbc")
    assert about("coverage_2").title == "Coverage of intervals (2)"
    assert about("my_own").title == "My own"
    assert Number.of(Fields({})).verdict == "info"


@pytest.mark.slow
def test_fifty_parameters_with_all_their_pictures_stay_below_five_megabytes():
    names = tuple(f"weights[{at}]" for at in range(50))
    rng = np.random.default_rng(0)
    theta, centre = rng.normal(size=(1000, 50)), rng.normal(size=(1000, 50))
    draws = Draws(
        names,
        theta + centre,
        rng.normal(size=(1000, 999, 50)).astype(np.float32) + centre[:, None].astype(np.float32),
        np.full(50, 2.0),
    )
    pictures = []
    for check in ("sbc", "coverage", "zscore_contraction", "recovery", "nrmse"):
        module = family.module(check)
        result = module.compute(draws, module.Config(kind=check))
        plots = {
            name: plot
            for name, plot in vars(module).items()
            if name == "plot" or name.startswith("plot_")
        }
        pictures += [
            Picture(check + name.removeprefix("plot"), ".svg", to_svg(plot(result)))
            for name, plot in plots.items()
        ]
    assert 200_000 < len(page(facts(list(names), pictures=tuple(pictures)))) < 5_000_000


# Damaged files

NONSENSE = [7, -0.5, "words", None, True, [], [1, "a"], [[]], {}, {"a": 1}, 10**400, [{"p": {}}]]


def damaged(value: object, nonsense: object) -> object:
    """Copies of a JSON value with `nonsense` for one of its fields, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {**value, key: nonsense}
            yield from ({**value, key: one} for one in damaged(inner, nonsense))
    if isinstance(value, list) and value:
        yield [nonsense, *value[1:]]
        yield from ([one, *value[1:]] for one in damaged(value[0], nonsense))


@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
@pytest.mark.parametrize("field", ["numbers", "provenance", "splits", "config", "inferred"])
def test_a_field_of_another_type_counts_as_absent(field, nonsense):
    """Whatever stands in a file of a run, there is a page, and it is well formed."""
    whole = facts(["mu"], bad="mu")
    for damage in damaged(json_of(getattr(whole, field)), nonsense):
        if field == "inferred":
            damage = (Inferred("seen", damage),)
        read = Read.of(page(dataclasses.replace(whole, **{field: damage})))
        assert (read.unbalanced, read.open) == ([], [])
        assert len(read.tags("section")) >= 4


def json_of(value: object) -> object:
    """What the file holds."""
    if isinstance(value, tuple):
        return {**value[0].summary}
    return {key: one for key, one in value.items()}
