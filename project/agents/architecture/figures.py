"""Figures for a dashboard that agree with each other: the total is the sum of what is shown."""

import functools
import random

from plugspace_queue.schemas.architecture import Chart, Item, Section, Series, Table
from project.agents.architecture.library import DashboardWords
from project.agents.chance import seeded

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
COMPANIES = [
    "Harbour Freightways",
    "Kettle & Pine",
    "Brightwater",
    "Alto Robotics",
    "Marsh & Daughters",
    "Polar Bakery",
    "Vestkraft",
    "Lumen Hall",
    "Orchard Radio",
    "Sable Logistics",
]
PEOPLE = [
    "Mara Lindqvist",
    "Joseph Adeyemi",
    "Ines Carvalho",
    "Yuki Tanaka",
    "Clara Moreau",
    "Samir Haddad",
    "Petra Novak",
    "Owen Blake",
    "Leyla Kaya",
    "Tomás Rivera",
]
STATUSES = ["Active", "Active", "Active", "New", "At risk", "Active", "Paused", "New", "Active"]


class Figures:
    """A year of one business: months of customers, what each brings, and who left."""

    def __init__(self, words: DashboardWords, seed: str) -> None:
        self.words = words
        self.chance = seeded(seed, "figures")
        self.average = self.chance.randint(38, 128)
        self.counts = _growth(self.chance, self.chance.randint(240, 520))
        averages = [self.average * (1 + 0.006 * month) for month in range(12)]
        self.revenue = [
            round(count * average / 100) * 100
            for count, average in zip(self.counts, averages, strict=True)
        ]
        self.last_year = [
            round(value * (0.68 + self.chance.random() * 0.1) / 100) * 100 for value in self.revenue
        ]
        self.rates = [round(2.9 - 0.1 * month + self.chance.random() / 4, 1) for month in range(12)]
        self.shares = _shares(self.chance, len(words.segments))


@functools.lru_cache(maxsize=64)
def _sections(words: str, seed: str) -> dict[str, Section]:
    figures = Figures(DashboardWords.model_validate_json(words), seed)
    return {
        "metrics": _metrics(figures),
        "trend": _trend(figures),
        "split": _split(figures),
        "activity": _activity(figures),
        "table": _table(figures),
        "report": _report(figures),
        "reporttable": _report_table(figures),
    }


def sections(words: DashboardWords, seed: str) -> dict[str, Section]:
    """The sections of a dashboard by name; the same words and seed give the same figures."""
    return _sections(words.model_dump_json(), seed)


def _growth(chance: random.Random, start: int) -> list[int]:
    values = [start]
    for _ in MONTHS[1:]:
        values.append(round(values[-1] * (0.985 + chance.random() * 0.1)))
    return values


def _shares(chance: random.Random, count: int) -> list[float]:
    weights = [0.58**place * (0.9 + chance.random() / 4) for place in range(count)]
    shares = [round(100 * weight / sum(weights)) for weight in weights]
    shares[0] += 100 - sum(shares)
    return [float(share) for share in shares]


def money(value: float) -> str:
    """An amount in euros, grouped by thousands."""
    return f"€{value:,.0f}"


def _change(now: float, before: float, unit: str = "%") -> str:
    delta = (now - before) / before * 100 if unit == "%" else now - before
    if abs(delta) < 0.05:
        return "unchanged"
    return f"{'+' if delta >= 0 else '−'}{abs(delta):.1f} {unit}"  # noqa: RUF001


def _metrics(figures: Figures) -> Section:
    words, revenue, counts, rates = figures.words, figures.revenue, figures.counts, figures.rates
    average = [total / count for total, count in zip(revenue, counts, strict=True)]
    return Section(
        id="metrics",
        kind="metrics",
        heading="This month",
        text="Compared with the month before",
        items=[
            _metric(words.revenue, money(revenue[-1]), _change(revenue[-1], revenue[-2])),
            _metric(words.count, f"{counts[-1]:,}", _change(counts[-1], counts[-2])),
            _metric(words.average, f"€{average[-1]:.2f}", _change(average[-1], average[-2])),
            _metric(words.rate, f"{rates[-1]:.1f} %", _change(rates[-1], rates[-2], "pts")),
        ],
    )


def _metric(title: str, value: str, change: str) -> Item:
    return Item(title=title, value=value, meta=change)


def _trend(figures: Figures) -> Section:
    return Section(
        id="trend",
        kind="chart",
        heading=figures.words.revenue,
        text="This year against last year, in thousands of euros",
        chart=Chart(
            kind="area",
            labels=MONTHS,
            unit="k",
            series=[
                Series(label="This year", values=_thousands(figures.revenue)),
                Series(label="Last year", values=_thousands(figures.last_year)),
            ],
        ),
    )


def _thousands(values: list[int]) -> list[float]:
    return [round(value / 1000, 1) for value in values]


def _split(figures: Figures) -> Section:
    return Section(
        id="split",
        kind="chart",
        heading="Where it comes from",
        text="Share of this month",
        chart=Chart(
            kind="donut",
            labels=figures.words.segments,
            unit="%",
            series=[Series(label="Share", values=figures.shares)],
        ),
    )


def _names(figures: Figures) -> list[str]:
    return COMPANIES if figures.words.who == "companies" else PEOPLE


def _activity(figures: Figures) -> Section:
    names = figures.chance.sample(_names(figures), 5)
    happened = [
        ("joined", "9 min ago"),
        ("moved up a plan", "41 min ago"),
        ("asked a question", "2 h ago"),
        ("came back after a pause", "yesterday"),
        ("sent praise", "yesterday"),
    ]
    return Section(
        id="activity",
        kind="activity",
        heading="Latest",
        items=[
            Item(title=name, text=text, meta=when)
            for name, (text, when) in zip(names, happened, strict=True)
        ],
    )


def _table(figures: Figures) -> Section:
    chance, segments = figures.chance, figures.words.segments * 8
    names = chance.sample(_names(figures), 8)
    values = sorted((chance.randint(2, 48) * figures.average for _ in names), reverse=True)
    rows = [
        [name, segments[at * 2 // 3], STATUSES[at], money(value), _drift(chance)]
        for at, (name, value) in enumerate(zip(names, values, strict=True))
    ]
    columns = ["Name", "Segment", "Status", figures.words.revenue, "Change"]
    return Section(
        id="records",
        kind="table",
        heading=figures.words.rows,
        text="Largest first",
        table=Table(columns=columns, rows=rows),
    )


def _drift(chance: random.Random) -> str:
    return _change(100 + chance.random() * 22 - 6, 100)


def _quarters(figures: Figures) -> list[int]:
    return [sum(figures.revenue[at : at + 3]) for at in range(0, 12, 3)]


def _report(figures: Figures) -> Section:
    series = [
        Series(
            label=segment,
            values=[round(total * share / 100_000, 1) for total in _quarters(figures)],
        )
        for segment, share in zip(figures.words.segments, figures.shares, strict=True)
    ]
    return Section(
        id="report",
        kind="chart",
        heading=f"{figures.words.revenue} by quarter",
        text="By segment, in thousands of euros",
        chart=Chart(kind="bar", labels=["Q1", "Q2", "Q3", "Q4"], unit="k", series=series),
    )


def _report_table(figures: Figures) -> Section:
    rows = [
        [month, money(revenue), f"{count:,}", f"{rate:.1f} %"]
        for month, revenue, count, rate in zip(
            MONTHS, figures.revenue, figures.counts, figures.rates, strict=True
        )
    ]
    words = figures.words
    return Section(
        id="months",
        kind="table",
        heading="Month by month",
        table=Table(columns=["Month", words.revenue, words.count, words.rate], rows=rows),
    )
