"""On the site, pictures in notebooks keep their text for those who do not see them.

The template of the notebooks drops it: it stands in the metadata of each output.
"""

import html
import json
from pathlib import Path
from typing import Any

_MISSING = 'alt="No description has been provided for this image"'


def on_page_content(content: str, *, page: Any, **_: Any) -> str:
    source = page.file.abs_src_path
    if source is None or not source.endswith(".ipynb"):
        return content
    cells = json.loads(Path(source).read_text(encoding="utf-8"))["cells"]
    texts = [
        output["metadata"]["image/png"]["alt"]
        for cell in cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    parts = content.split(_MISSING)
    if len(parts) != len(texts) + 1:
        raise ValueError(
            f"{source}: {len(texts)} pictures, {len(parts) - 1} without text"
        )
    filled = [f'alt="{html.escape(text)}"' for text in texts]
    return parts[0] + "".join(
        text + part for text, part in zip(filled, parts[1:], strict=True)
    )
