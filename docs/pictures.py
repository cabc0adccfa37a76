"""The gallery's pictures: pages made from tables that dependencies ship, opened in a headless Chromium.

    python docs/pictures.py [NAME ...]

writes `docs/_static/gallery/NAME.webp` (each below 150 kB), and README's picture, `examples/images/report.webp`. Needs
the test extra and a Chromium; takes some minutes.
"""

from __future__ import annotations

import base64
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LARGEST = 150_000  # bytes
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]

QUESTIONNAIRE = [  # column, least and largest answer, digits after the point: public
    ("rate_marriage", 1, 5, 0),
    ("age", 17.5, 42, 1),
    ("yrs_married", 0.5, 23, 1),
    ("children", 0, 5.5, 1),
    ("religious", 1, 4, 0),
    ("educ", 9, 20, 0),
    ("occupation", 1, 6, 0),
    ("occupation_husb", 1, 6, 0),
    ("affairs", 0, 60, None),
]
TO_WEBP = """async ([data, quality]) => {
    const image = new Image();
    image.src = "data:image/png;base64," + data;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/webp", quality);
}"""


@dataclass(frozen=True)
class Picture:
    """A part of a page.

    Args:
        page: file name of the page, in the folder where all are made.
        part: CSS selector of what is shown; None: the page's first screen.
        width, height: of the browser's window, in pixels; a part is cut at `height`.
    """

    page: str
    part: str | None = None
    width: int = 1200
    height: int = 900


PICTURES = {
    "report": Picture("report.html", height=960),
    "columns": Picture("report.html", "#columns"),
    "pairs": Picture("report.html", "#pairs"),
    "attacks": Picture("report.html", "#attacks"),
    "ledger": Picture("private.html", "#ledger", height=700),
    "private": Picture("private.html"),
    "losses": Picture("losses.html", width=640, height=520),
}


def make_pages(folder: Path, wanted: set[str]) -> None:
    """The pages of the wanted pictures."""
    pages = {PICTURES[name].page for name in wanted}
    from statsmodels.datasets import fair

    table = fair.load_pandas().data.sample(frac=1, random_state=0, ignore_index=True)  # the file is sorted
    train, unseen = table.iloc[:3000], table.iloc[3000:4500]
    if "report.html" in pages:
        _evaluated(folder / "report.html", train, unseen, "trees")
    if "private.html" in pages:
        _evaluated(folder / "private.html", train, unseen, "bayesian_network")
    if "losses.html" in pages:
        from raysynth import AutoregressiveSynthesizer

        AutoregressiveSynthesizer(epochs=30, seed=0, verbose=False).fit(train).plot_losses().save(
            folder / "losses.html"
        )


def _evaluated(path: Path, train: Any, unseen: Any, method: str) -> None:
    from raysynth import BayesianNetworkSynthesizer, SequentialTrees, infer_schema
    from raysynth.evaluation import evaluate_synthetic_data

    model: Any = SequentialTrees(seed=0, verbose=False)
    if method == "bayesian_network":  # the questionnaire's answers are public
        schema = infer_schema(train)
        for name, low, high, decimals in QUESTIONNAIRE:
            schema = schema.with_column(name, kind="continuous", bounds=(low, high), decimals=decimals)
        schema = schema.declared_public()
        model = BayesianNetworkSynthesizer(epsilon=1.0, delta=1e-5, schema=schema, seed=0, verbose=False)
    made = model.fit(train).sample(len(train), seed=1)
    results = evaluate_synthetic_data(
        train, made, holdout_data=unseen, target_columns="children", model_info=model, seed=0
    )
    results.generate_report(path)


def take(page: Any, picture: Picture) -> bytes:
    """The picture as WebP, of the best quality below `LARGEST` bytes."""
    png = page.screenshot()
    if picture.part is not None:
        box = page.locator(picture.part).bounding_box()
        left, top = max(box["x"] - 16, 0), box["y"]
        clip = {"x": left, "y": top, "width": box["width"] + 32, "height": min(box["height"], picture.height)}
        png = page.screenshot(full_page=True, clip=clip)
    return as_webp(page, png)


def as_webp(page: Any, png: bytes) -> bytes:
    """A PNG as WebP of the best quality below `LARGEST` bytes, converted by the browser of an open page."""
    packed = b""
    for quality in (0.92, 0.85, 0.75, 0.65, 0.5):
        text = page.evaluate(TO_WEBP, [base64.b64encode(png).decode(), quality])
        packed = base64.b64decode(text.partition(",")[2])
        if len(packed) < LARGEST:
            break
    return packed


def main(names: list[str]) -> None:
    """Make the named pictures, or all."""
    from playwright.sync_api import sync_playwright

    os.environ.setdefault("RAYSYNTH_QUIET", "1")
    wanted = set(names or PICTURES)
    (HERE / "_static" / "gallery").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        make_pages(Path(made), wanted)
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for name in sorted(wanted):
            picture = PICTURES[name]
            page = browser.new_page(viewport={"width": picture.width, "height": picture.height}, color_scheme="light")
            page.goto((Path(made) / picture.page).as_uri())
            for section in page.query_selector_all("section"):
                section.scroll_into_view_if_needed()  # charts are drawn when they come into view
            page.evaluate("window.scrollTo(0, 0)")
            packed = take(page, picture)
            (HERE / "_static" / "gallery" / f"{name}.webp").write_bytes(packed)
            if name == "report":
                (HERE.parent / "examples" / "images" / "report.webp").write_bytes(packed)
            print(f"{name}: {len(packed):,} bytes")
            page.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
