"""Pictures for people: everything given is on the sheet."""

from __future__ import annotations

import numpy as np
import pytest

from h2w_ros.pictures import GAP_PX, LABEL_HEIGHT_PX, contact_sheet, labelled_row


def flat(height_px: int, width_px: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height_px, width_px, 3), colour, dtype=np.uint8)


def test_a_row_shows_every_picture_under_its_label_at_one_height() -> None:
    row = labelled_row([flat(20, 30, (200, 0, 0)), flat(40, 60, (0, 0, 200))], ["left", "right"], scale=0.5)
    assert row.shape == (LABEL_HEIGHT_PX + 20, 30 + GAP_PX + 30, 3)
    assert (row[LABEL_HEIGHT_PX:, :30] == (200, 0, 0)).all()
    assert (row[LABEL_HEIGHT_PX:, -30:] == (0, 0, 200)).all()
    assert row[:LABEL_HEIGHT_PX, :30].max() > 100


def test_a_long_label_stays_inside_its_picture() -> None:
    row = labelled_row([flat(20, 64, (0, 0, 0))], ["a label that is far too long for its picture"])
    assert row[:LABEL_HEIGHT_PX, 60:].max() < 100


def test_labels_and_pictures_must_match() -> None:
    with pytest.raises(ValueError, match="got 1 pictures and 2 labels"):
        labelled_row([flat(4, 4, (0, 0, 0))], ["a", "b"])


def test_a_contact_sheet_reads_like_a_page() -> None:
    sheet = contact_sheet([flat(4, 6, (index, 0, 0)) for index in (100, 150, 200)], num_columns=2)
    assert sheet.shape == (8 + GAP_PX, 12 + GAP_PX, 3)
    assert [sheet[0, 0, 0], sheet[0, -1, 0], sheet[-1, 0, 0]] == [100, 150, 200]
