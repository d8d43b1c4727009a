"""How tables and figures write numbers of any size."""

from __future__ import annotations

import math

UNITS = {3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}


def short_number(value: float) -> str:
    """Three digits and a unit of a thousand: `1.23 M`, `0.0123`, `850`."""
    exponent = min(15, 3 * (math.floor(math.log10(abs(value))) // 3)) if abs(value) >= 1000 else 0
    scaled = float(f"{value:.3g}") / 10**exponent
    if abs(scaled) >= 1000 and exponent + 3 in UNITS:
        scaled, exponent = scaled / 1000, exponent + 3
    return f"{scaled:.3g}" + (f" {UNITS[exponent]}" if exponent else "")
