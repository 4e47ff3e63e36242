"""Draws the growth table of `trace_cold` (its rows on standard input) as an SVG, both axes logarithmic.

python -m benchmarks.trace_cold … --growth 0.01 0.05 0.2 0.6 | python -m benchmarks.growth_plot > docs/tracing-growth.svg
"""  # noqa: E501 (a command)

from __future__ import annotations

import math
import re
import sys

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 320, 56, 40
X, Y = (10.0, 3000.0), (1.0, 3000.0)
SERIES = {"pages read, cold": (4, ""), "ms, cold": (3, "6 3"), "ms, warm": (2, "2 3")}
STYLE = (
    "text{font:12px sans-serif;fill:#222}path,line{stroke:#222;fill:none}.grid{stroke:#ccc}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}path,line{stroke:#ddd}.grid{stroke:#444}}"
)


def place(x: float, y: float) -> tuple[float, float]:
    """Return where a point of the data stands in the picture."""
    across = math.log(x / X[0]) / math.log(X[1] / X[0])
    up = math.log(max(y, Y[0]) / Y[0]) / math.log(Y[1] / Y[0])
    return LEFT + across * (WIDTH - LEFT - 120), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - 12)


def main() -> None:
    numbers = re.compile(r"\|( [\d.]+ \|){6}\s*")
    rows = [[float(v) for v in line.strip(" |\n").split("|")] for line in sys.stdin if numbers.fullmatch(line)]
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">')
    print("<title>Time and page reads of a search against the size of the index</title>")
    print(f"<style>{STYLE}</style>")
    for value in (1, 10, 100, 1000):
        left, top = place(X[0], value)
        print(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 120}" y1="{top:.1f}" y2="{top:.1f}"/>')
        print(f'<text x="{left - 8:.1f}" y="{top + 4:.1f}" text-anchor="end">{value:,}</text>')
    for value in (10, 100, 1000):
        left, top = place(value, Y[0])
        print(f'<text x="{left:.1f}" y="{top + 18:.1f}" text-anchor="middle">{value:,}</text>')
    print(f'<text x="{LEFT}" y="{HEIGHT - 4}">size of the index in MB</text>')
    for name, (column, dashes) in SERIES.items():
        points = [place(row[0], row[column]) for row in rows]
        line = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        print(f'<path d="M{line}" stroke-width="2" stroke-dasharray="{dashes}"/>')
        print(f'<text x="{points[-1][0] + 12:.1f}" y="{points[-1][1] + 4:.1f}">{name}</text>')
    print("</svg>")


if __name__ == "__main__":
    main()
