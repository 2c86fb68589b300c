"""The tests of the book; a package, since a dependency installs a top-level `tests` of its own."""
