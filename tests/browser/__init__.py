"""The built book in headless Chromium."""
