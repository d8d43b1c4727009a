"""What any pairing of two printed recalls could show."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ..errors import ConfigError, Problem
from ..measure.significance import mcnemar, published_difference

DISCORDANCES = (0.15, 0.2, 0.25)
"""Shares of queries that exactly one of two systems answers, as they are usual between two published systems."""


@dataclass(frozen=True)
class Printed:
    """Two printed recalls at the same n.

    net          the difference in queries, smallest and largest that the printed digits allow; of a number that no
                 count gives, both counts beside it are taken
    best         the smallest p of any pairing: one system answers all that the other answers, and more
    usual        {discordance: p}; empty where a number is impossible
    impossible   {number that no count of n queries gives: the counts beside it}
    """

    numbers: tuple[str, str]
    n: int
    net: tuple[int, int]
    best: float
    usual: dict[float, float]
    impossible: dict[str, tuple[int, int]]

    @property
    def verdict(self) -> str:
        """Empty where a number is impossible."""
        if self.impossible:
            return ""
        if self.best >= 0.05:
            return "not significant at .05, whatever the pairing"
        if self.usual and max(self.usual.values()) < 0.05:
            return "significant at .05 at usual discordance"
        if self.usual and min(self.usual.values()) >= 0.05:
            return "significant at .05 only if both systems answer nearly the same queries"
        return "significant at .05 or not, depending on the pairing"

    @property
    def lines(self) -> list[str]:
        """What is to be said, impossible numbers or the verdict first."""
        first, second = self.numbers
        net = f"{self.net[0]:,}" + (f" to {self.net[1]:,}" if self.net[1] > self.net[0] else "")
        lines = [
            f"Beware: no count of {self.n:,} queries gives {number}: {low:,} gives {100 * low / self.n:.4g}, {high:,} "
            f"gives {100 * high / self.n:.4g}."
            for number, (low, high) in self.impossible.items()
        ]
        if 0 < max(float(first), float(second)) < 1:
            lines.append("Beware: both are below 1: fractions? They are read as percent.")
        if self.impossible:
            lines.append("No verdict: is n another, or a number the mean of several runs?")
        else:
            lines.append(f"{first} against {second} at n = {self.n:,}: {self.verdict}.")
        lines.append(f"p >= {_digits(self.best)} whatever the pairing (net {net} queries; exact McNemar).")
        if self.usual:
            shares = [100 * share for share in self.usual]
            lines.append(
                f"At usual discordance ({min(shares):.0f} to {max(shares):.0f} % of the queries answered by one system "
                f"only): p = {_digits(min(self.usual.values()))} to {_digits(max(self.usual.values()))}."
            )
        lines.append(
            "n counts independent queries: where videos have several captions, the videos. No seed is covered."
        )
        return lines


def printed(first: str, second: str, n: int) -> Printed:
    """Bounds on p for two recalls in percent, as they are printed, at the same n queries.

    Raises ConfigError for what is no recall, and for no queries.
    """
    if n < 1:
        raise ConfigError(Problem("--n", f"needs one query at least, got {n}"))
    counts = {number: _counts(number, n) for number in (first, second)}
    impossible = {number: (high, low) for number, (low, high) in counts.items() if low > high}
    (a_low, a_high), (b_low, b_high) = (impossible.get(number, counts[number]) for number in (first, second))
    largest = max(a_high - b_low, b_high - a_low)
    smallest = max(0, a_low - b_high, b_low - a_high)
    a, b = float(first), float(second)
    shares = () if impossible else [share for share in DISCORDANCES if share * n >= largest]
    usual = {share: published_difference(a, b, n, share)[1] for share in shares}
    return Printed((first, second), n, (smallest, largest), mcnemar(largest, 0), usual, impossible)


def _counts(number: str, n: int) -> tuple[int, int]:
    """Smallest and largest count of n queries that is printed as this percentage; where none is, the counts above and
    below it, so that the first is the larger."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", number) or float(number) > 100:
        raise ConfigError(Problem("--published", f"expected a recall in percent, such as 48.1, got {number}"))
    value = float(number)
    half = 0.5 * 10.0 ** -len(number.partition(".")[2])
    low = math.ceil((value - half) / 100 * n - 1e-9)
    return max(low, 0), min(math.floor((value + half) / 100 * n + 1e-9), n)


def _digits(p: float) -> str:
    return f"{p:.2g}" if p < 0.001 else f"{p:.3f}"
