"""The long table of `table_csv` as Parquet, in several row groups that don't end where clips do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet
from writers.table_csv import COLUMNS, rows


def write(folder: Path, clips: int = 12, seed: int = 0, group: int = 1000) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.parquet"
    columns = list(zip(*rows(clips, seed), strict=True))
    parquet.write_table(pa.table(dict(zip(COLUMNS, columns, strict=True))), path, row_group_size=group)
    return path
