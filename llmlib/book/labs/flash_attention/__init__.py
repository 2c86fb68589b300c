"""The flash attention chapter: what tiles remember, and the traffic that they cause."""
