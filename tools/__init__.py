"""Programs that made files of this repository once; they are not in the wheel."""
