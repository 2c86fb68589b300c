"""What the front page shows: the real model's guesses, and a map of the chapters."""
