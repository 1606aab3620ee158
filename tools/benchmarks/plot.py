"""The plot of the page: for every model a group of bars, each a ratio to the peer's speed, with a mark where the promise is.

Written by hand as SVG of a few kilobytes. Colours are chosen to be read on a light and on a dark page; text follows the page
where the viewer tells which it is.
"""

from html import escape

COLOURS = ["#3b82f6", "#0d9488", "#d97706", "#9333ea", "#dc4c64"]
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #57606a }
.strong { font-weight: 600 }
.grid { stroke: #8b949e; stroke-opacity: 0.3 }
.one { stroke: #8b949e }
.mark { stroke: #1f2328; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #adbac7 } .mark { stroke: #f0f6fc } }
</style>"""
LEFT, RIGHT, BAR, GAP, TOP, WIDTH = 340, 40, 11, 14, 30, 800


def scale(bars):
    """Pixels a unit of ratio, and the last line of the grid."""
    most = max([1.0] + [max(ratio, promised or 0) for _, group in bars for _, ratio, promised in group])
    last = int(most) + 1
    return (WIDTH - LEFT - RIGHT) / last, last


def grid(unit, last, bottom):
    step = 1 if last <= 10 else 5
    lines = []
    for value in range(0, last + 1, step):
        x = LEFT + value * unit
        kind = "one" if value == 1 else "grid"
        lines.append(f'<line class="{kind}" x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}"/>')
        lines.append(f'<text x="{x:.1f}" y="{TOP - 12}" text-anchor="middle">{value}×</text>')
    return lines


def group_lines(title, group, unit, y):
    lines = [f'<text class="strong" x="8" y="{y + 10}">{escape(title)}</text>']
    for number, (name, ratio, promised) in enumerate(group):
        top = y + number * (BAR + 2)
        colour = COLOURS[number % len(COLOURS)]
        lines.append(f'<text x="{LEFT - 8}" y="{top + 9.5}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect x="{LEFT}" y="{top}" width="{ratio * unit:.1f}" height="{BAR}" rx="2" fill="{colour}"/>')
        end = LEFT + ratio * unit
        if promised:
            x = LEFT + promised * unit
            end = x if end < x < end + 40 else end # the number stands behind the mark, not under it
            lines.append(f'<line class="mark" x1="{x:.1f}" y1="{top - 1}" x2="{x:.1f}" y2="{top + BAR + 1}"/>')
        lines.append(f'<text x="{end + 6:.1f}" y="{top + 9.5}">{ratio:.2f}</text>')
    return lines


def draw(bars):
    """`bars`: [(title, [(name, ratio, promised or None)])]."""
    unit, last = scale(bars)
    body, y = [], TOP
    for title, group in bars:
        body += group_lines(title, group, unit, y)
        y += len(group) * (BAR + 2) + GAP
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 8}" role="img" '
            f'aria-label="Speed of Backplane as multiples of llama.cpp, a bar a measurement">')
    return "\n".join([head, STYLE, *grid(unit, last, y - GAP + 4), *body, "</svg>", ""])
