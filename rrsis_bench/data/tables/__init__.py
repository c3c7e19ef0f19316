"""Parquet and arrow files (extra `parquet`), whose cells are read one at a time as if each were a file of its own.

`<file>/<column>/<row>` names a cell: `data/train-00000-of-00004.parquet/image/17` is the image of that file's row 17,
counted from 0. A cell holds the bytes of an image file. Its column is binary, or a struct with a binary field `bytes`
and a text field `path`, as the Hugging Face library `datasets` writes images.

stored   a file or a cell, opened
arrow    cells of arrow files, mapped into memory
parquet  cells of parquet files
pages    where a cell lies within a column of a parquet file
snappy   parts of a page that is compressed by snappy
"""

from rrsis_bench.data.tables.stored import container, is_table, open_stored, reads_alone, require_pyarrow, table_files

__all__ = ["container", "is_table", "open_stored", "reads_alone", "require_pyarrow", "table_files"]
