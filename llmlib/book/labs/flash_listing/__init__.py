"""The printed flash attention, its repairs and the test of each."""
