"""`ablate data views`: the picture shows the views that training would see."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from typer.testing import CliRunner

from ablate.cli import app
from ablate.cli.contact_sheet import EPOCHS, contact_sheet
from ablate.data import Split, two_views
from tests.data.test_views import batch, views_of
from tests.spec.files import write

runner = CliRunner()
TRIAL = "data: {kind: digits, train: 200, test: 100}\nhead: {kind: none}\noptim: {kind: sgd}\n"


def test_it_writes_a_picture_and_says_where(tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"
    arguments = ["data", "views", str(write(tmp_path, TRIAL)), "--cache", str(tmp_path / "cache")]
    result = runner.invoke(app, [*arguments, "--out", str(out), "--images", "3", "--set", "views.size=24"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{out}: 3 images, {2 * EPOCHS} views each")
    with Image.open(out) as sheet:
        rows, columns = sheet.height // 104, sheet.width // 104
    assert (rows, columns) == (3, 1 + 2 * EPOCHS)
    refused = runner.invoke(app, [*arguments, "--out", str(tmp_path / "sheet.nothing")])
    assert refused.exit_code == 2
    assert "sheet.nothing: cannot be written as a picture" in refused.stderr


def test_its_cells_are_the_views_of_the_first_epochs() -> None:
    images, ids = batch(5, size=96)
    spec = views_of(size=96, crop_area=(0.2, 1.0), flip=0.5, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    rows = torch.tensor([3, 1])
    split = Split(images, torch.zeros(5, dtype=torch.int64), ids)
    sheet = np.asarray(contact_sheet(split, rows, spec, seed=7, title="some.yaml"))

    def cell(row: int, column: int) -> np.ndarray:
        top, left = 22 + 104 * row, 8 + 104 * column
        return sheet[top : top + 96, left : left + 96]

    assert np.array_equal(cell(1, 0), images[1].permute(1, 2, 0).numpy())
    second = two_views(images[rows], ids[rows], spec, seed=7, epoch=2)[1][0]
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    expected = ((second * std + mean) * 255).permute(1, 2, 0).numpy()
    assert np.abs(cell(0, 6) - expected).max() < 0.51
