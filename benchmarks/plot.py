"""The record as a picture: what a request costs each product, on each path, in SVG."""

from xml.sax.saxutils import escape

from benchmarks.plan import PRODUCTS, PROTOCOLS, SHAPE
from benchmarks.record import Record
from benchmarks.results import cpu

_COLOURS = {"tulle": "#7a3e9d", "envoy": "#d9822b", "haproxy": "#4a7fb5"}
_NAMES = {"tulle": "Tulle", "envoy": "Envoy", "haproxy": "HAProxy"}
_TITLES = {"http1": "HTTP/1.1", "http2": "HTTP/2", "grpc": "gRPC"}
_LEFT, _TOP, _BAR, _GAP, _PLOT, _WIDTH = 90, 62, 20, 26, 560, 720


def picture(record: Record) -> str:
    """Horizontal bars, a group per path; a path that was not measured says so."""
    costs = {row: {name: cpu(record, row, name) for name in PRODUCTS} for row in PROTOCOLS}
    most = max((c for group in costs.values() for c in group.values() if c), default=1.0)
    parts = [
        _text(16, 24, "CPU per request and proxy, in µs (less is better)", size=16, bold=True),
        _text(16, 44, SHAPE, size=12),
    ]
    y = _TOP
    for row, group in costs.items():
        parts.append(_text(16, y + 1.5 * _BAR + 5, _TITLES[row], bold=True))
        for name, cost in group.items():
            parts += _bar(y, name, cost, most)
            y += _BAR
        y += _GAP
    day = f"medians of {record.effort.rounds} rounds, {record.taken_on}, {record.machine.get('cpu', '')}"
    parts.append(_text(16, y, day, size=11))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 14}" '
        f'font-family="system-ui, sans-serif" role="img">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bar(y: float, name: str, cost: float | None, most: float) -> list[str]:
    if cost is None:
        return [_text(_LEFT + 4, y + 14, f"{_NAMES[name]}: not measured", size=12)]
    width = max(1.0, cost / most * (_PLOT - 100))
    bar = (
        f'<rect x="{_LEFT}" y="{y + 1}" width="{width:.1f}" height="{_BAR - 3}" rx="2" '
        f'fill="{_COLOURS[name]}"/>'
    )
    return [bar, _text(_LEFT + width + 6, y + 14, f"{_NAMES[name]} {cost:.0f}", size=12)]


def _text(x: float, y: float, text: str, *, size: int = 13, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="#222222"{weight}>{escape(text)}</text>'
