"""The maps as files, and the page that sets them beside their pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from data_prep.pictures.folder_ids import file_named_after
from data_prep.reporting.report import Section, picture_grid, write_report
from data_prep.run_folders.drafts import drafted
from data_prep.tasks import Task

if TYPE_CHECKING:
    from transfer.results.explanations import Explanation

SHOWN_PX = 160
TASK_FILE = "task.json"  # of which task and nets the maps are, for stacking
HOW_TO_READ = (
    "Left the picture, right where the net looks: the brighter, the more it counts for"
    " the output named below. Each picture with a label is explained by the net that"
    " never saw it. A map is as coarse as the last feature map of the net, and each is"
    " scaled by itself, so two of them do not compare in strength. Look for borders,"
    " stamps and paper where you expected the motif."
)


def write_pages(
    folder: Path, explanations: "Sequence[Explanation]", task: Task, nets: str
) -> Path:
    """Write ``ID.png`` for each explanation, then the page.

    Args:
        folder: Where they go.
        explanations: In the order of the page.
        task: Whose output is explained.
        nets: Digest of the stage whose nets were asked.

    Returns:
        The page.
    """
    for explanation in explanations:
        path = file_named_after(explanation.id_, folder, ".png")
        if path is None:
            continue
        with drafted(path) as file:
            Image.fromarray(explanation.overlay).save(file, "PNG")
    with drafted(folder / TASK_FILE) as file:
        file.write(json.dumps({"task": task.name, "nets": nets}).encode())
    grid = picture_grid(
        [explanation.pixels for explanation in explanations],
        [f"{explanation.id_}\n{explanation.caption}" for explanation in explanations],
        maps=[explanation.overlay for explanation in explanations],
        side=SHOWN_PX,
    )
    page = folder / "index.html"
    write_report(
        page,
        "Where the nets look",
        f"{task.name} ({task.task_type.name}), Grad-CAM",
        [Section("Pictures and maps", grid, HOW_TO_READ)],
    )
    return page
