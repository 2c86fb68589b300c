"""What the chapter on the three families shows and measures."""
