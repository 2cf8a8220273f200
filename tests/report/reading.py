"""What the tests of the page share: a run's facts made by hand, and a reader of HTML that notices
what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from sbiwb.report._html import VOID
from sbiwb.report._picture import Picture
from sbiwb.report.page import Facts, Inferred

SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 300">'
    b"<style>path{stroke-linecap: butt}</style>"
    b'<path d="M0 0L400 300" style="fill: none; stroke: #0072b2"/>'
    b'<text x="5" y="9" style="font-size: 9px">mu</text></svg>'
)


def value(
    check: str, name: str, parameter: str, found: float | None, **more: Any
) -> dict[str, Any]:
    return {
        "check": check,
        "name": name,
        "parameter": parameter,
        "value": found,
        "verdict": "info",
        "reason": "",
    } | more


def numbers(names: list[str], bad: str = "") -> dict[str, Any]:
    """As `numbers.json` of a run with these columns of theta; `bad` is overconfident."""
    values = []
    for at, name in enumerate(names):
        test = {
            "effect": 0.01 + at / 7000,
            "effect_interval": [0.0, 0.05],
            "p": 0.4,
            "p_adjusted": 1.0,
            "verdict": "pass",
        }
        test |= {"reason": "ranks look uniform"}
        if name == bad:
            test |= {
                "effect": 0.2,
                "p_adjusted": 1e-7,
                "verdict": "fail",
                "reason": "overconfident: ranks heap at both ends",
            }
        values.append(value("sbc", "sbc_log_gamma", name, 1.5 + at / 1000, **test))
        values.append(value("sbc | n 10 to 50", "sbc_log_gamma", name, 0.25 + at / 1000, **test))
        values += [
            value("coverage", f"coverage_{level}", name, level / 100 - at / 3000)
            for level in (50, 90)
        ]
        values.append(
            value("zscore_contraction", "contraction_variance_median", name, 0.9 - at / 1000)
        )
        values.append(value("recovery", "recovery_r2", name, -0.011 - at / 1000))
    values.append(value("nlpd", "nlpd", "all parameters", -3.21, reason="± 0.02 nats"))
    values.append(
        value(
            "nrmse",
            "nrmse_draws",
            names[0],
            None,
            reason="the prior has no variance",
            verdict="warn",
        )
    )
    return {
        "format": 1,
        "verdict": "fail" if bad else "pass",
        "summary": f"1 number fails: sbc of {bad}." if bad else "All tests pass.",
        "definitions": {"sbc_log_gamma": "log(gamma / its 5 % quantile)"},
        "values": values,
        "n": 1000,
        "draws": 999,
        "prior_var_source": "prior",
        "strata": [{"by": "n", "label": "n 10 to 50", "n": 321}],
        "advice": [
            {
                "finding": "Too narrow",
                "where": [f"sbc {bad}"],
                "causes": ["few pairs"],
                "todo": ["Raise simulate.train"],
                "severity": "fail",
            }
        ]
        if bad
        else [],
    }


def facts(names: list[str], *, bad: str = "", **more: Any) -> Facts:
    """A run with every step done."""
    provenance = {
        "finished": "2026-01-02T03:04:05+0000",
        "seconds": 61.0,
        "host": "here",
        "seed": 5,
        "command": "sbiwb run a.yaml",
    }
    provenance |= {
        "versions": {"python": "3.12.1", "torch": "2.10.0"},
        "data_hash": "abc123",
        "weights": "def456",
    }
    row = {
        "data_set": "seen",
        "name": names[0],
        "mean": 1.5,
        "sd": 0.25,
        "hdi_3%": 1.0,
        "q2.5": 0.987654,
    }
    train = {
        "step": 400,
        "reason": "steps",
        "best_step": 380,
        "best_loss": -1.25,
        "gap": 0.4,
        "still_falling": True,
    }
    whole = {
        "name": "trial",
        "path": "runs/trial",
        "config": {
            "problem": {
                "parameters": {
                    name.partition("[")[0]: {"kind": "normal", "loc": 0.31622776, "unit": "mV"}
                    for name in names
                },
                "context": {"n": {"kind": "uniform_integer", "low": 10, "high": 50}},
                "constants": {"days": 14},
            },
            "simulate": {"train": 1000},
        },
        "yaml": "name: trial\n",
        "splits": {
            "train": {
                "rows": 1024,
                "failed": 24,
                "p_valid": 0.977,
                "shards": 4,
                "bytes": 2_500_000,
                "seconds": 100.0,
            }
        },
        "failures": {"timeout": 20, "not finite": 4},
        "provenance": {
            "simulate": provenance,
            "train": provenance | train,
            "diagnose": provenance,
            "sample seen": provenance | {"draws": 4000},
        },
        "metrics": [{"step": 10, "train_loss": 2.0, "validation_loss": 2.5}],
        "loss": Picture("loss", ".svg", SVG),
        "numbers": numbers(names, bad),
        "pictures": (
            Picture("coverage", ".svg", SVG),
            Picture("sbc", ".svg", SVG),
            Picture("sbc_ecdf", ".svg", SVG),
        ),
        "inferred": (
            Inferred(
                "seen",
                {
                    "rows": [row],
                    "warnings": ["mu = 9 lies outside"],
                    "misspecification": [{"measure": "network_p", "p": 0.0123}],
                },
                (Picture("pairs", ".svg", SVG), Picture("predictive", ".png", b"\x89PNG")),
            ),
        ),
    }
    return Facts(**(whole | more))


@dataclass
class Read(HTMLParser):
    """A page, read."""

    open: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    words: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    @classmethod
    def of(cls, page: str) -> Read:
        read = cls()
        read.feed(page)
        read.close()
        return read

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append((self.open[-1] if self.open else "", data))

    @property
    def text(self) -> str:
        """What a reader sees."""
        return "".join(words for tag, words in self.words if tag not in ("style", "script"))

    def inside(self, tag: str) -> str:
        return "".join(words for name, words in self.words if name == tag)

    def all(self, attribute: str) -> list[str]:
        return [
            attributes[attribute] or ""
            for _, attributes in self.elements
            if attribute in attributes
        ]

    def tags(self, *names: str) -> list[tuple[str, dict[str, str | None]]]:
        return [(tag, attributes) for tag, attributes in self.elements if tag in names]
