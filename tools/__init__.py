"""Programs that made files of this repository. The wheel does not contain them."""
