"""Two blind baselines, the floor under every board: no text (`image`), and no image (`text`)."""
