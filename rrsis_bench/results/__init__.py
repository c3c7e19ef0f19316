"""The files of one run: what they hold, how they are checked, scored again and compared. No torch in here."""
