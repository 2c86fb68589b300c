"""The flash attention chapter's listings, their checks, and the traffic that they cause."""
