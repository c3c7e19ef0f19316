"""Result files, their schema, and the leaderboards made of them. No torch in here."""
