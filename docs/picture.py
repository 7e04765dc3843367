"""Make docs/demo.svg out of what `tulle demo` printed.

FORCE_COLOR=1 COLUMNS=150 .venv/bin/tulle demo --seconds 30 | python -m docs.picture
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

TARGET = Path(__file__).with_name("demo.svg")


def picture(printed: str) -> str:
    """A terminal with the last thing in it that was drawn, as SVG that loads no font from anywhere."""
    last = printed.rpartition("\x1b[2K")[2]
    text = Text.from_ansi(last.strip("\n"))
    width = max(line.cell_len for line in text.split())
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(text)
    svg = console.export_svg(title="make demo", unique_id="demo")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.S).replace("Fira Code", "monospace")


if __name__ == "__main__":
    TARGET.write_text(picture(sys.stdin.read()))
